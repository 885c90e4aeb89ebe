//! Rows to nouns, in one place for each.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::model::{
    Address, Attempt, Company, CompanyId, Delivery, DeliveryId, DeliveryState, Disabled, Endpoint,
    EndpointId, Event, EventId, EventType, Flow, Headers, Health, History, Outcome, PreviousSecret,
    Replay, ReplayId, Sealed, Shape, Timestamp, Timing,
};
use crate::store::postgres::error::corrupt;
use crate::store::repeats::read_selection;
use crate::store::rows::{read_filter, read_outcome};
use crate::store::{Result, StoreError};

/// What [`company`] reads.
macro_rules! company_columns {
    () => {
        "company_id, name, created_at, updated_at"
    };
}

/// What [`endpoint`] reads, of endpoints `e`.
macro_rules! endpoint_columns {
    () => {
        "e.company_id, e.id as endpoint_id, e.url, e.secret, e.events, \
         e.shape as endpoint_shape, e.max_retries, e.disabled_at, e.disabled_reason, \
         e.created_at as endpoint_created_at, e.updated_at as endpoint_updated_at, \
         e.previous_secret, e.previous_until, e.rate_limit, e.max_in_flight, e.ordering, \
         e.coalesce_ms, e.operational as endpoint_operational, e.failing_since, e.held_until, \
         e.filter, e.headers as endpoint_headers, e.tls"
    };
}

/// What [`event`] reads, of events `v`.
macro_rules! event_columns {
    () => {
        "v.company_id, v.id as event_id, v.type, v.payload, v.created_at as event_created_at, \
         v.ordering_key, v.deliver_at, v.expires_at, v.operational as event_operational"
    };
}

/// What [`delivery`] reads, of deliveries `d`.
macro_rules! delivery_columns {
    () => {
        "d.company_id, d.id as delivery_id, d.endpoint_id, d.event_id, d.shape, d.state, \
         d.due_at, d.claimed, d.attempts, d.probes, d.sequence, d.order_key, d.fence, d.reason, \
         d.replay_of, d.replay_id, d.superseded_by, d.updated_at"
    };
}

/// What [`replay`] reads, of replays.
macro_rules! replay_columns {
    () => {
        "company_id, id, selection, per_second, found, made, created_at, finished_at, cancelled"
    };
}

/// What [`attempt`] reads, of attempts `a`.
macro_rules! attempt_columns {
    () => {
        "a.number, a.started_at, a.duration_us, a.url as attempt_url, a.headers, a.status, \
         a.answer_headers, a.body, a.flaw, a.queue_us, a.dns_us, a.connect_us, a.tls_us, \
         a.first_byte_us, a.probe"
    };
}

pub(super) use {
    attempt_columns, company_columns, delivery_columns, endpoint_columns, event_columns,
    replay_columns,
};

/// A column by its name.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T> {
    // The error of a value that does not fit would quote nothing of it, but neither help anyone.
    row.try_get(column).map_err(|_| corrupt(column))
}

/// The names of rows, column by column: of their company and under `id`.
pub(super) fn keys<'a>(
    rows: impl Iterator<Item = &'a Row>,
    id: &str,
) -> Result<(Vec<Uuid>, Vec<Uuid>)> {
    let key = |row| Ok((get::<Uuid>(row, "company_id")?, get::<Uuid>(row, id)?));
    rows.map(key).collect()
}

/// The first and the last of some ids: they tell a statement which days it need not open.
pub(super) fn span(ids: &[Uuid]) -> Option<(Uuid, Uuid)> {
    Some((*ids.iter().min()?, *ids.iter().max()?))
}

pub(super) fn company(row: &Row) -> Result<Company> {
    Ok(Company {
        id: CompanyId::from_uuid(get(row, "company_id")?),
        name: get(row, "name")?,
        created_at: Timestamp(get(row, "created_at")?),
        updated_at: Timestamp(get(row, "updated_at")?),
    })
}

