//! Whose turn it is: a state machine without input or output. Events and times go in, claims to
//! send and lanes to fill come out.
//!
//! Every endpoint with something to do has a lane. A lane holds a bounded window of claimed
//! deliveries; whatever else waits stays in the store, and the lane knows only when the earliest of
//! it falls due. Companies take turns, and within a company its endpoints, so that neither a loud
//! company nor an endpoint with a backlog keeps the others waiting. A lane may have as many
//! attempts in flight as its cap, which grows by one with each success and halves with each
//! failure: an endpoint that hangs soon holds one sender, not all.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::model::{Claim, CompanyId, Endpoint, EndpointId, LaneKey, Timestamp};

/// How much at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Attempts in flight altogether.
    pub in_flight: usize,
    /// Attempts in flight for one endpoint.
    pub lane_in_flight: u32,
    /// Claims held in memory for one endpoint.
    pub window: usize,
    /// Payload bytes held in memory by all windows, beyond which lanes take nothing more.
    pub window_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { in_flight: 512, lane_in_flight: 64, window: 1024, window_bytes: 64 << 20 }
    }
}

/// In flight for an endpoint that is not known yet.
const CAP_AT_START: u32 = 16;
/// Results that wait for the disk, as a multiple of attempts in flight, beyond which nothing new
/// is sent: a disk that is full must not fill the memory.
const UNRECORDED_FACTOR: usize = 4;

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
    /// Companies with a lane that could send, in turn; each is here once.
    turns: VecDeque<CompanyId>,
    /// For each of them, those of its lanes, in turn; each is here once.
    ready: HashMap<CompanyId, VecDeque<EndpointId>>,
    /// Lanes with room, by when the earliest delivery in the store falls due.
    due: BTreeSet<(Timestamp, EndpointId)>,
    in_flight: usize,
    unrecorded: usize,
    window_bytes: usize,
}

#[derive(Debug)]
struct Lane {
    key: LaneKey,
    window: VecDeque<Waiting>,
    in_flight: u32,
    cap: u32,
    /// When the earliest delivery that is not in the window falls due.
    store_due: Option<Timestamp>,
    /// Whether the store is being asked for more.
    filling: bool,
    /// Whether the lane stands in `ready`.
    queued: bool,
    /// The endpoint as it was last changed while the lane stood.
    present: Option<Arc<Endpoint>>,
}

