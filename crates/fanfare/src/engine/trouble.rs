//! What is done about a store that refuses: wait, and say it once.

use std::time::Duration;

use crate::engine::World;
use crate::model::{Claim, Timestamp};
use crate::store::StoreError;

/// The first pause after a refusal: most pass at once.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// When to ask again, later each time.
pub(super) struct Again(Duration);

impl Again {
    pub(super) fn new() -> Again {
        Again(PAUSE_MIN)
    }

    pub(super) fn after(&mut self, now: Timestamp) -> Timestamp {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        now.plus(pause)
    }
}

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
    /// They are due after so long. Returns whether it did; once the engine stops, the next start finds
    /// them.
    pub(super) async fn release(&self, claims: &[Claim], after: Duration) -> bool {
        let mut again = Again::new();
        loop {
            let now = self.clock.now();
            let Err(error) = self.store.release(claims, now.plus(after)).await else { return true };
            log(&error, "claims could not be given back");
            if !error.passes() || self.stop.is_cancelled() {
                return false;
            }
            tokio::select! {
                () = self.clock.sleep_until(again.after(now)) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}
