//! The disk, the third of the engine's three edges.
//!
//! Two stores keep one contract, written in the doc comments of these traits and checked by one
//! conformance suite (`fanfare-testkit::contract`). A method is a whole transaction: it happens or
//! it does not, and when it returns `Ok` it is on disk. No method asks what time it is; the caller
//! says. An id of another company is not found.

mod access;
mod birth;
mod exchange;
mod known;
mod nodes;
mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
mod repeats;
mod replays;
mod rows;
pub mod sqlite;
mod told;
pub mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::metrics::Metrics;
pub use crate::model::LaneKey;
use crate::model::{
    Act, Attempt, Claim, Company, CompanyId, Delivery, DeliveryId, DeliveryList, Endpoint,
    EndpointChange, EndpointId, EndpointList, Event, EventId, History, Journey, Page, Purpose,
    Record, Registered, Sealed, Timestamp,
};
pub use access::{ApiKeys, Audit};
pub use exchange::{
    Accepted, Admission, Claimed, Emit, Ended, Judged, Lane, Name, Place, Receipt, Recorded,
    Resealed, Swept, Unsent, Wanted,
};
pub use nodes::{Card, Node, Nodes, Ring, Tenure, Word};
pub use outbox::{
    Outbox, POSTGRES_OUTBOX, Portion, Row, SQLITE_OUTBOX, Said, Waiting, open_outbox, own_outbox,
};
pub use replays::{Advanced, NewReplay, ReplayCount, Replays, Slice, Started, Unfinished};

/// Everything the engine keeps. An internal seam: it may change in any release.
///
/// A call that takes an [`Act`] writes an entry of the audit log in the same transaction, if it
/// changed something, and none if it did not.
pub trait Store:
    Endpoints + Queue + Replays + Histories + ApiKeys + Audit + Nodes + Upkeep
{
}
impl<T: Endpoints + Queue + Replays + Histories + ApiKeys + Audit + Nodes + Upkeep> Store for T {}

/// The result of a store call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Companies, and who listens.
#[async_trait]
pub trait Endpoints: Send + Sync {
    /// A company that some write has named.
    async fn company(&self, id: CompanyId) -> Result<Option<Company>>;

    /// Names a company, making it when it is new. `updated_at` moves only when its name really
    /// changed.
    async fn name_company(&self, id: CompanyId, name: &str, act: &Act) -> Result<Company>;

    /// Adds an endpoint, and its company when that is new.
    async fn add_endpoint(&self, endpoint: &Endpoint, act: &Act) -> Result<()>;

    /// Changes an endpoint and returns it as it is now. `updated_at` moves only when something
    /// really changed. A change that names a secret which has been replaced changes nothing.
    async fn change_endpoint(
        &self,
        company: CompanyId,
        id: EndpointId,
        change: &EndpointChange,
        act: &Act,
    ) -> Result<Option<Endpoint>>;

    /// Removes an endpoint from every list. Its waiting deliveries are failed by
    /// [`Upkeep::bury`]; its history stays until it expires. Returns whether it was there.
    async fn delete_endpoint(&self, company: CompanyId, id: EndpointId, act: &Act) -> Result<bool>;

    /// One endpoint.
    async fn endpoint(&self, company: CompanyId, id: EndpointId) -> Result<Option<Endpoint>>;

    /// One endpoint, also when it was deleted and is not yet forgotten.
    async fn registered(&self, company: CompanyId, id: EndpointId) -> Result<Option<Registered>>;

    /// Up to `limit`, at least one, of a company's endpoints that have no delivery of an event, the
    /// newest first, and how many there are.
    async fn unheard(
        &self,
        company: CompanyId,
        event: EventId,
        limit: u32,
    ) -> Result<Page<Endpoint>>;

    /// The endpoints of a company that have a filter.
    async fn filtering(&self, company: CompanyId) -> Result<Vec<Endpoint>>;

    /// Endpoints of all companies with ids above `after`, in the order of ids.
    async fn all_endpoints(&self, after: Option<EndpointId>, limit: u32) -> Result<Vec<Endpoint>>;

