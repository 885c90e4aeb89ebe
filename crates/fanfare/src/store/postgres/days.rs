//! History in days: events, final deliveries and attempts have a partition for each day, so that
//! what is old goes by the drop of three tables.
//!
//! Ids are made of their time, so a day is a range of ids. The three partitions of a day come and go
//! together, and so what a delivery has of attempts is always in the partition that has its own
//! range. What no day covers is in `…_rest`: what came before there was a day for it, and ids that
//! callers chose. There, and in the partitions of days that had to be left (`…_left_…`) like in the history
//! from before there were days (`…_u…`), rows expire one by one ([`super::retention`]).
//!
//! Everything here that readers or writers could feel gives up after [`PATIENCE`] and is done another
//! time: there is a week for it.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::model::{DeliveryId, Timestamp};
use crate::store::Result;
use crate::store::postgres::Database;
use crate::store::postgres::retention::{BEGIN_EXPIRE, expire_events};
use crate::store::postgres::rows::get;
use crate::store::postgres::transaction::Transaction;

/// What is kept in days, by which id.
const TABLES: [(&str, &str, &str); 3] = [
    ("deliveries_final", "deliveries", "id"),
    ("attempts", "attempts", "delivery_id"),
    ("events", "events", "id"),
];
/// The length of a day.
const DAY: Duration = Duration::from_hours(24);
/// How many days are made ahead.
const AHEAD: u32 = 7;
/// Rows that change their partition while others wait: a few milliseconds' worth.
const MOVED_MAX: usize = 1000;
/// How large the rest may be, in bytes, to be looked through while others wait.
const REST_MAX: u64 = 128 << 20;
/// Rows told to others at once.
const TOLD_MAX: i64 = 64;

/// Waits for a lock no longer than nobody feels: others wait behind whoever waits.
const PATIENCE: &str = "begin; set local lock_timeout = '50ms'";
const READ_WHOLE_TABLES: &str = "set local enable_seqscan = on";
const LOCK_REST: &str =
    "lock table deliveries_rest, attempts_rest, events_rest in access exclusive mode";
/// One node at a time.
const ALONE: &str = "
    select pg_try_advisory_xact_lock(hashtextextended(current_schema(), 20240707)) as alone";
const IS_THERE: &str = "select to_regclass($1) is not null as there";

/// The partitions of a table with the range of each: it begins with `first` (null: with all there
/// are) and ends before `last` (null: it has none, being the rest, or no end).
const PARTITIONS: &str = "
    select c.relname::text as name,
           substring(pg_get_expr(c.relpartbound, c.oid) from $$FROM \\('([0-9a-f-]{36})'\\)$$)::uuid
               as first,
           substring(pg_get_expr(c.relpartbound, c.oid) from $$TO \\('([0-9a-f-]{36})'\\)$$)::uuid
               as last
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = to_regclass($1) and c.relname ~ '^[a-z0-9_]+$'
    order by 2 nulls first, 1";

const TELL_COUNTS: &str = "
    with told as (
        delete from dropped_counts where (company_id, endpoint_id) in (
            select company_id, endpoint_id from dropped_counts
            order by company_id, endpoint_id limit $1 for update skip locked)
        returning *),
    sorted as materialized (select * from told order by company_id, endpoint_id),
    counted as (
        update counts c set concluded = c.concluded - s.concluded, failed = c.failed - s.failed
        from sorted s where c.company_id = s.company_id and c.endpoint_id = s.endpoint_id)
    select 1 from told";

const TELL_EVENTS: &str = "
    delete from dropped_deliveries where (company_id, event_id) in (
        select company_id, event_id from dropped_deliveries
        order by company_id, event_id limit $1 for update skip locked)
    returning company_id, event_id";

/// The three partitions of a day, or of more than one.
struct Part {
    /// `d20240706`; beginning with another letter where rows expire one by one.
    name: String,
    first: Uuid,
    last: Uuid,
}

type Done<T> = std::result::Result<T, tokio_postgres::Error>;

