//! Where is my event? One call for everything that became of it.

use axum::extract::State;
use fanfare::engine::{Explained, Heard, Traced, Unheard};
use fanfare::model::{self, DeliveryId, Event};
use fanfare::policy::standing::WaitsFor;
use fanfare::send;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::cursor::Cursor;
use super::delivery::{Attempt, DeliveryState};
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::openapi::EVENTS;

/// The path parameter that names the event.
const ID: &str = "eventId";
/// Deliveries on a page when the query says nothing.
const LIMIT_DEFAULT: u32 = 100;

/// Tells where an event is
///
/// Every endpoint of the company: with the event's deliveries, their attempts and what each waits
/// for now, or with the reason why it has none.
#[utoipa::path(get, path = "/v1/companies/{companyId}/events/{eventId}",
    operation_id = "explainEvent", tag = EVENTS,
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "Deliveries on the page, the oldest first; 100 when it is not given."),
        ("after" = Option<String>, Query, format = "uuid",
            description = "Where to go on: `next` of the page before.")),
    responses((status = 200, description = "The event and what became of it.",
        body = ExplainedEvent)))]
pub(crate) async fn show(
    State(app): State<App>,
    access: Authorized,
    cursor: Cursor,
) -> Result<Json<ExplainedEvent>> {
    let (id, after) = (access.event(ID)?, cursor.after.map(DeliveryId::from_uuid));
    let limit = cursor.limit.unwrap_or(LIMIT_DEFAULT);
    let explained = app.engine().explain(access.company, id, after, limit).await?;
    Ok(Json::ok(ExplainedEvent::of(&explained)?))
}

/// An event and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainedEvent {
    /// Receivers see it as `webhook-id`.
    #[schema(format = "uuid")]
    id: String,
    /// What happened, dotted.
    #[schema(example = "order.created")]
    r#type: String,
    #[schema(format = "date-time")]
    created_at: String,
    /// What it is about.
    #[schema(required = true, example = "order-7")]
    ordering_key: Option<String>,
    /// It is not sent before.
    #[schema(format = "date-time", required = true)]
    deliver_at: Option<String>,
    /// It is not sent from here on.
    #[schema(format = "date-time", required = true)]
    expires_at: Option<String>,
    /// Whether it tells operational endpoints what befell another endpoint.
    operational: bool,
    /// The payload as it was emitted; null once it has expired.
    #[schema(value_type = Value)]
    payload: Option<Box<RawValue>>,
    /// Endpoints with deliveries, in the order of their first; then those without, the newest
    /// first, at most 100 of them and on the first page only.
    endpoints: Vec<ExplainedEndpoint>,
    /// How many more endpoints without a delivery there are.
    others_not_matched: u64,
    /// What to give as `after` for more deliveries; null on the last page.
    #[schema(format = "uuid", required = true)]
    next: Option<String>,
}

/// An endpoint, as far as an event is concerned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainedEndpoint {
    #[schema(format = "uuid")]
    id: String,
    #[schema(example = "https://example.com/hooks")]
    url: String,
    /// Whether it receives anything now.
    is_active: bool,
    /// When it was deleted; null while it is there.
    #[schema(format = "date-time", required = true)]
    deleted_at: Option<String>,
    /// Whether the event was for it.
    matched: bool,
    /// Why the event was not for it; null where it was.
    #[schema(required = true, example = "not subscribed to order.created, only to payment.*")]
    reason: Option<String>,
    /// The oldest first; replays are deliveries of their own.
    deliveries: Vec<ExplainedDelivery>,
}

/// A delivery with everything that was tried, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExplainedDelivery {
    #[schema(format = "uuid")]
    id: String,
    state: DeliveryState,
    /// Its place among all deliveries of its endpoint. Receivers see it as `webhook-sequence`.
    #[schema(minimum = 0)]
    sequence: u64,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    updated_at: String,
    /// The method of every attempt.
    #[schema(example = "POST")]
    method: &'static str,
    /// The body of every attempt, byte for byte as it is sent; null once the payload has expired.
    #[schema(value_type = Value)]
    body: Option<Box<RawValue>>,
    /// The first one first.
    attempts: Vec<Attempt>,
    /// The delivery that this one repeats; null for a first one.
    #[schema(format = "uuid", required = true)]
    replay_of: Option<String>,
    /// The newer delivery that was sent instead; null where none was.
    #[schema(format = "uuid", required = true)]
    superseded_by: Option<String>,
    /// What it waits for now; null when it is over.
    #[schema(required = true)]
    waiting_for: Option<WaitingFor>,
    /// When it goes next; null when that is not known, or it is over.
    #[schema(format = "date-time", required = true)]
    next_at: Option<String>,
    /// The same in a sentence for people.
    #[schema(example = "is tried again at 2025-07-05T01:52:41.613Z, after one attempt")]
    says: String,
}

