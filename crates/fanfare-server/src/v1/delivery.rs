//! A delivery in commercio's form, with what goes beyond it.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare::model::{Attempt as Made, History};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::attempt;
use crate::error::Result;
use crate::standing::Standing;

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
    "replayId": null,
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
    /// The event's payload as it was emitted; null once it has expired before its history.
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
    /// When the next attempt may begin; null while it is being sent, held for a time that is not
    /// known, or over.
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
    /// The replay of many that made it; null for any other. With one and without `replayOf`, it
    /// tells the endpoint of an event that it had not heard of.
    #[schema(format = "uuid", required = true)]
    replay_id: Option<String>,
    /// Its place among all deliveries of its endpoint, in the order in which they were made.
    /// Receivers see it as `webhook-sequence`.
    #[schema(minimum = 0, example = 42)]
    sequence: u64,
    /// The newer delivery that is sent instead; null otherwise.
    #[schema(format = "uuid", required = true)]
    superseded_by: Option<String>,
}

/// Where a delivery stands: `waiting` for its time or being sent, `held` (while its endpoint is
/// disabled, has failed for long or asked to be left alone, or an earlier delivery under the same
/// key is not over), `concluded` by a 2xx, or `failed`: given up.
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
    timing: Timing,
    /// Whether it was a probe of an endpoint that has failed for long; it uses up no retries.
    probe: bool,
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

/// Where the time of an attempt went, in milliseconds; null for a step that was not needed or not
/// reached.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timing {
    /// From the time it was due until it began, in whole milliseconds.
    #[schema(required = true, example = 2.0)]
    queue_ms: Option<f64>,
    /// Name resolution.
    #[schema(required = true, example = 0.871)]
    dns_ms: Option<f64>,
    /// The TCP connection.
    #[schema(required = true, example = 11.402)]
    connect_ms: Option<f64>,
    /// The TLS handshake.
    #[schema(required = true, example = 23.118)]
    tls_ms: Option<f64>,
    /// From the request being sent until the whole head of the answer has come.
    #[schema(required = true, example = 41.973)]
    first_byte_ms: Option<f64>,
    /// From name resolution to the last byte that was read.
    #[schema(example = 77.52)]
    total_ms: f64,
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
    pub(super) fn of(sent: &History, standing: Standing) -> Result<Self> {
        let History { delivery, event, last } = sent;
        let (mut next_attempt_at, mut held_reason, mut failed_reason) = (None, None, None);
        let state = match standing {
            Standing::Waiting(next) => {
                next_attempt_at = next.map(|next| next.to_string());
                DeliveryState::Waiting
            }
            Standing::Held { reason, until } => {
                next_attempt_at = until.map(|until| until.to_string());
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
            payload: attempt::raw_or_null(&event.payload)?,
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
            replay_id: delivery.replay.map(|id| id.to_string()),
            sequence: delivery.sequence,
            superseded_by: delivery.superseded_by.map(|id| id.to_string()),
        })
    }
}

impl DeliveryDetails {
    pub(super) fn of(sent: &History, standing: Standing, attempts: &[Made]) -> Result<Self> {
        let history = attempts.iter().map(Attempt::of).collect();
        Ok(DeliveryDetails { delivery: Delivery::of(sent, standing)?, history })
    }
}

impl Attempt {
    pub(super) fn of(made: &Made) -> Self {
        let shown = attempt::show(made);
        Attempt {
            number: made.number,
            started_at: made.started_at.to_string(),
            duration_ms: shown.duration_ms,
            timing: Timing::of(made),
            probe: made.probe,
            url: made.url.clone(),
            request_headers: attempt::joined(&made.headers),
            status_code: shown.status,
            response_headers: shown.headers,
            response_body: shown.body,
            error: shown.error,
        }
    }
}

impl Timing {
    fn of(made: &Made) -> Self {
        let millis = |span: Option<Duration>| span.map(attempt::millis);
        Timing {
            queue_ms: millis(made.timing.queue),
            dns_ms: millis(made.timing.dns),
            connect_ms: millis(made.timing.connect),
            tls_ms: millis(made.timing.tls),
            first_byte_ms: millis(made.timing.first_byte),
            total_ms: attempt::millis(made.duration),
        }
    }
}
