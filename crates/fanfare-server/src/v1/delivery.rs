//! A delivery in commercio's form, with what goes beyond it.

use std::collections::BTreeMap;

use fanfare::model::{Attempt as Made, Endpoint, History};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::attempt;
use crate::error::{ApiError, Result};
use crate::standing::{self, Standing};

/// One event on its way to one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "0197d8a2-52c0-7000-8000-000000000003",
    "webhookId": "0197d8a2-52b0-7000-8000-000000000002",
    "event": "ORDER_CREATED",
    "payload": {"orderId": "ord_123", "total": 1999},
    "statusCode": 200,
    "success": true,
    "attempts": 1,
    "lastAttemptAt": "2025-07-05T01:52:11.615Z",
    "state": "concluded",
    "eventId": "0197d8a2-52bd-7000-8000-000000000001",
    "createdAt": "2025-07-05T01:52:11.613Z",
    "updatedAt": "2025-07-05T01:52:11.640Z",
    "nextAttemptAt": null,
    "heldReason": null,
    "failedReason": null,
    "replayOf": null,
    "sequence": 42,
    "supersededBy": null}))]
pub(crate) struct Delivery {
    #[schema(format = "uuid")]
    id: String,
    /// The endpoint.
    #[schema(format = "uuid")]
    webhook_id: String,
    /// The event's type.
    #[schema(example = "ORDER_CREATED")]
    event: String,
    /// The event's payload as it was emitted.
    #[schema(value_type = Value)]
    payload: Box<RawValue>,
    /// What the last attempt was answered; null before the first, and where there was no answer.
    #[schema(required = true, example = 200)]
    status_code: Option<u16>,
    /// Whether a 2xx was received.
    success: bool,
    /// Attempts made so far.
    attempts: u32,
    /// When the last attempt began; null before the first.
    #[schema(format = "date-time", required = true, example = "2025-07-05T01:52:11.613Z")]
    last_attempt_at: Option<String>,
    state: DeliveryState,
    /// The event. Receivers see it as `webhook-id`.
    #[schema(format = "uuid")]
    event_id: String,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    updated_at: String,
    /// When the next attempt may begin; null while it is being sent, held, behind another one, or
    /// over.
    #[schema(format = "date-time", required = true)]
    next_attempt_at: Option<String>,
    /// Why it is held, or waits for another one; null otherwise.
    #[schema(required = true)]
    held_reason: Option<String>,
    /// Why it was given up; null otherwise.
    #[schema(required = true)]
    failed_reason: Option<String>,
    /// The delivery that this one repeats; null for a first one.
    #[schema(format = "uuid", required = true)]
    replay_of: Option<String>,
    /// Its place among all deliveries of its endpoint, in the order in which they were made.
    /// Receivers see it as `webhook-sequence`.
    #[schema(minimum = 0, example = 42)]
    sequence: u64,
    /// The newer delivery that is sent instead; null otherwise.
    #[schema(format = "uuid", required = true)]
    superseded_by: Option<String>,
}

/// Where a delivery stands: `waiting` for its time or being sent, `held` while its endpoint is
/// disabled, `concluded` by a 2xx, or `failed`: given up.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeliveryState {
    Waiting,
    Held,
    Concluded,
    Failed,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryDetails {
    #[serde(flatten)]
    delivery: Delivery,
    /// Every attempt, the first one first.
    history: Vec<Attempt>,
}

/// One request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attempt {
    /// 1 for the first.
    number: u32,
    #[schema(format = "date-time")]
    started_at: String,
    /// From name resolution to the last byte that was read.
    duration_ms: u64,
    url: String,
    /// The headers it was sent with, credentials masked.
    request_headers: BTreeMap<String, String>,
    /// What was answered; null where there was no answer.
    #[schema(required = true, example = 200)]
    status_code: Option<u16>,
    response_headers: BTreeMap<String, String>,
    /// The first 16 KiB of the answer's body, as text.
    response_body: String,
    /// What went wrong; null where nothing did but perhaps the status.
    #[schema(required = true)]
    error: Option<String>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryList {
    pub(super) items: Vec<Delivery>,
    /// What to give as `after` for the next page; null on the last one.
    #[schema(format = "uuid", required = true)]
    pub(super) next: Option<String>,
}

impl Delivery {
    pub(super) fn of(sent: &History, endpoint: Option<&Endpoint>) -> Result<Self> {
        let History { delivery, event, last } = sent;
        let payload = serde_json::from_slice::<&RawValue>(&event.payload);
        let (mut next_attempt_at, mut held_reason, mut failed_reason) = (None, None, None);
        let state = match standing::of(delivery, endpoint) {
            Standing::Waiting(next) => {
                next_attempt_at = next.map(|next| next.to_string());
                DeliveryState::Waiting
            }
            Standing::Behind(reason) => {
                held_reason = Some(reason);
                DeliveryState::Waiting
            }
            Standing::Held(reason) => {
                held_reason = Some(reason);
                DeliveryState::Held
            }
            Standing::Concluded => DeliveryState::Concluded,
            Standing::Failed(reason) => {
                failed_reason = Some(reason);
                DeliveryState::Failed
            }
        };
        Ok(Delivery {
            id: delivery.id.to_string(),
            webhook_id: delivery.endpoint.to_string(),
            event: event.event_type.constant().to_owned(),
            payload: payload.map_err(ApiError::internal)?.to_owned(),
            status_code: last.as_ref().and_then(|made| attempt::show(made).status),
            success: matches!(state, DeliveryState::Concluded),
            attempts: delivery.attempts,
            last_attempt_at: last.as_ref().map(|made| made.started_at.to_string()),
            state,
            event_id: delivery.event.to_string(),
            created_at: delivery.id.made_at().to_string(),
            updated_at: delivery.updated_at.to_string(),
            next_attempt_at,
            held_reason,
            failed_reason,
            replay_of: delivery.replay_of.map(|id| id.to_string()),
            sequence: delivery.sequence,
            superseded_by: delivery.superseded_by.map(|id| id.to_string()),
        })
    }
}

impl DeliveryDetails {
    pub(super) fn of(
        sent: &History,
        endpoint: Option<&Endpoint>,
        attempts: &[Made],
    ) -> Result<Self> {
        let history = attempts.iter().map(Attempt::of).collect();
        Ok(DeliveryDetails { delivery: Delivery::of(sent, endpoint)?, history })
    }
}

impl Attempt {
    fn of(made: &Made) -> Self {
        let shown = attempt::show(made);
        Attempt {
            number: made.number,
            started_at: made.started_at.to_string(),
            duration_ms: shown.duration_ms,
            url: made.url.clone(),
            request_headers: attempt::joined(&made.headers),
            status_code: shown.status,
            response_headers: shown.headers,
            response_body: shown.body,
            error: shown.error,
        }
    }
}
