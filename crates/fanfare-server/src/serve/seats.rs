//! Places for connections. When all are taken, whoever has been waiting for a request the longest
//! makes room: neither idle connections nor heads that never end keep anybody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All the places there are.
pub(super) struct Seats {
    max: usize,
    state: Mutex<State>,
    /// Somebody may be able to sit down now.
    changed: Notify,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// How many of them have been given up and are not free yet.
    leaving: usize,
    /// Connections without a request under way, by how long they have been so, and how to end them.
    waiting: BTreeMap<u64, CancellationToken>,
    next_turn: u64,
}

/// A connection's place. Dropped means given back.
pub(super) struct Seat {
    seats: Arc<Seats>,
    given_up: CancellationToken,
    /// Where it stands among those that wait; `None` while a request is under way.
    turn: Mutex<Option<u64>>,
}

impl Seats {
    pub(super) fn new(max: usize) -> Arc<Seats> {
        Arc::new(Seats { max: max.max(1), state: Mutex::default(), changed: Notify::new() })
    }

    /// A place, as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>) -> Arc<Seat> {
        loop {
            if let Some(seat) = self.try_take() {
                return seat;
            }
            self.make_room();
            self.changed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let mut state = self.lock();
        if state.taken >= self.max {
            return None;
        }
        state.taken += 1;
        let given_up = CancellationToken::new();
        let turn = Mutex::new(Some(state.wait(given_up.clone())));
        drop(state);
        Some(Arc::new(Seat { seats: Arc::clone(self), given_up, turn }))
    }

    /// Ends the connection that has been waiting for a request the longest, if there is one and no
    /// other is about to end.
    pub(super) fn make_room(&self) {
        let mut state = self.lock();
        if state.leaving == 0
            && let Some((_, given_up)) = state.waiting.pop_first()
        {
            state.leaving += 1;
            given_up.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, given_up: CancellationToken) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.waiting.insert(turn, given_up);
        turn
    }
}

impl Seat {
    /// Returns when the place is needed for somebody else.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// A request is under way until what is returned is dropped. `None` when the place has been
    /// given up already: the connection ends, and nothing may be done for it any more.
    pub(super) fn begin(self: &Arc<Self>) -> Option<AtWork> {
        let turn = self.turn().take()?;
        self.seats.lock().waiting.remove(&turn)?;
        Some(AtWork(Arc::clone(self)))
    }

    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let turn = self.turn().take();
        let mut state = self.seats.lock();
        state.taken -= 1;
        if self.given_up.is_cancelled() {
            state.leaving -= 1;
        }
        if let Some(turn) = turn {
            state.waiting.remove(&turn);
        }
        drop(state);
        self.seats.changed.notify_one();
    }
}

/// A request under way.
pub(super) struct AtWork(Arc<Seat>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let Seat { seats, given_up, .. } = &*self.0;
        let mut state = seats.lock();
        let turn = state.wait(given_up.clone());
        let somebody_stands = state.taken >= seats.max;
        drop(state);
        *self.0.turn() = Some(turn);
        if somebody_stands {
            seats.changed.notify_one();
        }
    }
}
