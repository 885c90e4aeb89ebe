//! From emit to arrival.

use fanfare::engine::NewEvent;
use fanfare::model::DeliveryState::Concluded;
use fanfare::{Error, EventId, sign};

use super::{Bench, Call, DELAYS, LEASE, Moment, PAYLOAD, Reply, START, SWEEP, event, switched};

/// Once is once, however long one waits.
pub async fn an_accepted_event_is_delivered_once(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let receipt = bench.engine().emit(bench.company, event()).await.unwrap();
    assert_eq!(receipt.deliveries, 1);
    assert_eq!(bench.standing(&shop).await, (Concluded, 1));
    bench.pass(SWEEP).await;
    bench.pass(LEASE * 2).await;
    assert_eq!(bench.standing(&shop).await, (Concluded, 1));
    assert_eq!(bench.network.count(), 1);
}

/// Every endpoint that listens hears of it; the receipt says how many.
pub async fn everyone_who_listens_hears_of_it(bench: &mut Bench) {
    let shops = [bench.endpoint().await, bench.endpoint().await, bench.endpoint().await];
    let receipt = bench.engine().emit(bench.company, event()).await.unwrap();
    assert_eq!(receipt.deliveries, 3);
    for shop in &shops {
        assert_eq!(bench.standing(shop).await, (Concluded, 1));
    }
    assert_eq!(bench.sent_of_each().into_values().collect::<Vec<_>>(), [3]);
}

/// The payload arrives byte for byte, with a signature that verifies.
pub async fn what_arrives_is_what_was_emitted_and_signed(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let id = bench.emit().await;
    bench.rest().await;
    let sent = bench.network.sent().remove(0);
    assert_eq!(sent.request.body, PAYLOAD);
    assert_eq!(sent.webhook_id(), id.to_string());
    assert_eq!(sent.header("webhook-event"), "ORDER_CREATED");
    let timestamp = sent.header("webhook-timestamp").parse().unwrap();
    assert_eq!(timestamp, START.as_secs());
    let secret = bench.engine().secret(&shop).unwrap();
    let signature = sent.header("webhook-signature");
    assert!(sign::verify(&secret, &sent.webhook_id(), timestamp, &sent.request.body, &signature));
}

/// Only the time of the signature moves on.
pub async fn every_attempt_has_the_same_id_and_body(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[500, 500, 200]);
    let id = bench.emit().await;
    for _ in 0..3 {
        bench.pass(DELAYS[1] * 2).await;
    }
    assert_eq!(bench.standing(&shop).await, (Concluded, 3));
    let sent = bench.network.sent();
    let mut signatures = Vec::new();
    for sent in &sent {
        assert_eq!((sent.webhook_id(), &sent.request.body[..]), (id.to_string(), PAYLOAD));
        assert_eq!(sent.header("webhook-timestamp"), sent.at.as_secs().to_string());
        signatures.push(sent.header("webhook-signature"));
    }
    signatures.dedup();
    assert_eq!(signatures.len(), 3);
}

/// By the caller's id or key; another event under the same is a conflict.
pub async fn telling_an_event_twice_is_telling_it_once(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let by_id = || NewEvent { id: Some(EventId::first_at(START)), ..event() };
    let by_key = || NewEvent { idempotency_key: Some("order 7".to_owned()), ..event() };
    let first = bench.engine().emit(bench.company, by_id()).await.unwrap();
    let keyed = bench.engine().emit(bench.company, by_key()).await.unwrap();
    bench.pass(SWEEP).await;
    assert_eq!(bench.engine().emit(bench.company, by_id()).await.unwrap(), first);
    assert_eq!(bench.engine().emit(bench.company, by_key()).await.unwrap(), keyed);

    let mut other = by_key();
    other.payload = bytes::Bytes::from_static(b"null");
    let refused = bench.engine().emit(bench.company, other).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict { what: "Idempotency-Key" }), "{refused}");
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
    assert_eq!(bench.network.count(), 2);
    assert_eq!(bench.engine().metrics().accepted.get(), 2);
}

/// The caller hangs up while its event is on its way to the disk: that changes nothing.
pub async fn an_event_goes_on_when_its_caller_hangs_up(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.store().hold(Moment::After(Call::Accept));
    hang_up_on(bench, bench.engine().emit(bench.company, event())).await;
    assert_eq!(bench.network.count(), 0);
    bench.store().go_on();
    assert_eq!(bench.standing(&shop).await, (Concluded, 1));
}

/// The caller hangs up while an endpoint is being disabled: nothing more is sent to it.
pub async fn a_change_goes_on_when_its_caller_hangs_up(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    bench.store().hold(Moment::After(Call::Write));
    let off = switched(Some("off".to_owned()));
    hang_up_on(bench, bench.engine().change_endpoint(bench.company, shop.id, off)).await;
    bench.store().go_on();
    bench.rest().await;
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.tally(&shop).await, [18, 2, 0]);
    assert_eq!(bench.network.count(), 2);
}

/// What was accepted before the start is sent after it, once.
pub async fn nothing_is_sent_before_the_start(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.crash_unstarted().await;
    bench.emit_many(bench.company, 3).await;
    assert_eq!(bench.tally(&shop).await, [3, 0, 0]);
    assert_eq!(bench.network.count(), 0);
    bench.engine().start().await.unwrap();
    assert_eq!(bench.tally(&shop).await, [0, 3, 0]);
    assert_eq!(bench.network.count(), 3);
}

async fn hang_up_on<T>(bench: &Bench, call: impl Future<Output = T>) {
    tokio::select! {
        _ = call => panic!("the call was to be held"),
        () = bench.rest() => {}
    }
}
