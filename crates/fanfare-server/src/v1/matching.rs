//! What a given event would match: a call that stores nothing and sends nothing.

use axum::extract::{Request, State};
use fanfare::engine::Hearing;
use fanfare::model::filter::{Filter, Subject};
use fanfare::model::{EventType, Told};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::events::ENVELOPE_BYTES_MAX;
use super::told;
use super::{dto, webhook};
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::form::read_body;
use crate::openapi::EVENTS;

/// An event that might be emitted.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"type": "order.created", "data": {"orderId": "ord_123", "total": 5},
    "filter": {"total": {"$gte": 100}}}))]
#[expect(dead_code, reason = "described here; `Asked` reads it without copying")]
pub(crate) struct EventToMatch {
    /// What would have happened.
    #[schema(
        max_length = 128,
        pattern = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$",
        example = "order.created"
    )]
    r#type: String,
    #[schema(schema_with = dto::payload)]
    data: serde_json::Value,
    #[schema(schema_with = webhook::schema::filter)]
    filter: Option<Filter>,
}

/// Who would hear of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventMatches {
    /// Every endpoint of the company, the newest first.
    endpoints: Vec<EndpointMatch>,
    /// What comes of the filter that was given; null when none was.
    #[schema(required = true)]
    filter: Option<FilterMatch>,
}

/// Whether an endpoint would hear of an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointMatch {
    #[schema(format = "uuid")]
    endpoint_id: String,
    #[schema(example = "https://example.com/hooks")]
    url: String,
    /// Whether it would.
    matches: bool,
    /// Why not; null when it would.
    #[schema(required = true, example = "filter: total is 5, not $gte 100")]
    reason: Option<String>,
}

/// Whether a filter lets an event through.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilterMatch {
    /// Whether it does.
    matches: bool,
    /// Why not; null when it does.
    #[schema(required = true, example = "total is 5, not $gte 100")]
    reason: Option<String>,
}

/// Tells who would hear of an event
///
/// And why others would not. Nothing is stored or sent. A `filter` that is not saved yet can be
/// tried beside.
#[utoipa::path(post, path = "/v1/companies/{companyId}/events/match",
    operation_id = "matchEvent", tag = EVENTS, request_body = EventToMatch,
    responses((status = 200, description = "Every endpoint, with the reason why not.",
        body = EventMatches)))]
pub(crate) async fn endpoints(
    State(app): State<App>,
    access: Authorized,
    request: Request,
) -> Result<Json<EventMatches>> {
    let engine = app.engine();
    let max_payload = engine.rules().max_payload;
    let bytes_max = max_payload.saturating_add(ENVELOPE_BYTES_MAX);
    let body = read_body(request, bytes_max).await;
    let body = body.map_err(|error| error.about_payload(max_payload))?;
    let asked: Asked<'_> = told::object(&body)?;
    let (event_type, payload, filter) = asked.read()?;
    let payload = Subject::new(payload.as_bytes());
    let filter = filter.map(|filter| FilterMatch::of(payload.objection(&filter)));
    let told = Told { event_type: &event_type, payload, operational: false };
    let hearings = engine.who_hears(access.company, &told).await?;
    let endpoints = hearings.iter().map(EndpointMatch::of).collect();
    Ok(Json::ok(EventMatches { endpoints, filter }))
}

/// The body, not yet looked into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    /// `null` is a payload like any other.
    #[serde(borrow, default, deserialize_with = "told::even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    filter: Option<&'a RawValue>,
}

impl<'a> Asked<'a> {
    fn read(&self) -> Result<(EventType, &'a str, Option<Filter>)> {
        let mut wrong = Vec::new();
        let event_type = match self.event_type.map(told::text) {
            Some(text) => text.and_then(|text| text.parse()),
            None => Err("is required".to_owned()),
        };
        let event_type = event_type.map_err(|reason| wrong.push(format!("type: {reason}"))).ok();
        if self.data.is_none() {
            wrong.push("data: is required; null counts".to_owned());
        }
        let filter = self.filter.map(|raw| Filter::parse(raw.get())).transpose();
        let filter = filter.map_err(|error| wrong.push(error.to_string())).ok();
        match (event_type, self.data, filter) {
            (Some(event_type), Some(data), Some(filter)) => Ok((event_type, data.get(), filter)),
            _ => Err(ApiError::invalid(wrong)),
        }
    }
}

impl EndpointMatch {
    fn of(hearing: &Hearing) -> Self {
        EndpointMatch {
            endpoint_id: hearing.endpoint.id.to_string(),
            url: hearing.endpoint.url.to_string(),
            matches: hearing.why_not.is_none(),
            reason: hearing.why_not.as_ref().map(ToString::to_string),
        }
    }
}

impl FilterMatch {
    fn of(objection: Option<String>) -> Self {
        FilterMatch { matches: objection.is_none(), reason: objection }
    }
}
