//! Emits: what is known already, and what is to be stored.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::filter::Subject;
use crate::model::{
    Claim, CompanyId, DeliveryId, DeliveryState, Endpoint, EndpointId, Event, EventId, LaneKey,
    Listeners, ReplayId, Shape, Timestamp,
};
use crate::store::birth::{self, Birth};
use crate::store::known::{self, Decision, Found};
use crate::store::sqlite::Tx;
use crate::store::sqlite::ending::let_next_go;
use crate::store::sqlite::endpoints::make_company;
use crate::store::sqlite::rows;
use crate::store::{Accepted, Admission, Emit, Name, Receipt};

const ADD_EVENT: &str = "
    insert into events (company_id, id, type, payload, created_at, deliveries, ordering_key,
        deliver_at, expires_at, operational)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const ADD_DELIVERY: &str = "
    insert into deliveries (company_id, id, endpoint_id, event_id, shape, state, due_at, claimed,
        fence, attempts, replay_of, updated_at, sequence, order_key, coalesce_key, expires_at,
        replay_id)
    values (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?7, 0, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

const ADD_NAME: &str = "
    insert into known (company_id, name, event_id, digest, created_at, deliveries)
    values (?1, ?2, ?3, ?4, ?5, ?6)";

// What an older version kept has no digest.
const KNOWN: &str = "
    select event_id, created_at, deliveries, digest is null or digest = ?3 from known
    where company_id = ?1 and name = ?2";

const SAME_EVENT: &str = "
    select id, created_at, deliveries, type = ?3 and payload = ?4 from events
    where company_id = ?1 and id = ?2";

const WAITS: &str = "
    select exists (select 1 from deliveries indexed by deliveries_ordered
        where company_id = ?1 and endpoint_id = ?2 and order_key = ?3 and state = 0)";

const OLDER: &str = "
    select id, due_at, attempts from deliveries indexed by deliveries_coalesced
    where company_id = ?1 and endpoint_id = ?2 and coalesce_key = ?3 and state = 0 and claimed = 0
        and sequence < ?4";

const NEWER: &str = "
    select n.id from deliveries d
    join deliveries n indexed by deliveries_coalesced on n.company_id = d.company_id
        and n.endpoint_id = d.endpoint_id and n.coalesce_key = d.coalesce_key and n.state = 0
    where d.company_id = ?1 and d.id = ?2 and n.sequence > d.sequence
    order by n.sequence desc limit 1";

const SUPERSEDE: &str = "
    update deliveries set state = 2, due_at = ?4, updated_at = ?4, superseded_by = ?3, reason = ?5
    where company_id = ?1 and id = ?2";

const TAKE_OVER: &str = "update deliveries set due_at = ?3 where company_id = ?1 and id = ?2";

/// Stores events with their deliveries, or none of them.
pub(super) fn accept(
    tx: &mut Tx<'_>,
    emits: &[Emit],
    admission: &Admission,
) -> rusqlite::Result<Vec<Accepted>> {
    let mut known = HashMap::new();
    for (at, emit) in emits.iter().enumerate() {
        if let Some(found) = find(tx, emit)? {
            known.insert(at, found);
        }
    }
    let decisions = known::decide(emits, &[emits.len()], &mut known);
    let mut answers: Vec<Accepted> = Vec::with_capacity(emits.len());
    for (emit, decision) in emits.iter().zip(decisions) {
        let answer = match decision {
            Decision::Store => store(tx, emit, admission)?,
            Decision::Again(first) => known::again(emits.get(first).zip(answers.get(first))),
            Decision::Repeat(receipt) => Accepted::Repeat(receipt),
            Decision::Conflict(name) => Accepted::Conflict(name),
            Decision::Withhold => Accepted::Withheld,
        };
        answers.push(answer);
    }
    Ok(answers)
}

/// What a delivery that is made of an event that was there before is made like.
pub(super) struct Again {
    pub(super) shape: Shape,
    pub(super) replay_of: Option<DeliveryId>,
    pub(super) replay: Option<ReplayId>,
    pub(super) made_at: Timestamp,
    pub(super) due_at: Timestamp,
}

/// Makes a new delivery of an event that was there before.
pub(super) fn again(
    tx: &mut Tx<'_>,
    (event, endpoint): (&Event, &Endpoint),
    again: &Again,
) -> rusqlite::Result<DeliveryId> {
    let birth = Birth::again(event, &endpoint.flow, again.due_at);
    let id = DeliveryId::new(again.made_at);
    let due_at = birth.due_at(is_behind(tx, endpoint.lane(), &birth)?);
    let (sequence, birth) = (tx.next_sequence(endpoint.lane())?, &birth);
    let born = Born { id, endpoint, event, due_at, claimed: false, sequence, birth };
    born.add(tx, Some(again))?;
    Ok(id)
}

/// What is there under the first of an emit's names that is known. An older version kept no ids.
fn find(tx: &Tx<'_>, emit: &Emit) -> rusqlite::Result<Option<Found>> {
    let company = emit.event.company.uuid();
    let mut known = tx.prepare_cached(KNOWN)?;
    for Name { text, digest } in &emit.names {
        let found = known.query_row(params![company, text, digest], |row| read_found(row, text));
        let found = found.optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    if !emit.id_given {
        return Ok(None);
    }
    let Event { id, event_type, payload, .. } = &*emit.event;
    let mut same = tx.prepare_cached(SAME_EVENT)?;
    let values = params![company, id.uuid(), event_type.as_str(), &payload[..]];
    same.query_row(values, |row| read_found(row, &known::by_id(emit))).optional()
}

fn read_found(row: &rusqlite::Row<'_>, name: &str) -> rusqlite::Result<Found> {
    let id = EventId::from_uuid(row.get(0)?);
    let receipt = Receipt { id, created_at: Timestamp(row.get(1)?), deliveries: row.get(2)? };
    Ok(Found { name: name.to_owned(), receipt, same: row.get(3)? })
}

/// What a new event leads to.
#[derive(Default)]
struct Brood {
    claims: Vec<Claim>,
    waiting: Vec<(EndpointId, Timestamp)>,
}

fn store(tx: &mut Tx<'_>, emit: &Emit, admission: &Admission) -> rusqlite::Result<Accepted> {
    let event = &emit.event;
    let (company, now) = (event.company, event.created_at);
    if tx.is_new_name(company) {
        make_company(tx, company, now)?;
    }
    let listeners = tx.listeners(company, |db| read_listeners(db, company))?;
    let payload = Subject::new(&event.payload);
    let mut hearing = listeners.of(event);
    hearing.retain(|endpoint| emit.passes(endpoint, &payload));
    let deliveries = u32::try_from(hearing.len()).unwrap_or(u32::MAX);
    tx.prepare_cached(ADD_EVENT)?.execute(params![
        company.uuid(),
        event.id.uuid(),
        event.event_type.as_str(),
        &event.payload[..],
        now.0,
        deliveries,
        event.ordering_key,
        event.deliver_at.map(|at| at.0),
        event.expires_at.map(|at| at.0),
        event.operational,
    ])?;
    for Name { text, digest } in &emit.names {
        let id = event.id.uuid();
        let values = params![company.uuid(), text, id, digest, now.0, deliveries];
        tx.prepare_cached(ADD_NAME)?.execute(values)?;
    }
    let mut brood = Brood::default();
    for endpoint in hearing {
        bear(tx, event, endpoint, (admission, &mut brood))?;
    }
    let Brood { claims, waiting } = brood;
    Ok(Accepted::New { claims, waiting, deliveries })
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

/// A delivery to add.
struct Born<'a> {
    id: DeliveryId,
    endpoint: &'a Endpoint,
    event: &'a Event,
    birth: &'a Birth,
    due_at: Timestamp,
    claimed: bool,
    sequence: u64,
}

impl Born<'_> {
    /// Adds it; `again` says what is repeated, if it is a repeat.
    fn add(&self, tx: &mut Tx<'_>, again: Option<&Again>) -> rusqlite::Result<()> {
        let Born { endpoint, event, birth, .. } = self;
        let shape = again.map_or(endpoint.shape, |again| again.shape);
        let made_at = again.map_or(event.created_at, |again| again.made_at);
        tx.prepare_cached(ADD_DELIVERY)?.execute(params![
            event.company.uuid(),
            self.id.uuid(),
            endpoint.id.uuid(),
            event.id.uuid(),
            shape.encode(),
            self.due_at.0,
            self.claimed,
            again.and_then(|again| again.replay_of).map(DeliveryId::uuid),
            made_at.0,
            self.sequence,
            birth.order_key,
            birth.coalesce_key,
            event.expires_at.map(|at| at.0),
            again.and_then(|again| again.replay).map(ReplayId::uuid),
        ])?;
        tx.count_in(endpoint.lane(), DeliveryState::Waiting);
        Ok(())
    }
}

fn bear(
    tx: &mut Tx<'_>,
    event: &Arc<Event>,
    endpoint: Arc<Endpoint>,
    (admission, brood): (&Admission, &mut Brood),
) -> rusqlite::Result<()> {
    let (now, lane) = (event.created_at, endpoint.lane());
    let birth = Birth::of(event, &endpoint.flow);
    let (id, sequence) = (DeliveryId::new(now), tx.next_sequence(lane)?);
    let parked = is_behind(tx, lane, &birth)?;
    let claimed = !parked && birth.start <= now && (admission.may_claim)(endpoint.id);
    let due_at = if claimed { now.plus(admission.lease) } else { birth.due_at(parked) };
    let born = Born { id, endpoint: &endpoint, event, birth: &birth, due_at, claimed, sequence };
    born.add(tx, None)?;
    if !claimed && !parked {
        brood.waiting.push((endpoint.id, birth.start));
    }
    brood.waiting.extend(supersede(tx, &born)?.map(|due| (endpoint.id, due)));
    if claimed {
        brood.claims.push(Claim {
            delivery: id,
            fence: 1,
            due_at: birth.start,
            attempts: 0,
            probes: 0,
            sequence,
            ordered: birth.order_key.is_some(),
            shape: endpoint.shape,
            event: Arc::clone(event),
            endpoint,
        });
    }
    Ok(())
}

/// Does another one wait under the same order key?
fn is_behind(tx: &Tx<'_>, lane: LaneKey, birth: &Birth) -> rusqlite::Result<bool> {
    let Some(key) = &birth.order_key else { return Ok(false) };
    let mut waits = tx.prepare_cached(WAITS)?;
    waits.query_row(params![lane.company.uuid(), lane.endpoint.uuid(), key], |row| row.get(0))
}

/// Ends what is older under the same coalescing key and takes over its time. Returns when something
/// of the lane falls due by it.
fn supersede(tx: &mut Tx<'_>, new: &Born<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let Some(key) = &new.birth.coalesce_key else { return Ok(None) };
    let (lane, now) = (new.endpoint.lane(), new.event.created_at);
    let (company, endpoint) = (lane.company.uuid(), lane.endpoint.uuid());
    let older: Vec<(DeliveryId, i64, u32)> = tx
        .prepare_cached(OLDER)?
        .query_map(params![company, endpoint, key, new.sequence], |row| {
            Ok((DeliveryId::from_uuid(row.get(0)?), row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, ..) in &older {
        end_for(tx, lane, (*id, new.id), now)?;
    }
    let untried = older.iter().filter(|(.., attempts)| *attempts == 0);
    let earliest = untried.map(|(_, due_at, _)| birth::start(Timestamp(*due_at))).min();
    if let Some(earliest) = earliest {
        let start = earliest.min(new.birth.start).max(birth::not_before(new.event));
        // It stays parked if it is.
        let due_at = new.due_at.0 - new.birth.start.0 + start.0;
        tx.prepare_cached(TAKE_OVER)?.execute(params![company, new.id.uuid(), due_at])?;
    }
    let mut next = None;
    for (id, ..) in &older {
        next = next.or(let_next_go(tx, lane.company, *id, now)?.map(|(_, due)| due));
    }
    Ok(next)
}

/// Ends a delivery that would be tried again, if a newer one of its type and key waits. Returns when
/// something of the lane falls due by it.
pub(super) fn give_way(
    tx: &mut Tx<'_>,
    lane: LaneKey,
    id: DeliveryId,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let newer = tx
        .prepare_cached(NEWER)?
        .query_row([lane.company.uuid(), id.uuid()], |row| Ok(DeliveryId::from_uuid(row.get(0)?)))
        .optional()?;
    let Some(newer) = newer else { return Ok(false) };
    end_for(tx, lane, (id, newer), now)?;
    Ok(let_next_go(tx, lane.company, id, now)?.is_some())
}

fn end_for(
    tx: &mut Tx<'_>,
    lane: LaneKey,
    (id, newer): (DeliveryId, DeliveryId),
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (company, reason) = (lane.company.uuid(), format!("superseded by {newer}"));
    let values = params![company, id.uuid(), newer.uuid(), now.0, reason];
    tx.prepare_cached(SUPERSEDE)?.execute(values)?;
    tx.count_out(lane, DeliveryState::Waiting);
    tx.count_in(lane, DeliveryState::Failed);
    Ok(())
}
