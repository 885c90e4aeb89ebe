//! Lanes that wait for time to pass: paces, holds, breakers, attempts that hang.

use super::*;
use crate::policy::breaker::FAILURES;

const MINUTE: Duration = Duration::from_mins(1);

fn long() -> Limits {
    Limits { lease: MINUTE * 10, window: 100, ..wide() }
}

fn with(key: LaneKey, flow: Flow, health: Health) -> Claim {
    let endpoint = Endpoint { flow, health, ..endpoint(key) };
    Claim { endpoint: Arc::new(endpoint), ..claim(key) }
}

fn paced(key: LaneKey, rate: u32) -> Claim {
    with(key, Flow { rate_limit: Some(rate), ..Flow::default() }, Health::default())
}

/// Ten failures over a minute, one after the other, of a lane that holds more than that.
fn open(lanes: &mut Field, key: LaneKey) -> Consequence {
    let mut last = Consequence::default();
    for n in 0..FAILURES {
        assert_eq!((last.change, last.health), (None, None));
        let at = if n + 1 == FAILURES { NOW.plus(MINUTE) } else { NOW };
        lanes.next_claim(at).unwrap();
        last = lanes.end_at(key, Ending::Badly, at);
        lanes.recorded();
    }
    last
}

/// Room for a probe.
fn probe(key: LaneKey) -> Room {
    Room { key, limit: 1, earliest: EVER, probe: true }
}

#[test]
fn slow_successes_lead_to_eight_in_flight() {
    let only = key(1, 1);
    let mut lanes = holding(Limits { window: 100, ..wide() }, &[(only, 100)]);
    let slow = SECOND + Duration::from_millis(1);
    let mut in_flight = Vec::new();
    for n in 0..4 {
        let now = NOW.plus(slow * n);
        send_all(&mut lanes, now);
        in_flight.push(lanes.passes.len());
        while !lanes.passes.is_empty() {
            lanes.end_at(only, Ending::Well, now.plus(slow));
            lanes.recorded();
        }
    }
    assert_eq!(in_flight, [16, 8, 8, 8]);
}

#[test]
fn what_hangs_gives_its_place_back_after_a_second() {
    let (dead, well) = (key(1, 1), key(1, 2));
    let mut lanes = holding(small(), &[(dead, 8)]);
    assert_eq!(send_all(&mut lanes, NOW).len(), 4, "half of what there is");
    lanes.claimed(claim(well), NOW);
    assert!(lanes.next_claim(NOW).is_none());
    assert!(lanes.sooner(), "somebody waits for a place");
    assert_eq!(lanes.next_wake(), Some(NOW.plus(SECOND)));
    assert_eq!(send_all(&mut lanes, NOW.plus(SECOND)), [dead, well, dead, dead]);
    for _ in 0..8 {
        let key = lanes.passes[0].key;
        end(&mut lanes, key, true);
    }
    assert_eq!((lanes.in_flight, lanes.starts.slow(), lanes.turns.len()), (0, 0, 1));
}

#[test]
fn there_is_an_end_to_what_may_hang() {
    let dead = key(1, 1);
    let limits = Limits { slow_in_flight: 6, window: 100, lane_in_flight_at_start: 40, ..small() };
    let mut lanes = holding(limits, &[(dead, 30)]);
    let sent: Vec<usize> =
        (0..4).map(|n| send_all(&mut lanes, NOW.plus(SECOND * n)).len()).collect();
    assert_eq!(sent, [4, 4, 2, 0], "six of them slow, four of eight are not");
    assert_eq!(lanes.next_wake(), None, "no time will tell");
    end(&mut lanes, dead, true);
    assert_eq!(send_all(&mut lanes, NOW.plus(SECOND * 4)).len(), 1);
}

