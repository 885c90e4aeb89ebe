//! What passes by itself is logged here and nowhere else, so that an outage fills no disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::metrics::Stopwatch;
use crate::store::StoreError;

/// How long after a line the next one may follow.
const PAUSE: Duration = Duration::from_secs(1);

/// A line a second at most.
#[derive(Default)]
pub(super) struct Told(Mutex<Option<Stopwatch>>);

impl Told {
    /// May a line be written now? Then the next second has none.
    pub(super) fn may(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= PAUSE);
        if may {
            *last = Some(Stopwatch::start());
        }
        may
    }

    /// Logs why something could not be done, if that passes and a line may be written.
    pub(super) fn tell(&self, error: &StoreError) {
        // Who raced tries again at once.
        let raced = matches!(error, StoreError::Raced(_));
        if error.passes() && !raced && self.may() {
            tracing::warn!(%error, "the store refuses what it is asked for");
        }
    }
}
