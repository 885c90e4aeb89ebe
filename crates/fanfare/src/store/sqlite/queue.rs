//! The road: accept, claim, record.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::filter::Subject;
use crate::model::{
    Claim, CompanyId, Delivery, DeliveryId, DeliveryState, Endpoint, EndpointId, Event, EventId,
    Health, LaneKey, Listeners, PARKED_MS, Record, Shape, Timestamp,
};
use crate::store::sqlite::endpoints::{found_endpoint, make_company};
use crate::store::sqlite::rows::{self, DELIVERY, EVENT};
use crate::store::sqlite::{Sqlite, Tx, record};
use crate::store::{
    Accepted, Admission, Claimed, Emit, Lane, Queue, Receipt, Recorded, Result, Wanted,
};

const ADD_EVENT: &str = "
    insert into events (company_id, id, type, payload, created_at, deliveries, ordering_key,
        deliver_at, expires_at, operational)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const ADD_DELIVERY: &str = "
    insert into deliveries (company_id, id, endpoint_id, event_id, shape, state, due_at, claimed,
        fence, attempts, replay_of, updated_at, sequence)
    values (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?7, 0, ?8, ?9, ?10)";

const ADD_KEY: &str = "insert into idempotency (company_id, key, event_id) values (?1, ?2, ?3)";

const EVENT_OF_KEY: &str = "select event_id from idempotency where company_id = ?1 and key = ?2";

const SAME_EVENT: &str = "
    select created_at, deliveries, type = ?3 and payload = ?4 from events
    where company_id = ?1 and id = ?2";

const DUE: &str = "
    select id, event_id, shape, fence, attempts, probes, sequence, due_at
    from deliveries indexed by deliveries_due
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at <= ?3
    order by due_at limit ?4";

// For a probe: what waits for a retry, the next one due. What was never tried has its own time, and
// what is parked waits for another one.
const RETRYING: &str = "
    select id, event_id, shape, fence, attempts, probes, sequence
    from deliveries indexed by deliveries_retrying
    where state = 0 and attempts > 0 and company_id = ?1 and endpoint_id = ?2 and due_at > ?3
        and due_at < ?4 and claimed = 0
    order by due_at limit 1";

const CLAIM: &str = "
    update deliveries set due_at = ?3, claimed = 1, fence = ?4
    where company_id = ?1 and id = ?2";

