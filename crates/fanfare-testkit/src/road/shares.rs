//! Nobody slows the others.

use std::time::Duration;

use bytes::Bytes;
use fanfare::CompanyId;
use fanfare::engine::NewEvent;
use fanfare::model::DeliveryState::Concluded;

use super::{Bench, LEASE, Reply, START, SWEEP, event};

/// One endpoint hangs; its company's others and everyone else's go on.
pub async fn a_hanging_endpoint_does_not_hold_up_the_others(bench: &mut Bench) {
    let hanging = bench.endpoint_at(bench.company, "https://hanging.example/").await;
    let well = bench.endpoint().await;
    let stranger = bench.endpoint_of(CompanyId::new(START), 5).await;
    bench.network.otherwise(|sent| match sent.url() {
        "https://hanging.example/" => Reply::Hang,
        _ => Reply::Status(200),
    });
    bench.emit_many(bench.company, 300).await;
    bench.emit_many(stranger.company, 300).await;
    assert_eq!(bench.tally(&well).await, [0, 300, 0]);
    assert_eq!(bench.tally(&stranger).await, [0, 300, 0]);
    assert_eq!(bench.network.hanging(), 2, "an endpoint that is not known yet starts small");
    for _ in 0..2 {
        bench.network.let_go(&Reply::Silence("timeout: no answer"));
        bench.rest().await;
    }
    assert_eq!(bench.network.hanging(), 1, "an endpoint in trouble shrinks to one probe");
    assert_eq!(bench.tally(&hanging).await, [300, 0, 0]);
}

/// A hundred of a company's endpoints hang; the one that does not is served at once.
pub async fn many_hanging_endpoints_leave_room_for_one_that_answers(bench: &mut Bench) {
    for _ in 0..100 {
        bench.endpoint_at(bench.company, "https://hanging.example/").await;
    }
    bench.network.otherwise(|sent| match sent.url() {
        "https://hanging.example/" => Reply::Hang,
        _ => Reply::Status(200),
    });
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    let well = bench.endpoint().await;
    bench.emit_many(bench.company, 10).await;
    assert_eq!(bench.tally(&well).await, [0, 10, 0]);
}

/// A company with many endpoints that all hang leaves places for the next one.
pub async fn a_loud_company_does_not_hold_up_another(bench: &mut Bench) {
    let loud = CompanyId::new(START);
    for _ in 0..300 {
        bench.endpoint_at(loud, "https://loud.example/").await;
    }
    bench.network.otherwise(|sent| match sent.url() {
        "https://loud.example/" => Reply::Hang,
        _ => Reply::Status(200),
    });
    bench.emit_many(loud, 20).await;
    bench.rest().await;
    let hanging = bench.network.hanging();
    let shop = bench.endpoint().await;
    bench.emit_many(bench.company, 10).await;
    assert_eq!(bench.tally(&shop).await, [0, 10, 0]);
    assert_eq!(bench.network.hanging(), hanging);
}

/// Large payloads that wait for an endpoint that hangs take no room from others.
pub async fn a_heavy_backlog_does_not_hold_up_others(bench: &mut Bench) {
    let heavy = bench.endpoint_at(bench.company, "https://heavy.example/").await;
    bench.network.otherwise(|sent| match sent.url() {
        "https://heavy.example/" => Reply::Hang,
        _ => Reply::Status(200),
    });
    let payload = Bytes::from(format!("\"{}\"", "x".repeat(256 * 1024 - 2)));
    for _ in 0..300 {
        let new = NewEvent { payload: payload.clone(), ..event() };
        bench.engine().emit(bench.company, new).await.unwrap();
    }
    bench.rest().await;
    let claimed = bench.deliveries(&heavy).await.iter().filter(|found| found.fence > 0).count();
    assert!((100..200).contains(&claimed), "half of what may be held: {claimed}");

    let shop = bench.endpoint_of(CompanyId::new(START), 5).await;
    bench.emit_many(shop.company, 10).await;
    assert_eq!(bench.tally(&shop).await, [0, 10, 0]);
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.tally(&heavy).await, [0, 300, 0]);
}

/// Memory holds a window of it; the rest stays on disk, and all of it goes out in order.
pub async fn a_backlog_stays_in_the_store_and_drains_in_order(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    for _ in 0..50 {
        bench.emit_many(bench.company, 100).await;
        bench.clock.advance(Duration::from_millis(1));
    }
    bench.rest().await;
    let backlog = bench.deliveries(&shop).await;
    let claimed = backlog.iter().filter(|delivery| delivery.fence > 0).count();
    // One batch of emits may be admitted before the first of them has come to its window.
    assert!((1024..1024 + 16 + 100).contains(&claimed), "{claimed} are in memory");

    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.tally(&shop).await, [0, 5000, 0]);
    let made_at = |id: String| id.parse::<fanfare::EventId>().unwrap().made_at();
    let sent: Vec<_> = bench.network.sent().iter().map(|sent| made_at(sent.webhook_id())).collect();
    assert_eq!(sent.len(), 5000);
    assert!(sent.is_sorted(), "the longest due first");
}

/// An endpoint so slow that claims outlive their leases: each of them is still sent once, and once
/// more for each failure.
pub async fn what_waits_longer_than_its_lease_is_not_sent_twice(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 20).await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 400).await;
    let timeout = Duration::from_secs(15);
    for _ in 0..(3 * LEASE.as_secs() / timeout.as_secs()) {
        bench.pass(timeout).await;
        bench.network.let_go(&Reply::Silence("timeout: no answer"));
    }
    bench.rest().await;
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    bench.pass_slowly(LEASE * 2, SWEEP).await;
    assert_eq!(bench.tally(&shop).await, [0, 400, 0]);
    bench.every_request_is_recorded(&[shop]).await;
}

/// However many wait, a newcomer's first delivery is begun before the rest of a crowd.
pub async fn a_newcomer_is_next(bench: &mut Bench) {
    let crowd = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 100).await;
    bench.rest().await;
    let newcomer = bench.endpoint_at(CompanyId::new(START), "https://new.example/").await;
    bench.emit_for(newcomer.company).await;
    bench.rest().await;
    assert_eq!(bench.network.sent().last().unwrap().url(), "https://new.example/");
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.standing(&newcomer).await, (Concluded, 1));
    assert_eq!(bench.tally(&crowd).await, [0, 100, 0]);
}
