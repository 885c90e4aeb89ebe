//! Whose turn it is: a state machine without input or output. Events and times go in, claims to
//! send and lanes to fill come out.
//!
//! Every endpoint with something to do has a lane. A lane holds a bounded window of claimed
//! deliveries; whatever else waits stays in the store, and the lane knows only when the earliest of
//! it falls due. Companies take turns, and within a company its endpoints, so that neither a loud
//! company nor an endpoint with a backlog keeps the others waiting. A lane may have as many
//! attempts in flight as its cap, which grows by one with each quick success and halves with each
//! failure: an endpoint that hangs soon holds one sender, not all. Attempts in flight and bytes in
//! memory are shared in the same way: nobody takes more than is left free for the others. What
//! hangs longer than a second gives its place back and is counted apart.
//!
//! A lane may have to wait for time to pass: for its pace, for the end of a hold that its endpoint
//! asked for, for the next probe while its breaker is open. While it is shut its deliveries are the
//! store's, and nothing of them is used up.

mod ending;
mod fill;
mod lane;
mod limits;
mod owned;
mod recent;
mod starts;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{Claim, DeliveryId, Endpoint, EndpointId, Health, LaneKey, Timestamp};
use crate::policy::pace::Pace;
use lane::{Lane, Waiting};
use owned::Owned;
use recent::Recent;
use starts::Starts;
use turns::Turns;

pub use ending::{Change, Consequence, End, Ending, LaneView, Pass, Turn};
pub use fill::Room;
pub use limits::Limits;

/// Results that wait for the disk, as a multiple of attempts in flight, beyond which nothing new
/// is sent: a disk that is full must not fill the memory.
const UNRECORDED_FACTOR: usize = 4;

/// All lanes of one engine.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    owned: Owned,
    lanes: HashMap<EndpointId, Lane>,
    turns: Turns,
    starts: Starts,
    recent: Recent,
    /// Lanes with room, by when the store is to be asked for more of them.
    due: BTreeSet<(Timestamp, EndpointId)>,
    /// Lanes that wait for time to pass.
    timers: BTreeSet<(Timestamp, EndpointId)>,
    /// When [`Lanes::next_wake`] said that there will be something to do.
    announced: Option<Timestamp>,
    /// Whether somebody's turn waits for a place.
    crowded: bool,
    /// The newest moment that was heard of.
    now: Timestamp,
    /// Attempts in flight that are not slow.
    in_flight: usize,
    unrecorded: usize,
    window_bytes: usize,
    breakers_open: usize,
}

impl Lanes {
    /// No lanes yet; all that come are its own, until [`Lanes::own`] says otherwise.
    pub fn new(limits: Limits) -> Self {
        Lanes {
            limits,
            owned: Owned::default(),
            lanes: HashMap::new(),
            turns: Turns::default(),
            starts: Starts::default(),
            recent: Recent::default(),
            due: BTreeSet::new(),
            timers: BTreeSet::new(),
            announced: None,
            crowded: false,
            now: Timestamp::default(),
            in_flight: 0,
            unrecorded: 0,
            window_bytes: 0,
            breakers_open: 0,
        }
    }

    /// May a delivery that is made now be claimed at birth? Not when earlier ones of its endpoint
    /// still wait in the store, nor when the lane is shut, its window is full, or it is another
    /// node's.
    pub fn admits(&self, endpoint: EndpointId, now: Timestamp) -> bool {
        if !self.owned.has(endpoint) {
            return false;
        }
        let Some(lane) = self.lanes.get(&endpoint) else { return true };
        lane.admits(now, &self.limits) && lane.bytes <= self.bytes_left()
    }

