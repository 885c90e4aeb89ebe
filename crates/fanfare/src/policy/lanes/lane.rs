//! An endpoint with something to do.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Claim, Endpoint, Health, LaneKey, Timestamp};
use crate::policy::breaker::Breaker;
use crate::policy::lanes::Limits;
use crate::policy::lanes::ending::{Change, End, Ending, LaneView, Pass};
use crate::policy::pace::{Pace, Ramp};

/// A success that took longer is no reason to send more at once.
const QUICK: Duration = Duration::from_secs(1);
/// Attempts in flight for an endpoint that succeeds slowly.
const SLOW_CAP: u32 = 8;
/// A lane that is shut for no longer keeps its window.
const SHORT: Duration = Duration::from_secs(2);
/// Claims of the first question about an endpoint whose wishes are not known yet.
const FIRST_WINDOW: usize = 16;
/// Claims held for an endpoint whose waiting deliveries may still be superseded.
const COALESCING_WINDOW: usize = 16;
/// Claims held for an endpoint with a pace: as many seconds' worth, and at least so many. What
/// waits longer waits in the store, where it can still be cancelled.
const PACED_WINDOW: (usize, usize) = (2, 8);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    pub(super) window: VecDeque<Waiting>,
    /// Payload bytes in the window.
    pub(super) bytes: usize,
    pub(super) in_flight: u32,
    pub(super) cap: u32,
    /// When the earliest delivery that is not in the window falls due.
    pub(super) store_due: Option<Timestamp>,
    /// When the store is to be asked: its place among those that wait for that.
    pub(super) asks_at: Option<Timestamp>,
    /// When it is to be looked at again: its place among those that wait for time to pass.
    pub(super) timer: Option<Timestamp>,
    /// Whether the store is being asked for more.
    pub(super) filling: bool,
    /// Results that the store has refused so far.
    pub(super) refused: u32,
    /// Whether the lane has its place in the turns.
    pub(super) queued: bool,
    /// Whether the store had no delivery to probe with, so that asking again waits for one.
    pub(super) dry: bool,
    /// What the endpoint asks for, once a claim has told.
    pub(super) terms: Option<Terms>,
    /// How the endpoint does, as far as it is known; `None` until somebody has told.
    pub(super) kept: Option<Health>,
    pub(super) breaker: Breaker,
    /// Until when the endpoint asked to be left alone.
    pub(super) held_until: Timestamp,
    pub(super) ramp: Option<Ramp>,
    pub(super) pace: Pace,
    /// How often the endpoint has begun anew. What was begun before says nothing about it.
    pub(super) life: u32,
}

/// What an endpoint asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    rate_limit: Option<u32>,
    max_in_flight: Option<u32>,
    coalesces: bool,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) since: Timestamp,
    pub(super) claim: Claim,
}

impl Terms {
    pub(super) fn of(endpoint: &Endpoint) -> Terms {
        let flow = &endpoint.flow;
        Terms {
            rate_limit: flow.rate_limit,
            max_in_flight: flow.max_in_flight,
            coalesces: flow.coalesce.is_some(),
        }
    }
}

impl Lane {
    pub(super) fn new(key: LaneKey, cap: u32) -> Lane {
        Lane {
            key,
            window: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            cap,
            store_due: None,
            asks_at: None,
            timer: None,
            filling: false,
            refused: 0,
            queued: false,
            dry: false,
            terms: None,
            kept: None,
            breaker: Breaker::default(),
            held_until: Timestamp::default(),
            ramp: None,
            pace: Pace::default(),
            life: 0,
        }
    }

    /// Takes over what is known of the endpoint's health, if nothing is known yet. Returns whether
    /// its breaker is open by that.
    pub(super) fn meet(&mut self, health: Health, now: Timestamp) -> bool {
        if self.kept.is_some() {
            return false;
        }
        self.kept = Some(health);
        if let Some(until) = health.held_until.filter(|until| *until > now) {
            self.held_until = until;
            self.ramp = Some(Ramp::at(until));
        }
        if let Some(since) = health.failing_since {
            self.breaker = Breaker::restored(since);
        }
        self.breaker.is_open()
    }

    /// Takes over what the endpoint asks for.
    pub(super) fn agree(&mut self, endpoint: &Endpoint, limits: &Limits) {
        let terms = Terms::of(endpoint);
        if self.terms != Some(terms) {
            self.terms = Some(terms);
            self.cap = self.cap.min(self.cap_max(limits));
        }
    }

