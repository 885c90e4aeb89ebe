//! Keeping house in the background, in slices that nobody feels; and the proof that all is well.

use std::time::Duration;

use crate::engine::{Engine, World};
use crate::error::Result;
use crate::seal::Seal;
use crate::store::{self, Store};

/// How often history is looked at for what has expired.
const ROUND: Duration = Duration::from_secs(60);
/// Rows removed in one transaction.
const SLICE: u32 = 200;
/// The pause between two slices.
const BREATH: Duration = Duration::from_millis(100);
/// Secrets read at once by a check.
const SECRETS: u32 = 500;

impl Engine {
    /// Removes what has expired and fails what can no longer be sent, until the engine stops.
    pub(super) async fn keep_house(&self) {
        let world = &self.world;
        loop {
            let next_round = match round(world).await {
                Ok(true) => world.clock.now().plus(BREATH),
                Ok(false) => world.clock.now().plus(ROUND),
                Err(error) => {
                    tracing::warn!(%error, "history cannot be tidied for now");
                    world.clock.now().plus(ROUND)
                }
            };
            tokio::select! {
                () = world.clock.sleep_until(next_round) => {}
                () = world.tidy.notified() => {}
                () = world.stop.cancelled() => return,
            }
        }
    }

    /// Proves the store's invariants, writing nothing. Returns a line for each that is broken.
    pub async fn check(&self) -> Result<Vec<String>> {
        Ok(check(self.world.store.as_ref(), Some(&self.world.seal)).await?)
    }
}

/// One slice of each kind of work. Returns whether there may be more.
async fn round(world: &World) -> store::Result<bool> {
    let now = world.clock.now();
    let buried = world.store.bury(now, SLICE).await?;
    let lapsed = world.store.lapse(now, SLICE).await?;
    world.look_into_all(&lapsed.woken);
    world.metrics.failed.inc_by(lapsed.deliveries.len() as u64);
    let expired = world.store.expire(now.minus(world.rules.retention), SLICE).await?;
    let forgotten = world.store.forget(now.minus(world.rules.key_retention()), SLICE).await?;
    Ok(buried + expired + forgotten > 0 || !lapsed.deliveries.is_empty())
}

/// Proves the invariants of a store: its own, and, where the key is known, that every sealed secret
/// opens. Returns a line for each that is broken.
pub async fn check(store: &dyn Store, seal: Option<&Seal>) -> store::Result<Vec<String>> {
    let mut broken = store.check().await?;
    let Some(seal) = seal else { return Ok(broken) };
    let mut after = None;
    loop {
        let secrets = store.secrets(after, SECRETS).await?;
        let Some((_, last, _)) = secrets.last() else { return Ok(broken) };
        after = Some(*last);
        let opened = secrets.iter().map(|(company, id, sealed)| seal.open(*company, *id, sealed));
        broken.extend(opened.filter_map(std::result::Result::err));
    }
}