    /// Takes in a delivery that was claimed at `since`. Returns it when nothing is sent to its
    /// endpoint by now, or for a while, or the lane has become another node's.
    pub fn claimed(&mut self, mut claim: Claim, since: Timestamp) -> Option<Claim> {
        if let Some(present) = self.recent.newer_than(&claim.endpoint) {
            claim.endpoint = Arc::clone(present);
        }
        if claim.endpoint.disabled.is_some() || !self.owned.has(claim.endpoint.id) {
            return Some(claim);
        }
        let key = claim.endpoint.lane();
        self.meet(key, claim.endpoint.health, since);
        let Some(lane) = self.lanes.get_mut(&key.endpoint) else { return Some(claim) };
        lane.agree(&claim.endpoint, &self.limits);
        if lane.turns_away(since, &self.limits) {
            self.forget_if_idle(key.endpoint);
            return Some(claim);
        }
        let bytes = claim.event.payload.len();
        lane.bytes += bytes;
        lane.window.push_back(Waiting { since, claim });
        self.window_bytes += bytes;
        self.queue(key.endpoint);
        None
    }

    /// Since this was last asked, has it come about that there is something to do earlier than
    /// [`Lanes::next_wake`] said? Then whoever fills the lanes must look again.
    pub fn sooner(&mut self) -> bool {
        let wake = self.wake();
        let sooner = wake.is_some_and(|wake| self.announced.is_none_or(|known| wake < known));
        if sooner {
            self.announced = wake;
        }
        sooner
    }

    /// When a lane next wants filling or may send again; `None` when none does.
    pub fn next_wake(&mut self) -> Option<Timestamp> {
        self.announced = self.wake();
        self.announced
    }

    fn wake(&self) -> Option<Timestamp> {
        let first =
            |waiting: &BTreeSet<(Timestamp, EndpointId)>| waiting.first().map(|(at, _)| *at);
        let place = self.crowded.then(|| self.starts.next_slow_at(self.limits.slow_in_flight));
        [first(&self.due), first(&self.timers), place.flatten()].into_iter().flatten().min()
    }

    /// The next delivery to send, if any lane may send one. It is in flight from here on.
    pub fn next_claim(&mut self, now: Timestamp) -> Option<Turn> {
        self.tick(now);
        self.crowded = false;
        if self.unrecorded >= self.limits.in_flight * UNRECORDED_FACTOR {
            return None;
        }
        loop {
            let free = self.limits.in_flight.saturating_sub(self.in_flight);
            let Some(endpoint) = self.turns.next(free) else {
                self.crowded = self.turns.wait();
                return None;
            };
            if let Some(turn) = self.take_from(endpoint) {
                return Some(turn);
            }
        }
    }

    /// Time has passed: attempts have become slow ones, lanes need wait no longer.
    fn tick(&mut self, now: Timestamp) {
        self.now = now;
        while let Some(company) = self.starts.next_slow(self.limits.slow_in_flight, now) {
            self.in_flight -= 1;
            self.turns.ended(company);
        }
        while let Some(&(at, endpoint)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            if let Some(lane) = self.lanes.get_mut(&endpoint) {
                lane.timer = None;
            }
            self.queue(endpoint);
            self.forget_if_idle(endpoint);
        }
    }

