//! The road's way through the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::model::{
    Claim, CompanyId, Delivery, DeliveryId, Endpoint, EndpointId, Event, EventId, LaneKey,
    PARKED_MS, Record, Timestamp,
};
use crate::store::postgres::Postgres;
use crate::store::postgres::accept::Call;
use crate::store::postgres::doubt::Doubt;
use crate::store::postgres::ending::Doomed;
use crate::store::postgres::nodes::MEMBER;
use crate::store::postgres::rows::{
    self, delivery_columns, endpoint_columns, event_columns, get, keys, span, unsigned,
};
use crate::store::postgres::transaction::Transaction;
use crate::store::{
    Accepted, Admission, Claimed, Emit, Ended, Lane, Queue, Recorded, Result, StoreError, Unsent,
    Wanted,
};

// Of the deliveries that wait there are often none, and a plan may be from then: to read them all
// seemed cheap. By `= any (array[…])` a company's rows are found in an index like by `=`, but the other
// way round, to look through all rows for those that are wanted, is no choice. So it is with `lateral`
// and `offset 0`.

const RELEASE: &str = "
    update deliveries_waiting d set claimed = false, due_at = $4
    from (select * from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as c (company_id, id, fence)
          order by company_id, id) c
    where d.company_id = any (array[c.company_id]) and d.id = c.id and d.fence = c.fence
      and d.claimed";

/// Each lane gives its longest due, if this node has its shard: the one who takes that away sees what
/// is claimed here, or nothing is ([`MEMBER`]). For a probe, a lane that has nothing due gives what
/// waits for a retry, the next one due: what was never tried has its own time, and what is parked
/// waits for another one. Where nothing of a lane is due before a time, its walk begins there: what
/// old snapshots keep of earlier rows lies before it. The events come in a statement of their own
/// ([`EVENTS`]), which knows which days to look into.
const CLAIM: &str = concat!(
    "with lane as materialized (
        select w.n, w.room, w.probe, w.earliest, ",
    endpoint_columns!(),
    "   from unnest($1::int[], $2::uuid[], $3::uuid[], $4::bigint[], $7::bool[], $10::bigint[],
                    $11::bigint[])
             as w (n, company_id, endpoint_id, room, probe, epoch, earliest)
        join shards s on s.shard = get_byte(uuid_send(w.endpoint_id), 15) & 63
             and s.node = $9 and s.epoch = w.epoch
        join endpoints e on e.company_id = w.company_id and e.id = w.endpoint_id
        where e.disabled_at is null and e.deleted_at is null),
    due as materialized (
        select l.n, d.company_id, d.id, d.due_at
        from lane l cross join lateral (
            select d.company_id, d.id, d.due_at from deliveries_waiting d
            where d.company_id = l.company_id and d.endpoint_id = l.endpoint_id
              and d.due_at >= l.earliest and d.due_at <= $5
            order by d.due_at, d.id limit l.room for update skip locked) d),
    forward as materialized (
        select l.n, d.company_id, d.id, d.due_at
        from lane l cross join lateral (
            select d.company_id, d.id, d.due_at from deliveries_waiting d
            where d.company_id = l.company_id and d.endpoint_id = l.endpoint_id
              and d.attempts > 0 and not d.claimed
              and d.due_at > $5 and d.due_at < $8 and d.due_at >= l.earliest
            order by d.due_at, d.id limit 1 for update skip locked) d
        where l.probe and not exists (select from due where due.n = l.n)),
    taken as (
        update deliveries_waiting d set fence = d.fence + 1, due_at = $6, claimed = true
        from (select * from due union all select * from forward) due
        where d.company_id = any (array[due.company_id]) and d.id = due.id
        returning due.n, due.due_at as was_due_at, d.company_id, d.id, d.event_id, d.fence,
                  d.attempts, d.probes, d.sequence, d.order_key is not null as ordered, d.shape)
    select t.n, t.id as delivery_id, t.fence, t.was_due_at, t.attempts, t.probes, t.sequence,
           t.ordered, t.shape, t.event_id, l.*
    from taken t join lane l on l.n = t.n
    order by t.n, t.was_due_at, t.id"
);

/// By the first and the last of their ids, so that no other days are looked into.
const EVENTS: &str = concat!(
    "select ",
    event_columns!(),
    " from unnest($1::uuid[], $2::uuid[]) as q (company_id, id)
    join events v on v.company_id = q.company_id and v.id = q.id
    where v.id between $3 and $4"
);

/// Sent behind the claim in the same transaction, so it sees what was claimed.
const NEXT_DUE: &str = "
    select w.n, d.due_at
    from unnest($1::int[], $2::uuid[], $3::uuid[], $4::bigint[])
        as w (n, company_id, endpoint_id, earliest)
    join endpoints e on e.company_id = w.company_id and e.id = w.endpoint_id
    cross join lateral (
        select d.due_at from deliveries_waiting d
        where d.company_id = w.company_id and d.endpoint_id = w.endpoint_id
          and d.due_at >= w.earliest and d.due_at < 4503599627370496
        order by d.due_at, d.id limit 1) d
    where e.disabled_at is null and e.deleted_at is null";

