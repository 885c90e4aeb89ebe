//! Lanes under random events, against a simple store: every claim in is a claim out, limits and
//! paces hold, probes come one at a time, nobody starves, nothing is sent twice, and everything is
//! sent in the end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const ENDPOINTS: u128 = 6;
const RATE: u32 = 5;

#[derive(Debug, Clone)]
enum Step {
    Emit(u128, usize),
    Send(usize),
    End(usize, bool),
    Hold(usize, u64),
    Outage(u128, bool),
    Fill(usize),
    Pass(u64),
    Disable(u128),
    Enable(u128),
    RefuseResult(usize),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..ENDPOINTS, 1..60_usize).prop_map(|(endpoint, bytes)| Step::Emit(endpoint, bytes)),
        4 => (1..6_usize).prop_map(Step::Send),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, well)| Step::End(which, well)),
        1 => (any::<usize>(), 1..90_u64).prop_map(|(which, secs)| Step::Hold(which, secs)),
        1 => (0..ENDPOINTS - 1, any::<bool>()).prop_map(|(endpoint, on)| Step::Outage(endpoint, on)),
        3 => (1..4_usize).prop_map(Step::Fill),
        2 => (1..30_u64).prop_map(Step::Pass),
        1 => (0..ENDPOINTS).prop_map(Step::Disable),
        1 => (0..ENDPOINTS).prop_map(Step::Enable),
        1 => any::<usize>().prop_map(Step::RefuseResult),
        1 => Just(Step::Sweep),
    ]
}

/// A delivery as the store knows it.
struct Row {
    key: LaneKey,
    bytes: usize,
    due: Timestamp,
    fence: u64,
    claimed: bool,
    attempts: u32,
}

struct World {
    lanes: Lanes,
    now: Timestamp,
    rows: BTreeMap<DeliveryId, Row>,
    off: [bool; ENDPOINTS as usize],
    out: [bool; ENDPOINTS as usize],
    health: [Health; ENDPOINTS as usize],
    sent: Vec<(LaneKey, Timestamp)>,
    in_flight: Vec<(Timestamp, Turn)>,
    refused: Vec<Claim>,
}

fn key_of(endpoint: u128) -> LaneKey {
    key(endpoint % 3, endpoint)
}

fn number(key: LaneKey) -> usize {
    usize::try_from(key.endpoint.uuid().as_u128()).unwrap()
}

/// The endpoints differ: the second has a pace, the third takes few at once.
fn present(key: LaneKey, health: Health) -> Endpoint {
    let flow = match number(key) {
        1 => Flow { rate_limit: Some(RATE), ..Flow::default() },
        2 => Flow { max_in_flight: Some(2), ..Flow::default() },
        _ => Flow::default(),
    };
    Endpoint { flow, health, ..endpoint(key) }
}

impl World {
    fn new() -> World {
        let limits = Limits {
            lane_in_flight: 4,
            slow_in_flight: 2,
            disable_after: Duration::from_hours(2),
            ..small()
        };
        let mut health = [Health::default(); ENDPOINTS as usize];
        // An earlier process knew the fourth one to be failing.
        health[3].failing_since = Some(NOW.minus(Duration::from_hours(1)));
        World {
            lanes: Lanes::new(limits),
            now: NOW,
            rows: BTreeMap::new(),
            off: [false; ENDPOINTS as usize],
            // The last two are out from the beginning, mostly for long enough to be left alone.
            out: [false, false, false, false, true, true],
            health,
            sent: Vec::new(),
            in_flight: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Emit(endpoint, bytes) => self.emit(endpoint, bytes),
            Step::Send(count) => self.send_some(count),
            Step::End(which, well) if !self.in_flight.is_empty() => {
                self.end(which % self.in_flight.len(), well, None);
            }
            Step::Hold(which, secs) if !self.in_flight.is_empty() => {
                let until = self.now.plus(SECOND * u32::try_from(secs).unwrap());
                self.end(which % self.in_flight.len(), false, Some(until));
            }
            Step::Outage(endpoint, on) => self.out[number(key_of(endpoint))] = on,
            Step::RefuseResult(which) if !self.in_flight.is_empty() => {
                self.refuse(which % self.in_flight.len());
            }
            Step::End(..) | Step::Hold(..) | Step::RefuseResult(_) => {}
            Step::Fill(lanes) => self.fill(lanes),
            Step::Pass(secs) => self.pass(Duration::from_secs(secs)),
            Step::Disable(endpoint) => self.switch(endpoint, true),
            Step::Enable(endpoint) => self.switch(endpoint, false),
            Step::Sweep => self.sweep(),
        }
    }

