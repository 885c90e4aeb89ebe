//! What a store is handed, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::filter::{Filter, Subject};
use crate::model::{
    Claim, CompanyId, DeliveryId, Endpoint, EndpointId, Entry, Event, EventId, Health, LaneKey,
    Purpose, Sealed, Timestamp,
};

/// An event to accept.
#[derive(Debug, Clone)]
pub struct Emit {
    /// The event.
    pub event: Arc<Event>,
    /// Whether the caller chose the event's id, so that it may be there already.
    pub id_given: bool,
    /// By what it may be known already; the first one that is decides.
    pub names: Vec<Name>,
    /// What filters said of it before the store was asked. One that is not among them, or was
    /// changed since, is asked within the transaction.
    pub judged: Vec<Judged>,
}

/// What a filter said of an event.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Whose filter.
    pub endpoint: EndpointId,
    /// The filter.
    pub filter: Arc<Filter>,
    /// Whether the event passes.
    pub passes: bool,
}

impl Emit {
    /// An event that nothing can repeat.
    pub fn new(event: Event) -> Self {
        Emit::of(Arc::new(event))
    }

    /// The same of an event that is shared.
    pub fn of(event: Arc<Event>) -> Self {
        Emit { event, id_given: false, names: Vec::new(), judged: Vec::new() }
    }

    /// Does the filter of an endpoint let the event through?
    pub(crate) fn passes(&self, endpoint: &Endpoint, payload: &Subject<'_>) -> bool {
        let Some(filter) = &endpoint.filter else { return true };
        let mut judged = self.judged.iter();
        let judged = judged.find(|said| said.endpoint == endpoint.id && said.filter == *filter);
        judged.map_or_else(|| payload.passes(filter), |said| said.passes)
    }
}

/// By what an event is known in its company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// `key:`, `batch:` or `id:` and what the caller chose.
    pub text: String,
    /// Of all that was asked under it, so that the same can be told from another.
    pub digest: [u8; 32],
}

/// What came of an emit.
#[derive(Debug, Clone)]
pub enum Accepted {
    /// It is stored.
    New {
        /// Deliveries claimed at birth.
        claims: Vec<Claim>,
        /// Where something else falls due by it, and when. What is parked does not.
        waiting: Vec<(EndpointId, Timestamp)>,
        /// How many deliveries it has.
        deliveries: u32,
    },
    /// The same was accepted before under one of its names: this is what was answered.
    Repeat(Receipt),
    /// Something else was accepted before under this name of it. Nothing is stored.
    Conflict(String),
    /// Nothing is stored: another one of the call is a conflict, or one of them had expired before
    /// it was accepted.
    Withheld,
}

/// What came of a record.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Whether the claim still held, so that the verdict counts.
    pub applied: bool,
    /// Lanes in which something fell due by it, and is not claimed.
    pub woken: Vec<LaneKey>,
    /// The next delivery under the order key, claimed.
    pub next: Option<Claim>,
}

/// How deliveries end unsent.
#[derive(Debug, Clone)]
pub struct Unsent {
    /// Why they fail.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// What the audit log says of it; `None` for what the engine does by its rules.
    pub noted: Option<Entry>,
}

impl Unsent {
    /// Nobody decided on it.
    pub fn by_rule(reason: &str, at: Timestamp) -> Self {
        Unsent { reason: reason.to_owned(), at, noted: None }
    }
}

/// What was ended unsent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// The deliveries.
    pub deliveries: Vec<DeliveryId>,
    /// Lanes in which something fell due by it.
    pub woken: Vec<LaneKey>,
}

/// What an emit answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id.
    pub id: EventId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How many endpoints hear of it.
    pub deliveries: u32,
}

/// Which deliveries are claimed at birth, and for how long.
#[derive(Clone)]
pub struct Admission {
    /// How long a claim holds.
    pub lease: Duration,
    /// Asked within the transaction, so it must be quick.
    pub may_claim: Arc<dyn Fn(EndpointId) -> bool + Send + Sync>,
}

/// A lane that has something waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub key: LaneKey,
    /// The earliest due time in it.
    pub due_at: Timestamp,
    /// How its endpoint does.
    pub health: Health,
}

/// A lane that has room.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Its name.
    pub key: LaneKey,
    /// For how many more.
    pub limit: u32,
    /// Nothing of it that waits is due before: a store need not look there.
    pub earliest: Timestamp,
    /// Whether one that waits for a retry may be brought forward when nothing is due.
    pub probe: bool,
}

/// How far a walk through what is old has come: behind this id of this company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The company.
    pub company: CompanyId,
    /// An id of a kind that only the walk itself knows.
    pub id: Uuid,
}

/// What came of a step of such a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many rows went, or were emptied.
    pub rows: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Place>,
}

/// What a lane got.
#[derive(Debug)]
pub struct Claimed {
    /// Its name.
    pub key: LaneKey,
    /// The claims, the longest due first.
    pub claims: Vec<Claim>,
    /// The earliest due time of what still waits in the store, leases of claims made earlier
    /// or now included. `None` when nothing does, or the endpoint is disabled or deleted.
    pub next_due: Option<Timestamp>,
}

/// A secret of an endpoint that was sealed with another key.
#[derive(Debug, Clone)]
pub struct Resealed {
    /// Whose.
    pub lane: LaneKey,
    /// What it is for.
    pub purpose: Purpose,
    /// As it was sealed before.
    pub before: Sealed,
    /// As it is sealed now.
    pub sealed: Sealed,
}