const WAITING_OF: &str = concat!(
    "with d as materialized (
        select * from deliveries_waiting where company_id = $1 and event_id = $2)
    select ",
    delivery_columns!(),
    " from d order by d.id"
);

const HAS_EVENT: &str = "select 1 from events where company_id = $1 and id = $2";

/// From lane to lane, one seek each: the first row behind a lane begins the next one.
const LANES: &str = "
    with recursive lane as (
        (select company_id, endpoint_id, due_at from deliveries_waiting
         where (company_id, endpoint_id) > ($1::uuid, $2::uuid)
         order by company_id, endpoint_id, due_at, id limit 1)
        union all
        select next.* from lane cross join lateral (
            select company_id, endpoint_id, due_at from deliveries_waiting
            where (company_id, endpoint_id) > (lane.company_id, lane.endpoint_id)
            order by company_id, endpoint_id, due_at, id limit 1) next)
    select l.company_id, l.endpoint_id, l.due_at, e.failing_since, e.held_until
    from lane l join lateral (
        select e.failing_since, e.held_until from endpoints e
        where e.company_id = l.company_id and e.id = l.endpoint_id
          and e.disabled_at is null and e.deleted_at is null) e on true
    where l.due_at < 4503599627370496
      and get_byte(uuid_send(l.endpoint_id), 15) & 63 = any($4::int[])
    limit $3";

#[async_trait]
impl Queue for Postgres {
    async fn accept(&self, emits: Vec<Emit>, admission: &Admission) -> Result<Vec<Accepted>> {
        self.emits.submit(Call::new(emits, admission)).await
    }

    async fn claim(
        &self,
        wanted: &[Wanted],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<i32> = (0..).take(wanted.len()).collect();
        let companies: Vec<Uuid> = wanted.iter().map(|lane| lane.key.company.uuid()).collect();
        let endpoints: Vec<Uuid> = wanted.iter().map(|lane| lane.key.endpoint.uuid()).collect();
        let rooms: Vec<i64> = wanted.iter().map(|lane| i64::from(lane.limit)).collect();
        let probes: Vec<bool> = wanted.iter().map(|lane| lane.probe).collect();
        let until = now.plus(lease);
        let earliest: Vec<i64> = wanted.iter().map(|lane| lane.earliest.0).collect();
        let seat = self.database.membership.seat();
        let node = seat.node();
        let epochs: Vec<i64> = endpoints.iter().map(|endpoint| seat.epoch(*endpoint)).collect();
        let of_claim: [&(dyn ToSql + Sync); 11] = [
            &numbers, &companies, &endpoints, &rooms, &now.0, &until.0, &probes, &PARKED_MS, &node,
            &epochs, &earliest,
        ];
        let of_lanes: [&(dyn ToSql + Sync); 4] = [&numbers, &companies, &endpoints, &earliest];
        let client = Transaction::on(self.database.writer().await?);
        let claim = client.prepare_cached(CLAIM).await?;
        let next_due = client.prepare_cached(NEXT_DUE).await?;
        let member = client.prepare_cached(MEMBER).await?;
        let of_member: [&(dyn ToSql + Sync); 1] = [&node];
        let claimed = async {
            let ((), _, claims, next_due) = tokio::try_join!(
                biased;
                client.batch_execute("begin"),
                client.query(&member, &of_member),
                client.query(&claim, &of_claim),
                client.query(&next_due, &of_lanes),
            )?;
            let events = load_events(&client, &claims).await?;
            Ok::<_, StoreError>((claims, events, next_due))
        };
        let claimed = claimed.await;
        if claimed.is_err() {
            let lanes = wanted.iter().map(|lane| lane.key).collect();
            self.database.doubts.add([Doubt::Claimed { lanes, at: now, until }]);
        }
        let (claims, events, next_due) = claimed?;
        client.ended();
        gather(wanted, (&claims, &events), &next_due)
    }

    async fn record(&self, record: Record) -> Result<Recorded> {
        self.records.submit(record).await
    }

    async fn release(&self, claims: &[Claim], now: Timestamp) -> Result<()> {
        let companies: Vec<Uuid> =
            claims.iter().map(|claim| claim.endpoint.company.uuid()).collect();
        let deliveries: Vec<Uuid> = claims.iter().map(|claim| claim.delivery.uuid()).collect();
        let fences: Vec<i64> = claims.iter().map(fence_of).collect();
        let client = self.database.writer().await?;
        let statement = client.prepare_cached(RELEASE).await?;
        client.execute(&statement, &[&companies, &deliveries, &fences, &now.0]).await?;
        Ok(())
    }

