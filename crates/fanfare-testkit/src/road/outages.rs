//! Endpoints that fail for long: left alone, probed, given up, and back.

use std::time::Duration;

use fanfare::model::DeliveryState::{Concluded, Waiting};
use fanfare::model::Endpoint;

use super::{Bench, Reply, START, to_url};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Ten failures over a minute, of deliveries without retries: the breaker is open.
pub(super) async fn outage(bench: &Bench, shop: &Endpoint) {
    bench.network.always(Reply::Status(500));
    for at_once in [5, 5] {
        assert_eq!(bench.present(shop).await.health.failing_since, None);
        bench.emit_many(shop.company, at_once).await;
        bench.pass(MINUTE).await;
    }
    assert!(bench.engine().lane(shop.id).failing_since.is_some());
}

/// Ten failures in a row and a minute since the first: not before.
pub async fn the_breaker_opens_at_the_tenth_failure_over_a_minute(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    bench.network.always(Reply::Status(500));
    bench.emit_many(bench.company, 9).await;
    bench.pass(MINUTE - SECOND).await;
    bench.emit_many(bench.company, 5).await;
    bench.rest().await;
    assert_eq!(bench.network.count(), 14, "it is not a minute yet");
    assert_eq!(bench.present(&shop).await.health.failing_since, None);

    bench.pass(SECOND).await;
    bench.emit().await;
    bench.rest().await;
    assert_eq!(bench.network.count(), 15);
    assert_eq!(bench.present(&shop).await.health.failing_since, Some(START));
    let lane = bench.engine().lane(shop.id);
    assert_eq!(lane.next_probe, Some(START.plus(MINUTE + SECOND * 5)));
    let metrics = bench.engine().metrics();
    assert_eq!((metrics.breakers_open.get(), metrics.failing.get()), (1, 1));

    bench.emit_many(bench.company, 5).await;
    bench.pass(SECOND * 4).await;
    assert_eq!(bench.network.count(), 15, "it is left alone");
}

/// However long it lasts, what waits uses nothing up: one at a time is a probe, and shown as one.
pub async fn deliveries_are_held_through_an_outage_and_go_out_after_it(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    outage(bench, &shop).await;
    bench.emit_many(bench.company, 3).await;
    bench.pass_slowly(MINUTE * 10, SECOND).await;
    assert_eq!(bench.tally(&shop).await, [3, 0, 10]);
    let mut probes = 0;
    for delivery in bench.deliveries(&shop).await.iter().filter(|found| found.state == Waiting) {
        let attempts = bench.engine().attempts(shop.company, delivery.id).await.unwrap();
        assert!(attempts.iter().all(|attempt| attempt.probe));
        assert_eq!((delivery.attempts, delivery.errors()), (delivery.probes, delivery.probes));
        probes += delivery.probes;
    }
    assert!((18..=24).contains(&probes), "twice a minute: {probes}");

    bench.network.always(Reply::Status(200));
    bench.pass_slowly(SECOND * 35, SECOND).await;
    assert_eq!(bench.tally(&shop).await, [0, 3, 10]);
    assert_eq!(bench.present(&shop).await.health.failing_since, None);
    let metrics = bench.engine().metrics();
    assert_eq!((metrics.breakers_open.get(), metrics.recovered.get()), (0, 1));
    bench.every_request_is_recorded(&[shop]).await;
}

/// What waits for a retry in minutes is what there is to probe with; its retries are left to it.
pub async fn a_probe_is_a_delivery_brought_forward(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 10).await;
    bench.network.always(Reply::Status(500));
    bench.emit().await;
    while bench.present(&shop).await.health.failing_since.is_none() {
        bench.pass(SECOND * 5).await;
    }
    let held = bench.only(&shop).await;
    assert_eq!((bench.network.count(), held.attempts, held.probes), (10, 10, 0));
    assert!(held.due_at > bench.network.sent()[9].at.plus(MINUTE * 4));
    for probes in 1..=5 {
        bench.pass_slowly(SECOND * 30, SECOND).await;
        let probed = bench.only(&shop).await;
        assert!(probed.probes >= probes && probed.attempts == 10 + probed.probes);
        assert_eq!(probed.state, Waiting, "one retry is left to it");
    }
    bench.network.always(Reply::Status(200));
    bench.pass_slowly(SECOND * 30, SECOND).await;
    let done = bench.only(&shop).await;
    assert_eq!((done.state, done.errors()), (Concluded, 9 + done.probes));
    bench.every_request_is_recorded(&[shop]).await;
}

