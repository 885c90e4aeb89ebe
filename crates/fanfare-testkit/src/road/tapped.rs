//! A store that can be told to refuse, to wait, and to die.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare::store::{Result, Store, StoreError};
use tokio::sync::Notify;

use super::pulse::Pulse;

/// What the engine asks of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Taking part, and voiding claims at the start.
    Renew,
    /// Accepting an event.
    Accept,
    /// Claiming deliveries.
    Claim,
    /// Recording a result.
    Record,
    /// Giving claims back.
    Release,
    /// Reading lanes.
    Lanes,
    /// Going on with a replay of many.
    Slice,
    /// Any other write.
    Write,
    /// Any other read.
    Read,
}

/// A moment of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Before the store has heard of it.
    Before(Call),
    /// After it is on disk, before the engine hears of that.
    After(Call),
}

/// A store between the engine and the real one.
pub struct Tapped {
    store: Mutex<Option<Arc<dyn Store>>>,
    pulse: Arc<Pulse>,
    dead: AtomicBool,
    refusal: Mutex<Option<StoreError>>,
    held: Mutex<HashSet<Moment>>,
    opened: Notify,
    /// Other writes that are still heard of, where they are counted.
    writes_left: Mutex<Option<u32>>,
    stuck: Notify,
}

impl Tapped {
    pub(super) fn new(store: Arc<dyn Store>, pulse: Arc<Pulse>) -> Tapped {
        Tapped {
            store: Mutex::new(Some(store)),
            pulse,
            dead: AtomicBool::new(false),
            refusal: Mutex::default(),
            held: Mutex::default(),
            opened: Notify::new(),
            writes_left: Mutex::default(),
            stuck: Notify::new(),
        }
    }

    /// The real store, until the death of the process.
    pub(super) fn present(&self) -> Option<Arc<dyn Store>> {
        lock(&self.store).clone()
    }

    /// Refuses every write with this error from here on.
    pub fn refuse(&self, error: StoreError) {
        *lock(&self.refusal) = Some(error);
    }

    /// Works again.
    pub fn work_again(&self) {
        *lock(&self.refusal) = None;
    }

    /// Lets calls wait at this moment.
    pub fn hold(&self, moment: Moment) {
        lock(&self.held).insert(moment);
    }

    /// Lets calls that wait go on.
    pub fn go_on(&self) {
        lock(&self.held).clear();
        self.opened.notify_waiters();
    }

    /// Lets so many other writes ([`Call::Write`]) through; the next one, and every one after it,
    /// waits for the death of the process.
    pub fn stick_after(&self, writes: u32) {
        *lock(&self.writes_left) = Some(writes);
    }

    /// Returns once a write waits because of [`Tapped::stick_after`].
    pub async fn stuck(&self) {
        self.stuck.notified().await;
    }

    async fn count_write(&self) {
        let stuck = match &mut *lock(&self.writes_left) {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if stuck {
            self.stuck.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// The process dies: whoever waits for this store waits for ever. Returns the real one.
    pub(super) fn die(&self) -> Option<Arc<dyn Store>> {
        self.dead.store(true, Ordering::SeqCst);
        lock(&self.store).take()
    }

    pub(super) async fn call<T, F>(
        &self,
        call: Call,
        ask: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.wait_at(Moment::Before(call)).await;
        if call == Call::Write {
            self.count_write().await;
        }
        let refused = lock(&self.refusal).clone().filter(|_| call != Call::Read);
        if let Some(error) = refused {
            return Err(error);
        }
        let busy = self.pulse.busy();
        let store = lock(&self.store).clone();
        let Some(store) = store else { return std::future::pending().await };
        let result = ask(store).await;
        drop(busy);
        self.wait_at(Moment::After(call)).await;
        result
    }

    async fn wait_at(&self, moment: Moment) {
        loop {
            let opened = self.opened.notified();
            if self.dead.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            if !lock(&self.held).contains(&moment) {
                return;
            }
            opened.await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