    /// The endpoint is another one, or a new one in effect: what is known of its health is
    /// forgotten.
    pub(super) fn begin_anew(&mut self) {
        self.life = self.life.wrapping_add(1);
        self.kept = Some(Health::default());
        self.breaker = Breaker::default();
        self.held_until = Timestamp::default();
        self.ramp = None;
        self.dry = false;
    }

    /// It is another node's from here on: nothing that is known of it counts any more.
    pub(super) fn forget(&mut self) {
        self.kept = None;
        self.store_due = None;
        self.pace = Pace::default();
        self.cap = self.cap.max(1);
    }

    fn cap_max(&self, limits: &Limits) -> u32 {
        let asked = self.terms.and_then(|terms| terms.max_in_flight);
        asked.unwrap_or(limits.lane_in_flight).max(1)
    }

    /// Requests a second at most, for now.
    pub(super) fn rate(&self) -> Option<u32> {
        let asked = self.terms.and_then(|terms| terms.rate_limit);
        match self.ramp {
            None => asked,
            Some(ramp) => Some(asked.map_or(ramp.rate(), |asked| asked.min(ramp.rate()))),
        }
    }

    /// How many claims it may hold.
    pub(super) fn window_max(&self, limits: &Limits) -> usize {
        if self.breaker.is_open() {
            return 1;
        }
        let Some(terms) = self.terms else { return limits.window.min(FIRST_WINDOW) };
        let (secs, least) = PACED_WINDOW;
        let paced = self.rate().map_or(usize::MAX, |rate| (rate as usize * secs).max(least));
        let coalescing = if terms.coalesces { COALESCING_WINDOW } else { usize::MAX };
        limits.window.min(paced).min(coalescing)
    }

    /// Must a claim that comes now go back to the store? It does when the lane is shut, or when
    /// what waits may better wait there.
    pub(super) fn turns_away(&self, now: Timestamp, limits: &Limits) -> bool {
        let full = self.window.len() >= self.window_max(limits);
        self.shut_until() > now.plus(SHORT) || (full && self.is_restrained())
    }

    fn is_restrained(&self) -> bool {
        let coalesces = self.terms.is_some_and(|terms| terms.coalesces);
        self.breaker.is_open() || self.rate().is_some() || coalesces
    }

    /// Until when it sends nothing, pace aside.
    pub(super) fn shut_until(&self) -> Timestamp {
        self.held_until.max(self.breaker.opens_at())
    }

    /// When it may send the next one, places aside.
    pub(super) fn opens_at(&self) -> Timestamp {
        let paced = self.rate().map(|_| self.pace.opens_at());
        paced.map_or(self.shut_until(), |paced| paced.max(self.shut_until()))
    }

    /// May one more be in flight? A probe goes out whatever is left of the time before it.
    pub(super) fn has_place(&self) -> bool {
        self.in_flight < self.cap || (self.breaker.is_open() && self.cap > 0)
    }

    /// Could a delivery that is made now be claimed at birth?
    pub(super) fn admits(&self, now: Timestamp, limits: &Limits) -> bool {
        let behind = self.filling || self.store_due.is_some_and(|due| due <= now);
        let shut = self.breaker.is_open() || self.held_until > now;
        // What is known by nobody yet may fill a whole window.
        let room = if self.terms.is_some() { self.window_max(limits) } else { limits.window };
        !behind && !shut && self.window.len() < room
    }

    /// When the store is to be asked for more, if at all. A window is filled again once it is half
    /// empty, so that one question brings many answers.
    pub(super) fn wants_to_ask_at(&self, limits: &Limits) -> Option<Timestamp> {
        let due = self.store_due?;
        if self.filling || self.refused > 0 || self.window.len() > self.window_max(limits) / 2 {
            return None;
        }
        if !self.breaker.is_open() {
            return Some(due.max(self.held_until));
        }
        // What waits for a retry is brought forward.
        let due = if self.dry { due } else { Timestamp(i64::MIN) };
        (!self.breaker.is_probing()).then(|| due.max(self.shut_until()))
    }

    /// An attempt begins. Returns whether it is a probe.
    pub(super) fn begin(&mut self, now: Timestamp) -> bool {
        self.in_flight += 1;
        if let Some(rate) = self.rate() {
            self.pace.take(rate, now);
        }
        self.breaker.begin()
    }

