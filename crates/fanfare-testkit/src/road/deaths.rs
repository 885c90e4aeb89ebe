//! Stops and crashes.

use fanfare::Error;
use fanfare::model::DeliveryState::{Concluded, Waiting};

use super::{Bench, Call, DELAYS, LEASE, Moment, Reply, SWEEP, event};

/// No new events; what is in flight ends and is recorded; what waits goes on at the next start.
pub async fn a_drained_engine_ends_what_is_in_flight_and_nothing_is_sent_twice(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 30).await;
    bench.rest().await;
    bench.engine().drain();
    let refused = bench.engine().emit(bench.company, event()).await;
    assert!(matches!(refused, Err(Error::Draining)));
    assert!(matches!(bench.engine().ready().await, Err(Error::Draining)));

    let answer = async {
        bench.rest().await;
        assert_eq!(bench.network.count(), 2, "nothing new is begun");
        bench.network.let_go(&Reply::Status(200));
    };
    let engine = bench.engine().clone();
    tokio::join!(engine.stop(std::future::pending()), answer);
    bench.network.always(Reply::Status(200));
    bench.start_again().await;
    assert_eq!(bench.tally(&shop).await, [0, 30, 0]);
    assert_eq!(bench.network.count(), 30);
    bench.every_request_is_recorded(&[shop]).await;
}

/// The grace is over: what still hangs is cut, and delivered after the next start.
pub async fn a_stop_cuts_what_outlasts_its_grace(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 2).await;
    bench.rest().await;
    bench.network.always(Reply::Status(200));
    bench.restart_at_once().await;
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
    assert_eq!(bench.sent_of_each().into_values().collect::<Vec<_>>(), [2, 2]);
}

/// A retry that was waiting keeps its time over a stop and a crash.
pub async fn what_waits_keeps_its_time_over_a_restart(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[500, 500]);
    bench.emit().await;
    bench.rest().await;
    bench.restart().await;
    assert_eq!(bench.network.count(), 1);
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!(bench.standing(&shop).await, (Waiting, 2));
    bench.crash().await;
    assert_eq!(bench.network.count(), 2);
    bench.pass(DELAYS[1] * 2).await;
    assert_eq!(bench.standing(&shop).await, (Concluded, 3));
}

/// Some are on the wire, some are not: all are delivered at once after the start, and only the
/// ones in flight were sent twice.
pub async fn a_crash_with_requests_on_the_wire_repeats_only_those(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.emit_many(bench.company, 5).await;
    bench.rest().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 50).await;
    bench.rest().await;
    let in_flight = bench.network.hanging();
    assert!((2..50).contains(&in_flight), "{in_flight}");
    bench.network.always(Reply::Status(200));
    bench.crash().await;
    assert_eq!(bench.tally(&shop).await, [0, 55, 0]);
    let twice = bench.sent_of_each().into_values().filter(|count| *count == 2).count();
    assert_eq!((twice, bench.network.count()), (in_flight, 55 + in_flight));
}

/// The receiver has answered, the disk does not know: it is told again, under the same id.
pub async fn a_crash_before_the_result_is_on_disk_sends_again(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.store().hold(Moment::Before(Call::Record));
    let id = bench.emit().await;
    bench.rest().await;
    assert_eq!(bench.network.count(), 1);
    bench.crash().await;
    assert_eq!(bench.standing(&shop).await, (Concluded, 1));
    let ids: Vec<String> = bench.network.sent().iter().map(super::Sent::webhook_id).collect();
    assert_eq!(ids, [id.to_string(), id.to_string()]);
}

/// The disk knows: whether the engine heard of it does not matter.
pub async fn a_crash_after_the_result_is_on_disk_sends_nothing(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.store().hold(Moment::After(Call::Record));
    bench.network.statuses(&[200, 500]);
    bench.emit_many(bench.company, 2).await;
    bench.rest().await;
    bench.crash().await;
    bench.pass(DELAYS[0] / 2).await;
    assert_eq!(bench.tally(&shop).await, [1, 1, 0]);
    assert_eq!(bench.network.count(), 2);
    bench.pass(DELAYS[0]).await;
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
    assert_eq!(bench.network.count(), 3);
}

/// Accepted, and then the process died before anybody was told: it is delivered all the same.
pub async fn a_crash_right_after_accepting_loses_nothing(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.store().hold(Moment::After(Call::Accept));
    let engine = bench.engine().clone();
    let company = bench.company;
    let caller = tokio::spawn(async move { engine.emit(company, event()).await });
    bench.rest().await;
    bench.crash().await;
    caller.abort();
    assert_eq!(bench.standing(&shop).await, (Concluded, 1));
    assert_eq!(bench.network.count(), 1);
}

/// State never goes backwards.
pub async fn what_is_concluded_stays_concluded(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.emit_many(bench.company, 10).await;
    bench.rest().await;
    let concluded = bench.deliveries(&shop).await;
    for _ in 0..3 {
        bench.crash().await;
        bench.pass(SWEEP).await;
        bench.restart().await;
        bench.pass(LEASE * 2).await;
    }
    assert_eq!(bench.deliveries(&shop).await, concluded);
    assert_eq!(bench.network.count(), 10);
}
