//! Events that arrive one after the other, and those of which only the newest does.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::engine::{NewEndpoint, NewEvent, RETRIES_DEFAULT};
use fanfare::model::DeliveryState::{Concluded, Failed, Waiting};
use fanfare::model::{Endpoint, Flow, Ordering};

use super::{Bench, Call, DELAYS, LEASE, Moment, Reply, SWEEP, event};
use crate::dice::Dice;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

pub(super) fn keyed(key: &str) -> NewEvent {
    NewEvent { ordering_key: Some(key.to_owned()), ..event() }
}

pub(super) async fn flowing(bench: &Bench, flow: Flow, max_retries: u32) -> Endpoint {
    let url = "https://shop.example/hooks".parse().unwrap();
    let new = NewEndpoint::new(url, vec!["*".parse().unwrap()]);
    let new = NewEndpoint { flow, max_retries, ..new };
    bench.engine().register(bench.company, new).await.unwrap()
}

async fn ordered(bench: &Bench, ordering: Ordering, max_retries: u32) -> Endpoint {
    flowing(bench, Flow { ordering, ..Flow::default() }, max_retries).await
}

/// What was sent so far, by sequence number.
fn sequences(bench: &Bench) -> Vec<u32> {
    bench
        .network
        .sent()
        .iter()
        .map(|sent| sent.header("webhook-sequence").parse().unwrap())
        .collect()
}

/// Never two of one key at once; other keys flow past.
pub async fn a_failing_event_holds_up_its_own_key_alone(bench: &mut Bench) {
    let shop = ordered(bench, Ordering::Key, RETRIES_DEFAULT).await;
    bench.network.statuses(&[500]);
    for key in ["a", "a", "b", "a", "b"] {
        bench.engine().emit(bench.company, keyed(key)).await.unwrap();
        bench.rest().await;
    }
    bench.emit().await;
    assert_eq!(bench.tally(&shop).await, [3, 3, 0]);
    assert_eq!(sequences(bench), [1, 3, 5, 6]);
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!(bench.tally(&shop).await, [0, 6, 0]);
    assert_eq!(sequences(bench), [1, 3, 5, 6, 1, 2, 4]);
    bench.every_request_is_recorded(&[shop]).await;
}

/// The history says that it was given up, and the next one goes at once.
pub async fn an_event_given_up_lets_the_next_one_go(bench: &mut Bench) {
    let shop = ordered(bench, Ordering::Key, 0).await;
    bench.network.statuses(&[500, 410]);
    // At once, so that the endpoint is not gone before the last of them.
    let three = ["a"; 3].map(keyed).to_vec();
    bench.engine().emit_all(bench.company, three, None).await.unwrap();
    assert_eq!(bench.tally(&shop).await, [1, 0, 2]);
    let given_up = bench.deliveries(&shop).await.remove(0);
    assert_eq!(given_up.reason.as_deref(), Some("answered 500; no retries left"));
    bench.enable(&shop).await;
    assert_eq!(bench.tally(&shop).await, [0, 1, 2]);
    assert_eq!(sequences(bench), [1, 2, 3]);
}

/// A batch keeps its order, and everything has one key.
pub async fn a_strict_order_is_that_of_acceptance(bench: &mut Bench) {
    let shop = ordered(bench, Ordering::Strict, RETRIES_DEFAULT).await;
    bench.network.always(Reply::Hang);
    let events = KEYS.iter().map(|key| keyed(key)).chain([event()]).collect();
    bench.engine().emit_all(bench.company, events, None).await.unwrap();
    bench.emit().await;
    for sent in 1..=6 {
        bench.rest().await;
        assert_eq!((bench.network.hanging(), bench.network.count()), (1, sent));
        bench.network.let_go(&Reply::Status(200));
    }
    assert_eq!(bench.tally(&shop).await, [0, 6, 0]);
    assert_eq!(sequences(bench), [1, 2, 3, 4, 5, 6]);
}

/// Stopped, killed, killed before and after the result is on disk.
pub async fn order_outlives_the_process(bench: &mut Bench) {
    let shop = ordered(bench, Ordering::Key, RETRIES_DEFAULT).await;
    bench.network.statuses(&[500]);
    for _ in 0..5 {
        bench.engine().emit(bench.company, keyed("a")).await.unwrap();
    }
    bench.rest().await;
    bench.restart().await;
    bench.crash().await;
    bench.pass(DELAYS[0] / 2).await;
    assert_eq!(sequences(bench), [1], "the retry keeps its time");
    bench.network.answers([Reply::Hang]);
    bench.pass(DELAYS[0]).await;
    bench.crash().await;
    assert_eq!(bench.tally(&shop).await, [0, 5, 0]);
    assert_eq!(sequences(bench), [1, 1, 1, 2, 3, 4, 5]);
    for moment in [Moment::Before(Call::Record), Moment::After(Call::Record)] {
        bench.store().hold(moment);
        bench.engine().emit(bench.company, keyed("a")).await.unwrap();
        bench.engine().emit(bench.company, keyed("a")).await.unwrap();
        bench.rest().await;
        bench.crash().await;
    }
    assert_eq!(bench.tally(&shop).await, [0, 9, 0]);
    assert_eq!(sequences(bench)[7..], [6, 6, 7, 8, 9]);
}

