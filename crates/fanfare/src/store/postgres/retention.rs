//! What is old goes, a little at a time, where it does not go with its day ([`super::days`]).
//!
//! What may go is looked for first, on a reader's time; then it is locked and judged again.

use tokio_postgres::Row;
use uuid::Uuid;

use crate::model::{CompanyId, DeliveryId, Timestamp};
use crate::store::postgres::rows::{get, keys};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::upkeep::rows_of;
use crate::store::postgres::{Database, days};
use crate::store::{Place, Result, Swept};

/// No replay makes deliveries of events meanwhile: one that is removed here was seen to have none.
pub(super) const BEGIN_EXPIRE: &str = "begin; lock table replays in share mode";

/// Ids tell when they were made, so old ones are those below one of that time. Companies one by
/// one, because every index begins with them.
fn old(partitions: &[String]) -> String {
    let of_each = partitions.iter().map(|partition| {
        format!(
            "(select d.company_id, d.id from {partition} d
              where d.company_id = c.company_id and d.id < $1
                and (d.company_id, d.id) > ($3::uuid, $4::uuid)
              order by d.id limit $2)"
        )
    });
    let of_all = of_each.collect::<Vec<_>>().join(" union all ");
    format!(
        "select d.company_id, d.id from companies c
         cross join lateral (select * from ({of_all}) d order by id limit $2) d
         where c.company_id >= $3
         order by c.company_id, d.id limit $2"
    )
}

const EXPIRE_DELIVERIES: &str = "
    with doomed as materialized (
        select d.company_id, d.id from deliveries_final d
        join unnest($1::uuid[], $2::uuid[]) as o (company_id, id)
          on d.company_id = o.company_id and d.id = o.id
        for update of d skip locked),
    gone as (
        delete from deliveries_final d using doomed
        where d.company_id = doomed.company_id and d.id = doomed.id
        returning d.company_id, d.id, d.endpoint_id, d.event_id, d.state),
    history as (
        delete from attempts a using gone g
        where a.company_id = g.company_id and a.delivery_id = g.id),
    tally as (
        insert into counts (company_id, endpoint_id, waiting, concluded, failed)
        select company_id, endpoint_id, 0, -count(*) filter (where state = 1),
               -count(*) filter (where state = 2)
        from gone group by company_id, endpoint_id order by company_id, endpoint_id
        on conflict (company_id, endpoint_id) do update
        set concluded = counts.concluded + excluded.concluded,
            failed = counts.failed + excluded.failed)
    select company_id, event_id from gone";

/// A statement of its own, which sees what replays have added meanwhile.
const EXPIRE_EVENTS: &str = "
    with gone as (
        delete from events v
        using (select distinct * from unnest($1::uuid[], $2::uuid[])) as g (company_id, id)
        where v.company_id = g.company_id and v.id = g.id
          and not exists (select from deliveries d
                          where d.company_id = v.company_id and d.event_id = v.id)
        returning 1)
    select count(*) as rows from gone";

fn expire_unheard(partition: &str) -> String {
    format!(
        "with old as materialized (
            select v.company_id, v.id from companies c
            cross join lateral (
                select v.company_id, v.id from {partition} v
                where v.company_id = c.company_id and v.deliveries = 0 and v.created_at < $1
                  and not exists (select from deliveries d
                                  where d.company_id = v.company_id and d.event_id = v.id)
                order by v.created_at limit $2) v
            limit $2),
        gone as (
            delete from {partition} v using old
            where v.company_id = old.company_id and v.id = old.id
            returning 1)
        select count(*) as rows from gone"
    )
}

const EXPIRE_ENDPOINTS: &str = "
    with old as materialized (
        select e.company_id, e.id from endpoints e
        where e.deleted_at < $1
          and not exists (select from deliveries d
                          where d.company_id = e.company_id and d.endpoint_id = e.id)
          and not exists (select from dropped_counts g
                          where g.company_id = e.company_id and g.endpoint_id = e.id)
        limit $2),
    gone as (
        delete from endpoints e using old where e.company_id = old.company_id and e.id = old.id
        returning e.company_id, e.id),
    tally as (
        delete from counts c using gone g
        where c.company_id = g.company_id and c.endpoint_id = g.id)
    select count(*) as rows from gone";

/// Those behind the place come in the order of time, of which their ids need not tell.
const SENDABLE: &str = "
    select v.company_id, v.id from companies c
    cross join lateral (
        select v.company_id, v.id, v.created_at from events v
        where v.company_id = c.company_id and v.payload <> '' and v.created_at < $1
          and (v.company_id <> $3 or (v.created_at, v.id) > (
              coalesce((select created_at from events where company_id = $3 and id = $4), 0), $4))
        order by v.created_at, v.id limit $2) v
    where c.company_id >= $3
    order by c.company_id, v.created_at, v.id limit $2";

/// Replays hold an event while they add to its deliveries; so once it is locked, those are known.
const LOCK: &str = "
    select v.company_id, v.id from events v
    join unnest($1::uuid[], $2::uuid[]) as o (company_id, id)
      on v.company_id = o.company_id and v.id = o.id
    for update of v skip locked";

