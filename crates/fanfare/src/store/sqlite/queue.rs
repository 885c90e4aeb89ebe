//! The road: accept, claim, record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::{
    Claim, CompanyId, Delivery, DeliveryId, DeliveryState, Disabled, Endpoint, EndpointId, Event,
    EventId, LaneKey, PARKED_MS, Record, Shape, Timestamp, Verdict,
};
use crate::store::rows::{write_micros, write_outcome};
use crate::store::sqlite::accept::{accept, again, give_way};
use crate::store::sqlite::ending::{Doomed, Held, end, let_next_go};
use crate::store::sqlite::endpoints::{disable, found_endpoint};
use crate::store::sqlite::rows::{self, DELIVERY, EVENT};
use crate::store::sqlite::{Sqlite, Tx};
use crate::store::{
    Accepted, Admission, Claimed, Emit, Ended, Lane, Queue, Recorded, Result, Wanted,
};

const DUE: &str = "
    select id, event_id, shape, fence, attempts, probes, sequence, order_key is not null
    from deliveries indexed by deliveries_due
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at <= ?3
    order by due_at limit ?4";

const CLAIM: &str = "
    update deliveries set due_at = ?3, claimed = 1, fence = ?4
    where company_id = ?1 and id = ?2";

const NEXT_DUE: &str = "
    select due_at from deliveries indexed by deliveries_due
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at < ?3
    order by due_at limit 1";

const WAITING_OF: &str = "
    select id from deliveries indexed by deliveries_by_event
    where company_id = ?1 and event_id = ?2 and state = 0 order by id";

const HAS_EVENT: &str = "select exists (select 1 from events where company_id = ?1 and id = ?2)";

const RECORD: &str = "
    update deliveries set state = ?4, due_at = ?5, claimed = 0, attempts = ?6, reason = ?7,
        updated_at = ?8, probes = probes + ?9
    where company_id = ?1 and id = ?2 and fence = ?3 and claimed = 1 and state = 0";

const ADD_ATTEMPT: &str = "
    insert or ignore into attempts (company_id, delivery_id, fence, number, started_at,
        duration_us, url, request_headers, status, headers, body, flaw, queue_us, dns_us,
        connect_us, tls_us, first_byte_us, probe)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

const RELEASE: &str = "
    update deliveries set due_at = ?4, claimed = 0
    where company_id = ?1 and id = ?2 and fence = ?3 and state = 0 and claimed = 1";

// One seek: the first entry after all of the lane before.
const NEXT_LANE: &str = "
    select company_id, endpoint_id, due_at from deliveries indexed by deliveries_due
    where state = 0 and (company_id, endpoint_id) > (?1, ?2)
    order by company_id, endpoint_id, due_at limit 1";

// Only leases that have not run out: whatever is due already needs no voiding.
const VOID: &str = "
    update deliveries indexed by deliveries_due set due_at = ?3, claimed = 0
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at > ?3 and due_at <= ?4
        and claimed = 1";

#[async_trait]
impl Queue for Sqlite {
    async fn recover(&self, now: Timestamp, lease: Duration) -> Result<()> {
        self.write(move |tx| {
            let mut after = None;
            while let Some(lane) = next_lane(tx, after)? {
                let (company, endpoint) = (lane.key.company.uuid(), lane.key.endpoint.uuid());
                let mut void = tx.prepare_cached(VOID)?;
                void.execute(params![company, endpoint, now.0, now.plus(lease).0])?;
                after = Some(lane.key);
            }
            Ok(())
        })
        .await
    }

    async fn accept(&self, emits: Vec<Emit>, admission: &Admission) -> Result<Vec<Accepted>> {
        let admission = admission.clone();
        self.write(move |tx| accept(tx, &emits, &admission)).await
    }