/// Its key is held with it, and goes on in order.
pub async fn a_disabled_endpoint_goes_on_in_order(bench: &mut Bench) {
    let shop = ordered(bench, Ordering::Key, RETRIES_DEFAULT).await;
    bench.network.always(Reply::Hang);
    for _ in 0..4 {
        bench.engine().emit(bench.company, keyed("a")).await.unwrap();
    }
    bench.rest().await;
    bench.disable(&shop).await;
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(500));
    bench.pass(LEASE).await;
    assert_eq!(sequences(bench), [1]);
    bench.enable(&shop).await;
    assert_eq!(bench.tally(&shop).await, [0, 4, 0]);
    assert_eq!(sequences(bench), [1, 1, 2, 3, 4]);
}

/// Of a steady flood one is sent each window, and the last one in the end.
pub async fn of_a_flood_the_newest_is_sent_once_a_window(bench: &mut Bench) {
    let window = Duration::from_secs(10);
    let flow = Flow { coalesce: Some(window), ordering: Ordering::Key, ..Flow::default() };
    let shop = flowing(bench, flow, RETRIES_DEFAULT).await;
    for _ in 0..60 {
        bench.engine().emit(bench.company, keyed("sku-1")).await.unwrap();
        bench.pass(Duration::from_secs(1)).await;
    }
    bench.engine().emit(bench.company, keyed("sku-2")).await.unwrap();
    bench.pass(window).await;
    let [waiting, sent, superseded] = bench.tally(&shop).await;
    assert_eq!((waiting, sent + superseded), (0, 61));
    assert!((6..=8).contains(&sent), "{sent}");
    assert_eq!(bench.network.count(), sent);
    let all = bench.deliveries(&shop).await;
    let states: HashMap<_, _> = all.iter().map(|one| (one.id, one.state)).collect();
    for one in &all {
        assert_eq!(one.state == Failed, one.superseded_by.is_some());
        assert!(one.superseded_by.is_none_or(|by| states.contains_key(&by)));
    }
    assert_eq!((all[59].state, all[60].state), (Concluded, Concluded), "the last of each key");
}

/// Whatever is emitted, fails, is switched, cancelled and dies in whatever order.
pub async fn no_interleaving_inverts_a_key(bench: &mut Bench) {
    for seed in 1_u64..=4 {
        let shop = ordered(bench, Ordering::Key, 3).await;
        let mut dice = Dice::new(seed);
        let mut keys: HashMap<String, &str> = HashMap::new();
        let before = bench.network.count();
        answer_at_random(bench, Dice::new(seed + 1000));
        for _ in 0..150 {
            step(bench, &shop, (&mut dice, &mut keys)).await;
        }
        bench.network.always(Reply::Status(200));
        bench.network.let_go(&Reply::Status(200));
        bench.enable(&shop).await;
        bench.pass_slowly(LEASE * 2, SWEEP).await;
        assert!(bench.deliveries(&shop).await.iter().all(|one| one.state != Waiting));
        let mut last: HashMap<&str, u64> = HashMap::new();
        for sent in bench.network.sent().iter().skip(before) {
            let sequence: u64 = sent.header("webhook-sequence").parse().unwrap();
            let last = last.entry(keys[&sent.webhook_id()]).or_default();
            assert!(*last <= sequence, "{sequence} after {last}");
            *last = sequence;
        }
        bench.engine().delete_endpoint(bench.company, shop.id).await.unwrap();
    }
}

fn answer_at_random(bench: &Bench, mut dice: Dice) {
    bench.network.otherwise(move |_| match dice.below(10) {
        0..6 => Reply::Status(200),
        6..8 => Reply::Status(500),
        8 => Reply::Silence("connect: refused"),
        _ => Reply::Hang,
    });
}

async fn step(
    bench: &mut Bench,
    shop: &Endpoint,
    (dice, keys): (&mut Dice, &mut HashMap<String, &'static str>),
) {
    let some_key = |dice: &mut Dice| KEYS[dice.below(KEYS.len())];
    match dice.below(100) {
        0..45 => {
            let chosen: Vec<_> = (0..=dice.below(4)).map(|_| some_key(dice)).collect();
            let events = chosen.iter().map(|key| keyed(key)).collect();
            let receipts = bench.engine().emit_all(bench.company, events, None).await.unwrap();
            for (key, receipt) in chosen.into_iter().zip(receipts) {
                keys.insert(receipt.id.to_string(), key);
            }
        }
        45..65 => bench.pass(Duration::from_secs(dice.below(90) as u64)).await,
        65..78 => bench.network.let_go(&Reply::Status([200, 500][dice.below(2)])),
        78..82 => bench.disable(shop).await,
        82..88 => bench.enable(shop).await,
        88..93 => {
            if let Some(one) = bench.deliveries(shop).await.last() {
                bench.engine().cancel_event(bench.company, one.event).await.unwrap();
            }
        }
        93..96 => bench.restart_at_once().await,
        _ => bench.crash().await,
    }
    if dice.below(10) == 0 {
        assert_eq!(bench.engine().check().await.unwrap(), Vec::<String>::new());
    }
}
