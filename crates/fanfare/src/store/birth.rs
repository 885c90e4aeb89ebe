//! How a delivery begins: under which keys, and when it may be sent.

use crate::model::{Event, Flow, Ordering, PARKED_MS, Timestamp};

/// What an event and the endpoint that hears it ask of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Birth {
    /// Of those that wait under one, only the first may be claimed.
    pub(super) order_key: Option<String>,
    /// Of those that wait under one, only the newest is sent.
    pub(super) coalesce_key: Option<String>,
    /// When it may be sent at the earliest.
    pub(super) start: Timestamp,
}

impl Birth {
    /// Of an event that is accepted now.
    pub(super) fn of(event: &Event, flow: &Flow) -> Birth {
        let now = event.created_at;
        let window = flow.coalesce.zip(event.ordering_key.as_ref());
        let coalesce_key = window.map(|(_, key)| format!("{} {key}", event.event_type.as_str()));
        let start = window.map_or(now, |(window, _)| now.plus(window));
        Birth {
            coalesce_key,
            start: start.max(not_before(event)),
            ..Birth::again(event, flow, now)
        }
    }

    /// Of an event that is sent again: neither its window nor its time counts any more.
    pub(super) fn again(event: &Event, flow: &Flow, now: Timestamp) -> Birth {
        let order_key = match flow.ordering {
            Ordering::None => None,
            Ordering::Key => event.ordering_key.clone(),
            Ordering::Strict => Some(String::new()),
        };
        Birth { order_key, coalesce_key: None, start: now }
    }

    /// Nothing that waits matters to it, and it matters to nothing that waits.
    pub(super) fn is_free(&self) -> bool {
        self.order_key.is_none() && self.coalesce_key.is_none()
    }

    /// When it is due, behind another one or not.
    pub(super) fn due_at(&self, parked: bool) -> Timestamp {
        if parked { Timestamp(PARKED_MS + self.start.0) } else { self.start }
    }
}

/// The event's own time.
pub(super) fn not_before(event: &Event) -> Timestamp {
    event.deliver_at.unwrap_or_default()
}

/// When a delivery that waits may be sent, parked or not.
pub(super) fn start(due_at: Timestamp) -> Timestamp {
    Timestamp(due_at.0 & (PARKED_MS - 1))
}
