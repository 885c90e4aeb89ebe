//! Results: attempts and what follows from them, many in one statement.

use std::borrow::Cow;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::model::{Disabled, LaneKey, Outcome, Record, Verdict};
use crate::store::postgres::batch::Job;
use crate::store::postgres::ending::{LET_NEXT_GO, move_ended, woken};
use crate::store::postgres::nodes::Seat;
use crate::store::postgres::pool::Object;
use crate::store::postgres::queue::fence_of;
use crate::store::postgres::rows::{self, get, integer};
use crate::store::postgres::supersede::GIVE_WAY;
use crate::store::postgres::transaction::{BEGIN_AHEAD, Transaction};
use crate::store::postgres::{Database, follow};
use crate::store::rows::{write_micros, write_outcome};
use crate::store::{Recorded, Result};

/// Has the node the shard of the endpoint, in the epoch in which it claimed?
macro_rules! is_held {
    () => {
        "(select s.node = $25 and s.epoch = r.epoch from shards s
          where s.shard = get_byte(uuid_send(d.endpoint_id), 15) & 63)"
    };
}

/// A verdict counts if its claim still holds: nobody claimed again, nobody recorded under it, the
/// state is not final, and the node still has the shard. What has ended moves to its day, as in
/// [`super::ending`]. Rows are taken in the order of their keys, here as everywhere, so that rings are
/// rare. Attempts under a claim that was lost are rare too, and come later ([`LATE`]): to see whether
/// there is such a delivery is to look into every day. What counts is looked up in a set, by
/// `is true`, rather than in a loop.
const RECORD: &str = concat!(
    "with results as materialized (
        select * from unnest(
            $1::int[], $2::uuid[], $3::uuid[], $4::bigint[], $5::smallint[], $6::bigint[],
            $7::text[], $8::bigint[], $9::int[], $10::bigint[], $11::bigint[],
            $12::text[], $13::text[], $14::int[], $15::text[], $16::bytea[], $17::text[],
            $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[],
            $23::bool[], $24::bigint[])
        as r (n, company_id, delivery_id, fence, state, due_at, reason, at, number, started_at,
              duration_us, url, headers, status, answer_headers, body, flaw,
              queue_us, dns_us, connect_us, tls_us, first_byte_us, probe, epoch)
        order by company_id, delivery_id),
    again as (
        update deliveries_waiting d
        set due_at = r.due_at, reason = r.reason, updated_at = r.at, attempts = d.attempts + 1,
            probes = d.probes + r.probe::int, claimed = false
        from results r
        where d.company_id = any (array[r.company_id]) and d.id = r.delivery_id
          and d.fence = r.fence and d.claimed and r.state = 0 and ",
    is_held!(),
    "   returning r.n),
    ended as (
        delete from deliveries_waiting d using results r
        where d.company_id = any (array[r.company_id]) and d.id = r.delivery_id
          and d.fence = r.fence and d.claimed and r.state <> 0 and ",
    is_held!(),
    "   returning d.*, r.n, r.state as ended_as, r.at as ended_at, r.reason as ended_by,
                  null::uuid as newer, 1 as tried, r.probe::int as probed),
    moved as (",
    move_ended!(),
    "),
    held as materialized (select n from again union all select n from ended),
    history as (
        insert into attempts (company_id, delivery_id, fence, counted, number, started_at,
                              duration_us, url, headers, status, answer_headers, body, flaw,
                              queue_us, dns_us, connect_us, tls_us, first_byte_us, probe)
        select company_id, delivery_id, fence, true, number, started_at, duration_us, url,
               headers, status, answer_headers, body, flaw,
               queue_us, dns_us, connect_us, tls_us, first_byte_us, probe
        from results r where (n in (select n from held)) is true
        on conflict do nothing),
    tally as (
        insert into counts (company_id, endpoint_id, waiting, concluded, failed)
        select company_id, endpoint_id, -count(*), count(*) filter (where ended_as = 1),
               count(*) filter (where ended_as = 2)
        from ended
        group by company_id, endpoint_id order by company_id, endpoint_id
        on conflict (company_id, endpoint_id) do update
        set waiting = counts.waiting + excluded.waiting,
            concluded = counts.concluded + excluded.concluded,
            failed = counts.failed + excluded.failed)
    select n from held"
);

/// An attempt whose claim was lost: it is seen, but does not count.
const LATE: &str = "
    insert into attempts (company_id, delivery_id, fence, counted, number, started_at,
                          duration_us, url, headers, status, answer_headers, body, flaw,
                          queue_us, dns_us, connect_us, tls_us, first_byte_us, probe)
    select company_id, delivery_id, fence, false, number, started_at, duration_us, url, headers,
           status, answer_headers, body, flaw, queue_us, dns_us, connect_us, tls_us, first_byte_us,
           probe
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[],
                $7::text[], $8::text[], $9::int[], $10::text[], $11::bytea[], $12::text[],
                $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[],
                $18::bool[])
        as r (company_id, delivery_id, fence, number, started_at, duration_us, url, headers,
              status, answer_headers, body, flaw, queue_us, dns_us, connect_us, tls_us,
              first_byte_us, probe)
    where exists (select from deliveries d
                  where d.company_id = r.company_id and d.id = r.delivery_id
                    and d.id between $19 and $20)
    on conflict do nothing";