    /// An attempt has ended: how many may be in flight from here on.
    pub(super) fn ended(&mut self, ending: Ending, took: Duration, limits: &Limits) {
        self.in_flight -= 1;
        let cap_max = self.cap_max(limits);
        self.cap = match ending {
            Ending::Gone => 0,
            _ if self.cap == 0 => 0,
            Ending::Well if took > QUICK && self.cap >= SLOW_CAP => (self.cap / 2).max(SLOW_CAP),
            Ending::Well => (self.cap + 1).min(cap_max),
            Ending::Badly | Ending::Lost => (self.cap / 2).max(1),
        };
    }

    /// A delivery was not sent after all, which says nothing of the endpoint.
    pub(super) fn unsent(&mut self, pass: &Pass, now: Timestamp) {
        self.in_flight -= 1;
        if pass.probe && pass.life == self.life {
            self.breaker.probe_ended(now);
        }
    }

    /// What the end of an attempt means for the endpoint.
    pub(super) fn judge(&mut self, pass: &Pass, end: &End, limits: &Limits) -> Option<Change> {
        match end.ending {
            Ending::Well => self.has_succeeded(end.at),
            Ending::Badly => self.has_failed(pass.probe, end, limits),
            Ending::Gone | Ending::Lost if pass.probe => {
                self.breaker.probe_ended(end.at);
                None
            }
            Ending::Gone | Ending::Lost => None,
        }
    }

    fn has_succeeded(&mut self, now: Timestamp) -> Option<Change> {
        let pace = self.terms.and_then(|terms| terms.rate_limit);
        self.ramp = self.ramp.and_then(|ramp| ramp.after_success(pace, now));
        let since = self.breaker.succeeded()?;
        self.dry = false;
        self.ramp = Some(Ramp::at(now));
        Some(Change::Closed { since })
    }

    fn has_failed(&mut self, was_probe: bool, end: &End, limits: &Limits) -> Option<Change> {
        if let Some(until) = end.hold {
            self.held_until = self.held_until.max(until);
        }
        if end.hold.is_some() || self.ramp.is_some() {
            self.ramp = Some(Ramp::at(end.at.max(self.held_until)));
        }
        let opened = self.breaker.failed(was_probe, end.at);
        let since = self.breaker.failing_since()?;
        if self.breaker.has_failed_for(limits.disable_after, end.at) {
            return Some(Change::GivenUp { since });
        }
        opened.then_some(Change::Opened { since })
    }

    /// The endpoint's health, if it is not what was last told.
    pub(super) fn news(&mut self, now: Timestamp) -> Option<Health> {
        let held_until = Some(self.held_until).filter(|until| *until > now);
        let health = Health { failing_since: self.breaker.failing_since(), held_until };
        if self.kept == Some(health) {
            return None;
        }
        let known = self.kept.replace(health);
        (known.is_some() || health != Health::default()).then_some(health)
    }

    /// What it does and waits for now.
    pub(super) fn view(&self, now: Timestamp, limits: &Limits) -> LaneView {
        let coming = |at: Timestamp| Some(at).filter(|at| *at > now);
        let (failing_since, probing) = (self.breaker.failing_since(), self.breaker.is_probing());
        let next_probe = failing_since.filter(|_| !probing).map(|_| self.breaker.opens_at());
        LaneView {
            failing_since,
            probing,
            next_probe: next_probe.map(|at| at.max(now)),
            held_until: coming(self.held_until),
            paced_until: self.rate().and_then(|_| coming(self.pace.opens_at())),
            rate: self.rate(),
            in_flight: self.in_flight,
            in_flight_max: self.cap.min(self.cap_max(limits)),
            window: self.window.len(),
            place: None,
        }
    }

    /// Is it shut for long enough to give its window back?
    pub(super) fn lets_go(&self, now: Timestamp) -> bool {
        self.shut_until() > now.plus(SHORT)
    }

    /// Has it nothing to do, and nothing that it waits for?
    pub(super) fn is_idle(&self) -> bool {
        self.window.is_empty()
            && self.in_flight == 0
            && self.store_due.is_none()
            && self.refused == 0
            && !self.filling
            && !self.queued
            && self.cap > 0
    }

    /// Until when an idle one is remembered. How fast it was coming back is not worth it: with
    /// nothing to drain there is nothing to drain slowly.
    pub(super) fn remembered_until(&self) -> Timestamp {
        self.held_until.max(self.pace.forgotten_at()).max(self.breaker.forgotten_at())
    }
}