/// A step of what days need. Returns whether there is more to do now.
pub(super) async fn turn(database: &Database, now: Timestamp, before: Timestamp) -> Result<bool> {
    if tell(database).await? {
        return Ok(true);
    }
    let parts = parts(database).await?;
    for ahead in 0..=AHEAD {
        let day = Part::of_day(now.plus(DAY * ahead));
        let covered = parts.iter().any(|part| part.first < day.last && day.first < part.last);
        if !covered && in_time(make(Transaction::on(database.housekeeper().await?), &day).await)? {
            return Ok(true);
        }
    }
    let cutoff = DeliveryId::first_at(before).uuid();
    for part in parts.iter().filter(|part| part.last <= cutoff) {
        if in_time(drop_part(Transaction::on(database.housekeeper().await?), part).await)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The partitions of a table in which rows expire one by one.
pub(super) async fn others(database: &Database, table: &str) -> Result<Vec<String>> {
    let client = database.reader().await?;
    let statement = client.prepare_cached(PARTITIONS).await?;
    let mut others = Vec::new();
    for row in &client.query(&statement, &[&table]).await? {
        let name: String = get(row, "name")?;
        if !name.contains("_d2") {
            others.push(name);
        }
    }
    Ok(others)
}

/// Tells others what went with a day. Returns whether there was something to tell.
async fn tell(database: &Database) -> Result<bool> {
    let client = Transaction::on(database.housekeeper().await?);
    client.batch_execute(BEGIN_EXPIRE).await?;
    let counts = client.prepare_cached(TELL_COUNTS).await?;
    let events = client.prepare_cached(TELL_EVENTS).await?;
    let counts = client.query(&counts, &[&TOLD_MAX]).await?;
    let events = client.query(&events, &[&TOLD_MAX]).await?;
    if !events.is_empty() {
        expire_events(&client, &events).await?;
    }
    client.batch_execute("commit").await?;
    client.ended();
    Ok(!counts.is_empty() || !events.is_empty())
}

async fn parts(database: &Database) -> Result<Vec<Part>> {
    let client = database.reader().await?;
    let statement = client.prepare_cached(PARTITIONS).await?;
    let mut parts = Vec::new();
    for row in &client.query(&statement, &[&"deliveries_final"]).await? {
        parts.extend(Part::read(row)?);
    }
    Ok(parts)
}

/// What could not have its locks in time is done another time.
fn in_time(done: Done<bool>) -> Result<bool> {
    let rivals = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    match done {
        Err(error) if error.code().is_some_and(|code| rivals.contains(code)) => Ok(false),
        done => Ok(done?),
    }
}

impl Part {
    fn of_day(at: Timestamp) -> Part {
        let day = i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX);
        let first = Timestamp(at.0 - at.0.rem_euclid(day));
        let date: String = first.to_string().chars().take(10).filter(|c| *c != '-').collect();
        Part {
            name: format!("d{date}"),
            first: DeliveryId::first_at(first).uuid(),
            last: DeliveryId::first_at(first.plus(DAY)).uuid(),
        }
    }

    /// `None` for what has no end.
    fn read(row: &Row) -> Result<Option<Part>> {
        let (table, first, last): (&str, Option<Uuid>, Option<Uuid>) =
            (get(row, "name")?, get(row, "first")?, get(row, "last")?);
        let name = table.trim_start_matches("deliveries_").to_owned();
        Ok(last.map(|last| Part { name, first: first.unwrap_or_default(), last }))
    }

    fn is_day(&self) -> bool {
        self.name.starts_with('d')
    }

    /// The three tables of it.
    fn tables(&self) -> String {
        TABLES.map(|(_, table, _)| format!("{table}_{}", self.name)).join(", ")
    }

    /// Is an id of this column in it?
    fn has(&self, id: &str) -> String {
        format!("({id} >= '{}' and {id} < '{}')", self.first, self.last)
    }
}

/// Makes a day, unless much of it is in the rest already: then it stays there. What is made stands
/// alone until it is whole, so that the rest, where all look, is held but for a moment.
async fn make(client: Transaction, day: &Part) -> Done<bool> {
    client.batch_execute(PATIENCE).await?;
    if !is_ours(&client, day, false).await? || is_late(&client, day).await? {
        return undo(client).await;
    }
    let name = &day.name;
    for (_, table, _) in TABLES {
        let make = format!("create table {table}_{name} (like {table}_rest including all)");
        client.batch_execute(&make).await?;
    }
    client.batch_execute(LOCK_REST).await?;
    if is_late(&client, day).await? {
        return undo(client).await;
    }
    for (parent, table, id) in TABLES {
        let (first, last, has) = (day.first, day.last, day.has(id));
        let attach = format!(
            "with moved as (delete from {table}_rest where {has} returning *)
                 insert into {table}_{name} select * from moved;
             alter table {parent} attach partition {table}_{name}
                 for values from ('{first}') to ('{last}')"
        );
        client.batch_execute(&attach).await?;
    }
    commit(client).await
}

/// Would it take long to make this day?
async fn is_late(client: &Transaction, day: &Part) -> Done<bool> {
    for (_, table, id) in TABLES {
        let has = day.has(id);
        let look = format!(
            "select pg_relation_size('{table}_rest') > {REST_MAX} or {MOVED_MAX} < (
                 select count(*) from (select from {table}_rest where {has}
                                       limit {MOVED_MAX} + 1) r)"
        );
        client.batch_execute(READ_WHOLE_TABLES).await?;
        if client.query_one(&look, &[]).await?.try_get(0)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Drops what is old as a whole: a day, or what is empty by now. What must stay moves to the rest.
///
/// While it is found out what that is, nobody may write to that day, or lock rows of it, which a
/// replay would; all may read, and write to others.
async fn drop_part(client: Transaction, part: &Part) -> Done<bool> {
    client.batch_execute(PATIENCE).await?;
    if !is_ours(&client, part, true).await? || is_too_early(&client, part).await? {
        return undo(client).await;
    }
    let tables = part.tables();
    client.batch_execute(&format!("lock table {tables} in exclusive mode")).await?;
    client.batch_execute("lock table replays in share mode").await?;
    let events = keys(&client.query(&staying_events(part), &[]).await?)?;
    let attempts = keys(&client.query(&staying_attempts(part), &[]).await?)?;
    if events.1.len().max(attempts.1.len()) >= MOVED_MAX {
        return leave(client, part).await;
    }
    client.batch_execute(READ_WHOLE_TABLES).await?;
    note_dropped(&client, part).await?;
    drop_all_but(
        &client,
        part,
        [("events", "id", &events), ("attempts", "delivery_id", &attempts)],
    )
    .await?;
    commit(client).await
}

/// The names of rows, column by column.
type Keys = (Vec<Uuid>, Vec<Uuid>);

/// Drops the tables of a day, and keeps these rows of them: by table, id and keys.
async fn drop_all_but(
    client: &Transaction,
    part: &Part,
    staying: [(&str, &str, &Keys); 2],
) -> Done<()> {
    let staying = staying.into_iter().filter(|(.., (_, ids))| !ids.is_empty());
    for (table, id, keys) in staying.clone() {
        set_aside(client, part, (table, id), keys).await?;
    }
    // From here on, a few milliseconds, nobody reads either.
    client.batch_execute(&format!("drop table {}", part.tables())).await?;
    for (table, ..) in staying {
        let bring_back =
            format!("insert into {table} select * from {table}_aside; drop table {table}_aside");
        client.batch_execute(&bring_back).await?;
    }
    Ok(())
}

/// Copies rows that must not go with their day; while that is there, the rest would not take them.
async fn set_aside(
    client: &Transaction,
    part: &Part,
    (table, id): (&str, &str),
    (companies, ids): &Keys,
) -> Done<()> {
    let make = format!("create table {table}_aside (like {table})");
    client.batch_execute(&make).await?;
    let copy = format!(
        "insert into {table}_aside select t.* from {table}_{} t
         join unnest($1::uuid[], $2::uuid[]) as k (company_id, id)
             on t.company_id = k.company_id and t.{id} = k.id",
        part.name
    );
    client.execute(&copy, &[companies, ids]).await?;
    Ok(())
}

/// Of a day of which much must stay the rest goes row by row.
async fn leave(client: Transaction, part: &Part) -> Done<bool> {
    let name = &part.name;
    if !part.is_day() {
        return undo(client).await;
    }
    for (_, table, _) in TABLES {
        let date = name.trim_start_matches('d');
        let left = format!("alter table {table}_{name} rename to {table}_left_{date}");
        client.batch_execute(&left).await?;
    }
    commit(client).await
}

/// Where rows expire one by one, they all must have.
async fn is_too_early(client: &Transaction, part: &Part) -> Done<bool> {
    if part.is_day() {
        return Ok(false);
    }
    let look = format!("select exists (select from deliveries_{})", part.name);
    client.query_one(&look, &[]).await?.try_get(0)
}

/// The events that deliveries of other days have, and those that wait.
fn staying_events(part: &Part) -> String {
    let (name, of_event, of_delivery) = (&part.name, part.has("d.event_id"), part.has("d.id"));
    format!(
        "select distinct d.company_id, d.event_id as id
         from (select distinct company_id from events_{name}) c
         cross join lateral (
             select d.company_id, d.event_id from deliveries_waiting d
             where d.company_id = c.company_id and {of_event}
             union all
             select d.company_id, d.event_id from deliveries_final d
             where d.company_id = c.company_id and {of_event} and not {of_delivery}) d
         limit {MOVED_MAX}"
    )
}

/// The deliveries that wait and were tried.
fn staying_attempts(part: &Part) -> String {
    let of_delivery = part.has("d.id");
    format!(
        "select d.company_id, d.id from companies c
         cross join lateral (
             select d.company_id, d.id from deliveries_waiting d
             where d.company_id = c.company_id and {of_delivery}) d
         limit {MOVED_MAX}"
    )
}

/// Notes what others are to be told of.
async fn note_dropped(client: &Transaction, part: &Part) -> Done<()> {
    let (name, of_event) = (&part.name, part.has("event_id"));
    let count = format!(
        "with day as materialized (
            select company_id, endpoint_id, count(*) filter (where state = 1) as concluded,
                   count(*) filter (where state = 2) as failed,
                   count(*) filter (where not {of_event}) as elsewhere
            from deliveries_{name} group by company_id, endpoint_id),
         counted as (
            insert into dropped_counts as g (company_id, endpoint_id, concluded, failed)
            select company_id, endpoint_id, concluded, failed from day
            on conflict (company_id, endpoint_id) do update
            set concluded = g.concluded + excluded.concluded, failed = g.failed + excluded.failed)
         select coalesce(sum(elsewhere), 0) > 0 as any_elsewhere from day"
    );
    if client.query_one(&count, &[]).await?.try_get("any_elsewhere")? {
        let note = format!(
            "insert into dropped_deliveries (company_id, event_id)
             select distinct company_id, event_id from deliveries_{name} where not {of_event}
             on conflict do nothing"
        );
        client.batch_execute(&note).await?;
    }
    Ok(())
}

/// Is it to us to change a day that still is, or is not, `there`?
async fn is_ours(client: &Transaction, part: &Part, there: bool) -> Done<bool> {
    let alone: bool = client.query_one(ALONE, &[]).await?.try_get("alone")?;
    let table = format!("deliveries_{}", part.name);
    let is_there: bool = client.query_one(IS_THERE, &[&table]).await?.try_get("there")?;
    Ok(alone && is_there == there)
}

async fn commit(client: Transaction) -> Done<bool> {
    client.batch_execute("commit").await?;
    client.ended();
    Ok(true)
}

async fn undo(client: Transaction) -> Done<bool> {
    client.batch_execute("rollback").await?;
    client.ended();
    Ok(false)
}

fn keys(rows: &[Row]) -> Done<Keys> {
    let key =
        |row: &Row| Ok((row.try_get::<_, Uuid>("company_id")?, row.try_get::<_, Uuid>("id")?));
    rows.iter().map(key).collect()
}