    fn emit(&mut self, endpoint: u128, bytes: usize) {
        let key = key_of(endpoint);
        if self.off[number(key)] {
            return;
        }
        let claim = self.make_claim(key, bytes);
        let claimed = self.lanes.admits(key.endpoint, self.now);
        let due = if claimed { self.now.plus(self.lanes.limits.lease) } else { self.now };
        let row = Row { key, bytes, due, fence: u64::from(claimed), claimed, attempts: 0 };
        self.rows.insert(claim.delivery, row);
        if claimed {
            let back = self.lanes.claimed(claim, self.now);
            self.give_back(&back.into_iter().collect::<Vec<_>>());
        } else {
            self.lanes.stored(key, self.now);
        }
    }

    fn make_claim(&self, key: LaneKey, bytes: usize) -> Claim {
        let endpoint = Arc::new(present(key, self.health[number(key)]));
        Claim { endpoint, ..claim_of_bytes(key, bytes) }
    }

    fn send(&mut self) -> bool {
        let Some(turn) = self.lanes.next_claim(self.now) else {
            self.nobody_starves();
            return false;
        };
        let claim = &turn.claim;
        let row = &self.rows[&claim.delivery];
        assert_eq!((row.fence, row.claimed), (claim.fence, true), "its lease has not ended");
        assert!(!self.off[number(row.key)], "its endpoint is enabled");
        let twice = self.in_flight.iter().map(|(_, other)| &other.claim).chain(&self.refused);
        assert!(twice.clone().all(|other| other.delivery != claim.delivery), "sent once at a time");
        let (key, life) = (turn.pass.key, turn.pass.life);
        let probes = self.in_flight.iter().filter(|(_, other)| {
            other.pass.key == key && other.pass.life == life && other.pass.probe
        });
        assert!(!turn.pass.probe || probes.count() == 0, "one probe at a time");
        self.sent.push((key, self.now));
        self.in_flight.push((self.now, turn));
        true
    }

    fn send_some(&mut self, count: usize) {
        for _ in 0..count {
            self.send();
        }
    }

    fn nobody_starves(&self) {
        let limits = &self.lanes.limits;
        if self.lanes.unrecorded >= limits.in_flight * UNRECORDED_FACTOR {
            return;
        }
        let free = limits.in_flight - self.lanes.in_flight;
        for lane in self.lanes.lanes.values() {
            let company = |turn: &&Turn| turn.pass.key.company == lane.key.company;
            let fresh = self.in_flight.iter().map(|(_, turn)| turn);
            let fresh = fresh.filter(|turn| self.lanes.starts.holds_place(turn.pass.number));
            let share = fresh.filter(company).count();
            let open = lane.opens_at() <= self.now && lane.has_place();
            let can_send = !lane.window.is_empty() && open && share < free;
            assert!(!can_send, "{lane:?} could send");
        }
    }

    fn end(&mut self, which: usize, well: bool, hold: Option<Timestamp>) {
        let (_, Turn { claim, pass }) = self.in_flight.swap_remove(which);
        let well = well && !self.out[number(pass.key)];
        let ending = if well { Ending::Well } else { Ending::Badly };
        let Consequence { health, change, back } =
            self.lanes.ended(pass, End { ending, at: self.now, hold });
        self.give_back(&back);
        self.record(&claim, well, pass.probe);
        if let Some(health) = health {
            self.health[number(pass.key)] = health;
        }
        if let Some(Change::GivenUp { .. }) = change {
            self.switch(pass.key.endpoint.uuid().as_u128(), true);
            self.lanes.resume(pass.key);
        }
        self.lanes.recorded();
    }

