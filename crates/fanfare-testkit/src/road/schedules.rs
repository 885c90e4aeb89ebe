//! Events at their time, until their end, once, together, or not at all.

use std::time::Duration;

use bytes::Bytes;
use fanfare::engine::{Cancelled, NewEvent};
use fanfare::model::DeliveryState::{Concluded, Failed, Waiting};
use fanfare::store::Upkeep;
use fanfare::{Error, EventId};
use futures_util::future::join_all;

use super::order::keyed;
use super::{Bench, DELAYS, LEASE, Reply, START, SWEEP, event};

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
/// Before a lease ends.
const SOON: Duration = Duration::from_mins(5);

fn until(span: Duration) -> NewEvent {
    NewEvent { expires_at: Some(START.plus(span)), ..event() }
}

fn under(key: &str) -> NewEvent {
    NewEvent { idempotency_key: Some(key.to_owned()), ..event() }
}

/// Also over a restart; a time that has passed is now.
pub async fn a_scheduled_event_is_sent_at_its_time(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let at = |at| NewEvent { deliver_at: Some(at), ..event() };
    let company = bench.company;
    bench.engine().emit(company, at(START.minus(DAY))).await.unwrap();
    bench.engine().emit(company, at(START.plus(DAY))).await.unwrap();
    assert_eq!(bench.tally(&shop).await, [1, 1, 0]);
    bench.restart().await;
    bench.pass(DAY - SWEEP).await;
    assert_eq!(bench.tally(&shop).await, [1, 1, 0]);
    bench.pass(SWEEP).await;
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
    assert_eq!(bench.network.sent()[1].at, START.plus(DAY));
}

/// With the field and what is allowed.
pub async fn times_and_keys_that_cannot_be_are_refused(bench: &mut Bench) {
    let at = |days: u32| Some(START.plus(DAY * days));
    let cases = [
        (NewEvent { deliver_at: at(367), ..event() }, "deliverAt: must be at most 366 days"),
        (NewEvent { expires_at: at(0), ..event() }, "expiresAt: must be in the future"),
        (
            NewEvent { deliver_at: at(2), expires_at: at(2), ..event() },
            "expiresAt: must be after deliverAt",
        ),
        (keyed(""), "orderingKey: must have 1 to 256 characters"),
        (keyed(&"é".repeat(257)), "orderingKey: must have 1 to 256 characters"),
        (keyed("a\nb"), "orderingKey: must have 1 to 256 characters, none of them control"),
    ];
    let engine = bench.engine();
    for (new, expected) in cases {
        let refused = engine.emit(bench.company, new.clone()).await.unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
        let news = vec![event(), new];
        let refused = engine.emit_all(bench.company, news, None).await.unwrap_err().to_string();
        assert!(refused.starts_with(&format!("events[1].{expected}")), "{refused}");
    }
    for count in [0, 1001] {
        let refused = engine.emit_all(bench.company, vec![event(); count], None).await;
        assert_eq!(refused.unwrap_err().to_string(), "events: must be 1 to 1000 events");
    }
    let payload = Bytes::from(vec![b'1'; 256 * 1024]);
    let large = NewEvent { payload, ..event() };
    let refused = engine.emit_all(bench.company, vec![large; 33], None).await;
    assert!(matches!(refused, Err(Error::TooMuch { .. })), "{refused:?}");
    engine.emit(bench.company, keyed(&"é".repeat(256))).await.unwrap();
}

/// Neither held, nor in its lane's window, nor after a failure.
pub async fn nothing_is_sent_after_its_end(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[500]);
    bench.engine().emit(bench.company, until(DELAYS[0])).await.unwrap();
    assert_eq!(bench.standing(&shop).await, (Failed, 1));
    let end = START.plus(DELAYS[0]);
    let reason = format!("expired at {end}, after 1 attempt");
    assert_eq!(bench.only(&shop).await.reason, Some(reason));

    bench.network.always(Reply::Hang);
    for _ in 0..4 {
        bench.engine().emit(bench.company, until(SOON)).await.unwrap();
    }
    bench.rest().await;
    let in_flight = bench.network.hanging();
    bench.network.always(Reply::Status(200));
    bench.clock.advance(SOON);
    bench.network.let_go(&Reply::Status(200));
    bench.pass(SWEEP).await;
    assert_eq!(bench.tally(&shop).await, [0, in_flight, 5 - in_flight]);
    let ends = START.plus(SOON);
    let last = bench.deliveries(&shop).await.pop().unwrap();
    assert_eq!(last.reason, Some(format!("expired unsent at {ends}")));

    bench.engine().emit(bench.company, until(HOUR * 3)).await.unwrap();
    let held = NewEvent { deliver_at: Some(START.plus(HOUR * 2)), ..until(HOUR * 3) };
    bench.engine().emit(bench.company, held).await.unwrap();
    bench.rest().await;
    bench.disable(&shop).await;
    bench.pass(HOUR * 3).await;
    bench.tidy_up().await;
    assert_eq!(bench.tally(&shop).await, [0, in_flight + 1, 6 - in_flight]);
    assert_eq!(bench.network.count(), 2 + in_flight);
}