pub(super) fn endpoint(row: &Row) -> Result<Endpoint> {
    let (url, events): (&str, Vec<&str>) = (get(row, "url")?, get(row, "events")?);
    let events = events.iter().map(|text| text.parse().map_err(|_| corrupt("subscription")));
    let disabled_at: Option<i64> = get(row, "disabled_at")?;
    let reason: Option<String> = get(row, "disabled_reason")?;
    let sealed = |column| get::<Option<Vec<u8>>>(row, column).map(|bytes| bytes.map(Sealed));
    let until = optional_time(row, "previous_until")?.unwrap_or_default();
    let disabled = |at| Disabled { at: Timestamp(at), reason: reason.unwrap_or_default() };
    Ok(Endpoint {
        id: EndpointId::from_uuid(get(row, "endpoint_id")?),
        company: CompanyId::from_uuid(get(row, "company_id")?),
        url: Address::stored(url).map_err(|_| corrupt("URL"))?,
        secret: Sealed(get(row, "secret")?),
        previous: sealed("previous_secret")?.map(|secret| PreviousSecret { secret, until }),
        headers: sealed("endpoint_headers")?,
        tls: sealed("tls")?,
        events: events.collect::<Result<_>>()?,
        filter: read_filter(get(row, "filter")?).ok_or_else(|| corrupt("filter"))?,
        shape: shape(row, "endpoint_shape")?,
        max_retries: unsigned(get(row, "max_retries")?, "max_retries")?,
        flow: flow(row)?,
        operational: get(row, "endpoint_operational")?,
        disabled: disabled_at.map(disabled),
        health: health(row)?,
        created_at: Timestamp(get(row, "endpoint_created_at")?),
        updated_at: Timestamp(get(row, "endpoint_updated_at")?),
    })
}

/// The columns `failing_since` and `held_until`.
pub(super) fn health(row: &Row) -> Result<Health> {
    Ok(Health {
        failing_since: optional_time(row, "failing_since")?,
        held_until: optional_time(row, "held_until")?,
    })
}

fn flow(row: &Row) -> Result<Flow> {
    let number = |column: &str| {
        let number: Option<i32> = get(row, column)?;
        number.map(|number| unsigned(number, column)).transpose()
    };
    let ordering: &str = get(row, "ordering")?;
    let coalesce_ms: Option<i64> = get(row, "coalesce_ms")?;
    Ok(Flow {
        rate_limit: number("rate_limit")?,
        max_in_flight: number("max_in_flight")?,
        ordering: ordering.parse().map_err(|_| corrupt("ordering"))?,
        coalesce: coalesce_ms.map(|span| Duration::from_millis(span.unsigned_abs())),
    })
}

pub(super) fn event(row: &Row) -> Result<Event> {
    let (event_type, payload): (&str, &[u8]) = (get(row, "type")?, get(row, "payload")?);
    Ok(Event {
        id: EventId::from_uuid(get(row, "event_id")?),
        company: CompanyId::from_uuid(get(row, "company_id")?),
        event_type: self::event_type(event_type)?,
        payload: Bytes::copy_from_slice(payload),
        created_at: Timestamp(get(row, "event_created_at")?),
        ordering_key: get(row, "ordering_key")?,
        deliver_at: optional_time(row, "deliver_at")?,
        expires_at: optional_time(row, "expires_at")?,
        operational: get(row, "event_operational")?,
    })
}

pub(super) fn event_type(text: &str) -> Result<EventType> {
    text.parse().map_err(|_| corrupt("event type"))
}

pub(super) fn replay(row: &Row) -> Result<Replay> {
    let selection: &str = get(row, "selection")?;
    let (found, made): (i64, i64) = (get(row, "found")?, get(row, "made")?);
    let per_second: Option<i32> = get(row, "per_second")?;
    Ok(Replay {
        company: CompanyId::from_uuid(get(row, "company_id")?),
        id: ReplayId::from_uuid(get(row, "id")?),
        selection: read_selection(selection).ok_or_else(|| corrupt("selection"))?,
        per_second: per_second.map(|pace| unsigned(pace, "pace")).transpose()?,
        found: found.unsigned_abs(),
        made: made.unsigned_abs(),
        created_at: Timestamp(get(row, "created_at")?),
        finished_at: optional_time(row, "finished_at")?,
        cancelled: get(row, "cancelled")?,
    })
}

