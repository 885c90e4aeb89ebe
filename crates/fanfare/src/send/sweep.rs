//! Closes connections that nobody came back for. Runs only while there are any, so that an idle
//! process sleeps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::send::pool::Pool;

/// How much later than it could a connection may be closed.
const PERIOD: Duration = Duration::from_secs(5);

/// The task that sweeps a pool. Ends when this is dropped.
#[derive(Default)]
pub(super) struct Sweeper {
    running: Arc<AtomicBool>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Sweeper {
    /// Sees to it that `pool`, which now keeps something, will be swept.
    pub(super) fn wake(&self, pool: &Arc<Pool>) {
        if self.running.load(Ordering::Acquire) || self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = tokio::spawn(sweep(Arc::downgrade(pool), Arc::clone(&self.running)));
        let mut slot = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(AbortOnDropHandle::new(task));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "sockets age by the machine's clock, as peers see it"
)]
async fn sweep(pool: Weak<Pool>, running: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.sweep() {
            continue;
        }
        running.store(false, Ordering::Release);
        // Something kept just before that found us still running, and started nobody else.
        if !pool.sweep() || running.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}
