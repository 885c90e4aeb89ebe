//! Whose turn it is: a state machine without input or output. Events and times go in, claims to
//! send and lanes to fill come out.
//!
//! Every endpoint with something to do has a lane. A lane holds a bounded window of claimed
//! deliveries; whatever else waits stays in the store, and the lane knows only when the earliest of
//! it falls due. Companies take turns, and within a company its endpoints, so that neither a loud
//! company nor an endpoint with a backlog keeps the others waiting. A lane may have as many
//! attempts in flight as its cap, which grows by one with each success and halves with each
//! failure: an endpoint that hangs soon holds one sender, not all. Attempts in flight and bytes in
//! memory are shared in the same way: nobody takes more than is left free for the others.

mod lane;
mod recent;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Claim, DeliveryId, Endpoint, EndpointId, LaneKey, Timestamp};
use lane::{Lane, Waiting};
use recent::Recent;
use turns::Turns;

pub use lane::Ending;

/// How much at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Attempts in flight altogether.
    pub in_flight: usize,
    /// Attempts in flight for one endpoint.
    pub lane_in_flight: u32,
    /// The same for an endpoint that is not known yet: one more with each success, so that those
    /// that answer soon have their share, and many that hang at once do not take that of others.
    pub lane_in_flight_at_start: u32,
    /// Claims held in memory for one endpoint.
    pub window: usize,
    /// Payload bytes held in memory by all windows. A lane that holds as much as is left of them
    /// takes nothing more; one that holds nothing may always take something.
    pub window_bytes: usize,
    /// How long a claim holds.
    pub lease: Duration,
    /// The longest that an attempt takes until its result is on disk. A claim whose lease may end
    /// before that is not sent any more: the store hands it out again.
    pub attempt: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            in_flight: 512,
            lane_in_flight: 64,
            lane_in_flight_at_start: 2,
            window: 1024,
            window_bytes: 64 << 20,
            lease: Duration::from_mins(10),
            attempt: Duration::from_secs(30),
        }
    }
}

/// Results that wait for the disk, as a multiple of attempts in flight, beyond which nothing new
/// is sent: a disk that is full must not fill the memory.
const UNRECORDED_FACTOR: usize = 4;
/// Claims asked of the store at once: others wait while it makes them.
const CLAIMS_AT_ONCE: usize = 2048;

/// A lane to fill from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its name.
    pub key: LaneKey,
    /// For how many claims.
    pub limit: u32,
}

