//! Stores that refuse, transports that panic, history that grows old.

use std::time::Duration;

use fanfare::Error;
use fanfare::model::DeliveryState::{Concluded, Waiting};
use fanfare::store::StoreError;

use super::{BREATH, Bench, Call, LEASE, Moment, Reply, SWEEP, event};

const SECOND: Duration = Duration::from_secs(1);

fn full() -> StoreError {
    StoreError::Full("no room".to_owned())
}

/// No event is taken, results wait; once there is room everything goes on by itself.
pub async fn a_full_disk_refuses_events_and_takes_results_later(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 30).await;
    bench.rest().await;
    bench.store().refuse(full());
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    bench.pass(SECOND * 5).await;
    let refused = bench.engine().emit(bench.company, event()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    assert!(matches!(bench.engine().ready().await, Err(Error::Unavailable(_))));
    assert_eq!(bench.tally(&shop).await, [30, 0, 0]);

    bench.store().work_again();
    bench.pass(SECOND).await;
    assert_eq!(bench.tally(&shop).await, [0, 30, 0]);
    assert_eq!(bench.network.count(), 30);
    assert!(bench.engine().ready().await.is_ok());
    bench.emit().await;
    bench.every_request_is_recorded(&[shop]).await;
}

/// Leases end while results wait: still nothing is sent twice.
pub async fn a_disk_full_for_longer_than_a_lease_costs_no_duplicate(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 30).await;
    bench.rest().await;
    bench.store().refuse(full());
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    bench.pass_slowly(LEASE * 3, SWEEP).await;
    // Room again, at the moment when the lanes are looked at.
    bench.store().work_again();
    bench.pass(SWEEP).await;
    bench.pass(SECOND).await;
    assert_eq!(bench.tally(&shop).await, [0, 30, 0]);
    assert_eq!(bench.network.count(), 30);
    bench.every_request_is_recorded(&[shop]).await;
}

/// The database is away while something falls due: it is sent when it is back.
pub async fn what_falls_due_while_the_database_is_away_is_sent_later(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[500]);
    bench.emit().await;
    bench.rest().await;
    bench.store().refuse(StoreError::Away("nobody there".to_owned()));
    bench.pass_slowly(SWEEP * 3, SECOND * 10).await;
    assert_eq!(bench.standing(&shop).await, (Waiting, 1));
    bench.store().work_again();
    bench.pass(SECOND).await;
    assert_eq!(bench.standing(&shop).await, (Concluded, 2));
}

/// Claims that cannot be given back come back when their leases end.
pub async fn claims_that_cannot_be_given_back_come_back_by_themselves(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    bench.store().hold(Moment::Before(Call::Release));
    bench.disable(&shop).await;
    bench.store().refuse(full());
    bench.store().go_on();
    bench.rest().await;
    bench.store().work_again();
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    bench.enable(&shop).await;
    bench.pass_slowly(LEASE + SWEEP, SWEEP).await;
    assert_eq!(bench.tally(&shop).await, [0, 20, 0]);
    bench.every_request_is_recorded(&[shop]).await;
}

/// The others go on at once, and what panicked comes back when its lease ends.
pub async fn a_panicking_transport_gives_its_place_back(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.answers(vec![Reply::Panic; 16]);
    bench.emit_many(bench.company, 40).await;
    assert_eq!(bench.tally(&shop).await, [16, 24, 0]);
    assert_eq!(bench.engine().metrics().in_flight.get(), 0);
    bench.pass_slowly(LEASE, SWEEP).await;
    assert_eq!(bench.tally(&shop).await, [0, 40, 0]);
    assert_eq!(bench.network.count(), 56);
}

/// Old history goes in slices; what waits stays, however old.
pub async fn old_history_is_removed_in_rounds(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let off = bench.endpoint_at(bench.company, "https://off.example/").await;
    bench.network.otherwise(|sent| match sent.url() {
        "https://off.example/" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    bench.emit_many(bench.company, 250).await;
    bench.rest().await;
    bench.disable(&off).await;
    let day = Duration::from_hours(24);
    bench.pass(day * 29).await;
    assert_eq!(bench.tally(&shop).await, [0, 250, 0]);
    bench.pass(day * 2).await;
    bench.pass(SWEEP).await;
    bench.pass_slowly(BREATH * 5, BREATH).await;
    let [_, left, _] = bench.tally(&shop).await;
    assert!(left > 150, "they go a few at a time; {left} are left");
    bench.pass_slowly(BREATH * 60, BREATH).await;
    assert_eq!(bench.tally(&shop).await, [0, 0, 0]);
    assert_eq!(bench.tally(&off).await, [250, 0, 0]);
    bench.network.always(Reply::Status(200));
    bench.enable(&off).await;
    assert_eq!(bench.tally(&off).await, [0, 250, 0]);
}
