//! What is done about a store that refuses: wait, and say it once.

use crate::engine::World;
use crate::engine::dispatch::PAUSE;
use crate::model::Claim;
use crate::store::StoreError;

/// Logs why the store could not do something. What passes by itself the store logs, once for all who
/// ask; from each of them it would be a flood.
pub(super) fn log(error: &StoreError, what: &str) {
    if error.passes() {
        tracing::debug!(%error, "{what}");
    } else {
        tracing::error!(%error, "{what}");
    }
}

impl World {
    /// Gives claims back, however long the store refuses: until then nobody else can have them.
    /// Returns whether it did; once the engine stops, the next start finds them.
    pub(super) async fn release(&self, claims: &[Claim]) -> bool {
        loop {
            let now = self.clock.now();
            let Err(error) = self.store.release(claims, now).await else { return true };
            log(&error, "claims could not be given back");
            if !error.passes() || self.stop.is_cancelled() {
                return false;
            }
            tokio::select! {
                () = self.clock.sleep_until(now.plus(PAUSE)) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}