    fn record(&mut self, claim: &Claim, well: bool, probe: bool) {
        let row = self.rows.get_mut(&claim.delivery).unwrap();
        assert_eq!((row.fence, row.claimed), (claim.fence, true), "a result never comes too late");
        if well {
            self.rows.remove(&claim.delivery);
        } else {
            row.due = if probe { self.now } else { self.now.plus(SECOND * 5) };
            row.claimed = false;
            row.attempts += 1;
            self.lanes.stored(claim.endpoint.lane(), row.due);
        }
    }

    fn refuse(&mut self, which: usize) {
        let (_, Turn { claim, pass }) = self.in_flight.swap_remove(which);
        let end = End { ending: Ending::Well, at: self.now, hold: None };
        self.lanes.ended(pass, end);
        self.health[number(pass.key)] = Health::default();
        self.lanes.refused(claim.endpoint.lane());
        self.refused.push(claim);
    }

    fn settle(&mut self) {
        for claim in std::mem::take(&mut self.refused) {
            self.record(&claim, true, false);
            self.lanes.settled(claim.endpoint.lane());
            self.lanes.recorded();
        }
    }

    fn fill(&mut self, limit: usize) {
        for room in self.lanes.rooms(self.now, limit) {
            let held = self.claim(room);
            self.give_back(&held);
        }
    }

    fn claim(&mut self, room: Room) -> Vec<Claim> {
        if self.off[number(room.key)] {
            self.lanes.filled(room.key, None);
            return Vec::new();
        }
        let mut due: Vec<(Timestamp, DeliveryId)> = self.waiting_from(&room);
        let retrying = due.iter().copied().find(|(_, delivery)| {
            let row = &self.rows[delivery];
            row.attempts > 0 && !row.claimed
        });
        due.retain(|(due, _)| *due <= self.now);
        if due.is_empty() && room.probe {
            due.extend(retrying);
        }
        due.truncate(room.limit as usize);
        let mut held = Vec::new();
        for (_, delivery) in due {
            let row = self.rows.get_mut(&delivery).unwrap();
            row.fence += 1;
            row.claimed = true;
            row.due = self.now.plus(self.lanes.limits.lease);
            let (fence, bytes) = (row.fence, row.bytes);
            let claim = Claim { delivery, fence, ..self.make_claim(room.key, bytes) };
            held.extend(self.lanes.claimed(claim, self.now));
        }
        let next = self.waiting_from(&room).first().map(|(due, _)| *due);
        self.lanes.filled(room.key, next);
        held
    }

    /// A store need not look at what is due before the lane says that anything is.
    fn waiting_from(&self, room: &Room) -> Vec<(Timestamp, DeliveryId)> {
        let mut waiting = self.waiting(room.key);
        waiting.retain(|(due, _)| *due >= room.earliest);
        waiting
    }

    fn waiting(&self, key: LaneKey) -> Vec<(Timestamp, DeliveryId)> {
        let mine = self.rows.iter().filter(|(_, row)| row.key == key);
        let mut waiting: Vec<_> = mine.map(|(id, row)| (row.due, *id)).collect();
        waiting.sort();
        waiting
    }

    fn give_back(&mut self, claims: &[Claim]) {
        for claim in claims {
            let row = self.rows.get_mut(&claim.delivery).unwrap();
            if row.fence == claim.fence && row.claimed {
                (row.claimed, row.due) = (false, self.now);
                self.lanes.stored(row.key, self.now);
            }
        }
    }

    /// No attempt takes longer than it may.
    fn pass(&mut self, time: Duration) {
        let longest = self.lanes.limits.attempt;
        let until = self.now.plus(time);
        while let Some(late) = self.in_flight.iter().position(|(at, _)| at.plus(longest) <= until) {
            self.end(late, late % 2 == 0, None);
        }
        self.now = until;
    }