    async fn waiting_of(
        &self,
        company: CompanyId,
        event: EventId,
    ) -> Result<Option<Vec<Delivery>>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(WAITING_OF).await?;
        let found = client.query(&statement, &[&company.uuid(), &event.uuid()]).await?;
        if found.is_empty()
            && client.query_opt(HAS_EVENT, &[&company.uuid(), &event.uuid()]).await?.is_none()
        {
            return Ok(None);
        }
        found.iter().map(rows::delivery).collect::<Result<_>>().map(Some)
    }

    async fn end(
        &self,
        company: CompanyId,
        deliveries: &[(DeliveryId, Option<u64>)],
        ending: &Unsent,
    ) -> Result<Ended> {
        let Unsent { reason, at, noted } = ending;
        let mut doomed = Doomed::default();
        for (id, fence) in deliveries {
            doomed.add((company.uuid(), id.uuid()), *fence, rows::text(reason).into_owned());
        }
        let transaction = Transaction::on(self.database.writer().await?);
        doomed.end_and_note(transaction, *at, noted.as_ref()).await
    }

    async fn lanes(&self, after: Option<LaneKey>, limit: u32) -> Result<Vec<Lane>> {
        // No lane comes before the nil ids.
        let (company, endpoint) =
            after.map_or_else(Default::default, |key| (key.company.uuid(), key.endpoint.uuid()));
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(LANES).await?;
        let held = self.database.membership.seat().held;
        let shards: Vec<i32> = held.iter().map(i32::from).collect();
        let limit = i64::from(limit);
        let rows = client.query(&statement, &[&company, &endpoint, &limit, &shards]).await?;
        rows.iter().map(read_lane).collect()
    }
}

/// The events of what was claimed, and the end of the transaction.
async fn load_events(client: &Transaction, claims: &[Row]) -> Result<Events> {
    let (companies, ids) = keys(claims.iter(), "event_id")?;
    let Some((first, last)) = span(&ids) else {
        client.batch_execute("commit").await?;
        return Ok(Events::new());
    };
    let events = client.prepare_cached(EVENTS).await?;
    let of_events: [&(dyn ToSql + Sync); 4] = [&companies, &ids, &first, &last];
    let (rows, ()) = tokio::try_join!(
        biased;
        client.query(&events, &of_events),
        client.batch_execute("commit"),
    )?;
    let read = |row| {
        let event = rows::event(row)?;
        Ok(((event.company, event.id), Arc::new(event)))
    };
    rows.iter().map(read).collect()
}

type Events = HashMap<(CompanyId, EventId), Arc<Event>>;

/// One answer for each lane wanted, in the order they were.
fn gather(
    wanted: &[Wanted],
    (claims, events): (&[Row], &Events),
    next_due: &[Row],
) -> Result<Vec<Claimed>> {
    let empty = |lane: &Wanted| Claimed { key: lane.key, claims: Vec::new(), next_due: None };
    let mut claimed: Vec<Claimed> = wanted.iter().map(empty).collect();
    let mut endpoints: HashMap<LaneKey, Arc<Endpoint>> = HashMap::new();
    for row in claims {
        let Some(lane) = lane_of(row, &mut claimed)? else { continue };
        let endpoint = match endpoints.get(&lane.key) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(rows::endpoint(row)?),
        };
        endpoints.insert(lane.key, Arc::clone(&endpoint));
        let event = EventId::from_uuid(get(row, "event_id")?);
        if let Some(event) = events.get(&(lane.key.company, event)) {
            lane.claims.push(read_claim(row, endpoint, Arc::clone(event))?);
        }
    }
    for row in next_due {
        if let Some(lane) = lane_of(row, &mut claimed)? {
            lane.next_due = Some(Timestamp(get(row, "due_at")?));
        }
    }
    Ok(claimed)
}

fn lane_of<'a>(row: &Row, claimed: &'a mut [Claimed]) -> Result<Option<&'a mut Claimed>> {
    let number: i32 = get(row, "n")?;
    Ok(claimed.get_mut(number.unsigned_abs() as usize))
}

fn read_claim(row: &Row, endpoint: Arc<Endpoint>, event: Arc<Event>) -> Result<Claim> {
    Ok(Claim {
        delivery: DeliveryId::from_uuid(get(row, "delivery_id")?),
        fence: rows::fence(row)?,
        due_at: Timestamp(get(row, "was_due_at")?),
        attempts: unsigned(get(row, "attempts")?, "number of attempts")?,
        probes: unsigned(get(row, "probes")?, "number of probes")?,
        sequence: rows::sequence(row)?,
        ordered: get(row, "ordered")?,
        shape: rows::shape(row, "shape")?,
        event,
        endpoint,
    })
}

/// A claim's number as a column; none is ever so large.
pub(super) fn fence_of(claim: &Claim) -> i64 {
    i64::try_from(claim.fence).unwrap_or(i64::MAX)
}

fn read_lane(row: &Row) -> Result<Lane> {
    let company = CompanyId::from_uuid(get(row, "company_id")?);
    let endpoint = EndpointId::from_uuid(get(row, "endpoint_id")?);
    let due_at = Timestamp(get(row, "due_at")?);
    Ok(Lane { key: LaneKey { company, endpoint }, due_at, health: rows::health(row)? })
}