const NEXT_DUE: &str = "
    select due_at from deliveries indexed by deliveries_due
    where state = 0 and company_id = ?1 and endpoint_id = ?2 order by due_at limit 1";

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

    async fn accept(&self, emit: Emit, admission: &Admission) -> Result<Accepted> {
        let admission = admission.clone();
        let emit =
            Accepting { event: Arc::new(emit.event), id_given: emit.id_given, key: emit.key };
        self.write(move |tx| {
            if let Some(before) = accepted_before(tx, &emit)? {
                return Ok(before);
            }
            accept(tx, &emit, &admission)
        })
        .await
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

    async fn lanes(&self, after: Option<LaneKey>, limit: u32) -> Result<Vec<Lane>> {
        self.read(move |db| {
            let (mut lanes, mut after) = (Vec::new(), after);
            while lanes.len() < limit as usize {
                let Some(lane) = next_lane(db, after)? else { break };
                after = Some(lane.key);
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

/// An emit whose parts can be shared with claims.
pub(super) struct Accepting {
    pub(super) event: Arc<Event>,
    pub(super) id_given: bool,
    pub(super) key: Option<String>,
}

fn accepted_before(tx: &Tx<'_>, emit: &Accepting) -> rusqlite::Result<Option<Accepted>> {
    let event = &emit.event;
    let company = event.company.uuid();
    let mut before = emit.id_given.then_some(event.id.uuid());
    if let Some(key) = &emit.key {
        let mut by_key = tx.prepare_cached(EVENT_OF_KEY)?;
        before = by_key.query_row(params![company, key], |row| row.get(0)).optional()?.or(before);
    }
    let Some(id) = before else { return Ok(None) };
    let mut same = tx.prepare_cached(SAME_EVENT)?;
    let name = event.event_type.as_str();
    same.query_row(params![company, id, name, &event.payload[..]], |row| {
        let receipt = Receipt {
            id: EventId::from_uuid(id),
            created_at: Timestamp(row.get(0)?),
            deliveries: row.get(1)?,
        };
        // A key that was used with another id is not the same event either.
        let same_id = !emit.id_given || id == event.id.uuid();
        let same = row.get(2)? && same_id;
        Ok(if same { Accepted::Repeat(receipt) } else { Accepted::Conflict(receipt) })
    })
    .optional()
}

pub(super) fn accept(
    tx: &mut Tx<'_>,
    emit: &Accepting,
    admission: &Admission,
) -> rusqlite::Result<Accepted> {
    let event = &emit.event;
    let (company, now) = (event.company, event.created_at);
    if tx.is_new_name(company) {
        make_company(tx, company, now)?;
    }
    let listeners = tx.listeners(company, |db| read_listeners(db, company))?;
    let payload = Subject::new(&event.payload);
    let mut hearing = listeners.of(event);
    hearing.retain(|endpoint| endpoint.wants(&payload));
    tx.prepare_cached(ADD_EVENT)?.execute(params![
        company.uuid(),
        event.id.uuid(),
        event.event_type.as_str(),
        &event.payload[..],
        now.0,
        hearing.len(),
        event.ordering_key,
        event.deliver_at.map(|at| at.0),
        event.expires_at.map(|at| at.0),
        event.operational,
    ])?;
    if let Some(key) = &emit.key {
        tx.prepare_cached(ADD_KEY)?.execute(params![company.uuid(), key, event.id.uuid()])?;
    }
    let (mut claims, mut waiting) = (Vec::new(), Vec::new());
    for endpoint in hearing {
        let delivery = DeliveryId::new(now);
        let claimed = (admission.may_claim)(endpoint.id);
        let due_at = if claimed { now.plus(admission.lease) } else { now };
        let sequence = tx.next_sequence(endpoint.lane())?;
        tx.prepare_cached(ADD_DELIVERY)?.execute(params![
            company.uuid(),
            delivery.uuid(),
            endpoint.id.uuid(),
            event.id.uuid(),
            endpoint.shape.encode(),
            due_at.0,
            claimed,
            None::<Uuid>,
            now.0,
            sequence,
        ])?;
        tx.count_in(endpoint.lane(), DeliveryState::Waiting);
        if claimed {
            let (event, shape) = (Arc::clone(event), endpoint.shape);
            claims.push(Claim {
                delivery,
                fence: 1,
                due_at: now,
                attempts: 0,
                probes: 0,
                sequence,
                shape,
                event,
                endpoint,
            });
        } else {
            waiting.push(endpoint.id);
        }
    }
    Ok(Accepted::New { claims, waiting })
}

pub(super) fn read_listeners(db: &Connection, company: CompanyId) -> rusqlite::Result<Listeners> {
    let sql = format!(
        "select {} from endpoints where company_id = ?1 and disabled_at is null
             and deleted_at is null",
        rows::ENDPOINT
    );
    let mut statement = db.prepare_cached(&sql)?;
    let endpoints = statement.query_map([company.uuid()], rows::endpoint)?;
    Ok(Listeners::new(endpoints.collect::<rusqlite::Result<Vec<_>>>()?))
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
    let next_due = next.query_row([company, id], |row| row.get(0)).optional()?.map(Timestamp);
    Ok(Claimed { key, claims, next_due })
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
            shape: self.shape,
            event: Arc::new(event(db, endpoint.company, self.event)?),
            endpoint: Arc::clone(endpoint),
        })
    }
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