    fn switch(&mut self, endpoint: u128, off: bool) {
        let key = key_of(endpoint);
        self.off[number(key)] = off;
        let at = self.now;
        let present = if off {
            disabled(key, at)
        } else {
            self.health[number(key)] = Health::default();
            self.lanes.begin_anew(key.endpoint);
            Endpoint { updated_at: at, ..present(key, Health::default()) }
        };
        let held = self.lanes.changed(present, at);
        self.give_back(&held);
        if !off {
            self.lanes.look_into(key, at);
        }
    }

    fn sweep(&mut self) {
        for endpoint in 0..ENDPOINTS {
            let key = key_of(endpoint);
            if let (false, Some((due, _))) = (self.off[number(key)], self.waiting(key).first()) {
                self.lanes.found(key, *due, self.health[number(key)]);
            }
        }
    }

    fn limits_hold(&self) {
        let (lanes, limits) = (&self.lanes, &self.lanes.limits);
        assert_eq!(lanes.in_flight + lanes.starts.slow(), self.in_flight.len());
        assert!(lanes.starts.slow() <= limits.slow_in_flight);
        let open = lanes.lanes.values().filter(|lane| lane.breaker.is_open()).count();
        assert_eq!(lanes.breakers_open, open);
        assert_eq!(lanes.unrecorded, self.refused.len());
        assert!(lanes.in_flight <= limits.in_flight);
        let bytes: usize = lanes.lanes.values().map(|lane| lane.bytes).sum();
        assert_eq!(lanes.window_bytes, bytes);
        for lane in lanes.lanes.values() {
            let window = lane.window.iter().map(|waiting| waiting.claim.event.payload.len());
            assert_eq!(lane.bytes, window.sum::<usize>());
            assert!(lane.window.len() <= limits.window);
            assert!(lane.in_flight <= small().lane_in_flight_at_start);
        }
    }

    /// Whoever waits for something is found when it comes.
    fn waits_hold(&self) {
        let lanes = &self.lanes;
        for (at, endpoint) in &lanes.due {
            assert_eq!(lanes.lanes[endpoint].asks_at, Some(*at));
        }
        for (at, endpoint) in &lanes.timers {
            assert_eq!(lanes.lanes[endpoint].timer, Some(*at));
        }
        let timers = lanes.lanes.values().filter(|lane| lane.timer.is_some());
        assert_eq!(timers.count(), lanes.timers.len());
    }

    fn paces_hold(&self) {
        let paced = self.sent.iter().filter(|(key, _)| number(*key) == 1);
        let sent: Vec<Timestamp> = paced.map(|(_, at)| *at).collect();
        for second in sent.windows(RATE as usize + 1) {
            assert!(second[RATE as usize].since(second[0]) >= SECOND, "{second:?}");
        }
    }

    /// Everything goes well from here on.
    fn settle_down(&mut self) {
        (0..ENDPOINTS).for_each(|endpoint| self.switch(endpoint, false));
        self.out = [false; ENDPOINTS as usize];
        self.settle();
        for _ in 0..10_000 {
            self.fill(64);
            while self.send() {}
            while !self.in_flight.is_empty() {
                self.end(0, true, None);
                while self.send() {}
            }
            let Some(next) = self.lanes.next_wake() else { break };
            self.now = self.now.max(next);
        }
        // Claims that the lanes were not told of are due when their leases end.
        assert!(self.rows.is_empty(), "{} are left", self.rows.len());
        self.fill(64);
        assert!(self.lanes.lanes.is_empty(), "{:?}", self.lanes.lanes);
        assert_eq!((self.lanes.turns.len(), self.lanes.window_bytes), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_claim_in_is_a_claim_out(steps in proptest::collection::vec(step(), 1..400)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.limits_hold();
            world.waits_hold();
        }
        world.settle_down();
        world.paces_hold();
    }
}
