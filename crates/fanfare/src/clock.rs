//! Time, the first of the engine's three edges. Nothing else asks what time it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::model::Timestamp;

/// Tells the time and waits for it to pass.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
    /// Returns once `now()` has reached `moment`.
    async fn sleep_until(&self, moment: Timestamp);
    /// Sets the clock forward, or back, where it follows another one.
    fn correct(&self, _millis: i64) {}
}

/// Waits for so long by the machine's monotonic clock, whatever time the engine's clock tells: for
/// leases on what is shared with other processes.
#[expect(clippy::disallowed_methods, reason = "this is the one door time comes in by")]
pub(crate) async fn really(span: Duration) {
    tokio::time::sleep(span).await;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

/// The longest single sleep: the wall clock may be set while we sleep.
const NAP: Duration = Duration::from_secs(60);

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door time comes in by")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).plus(since_epoch)
    }

    async fn sleep_until(&self, moment: Timestamp) {
        nap_until(self, moment).await;
    }
}

async fn nap_until(clock: &dyn Clock, moment: Timestamp) {
    loop {
        let left = moment.since(clock.now());
        if left.is_zero() {
            return;
        }
        really(left.min(NAP)).await;
    }
}

/// The machine's clock, corrected by what another clock says: several nodes go by that of their
/// database.
#[derive(Debug, Default)]
pub struct FollowingClock {
    ahead_ms: AtomicI64,
}

#[async_trait]
impl Clock for FollowingClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add(self.ahead_ms.load(Ordering::Relaxed)))
    }

    async fn sleep_until(&self, moment: Timestamp) {
        nap_until(self, moment).await;
    }

    fn correct(&self, millis: i64) {
        self.ahead_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

/// A clock for tests: it moves only when told to.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
    moved: Notify,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        ManualClock { now: Mutex::new(start), moved: Notify::new() }
    }

    /// Moves the clock and wakes whoever waits on it.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        *now = now.plus(by);
        drop(now);
        self.moved.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Timestamp> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.lock()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the check, or an `advance` in between would be missed.
            moved.as_mut().enable();
            if moment <= self.now() {
                return;
            }
            moved.await;
        }
    }
}
