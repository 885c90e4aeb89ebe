//! Sending again what was sent before: one delivery at once, many in slices in the background.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::finish::finish;
use crate::engine::{Engine, IDEMPOTENCY_KEY_MAX, World};
use crate::error::{Error, Result};
use crate::model::{
    Act, CompanyId, Delivery, DeliveryId, EndpointId, LaneKey, Replay, ReplayId, Selection,
    Timestamp,
};
use crate::store::{self, ReplayCount, Slice, Started, Unfinished, Word};

/// The most deliveries that one replay may name.
pub const REPLAY_LIST_MAX: usize = 1000;
/// The fastest pace of a replay, in deliveries a second.
pub const REPLAY_PACE_MAX: u32 = 1000;
/// How far a dry run counts.
pub const REPLAY_COUNT_MAX: u32 = 10_000;

/// Deliveries made in one transaction.
const SLICE: u32 = 200;
/// The pause between two slices, so that others get in between.
const BREATH: Duration = Duration::from_millis(10);
/// How long to leave the store alone after it refused us.
const PAUSE: Duration = Duration::from_secs(5);
/// How often replays are looked for that nobody has told us of.
const ROUND: Duration = Duration::from_secs(60);
/// How far ahead of its time a delivery of a paced replay is made. What is not made yet can still
/// be cancelled.
const AHEAD: Duration = Duration::from_secs(10);
/// Unfinished replays read at once.
const REPLAYS: u32 = 100;

/// A replay of many to start.
#[derive(Debug, Clone)]
pub struct NewReplay {
    /// What to send again: at most [`REPLAY_LIST_MAX`] deliveries, or whatever fits.
    pub selection: Selection,
    /// How many fall due in a second, at most [`REPLAY_PACE_MAX`]; `None` for all at once, at the
    /// endpoints' own pace.
    pub per_second: Option<u32>,
    /// The caller's key: the same one is answered with the same replay for as long as it is kept.
    pub idempotency_key: Option<String>,
}

impl Engine {
    /// Sends the event of a delivery to its endpoint again, as a new delivery with the same
    /// `webhook-id`. The old one stays as it is. A second call within ten seconds, or as long as
    /// the new one waits, is answered with the same new delivery.
    pub async fn replay(&self, company: CompanyId, id: DeliveryId) -> Result<Delivery> {
        let world = &self.world;
        world.refuse_while_draining()?;
        finish(world, Arc::clone(world).replay(company, id, self.act())).await
    }

    /// Starts to send many again, in the background. A second call that asks for the same while the
    /// first is worked off, or within ten seconds, is answered with the first.
    pub async fn start_replay(&self, company: CompanyId, new: NewReplay) -> Result<Replay> {
        let world = &self.world;
        world.refuse_while_draining()?;
        let new = self.checked(company, new).await?;
        finish(world, Arc::clone(world).start_replay(new, self.act())).await
    }

    /// Counts what a replay would send again now, as far as [`REPLAY_COUNT_MAX`].
    pub async fn count_replay(&self, company: CompanyId, new: NewReplay) -> Result<ReplayCount> {
        let new = self.checked(company, new).await?;
        Ok(self.world.store.count_replay(&new, REPLAY_COUNT_MAX).await?)
    }

    /// One replay of many, and how far it is.
    pub async fn found_replay(&self, company: CompanyId, id: ReplayId) -> Result<Replay> {
        let found = self.world.store.found_replay(company, id).await?;
        found.ok_or_else(|| Error::not_found("replay", id))
    }

    /// A company's replays of many with ids below `before`, newest first.
    pub async fn replays_before(
        &self,
        company: CompanyId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Vec<Replay>> {
        Ok(self.world.store.replays_before(company, before, limit).await?)
    }

    /// Ends a replay of many before it is through. What it made stays.
    pub async fn cancel_replay(&self, company: CompanyId, id: ReplayId) -> Result<Replay> {
        let cancelled = self.world.store.cancel_replay(company, id, &self.act()).await?;
        cancelled.ok_or_else(|| Error::not_found("replay", id))
    }

    /// Works off replays, until the engine stops.
    pub(super) async fn work_off_replays(&self) {
        let world = &self.world;
        loop {
            let next = round(world).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "replays cannot be read for now");
                world.clock.now().plus(PAUSE)
            });
            tokio::select! {
                () = world.clock.sleep_until(next) => {}
                () = world.replays.notified() => {}
                () = world.stop.cancelled() => return,
            }
        }
    }

    async fn checked(&self, company: CompanyId, new: NewReplay) -> Result<store::NewReplay> {
        check_numbers(&new)?;
        let selection = match new.selection {
            Selection::Deliveries(ids) => {
                let mut seen = HashSet::new();
                Selection::Deliveries(ids.into_iter().filter(|id| seen.insert(*id)).collect())
            }
            other => other,
        };
        if let Some(endpoint) = selection.endpoint() {
            self.endpoint(company, endpoint).await?;
        }
        let at = self.world.clock.now();
        let (per_second, key) = (new.per_second, new.idempotency_key);
        Ok(store::NewReplay { id: ReplayId::new(at), company, selection, per_second, key, at })
    }
}

