//! A hundred thousand endpoints of every kind at once, on virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap as Map};

use super::*;

const ENDPOINTS: u128 = 100_000;
const KINDS: u128 = 100;
const COMPANIES: u128 = 1000;
/// Of an endpoint that is not well; the others have one.
const DELIVERIES: usize = 3;
const MINUTE: Duration = Duration::from_mins(1);

/// What endpoints are like, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Well,
    /// Fails at once.
    Dead,
    /// Fails after ten seconds.
    Hanging,
    /// Fails for the first four minutes.
    Out,
    /// One request a second.
    Paced,
    /// Asks to be left alone for a minute, once.
    Holding,
    /// Takes a second and a half.
    Slow,
    /// One request at a time.
    Narrow,
    /// Answers 410.
    Gone,
}

fn kind(number: u128) -> Kind {
    match number % KINDS {
        12 => Kind::Dead,
        13 => Kind::Hanging,
        14 => Kind::Out,
        15 => Kind::Paced,
        16 => Kind::Holding,
        17 => Kind::Slow,
        18 => Kind::Narrow,
        19 => Kind::Gone,
        _ => Kind::Well,
    }
}

struct Row {
    due: Timestamp,
    attempts: u32,
    claimed: bool,
}

struct Crowd {
    lanes: Lanes,
    now: Timestamp,
    waiting: Vec<Map<u64, Row>>,
    endpoints: Vec<Arc<Endpoint>>,
    like: Claim,
    ends: BinaryHeap<Reverse<(Timestamp, u64)>>,
    running: Map<u64, Turn>,
    begun: u64,
    /// When each endpoint of which that matters was last sent to.
    sent_at: Map<u128, Timestamp>,
    held_until: Map<u128, Timestamp>,
    probing: Map<u128, u32>,
    /// The longest that a healthy endpoint's delivery waited beyond its time.
    longest: Duration,
    opened: usize,
    closed: usize,
}

