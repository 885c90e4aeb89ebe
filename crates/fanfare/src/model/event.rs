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
}