#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    claim: Claim,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(limits: Limits) -> Self {
        Lanes {
            limits,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            ready: HashMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            unrecorded: 0,
            window_bytes: 0,
        }
    }

    /// May a delivery that is made now be claimed at birth? Not when earlier ones of its endpoint
    /// still wait in the store, nor when the window is full.
    pub fn admits(&self, endpoint: EndpointId, now: Timestamp) -> bool {
        let Some(lane) = self.lanes.get(&endpoint) else { return self.has_bytes_left() };
        let behind = lane.filling || lane.store_due.is_some_and(|due| due <= now);
        !behind && lane.window.len() < self.limits.window && self.has_bytes_left()
    }

    /// Takes in a delivery that is claimed. Returns it when its endpoint is disabled by now.
    pub fn claimed(&mut self, claim: Claim, since: Timestamp) -> Option<Claim> {
        let lane = lane_of(&mut self.lanes, claim.endpoint.lane());
        self.window_bytes += claim.event.payload.len();
        let held = lane.take(claim, since);
        self.window_bytes -= held.as_ref().map_or(0, |claim| claim.event.payload.len());
        let endpoint = lane.key.endpoint;
        self.queue(endpoint);
        held
    }

    /// Notes that something of this lane, in the store, falls due at `due_at`. Returns whether that
    /// is now the earliest moment to fill a lane, so that whoever waits for it must look again.
    pub fn stored(&mut self, key: LaneKey, due_at: Timestamp) -> bool {
        let lane = lane_of(&mut self.lanes, key);
        if lane.store_due.is_some_and(|due| due <= due_at) {
            return false;
        }
        let was = lane.store_due.replace(due_at);
        if let Some(was) = was {
            self.due.remove(&(was, key.endpoint));
        }
        self.wait_for_store(key.endpoint)
    }

    /// The next delivery to send, if any lane may send one. It is in flight from here on.
    pub fn next_claim(&mut self) -> Option<Claim> {
        if self.in_flight >= self.limits.in_flight
            || self.unrecorded >= self.limits.in_flight * UNRECORDED_FACTOR
        {
            return None;
        }
        loop {
            let endpoint = self.take_turn()?;
            // A lane may have been emptied, or forgotten, since it got its place.
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.queued = false;
            let Some(Waiting { claim, .. }) = lane.window.pop_front() else { continue };
            lane.in_flight += 1;
            self.in_flight += 1;
            self.window_bytes -= claim.event.payload.len();
            self.queue(endpoint);
            self.wait_for_store(endpoint);
            return Some(claim);
        }
    }

    /// An attempt has ended; its result goes to the disk now. `well` is whether it was a success.
    pub fn ended(&mut self, endpoint: EndpointId, well: bool) {
        self.in_flight -= 1;
        self.unrecorded += 1;
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        lane.in_flight -= 1;
        lane.cap = if well {
            (lane.cap + 1).min(self.limits.lane_in_flight)
        } else {
            (lane.cap / 2).max(1)
        };
        self.queue(endpoint);
        self.forget_if_idle(endpoint);
    }

    /// A result is on disk, or given up.
    pub fn recorded(&mut self) {
        self.unrecorded -= 1;
    }

    /// Up to `limit` lanes to fill with what is due by now. Each counts as being filled until
    /// [`Lanes::filled`].
    pub fn rooms(&mut self, now: Timestamp, limit: usize) -> Vec<Room> {
        let mut rooms = Vec::new();
        while rooms.len() < limit && self.has_bytes_left() {
            let Some(&(due, endpoint)) = self.due.first() else { break };
            if due > now {
                break;
            }
            self.due.pop_first();
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.filling = true;
            lane.store_due = None;
            let room = self.limits.window.saturating_sub(lane.window.len());
            rooms.push(Room { key: lane.key, limit: u32::try_from(room).unwrap_or(u32::MAX) });
        }
        rooms
    }

    /// A lane has been asked for; what it got was handed to [`Lanes::claimed`]. `next_due` is when
    /// the earliest of the rest falls due.
    pub fn filled(&mut self, key: LaneKey, next_due: Option<Timestamp>) {
        lane_of(&mut self.lanes, key).filling = false;
        if let Some(due) = next_due {
            self.stored(key, due);
        }
        self.wait_for_store(key.endpoint);
        self.forget_if_idle(key.endpoint);
    }

    /// When a lane next wants filling; `None` when none does.
    pub fn next_fill(&self) -> Option<Timestamp> {
        let (due, _) = self.due.first()?;
        self.has_bytes_left().then_some(*due)
    }

    /// An endpoint was changed, disabled included: its waiting deliveries go by what it is now.
    /// Returns the claims to give back.
    pub fn changed(&mut self, endpoint: Endpoint) -> Vec<Claim> {
        let id = endpoint.id;
        let Some(lane) = self.lanes.get_mut(&id) else { return Vec::new() };
        lane.present = Some(Arc::new(endpoint));
        let window = std::mem::take(&mut lane.window);
        let held: Vec<Claim> = window
            .into_iter()
            .filter_map(|waiting| lane.take(waiting.claim, waiting.since))
            .collect();
        self.window_bytes -= held.iter().map(|claim| claim.event.payload.len()).sum::<usize>();
        self.forget_if_idle(id);
        held
    }

    /// Everything that is claimed and not in flight, to give back at the end.
    pub fn clear(&mut self) -> Vec<Claim> {
        self.turns.clear();
        self.ready.clear();
        self.due.clear();
        self.window_bytes = 0;
        let windows = self.lanes.values_mut().flat_map(|lane| {
            lane.queued = false;
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

    /// Attempts in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn has_bytes_left(&self) -> bool {
        self.window_bytes < self.limits.window_bytes
    }

    /// The lane whose turn it is; its company goes to the end of the line.
    fn take_turn(&mut self) -> Option<EndpointId> {
        let company = self.turns.pop_front()?;
        let queue = self.ready.get_mut(&company)?;
        let endpoint = queue.pop_front();
        if queue.is_empty() {
            self.ready.remove(&company);
        } else {
            self.turns.push_back(company);
        }
        endpoint
    }

    /// Gives a lane its place in the turns, if it can send and has none.
    fn queue(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        if lane.queued || lane.window.is_empty() || lane.in_flight >= lane.cap {
            return;
        }
        lane.queued = true;
        let queue = self.ready.entry(lane.key.company).or_default();
        if queue.is_empty() {
            self.turns.push_back(lane.key.company);
        }
        queue.push_back(endpoint);
    }

    /// Lets a lane with room wait for what it has in the store. A window is filled again once it is
    /// half empty, so that one question brings many answers.
    fn wait_for_store(&mut self, endpoint: EndpointId) -> bool {
        let Some(lane) = self.lanes.get(&endpoint) else { return false };
        let Some(due) = lane.store_due else { return false };
        if lane.filling || lane.window.len() > self.limits.window / 2 {
            return false;
        }
        let inserted = self.due.insert((due, endpoint));
        inserted && self.due.first() == Some(&(due, endpoint))
    }

    /// A lane with nothing to do and nothing to remember costs no memory.
    fn forget_if_idle(&mut self, endpoint: EndpointId) {
        let idle = |lane: &Lane| {
            lane.window.is_empty()
                && lane.in_flight == 0
                && lane.store_due.is_none()
                && !lane.filling
                && lane.cap >= CAP_AT_START
        };
        if self.lanes.get(&endpoint).is_some_and(idle) {
            self.lanes.remove(&endpoint);
        }
    }
}

impl Lane {
    fn take(&mut self, mut claim: Claim, since: Timestamp) -> Option<Claim> {
        if let Some(present) = &self.present
            && present.updated_at >= claim.endpoint.updated_at
        {
            claim.endpoint = Arc::clone(present);
        }
        if claim.endpoint.disabled.is_some() {
            return Some(claim);
        }
        self.window.push_back(Waiting { since, claim });
        None
    }
}

fn lane_of(lanes: &mut HashMap<EndpointId, Lane>, key: LaneKey) -> &mut Lane {
    lanes.entry(key.endpoint).or_insert_with(|| Lane {
        key,
        window: VecDeque::new(),
        in_flight: 0,
        cap: CAP_AT_START,
        store_due: None,
        filling: false,
        queued: false,
        present: None,
    })
}
