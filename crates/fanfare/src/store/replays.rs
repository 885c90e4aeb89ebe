//! Sending again what was sent before: the part of the contract that is about replays.

use async_trait::async_trait;

use crate::model::{Act, CompanyId, Delivery, DeliveryId, Replay, ReplayId, Selection, Timestamp};
use crate::store::{LaneKey, Result};

/// Sending again what was sent before. A repeat is a new delivery of the same event to the same
/// endpoint: unclaimed, marked by what it repeats and by the replay that made it.
#[async_trait]
pub trait Replays: Send + Sync {
    /// Repeats one delivery, due at once and with the same shape. A repeat of it that still waits
    /// or was made less than ten seconds ago is returned instead, also to two callers at once.
    /// `None` when there is no such delivery, its endpoint is deleted or its payload has expired.
    async fn replay(
        &self,
        company: CompanyId,
        id: DeliveryId,
        act: &Act,
    ) -> Result<Option<Delivery>>;

    /// Keeps a replay of many, for [`Replays::advance_replay`] to work off. The one that was kept
    /// under the same key is returned instead; without a key, one that asks for the same and was
    /// not cancelled, as long as it runs or if it is less than ten seconds old.
    async fn start_replay(&self, new: &NewReplay, act: &Act) -> Result<Started>;

    /// Counts what a replay would find and make now, and writes nothing. Stops soon after `most` are
    /// found or 100,000 rows were looked at.
    async fn count_replay(&self, new: &NewReplay, most: u32) -> Result<ReplayCount>;

    /// Does the next part of a replay, and notes how far it got in the same transaction, so that
    /// nothing is left out or made twice. A repeat of a delivery keeps its shape; a delivery of an
    /// event that is selected by its time has the endpoint's. What has no payload any more, is past
    /// its time, goes to a deleted endpoint, or waits already is found and not made; nor is, of
    /// events, what would go to a disabled endpoint. Does nothing once the replay has finished.
    async fn advance_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        slice: Slice,
    ) -> Result<Advanced>;

    /// Ends a replay before it is through; what it made stays. One that has ended stays as it is.
    async fn cancel_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        act: &Act,
    ) -> Result<Option<Replay>>;

    /// One replay.
    async fn found_replay(&self, company: CompanyId, id: ReplayId) -> Result<Option<Replay>>;

    /// A company's replays with ids below `before`, newest first.
    async fn replays_before(
        &self,
        company: CompanyId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Vec<Replay>>;

    /// Replays of all companies that have not ended, in the order of company and id, after the one
    /// named.
    async fn unfinished_replays(
        &self,
        after: Option<(CompanyId, ReplayId)>,
        limit: u32,
    ) -> Result<Vec<Unfinished>>;

    /// Removes up to `limit` replays that ended before `before`. Returns how many.
    async fn forget_replays(&self, before: Timestamp, limit: u32) -> Result<u64>;
}

/// A replay to start.
#[derive(Debug, Clone)]
pub struct NewReplay {
    /// Its name.
    pub id: ReplayId,
    /// Whose it is.
    pub company: CompanyId,
    /// What to send again.
    pub selection: Selection,
    /// How many fall due in a second; `None` for all at once.
    pub per_second: Option<u32>,
    /// The caller's `Idempotency-Key`, unique among the company's replays.
    pub key: Option<String>,
    /// When it is asked for.
    pub at: Timestamp,
}

/// What came of a wish to replay.
#[derive(Debug, Clone)]
pub enum Started {
    /// It will be worked off.
    New(Replay),
    /// It was asked for before: this is how far it is.
    Repeat(Replay),
    /// Something else was asked for before under the same key.
    Conflict,
}

/// What a replay comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayCount {
    /// How many are selected.
    pub found: u64,
    /// How many of them can be sent again.
    pub made: u64,
    /// Whether there may be more that were not looked at.
    pub more: bool,
}

/// The part of a replay that one transaction does.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// The time.
    pub now: Timestamp,
    /// Nothing is made that falls due later than this, by the pace of the replay.
    pub until: Timestamp,
    /// Deliveries to make, or as many as one event has endpoints.
    pub most: u32,
}

/// What a part of a replay came to.
#[derive(Debug, Clone, Default)]
pub struct Advanced {
    /// Whether the replay is through.
    pub finished: bool,
    /// The lanes it made something for, and when the first of that falls due.
    pub lanes: Vec<(LaneKey, Timestamp)>,
}

/// A replay to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Whose it is.
    pub company: CompanyId,
    /// Its name.
    pub id: ReplayId,
    /// When the next of it may fall due; `None` for one without a pace.
    pub next_due: Option<Timestamp>,
}
