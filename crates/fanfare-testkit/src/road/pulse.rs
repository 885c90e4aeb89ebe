//! Whether anything is going on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Turns of the runtime without anything going on, after which nothing will unless time passes.
const QUIET_TURNS: usize = 64;
/// The longest a test may take to come to rest before it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts what is going on at the engine's edges: requests that do not hang, store calls.
#[derive(Default)]
pub(super) struct Pulse {
    busy: AtomicUsize,
    beat: Notify,
}

/// Something that is going on, until dropped.
pub(super) struct Busy(Arc<Pulse>);

impl Pulse {
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::clone(self))
    }

    /// Returns once nothing goes on any more unless time passes or someone answers. Needs a runtime
    /// with one thread, where everything that can run has run after some turns.
    pub(super) async fn rest(&self) {
        let resting = async {
            let mut quiet = 0;
            while quiet < QUIET_TURNS {
                let beat = self.beat.notified();
                if self.busy.load(Ordering::SeqCst) > 0 {
                    quiet = 0;
                    beat.await;
                } else {
                    quiet += 1;
                    tokio::task::yield_now().await;
                }
            }
        };
        let rested = tokio::time::timeout(PATIENCE, resting).await;
        assert!(rested.is_ok(), "the engine does not come to rest");
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
        self.0.beat.notify_waiters();
    }
}