#[test]
fn a_lane_whose_breaker_opens_gives_its_window_back_and_asks_for_probes() {
    let only = key(1, 1);
    let mut lanes = holding(long(), &[(only, 30)]);
    let opened = open(&mut lanes, only);
    assert_eq!(opened.change, Some(Change::Opened { since: NOW }));
    assert_eq!(opened.health.unwrap().failing_since, Some(NOW));
    assert_eq!((opened.back.len(), lanes.breakers_open()), (20, 1));
    let now = NOW.plus(MINUTE);
    assert!(!lanes.admits(only.endpoint, now));
    lanes.stored(only, now.plus(MINUTE * 9));
    let probe_at = now.plus(SECOND * 5);
    assert_eq!(lanes.next_wake(), Some(probe_at), "what waits for a retry is brought forward");
    assert_eq!(rooms(&mut lanes, probe_at, 9), [probe(only)]);
    assert!(lanes.claimed(claim(only), probe_at).is_none());
    assert!(lanes.claimed(claim(only), probe_at).is_some(), "one is enough");
    lanes.filled(only, None);
    assert!(lanes.next_turn(probe_at).unwrap().pass.probe);
    assert!(lanes.claimed(claim(only), probe_at).is_some(), "one at a time");
    lanes.stored(only, probe_at);
    assert!(lanes.rooms(probe_at.plus(MINUTE), 9).is_empty());

    let back = lanes.end_at(only, Ending::Well, probe_at.plus(SECOND));
    assert_eq!(back.change, Some(Change::Closed { since: NOW }));
    assert_eq!((back.health, lanes.breakers_open()), (Some(Health::default()), 0));
    let rooms = rooms(&mut lanes, probe_at.plus(SECOND), 9);
    assert_eq!(rooms, [room(only, 10)], "a slow start needs a small window");
}

#[test]
fn a_lane_that_has_nothing_to_probe_with_waits_for_something() {
    let only = key(1, 1);
    let mut lanes = Field::new(wide());
    let (later, failing_since) = (NOW.plus(MINUTE * 60), Some(NOW));
    lanes.found(only, later, Health { failing_since, held_until: None });
    assert_eq!(lanes.breakers_open(), 1);
    assert_eq!(rooms(&mut lanes, NOW, 9), [probe(only)], "at once, as it was before");
    lanes.filled(only, Some(later));
    assert_eq!(lanes.next_wake(), Some(later), "it is scheduled, and not to be brought forward");
    lanes.stored(only, NOW.plus(SECOND));
    assert_eq!(rooms(&mut lanes, NOW, 9), [probe(only)]);
}

#[test]
fn an_endpoint_that_fails_for_long_is_given_up() {
    let only = key(1, 1);
    let mut lanes = holding(Limits { disable_after: MINUTE * 2, ..long() }, &[(only, 20)]);
    open(&mut lanes, only);
    let mut now = NOW.plus(MINUTE);
    for probes in 1..=10 {
        lanes.stored(only, now);
        now = lanes.next_wake().unwrap();
        let rooms = lanes.rooms(now, 9);
        lanes.claimed(claim(only), now);
        lanes.filled(rooms[0].key, None);
        lanes.next_turn(now).unwrap();
        let change = lanes.end_at(only, Ending::Badly, now).change;
        lanes.recorded();
        if probes == 10 {
            assert_eq!(change, Some(Change::GivenUp { since: NOW }));
            assert!(lanes.changed(disabled(only, now), now).is_empty());
            lanes.resume(only);
            assert_eq!((lanes.lanes.len(), lanes.breakers_open()), (0, 0));
            return;
        }
        assert_eq!(change, None);
    }
    panic!("it is never given up");
}

#[test]
fn what_was_begun_before_a_change_says_nothing_about_what_is_now() {
    let only = key(1, 1);
    let mut lanes = holding(Limits { window: 100, ..wide() }, &[(only, 30)]);
    send_all(&mut lanes, NOW);
    lanes.begin_anew(only.endpoint);
    for n in 0..16 {
        let at = NOW.plus(MINUTE * n);
        assert_eq!(lanes.end_at(only, Ending::Badly, at).change, None);
        lanes.recorded();
    }
    assert_eq!(lanes.breakers_open(), 0);
}