    /// An attempt has ended; its result goes to the disk now.
    pub fn ended(&mut self, pass: Pass, end: End) -> Consequence {
        self.now = end.at;
        self.unrecorded += 1;
        self.leave(&pass);
        let endpoint = pass.key.endpoint;
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Consequence::default() };
        lane.ended(end.ending, end.at.since(pass.began_at), &self.limits);
        let mut consequence = Consequence::default();
        // What was begun before it began anew says nothing about what it is now.
        if pass.life == lane.life {
            consequence = self.judge(&pass, &end);
        }
        self.queue(endpoint);
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
        consequence
    }

    /// A delivery whose turn had come was not sent after all.
    pub fn unsent(&mut self, pass: Pass, now: Timestamp) {
        self.now = now;
        self.leave(&pass);
        let endpoint = pass.key.endpoint;
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        lane.unsent(&pass, now);
        self.queue(endpoint);
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
    }

    /// Gives the place of an attempt back.
    fn leave(&mut self, pass: &Pass) {
        if !self.starts.end(pass.number) {
            self.in_flight -= 1;
            self.turns.ended(pass.key.company);
        }
    }

    fn judge(&mut self, pass: &Pass, end: &End) -> Consequence {
        let endpoint = pass.key.endpoint;
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Consequence::default() };
        let change = lane.judge(pass, end, &self.limits);
        let health = lane.news(end.at);
        match change {
            Some(Change::Opened { .. }) => self.breakers_open += 1,
            Some(Change::Closed { .. }) => self.breakers_open -= 1,
            // Nothing more is sent until that is on disk, or given up.
            Some(Change::GivenUp { .. }) => lane.cap = 0,
            None => {}
        }
        let back = if lane.lets_go(end.at) { self.empty(endpoint) } else { Vec::new() };
        Consequence { health, change, back }
    }

    /// What follows from [`Ending::Gone`] or [`Change::GivenUp`] is on disk, or given up.
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

    /// An endpoint was changed, disabled included: its waiting deliveries go by what it is now.
    /// Returns the claims to give back.
    pub fn changed(&mut self, endpoint: Endpoint, now: Timestamp) -> Vec<Claim> {
        let endpoint = Arc::new(endpoint);
        self.now = now;
        self.recent.tidy(now);
        self.recent.note(&endpoint, now);
        let Some(lane) = self.lanes.get_mut(&endpoint.id) else { return Vec::new() };
        let mut back = Vec::new();
        if endpoint.disabled.is_none() {
            for waiting in &mut lane.window {
                waiting.claim.endpoint = Arc::clone(&endpoint);
            }
            lane.agree(&endpoint, &self.limits);
            self.queue(endpoint.id);
        } else {
            back = self.empty(endpoint.id);
            self.begin_anew(endpoint.id);
        }
        self.wait_for_store(endpoint.id);
        self.forget_if_idle(endpoint.id);
        back
    }

    /// An endpoint is sent elsewhere from here on, or was enabled: what is known of its health is
    /// forgotten.
    pub fn begin_anew(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        self.breakers_open -= usize::from(lane.breaker.is_open());
        lane.begin_anew();
        self.queue(endpoint);
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
    }

    /// Everything that is claimed and not in flight, to give back at the end.
    pub fn clear(&mut self) -> Vec<Claim> {
        self.turns.clear();
        self.due.clear();
        self.timers.clear();
        self.window_bytes = 0;
        let windows = self.lanes.values_mut().flat_map(|lane| {
            (lane.queued, lane.bytes) = (false, 0);
            (lane.asks_at, lane.timer) = (None, None);
            lane.window.drain(..)
        });
        windows.map(|waiting| waiting.claim).collect()
    }

    /// Since when the oldest delivery that could be sent has been waiting. Looks at every lane.
    pub fn oldest_due(&self, now: Timestamp) -> Option<Timestamp> {
        let oldest = |lane: &Lane| {
            let stored = lane.store_due.filter(|due| *due <= now && lane.shut_until() <= now);
            stored.into_iter().chain(lane.window.front().map(|waiting| waiting.since)).min()
        };
        self.lanes.values().filter_map(oldest).min()
    }

    /// What a lane does and waits for now, and where in it `delivery` stands.
    pub fn view(
        &self,
        endpoint: EndpointId,
        delivery: Option<DeliveryId>,
        now: Timestamp,
    ) -> LaneView {
        let Some(lane) = self.lanes.get(&endpoint) else {
            let in_flight_max = self.limits.lane_in_flight_at_start;
            return LaneView { in_flight_max, ..LaneView::default() };
        };
        let before = |waiting: &Waiting| Some(waiting.claim.delivery) == delivery;
        LaneView { place: lane.window.iter().position(before), ..lane.view(now, &self.limits) }
    }

    /// How many endpoints are left alone because every attempt fails.
    pub fn breakers_open(&self) -> usize {
        self.breakers_open
    }

    fn lane(&mut self, key: LaneKey) -> &mut Lane {
        let cap = self.limits.lane_in_flight_at_start;
        let rest_until = self.owned.rest_until(key.endpoint);
        self.lanes.entry(key.endpoint).or_insert_with(|| {
            let pace = rest_until.map(Pace::not_before).unwrap_or_default();
            Lane { pace, ..Lane::new(key, cap) }
        })
    }

    fn meet(&mut self, key: LaneKey, health: Health, now: Timestamp) {
        let open = self.lane(key).meet(health, now);
        self.breakers_open += usize::from(open);
    }

    fn bytes_left(&self) -> usize {
        self.limits.window_bytes.saturating_sub(self.window_bytes)
    }

    /// A delivery of the lane whose turn it is, unless that can send none by now.
    fn take_from(&mut self, endpoint: EndpointId) -> Option<Turn> {
        let now = self.now;
        let lane = self.lanes.get_mut(&endpoint)?;
        let company = lane.key.company;
        lane.queued = false;
        // It may have been shut, or its cap may have shrunk, since it got its place.
        let may_send = lane.has_place() && lane.opens_at() <= now;
        let turn = if may_send { self.take_fresh(endpoint) } else { None };
        if turn.is_some() {
            self.in_flight += 1;
            self.turns.began(company);
        } else {
            self.turns.passed(company);
        }
        self.queue(endpoint);
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
        turn
    }

    /// The first of a window whose lease outlasts its attempt. What came too late is left to the
    /// store, where it is due when its lease ends.
    fn take_fresh(&mut self, endpoint: EndpointId) -> Option<Turn> {
        let now = self.now;
        loop {
            let lane = self.lanes.get_mut(&endpoint)?;
            let Waiting { since, claim } = lane.window.pop_front()?;
            lane.bytes -= claim.event.payload.len();
            self.window_bytes -= claim.event.payload.len();
            let lease_end = since.plus(self.limits.lease);
            let (key, life) = (lane.key, lane.life);
            if now.plus(self.limits.attempt) <= lease_end {
                let probe = lane.begin(now);
                let number = self.starts.begin(key.company, now);
                return Some(Turn {
                    claim,
                    pass: Pass { key, probe, began_at: now, number, life },
                });
            }
            self.stored(key, lease_end);
        }
    }

    /// Takes a window's claims out, to give them back.
    fn empty(&mut self, endpoint: EndpointId) -> Vec<Claim> {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Vec::new() };
        self.window_bytes -= std::mem::take(&mut lane.bytes);
        lane.window.drain(..).map(|waiting| waiting.claim).collect()
    }

    /// Gives a lane its place in the turns, if it can send and has none, or lets it wait for when
    /// it can.
    fn queue(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        if lane.queued || lane.window.is_empty() || !lane.has_place() {
            return;
        }
        let opens_at = lane.opens_at();
        if opens_at > self.now {
            return self.look_again(endpoint, opens_at);
        }
        lane.queued = true;
        self.turns.queue(lane.key);
    }

    /// Lets a lane be looked at again once it is that late.
    fn look_again(&mut self, endpoint: EndpointId, at: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        if lane.timer == Some(at) || at == Timestamp(i64::MAX) {
            return;
        }
        if let Some(earlier) = lane.timer.replace(at) {
            self.timers.remove(&(earlier, endpoint));
        }
        self.timers.insert((at, endpoint));
    }

    /// A lane with nothing to do costs no memory once there is nothing to remember of it.
    fn forget_if_idle(&mut self, endpoint: EndpointId) {
        let Some(lane) = self.lanes.get(&endpoint).filter(|lane| lane.is_idle()) else { return };
        let remembered_until = lane.remembered_until();
        if remembered_until > self.now {
            return self.look_again(endpoint, remembered_until);
        }
        if let Some(lane) = self.lanes.remove(&endpoint)
            && let Some(at) = lane.timer
        {
            self.timers.remove(&(at, endpoint));
        }
    }
}