impl Job for Record {
    type Answer = Recorded;

    fn bytes(&self) -> usize {
        match &self.attempt.outcome {
            Outcome::Answered(answer) => answer.body.len(),
            Outcome::NoAnswer { .. } => 0,
        }
    }

    /// What follows for endpoints is rare; a batch without it is one statement, sent with all around
    /// it at once.
    async fn together(database: &Database, records: &[Self]) -> Result<Vec<Recorded>> {
        let transaction = Transaction::on(database.writer().await?);
        let (keyed, seat) = (Keyed::of(records), database.membership.seat());
        if !keyed.is_empty() || records.iter().any(follow::follows) {
            return follow::apply(transaction, (records, seat), &keyed).await;
        }
        // Known before, so that the commit is not sent ahead of it.
        transaction.prepare_cached(RECORD).await?;
        let ((), recorded, ()) = tokio::try_join!(
            biased;
            async { Ok(transaction.batch_execute(BEGIN_AHEAD).await?) },
            apply(&transaction, records, seat),
            async { Ok(transaction.batch_execute("commit").await?) },
        )?;
        add_late(&transaction, (records, &recorded)).await?;
        transaction.ended();
        Ok(recorded)
    }
}

/// Adds every attempt and applies every verdict that counts.
pub(super) async fn apply(
    client: &Object,
    records: &[Record],
    seat: Seat,
) -> Result<Vec<Recorded>> {
    let statement = client.prepare_cached(RECORD).await?;
    let all: Vec<&Record> = records.iter().collect();
    let (verdicts, attempts) = (Verdicts::of(&all)?, Attempts::of(&all)?);
    let epochs: Vec<i64> =
        records.iter().map(|record| seat.epoch(record.claim.endpoint.id.uuid())).collect();
    let node = seat.node();
    let tenure: [&(dyn ToSql + Sync); 2] = [&epochs, &node];
    let columns: Vec<&(dyn ToSql + Sync)> =
        verdicts.columns().into_iter().chain(attempts.columns()).chain(tenure).collect();
    let rows = client.query(&statement, &columns).await?;
    let mut recorded = vec![Recorded::default(); records.len()];
    for row in &rows {
        let number: i32 = get(row, "n")?;
        if let Some(recorded) = recorded.get_mut(number.unsigned_abs() as usize) {
            recorded.applied = true;
        }
    }
    Ok(recorded)
}

/// Adds the attempts that do not count.
pub(super) async fn add_late(
    client: &Object,
    (records, recorded): (&[Record], &[Recorded]),
) -> Result<()> {
    let late = records.iter().zip(recorded).filter(|(_, recorded)| !recorded.applied);
    let late: Vec<&Record> = late.map(|(record, _)| record).collect();
    let (verdicts, attempts) = (Verdicts::of(&late)?, Attempts::of(&late)?);
    let Some((first, last)) = rows::span(&verdicts.delivery) else { return Ok(()) };
    let statement = client.prepare_cached(LATE).await?;
    let names: [&(dyn ToSql + Sync); 3] = [&verdicts.company, &verdicts.delivery, &verdicts.fence];
    let days: [&(dyn ToSql + Sync); 2] = [&first, &last];
    let columns = [&names[..], &attempts.columns(), &days].concat();
    client.execute(&statement, &columns).await?;
    Ok(())
}

/// Deliveries with keys: others may wait for the end of one, and one that is to be tried again may
/// have to give way.
pub(super) struct Keyed {
    company: Vec<Uuid>,
    delivery: Vec<Uuid>,
    at: i64,
}