    /// A page of a company's endpoints.
    async fn endpoints(&self, list: &EndpointList) -> Result<Page<Endpoint>>;

    /// A company's endpoints with ids below `before`, newest first.
    async fn endpoints_before(
        &self,
        company: CompanyId,
        before: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>>;
}

/// The road: accept, claim, record.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Stores events, each together with one delivery for each enabled endpoint of its company that
    /// listens to its type and whose filter lets its payload through, and the company when that is
    /// new: all of them or, when one of them is refused, none. They are answered in their order,
    /// which is the order of their deliveries. One that is known by one of its names is not stored
    /// again; what is known outlives the event. Operational endpoints hear of operational events and
    /// of nothing else, and nobody else hears of those.
    ///
    /// A delivery that may be sent at once, in a shard that this node has, and whose endpoint
    /// `admission` lets in is claimed at birth (due one lease after the event's `created_at`, fence 1). Any other is due at
    /// `created_at`, the event's `deliver_at` or the end of the endpoint's window for newer ones of
    /// its type and ordering key, whichever is latest. One that has to wait for another under the
    /// same order key is parked until [every earlier one](Delivery::order_key) has ended.
    ///
    /// Where the endpoint has such a window, the delivery supersedes those of the same type and
    /// ordering key that wait and are not claimed: they fail, naming it. It takes over the earliest
    /// time at which one of them was to be sent first, so that a flood does not put it off for
    /// ever.
    async fn accept(&self, emits: Vec<Emit>, admission: &Admission) -> Result<Vec<Accepted>>;

    /// For each lane wanted, claims up to its limit of due deliveries, the longest due first, and
    /// moves their due time to `now + lease`. A claim tells when it was due before. Nothing is
    /// claimed of a disabled or deleted endpoint or in a shard that this node does not have, no
    /// delivery is claimed twice before its lease ends, and none that is parked. When nothing of a lane is due that is wanted for a probe, one
    /// delivery that waits for a retry is claimed before its time: the one that is due next, never
    /// one that was not tried yet.
    async fn claim(
        &self,
        wanted: &[Wanted],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>>;

    /// Adds an attempt to the history and, if the claim still holds, the delivery still waits and
    /// this node still has its shard, applies the verdict and counts the attempt. Returns whether it did. A `Gone` verdict also
    /// disables the endpoint. A claim holds until it is used, given back, voided or followed by
    /// another one; a lease that ran out does not end it. It leads to one attempt: a second record
    /// under it changes nothing. That an endpoint is disabled by it is noted in the audit log as the
    /// engine's own act. A delivery that ends lets the next one under its order key go, and a store
    /// may claim that at once where the record allows it and it is due; a retry does not. One that
    /// would be tried again although a newer one that supersedes it waits
    /// fails instead, naming that.
    ///
    /// What is applied also brings along how the endpoint does, unless it is sent elsewhere by now;
    /// disables it, if it is given up; and has each notice accepted as an event of its own, for
    /// the operational endpoints that listen to its type: due at once and unclaimed, their lanes
    /// woken. A notice that nobody hears is not stored.
    async fn record(&self, record: Record) -> Result<Recorded>;

    /// Gives claims back unused: what still holds is due at `now`.
    async fn release(&self, claims: &[Claim], now: Timestamp) -> Result<()>;

    /// The deliveries of an event that wait, in the order of ids. `None` when there is no such
    /// event.
    async fn waiting_of(&self, company: CompanyId, event: EventId)
    -> Result<Option<Vec<Delivery>>>;

    /// Fails waiting deliveries: those that nobody has claimed, and those that are claimed under the
    /// fence named. Each lets the next one under its order key go. What is to be noted is noted if
    /// one of them has ended by it.
    async fn end(
        &self,
        company: CompanyId,
        deliveries: &[(DeliveryId, Option<u64>)],
        ending: &Unsent,
    ) -> Result<Ended>;

    /// The lanes that have waiting deliveries and an endpoint that is enabled, with how that does,
    /// in the order of company and endpoint, after the one named: those of the shards that this
    /// node has. Costs a seek for each lane, however long it is. What is parked does not count.
    async fn lanes(&self, after: Option<LaneKey>, limit: u32) -> Result<Vec<Lane>>;
}

/// What people ask about afterwards.
#[async_trait]
pub trait Histories: Send + Sync {
    /// One delivery.
    async fn delivery(&self, company: CompanyId, id: DeliveryId) -> Result<Option<History>>;

