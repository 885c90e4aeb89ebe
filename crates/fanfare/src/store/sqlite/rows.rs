//! Rows, read in one function for each type.

use std::time::Duration;

use rusqlite::Row;
use uuid::Uuid;

use crate::model::{
    Address, Attempt, CompanyId, Delivery, DeliveryId, DeliveryState, Disabled, Endpoint,
    EndpointId, Event, EventId, EventType, Flow, Headers, Health, PreviousSecret, Replay, ReplayId,
    Sealed, Shape, Timestamp, Timing,
};
use crate::store::repeats::read_selection;
use crate::store::rows::{read_filter, read_outcome, read_subscriptions};

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp(row.get(column)?))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

fn optional_micros(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Duration>> {
    Ok(row.get::<_, Option<u64>>(column)?.map(Duration::from_micros))
}

/// A stored value that does not parse.
pub(super) fn damaged(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::InvalidParameterName(format!("a stored {what} does not parse"))
}

pub(super) const ENDPOINT: &str = "company_id, id, url, secret, events, shape, max_retries, \
    disabled_at, disabled_reason, created_at, updated_at, previous_secret, previous_until, \
    rate_limit, max_in_flight, ordering, coalesce_ms, operational, failing_since, held_until, \
    filter, headers, tls";

pub(super) fn endpoint(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let url = row.get_ref(2)?.as_str()?;
    let disabled_at: Option<i64> = row.get(7)?;
    let reason: Option<String> = row.get(8)?;
    let until = optional_time(row, 12)?.unwrap_or_default();
    let coalesce_ms: Option<u64> = row.get(16)?;
    let sealed = |column| row.get::<_, Option<Vec<u8>>>(column).map(|bytes| bytes.map(Sealed));
    Ok(Endpoint {
        company: CompanyId::from_uuid(row.get(0)?),
        id: EndpointId::from_uuid(row.get(1)?),
        url: Address::stored(url).map_err(|_| damaged("URL"))?,
        secret: Sealed(row.get(3)?),
        previous: sealed(11)?.map(|secret| PreviousSecret { secret, until }),
        headers: sealed(21)?,
        tls: sealed(22)?,
        events: read_subscriptions(row.get_ref(4)?.as_str()?)
            .ok_or_else(|| damaged("subscription"))?,
        filter: read_filter(row.get_ref(20)?.as_str_or_null()?).ok_or_else(|| damaged("filter"))?,
        shape: shape(row, 5)?,
        max_retries: row.get(6)?,
        flow: Flow {
            rate_limit: row.get(13)?,
            max_in_flight: row.get(14)?,
            ordering: row.get_ref(15)?.as_str()?.parse().map_err(|_| damaged("ordering"))?,
            coalesce: coalesce_ms.map(Duration::from_millis),
        },
        operational: row.get(17)?,
        disabled: disabled_at
            .map(|at| Disabled { at: Timestamp(at), reason: reason.unwrap_or_default() }),
        health: Health {
            failing_since: optional_time(row, 18)?,
            held_until: optional_time(row, 19)?,
        },
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
    })
}

pub(super) fn shape(row: &Row<'_>, column: usize) -> rusqlite::Result<Shape> {
    Shape::decode(row.get_ref(column)?.as_str()?).ok_or_else(|| damaged("shape"))
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<DeliveryState> {
    match row.get(column)? {
        0 => Ok(DeliveryState::Waiting),
        1 => Ok(DeliveryState::Concluded),
        2 => Ok(DeliveryState::Failed),
        _ => Err(damaged("delivery state")),
    }
}

pub(super) const EVENT: &str = "company_id, id, type, payload, created_at, ordering_key, \
    deliver_at, expires_at, operational";

pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        company: CompanyId::from_uuid(row.get(0)?),
        id: EventId::from_uuid(row.get(1)?),
        event_type: event_type(row, 2)?,
        payload: row.get::<_, Vec<u8>>(3)?.into(),
        created_at: time(row, 4)?,
        ordering_key: row.get(5)?,
        deliver_at: optional_time(row, 6)?,
        expires_at: optional_time(row, 7)?,
        operational: row.get(8)?,
    })
}

pub(super) fn event_type(row: &Row<'_>, column: usize) -> rusqlite::Result<EventType> {
    row.get_ref(column)?.as_str()?.parse().map_err(|_| damaged("event type"))
}

pub(super) const DELIVERY: &str = "company_id, id, endpoint_id, event_id, shape, state, due_at, \
    attempts, fence, reason, replay_of, updated_at, claimed, probes, sequence, order_key, \
    superseded_by, replay_id";

pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let replay_of: Option<Uuid> = row.get(10)?;
    let superseded_by: Option<Uuid> = row.get(16)?;
    let replay: Option<Uuid> = row.get(17)?;
    Ok(Delivery {
        company: CompanyId::from_uuid(row.get(0)?),
        id: DeliveryId::from_uuid(row.get(1)?),
        endpoint: EndpointId::from_uuid(row.get(2)?),
        event: EventId::from_uuid(row.get(3)?),
        shape: shape(row, 4)?,
        state: state(row, 5)?,
        due_at: time(row, 6)?,
        claimed: row.get(12)?,
        attempts: row.get(7)?,
        probes: row.get(13)?,
        sequence: row.get(14)?,
        order_key: row.get(15)?,
        fence: row.get(8)?,
        reason: row.get(9)?,
        replay_of: replay_of.map(DeliveryId::from_uuid),
        replay: replay.map(ReplayId::from_uuid),
        superseded_by: superseded_by.map(DeliveryId::from_uuid),
        updated_at: time(row, 11)?,
    })
}

pub(super) const REPLAY: &str = "company_id, id, selection, per_second, found, made, created_at, \
    finished_at, cancelled";

pub(super) fn replay(row: &Row<'_>) -> rusqlite::Result<Replay> {
    Ok(Replay {
        company: CompanyId::from_uuid(row.get(0)?),
        id: ReplayId::from_uuid(row.get(1)?),
        selection: read_selection(row.get_ref(2)?.as_str()?).ok_or_else(|| damaged("selection"))?,
        per_second: row.get(3)?,
        found: row.get(4)?,
        made: row.get(5)?,
        created_at: time(row, 6)?,
        finished_at: optional_time(row, 7)?,
        cancelled: row.get(8)?,
    })
}

pub(super) const ATTEMPT: &str = "number, started_at, duration_us, url, request_headers, status, \
    headers, body, flaw, queue_us, dns_us, connect_us, tls_us, first_byte_us, probe";

pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        number: row.get(0)?,
        started_at: time(row, 1)?,
        duration: Duration::from_micros(row.get(2)?),
        timing: Timing {
            queue: optional_micros(row, 9)?,
            dns: optional_micros(row, 10)?,
            connect: optional_micros(row, 11)?,
            tls: optional_micros(row, 12)?,
            first_byte: optional_micros(row, 13)?,
        },
        probe: row.get(14)?,
        url: row.get(3)?,
        headers: Headers::from_text(row.get(4)?),
        outcome: read_outcome(row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?),
    })
}