/// All lanes of one engine.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: HashMap<EndpointId, Lane>,
    turns: Turns,
    recent: Recent,
    /// Lanes with room, by when the earliest delivery in the store falls due.
    due: BTreeSet<(Timestamp, EndpointId)>,
    /// Whether a lane wants filling earlier than was known.
    sooner: bool,
    in_flight: usize,
    unrecorded: usize,
    window_bytes: usize,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Lanes {
            limits,
            lanes: HashMap::new(),
            turns: Turns::default(),
            recent: Recent::default(),
            due: BTreeSet::new(),
            sooner: false,
            in_flight: 0,
            unrecorded: 0,
            window_bytes: 0,
        }
    }

    /// May a delivery that is made now be claimed at birth? Not when earlier ones of its endpoint
    /// still wait in the store, nor when the window is full.
    pub fn admits(&self, endpoint: EndpointId, now: Timestamp) -> bool {
        let Some(lane) = self.lanes.get(&endpoint) else { return true };
        let behind = lane.filling || lane.store_due.is_some_and(|due| due <= now);
        !behind && lane.window.len() < self.limits.window && lane.bytes <= self.bytes_left()
    }

    /// Takes in a delivery that was claimed at `since`. Returns it when its endpoint is disabled by
    /// now.
    pub fn claimed(&mut self, mut claim: Claim, since: Timestamp) -> Option<Claim> {
        if let Some(present) = self.recent.newer_than(&claim.endpoint) {
            claim.endpoint = Arc::clone(present);
        }
        if claim.endpoint.disabled.is_some() {
            return Some(claim);
        }
        self.window_bytes += claim.event.payload.len();
        let lane = self.lane(claim.endpoint.lane());
        let endpoint = lane.key.endpoint;
        lane.bytes += claim.event.payload.len();
        lane.window.push_back(Waiting { since, claim });
        self.queue(endpoint);
        None
    }

    /// Notes that something of this lane, in the store, falls due at `due_at`.
    pub fn stored(&mut self, key: LaneKey, due_at: Timestamp) {
        let lane = self.lane(key);
        if lane.store_due.is_none_or(|due| due_at < due) {
            let was = lane.store_due.replace(due_at);
            if let Some(was) = was {
                self.due.remove(&(was, key.endpoint));
            }
        }
        self.wait_for_store(key.endpoint);
    }

    /// Since this was last asked, has it come about that a lane wants filling earlier than
    /// [`Lanes::next_fill`] said? Then whoever fills them must look again.
    pub fn sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// The next delivery to send, if any lane may send one. It is in flight from here on.
    pub fn next_claim(&mut self, now: Timestamp) -> Option<Claim> {
        if self.unrecorded >= self.limits.in_flight * UNRECORDED_FACTOR {
            return None;
        }
        loop {
            let free = self.limits.in_flight.saturating_sub(self.in_flight);
            let endpoint = self.turns.next(free)?;
            if let Some(claim) = self.take_from(endpoint, now) {
                return Some(claim);
            }
        }
    }

    /// An attempt has ended; its result goes to the disk now.
    pub fn ended(&mut self, key: LaneKey, ending: Ending) {
        self.in_flight -= 1;
        self.unrecorded += 1;
        self.turns.ended(key.company);
        let Some(lane) = self.lanes.get_mut(&key.endpoint) else { return };
        lane.ended(ending, self.limits.lane_in_flight);
        self.queue(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// A delivery whose turn had come was not sent after all.
    pub fn unsent(&mut self, key: LaneKey) {
        self.in_flight -= 1;
        self.turns.ended(key.company);
        let Some(lane) = self.lanes.get_mut(&key.endpoint) else { return };
        lane.in_flight -= 1;
        self.queue(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// What follows from [`Ending::Gone`] is on disk, or given up.
    pub fn resume(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key.endpoint) else { return };
        lane.cap = lane.cap.max(1);
        self.queue(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// A result is on disk, or given up.
    pub fn recorded(&mut self) {
        self.unrecorded -= 1;
    }

    /// The store refuses a result for now. Until [`Lanes::settled`] the lane is not filled: the
    /// delivery, whose lease may end meanwhile, would be sent again.
    pub fn refused(&mut self, key: LaneKey) {
        let lane = self.lane(key);
        lane.refused += 1;
        if let Some(due) = lane.store_due {
            self.due.remove(&(due, key.endpoint));
        }
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
        self.recent.tidy(now);
        let bytes_left = self.bytes_left();
        let mut claims_left = CLAIMS_AT_ONCE;
        let mut rooms = Vec::new();
        while rooms.len() < limit && claims_left > 0 {
            let Some(&(due, endpoint)) = self.due.first() else { break };
            if due > now {
                break;
            }
            self.due.pop_first();
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            if lane.bytes > bytes_left {
                continue; // It comes back when it has sent something.
            }
            lane.filling = true;
            lane.store_due = None;
            let room = self.limits.window.saturating_sub(lane.window.len()).min(claims_left);
            claims_left -= room;
            rooms.push(Room { key: lane.key, limit: u32::try_from(room).unwrap_or(u32::MAX) });
        }
        rooms
    }

    /// A lane has been asked for; what it got was handed to [`Lanes::claimed`]. `next_due` is when
    /// the earliest of the rest falls due.
    pub fn filled(&mut self, key: LaneKey, next_due: Option<Timestamp>) {
        self.lane(key).filling = false;
        if let Some(due) = next_due {
            self.stored(key, due);
        }
        self.wait_for_store(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// When a lane next wants filling; `None` when none does.
    pub fn next_fill(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// An endpoint was changed, disabled included: its waiting deliveries go by what it is now.
    /// Returns the claims to give back.
    pub fn changed(&mut self, endpoint: Endpoint, now: Timestamp) -> Vec<Claim> {
        let endpoint = Arc::new(endpoint);
        self.recent.tidy(now);
        self.recent.note(&endpoint, now);
        let Some(lane) = self.lanes.get_mut(&endpoint.id) else { return Vec::new() };
        if endpoint.disabled.is_none() {
            for waiting in &mut lane.window {
                waiting.claim.endpoint = Arc::clone(&endpoint);
            }
            return Vec::new();
        }
        self.window_bytes -= std::mem::take(&mut lane.bytes);
        let held = lane.window.drain(..).map(|waiting| waiting.claim).collect();
        self.wait_for_store(endpoint.id);
        self.forget_if_idle(endpoint.id);
        held
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

    /// Everything that is claimed and not in flight, to give back at the end.
    pub fn clear(&mut self) -> Vec<Claim> {
        self.turns.clear();
        self.due.clear();
        self.window_bytes = 0;
        let windows = self.lanes.values_mut().flat_map(|lane| {
            lane.queued = false;
            lane.bytes = 0;
            lane.window.drain(..)
        });
        windows.map(|waiting| waiting.claim).collect()
    }

    /// Since when the oldest delivery that could be sent has been waiting. Looks at every lane.
    pub fn oldest_due(&self, now: Timestamp) -> Option<Timestamp> {
        let oldest = |lane: &Lane| {
            let stored = lane.store_due.filter(|due| *due <= now);
            stored.into_iter().chain(lane.window.front().map(|waiting| waiting.since)).min()
        };
        self.lanes.values().filter_map(oldest).min()
    }

    fn lane(&mut self, key: LaneKey) -> &mut Lane {
        let cap = self.limits.lane_in_flight_at_start;
        self.lanes.entry(key.endpoint).or_insert_with(|| Lane::new(key, cap))
    }

    fn bytes_left(&self) -> usize {
        self.limits.window_bytes.saturating_sub(self.window_bytes)
    }

    /// A delivery of the lane whose turn it is, unless that can send none by now.
    fn take_from(&mut self, endpoint: EndpointId, now: Timestamp) -> Option<Claim> {
        let lane = self.lanes.get_mut(&endpoint)?;
        let company = lane.key.company;
        lane.queued = false;
        // The cap may have shrunk since the lane got its place.
        let may_send = lane.in_flight < lane.cap;
        let claim = if may_send { self.take_fresh(endpoint, now) } else { None };
        if claim.is_some() {
            self.in_flight += 1;
            self.turns.began(company);
        } else {
            self.turns.passed(company);
        }
        self.queue(endpoint);
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
        claim
    }

    /// The first of a window whose lease outlasts its attempt. What came too late is left to the
    /// store, where it is due when its lease ends.
    fn take_fresh(&mut self, endpoint: EndpointId, now: Timestamp) -> Option<Claim> {
        loop {
            let lane = self.lanes.get_mut(&endpoint)?;
            let Waiting { since, claim } = lane.window.pop_front()?;
            lane.bytes -= claim.event.payload.len();
            self.window_bytes -= claim.event.payload.len();
            let lease_end = since.plus(self.limits.lease);
            if now.plus(self.limits.attempt) <= lease_end {
                lane.in_flight += 1;
                return Some(claim);
            }
            let key = lane.key;
            self.stored(key, lease_end);
        }
    }

    /// Gives a lane its place in the turns, if it can send and has none.
    fn queue(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        if lane.queued || lane.window.is_empty() || lane.in_flight >= lane.cap {
            return;
        }
        lane.queued = true;
        self.turns.queue(lane.key);
    }

    /// Lets a lane with room wait for what it has in the store. A window is filled again once it is
    /// half empty, so that one question brings many answers.
    fn wait_for_store(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get(&endpoint) else { return };
        let Some(due) = lane.store_due else { return };
        if lane.filling || lane.refused > 0 || lane.window.len() > self.limits.window / 2 {
            return;
        }
        let inserted = self.due.insert((due, endpoint));
        self.sooner |= inserted && self.due.first() == Some(&(due, endpoint));
    }

    /// A lane with nothing to do costs no memory.
    fn forget_if_idle(&mut self, endpoint: EndpointId) {
        if self.lanes.get(&endpoint).is_some_and(Lane::is_idle) {
            self.lanes.remove(&endpoint);
        }
    }
}