    /// Every attempt of a delivery, the first one first.
    async fn attempts(&self, company: CompanyId, id: DeliveryId) -> Result<Vec<Attempt>>;

    /// One event.
    async fn event(&self, company: CompanyId, id: EventId) -> Result<Option<Event>>;

    /// Up to `limit` deliveries of an event with ids above `after`, in the order in which they were
    /// made, each with its attempts.
    async fn deliveries_of(
        &self,
        company: CompanyId,
        event: EventId,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Journey>>;

    /// Of the deliveries that wait under an order key, the one with the lowest sequence.
    async fn first_in_order(&self, lane: LaneKey, order_key: &str) -> Result<Option<DeliveryId>>;

    /// A page of an endpoint's deliveries. A page without a search, in the order in which they were
    /// made, costs no more than its distance from the beginning, also when there are millions.
    async fn deliveries(&self, list: &DeliveryList) -> Result<Page<History>>;

    /// An endpoint's deliveries with ids below `before`, newest first.
    async fn deliveries_before(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<History>>;
}

/// Keeping house.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Can an event of this many bytes be written now? Writes as much, to see.
    async fn ready(&self, bytes: usize) -> Result<()>;

    /// Keeps `value` under `name` if nothing is kept there yet. Returns whether what is kept now
    /// is `value`.
    async fn agree(&self, name: &str, value: &[u8]) -> Result<bool>;

    /// What is kept under `name`.
    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Keeps `value` under `name` in the place of `before`. Returns whether that was kept there.
    async fn keep_instead(&self, name: &str, before: &[u8], value: &[u8]) -> Result<bool>;

    /// Where history is kept in days: makes room for those to come after `now`, and removes at once
    /// one that ended before `before`. Returns whether there is more to do. Deliveries that wait stay,
    /// with their events and attempts.
    async fn turn(&self, now: Timestamp, before: Timestamp) -> Result<bool>;

    /// Goes on from `from` through what is old: removes up to `limit` final deliveries that were made
    /// before `before`, with their attempts, and what no longer has a delivery: events and deleted
    /// endpoints. Events that nobody heard go by their own time. What is kept in days is left to
    /// [`Upkeep::turn`]. A crash may undo it.
    async fn expire(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept>;

    /// Goes on from `from` through what is old: empties the payloads of up to `limit` events that
    /// were emitted before `before` and that nothing waits to deliver. A crash may undo it.
    async fn strip(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept>;

    /// Gives a little of the space that was freed back to the disk, where there is much of it.
    /// Returns whether there is more.
    async fn reclaim(&self) -> Result<bool>;

    /// Forgets up to `limit` names of events that were accepted before `before`. Returns how many.
    async fn forget(&self, before: Timestamp, limit: u32) -> Result<u64>;

    /// Fails up to `limit` waiting, unclaimed deliveries of events that had expired by `now`, held
    /// or not. Each lets the next one under its order key go.
    async fn lapse(&self, now: Timestamp, limit: u32) -> Result<Ended>;

    /// Fails up to `limit` waiting deliveries of deleted endpoints. Returns how many.
    async fn bury(&self, now: Timestamp, limit: u32) -> Result<u64>;

    /// Proves the store's invariants on one snapshot, writing nothing. Returns a line for each
    /// that is broken.
    async fn check(&self) -> Result<Vec<String>>;

    /// What is sealed of up to `limit` endpoints with ids above `after`, in the order of ids,
    /// deleted endpoints included: its secret, the one before it as long as that is kept, its
    /// headers, its certificates.
    async fn secrets(
        &self,
        after: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<(LaneKey, Purpose, Sealed)>>;

    /// Puts what was sealed anew in the place of what was sealed before, wherever that is still kept
    /// for its endpoint and purpose, deleted endpoints included. What was changed in between stays
    /// as it is, and so does `updated_at`. Returns how many were replaced.
    async fn reseal(&self, anew: &[Resealed]) -> Result<u64>;

    /// Returns, with the reason, once the disk has lost a write that it had been asked to keep;
    /// otherwise never. The process must then end and start again from what is on disk.
    async fn lost(&self) -> String;

    /// Returns once lanes are to be read again: the store was away and is back, or what a call
    /// claimed whose answer was lost is due again. For one caller.
    async fn back(&self);

    /// Stops writing once everything handed over is on disk, and gives the store, or this node's
    /// part of it, free for others. Every later call fails.
    async fn close(&self);
}

/// Why the store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk. Worth trying again.
    #[error("the disk is full: {0}")]
    Full(String),
    /// Busy, disconnected or closed. Worth trying again.
    #[error("the database is away: {0}")]
    Away(String),
    /// Another node was at the same thing. Worth trying again at once.
    #[error("another node was at the same thing: {0}")]
    Raced(String),
    /// Another process owns the store, or it cannot be opened as it is named.
    #[error("{0}")]
    Taken(String),
    /// A bug or damaged data. Not worth trying again.
    #[error("the store is broken: {0}")]
    Broken(String),
    /// The disk lost a write that it had been asked to keep. The process must end and start again
    /// from what is on disk.
    #[error("the disk failed to keep a write: {0}")]
    Untrusted(String),
}

impl StoreError {
    /// Will it pass by itself? The store logs it then, a line a second at most; nobody else does.
    pub fn passes(&self) -> bool {
        matches!(self, StoreError::Full(_) | StoreError::Away(_) | StoreError::Raced(_))
    }
}

/// Opens the store that `url` names, `sqlite:PATH` or `postgres://…`, making it when it is new.
///
/// # Errors
/// [`StoreError::Taken`] when another process has it, or a [move](transfer) into it is unfinished.
pub async fn open(url: &str, metrics: Metrics) -> Result<Arc<dyn Store>> {
    let store = open_whatever(url, metrics).await?;
    if let Err(unfinished) = transfer::refuse_unfinished(store.as_ref()).await {
        store.close().await;
        return Err(unfinished);
    }
    Ok(store)
}

async fn open_whatever(url: &str, metrics: Metrics) -> Result<Arc<dyn Store>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Arc::new(sqlite::Sqlite::open(Path::new(path), metrics).await?));
    }
    #[cfg(feature = "postgres")]
    if is_postgres(url) {
        return Ok(Arc::new(postgres::Postgres::open(url, metrics).await?));
    }
    Err(unknown_url(url))
}

/// Where the database listens that this URL names; nowhere for the embedded store, or for a URL that
/// [`open`] refuses.
pub fn hosts(url: &str) -> Vec<(String, u16)> {
    #[cfg(feature = "postgres")]
    if is_postgres(url) {
        return postgres::hosts(url);
    }
    let _embedded = url;
    Vec::new()
}

/// Opens a store to look at it, also while another process serves it.
pub async fn open_read_only(url: &str) -> Result<Arc<dyn Store>> {
    let store = read_only_whatever(url).await?;
    transfer::refuse_unfinished(store.as_ref()).await?;
    Ok(store)
}

async fn read_only_whatever(url: &str) -> Result<Arc<dyn Store>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Arc::new(sqlite::Sqlite::open_read_only(Path::new(path)).await?));
    }
    #[cfg(feature = "postgres")]
    if is_postgres(url) {
        return Ok(Arc::new(postgres::Postgres::open_read_only(url).await?));
    }
    Err(unknown_url(url))
}

#[cfg(feature = "postgres")]
fn is_postgres(url: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
}

fn unknown_url(url: &str) -> StoreError {
    // Only the scheme is shown: the rest may hold a password.
    let scheme = url.split(':').next().unwrap_or_default();
    StoreError::Taken(format!(
        "FANFARE_DATABASE_URL must be `sqlite:PATH` or `postgres://…`, not `{scheme}:…`"
    ))
}