/// Also when a probe hangs at the moment of the recovery, for as long as a request may take.
pub async fn an_endpoint_is_back_within_a_minute_of_its_recovery(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    outage(bench, &shop).await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 4).await;
    for _ in 0..6 {
        bench.pass_slowly(SECOND * 45, SECOND).await;
        assert_eq!(bench.network.hanging(), 1, "one probe at a time");
        bench.network.let_go(&Reply::Silence("timeout: no answer"));
    }
    while bench.network.hanging() == 0 {
        bench.pass(SECOND).await;
    }
    bench.network.always(Reply::Status(200));
    bench.pass(SECOND * 15).await;
    bench.network.let_go(&Reply::Silence("timeout: no answer"));
    bench.pass_slowly(SECOND * 44, SECOND).await;
    assert_eq!(bench.tally(&shop).await, [0, 4, 10]);
}

/// Five days of nothing but failures: disabled, with the reason, and what waits is held.
pub async fn an_endpoint_that_fails_for_days_is_disabled_with_the_reason(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    outage(bench, &shop).await;
    bench.emit_many(bench.company, 2).await;
    let day = Duration::from_hours(24);
    bench.pass_slowly(day * 5 - MINUTE * 3, MINUTE * 120).await;
    assert_eq!(bench.present(&shop).await.disabled, None);
    bench.pass_slowly(MINUTE * 3, SECOND * 10).await;
    let disabled = bench.present(&shop).await.disabled.unwrap();
    assert_eq!(disabled.reason, "every attempt since 2023-11-14T22:13:20.000Z has failed");
    assert_eq!(bench.tally(&shop).await, [2, 0, 10]);
    let metrics = bench.engine().metrics();
    assert_eq!((metrics.breakers_open.get(), metrics.disabled.get()), (0, 1));

    let sent = bench.network.count();
    bench.pass_slowly(day, MINUTE * 120).await;
    assert_eq!(bench.network.count(), sent, "nothing is sent there any more");
    bench.network.always(Reply::Status(200));
    bench.enable(&shop).await;
    assert_eq!(bench.tally(&shop).await, [0, 2, 10], "it begins anew");
}

/// A restart is no recovery: it is probed, at once, and no more than that.
pub async fn a_restart_keeps_an_open_breaker_open(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    outage(bench, &shop).await;
    bench.emit_many(bench.company, 20).await;
    bench.pass_slowly(MINUTE, SECOND).await;
    for crash in [false, true] {
        let sent = bench.network.count();
        if crash {
            bench.crash().await;
        } else {
            bench.restart().await;
        }
        assert_eq!(bench.network.count(), sent + 1, "one probe");
        assert_eq!(bench.engine().lane(shop.id).failing_since, Some(START));
        assert_eq!(bench.engine().metrics().breakers_open.get(), 1);
    }
    assert_eq!(bench.tally(&shop).await, [20, 0, 10]);
    bench.network.always(Reply::Status(200));
    bench.pass_slowly(MINUTE, SECOND / 4).await;
    assert_eq!(bench.tally(&shop).await, [0, 20, 10]);
}

/// What was said of an address says nothing of the next one.
pub async fn an_endpoint_that_is_sent_elsewhere_begins_anew(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    outage(bench, &shop).await;
    bench.emit_many(bench.company, 8).await;
    bench.network.always(Reply::Status(200));
    let moved = bench.change(&shop, to_url("https://new.example/hooks")).await;
    assert_eq!(moved.health.failing_since, None);
    assert_eq!(bench.tally(&shop).await, [0, 8, 10]);
}

/// Hundreds of a company's endpoints hang, more than it may have attempts in flight: the one that
/// does not is served at once.
pub async fn a_companys_dead_endpoints_do_not_hold_up_its_healthy_one(bench: &mut Bench) {
    for _ in 0..300 {
        bench.endpoint_at(bench.company, "https://dead.example/").await;
    }
    bench.network.otherwise(|sent| match sent.url() {
        "https://dead.example/" => Reply::Hang,
        _ => Reply::Status(200),
    });
    bench.emit_many(bench.company, 3).await;
    bench.pass_slowly(SECOND * 4, SECOND).await;
    assert_eq!(bench.network.hanging(), 600, "each has begun");
    let well = bench.endpoint().await;
    bench.emit_many(bench.company, 10).await;
    assert_eq!(bench.tally(&well).await, [0, 10, 0]);
}