fn check_numbers(new: &NewReplay) -> Result<()> {
    match &new.selection {
        Selection::Deliveries(ids) if !(1..=REPLAY_LIST_MAX).contains(&ids.len()) => {
            let reason = format!("must name 1 to {REPLAY_LIST_MAX} deliveries");
            return Err(Error::invalid("deliveries", reason));
        }
        Selection::Events { from, to: Some(to), .. } if to <= from => {
            return Err(Error::invalid("to", "must be later than `from`"));
        }
        _ => {}
    }
    if new.per_second.is_some_and(|pace| !(1..=REPLAY_PACE_MAX).contains(&pace)) {
        let reason = format!("must be a whole number from 1 to {REPLAY_PACE_MAX}");
        return Err(Error::invalid("perSecond", reason));
    }
    let key_length = new.idempotency_key.as_ref().map_or(1, String::len);
    if !(1..=IDEMPOTENCY_KEY_MAX).contains(&key_length) {
        let reason = format!("must have 1 to {IDEMPOTENCY_KEY_MAX} bytes");
        return Err(Error::invalid("Idempotency-Key", reason));
    }
    Ok(())
}

impl World {
    async fn replay(
        self: Arc<Self>,
        company: CompanyId,
        id: DeliveryId,
        act: Act,
    ) -> Result<Delivery> {
        let replayed = self.store.replay(company, id, &act).await?;
        let Some(replayed) = replayed else {
            return Err(self.why_not_replayed(company, id).await?);
        };
        self.look_into(LaneKey { company, endpoint: replayed.endpoint });
        Ok(replayed)
    }

    /// It may be there still, and only its endpoint or its payload gone.
    async fn why_not_replayed(&self, company: CompanyId, id: DeliveryId) -> Result<Error> {
        let Some(old) = self.store.delivery(company, id).await? else {
            return Ok(Error::not_found("delivery", id));
        };
        let endpoint = old.delivery.endpoint;
        Ok(match self.store.endpoint(company, endpoint).await? {
            Some(_) => Error::PayloadExpired,
            None => Error::not_found("endpoint", endpoint),
        })
    }

    async fn start_replay(self: Arc<Self>, new: store::NewReplay, act: Act) -> Result<Replay> {
        match self.store.start_replay(&new, &act).await? {
            Started::New(replay) => {
                self.replays.notify_one();
                if !self.tenure.owns(replay.company.uuid()) {
                    let nobody = EndpointId::from_uuid(uuid::Uuid::nil());
                    let lane = LaneKey { company: replay.company, endpoint: nobody };
                    self.tell(vec![(lane, Word::Replay)]);
                }
                Ok(replay)
            }
            Started::Repeat(replay) => Ok(replay),
            Started::Conflict => Err(Error::Conflict { what: "Idempotency-Key" }),
        }
    }
}

/// A slice of every replay. Returns when to go on.
async fn round(world: &Arc<World>) -> store::Result<Timestamp> {
    let mut next = world.clock.now().plus(ROUND);
    let mut after = None;
    loop {
        let unfinished = world.store.unfinished_replays(after, REPLAYS).await?;
        let Some(last) = unfinished.last() else { return Ok(next) };
        after = Some((last.company, last.id));
        // Each is one node's work: that of the node that has its company's shard.
        let own = |replay: &Unfinished| world.tenure.owns(replay.company.uuid());
        for replay in unfinished.into_iter().filter(own) {
            if world.draining.load(Ordering::Relaxed) {
                return Ok(next);
            }
            // One that cannot be gone on with must not hold up the others.
            let again = go_on(world, replay).await.unwrap_or_else(|error| {
                tracing::warn!(%error, replay = %replay.id, "a replay cannot go on for now");
                Some(world.clock.now().plus(PAUSE))
            });
            next = again.map_or(next, |again| again.min(next));
        }
    }
}

/// Makes what comes next of a replay, if it is time. Returns when there is more to do.
async fn go_on(world: &Arc<World>, replay: Unfinished) -> store::Result<Option<Timestamp>> {
    let now = world.clock.now();
    let early = replay.next_due.map(|due| due.minus(AHEAD / 2)).filter(|early| *early > now);
    if early.is_some() {
        return Ok(early);
    }
    let slice = Slice { now, until: now.plus(AHEAD), most: SLICE };
    let advanced = world.store.advance_replay(replay.company, replay.id, slice).await?;
    world.fall_due(advanced.lanes.into_iter());
    Ok((!advanced.finished).then(|| now.plus(BREATH)))
}