/// In the store, in the window of its lane, on the wire: the last goes on.
pub async fn what_waits_is_cancelled_and_what_is_sent_goes_on(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let company = bench.company;
    bench.network.always(Reply::Hang);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.emit().await);
    }
    let later = NewEvent { deliver_at: Some(START.plus(HOUR)), ..event() };
    ids.push(bench.engine().emit(company, later).await.unwrap().id);
    bench.rest().await;
    let mut came = Vec::new();
    for id in &ids {
        let Cancelled { cancelled, in_flight } =
            bench.engine().cancel_event(company, *id).await.unwrap();
        came.push((cancelled, in_flight));
    }
    assert_eq!(came, [(0, 1), (0, 1), (1, 0), (1, 0)]);
    let again = bench.engine().cancel_event(company, ids[3]).await.unwrap();
    assert_eq!(again, Cancelled::default());
    let nobody = EventId::first_at(START);
    let unknown = bench.engine().cancel_event(company, nobody).await;
    assert!(matches!(unknown, Err(Error::NotFound { .. })));
    let all = bench.deliveries(&shop).await;
    assert_eq!((all[3].state, all[3].reason.as_deref()), (Failed, Some("cancelled")));
    let on_the_wire = bench.engine().cancel_delivery(company, all[0].id).await.unwrap();
    assert_eq!(on_the_wire.delivery.state, Waiting);
    let ended = bench.engine().cancel_delivery(company, all[3].id).await;
    assert!(matches!(ended, Err(Error::Final { .. })), "{ended:?}");

    bench.network.let_go(&Reply::Status(500));
    bench.rest().await;
    let retrying = bench.engine().cancel_delivery(company, all[0].id).await.unwrap();
    assert_eq!((retrying.delivery.state, retrying.delivery.attempts), (Failed, 1));
    bench.network.always(Reply::Status(200));
    bench.pass(LEASE).await;
    bench.pass(HOUR).await;
    let states: Vec<_> = bench.deliveries(&shop).await.iter().map(|one| one.state).collect();
    assert_eq!(states, [Failed, Concluded, Failed, Failed]);
    assert_eq!(bench.network.count(), 3);
}

/// One event, a hundred equal answers.
pub async fn a_hundred_callers_with_one_key_tell_one_event(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let engine = bench.engine();
    let emits = (0..100).map(|_| engine.emit(bench.company, under("k")));
    let receipts: Vec<_> = join_all(emits).await.into_iter().map(Result::unwrap).collect();
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));
    let batches = (0..100).map(|_| engine.emit_all(bench.company, vec![event(); 3], Some("k")));
    let batches: Vec<_> = join_all(batches).await.into_iter().map(Result::unwrap).collect();
    assert!(batches.iter().all(|receipts| *receipts == batches[0]));
    assert_eq!((batches[0].len(), receipts[0].deliveries), (3, 1));
    assert_eq!(bench.tally(&shop).await, [0, 4, 0]);
}

/// A key that says something else, and any conflict of a batch, stores nothing.
pub async fn a_conflict_in_a_batch_stores_nothing(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let (engine, company) = (bench.engine(), bench.company);
    let other = NewEvent { payload: Bytes::from_static(b"2"), ..event() };
    let id = engine.emit(company, event()).await.unwrap().id;
    let of_id = NewEvent { id: Some(id), ..other.clone() };
    let refused = engine.emit_all(company, vec![event(), of_id.clone()], Some("k")).await;
    let told = refused.unwrap_err().to_string();
    assert_eq!(told, "events[1].id was used before for something else");
    engine.emit_all(company, vec![event(), other.clone()], Some("k")).await.unwrap();
    for news in [vec![event()], vec![other.clone(), event()], vec![event(), other.clone(), event()]]
    {
        let refused = engine.emit_all(company, news, Some("k")).await;
        assert!(matches!(refused, Err(Error::Conflict { what: "Idempotency-Key" })));
    }
    engine.emit(company, under("k")).await.unwrap();
    for different in [other, keyed("a"), until(DAY)] {
        let different = NewEvent { idempotency_key: Some("k".to_owned()), ..different };
        let refused = engine.emit(company, different).await;
        assert!(matches!(refused, Err(Error::Conflict { what: "Idempotency-Key" })));
    }
    assert!(matches!(engine.emit(company, of_id).await, Err(Error::Conflict { what: "id" })));
    assert_eq!(bench.tally(&shop).await, [0, 4, 0]);
}

/// Long after the event itself is gone; then the key is free.
pub async fn a_key_is_known_longer_than_its_event(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let company = bench.company;
    let first = bench.engine().emit(company, under("k")).await.unwrap();
    let scheduled = NewEvent { expires_at: Some(START.plus(DAY)), ..under("scheduled") };
    let second = bench.engine().emit(company, scheduled.clone()).await.unwrap();
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
    // Ids tell the time of the machine, by which nothing is old yet.
    let long_after = second.id.made_at().plus(DAY * 2);
    while bench.store().turn(long_after, long_after).await.unwrap() {}
    while bench.store().expire(long_after, None, 10).await.unwrap().rows > 0 {}
    assert!(bench.deliveries(&shop).await.is_empty());
    bench.pass(DAY * 59).await;
    bench.pass(SWEEP).await;
    assert_eq!(bench.engine().emit(company, under("k")).await.unwrap(), first);
    assert_eq!(bench.engine().emit(company, scheduled).await.unwrap(), second);
    bench.pass(DAY * 2).await;
    bench.tidy_up().await;
    assert_ne!(bench.engine().emit(company, under("k")).await.unwrap().id, first.id);
}
