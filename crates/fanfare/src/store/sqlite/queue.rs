//! The road: accept, claim, record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::{
    Claim, CompanyId, Delivery, DeliveryId, Endpoint, EndpointId, Event, EventId, Health, LaneKey,
    PARKED_MS, Record, Shape, Timestamp,
};
use crate::store::sqlite::accept::accept;
use crate::store::sqlite::ending::{Doomed, Held, end};
use crate::store::sqlite::endpoints::found_endpoint;
use crate::store::sqlite::rows::{self, DELIVERY, EVENT};
use crate::store::sqlite::{Sqlite, Tx, audit, record};
use crate::store::{
    Accepted, Admission, Claimed, Emit, Ended, Lane, Queue, Recorded, Result, Unsent, Wanted,
};

/// Events that one call may bring without being kept apart from the calls of others.
const FEW: usize = 16;

const DUE: &str = "
    select id, event_id, shape, fence, attempts, probes, sequence, due_at, order_key is not null
    from deliveries indexed by deliveries_due
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at <= ?3
    order by due_at limit ?4";

// For a probe: what waits for a retry, the next one due. What was never tried has its own time, and
// what is parked waits for another one.
const RETRYING: &str = "
    select id, event_id, shape, fence, attempts, probes, sequence, due_at, order_key is not null
    from deliveries indexed by deliveries_retrying
    where state = 0 and attempts > 0 and company_id = ?1 and endpoint_id = ?2 and due_at > ?3
        and due_at < ?4 and claimed = 0
    order by due_at limit 1";

const CLAIM: &str = "
    update deliveries set due_at = ?3, claimed = 1, fence = ?4
    where company_id = ?1 and id = ?2";

const CLAIM_FREED: &str = "
    update deliveries set due_at = ?4, claimed = 1, fence = fence + 1
    where company_id = ?1 and id = ?2
    returning id, event_id, shape, fence - 1, attempts, probes, sequence, ?3, order_key is not null";

const NEXT_DUE: &str = "
    select due_at from deliveries indexed by deliveries_due
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at < ?3
    order by due_at limit 1";

const WAITING_OF: &str = "
    select id from deliveries indexed by deliveries_by_event
    where company_id = ?1 and event_id = ?2 and state = 0 order by id";

const HAS_EVENT: &str = "select exists (select 1 from events where company_id = ?1 and id = ?2)";

const RELEASE: &str = "
    update deliveries set due_at = ?4, claimed = 0
    where company_id = ?1 and id = ?2 and fence = ?3 and state = 0 and claimed = 1";

// One seek: the first entry after all of the lane before.
const NEXT_LANE: &str = "
    select company_id, endpoint_id, due_at from deliveries indexed by deliveries_due
    where state = 0 and (company_id, endpoint_id) > (?1, ?2)
    order by company_id, endpoint_id, due_at limit 1";

#[async_trait]
impl Queue for Sqlite {
    async fn accept(&self, emits: Vec<Emit>, admission: &Admission) -> Result<Vec<Accepted>> {
        let admission = admission.clone();
        if emits.len() > FEW {
            return self.write_much(move |tx| accept(tx, &emits, &admission)).await;
        }
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
        self.write(move |tx| record::apply(tx, &record)).await
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
        ending: &Unsent,
    ) -> Result<Ended> {
        let (deliveries, ending) = (deliveries.to_vec(), ending.clone());
        self.write(move |tx| {
            let mut ended = Ended::default();
            for (id, fence) in &deliveries {
                let held = fence.map_or(Held::Unclaimed, Held::Under);
                let doomed = Doomed { company, id: *id, held, reason: ending.reason.clone() };
                end(tx, &doomed, ending.at)?.add_to(&mut ended);
            }
            if let Some(entry) = ending.noted.as_ref().filter(|_| !ended.deliveries.is_empty()) {
                audit::note(tx, entry)?;
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
                if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.disabled.is_none()) {
                    lanes.push(Lane { health: endpoint.health, ..lane });
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
    let mut due: Vec<Due> = tx
        .prepare_cached(DUE)?
        .query_map(params![company, id, now.0, lane.limit], read_due)?
        .collect::<rusqlite::Result<_>>()?;
    if lane.probe && due.is_empty() {
        let mut retrying = tx.prepare_cached(RETRYING)?;
        let next = params![company, id, now.0, PARKED_MS];
        due.extend(retrying.query_row(next, read_due).optional()?);
    }
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

/// Claims a delivery that has just been let go.
pub(super) fn claim_freed(
    tx: &Tx<'_>,
    endpoint: &Arc<Endpoint>,
    id: DeliveryId,
    now: Timestamp,
    lease: Duration,
) -> rusqlite::Result<Claim> {
    let company = endpoint.company.uuid();
    let mut claim = tx.prepare_cached(CLAIM_FREED)?;
    let until = now.plus(lease).0;
    claim.query_row(params![company, id.uuid(), now.0, until], read_due)?.into_claim(tx, endpoint)
}

/// What a claim needs of a delivery.
struct Due {
    delivery: DeliveryId,
    event: EventId,
    shape: Shape,
    fence: u64,
    due_at: Timestamp,
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
        due_at: Timestamp(row.get(7)?),
        ordered: row.get(8)?,
    })
}

impl Due {
    fn into_claim(self, db: &Connection, endpoint: &Arc<Endpoint>) -> rusqlite::Result<Claim> {
        Ok(Claim {
            delivery: self.delivery,
            fence: self.fence + 1,
            due_at: self.due_at,
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

/// The first lane with something waiting after the one named, its health aside.
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
            health: Health::default(),
        })
    });
    lane.optional()
}