/// What a delivery waits for: the answer to its request (`inFlight`); its endpoint to be enabled
/// (`disabled`) or to recover (`breaker`), or the end of the time for which the endpoint asked to be
/// left alone (`hold`); an earlier delivery under the same key (`order`); its own time (`dueTime`),
/// its endpoint's `pace`, or its `turn`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum WaitingFor {
    InFlight,
    Disabled,
    Order,
    Breaker,
    Hold,
    DueTime,
    Pace,
    Turn,
}

impl ExplainedEvent {
    fn of(explained: &Explained) -> Result<Self> {
        let event = &explained.event;
        let heard = explained.heard.iter().map(|heard| ExplainedEndpoint::heard(heard, event));
        let mut endpoints = heard.collect::<Result<Vec<_>>>()?;
        endpoints.extend(explained.unheard.iter().map(ExplainedEndpoint::unheard));
        Ok(ExplainedEvent {
            id: event.id.to_string(),
            r#type: event.event_type.as_str().to_owned(),
            created_at: event.created_at.to_string(),
            ordering_key: event.ordering_key.clone(),
            deliver_at: event.deliver_at.map(|at| at.to_string()),
            expires_at: event.expires_at.map(|at| at.to_string()),
            operational: event.operational,
            payload: json(&event.payload)?,
            endpoints,
            others_not_matched: explained.unheard_left_out,
            next: explained.next.map(|id| id.to_string()),
        })
    }
}

impl ExplainedEndpoint {
    fn heard(heard: &Heard, event: &Event) -> Result<Self> {
        let told = heard.deliveries.iter().map(|traced| ExplainedDelivery::of(traced, event));
        Ok(ExplainedEndpoint {
            is_active: heard.endpoint.disabled.is_none() && heard.deleted_at.is_none(),
            deleted_at: heard.deleted_at.map(|at| at.to_string()),
            matched: true,
            deliveries: told.collect::<Result<_>>()?,
            ..ExplainedEndpoint::bare(&heard.endpoint)
        })
    }

    fn unheard(unheard: &Unheard) -> Self {
        let reason = Some(unheard.why.clone());
        ExplainedEndpoint { reason, ..ExplainedEndpoint::bare(&unheard.endpoint) }
    }

    fn bare(endpoint: &model::Endpoint) -> Self {
        ExplainedEndpoint {
            id: endpoint.id.to_string(),
            url: endpoint.url.to_string(),
            is_active: endpoint.disabled.is_none(),
            deleted_at: None,
            matched: false,
            reason: None,
            deliveries: Vec::new(),
        }
    }
}

impl ExplainedDelivery {
    fn of(traced: &Traced, event: &Event) -> Result<Self> {
        let Traced { delivery, attempts, standing } = traced;
        let body =
            if event.payload.is_empty() { None } else { json(&send::body(event, delivery.shape))? };
        Ok(ExplainedDelivery {
            id: delivery.id.to_string(),
            state: state(delivery.state, standing.waits_for),
            sequence: delivery.sequence,
            created_at: delivery.id.made_at().to_string(),
            updated_at: delivery.updated_at.to_string(),
            method: if delivery.shape.use_patch { "PATCH" } else { "POST" },
            body,
            attempts: attempts.iter().map(Attempt::of).collect(),
            replay_of: delivery.replay_of.map(|id| id.to_string()),
            superseded_by: delivery.superseded_by.map(|id| id.to_string()),
            waiting_for: standing.waits_for.map(WaitingFor::from),
            next_at: standing.next_at.map(|at| at.to_string()),
            says: standing.says.clone(),
        })
    }
}

impl From<WaitsFor> for WaitingFor {
    fn from(waits_for: WaitsFor) -> Self {
        match waits_for {
            WaitsFor::InFlight => WaitingFor::InFlight,
            WaitsFor::Disabled => WaitingFor::Disabled,
            WaitsFor::Order => WaitingFor::Order,
            WaitsFor::Breaker => WaitingFor::Breaker,
            WaitsFor::Hold => WaitingFor::Hold,
            WaitsFor::DueTime => WaitingFor::DueTime,
            WaitsFor::Pace => WaitingFor::Pace,
            WaitsFor::Turn => WaitingFor::Turn,
        }
    }
}

fn state(state: model::DeliveryState, waits_for: Option<WaitsFor>) -> DeliveryState {
    match state {
        model::DeliveryState::Concluded => DeliveryState::Concluded,
        model::DeliveryState::Failed => DeliveryState::Failed,
        model::DeliveryState::Waiting if waits_for.is_some_and(WaitsFor::is_held) => {
            DeliveryState::Held
        }
        model::DeliveryState::Waiting => DeliveryState::Waiting,
    }
}

/// JSON as it is kept; `None` when nothing is kept any more.
fn json(bytes: &[u8]) -> Result<Option<Box<RawValue>>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let raw = serde_json::from_slice::<&RawValue>(bytes).map_err(ApiError::internal)?;
    Ok(Some(raw.to_owned()))
}
