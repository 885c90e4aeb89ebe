//! Companies and events as they are shown and told.

use fanfare::engine::Cancelled;
use fanfare::model::{self, EventType};
use fanfare::store::Receipt;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType};

use crate::error::Result;
use crate::form::Form;

/// A company.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Company {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    updated_at: String,
    /// Empty until it is set.
    name: String,
}

/// What to call a company.
#[derive(Debug, ToSchema)]
pub(crate) struct CompanyName {
    /// For people; no control characters.
    #[schema(max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$", example = "Acme")]
    pub(super) name: String,
}

/// An event to emit.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase",
    example = json!({"type": "order.created", "data": {"orderId": "ord_123", "total": 1999}}))]
#[expect(dead_code, reason = "described here; told.rs reads it without copying")]
pub(crate) struct EventToEmit {
    /// What happened: one of commercio's eight in either spelling, or a name of your own.
    #[schema(
        max_length = 128,
        pattern = r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$",
        example = "order.created"
    )]
    r#type: String,
    #[schema(schema_with = payload)]
    data: serde_json::Value,
    /// Your own id for the event, unique in the company: the same event told twice is one event.
    /// Receivers see it as `webhook-id`.
    #[schema(format = "uuid")]
    id: Option<String>,
    /// What the event is about, such as an order's id: endpoints that ask for it get the events of
    /// one key one after the other, or only the newest. No control characters.
    #[schema(max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", example = "ord_123")]
    ordering_key: Option<String>,
    /// Not to be sent before, at most 366 days from now; a time that has passed is now.
    #[schema(format = "date-time", example = "2025-07-05T01:52:11.613Z")]
    deliver_at: Option<String>,
    /// Not to be sent from here on: what waits by then fails. In the future and after `deliverAt`.
    #[schema(format = "date-time", example = "2099-12-31T00:00:00.000Z")]
    expires_at: Option<String>,
}

/// Events to emit together.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"events": [
    {"type": "order.created", "data": {"orderId": "ord_123"}, "orderingKey": "ord_123"},
    {"type": "payment.received", "data": {"orderId": "ord_123"}, "orderingKey": "ord_123"}]}))]
#[expect(dead_code, reason = "described here; told.rs reads it without copying")]
pub(crate) struct EventsToEmit {
    /// In their order; their payloads have 8 MiB together at most.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<EventToEmit>,
}

/// Accepted events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsAccepted {
    /// In the order in which they were sent.
    pub(super) items: Vec<EventAccepted>,
}

/// What came of cancelling an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventCancelled {
    /// How many of its deliveries were waiting and have ended.
    #[schema(minimum = 0)]
    cancelled: usize,
    /// How many are being sent: they go on.
    #[schema(minimum = 0)]
    in_flight: usize,
}

/// An accepted event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventAccepted {
    /// Receivers see it as `webhook-id`.
    #[schema(format = "uuid")]
    id: String,
    /// What happened, dotted.
    #[schema(example = "order.created")]
    r#type: String,
    #[schema(format = "date-time")]
    created_at: String,
    /// How many endpoints will hear of it.
    #[schema(minimum = 0)]
    deliveries: u32,
}

impl Company {
    pub(super) fn of(company: &model::Company) -> Self {
        Company {
            id: company.id.to_string(),
            created_at: company.created_at.to_string(),
            updated_at: company.updated_at.to_string(),
            name: company.name.clone(),
        }
    }
}

impl CompanyName {
    pub(super) fn read(mut form: Form) -> Result<Self> {
        form.require("name");
        let name = form.text("name");
        form.refuse_the_rest("name");
        form.finish(name.map(|name| CompanyName { name }))
    }
}

impl EventCancelled {
    pub(super) fn of(cancelled: Cancelled) -> Self {
        EventCancelled { cancelled: cancelled.cancelled, in_flight: cancelled.in_flight }
    }
}

impl EventAccepted {
    pub(super) fn of(receipt: &Receipt, event_type: &EventType) -> Self {
        EventAccepted {
            id: receipt.id.to_string(),
            r#type: event_type.as_str().to_owned(),
            created_at: receipt.created_at.to_string(),
            deliveries: receipt.deliveries,
        }
    }
}

pub(super) fn payload() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some(
            "The payload: any JSON value, at most 128 levels deep and `FANFARE_MAX_PAYLOAD` bytes \
             long as it is sent.",
        ))
        .examples([serde_json::json!({"orderId": "ord_123", "total": 1999})])
        .build()
}