pub(super) fn delivery(row: &Row) -> Result<Delivery> {
    let replay_of: Option<Uuid> = get(row, "replay_of")?;
    let superseded_by: Option<Uuid> = get(row, "superseded_by")?;
    let replay: Option<Uuid> = get(row, "replay_id")?;
    Ok(Delivery {
        id: DeliveryId::from_uuid(get(row, "delivery_id")?),
        company: CompanyId::from_uuid(get(row, "company_id")?),
        endpoint: EndpointId::from_uuid(get(row, "endpoint_id")?),
        event: EventId::from_uuid(get(row, "event_id")?),
        shape: shape(row, "shape")?,
        state: read_state(get(row, "state")?)?,
        due_at: Timestamp(get(row, "due_at")?),
        claimed: get(row, "claimed")?,
        attempts: unsigned(get(row, "attempts")?, "number of attempts")?,
        probes: unsigned(get(row, "probes")?, "number of probes")?,
        sequence: sequence(row)?,
        order_key: get(row, "order_key")?,
        fence: fence(row)?,
        reason: get(row, "reason")?,
        replay_of: replay_of.map(DeliveryId::from_uuid),
        replay: replay.map(ReplayId::from_uuid),
        superseded_by: superseded_by.map(DeliveryId::from_uuid),
        updated_at: Timestamp(get(row, "updated_at")?),
    })
}

pub(super) fn attempt(row: &Row) -> Result<Attempt> {
    let duration_us: i64 = get(row, "duration_us")?;
    Ok(Attempt {
        number: unsigned(get(row, "number")?, "number of an attempt")?,
        started_at: Timestamp(get(row, "started_at")?),
        duration: Duration::from_micros(u64::try_from(duration_us).unwrap_or_default()),
        url: get(row, "attempt_url")?,
        headers: Headers::from_text(get(row, "headers")?),
        timing: Timing {
            queue: optional_micros(row, "queue_us")?,
            dns: optional_micros(row, "dns_us")?,
            connect: optional_micros(row, "connect_us")?,
            tls: optional_micros(row, "tls_us")?,
            first_byte: optional_micros(row, "first_byte_us")?,
        },
        probe: get(row, "probe")?,
        outcome: outcome(row)?,
    })
}

pub(super) fn history(row: &Row) -> Result<History> {
    let attempted: Option<i32> = get(row, "number")?;
    Ok(History {
        delivery: delivery(row)?,
        event: event(row)?,
        last: attempted.map(|_| attempt(row)).transpose()?,
    })
}

fn outcome(row: &Row) -> Result<Outcome> {
    let status: Option<i32> = get(row, "status")?;
    let status = status.map(u16::try_from).transpose().map_err(|_| corrupt("status"))?;
    Ok(read_outcome(status, get(row, "answer_headers")?, get(row, "body")?, get(row, "flaw")?))
}

/// The number of a claim.
pub(super) fn fence(row: &Row) -> Result<u64> {
    let fence: i64 = get(row, "fence")?;
    u64::try_from(fence).map_err(|_| corrupt("fence"))
}

/// A delivery's place among those of its endpoint.
pub(super) fn sequence(row: &Row) -> Result<u64> {
    let sequence: i64 = get(row, "sequence")?;
    u64::try_from(sequence).map_err(|_| corrupt("sequence"))
}

pub(super) fn optional_time(row: &Row, column: &str) -> Result<Option<Timestamp>> {
    let at: Option<i64> = get(row, column)?;
    Ok(at.map(Timestamp))
}

fn optional_micros(row: &Row, column: &str) -> Result<Option<Duration>> {
    let micros: Option<i64> = get(row, column)?;
    Ok(micros.map(|micros| Duration::from_micros(micros.unsigned_abs())))
}

pub(super) fn shape(row: &Row, column: &str) -> Result<Shape> {
    Shape::decode(get(row, column)?).ok_or_else(|| corrupt("shape"))
}

pub(super) fn unsigned(number: i32, what: &str) -> Result<u32> {
    u32::try_from(number).map_err(|_| corrupt(what))
}

/// A number that a column of `integer` holds. Larger ones are refused long before they get here.
pub(super) fn integer(number: u32) -> Result<i32> {
    i32::try_from(number).map_err(|_| StoreError::Broken("a number is too large".to_owned()))
}

pub(super) fn read_state(number: i16) -> Result<DeliveryState> {
    match number {
        0 => Ok(DeliveryState::Waiting),
        1 => Ok(DeliveryState::Concluded),
        2 => Ok(DeliveryState::Failed),
        _ => Err(corrupt("state")),
    }
}

/// Text for a column. PostgreSQL's has no NUL; where people would see one, they see `�`.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