impl Crowd {
    fn new() -> Crowd {
        let endpoint = |n: u128| {
            let flow = match kind(n) {
                Kind::Paced => Flow { rate_limit: Some(1), ..Flow::default() },
                Kind::Narrow => Flow { max_in_flight: Some(1), ..Flow::default() },
                _ => Flow::default(),
            };
            Arc::new(Endpoint { flow, ..endpoint(key(n % COMPANIES, n)) })
        };
        let mut lanes = Lanes::new(Limits::default());
        let mut waiting = Vec::new();
        for n in 0..ENDPOINTS {
            let due = NOW.plus(Duration::from_millis(50 * u64::try_from(n % 1200).unwrap()));
            let row = |number| (number, Row { due, attempts: 0, claimed: false });
            let deliveries = if kind(n) == Kind::Well { 1 } else { DELIVERIES as u64 };
            waiting.push((0..deliveries).map(row).collect());
            lanes.stored(key(n % COMPANIES, n), due);
        }
        Crowd {
            lanes,
            now: NOW,
            waiting,
            endpoints: (0..ENDPOINTS).map(endpoint).collect(),
            like: claim(key(0, 0)),
            ends: BinaryHeap::new(),
            running: Map::new(),
            begun: 0,
            sent_at: Map::new(),
            held_until: Map::new(),
            probing: Map::new(),
            longest: Duration::ZERO,
            opened: 0,
            closed: 0,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = NOW.plus(time);
        loop {
            let wake = self.lanes.next_wake();
            let ends = self.ends.peek().map(|Reverse((at, _))| *at);
            let Some(next) = wake.into_iter().chain(ends).min().filter(|at| *at < end) else {
                return;
            };
            self.now = self.now.max(next);
            while self.ends.peek().is_some_and(|Reverse((at, _))| *at <= self.now) {
                let Reverse((_, number)) = self.ends.pop().unwrap();
                let turn = self.running.remove(&number).unwrap();
                self.end(turn);
            }
            for room in self.lanes.rooms(self.now, 64) {
                self.fill(room);
            }
            while let Some(turn) = self.lanes.next_claim(self.now) {
                self.begin(turn);
            }
        }
    }

    fn fill(&mut self, room: Room) {
        let n = usize::try_from(room.key.endpoint.uuid().as_u128()).unwrap();
        let mut rows: Vec<(Timestamp, u64)> =
            self.waiting[n].iter().map(|(number, row)| (row.due, *number)).collect();
        rows.sort_unstable();
        let waiting = &mut self.waiting[n];
        let mut chosen: Vec<u64> =
            rows.iter().filter(|(due, _)| *due <= self.now).map(|(_, number)| *number).collect();
        if room.probe && chosen.is_empty() {
            let retrying = |number: &u64| waiting[number].attempts > 0 && !waiting[number].claimed;
            chosen.extend(rows.iter().map(|(_, number)| *number).find(retrying));
        }
        let mut back = Vec::new();
        for number in chosen.into_iter().take(room.limit as usize) {
            let row = waiting.get_mut(&number).unwrap();
            (row.due, row.claimed) = (self.now.plus(Duration::from_mins(10)), true);
            let endpoint = Arc::clone(&self.endpoints[n]);
            let claim = Claim { endpoint, sequence: number, ..self.like.clone() };
            back.extend(self.lanes.claimed(claim, self.now));
        }
        let next = self.waiting[n].values().map(|row| row.due).min();
        self.lanes.filled(room.key, next);
        self.give_back(back);
    }

    fn give_back(&mut self, claims: Vec<Claim>) {
        for claim in claims {
            let n = usize::try_from(claim.endpoint.id.uuid().as_u128()).unwrap();
            let row = self.waiting[n].get_mut(&claim.sequence).unwrap();
            (row.due, row.claimed) = (self.now, false);
            self.lanes.stored(claim.endpoint.lane(), self.now);
        }
    }

    fn begin(&mut self, turn: Turn) {
        let n = turn.pass.key.endpoint.uuid().as_u128();
        let kind = kind(n);
        let last = self.sent_at.insert(n, self.now);
        match kind {
            Kind::Paced => assert!(last.is_none_or(|last| self.now.since(last) >= SECOND)),
            Kind::Holding => {
                let held = self.held_until.get(&n);
                assert!(held.is_none_or(|until| self.now >= *until), "it is held");
            }
            Kind::Well => {
                let due = NOW.plus(Duration::from_millis(50 * u64::try_from(n % 1200).unwrap()));
                self.longest = self.longest.max(self.now.since(due));
            }
            _ => {}
        }
        if turn.pass.probe {
            let probes = self.probing.entry(n).or_default();
            *probes += 1;
            assert_eq!(*probes, 1, "one probe at a time");
        }
        let takes = match kind {
            Kind::Hanging => SECOND * 10,
            Kind::Slow => SECOND * 3 / 2,
            _ => Duration::from_millis(20),
        };
        self.begun += 1;
        self.ends.push(Reverse((self.now.plus(takes), self.begun)));
        self.running.insert(self.begun, turn);
    }

    fn ending(&self, n: u128) -> (Ending, Option<Timestamp>) {
        match kind(n) {
            Kind::Dead | Kind::Hanging => (Ending::Badly, None),
            Kind::Out if self.now < NOW.plus(MINUTE * 4) => (Ending::Badly, None),
            Kind::Holding if !self.held_until.contains_key(&n) => {
                (Ending::Badly, Some(self.now.plus(MINUTE)))
            }
            Kind::Gone => (Ending::Gone, None),
            _ => (Ending::Well, None),
        }
    }

    fn end(&mut self, Turn { claim, pass }: Turn) {
        let n = pass.key.endpoint.uuid().as_u128();
        let (ending, hold) = self.ending(n);
        if let Some(until) = hold {
            // The other one of the first two is still on its way.
            self.held_until.insert(n, until);
        }
        if pass.probe {
            *self.probing.get_mut(&n).unwrap() -= 1;
        }
        let consequence = self.lanes.ended(pass, End { ending, at: self.now, hold });
        match consequence.change {
            Some(Change::Opened { .. }) => self.opened += 1,
            Some(Change::Closed { .. }) => self.closed += 1,
            _ => {}
        }
        self.give_back(consequence.back);
        let waiting = &mut self.waiting[usize::try_from(n).unwrap()];
        if ending == Ending::Badly {
            let row = waiting.get_mut(&claim.sequence).unwrap();
            let wait = if pass.probe { Duration::ZERO } else { SECOND * 30 };
            (row.due, row.claimed) = (self.now.plus(wait), false);
            row.attempts += 1;
            self.lanes.stored(pass.key, self.now.plus(wait));
        } else {
            waiting.remove(&claim.sequence);
        }
        self.lanes.recorded();
        if ending == Ending::Gone {
            let back = self.lanes.changed(disabled(pass.key, self.now), self.now);
            self.lanes.resume(pass.key);
            // Held with the endpoint; the lanes need not know.
            drop(back);
            self.waiting[usize::try_from(n).unwrap()].clear();
        }
    }

    fn left(&self) -> Map<Kind, usize> {
        let mut left = Map::new();
        for (n, rows) in (0..).zip(&self.waiting) {
            *left.entry(kind(n)).or_default() += rows.len();
        }
        left.retain(|_, count| *count > 0);
        left
    }
}

#[test]
fn a_hundred_thousand_endpoints_of_every_kind_come_to_what_they_are_due() {
    let mut crowd = Crowd::new();
    // Until the last lease has run out that a lane may wait for.
    crowd.run(MINUTE * 12);
    let of_a_kind = usize::try_from(ENDPOINTS / KINDS).unwrap();
    let left = crowd.left();
    let mut kinds: Vec<String> = left.keys().map(|kind| format!("{kind:?}")).collect();
    kinds.sort();
    assert_eq!(kinds, ["Dead", "Hanging"], "{left:?}");
    assert_eq!(left[&Kind::Dead], of_a_kind * DELIVERIES, "held, not used up");
    assert_eq!(crowd.opened - crowd.closed, crowd.lanes.breakers_open());
    assert_eq!((crowd.opened, crowd.closed), (of_a_kind * 3, of_a_kind));
    assert!(crowd.longest <= SECOND * 2, "a healthy one waited for {:?}", crowd.longest);
    // Nothing is remembered but of those that fail.
    let remembered = crowd.lanes.lanes.len();
    assert!(remembered <= of_a_kind * 3, "{remembered} lanes");
    assert!(size_of::<Lane>() <= 320, "{} bytes for each", size_of::<Lane>());
}
