use bytes::Bytes;

use crate::model::{CompanyId, EventId, EventType, Timestamp};

/// Something that happened. Never changes once stored.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name, which receivers see as `webhook-id`.
    pub id: EventId,
    /// Whose it is.
    pub company: CompanyId,
    /// What kind of thing happened.
    pub event_type: EventType,
    /// JSON, byte for byte as it was emitted.
    pub payload: Bytes,
    /// When it was emitted.
    pub created_at: Timestamp,
    /// What it is about: endpoints that ask for it get the events of one key one after the other.
    pub ordering_key: Option<String>,
    /// Not to be sent before.
    pub deliver_at: Option<Timestamp>,
    /// Not to be sent from here on.
    pub expires_at: Option<Timestamp>,
    /// Whether it tells operational endpoints what befell another endpoint.
    pub operational: bool,
}

impl Event {
    /// An event of a company, without any wishes.
    pub fn new(
        (company, id): (CompanyId, EventId),
        event_type: EventType,
        payload: Bytes,
        created_at: Timestamp,
    ) -> Self {
        Event {
            id,
            company,
            event_type,
            payload,
            created_at,
            ordering_key: None,
            deliver_at: None,
            expires_at: None,
            operational: false,
        }
    }
}
