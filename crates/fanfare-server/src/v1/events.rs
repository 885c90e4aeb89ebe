//! Events: the way in. A payload is scanned once, and goes on as the bytes that came.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use fanfare::engine::{EVENTS_BYTES_MAX, NewEvent};

use super::dto::{EventAccepted, EventCancelled, EventToEmit, EventsAccepted, EventsToEmit};
use super::told;
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::form::read_body;
use crate::openapi::EVENTS;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What a body may have beside its payload: names, ids and white space.
pub(super) const ENVELOPE_BYTES_MAX: usize = 16 * 1024;
/// What the body of a batch may have beside its payloads.
const ENVELOPES_BYTES_MAX: usize = 2 << 20;
/// The path parameter that names the event.
const ID: &str = "eventId";

/// Emits an event
///
/// Answered once the event and a delivery for each endpoint that listens are on disk. The payload
/// `data` reaches the receivers byte for byte as it was sent.
#[utoipa::path(post, path = "/v1/companies/{companyId}/events", operation_id = "emitEvent",
    tag = EVENTS, request_body = EventToEmit,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Makes a repeat answer the same and emit nothing.")),
    responses((status = 202, description = "It will be delivered.", body = EventAccepted)))]
pub(crate) async fn emit(
    State(app): State<App>,
    access: Authorized,
    request: Request,
) -> Result<Json<EventAccepted>> {
    let engine = app.engine();
    let idempotency_key = idempotency_key(request.headers())?;
    let bytes_max = engine.rules().max_payload.saturating_add(ENVELOPE_BYTES_MAX);
    let body = read_body(request, bytes_max)
        .await
        .map_err(|error| error.about_payload(engine.rules().max_payload))?;
    let new = NewEvent { idempotency_key, ..told::one(&body)? };
    let event_type = new.event_type.clone();
    let receipt = engine.emit(access.company, new).await?;
    Ok(Json(StatusCode::ACCEPTED, EventAccepted::of(&receipt, &event_type)))
}

/// Emits several events
///
/// Up to 1,000 events and 8 MiB of payloads, in their order: all of them are accepted or, when one
/// is refused, none. Answered once all are on disk.
#[utoipa::path(post, path = "/v1/companies/{companyId}/events/batch", operation_id = "emitEvents",
    tag = EVENTS, request_body = EventsToEmit,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Makes a repeat of the whole call answer the same and emit nothing.")),
    responses((status = 202, description = "They will be delivered.", body = EventsAccepted)))]
pub(crate) async fn emit_all(
    State(app): State<App>,
    access: Authorized,
    request: Request,
) -> Result<Json<EventsAccepted>> {
    let key = idempotency_key(request.headers())?;
    let body = read_body(request, EVENTS_BYTES_MAX + ENVELOPES_BYTES_MAX).await?;
    let news = told::several(&body)?;
    let types: Vec<_> = news.iter().map(|new| new.event_type.clone()).collect();
    let receipts = app.engine().emit_all(access.company, news, key.as_deref()).await?;
    let items = receipts.iter().zip(&types);
    let items = items.map(|(receipt, event_type)| EventAccepted::of(receipt, event_type)).collect();
    Ok(Json(StatusCode::ACCEPTED, EventsAccepted { items }))
}

/// Cancels an event
///
/// Ends those of its deliveries that still wait: they are `failed` with the reason `cancelled`. What
/// is being sent goes on.
#[utoipa::path(post, path = "/v1/companies/{companyId}/events/{eventId}/cancel",
    operation_id = "cancelEvent", tag = EVENTS,
    responses((status = 200, description = "What came of it.", body = EventCancelled)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    access: Authorized,
) -> Result<Json<EventCancelled>> {
    let cancelled = access.engine(&app).cancel_event(access.company, access.event(ID)?).await?;
    Ok(Json::ok(EventCancelled::of(cancelled)))
}

/// The caller's key for telling twice what is to happen once.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(ApiError::invalid_field("Idempotency-Key", "must not be given twice"));
    }
    let key = key.to_str().map_err(|_| {
        ApiError::invalid_field("Idempotency-Key", "must be of printable ASCII characters")
    })?;
    Ok(Some(key.to_owned()))
}
