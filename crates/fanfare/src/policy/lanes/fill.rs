//! The way between lanes and the store: what waits there, and who is to be filled with it.

use std::collections::VecDeque;

use crate::model::{Claim, DeliveryId, EndpointId, Health, LaneKey, Timestamp};
use crate::policy::lanes::Lanes;
use crate::policy::lanes::lane::Waiting;

/// Claims asked of the store at once: others wait while it makes them.
const CLAIMS_AT_ONCE: usize = 2048;

/// A lane to fill from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its name.
    pub key: LaneKey,
    /// For how many claims.
    pub limit: u32,
    /// Whether it is to be a probe: what waits for a retry may be brought forward.
    pub probe: bool,
}

impl Lanes {
    /// Notes that something of this lane, in the store, falls due at `due_at`.
    pub fn stored(&mut self, key: LaneKey, due_at: Timestamp) {
        if !self.owned.has(key.endpoint) {
            return; // Its owner looks for itself.
        }
        let lane = self.lane(key);
        if lane.store_due.is_none_or(|due| due_at < due) {
            lane.store_due = Some(due_at);
            lane.dry = false;
        }
        self.wait_for_store(key.endpoint);
    }

    /// Notes what was found in the store: the earliest due time of a lane, and how its endpoint
    /// does.
    pub fn found(&mut self, key: LaneKey, due_at: Timestamp, health: Health) {
        if !self.owned.has(key.endpoint) {
            return;
        }
        self.meet(key, health, self.now);
        self.stored(key, due_at);
    }

    /// The store refuses a result for now. Until [`Lanes::settled`] the lane is not filled: the
    /// delivery, whose lease may end meanwhile, would be sent again.
    pub fn refused(&mut self, key: LaneKey) {
        self.lane(key).refused += 1;
        self.wait_for_store(key.endpoint);
    }

    /// A result that the store had refused is on disk, or given up.
    pub fn settled(&mut self, key: LaneKey) {
        self.lane(key).refused -= 1;
        self.wait_for_store(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// Up to `limit` lanes to fill with what is due by now. Each counts as being filled until
    /// [`Lanes::filled`].
    pub fn rooms(&mut self, now: Timestamp, limit: usize) -> Vec<Room> {
        self.tick(now);
        self.recent.tidy(now);
        let bytes_left = self.bytes_left();
        let mut claims_left = CLAIMS_AT_ONCE;
        let mut rooms = Vec::new();
        while rooms.len() < limit && claims_left > 0 {
            let Some(&(at, endpoint)) = self.due.first() else { break };
            if at > now {
                break;
            }
            self.due.pop_first();
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.asks_at = None;
            if lane.bytes > bytes_left {
                continue; // It comes back when it has sent something.
            }
            lane.filling = true;
            lane.store_due = None;
            let room = lane.window_max(&self.limits).saturating_sub(lane.window.len());
            let room = room.min(claims_left);
            claims_left -= room;
            let (key, probe) = (lane.key, lane.breaker.is_open());
            rooms.push(Room { key, limit: u32::try_from(room).unwrap_or(u32::MAX), probe });
        }
        rooms
    }

    /// A lane has been asked for; what it got was handed to [`Lanes::claimed`]. `next_due` is when
    /// the earliest of the rest falls due.
    pub fn filled(&mut self, key: LaneKey, next_due: Option<Timestamp>) {
        let next_due = next_due.filter(|_| self.owned.has(key.endpoint));
        let lane = self.lane(key);
        lane.filling = false;
        if let Some(due) = next_due.filter(|due| lane.store_due.is_none_or(|known| *due < known)) {
            lane.store_due = Some(due);
        }
        lane.dry = lane.breaker.is_open() && lane.window.is_empty();
        self.wait_for_store(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// Lets a lane with room wait for what it has in the store.
    pub(super) fn wait_for_store(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        let asks_at = lane.wants_to_ask_at(&self.limits);
        if asks_at == lane.asks_at {
            return;
        }
        let earlier = std::mem::replace(&mut lane.asks_at, asks_at);
        if let Some(earlier) = earlier {
            self.due.remove(&(earlier, endpoint));
        }
        if let Some(asks_at) = asks_at {
            self.due.insert((asks_at, endpoint));
        }
    }

    /// Takes the claims of these deliveries out of an endpoint's window; those in flight stay.
    pub fn withdraw(&mut self, endpoint: EndpointId, deliveries: &[DeliveryId]) -> Vec<Claim> {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Vec::new() };
        let of_them = |waiting: &Waiting| deliveries.contains(&waiting.claim.delivery);
        let window = std::mem::take(&mut lane.window).into_iter();
        let (taken, left): (VecDeque<_>, VecDeque<_>) = window.partition(of_them);
        lane.window = left;
        let taken: Vec<Claim> = taken.into_iter().map(|waiting| waiting.claim).collect();
        let bytes: usize = taken.iter().map(|claim| claim.event.payload.len()).sum();
        lane.bytes -= bytes;
        self.window_bytes -= bytes;
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
        taken
    }
}
