//! Lanes, in the domain's words.

mod crowd;
mod flow;
mod model;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;

use uuid::Uuid;

use super::*;
use crate::model::{Address, CompanyId, Disabled, Event, EventId, Flow, Health, Sealed, Shape};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
static URL: LazyLock<Address> = LazyLock::new(|| "https://shop.example/hooks".parse().unwrap());

fn small() -> Limits {
    let (lease, attempt) = (Duration::from_secs(60), Duration::from_secs(10));
    Limits {
        in_flight: 8,
        lane_in_flight: 20,
        lane_in_flight_at_start: 16,
        window: 8,
        window_bytes: 1000,
        lease,
        attempt,
        ..Limits::default()
    }
}

fn wide() -> Limits {
    Limits { in_flight: 1000, ..small() }
}

fn key(company: u128, endpoint: u128) -> LaneKey {
    LaneKey {
        company: CompanyId::from_uuid(Uuid::from_u128(company)),
        endpoint: EndpointId::from_uuid(Uuid::from_u128(endpoint)),
    }
}

fn endpoint(key: LaneKey) -> Endpoint {
    Endpoint {
        id: key.endpoint,
        company: key.company,
        url: URL.clone(),
        secret: Sealed(Vec::new()),
        previous: None,
        headers: None,
        tls: None,
        filter: None,
        events: Vec::new(),
        shape: Shape::default(),
        max_retries: 5,
        flow: Flow::default(),
        operational: false,
        disabled: None,
        health: Health::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

fn disabled(key: LaneKey, at: Timestamp) -> Endpoint {
    let disabled = Some(Disabled { at, reason: "off".into() });
    Endpoint { disabled, updated_at: at, ..endpoint(key) }
}

fn claim_of_bytes(key: LaneKey, bytes: usize) -> Claim {
    let (names, payload) = ((key.company, EventId::new(NOW)), Bytes::from(vec![b'1'; bytes]));
    let event = Event::new(names, "order.created".parse().unwrap(), payload, NOW);
    Claim {
        delivery: DeliveryId::new(NOW),
        fence: 1,
        due_at: NOW,
        attempts: 0,
        probes: 0,
        sequence: 1,
        ordered: false,
        shape: Shape::default(),
        event: Arc::new(event),
        endpoint: Arc::new(endpoint(key)),
    }
}

fn claim(key: LaneKey) -> Claim {
    claim_of_bytes(key, 1)
}

/// Lanes and the attempts that they have begun.
struct Field {
    inner: Lanes,
    passes: Vec<Pass>,
}

impl std::ops::Deref for Field {
    type Target = Lanes;

    fn deref(&self) -> &Lanes {
        &self.inner
    }
}

impl std::ops::DerefMut for Field {
    fn deref_mut(&mut self) -> &mut Lanes {
        &mut self.inner
    }
}

impl Field {
    fn new(limits: Limits) -> Field {
        Field { inner: Lanes::new(limits), passes: Vec::new() }
    }

    fn next_turn(&mut self, now: Timestamp) -> Option<Turn> {
        let turn = self.inner.next_claim(now)?;
        self.passes.push(turn.pass);
        Some(turn)
    }

    fn next_claim(&mut self, now: Timestamp) -> Option<Claim> {
        self.next_turn(now).map(|turn| turn.claim)
    }

    /// The oldest attempt of a lane ends, and its result goes to the disk.
    fn end_at(&mut self, key: LaneKey, ending: Ending, at: Timestamp) -> Consequence {
        let oldest = self.passes.iter().position(|pass| pass.key == key).unwrap();
        let pass = self.passes.remove(oldest);
        self.inner.ended(pass, End { ending, at, hold: None })
    }
}

/// Lanes that hold so many claims each.
fn holding(limits: Limits, claims: &[(LaneKey, usize)]) -> Field {
    let mut lanes = Field::new(limits);
    for (key, count) in claims {
        for _ in 0..*count {
            assert!(lanes.claimed(claim(*key), NOW).is_none());
        }
    }
    lanes
}

/// Sends until nobody may send any more; returns for which lanes.
fn send_all(lanes: &mut Field, now: Timestamp) -> Vec<LaneKey> {
    std::iter::from_fn(|| lanes.next_claim(now)).map(|claim| claim.endpoint.lane()).collect()
}

fn end(lanes: &mut Field, key: LaneKey, well: bool) {
    end_with(lanes, key, if well { Ending::Well } else { Ending::Badly });
    lanes.recorded();
}

fn end_with(lanes: &mut Field, key: LaneKey, ending: Ending) -> Consequence {
    let now = lanes.now;
    lanes.end_at(key, ending, now)
}

/// Room for so many.
fn room(key: LaneKey, limit: u32) -> Room {
    Room { key, limit, earliest: EVER, probe: false }
}

/// What a room is that knows nothing of the store.
const EVER: Timestamp = Timestamp(i64::MIN);

/// The rooms there are, from whenever on they are to be filled.
fn rooms(lanes: &mut Field, now: Timestamp, limit: usize) -> Vec<Room> {
    let rooms = lanes.rooms(now, limit).into_iter();
    rooms.map(|room| Room { earliest: EVER, ..room }).collect()
}

#[test]
fn a_lane_is_filled_from_the_earliest_that_it_may_have_in_the_store() {
    let only = key(1, 1);
    let mut lanes = Field::new(small());
    let earliest = |lanes: &mut Field, now| lanes.rooms(now, 9).remove(0).earliest;
    lanes.stored(only, NOW);
    assert_eq!(earliest(&mut lanes, NOW), EVER, "it may have had others before");
    let later = NOW.plus(SECOND * 9);
    lanes.filled(only, Some(later));
    assert_eq!(lanes.rooms(NOW.plus(SECOND), 9), []);
    let sooner = NOW.plus(SECOND * 5);
    lanes.stored(only, sooner);
    let room = lanes.rooms(later, 9).remove(0);
    assert_eq!(room.earliest, sooner);
    lanes.unfilled(&room, later.plus(SECOND));
    assert_eq!(earliest(&mut lanes, later.plus(SECOND)), sooner, "nothing was looked at");
    lanes.stored(only, later);
    lanes.filled(only, Some(later.plus(SECOND)));
    assert_eq!(earliest(&mut lanes, later), later, "it came while the store was asked");
    lanes.filled(only, Some(later.plus(SECOND * 9)));
    lanes.look_into(only, later);
    assert_eq!(earliest(&mut lanes, later), EVER, "nobody knows since when");
}

#[test]
fn companies_take_turns_and_so_do_the_endpoints_of_each() {
    let (a1, a2, b1) = (key(1, 1), key(1, 2), key(2, 3));
    let mut lanes = holding(wide(), &[(a1, 4), (a2, 2), (b1, 2)]);
    assert_eq!(send_all(&mut lanes, NOW), [a1, b1, a2, b1, a1, a2, a1, a1]);
}

#[test]
fn an_unknown_endpoint_starts_small_grows_with_success_and_halves_with_failure() {
    let only = key(1, 1);
    let mut lanes = holding(wide(), &[(only, 100)]);
    assert_eq!(send_all(&mut lanes, NOW).len(), 16);
    end(&mut lanes, only, true);
    assert_eq!(send_all(&mut lanes, NOW).len(), 2, "its place and one more");
    for _ in 0..10 {
        end(&mut lanes, only, true);
    }
    assert_eq!(send_all(&mut lanes, NOW).len(), 10 + 3, "up to twenty");
    end(&mut lanes, only, false);
    assert_eq!(send_all(&mut lanes, NOW).len(), 0, "ten may be in flight, nineteen are");
    for _ in 0..18 {
        end(&mut lanes, only, false);
    }
    assert_eq!(send_all(&mut lanes, NOW).len(), 0, "one is in flight");
    end(&mut lanes, only, false);
    assert_eq!(send_all(&mut lanes, NOW).len(), 1);
}

#[test]
fn a_place_in_the_turns_is_worth_nothing_once_the_cap_has_shrunk() {
    let only = key(1, 1);
    let mut lanes = holding(wide(), &[(only, 30)]);
    for _ in 0..15 {
        lanes.next_claim(NOW).unwrap();
    }
    end(&mut lanes, only, false);
    assert!(lanes.next_claim(NOW).is_none(), "fourteen are in flight, eight may be");
}

#[test]
fn attempts_in_flight_are_bounded_and_shared_so_that_every_company_finds_a_place() {
    let companies: Vec<LaneKey> = (0..6).map(|n| key(n, n)).collect();
    let mut lanes = Field::new(small());
    let mut in_flight = Vec::new();
    for company in &companies {
        for _ in 0..8 {
            lanes.claimed(claim(*company), NOW);
        }
        in_flight.push(send_all(&mut lanes, NOW).len());
    }
    // What the first leave free, the later ones take in turn.
    assert_eq!(in_flight, [4, 2, 1, 1, 0, 0]);
    end(&mut lanes, companies[0], false);
    assert_eq!(send_all(&mut lanes, NOW), [companies[4]]);
}

#[test]
fn results_that_wait_for_the_disk_are_bounded() {
    let only = key(1, 1);
    let mut lanes = Field::new(small());
    let mut sent = 0;
    for _ in 0..100 {
        lanes.claimed(claim(only), NOW);
        if lanes.next_claim(NOW).is_some() {
            end_with(&mut lanes, only, Ending::Well);
            sent += 1;
        }
    }
    assert_eq!(sent, 8 * UNRECORDED_FACTOR);
    lanes.recorded();
    assert!(lanes.next_claim(NOW).is_some());
}

#[test]
fn a_full_window_admits_nothing_and_is_filled_once_it_is_half_empty() {
    let only = key(1, 1);
    let mut lanes = holding(wide(), &[(only, 7)]);
    assert!(lanes.admits(only.endpoint, NOW));
    lanes.claimed(claim(only), NOW);
    assert!(!lanes.admits(only.endpoint, NOW));

    lanes.stored(only, NOW);
    assert!(lanes.rooms(NOW, 9).is_empty());
    for _ in 0..3 {
        lanes.next_claim(NOW).unwrap();
        assert!(!lanes.sooner());
    }
    lanes.next_claim(NOW).unwrap();
    assert!(lanes.sooner(), "whoever fills lanes must hear of it");
    assert_eq!(lanes.next_wake(), Some(NOW));
    assert_eq!(rooms(&mut lanes, NOW, 9), [room(only, 4)]);
    assert!(!lanes.admits(only.endpoint, NOW), "what comes now comes later");
    lanes.filled(only, None);
    assert!(lanes.admits(only.endpoint, NOW));
}

#[test]
fn what_waits_in_the_store_is_asked_for_when_it_falls_due() {
    let (first, second) = (key(1, 1), key(1, 2));
    let mut lanes = Field::new(small());
    let later = NOW.plus(SECOND);
    lanes.stored(second, later);
    assert!(lanes.sooner());
    lanes.stored(second, later.plus(SECOND));
    assert!(!lanes.sooner());
    lanes.stored(first, NOW);
    assert!(lanes.sooner());
    assert!(lanes.admits(second.endpoint, NOW), "nothing of it is due yet");
    assert!(!lanes.admits(second.endpoint, later), "what is due goes first");

    assert_eq!(lanes.next_wake(), Some(NOW));
    assert_eq!(rooms(&mut lanes, NOW, 9), [room(first, 8)]);
    assert_eq!(lanes.next_wake(), Some(later));
    lanes.filled(first, Some(later));
    assert_eq!(lanes.rooms(later, 1).len(), 1);
    assert_eq!(lanes.rooms(later, 9).len(), 1);
}

#[test]
fn the_store_is_not_asked_for_everything_at_once() {
    let mut lanes = Field::new(Limits { window: 1000, ..small() });
    for n in 0..10 {
        lanes.claimed(claim(key(n, n)), NOW);
        lanes.stored(key(n, n), NOW);
    }
    let limits: Vec<u32> = lanes.rooms(NOW, 64).iter().map(|room| room.limit).collect();
    assert_eq!(limits, [999, 999, 50]);
}

#[test]
fn bytes_are_shared_so_that_every_lane_may_take_something() {
    let (hog, other) = (key(1, 1), key(2, 2));
    let mut lanes = holding(small(), &[]);
    lanes.claimed(claim_of_bytes(hog, 490), NOW);
    assert!(lanes.admits(hog.endpoint, NOW));
    lanes.claimed(claim_of_bytes(hog, 490), NOW);
    assert!(!lanes.admits(hog.endpoint, NOW), "it holds more than is left");
    lanes.stored(hog, NOW);
    assert!(lanes.rooms(NOW, 9).is_empty());

    lanes.claimed(claim_of_bytes(other, 490), NOW);
    assert!(!lanes.admits(other.endpoint, NOW), "all are taken");
    assert!(lanes.admits(key(2, 3).endpoint, NOW), "but who has none may take one");

    lanes.next_claim(NOW).unwrap();
    lanes.next_claim(NOW).unwrap();
    assert!(lanes.sooner());
    assert_eq!(rooms(&mut lanes, NOW, 9), [room(hog, 7)]);
}

#[test]
fn a_disabled_endpoint_gives_its_claims_back_and_is_filled_when_enabled() {
    let only = key(1, 1);
    let mut lanes = holding(small(), &[(only, 8)]);
    lanes.stored(only, NOW);
    let later = NOW.plus(SECOND);
    assert_eq!(lanes.changed(disabled(only, later), later).len(), 8);
    assert!(lanes.next_claim(later).is_none());
    assert!(lanes.claimed(claim(only), NOW).is_some(), "a claim that was on its way");

    let enabled = Endpoint { updated_at: later, ..endpoint(only) };
    assert!(lanes.changed(enabled, later).is_empty());
    lanes.stored(only, later);
    assert_eq!(rooms(&mut lanes, later, 9), [room(only, 8)]);
}

#[test]
fn claims_go_by_what_their_endpoint_is_now_whenever_they_arrive() {
    let only = key(1, 1);
    let at = NOW.plus(SECOND);
    let moved =
        Endpoint { url: "https://new.example/".parse().unwrap(), updated_at: at, ..endpoint(only) };
    let mut lanes = holding(small(), &[(only, 1)]);
    lanes.changed(moved.clone(), at);
    lanes.claimed(claim(only), at);
    for _ in 0..2 {
        assert_eq!(lanes.next_claim(at).unwrap().endpoint.url, moved.url);
        end(&mut lanes, only, true);
    }
    assert!(lanes.lanes.is_empty());
    lanes.claimed(claim(only), at);
    assert_eq!(lanes.next_claim(at).unwrap().endpoint.url, moved.url);

    // Long after, a claim that knows better is believed.
    let newest = Endpoint { updated_at: at.plus(SECOND), ..endpoint(only) };
    let mut fresh = claim(only);
    fresh.endpoint = Arc::new(newest.clone());
    lanes.claimed(fresh, at);
    assert_eq!(lanes.next_claim(at).unwrap().endpoint.url, newest.url);
}

#[test]
fn nothing_is_sent_to_who_is_gone_until_that_is_on_disk() {
    let only = key(1, 1);
    let mut lanes = holding(wide(), &[(only, 30)]);
    assert_eq!(send_all(&mut lanes, NOW).len(), 16);
    end_with(&mut lanes, only, Ending::Gone);
    lanes.recorded();
    for n in 0..15 {
        end(&mut lanes, only, n % 2 == 0);
    }
    assert!(lanes.next_claim(NOW).is_none());
    lanes.resume(only);
    assert_eq!(send_all(&mut lanes, NOW), [only], "it was not so: it begins anew");
}

#[test]
fn a_claim_whose_lease_may_end_too_soon_is_left_to_the_store() {
    let only = key(1, 1);
    let mut lanes = holding(small(), &[(only, 8)]);
    let last = NOW.plus(Duration::from_secs(50));
    assert!(lanes.next_claim(last).is_some());
    assert!(lanes.next_claim(last.plus(Duration::from_millis(1))).is_none());
    let lease_end = NOW.plus(Duration::from_secs(60));
    assert_eq!(lanes.next_wake(), Some(lease_end));
    assert_eq!(rooms(&mut lanes, lease_end, 9), [room(only, 8)]);
}

#[test]
fn a_lane_whose_results_the_store_refuses_is_not_filled() {
    let only = key(1, 1);
    let mut lanes = holding(small(), &[(only, 1)]);
    lanes.next_claim(NOW).unwrap();
    end_with(&mut lanes, only, Ending::Well);
    lanes.refused(only);
    lanes.stored(only, NOW);
    assert!(lanes.rooms(NOW, 9).is_empty());
    lanes.settled(only);
    lanes.recorded();
    assert!(lanes.sooner());
    assert_eq!(lanes.rooms(NOW, 9).len(), 1);
}

#[test]
fn a_lane_with_nothing_to_do_is_forgotten_however_it_came_to_that() {
    let mut lanes = Field::new(wide());
    for n in 0..100 {
        let lane = key(n % 7, n);
        let at = NOW.plus(SECOND);
        lanes.claimed(claim(lane), NOW);
        match n % 4 {
            0 => drop(lanes.changed(disabled(lane, at), at)),
            1 => lanes.stored(lane, NOW),
            _ => {}
        }
    }
    while let Some(claim) = lanes.next_claim(NOW) {
        end(&mut lanes, claim.endpoint.lane(), true);
    }
    for room in lanes.rooms(NOW, 1000) {
        lanes.filled(room.key, None);
    }
    assert!(lanes.next_claim(NOW).is_none());
    assert!(lanes.lanes.is_empty(), "{:?}", lanes.lanes);
    assert!(lanes.due.is_empty());
    assert_eq!((lanes.turns.len(), lanes.window_bytes, lanes.in_flight), (0, 0, 0));
    assert_eq!(lanes.recent.len(), 25);
    assert!(lanes.rooms(NOW.plus(Duration::from_mins(5)), 1).is_empty());
    assert_eq!(lanes.recent.len(), 0);
}

#[test]
fn a_lane_that_was_emptied_while_it_had_a_place_gets_no_second_one() {
    let (only, other) = (key(1, 1), key(1, 2));
    let mut lanes = holding(wide(), &[(only, 1)]);
    lanes.changed(disabled(only, NOW), NOW);
    lanes.changed(endpoint(only), NOW);
    for _ in 0..3 {
        lanes.claimed(claim(only), NOW);
        lanes.claimed(claim(other), NOW);
    }
    assert_eq!(send_all(&mut lanes, NOW), [only, other, only, other, only, other]);
}

#[test]
fn at_the_end_every_claim_is_given_back() {
    let (a, b) = (key(1, 1), key(2, 2));
    let mut lanes = holding(wide(), &[(a, 3), (b, 2)]);
    lanes.next_claim(NOW).unwrap();
    assert_eq!(lanes.clear().len(), 4);
    assert!(lanes.next_claim(NOW).is_none());
    assert_eq!(lanes.in_flight, 1);
}

#[test]
fn the_oldest_due_is_the_one_that_could_be_sent_the_longest() {
    let (a, b) = (key(1, 1), key(2, 2));
    let mut lanes = Field::new(small());
    assert_eq!(lanes.oldest_due(NOW), None);
    lanes.stored(a, NOW.plus(SECOND));
    assert_eq!(lanes.oldest_due(NOW), None);
    lanes.claimed(claim(b), NOW);
    assert_eq!(lanes.oldest_due(NOW.plus(SECOND)), Some(NOW));
    lanes.next_claim(NOW).unwrap();
    assert_eq!(lanes.oldest_due(NOW.plus(SECOND)), Some(NOW.plus(SECOND)));
}

#[test]
fn a_week_of_a_hundred_thousand_endpoints_passes_quickly() {
    const ENDPOINTS: u64 = 100_000;
    let mut lanes = Field::new(Limits::default());
    let minute = |n: u64| NOW.plus(Duration::from_mins(n * 7 % (7 * 24 * 60)));
    for n in 0..ENDPOINTS {
        lanes.stored(key(u128::from(n % 1000), u128::from(n)), minute(n));
    }
    let mut sent = 0;
    while let Some(now) = lanes.next_wake() {
        for room in lanes.rooms(now, 64) {
            lanes.claimed(claim(room.key), now);
            lanes.filled(room.key, None);
        }
        while let Some(claim) = lanes.next_claim(now) {
            end(&mut lanes, claim.endpoint.lane(), sent % 3 != 0);
            sent += 1;
        }
    }
    assert_eq!(sent, ENDPOINTS);
    assert!(lanes.lanes.is_empty());
}

#[test]
fn a_lane_shows_its_place_to_a_delivery_that_waits_in_its_window() {
    let only = key(1, 1);
    let mut lanes = Lanes::new(Limits { lane_in_flight_at_start: 1, ..small() });
    let claims: Vec<Claim> = (0..3).map(|_| claim(only)).collect();
    for claim in &claims {
        assert!(lanes.claimed(claim.clone(), NOW).is_none());
    }
    lanes.next_claim(NOW).unwrap();
    let places: Vec<_> = claims
        .iter()
        .map(|claim| lanes.view(only.endpoint, Some(claim.delivery), NOW).place)
        .collect();
    assert_eq!(places, [None, Some(0), Some(1)]);
    assert_eq!(lanes.view(only.endpoint, Some(claims[0].delivery), NOW).in_flight, 1);
    assert_eq!(lanes.view(key(1, 2).endpoint, Some(claims[0].delivery), NOW).place, None);
}

#[test]
fn what_is_withdrawn_leaves_its_window_and_what_is_in_flight_stays() {
    let only = key(1, 1);
    let mut lanes = Field::new(Limits { in_flight: 1, ..small() });
    let claims: Vec<Claim> = (0..3).map(|_| claim_of_bytes(only, 400)).collect();
    let ids: Vec<DeliveryId> = claims.iter().map(|claim| claim.delivery).collect();
    for claim in claims {
        assert!(lanes.claimed(claim, NOW).is_none());
    }
    assert_eq!(lanes.next_claim(NOW).map(|claim| claim.delivery), Some(ids[0]));
    assert!(!lanes.admits(only.endpoint, NOW), "no bytes are left");
    let taken = lanes.withdraw(only.endpoint, &ids[..2]);
    assert_eq!(taken.iter().map(|claim| claim.delivery).collect::<Vec<_>>(), ids[1..2]);
    assert!(lanes.admits(only.endpoint, NOW), "its bytes are free");
    assert!(lanes.withdraw(key(1, 2).endpoint, &ids).is_empty());
    end(&mut lanes, only, true);
    assert_eq!(lanes.next_claim(NOW).map(|claim| claim.delivery), Some(ids[2]));
}

#[test]
fn what_was_not_sent_after_all_gives_its_place_back_and_moves_no_cap() {
    let only = key(1, 1);
    let limits = Limits { lane_in_flight_at_start: 1, ..wide() };
    let mut lanes = holding(limits, &[(only, 3)]);
    for _ in 0..2 {
        assert_eq!(send_all(&mut lanes, NOW), [only]);
        let pass = lanes.passes.remove(0);
        lanes.unsent(pass, NOW);
    }
    assert_eq!(send_all(&mut lanes, NOW), [only]);
    end(&mut lanes, only, true);
    assert!(lanes.lanes.is_empty(), "nothing is left to do");
}
