//! An event on its way to one endpoint.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::{
    CompanyId, DeliveryId, Disabled, Endpoint, EndpointId, Event, EventId, Headers, Health,
    LaneKey, ReplayId, Shape, Timestamp,
};

/// Where a delivery stands. There is no "sending" state: a claim is a due time one lease ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waiting for its due time, being sent right now, or held while its endpoint is disabled.
    Waiting,
    /// A 2xx was received. Final.
    Concluded,
    /// Given up, with a reason. Final; a replay is a new delivery.
    Failed,
}

/// One event for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its name. The delivery was made when its id was: [`DeliveryId::made_at`].
    pub id: DeliveryId,
    /// Whose it is.
    pub company: CompanyId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// What it tells.
    pub event: EventId,
    /// How its requests look.
    pub shape: Shape,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it may next be claimed; means nothing once the state is final.
    pub due_at: Timestamp,
    /// Whether `due_at` is the end of a lease: somebody has the right to send it now.
    pub claimed: bool,
    /// Requests made so far.
    pub attempts: u32,
    /// How many of them were probes while the breaker was open; they use up no retries.
    pub probes: u32,
    /// Its place among all deliveries of its endpoint, from 1, in the order in which they were made.
    pub sequence: u64,
    /// Of those that wait under one key, only the one with the lowest sequence may be claimed; the
    /// others are parked. `None` for any order.
    pub order_key: Option<String>,
    /// The number of the newest claim.
    pub fence: u64,
    /// Why it failed.
    pub reason: Option<String>,
    /// The delivery that this one repeats.
    pub replay_of: Option<DeliveryId>,
    /// The replay of many that made it. With one and without `replay_of`, it tells an endpoint of
    /// an event that it had not heard of.
    pub replay: Option<ReplayId>,
    /// The newer delivery that is sent instead.
    pub superseded_by: Option<DeliveryId>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// How far ahead the due time of a parked delivery lies: 140,000 years, so that no claim meets it.
/// Less this, it is when the delivery may be claimed once nothing waits before it.
pub const PARKED_MS: i64 = 1 << 52;

impl Delivery {
    /// Does it wait for another one under the same key?
    pub fn is_parked(&self) -> bool {
        self.due_at.0 >= PARKED_MS
    }

    /// The name of the lane it is in.
    pub fn lane(&self) -> LaneKey {
        LaneKey { company: self.company, endpoint: self.endpoint }
    }

    /// How many of its attempts failed.
    pub fn errors(&self) -> u32 {
        self.attempts - u32::from(self.state == DeliveryState::Concluded && self.attempts > 0)
    }
}

/// Why a delivery has failed whose event expired at `at`.
pub fn expired(attempts: u32, at: Timestamp) -> String {
    match attempts {
        0 => format!("expired unsent at {at}"),
        1 => format!("expired at {at}, after 1 attempt"),
        more => format!("expired at {at}, after {more} attempts"),
    }
}

/// The right to make the next attempt of a delivery, until the lease runs out.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What is claimed.
    pub delivery: DeliveryId,
    /// Grows by one with each claim, so that a sender who lost its lease cannot overwrite a newer
    /// result.
    pub fence: u64,
    /// When it was due, before it was claimed.
    pub due_at: Timestamp,
    /// Requests made so far.
    pub attempts: u32,
    /// How many of them were probes.
    pub probes: u32,
    /// The delivery's place among those of its endpoint.
    pub sequence: u64,
    /// Whether it has an order key, so that another one may wait for its end.
    pub ordered: bool,
    /// How the request looks.
    pub shape: Shape,
    /// What to send.
    pub event: Arc<Event>,
    /// Where to send it.
    pub endpoint: Arc<Endpoint>,
}

/// What became of one request. An endpoint's refusal is an outcome, not an error of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered.
    Answered(Answer),
    /// No answer: refused, reset, timed out, or not allowed by the guard.
    NoAnswer {
        /// One line for the person who reads the history. Starts with a stable word:
        /// `timeout: …`, `connect: …`, `refused: …`, `dns: …`, `tls: …`, `protocol: …`, `budget: …`.
        reason: String,
    },
}

/// What an endpoint answered, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status.
    pub status: u16,
    /// Its headers as they came, names in lower case.
    pub headers: Headers,
    /// Its body: the first 64 KiB as it comes from the network, the first 16 KiB in the history.
    pub body: Bytes,
    /// What was wrong with it apart from its status: cut at the deadline or at 64 KiB, broken off,
    /// or not as HTTP has it.
    pub flaw: Option<String>,
}

/// One request, as it goes into the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, from name resolution to the last byte read.
    pub duration: Duration,
    /// Where the time went.
    pub timing: Timing,
    /// Whether it was a probe, made while the breaker was open.
    pub probe: bool,
    /// The URL it was sent to.
    pub url: String,
    /// The headers it was sent with, credentials masked, names in lower case.
    pub headers: Headers,
    /// What became of it.
    pub outcome: Outcome,
}

/// Where the time of an attempt went; `None` for a step that was not needed or not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// From the time it was due until the attempt began, in whole milliseconds.
    pub queue: Option<Duration>,
    /// Name resolution, also where a connection was kept: it may be used only while the name still
    /// leads there. What is remembered of a name takes next to nothing.
    pub dns: Option<Duration>,
    /// The TCP connection; not needed where one was kept open.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request being sent until the whole head of the answer has come.
    pub first_byte: Option<Duration>,
}

/// What to do with a delivery after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Concluded,
    /// Try again at this time.
    RetryAt(Timestamp),
    /// Stop, and say why.
    Failed(String),
    /// Stop, and stop sending to this endpoint: it answered `410 Gone`.
    Gone,
}

/// An attempt and what follows from it, for the store.
#[derive(Debug, Clone)]
pub struct Record {
    /// The claim under which the attempt was made.
    pub claim: Claim,
    /// The attempt, shared with whoever offers it to a store that refuses for a while.
    pub attempt: Arc<Attempt>,
    /// What follows.
    pub verdict: Verdict,
    /// When the attempt ended.
    pub at: Timestamp,
    /// How the endpoint does from here on; `None` when that did not change.
    pub health: Option<Health>,
    /// Why the endpoint is given up, if it is.
    pub disabled: Option<Disabled>,
    /// What operational endpoints are to hear of it.
    pub notices: Vec<Event>,
    /// For how long the next delivery under the order key may be claimed at once, if this one's end
    /// lets it go; `None` when whoever records has no room for it.
    pub next: Option<Duration>,
}

impl Record {
    /// A record of an attempt after which the endpoint does as before.
    pub fn new(claim: Claim, attempt: Arc<Attempt>, verdict: Verdict, at: Timestamp) -> Self {
        let (health, disabled, notices) = (None, None, Vec::new());
        Record { claim, attempt, verdict, at, health, disabled, notices, next: None }
    }
}
