//! Events: the way in. A payload is scanned once, and goes on as the bytes that came.

use std::borrow::Cow;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use bytes::Bytes;
use fanfare::engine::NewEvent;
use fanfare::model::{EventId, EventType};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::dto::{EventAccepted, EventToEmit};
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::form::read_body;
use crate::openapi::EVENTS;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What a body may have beside its payload: names, ids and white space.
pub(super) const ENVELOPE_BYTES_MAX: usize = 16 * 1024;
/// The longest ordering key, in characters.
const ORDERING_KEY_CHARS_MAX: usize = 256;

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
    let told: Told<'_> = parse(&body)?;
    let (event_type, id) = told.read()?;
    let payload = body.slice_ref(told.data()?.as_bytes());
    let new = NewEvent { id, idempotency_key, ..NewEvent::new(event_type.clone(), payload) };
    let receipt = engine.emit(access.company, new).await?;
    Ok(Json(StatusCode::ACCEPTED, EventAccepted::of(&receipt, &event_type)))
}

/// The body, not yet looked into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Told<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    /// `null` is a payload like any other.
    #[serde(borrow, default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    ordering_key: Option<&'a RawValue>,
}

impl<'a> Told<'a> {
    fn read(&self) -> Result<(EventType, Option<EventId>)> {
        let mut wrong = Vec::new();
        let event_type = self
            .event_type
            .map_or_else(|| Err("is required".to_owned()), |raw| text(raw)?.parse::<EventType>());
        let event_type = event_type.map_err(|reason| wrong.push(format!("type: {reason}")));
        let id = self.id.map(|raw| text(raw)?.parse().map_err(|_| "must be a UUID".to_owned()));
        let id = id.transpose().map_err(|reason| wrong.push(format!("id: {reason}")));
        let ordering_key = self.ordering_key.map_or(Ok(()), check_ordering_key);
        if let Err(reason) = ordering_key {
            wrong.push(format!("orderingKey: {reason}"));
        }
        if self.data.is_none() {
            wrong.push("data: is required; null counts".to_owned());
        }
        match (event_type, id) {
            (Ok(event_type), Ok(id)) if wrong.is_empty() => Ok((event_type, id)),
            _ => Err(ApiError::invalid(wrong)),
        }
    }

    fn data(&self) -> Result<&'a str> {
        let data = self.data.ok_or_else(|| ApiError::invalid_field("data", "is required"))?;
        Ok(data.get())
    }
}

/// The parts of a body that is a JSON object, not yet looked into.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T> {
    // serde would take a list for a struct, too.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(ApiError::invalid_field("body", "must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => ApiError::invalid_field("body", error),
        Category::Io | Category::Syntax | Category::Eof => ApiError::malformed_json(error),
    })
}

pub(super) fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text of a JSON string. One without escapes is not copied.
pub(super) fn text(raw: &RawValue) -> std::result::Result<Cow<'_, str>, String> {
    let json = raw.get();
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(json).map(Cow::Owned).map_err(|error| error.to_string()),
        None => Err("must be a string".to_owned()),
    }
}

fn check_ordering_key(raw: &RawValue) -> std::result::Result<(), String> {
    let length = text(raw)?.chars().count();
    if (1..=ORDERING_KEY_CHARS_MAX).contains(&length) {
        return Ok(());
    }
    Err(format!("must have 1 to {ORDERING_KEY_CHARS_MAX} characters"))
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
