//! Keeping house in the background, in slices that nobody feels; and the proof that all is well.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, World};
use crate::error::Result;
use crate::model::Timestamp;
use crate::seal::Seal;
use crate::store::{self, Place, Store, Swept};

/// How often history is looked at for what has expired.
const ROUND: Duration = Duration::from_secs(60);
/// Rows looked at or removed in one transaction: so few that nobody who waits for it feels it.
const SLICE: u32 = 16;
/// Who has this shard keeps house for all nodes.
const HOUSE: u8 = 0;
/// The pause between two slices.
const BREATH: Duration = Duration::from_millis(4);
/// How long the audit log is kept, whatever becomes of history: a year, and time to look into it.
const AUDIT_RETENTION: Duration = Duration::from_hours(400 * 24);
/// Secrets read at once by a check.
const SECRETS: u32 = 500;

impl Engine {
    /// Removes what has expired and fails what can no longer be sent, until the engine stops.
    pub(super) async fn keep_house(&self) {
        let world = &self.world;
        let mut round = Round::default();
        loop {
            let next_step = match round.step(world).await {
                Ok(true) => world.clock.now().plus(BREATH),
                Ok(false) => {
                    round = Round::default();
                    world.clock.now().plus(ROUND)
                }
                Err(error) => {
                    tracing::warn!(%error, "history cannot be tidied for now");
                    world.clock.now().plus(ROUND)
                }
            };
            tokio::select! {
                () = world.clock.sleep_until(next_step) => {}
                () = world.tidy.notified() => round.buried = false,
                () = world.stop.cancelled() => return,
            }
        }
    }

    /// Proves the store's invariants, writing nothing. Returns a line for each that is broken.
    pub async fn check(&self) -> Result<Vec<String>> {
        Ok(check(self.world.store.as_ref(), Some(&self.world.seal.present())).await?)
    }
}

/// What is done of a round.
#[derive(Default)]
struct Round {
    /// Nothing of deleted endpoints waits any more.
    buried: bool,
    /// Nothing waits that has expired.
    lapsed: bool,
    /// No name is older than names are kept.
    forgotten: bool,
    history: Walk,
    /// No finished replay is older than history.
    replays: bool,
    /// No API key has been of no use for longer than history is kept, and no entry of the audit log
    /// is older than those are.
    access: bool,
    payloads: Walk,
}

/// How far a walk through what is old has come.
#[derive(Default)]
struct Walk {
    place: Option<Place>,
    done: bool,
}

impl Round {
    /// A slice of what is to be done. Returns whether there is more.
    async fn step(&mut self, world: &Arc<World>) -> store::Result<bool> {
        let (store, rules, now) = (&world.store, &world.rules, world.clock.now());
        if !self.buried {
            self.buried = store.bury(now, SLICE).await? == 0;
        } else if !world.tenure.mine().has(HOUSE) {
            return Ok(false); // Another node keeps it.
        } else if !self.lapsed {
            let lapsed = store.lapse(now, SLICE).await?;
            world.look_into_all(&lapsed.woken);
            world.metrics.failed.inc_by(lapsed.deliveries.len() as u64);
            self.lapsed = lapsed.deliveries.is_empty();
        } else if !self.forgotten {
            let before = now.minus(rules.key_retention());
            self.forgotten = store.forget(before, SLICE).await? == 0;
        } else if !self.history.done {
            let before = now.minus(rules.retention);
            self.history.go_on(store.expire(before, self.history.place, SLICE).await?);
        } else if !self.replays {
            let before = now.minus(rules.retention);
            self.replays = store.forget_replays(before, SLICE).await? == 0;
        } else if !self.access {
            self.access = forget_access(world, now).await? == 0;
        } else if !self.payloads.done && rules.payload_retention < rules.retention {
            let before = now.minus(rules.payload_retention);
            self.payloads.go_on(store.strip(before, self.payloads.place, SLICE).await?);
        } else {
            return store.reclaim().await;
        }
        Ok(true)
    }
}

/// Forgets a slice of API keys, or else of the audit log. Returns how many.
async fn forget_access(world: &World, now: Timestamp) -> store::Result<u64> {
    let before = now.minus(world.rules.retention);
    let keys = world.store.forget_api_keys(before, SLICE).await?;
    if keys > 0 {
        return Ok(keys);
    }
    world.store.forget_entries(now.minus(AUDIT_RETENTION), SLICE).await
}

impl Walk {
    fn go_on(&mut self, swept: Swept) {
        self.place = swept.next;
        self.done = swept.next.is_none();
    }
}

/// Proves the invariants of a store: its own, and, where the key is known, that every sealed secret
/// opens. Returns a line for each that is broken.
pub async fn check(store: &dyn Store, seal: Option<&Seal>) -> store::Result<Vec<String>> {
    let mut broken = store.check().await?;
    let Some(seal) = seal else { return Ok(broken) };
    let mut after = None;
    loop {
        let secrets = store.secrets(after, SECRETS).await?;
        let Some((lane, ..)) = secrets.last() else { return Ok(broken) };
        after = Some(lane.endpoint);
        let opened = secrets.iter().map(|(lane, what, sealed)| seal.open(*lane, *what, sealed));
        broken.extend(opened.filter_map(std::result::Result::err));
    }
}