impl Keyed {
    fn of(records: &[Record]) -> Keyed {
        let has_key = |record: &&Record| match record.verdict {
            Verdict::RetryAt(_) => record.claim.event.ordering_key.is_some(),
            _ => record.claim.ordered,
        };
        let keyed = || records.iter().filter(has_key);
        Keyed {
            company: keyed().map(|record| record.claim.event.company.uuid()).collect(),
            delivery: keyed().map(|record| record.claim.delivery.uuid()).collect(),
            at: keyed().map(|record| record.at.0).max().unwrap_or_default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.delivery.is_empty()
    }

    /// Lets go what has to give way, and the next ones behind what has ended: statements behind that
    /// of the results. Returns their lanes.
    pub(super) async fn let_next_go(&self, client: &Object) -> Result<Vec<LaneKey>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let give_way = client.prepare_cached(GIVE_WAY).await?;
        let next = client.prepare_cached(LET_NEXT_GO).await?;
        let Some((first, last)) = rows::span(&self.delivery) else { return Ok(Vec::new()) };
        let keyed: [&(dyn ToSql + Sync); 5] =
            [&self.company, &self.delivery, &self.at, &first, &last];
        let (_, next) = tokio::try_join!(
            biased;
            client.execute(&give_way, &keyed[..3]),
            client.query(&next, &keyed),
        )?;
        woken(&next)
    }
}

/// What follows, column by column.
#[derive(Default)]
struct Verdicts {
    number: Vec<i32>,
    company: Vec<Uuid>,
    delivery: Vec<Uuid>,
    fence: Vec<i64>,
    state: Vec<i16>,
    due_at: Vec<i64>,
    reason: Vec<Option<String>>,
    at: Vec<i64>,
}

impl Verdicts {
    fn of(records: &[&Record]) -> Result<Self> {
        let mut columns = Verdicts::default();
        for (number, record) in (0..).zip(records) {
            let (state, due_at, reason) = match &record.verdict {
                Verdict::Concluded => (1, record.at, None),
                Verdict::RetryAt(due_at) => (0, *due_at, None),
                Verdict::Failed(reason) => (2, record.at, Some(rows::text(reason).into_owned())),
                Verdict::Gone => (2, record.at, Some(Disabled::gone(record.at).reason)),
            };
            columns.number.push(number);
            columns.company.push(record.claim.event.company.uuid());
            columns.delivery.push(record.claim.delivery.uuid());
            columns.fence.push(fence_of(&record.claim));
            columns.state.push(state);
            columns.due_at.push(due_at.0);
            columns.reason.push(reason);
            columns.at.push(record.at.0);
        }
        Ok(columns)
    }

    /// In the order of [`RECORD`], from the first on.
    fn columns(&self) -> [&(dyn ToSql + Sync); 8] {
        let Verdicts { number, company, delivery, fence, state, due_at, reason, at } = self;
        [number, company, delivery, fence, state, due_at, reason, at]
    }
}

/// What happened, column by column.
#[derive(Default)]
struct Attempts<'a> {
    number: Vec<i32>,
    started_at: Vec<i64>,
    duration_us: Vec<i64>,
    url: Vec<&'a str>,
    headers: Vec<&'a str>,
    status: Vec<Option<i32>>,
    answer_headers: Vec<Option<&'a str>>,
    body: Vec<Option<&'a [u8]>>,
    flaw: Vec<Option<Cow<'a, str>>>,
    queue_us: Vec<Option<i64>>,
    dns_us: Vec<Option<i64>>,
    connect_us: Vec<Option<i64>>,
    tls_us: Vec<Option<i64>>,
    first_byte_us: Vec<Option<i64>>,
    probe: Vec<bool>,
}

impl<'a> Attempts<'a> {
    fn of(records: &[&'a Record]) -> Result<Self> {
        let mut columns = Attempts::default();
        for record in records {
            let attempt = &record.attempt;
            columns.number.push(integer(attempt.number)?);
            columns.started_at.push(attempt.started_at.0);
            columns.duration_us.push(write_micros(attempt.duration));
            columns.url.push(&attempt.url);
            columns.headers.push(attempt.headers.as_text());
            let (status, headers, body, flaw) = write_outcome(&attempt.outcome);
            columns.status.push(status.map(i32::from));
            columns.answer_headers.push(headers);
            columns.body.push(body);
            columns.flaw.push(flaw.map(rows::text));
            columns.queue_us.push(attempt.timing.queue.map(write_micros));
            columns.dns_us.push(attempt.timing.dns.map(write_micros));
            columns.connect_us.push(attempt.timing.connect.map(write_micros));
            columns.tls_us.push(attempt.timing.tls.map(write_micros));
            columns.first_byte_us.push(attempt.timing.first_byte.map(write_micros));
            columns.probe.push(attempt.probe);
        }
        Ok(columns)
    }
    /// In the order of [`RECORD`], after the verdicts.
    fn columns(&self) -> [&(dyn ToSql + Sync); 15] {
        [
            &self.number,
            &self.started_at,
            &self.duration_us,
            &self.url,
            &self.headers,
            &self.status,
            &self.answer_headers,
            &self.body,
            &self.flaw,
            &self.queue_us,
            &self.dns_us,
            &self.connect_us,
            &self.tls_us,
            &self.first_byte_us,
            &self.probe,
        ]
    }
}
