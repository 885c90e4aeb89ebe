//! Deliveries that end unsent, and those that may go because others have ended.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::model::{CompanyId, DeliveryId, EndpointId, Entry, LaneKey, Timestamp};
use crate::store::postgres::audit;
use crate::store::postgres::rows::{get, span};
use crate::store::postgres::transaction::Transaction;
use crate::store::{Ended, Result};

/// Whoever lets deliveries of a lane go, or adds some, holds its row of counts: of two at once the
/// second one sees what the first one did. Taken before any delivery, so that nobody waits in a ring.
const HOLD: &str = "
    select 1 from counts
    where (company_id, endpoint_id) in (
        select d.company_id, d.endpoint_id
        from unnest($1::uuid[], $2::uuid[]) as x (company_id, id)
        cross join lateral (
            select d.company_id, d.endpoint_id from deliveries_waiting d
            where d.company_id = x.company_id and d.id = x.id offset 0) d)
    order by company_id, endpoint_id for update";

/// What has ended leaves the deliveries that wait and goes to those of its day, as it is from then
/// on. An update would do the same; but who waits for a row that an update moves is refused, and who
/// waits for one that is deleted finds none.
macro_rules! move_ended {
    () => {
        "insert into deliveries_final (company_id, id, endpoint_id, event_id, state, claimed, fence,
                                       attempts, due_at, updated_at, replay_of, shape, reason,
                                       sequence, order_key, coalesce_key, superseded_by, probes,
                                       expires_at, replay_id)
         select company_id, id, endpoint_id, event_id, ended_as, false, fence, attempts + tried,
                ended_at, ended_at, replay_of, shape, ended_by, sequence, order_key, coalesce_key,
                newer, probes + probed, expires_at, replay_id
         from ended"
    };
}

pub(super) use move_ended;

/// A fence of 0 is that of no claim; none stands for any.
const END: &str = concat!(
    "with doomed as materialized (
        select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[])
            as x (company_id, id, fence, reason)
        order by company_id, id),
    ended as (
        delete from deliveries_waiting d using doomed x
        where d.company_id = any (array[x.company_id]) and d.id = x.id
          and (not d.claimed or d.fence = coalesce(x.fence, d.fence))
        returning d.*, 2::smallint as ended_as, $5::bigint as ended_at, x.reason as ended_by,
                  null::uuid as newer, 0 as tried, 0 as probed),
    moved as (",
    move_ended!(),
    "),
    tally as (
        update counts c set waiting = c.waiting - e.count, failed = c.failed + e.count
        from (select company_id, endpoint_id, count(*) as count from ended
              group by company_id, endpoint_id) e
        where c.company_id = e.company_id and c.endpoint_id = e.endpoint_id)
    select id from ended order by id"
);

/// Only the first of those that wait under a key may be due. If it is parked, whatever it was parked
/// behind has ended. A statement of its own behind the counts, so that it sees what was added
/// meanwhile. The first and the last id tell in which days to look for what has ended.
pub(super) const LET_NEXT_GO: &str = "
    update deliveries_waiting d set due_at = greatest($3, d.due_at - 4503599627370496)
    from (select distinct e.company_id, e.endpoint_id, e.order_key from deliveries_final e
          join unnest($1::uuid[], $2::uuid[]) as x (company_id, id)
              on e.company_id = any (array[x.company_id]) and e.id = x.id
          where e.order_key is not null and e.id between $4 and $5) k
    cross join lateral (
        select n.company_id, n.id from deliveries_waiting n
        where n.company_id = k.company_id and n.endpoint_id = k.endpoint_id
          and n.order_key = k.order_key
        order by n.sequence limit 1) n
    where d.company_id = any (array[n.company_id]) and d.id = n.id
      and d.due_at - 4503599627370496 >= 0
    returning d.company_id, d.endpoint_id, d.due_at";

/// Waiting deliveries to fail, column by column.
#[derive(Default)]
pub(super) struct Doomed {
    company: Vec<Uuid>,
    id: Vec<Uuid>,
    fence: Vec<Option<i64>>,
    reason: Vec<String>,
}

impl Doomed {
    /// One that nobody has claimed, but perhaps under this fence.
    pub(super) fn add(&mut self, (company, id): (Uuid, Uuid), fence: Option<u64>, reason: String) {
        let fence = i64::try_from(fence.unwrap_or(0)).unwrap_or(i64::MAX);
        self.push((company, id), Some(fence), reason);
    }

    /// One that may be claimed by anybody.
    pub(super) fn add_anyhow(&mut self, name: (Uuid, Uuid), reason: String) {
        self.push(name, None, reason);
    }

    fn push(&mut self, (company, id): (Uuid, Uuid), fence: Option<i64>, reason: String) {
        self.company.push(company);
        self.id.push(id);
        self.fence.push(fence);
        self.reason.push(reason);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.id.is_empty()
    }

    /// Fails them, and lets the next ones under their order keys go.
    pub(super) async fn end(&self, transaction: Transaction, now: Timestamp) -> Result<Ended> {
        self.end_and_note(transaction, now, None).await
    }

    /// The same, and notes it if one of them has ended.
    pub(super) async fn end_and_note(
        &self,
        transaction: Transaction,
        now: Timestamp,
        noted: Option<&Entry>,
    ) -> Result<Ended> {
        let (first, last) = span(&self.id).unwrap_or_default();
        let hold = transaction.prepare_cached(HOLD).await?;
        let end = transaction.prepare_cached(END).await?;
        let next = transaction.prepare_cached(LET_NEXT_GO).await?;
        let of_end: [&(dyn ToSql + Sync); 5] =
            [&self.company, &self.id, &self.fence, &self.reason, &now.0];
        let of_next: [&(dyn ToSql + Sync); 5] = [&self.company, &self.id, &now.0, &first, &last];
        let (_, _, ended, next) = tokio::try_join!(
            biased;
            transaction.batch_execute("begin"),
            transaction.query(&hold, &of_end[..2]),
            transaction.query(&end, &of_end),
            transaction.query(&next, &of_next),
        )?;
        if let Some(entry) = noted.filter(|_| !ended.is_empty()) {
            audit::note(&transaction, entry).await?;
        }
        transaction.batch_execute("commit").await?;
        transaction.ended();
        let ids = ended.iter().map(|row| Ok(DeliveryId::from_uuid(get(row, "id")?)));
        Ok(Ended { deliveries: ids.collect::<Result<_>>()?, woken: woken(&next)? })
    }
}

/// The lanes of those that may go, each once.
pub(super) fn woken(rows: &[Row]) -> Result<Vec<LaneKey>> {
    let mut lanes = Vec::with_capacity(rows.len());
    for row in rows {
        let company = CompanyId::from_uuid(get(row, "company_id")?);
        let endpoint = EndpointId::from_uuid(get(row, "endpoint_id")?);
        lanes.push(LaneKey { company, endpoint });
    }
    lanes.sort_unstable();
    lanes.dedup();
    Ok(lanes)
}