const EMPTY: &str = "
    update events v set payload = ''
    from unnest($1::uuid[], $2::uuid[]) as o (company_id, id)
    where v.company_id = o.company_id and v.id = o.id
      and not exists (select from deliveries d where d.company_id = v.company_id
                      and d.event_id = v.id and d.state = 0)";

/// Removes deliveries, and at the end of the walk what has none.
pub(super) async fn expire(
    database: &Database,
    before: Timestamp,
    from: Option<Place>,
    limit: u32,
) -> Result<Swept> {
    let cutoff = DeliveryId::first_at(before).uuid();
    let old = old(&days::others(database, "deliveries_final").await?);
    let found = look(database, &old, &cutoff, (from, limit)).await?;
    let next = place_after(&found, limit)?;
    let client = Transaction::on(database.housekeeper().await?);
    client.batch_execute(BEGIN_EXPIRE).await?;
    let mut rows = expire_deliveries(&client, &found).await?;
    if next.is_none() {
        let events = days::others(database, "events").await?;
        rows += expire_rest(&client, &events, before, limit).await?;
    }
    client.batch_execute("commit").await?;
    client.ended();
    // Of what has no deliveries there may be more: the walk stays at its end.
    let again = rows >= u64::from(limit) && next.is_none();
    Ok(Swept { rows, next: if again { from.or(Some(END)) } else { next } })
}

async fn expire_deliveries(client: &Transaction, old: &[Row]) -> Result<u64> {
    let (companies, ids) = keys(old.iter(), "id")?;
    let of_deliveries = client.prepare_cached(EXPIRE_DELIVERIES).await?;
    let gone = client.query(&of_deliveries, &[&companies, &ids]).await?;
    expire_events(client, &gone).await?;
    Ok(u64::try_from(gone.len()).unwrap_or(u64::MAX))
}

/// Removes the events of deliveries that are gone, unless they have others.
pub(super) async fn expire_events(client: &Transaction, gone: &[Row]) -> Result<()> {
    let (companies, events) = keys(gone.iter(), "event_id")?;
    let of_events = client.prepare_cached(EXPIRE_EVENTS).await?;
    client.query_one(&of_events, &[&companies, &events]).await?;
    Ok(())
}

/// What never had a delivery, and endpoints whose last one is gone.
async fn expire_rest(
    client: &Transaction,
    events: &[String],
    before: Timestamp,
    limit: u32,
) -> Result<u64> {
    let mut rows = 0;
    let of_events = events.iter().map(|partition| expire_unheard(partition));
    for sql in of_events.chain([EXPIRE_ENDPOINTS.to_owned()]) {
        let statement = client.prepare_cached(&sql).await?;
        let limit = i64::from(limit);
        rows += rows_of(&client.query_one(&statement, &[&before.0, &limit]).await?)?;
    }
    Ok(rows)
}

/// Empties payloads.
pub(super) async fn strip(
    database: &Database,
    before: Timestamp,
    from: Option<Place>,
    limit: u32,
) -> Result<Swept> {
    let found = look(database, SENDABLE, &before.0, (from, limit)).await?;
    let next = place_after(&found, limit)?;
    if found.is_empty() {
        return Ok(Swept { rows: 0, next });
    }
    let client = Transaction::on(database.housekeeper().await?);
    client.batch_execute("begin").await?;
    let (companies, ids) = keys(found.iter(), "id")?;
    let lock = client.prepare_cached(LOCK).await?;
    let locked = client.query(&lock, &[&companies, &ids]).await?;
    let (companies, ids) = keys(locked.iter(), "id")?;
    let empty = client.prepare_cached(EMPTY).await?;
    let rows = client.execute(&empty, &[&companies, &ids]).await?;
    client.batch_execute("commit").await?;
    client.ended();
    Ok(Swept { rows, next })
}

/// The last company there can be.
const END: Place = Place { company: CompanyId::from_uuid(Uuid::max()), id: Uuid::max() };

async fn look(
    database: &Database,
    sql: &str,
    cutoff: &(dyn tokio_postgres::types::ToSql + Sync),
    (from, limit): (Option<Place>, u32),
) -> Result<Vec<Row>> {
    let client = database.reader().await?;
    let statement = client.prepare_cached(sql).await?;
    let (company, id) =
        from.map_or_else(Default::default, |place| (place.company.uuid(), place.id));
    Ok(client.query(&statement, &[cutoff, &i64::from(limit), &company, &id]).await?)
}

/// Where to go on behind what was found, unless that was all.
fn place_after(found: &[Row], limit: u32) -> Result<Option<Place>> {
    let full = found.len() >= limit as usize;
    let Some(last) = found.last().filter(|_| full) else { return Ok(None) };
    let company = CompanyId::from_uuid(get(last, "company_id")?);
    Ok(Some(Place { company, id: get(last, "id")? }))
}