#[test]
fn a_hold_shuts_a_lane_until_it_ends() {
    let only = key(1, 1);
    let mut lanes = holding(wide(), &[(only, 8)]);
    lanes.next_turn(NOW).unwrap();
    let until = NOW.plus(MINUTE);
    let pass = lanes.passes.pop().unwrap();
    let held = lanes.ended(pass, End { ending: Ending::Badly, at: NOW, hold: Some(until) });
    assert_eq!(held.health, Some(Health { failing_since: None, held_until: Some(until) }));
    assert_eq!((held.back.len(), held.change), (7, None));
    lanes.stored(only, NOW);
    assert!(lanes.claimed(claim(only), NOW).is_some());
    assert!(!lanes.admits(only.endpoint, NOW));
    assert_eq!(lanes.oldest_due(NOW), None, "nothing could be sent");
    assert_eq!(lanes.next_wake(), Some(until));
    assert_eq!(lanes.view(only.endpoint, None, NOW).held_until, Some(until));
    assert_eq!(rooms(&mut lanes, until, 9), [room(only, 8)]);
}

#[test]
fn a_short_hold_keeps_the_window() {
    let only = key(1, 1);
    let mut lanes = holding(wide(), &[(only, 8)]);
    lanes.next_turn(NOW).unwrap();
    let until = NOW.plus(SECOND);
    let pass = lanes.passes.pop().unwrap();
    let held = lanes.ended(pass, End { ending: Ending::Badly, at: NOW, hold: Some(until) });
    assert!(held.back.is_empty());
    assert!(lanes.next_claim(NOW).is_none());
    assert_eq!(lanes.next_wake(), Some(until));
    assert_eq!(send_all(&mut lanes, until).len(), 1, "and then slowly");
}

#[test]
fn a_paced_lane_waits_for_its_time_and_leaves_most_in_the_store() {
    let only = key(1, 1);
    let mut lanes = Field::new(Limits { window: 100, ..wide() });
    let turned_away = (0..30).filter(|_| lanes.claimed(paced(only, 10), NOW).is_some()).count();
    assert_eq!(turned_away, 10, "two seconds' worth are held");
    assert!(!lanes.admits(only.endpoint, NOW));
    let mut sent = Vec::new();
    let mut now = NOW;
    while now < NOW.plus(SECOND) {
        while lanes.next_claim(now).is_some() {
            sent.push(now.since(NOW).as_millis());
            end(&mut lanes, only, true);
        }
        now = lanes.next_wake().unwrap();
    }
    assert_eq!(sent, [0, 99, 199, 299, 399, 499, 600, 700, 800, 900]);
}

#[test]
fn a_paced_lane_is_forgotten_once_its_pace_is_paid_for() {
    let only = key(1, 1);
    let mut lanes = Field::new(wide());
    lanes.claimed(paced(only, 1), NOW);
    lanes.next_claim(NOW).unwrap();
    end(&mut lanes, only, true);
    lanes.claimed(paced(only, 1), NOW);
    assert!(lanes.next_claim(NOW.plus(SECOND / 2)).is_none(), "it is remembered");
    let at = lanes.next_wake().unwrap();
    assert_eq!(at, NOW.plus(SECOND));
    lanes.next_claim(at).unwrap();
    end(&mut lanes, only, true);
    let forgotten_at = lanes.next_wake().unwrap();
    assert!(lanes.next_claim(forgotten_at).is_none());
    assert!(lanes.inner.lanes.is_empty());
    assert_eq!(lanes.next_wake(), None);
}

#[test]
fn the_store_keeps_what_may_still_be_superseded() {
    let only = key(1, 1);
    let mut lanes = Field::new(Limits { window: 100, ..wide() });
    let flow = Flow { coalesce: Some(SECOND), ..Flow::default() };
    let kept =
        (0..30).filter(|_| lanes.claimed(with(only, flow, Health::default()), NOW).is_none());
    assert_eq!(kept.count(), 16);
}
