//! Deliveries that a newer one of the same type and key makes superfluous.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::model::{DeliveryId, Event};
use crate::store::Result;
use crate::store::birth;
use crate::store::postgres::ending::{LET_NEXT_GO, move_ended};
use crate::store::postgres::rows::{get, span};
use crate::store::postgres::transaction::Transaction;

/// Sent behind the counts, which hold the lanes, and the deliveries. What a claimer takes meanwhile
/// is left to it. The newest takes over the earliest time of those that were not tried yet; the bits
/// of a due time below the one that parks it tell when it may be sent.
const SUPERSEDE: &str = concat!(
    "with newest as materialized (
        select n.company_id, n.endpoint_id, n.coalesce_key, n.sequence, n.id, w.at, w.not_before
        from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
            as w (company_id, id, at, not_before)
        join deliveries_waiting n
            on n.company_id = any (array[w.company_id]) and n.id = w.id),
    older as materialized (
        select d.company_id, d.id, d.attempts, d.due_at & 4503599627370495 as start,
               n.id as newer, n.at, n.not_before
        from newest n
        cross join lateral (
            select d.company_id, d.id, d.attempts, d.due_at from deliveries_waiting d
            where d.company_id = n.company_id and d.endpoint_id = n.endpoint_id
              and d.coalesce_key = n.coalesce_key and d.sequence < n.sequence and not d.claimed
            for update) d),
    ended as (
        delete from deliveries_waiting d using older o
        where d.company_id = any (array[o.company_id]) and d.id = o.id
        returning d.*, 2::smallint as ended_as, o.at as ended_at,
                  'superseded by ' || o.newer as ended_by, o.newer, 0 as tried, 0 as probed),
    moved as (",
    move_ended!(),
    "),
    tally as (
        update counts c set waiting = c.waiting - e.count, failed = c.failed + e.count
        from (select company_id, endpoint_id, count(*) as count from ended
              group by company_id, endpoint_id) e
        where c.company_id = e.company_id and c.endpoint_id = e.endpoint_id),
    taken_over as (
        update deliveries_waiting d
        set due_at = (d.due_at & 4503599627370496)
            + greatest(o.not_before, least(d.due_at & 4503599627370495, o.earliest))
        from (select company_id, newer, max(not_before) as not_before, min(start) as earliest
              from older where attempts = 0 group by company_id, newer) o
        where d.company_id = any (array[o.company_id]) and d.id = o.newer)
    select company_id, id from ended"
);

/// Ends what would be tried again, if a newer one of its type and key waits.
pub(super) const GIVE_WAY: &str = concat!(
    "with older as materialized (
        select e.company_id, e.id,
               (select n.id from deliveries_waiting n
                where n.company_id = e.company_id and n.endpoint_id = e.endpoint_id
                  and n.coalesce_key = e.coalesce_key and n.sequence > e.sequence
                order by n.sequence desc limit 1) as newer
        from unnest($1::uuid[], $2::uuid[]) as x (company_id, id)
        cross join lateral (
            select * from deliveries_waiting e
            where e.company_id = x.company_id and e.id = x.id offset 0) e
        where e.coalesce_key is not null and not e.claimed),
    ended as (
        delete from deliveries_waiting d using older o
        where d.company_id = any (array[o.company_id]) and d.id = o.id
          and o.newer is not null and not d.claimed
        returning d.*, 2::smallint as ended_as, $3::bigint as ended_at,
                  'superseded by ' || o.newer as ended_by, o.newer, 0 as tried, 0 as probed),
    moved as (",
    move_ended!(),
    ")
    update counts c set waiting = c.waiting - e.count, failed = c.failed + e.count
    from (select company_id, endpoint_id, count(*) as count from ended
          group by company_id, endpoint_id) e
    where c.company_id = e.company_id and c.endpoint_id = e.endpoint_id"
);

/// The newest of each lane's coalescing keys in a batch.
#[derive(Default)]
pub(super) struct Newest(BTreeMap<(Uuid, Uuid, String), One>);

struct One {
    id: Uuid,
    at: i64,
    not_before: i64,
}

impl Newest {
    /// One that comes after all before it.
    pub(super) fn add(
        &mut self,
        event: &Event,
        (company, endpoint): (Uuid, Uuid),
        (key, id): (&str, DeliveryId),
    ) {
        let (at, not_before) = (event.created_at.0, birth::not_before(event).0.max(0));
        let one = One { id: id.uuid(), at, not_before };
        self.0.insert((company, endpoint, key.to_owned()), one);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends what is older and lets go what waited behind it. Returns by endpoint when something
    /// falls due by that.
    pub(super) async fn supersede(&self, transaction: &Transaction) -> Result<HashMap<Uuid, i64>> {
        let mut freed: HashMap<Uuid, i64> = HashMap::new();
        if self.is_empty() {
            return Ok(freed);
        }
        let companies: Vec<Uuid> = self.0.keys().map(|(company, ..)| *company).collect();
        let ids: Vec<Uuid> = self.0.values().map(|one| one.id).collect();
        let at: Vec<i64> = self.0.values().map(|one| one.at).collect();
        let not_before: Vec<i64> = self.0.values().map(|one| one.not_before).collect();
        let statement = transaction.prepare_cached(SUPERSEDE).await?;
        let of_newest: [&(dyn ToSql + Sync); 4] = [&companies, &ids, &at, &not_before];
        let ended = transaction.query(&statement, &of_newest).await?;
        if ended.is_empty() {
            return Ok(freed);
        }
        let companies: Vec<Uuid> =
            ended.iter().map(|row| get(row, "company_id")).collect::<Result<_>>()?;
        let ids: Vec<Uuid> = ended.iter().map(|row| get(row, "id")).collect::<Result<_>>()?;
        let now = at.iter().copied().max().unwrap_or_default();
        let statement = transaction.prepare_cached(LET_NEXT_GO).await?;
        let (first, last) = span(&ids).unwrap_or_default();
        for row in transaction.query(&statement, &[&companies, &ids, &now, &first, &last]).await? {
            let due_at: i64 = get(&row, "due_at")?;
            let first = freed.entry(get(&row, "endpoint_id")?).or_insert(due_at);
            *first = due_at.min(*first);
        }
        Ok(freed)
    }
}