    async fn claim(
        &self,
        wanted: &[Wanted],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>> {
        let wanted = wanted.to_vec();
        self.write(move |tx| wanted.iter().map(|lane| claim(tx, lane, now, lease)).collect()).await
    }

    async fn record(&self, record: Record) -> Result<Recorded> {
        self.write(move |tx| apply(tx, &record)).await
    }

    async fn release(&self, claims: &[Claim], now: Timestamp) -> Result<()> {
        let claims = claims.to_vec();
        self.write(move |tx| {
            let mut release = tx.prepare_cached(RELEASE)?;
            for claim in &claims {
                let (company, id) = (claim.endpoint.company.uuid(), claim.delivery.uuid());
                release.execute(params![company, id, claim.fence, now.0])?;
            }
            Ok(())
        })
        .await
    }

    async fn replay(
        &self,
        company: CompanyId,
        id: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>> {
        self.write(move |tx| {
            let Some(old) = found_delivery(tx, company, id)? else { return Ok(None) };
            let Some(endpoint) = found_endpoint(tx, company, old.endpoint)? else {
                return Ok(None);
            };
            let new = again(tx, &old, &endpoint, now)?;
            found_delivery(tx, company, new)
        })
        .await
    }

    async fn waiting_of(
        &self,
        company: CompanyId,
        event: EventId,
    ) -> Result<Option<Vec<Delivery>>> {
        self.read(move |db| waiting_of(db, company, event)).await
    }

    async fn end(
        &self,
        company: CompanyId,
        deliveries: &[(DeliveryId, Option<u64>)],
        reason: &str,
        now: Timestamp,
    ) -> Result<Ended> {
        let (deliveries, reason) = (deliveries.to_vec(), reason.to_owned());
        self.write(move |tx| {
            let mut ended = Ended::default();
            for (id, fence) in &deliveries {
                let held = fence.map_or(Held::Unclaimed, Held::Under);
                end(tx, &Doomed { company, id: *id, held, reason: reason.clone() }, now)?
                    .add_to(&mut ended);
            }
            Ok(ended)
        })
        .await
    }

    async fn lanes(&self, after: Option<LaneKey>, limit: u32) -> Result<Vec<Lane>> {
        self.read(move |db| {
            let (mut lanes, mut after) = (Vec::new(), after);
            while lanes.len() < limit as usize {
                let Some(lane) = next_lane(db, after)? else { break };
                after = Some(lane.key);
                if lane.due_at.0 >= PARKED_MS {
                    continue;
                }
                let endpoint = found_endpoint(db, lane.key.company, lane.key.endpoint)?;
                if endpoint.is_some_and(|endpoint| endpoint.disabled.is_none()) {
                    lanes.push(lane);
                }
            }
            Ok(lanes)
        })
        .await
    }
}

fn claim(tx: &Tx<'_>, lane: &Wanted, now: Timestamp, lease: Duration) -> rusqlite::Result<Claimed> {
    let key = lane.key;
    let endpoint = found_endpoint(tx, key.company, key.endpoint)?;
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.disabled.is_none()) else {
        return Ok(Claimed { key, claims: Vec::new(), next_due: None });
    };
    let endpoint = Arc::new(endpoint);
    let (company, id) = (key.company.uuid(), key.endpoint.uuid());
    let due: Vec<Due> = tx
        .prepare_cached(DUE)?
        .query_map(params![company, id, now.0, lane.limit], read_due)?
        .collect::<rusqlite::Result<_>>()?;
    let mut update = tx.prepare_cached(CLAIM)?;
    let mut claims = Vec::with_capacity(due.len());
    for due in due {
        update.execute(params![company, due.delivery.uuid(), now.plus(lease).0, due.fence + 1])?;
        claims.push(due.into_claim(tx, &endpoint)?);
    }
    let mut next = tx.prepare_cached(NEXT_DUE)?;
    let next_due = next.query_row(params![company, id, PARKED_MS], |row| row.get(0)).optional()?;
    let next_due = next_due.map(Timestamp);
    Ok(Claimed { key, claims, next_due })
}

/// What a claim needs of a delivery.
struct Due {
    delivery: DeliveryId,
    event: EventId,
    shape: Shape,
    fence: u64,
    attempts: u32,
    probes: u32,
    sequence: u64,
    ordered: bool,
}

fn read_due(row: &rusqlite::Row<'_>) -> rusqlite::Result<Due> {
    Ok(Due {
        delivery: DeliveryId::from_uuid(row.get(0)?),
        event: EventId::from_uuid(row.get(1)?),
        shape: rows::shape(row, 2)?,
        fence: row.get(3)?,
        attempts: row.get(4)?,
        probes: row.get(5)?,
        sequence: row.get(6)?,
        ordered: row.get(7)?,
    })
}

impl Due {
    fn into_claim(self, db: &Connection, endpoint: &Arc<Endpoint>) -> rusqlite::Result<Claim> {
        Ok(Claim {
            delivery: self.delivery,
            fence: self.fence + 1,
            attempts: self.attempts,
            probes: self.probes,
            sequence: self.sequence,
            ordered: self.ordered,
            shape: self.shape,
            event: Arc::new(event(db, endpoint.company, self.event)?),
            endpoint: Arc::clone(endpoint),
        })
    }
}

fn apply(tx: &mut Tx<'_>, record: &Record) -> rusqlite::Result<Recorded> {
    let Record { claim, attempt, verdict, at, .. } = record;
    let lane = claim.endpoint.lane();
    let (company, id) = (lane.company.uuid(), claim.delivery.uuid());
    let (state, due_at, reason) = match verdict {
        Verdict::Concluded => (DeliveryState::Concluded, *at, None),
        Verdict::RetryAt(due) => (DeliveryState::Waiting, *due, None),
        Verdict::Failed(reason) => (DeliveryState::Failed, *at, Some(reason.clone())),
        Verdict::Gone => (DeliveryState::Failed, *at, Some(Disabled::gone(*at).reason)),
    };
    let mut update = tx.prepare_cached(RECORD)?;
    let number = attempt.number;
    let applied = update.execute(params![
        company,
        id,
        claim.fence,
        state as u8,
        due_at.0,
        number,
        reason,
        at.0,
        attempt.probe,
    ])? == 1;
    drop(update);
    if applied && state != DeliveryState::Waiting {
        tx.count_out(lane, DeliveryState::Waiting);
        tx.count_in(lane, state);
    }
    // A late result of a delivery that has expired since has no history to go to.
    if applied || found_delivery(tx, lane.company, claim.delivery)?.is_some() {
        add_attempt(tx, record)?;
    }
    if applied && *verdict == Verdict::Gone {
        disable(tx, lane, &Disabled::gone(*at))?;
    }
    let retried = state == DeliveryState::Waiting;
    let next = if applied && retried && claim.event.ordering_key.is_some() {
        give_way(tx, lane, claim.delivery, *at)?
    } else if applied && !retried && claim.ordered {
        let_next_go(tx, lane.company, claim.delivery, *at)?
    } else {
        None
    };
    Ok(Recorded { applied, woken: next.map(|_| lane).into_iter().collect() })
}

fn waiting_of(
    db: &Connection,
    company: CompanyId,
    event: EventId,
) -> rusqlite::Result<Option<Vec<Delivery>>> {
    let of_event = [company.uuid(), event.uuid()];
    let mut waiting = db.prepare_cached(WAITING_OF)?;
    let ids = waiting.query_map(of_event, |row| Ok(DeliveryId::from_uuid(row.get(0)?)))?;
    let ids: Vec<DeliveryId> = ids.collect::<rusqlite::Result<_>>()?;
    let there = !ids.is_empty() || db.query_row(HAS_EVENT, of_event, |row| row.get(0))?;
    let found = ids.iter().filter_map(|id| found_delivery(db, company, *id).transpose());
    let found: Vec<Delivery> = found.collect::<rusqlite::Result<_>>()?;
    Ok(there.then_some(found))
}

fn add_attempt(tx: &Tx<'_>, record: &Record) -> rusqlite::Result<()> {
    let Record { claim, attempt, .. } = record;
    let (status, headers, body, flaw) = write_outcome(&attempt.outcome);
    let timing = attempt.timing;
    tx.prepare_cached(ADD_ATTEMPT)?.execute(params![
        claim.endpoint.company.uuid(),
        claim.delivery.uuid(),
        claim.fence,
        attempt.number,
        attempt.started_at.0,
        write_micros(attempt.duration),
        attempt.url,
        attempt.headers.as_text(),
        status,
        headers,
        body,
        flaw,
        timing.queue.map(write_micros),
        timing.dns.map(write_micros),
        timing.connect.map(write_micros),
        timing.tls.map(write_micros),
        timing.first_byte.map(write_micros),
        attempt.probe,
    ])?;
    Ok(())
}

/// An event that a delivery names.
pub(super) fn event(db: &Connection, company: CompanyId, id: EventId) -> rusqlite::Result<Event> {
    let sql = format!("select {EVENT} from events where company_id = ?1 and id = ?2");
    db.prepare_cached(&sql)?.query_row([company.uuid(), id.uuid()], rows::event)
}

pub(super) fn found_delivery(
    db: &Connection,
    company: CompanyId,
    id: DeliveryId,
) -> rusqlite::Result<Option<Delivery>> {
    let sql = format!("select {DELIVERY} from deliveries where company_id = ?1 and id = ?2");
    db.prepare_cached(&sql)?.query_row([company.uuid(), id.uuid()], rows::delivery).optional()
}

/// The first lane with something waiting after the one named.
pub(super) fn next_lane(db: &Connection, after: Option<LaneKey>) -> rusqlite::Result<Option<Lane>> {
    let (company, endpoint) =
        after.map_or((Uuid::nil(), Uuid::nil()), |key| (key.company.uuid(), key.endpoint.uuid()));
    let mut statement = db.prepare_cached(NEXT_LANE)?;
    let lane = statement.query_row([company, endpoint], |row| {
        Ok(Lane {
            key: LaneKey {
                company: CompanyId::from_uuid(row.get(0)?),
                endpoint: EndpointId::from_uuid(row.get(1)?),
            },
            due_at: Timestamp(row.get(2)?),
        })
    });
    lane.optional()
}
