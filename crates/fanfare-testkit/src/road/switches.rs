//! Endpoints that are disabled, enabled, changed and deleted while deliveries are under way.

use fanfare::Error;
use fanfare::model::DeliveryState::{Concluded, Failed, Waiting};

use super::{Bench, Call, DELAYS, LEASE, Moment, Reply, START, SWEEP, event, to_url};

/// 410 says that nobody is there any more.
pub async fn gone_fails_the_delivery_and_disables_the_endpoint(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(410));
    assert_eq!(bench.tally(&shop).await, [18, 0, 2]);
    let failed = bench.deliveries(&shop).await.remove(0);
    assert_eq!((failed.state, failed.attempts), (Failed, 1));
    assert_eq!(failed.reason.as_deref(), Some("the endpoint answered 410 Gone"));
    let gone = bench.present(&shop).await;
    assert_eq!(gone.disabled.unwrap().reason, "the endpoint answered 410 Gone");

    let receipt = bench.engine().emit(bench.company, event()).await.unwrap();
    assert_eq!(receipt.deliveries, 0);
    bench.pass(SWEEP).await;
    bench.pass(LEASE * 2).await;
    assert_eq!(bench.network.count(), 2);
    bench.enable(&shop).await;
    assert_eq!(bench.tally(&shop).await, [0, 18, 2], "the others were held");
}

/// Enabled while the 410 is on its way to the disk: what people say last counts.
pub async fn an_endpoint_enabled_after_a_410_goes_on_at_once(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[410]);
    bench.store().hold(Moment::After(Call::Record));
    bench.emit().await;
    bench.rest().await;
    assert!(bench.present(&shop).await.disabled.is_some());
    bench.change(&shop, to_url("https://new.example/hooks")).await;
    bench.enable(&shop).await;
    bench.store().go_on();
    bench.rest().await;
    bench.emit().await;
    assert_eq!(bench.tally(&shop).await, [0, 1, 1]);
    assert_eq!(bench.network.sent()[1].url(), "https://new.example/hooks");
}

/// Held, not lost; and nothing new is made for it meanwhile.
pub async fn a_disabled_endpoint_holds_what_waits_and_hears_nothing(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let other = bench.endpoint().await;
    bench.network.statuses(&[500, 500]);
    bench.emit().await;
    bench.rest().await;
    bench.disable(&shop).await;
    bench.emit_many(bench.company, 3).await;
    bench.pass(DELAYS[0] * 2).await;
    bench.pass(SWEEP).await;
    assert_eq!(bench.standing(&shop).await, (Waiting, 1));
    assert_eq!(bench.tally(&other).await, [0, 4, 0]);
    assert_eq!(bench.present(&shop).await.disabled.unwrap().reason, "off");

    bench.enable(&shop).await;
    assert_eq!(bench.standing(&shop).await, (Concluded, 2));
    bench.emit().await;
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
    bench.every_request_is_recorded(&[shop, other]).await;
}

/// Its window is given back and taken up again, and so is what is behind it.
pub async fn an_endpoint_disabled_with_a_backlog_goes_on_when_enabled(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 1500).await;
    bench.rest().await;
    bench.disable(&shop).await;
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.tally(&shop).await, [1498, 2, 0]);
    for held in bench.deliveries(&shop).await {
        assert!(held.state == Concluded || held.due_at <= START, "claims are given back");
    }
    bench.network.always(Reply::Status(200));
    bench.enable(&shop).await;
    assert_eq!(bench.tally(&shop).await, [0, 1500, 0]);
    assert_eq!(bench.network.count(), 1500);
}

/// Enabled before the claims were back: they are found when they are.
pub async fn an_endpoint_disabled_and_enabled_at_once_goes_on_at_once(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    bench.store().hold(Moment::Before(Call::Release));
    bench.disable(&shop).await;
    bench.enable(&shop).await;
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.tally(&shop).await, [18, 2, 0]);
    bench.store().go_on();
    assert_eq!(bench.tally(&shop).await, [0, 20, 0]);
}

/// Disabled between the commit of an event and its turn: it is held all the same.
pub async fn a_claim_on_its_way_goes_by_what_its_endpoint_is_now(bench: &mut Bench) {
    let (off, moved) = (bench.endpoint().await, bench.endpoint().await);
    bench.store().hold(Moment::After(Call::Accept));
    let change = async {
        bench.rest().await;
        bench.disable(&off).await;
        bench.change(&moved, to_url("https://new.example/hooks")).await;
        bench.store().go_on();
    };
    tokio::join!(bench.emit(), change);
    bench.pass(SWEEP).await;
    assert_eq!(bench.standing(&off).await, (Waiting, 0));
    assert_eq!(bench.standing(&moved).await, (Concluded, 1));
    assert_eq!(bench.network.sent()[0].url(), "https://new.example/hooks");
    bench.enable(&off).await;
    assert_eq!(bench.standing(&off).await, (Concluded, 1));
}

/// What it was still to receive is failed and says why; what it had received stays.
pub async fn deleting_an_endpoint_fails_what_waits(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.emit().await;
    bench.rest().await;
    bench.network.always(Reply::Status(500));
    bench.emit_many(bench.company, 300).await;
    bench.rest().await;
    bench.engine().delete_endpoint(bench.company, shop.id).await.unwrap();
    bench.tidy_up().await;
    assert_eq!(bench.tally(&shop).await, [0, 1, 300]);
    let failed = bench.deliveries(&shop).await.pop().unwrap();
    assert_eq!(failed.reason.as_deref(), Some("the endpoint was deleted"));
    assert_eq!(bench.network.count(), 301);
    let again = bench.engine().delete_endpoint(bench.company, shop.id).await;
    assert!(matches!(again, Err(Error::NotFound { kind: "endpoint", .. })));
    let receipt = bench.engine().emit(bench.company, event()).await.unwrap();
    assert_eq!(receipt.deliveries, 0);
}

/// A new delivery with the same id on the wire; the old one stays as it is.
pub async fn a_replay_has_the_same_id_and_is_marked(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    bench.network.statuses(&[500]);
    bench.emit().await;
    bench.rest().await;
    let failed = bench.only(&shop).await;
    let replay = bench.engine().replay(bench.company, failed.id).await.unwrap();
    bench.rest().await;
    let [old, new] = bench.deliveries(&shop).await.try_into().unwrap();
    assert_eq!(old, failed);
    assert_eq!((new.id, new.replay_of, new.state), (replay.id, Some(old.id), Concluded));
    let sent = bench.network.sent();
    assert_eq!(sent[0].webhook_id(), sent[1].webhook_id());
    assert_eq!(sent[0].request.body, sent[1].request.body);

    bench.engine().delete_endpoint(bench.company, shop.id).await.unwrap();
    let refused = bench.engine().replay(bench.company, old.id).await;
    assert!(matches!(refused, Err(Error::NotFound { kind: "endpoint", .. })));
}
