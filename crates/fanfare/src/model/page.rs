//! Lists, a page at a time.

use crate::model::{
    Attempt, CompanyId, Delivery, DeliveryId, Endpoint, EndpointId, Event, Timestamp,
};

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: u64,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// How many to leave out.
    pub skip: u64,
    /// How many at most.
    pub limit: u32,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Smallest or oldest first.
    Ascending,
    /// Largest or newest first.
    #[default]
    Descending,
}

/// By what endpoints are sorted; ties by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointSort {
    /// When registered.
    #[default]
    CreatedAt,
    /// When last changed.
    UpdatedAt,
    /// By URL, as text.
    Url,
    /// By retries.
    MaxRetries,
    /// The enabled before the disabled.
    Disabled,
}

/// By what deliveries are sorted; ties by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliverySort {
    /// When made, which is the order of ids.
    #[default]
    CreatedAt,
    /// When last changed.
    UpdatedAt,
    /// Waiting, then concluded, then failed.
    State,
    /// By failed attempts.
    Errors,
}

/// A question for a company's endpoints.
#[derive(Debug, Clone)]
pub struct EndpointList {
    /// Whose.
    pub company: CompanyId,
    /// Literal text, part of the URL in any case of letters.
    pub search: Option<String>,
    /// By what.
    pub sort: EndpointSort,
    /// Which way.
    pub order: Order,
    /// Which part.
    pub window: Window,
}

/// A question for an endpoint's deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryList {
    /// Whose.
    pub company: CompanyId,
    /// Of which endpoint.
    pub endpoint: EndpointId,
    /// Literal text: part of the event type or of the endpoint's URL in any case of letters, or
    /// exactly a delivery's or event's id.
    pub search: Option<String>,
    /// By what.
    pub sort: DeliverySort,
    /// Which way.
    pub order: Order,
    /// Which part.
    pub window: Window,
}

/// A delivery with what it tells and how it went.
#[derive(Debug, Clone)]
pub struct History {
    /// The delivery.
    pub delivery: Delivery,
    /// Its event.
    pub event: Event,
    /// Its newest attempt.
    pub last: Option<Attempt>,
}

/// A delivery with every attempt.
#[derive(Debug, Clone)]
pub struct Journey {
    /// The delivery.
    pub delivery: Delivery,
    /// Its attempts, the first one first.
    pub attempts: Vec<Attempt>,
}

/// An endpoint that is there, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The endpoint as it was last.
    pub endpoint: Endpoint,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

impl History {
    /// Its name, for cursors.
    pub fn id(&self) -> DeliveryId {
        self.delivery.id
    }
}
