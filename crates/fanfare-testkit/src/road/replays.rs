//! Sending again what was sent before.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare::clock::Clock;
use fanfare::engine::NewReplay;
use fanfare::model::DeliveryState::Concluded;
use fanfare::model::{
    DeliveryId, Endpoint, Record, Replay, ReplayId, Selection, Timestamp, Verdict,
};
use fanfare::store::Queue;
use fanfare::{Error, EventId};

use super::{Bench, Call, Moment, Reply, START};
use crate::contract;

const SECOND: Duration = Duration::from_secs(1);
/// What lies between two parts of a replay.
const BREATH: Duration = Duration::from_millis(10);

/// Deliveries to an endpoint that failed before it got well, as the store remembers them.
async fn failures(bench: &Bench, shop: &Endpoint, count: usize) {
    for _ in 0..count {
        let now = bench.clock.now();
        let event = contract::event(shop.company, "order.created", now);
        for claim in contract::accept_all(bench.store(), &event).await {
            let attempt = contract::attempt(&claim, now, 500).into();
            let failed = Verdict::Failed("answered 500; no retries left".to_owned());
            bench.store().record(Record::new(claim, attempt, failed, now)).await.unwrap();
        }
    }
}

fn failed() -> NewReplay {
    wish(Selection::Failed { since: Timestamp(0), endpoint: None, types: None })
}

fn wish(selection: Selection) -> NewReplay {
    NewReplay { selection, per_second: None, idempotency_key: None }
}

async fn start(bench: &Bench, new: NewReplay) -> ReplayId {
    bench.engine().start_replay(bench.company, new).await.unwrap().id
}

async fn found(bench: &Bench, id: ReplayId) -> Replay {
    bench.engine().found_replay(bench.company, id).await.unwrap()
}

/// How often each delivery was repeated.
async fn repeats(bench: &Bench, shop: &Endpoint) -> BTreeMap<DeliveryId, u32> {
    let mut counts = BTreeMap::new();
    for delivery in bench.deliveries(shop).await {
        if let Some(old) = delivery.replay_of {
            *counts.entry(old).or_default() += 1;
        }
    }
    counts
}

/// Whether it is on its way or has arrived.
pub async fn a_double_click_sends_once(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.emit().await;
    bench.rest().await;
    let old = bench.only(&shop).await;
    let first = bench.engine().replay(bench.company, old.id).await.unwrap();
    let second = bench.engine().replay(bench.company, old.id).await.unwrap();
    bench.pass(SECOND).await;
    let third = bench.engine().replay(bench.company, old.id).await.unwrap();
    assert_eq!([second.id, third.id], [first.id; 2]);
    assert_eq!((third.state, bench.network.count()), (Concluded, 2));

    failures(bench, &shop, 3).await;
    let first = start(bench, failed()).await;
    assert_eq!(start(bench, failed()).await, first);
    bench.pass(SECOND).await;
    assert_eq!(start(bench, failed()).await, first);
    assert_eq!((found(bench, first).await.made, bench.network.count()), (3, 5));
}

/// A part is on disk and nobody was told: it is neither lost nor made twice.
pub async fn a_crash_in_the_middle_of_a_replay_doubles_nothing(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    failures(bench, &shop, 1_000).await;
    let id = start(bench, failed()).await;
    bench.rest().await;
    assert_eq!(found(bench, id).await.made, 200);
    for moment in [Moment::After(Call::Slice), Moment::Before(Call::Slice)] {
        bench.store().hold(moment);
        bench.pass(BREATH).await;
        bench.crash().await;
    }
    assert_eq!(found(bench, id).await.made, 800);
    bench.pass_slowly(SECOND, BREATH).await;
    let replay = found(bench, id).await;
    assert_eq!((replay.found, replay.made), (1_000, 1_000));
    assert!(replay.finished_at.is_some());
    assert_eq!(bench.tally(&shop).await, [0, 1_000, 1_000]);
    assert!(repeats(bench, &shop).await.into_values().all(|count| count == 1));
    assert!(bench.sent_of_each().into_values().all(|count| count == 1));
}

/// The n-th is sent n / pace after the start, and what is not made yet can be cancelled.
pub async fn a_paced_replay_is_sent_at_its_pace_until_it_is_cancelled(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    failures(bench, &shop, 300).await;
    let id = start(bench, NewReplay { per_second: Some(10), ..failed() }).await;
    bench.rest().await;
    for second in 0..15 {
        assert_eq!(bench.network.count(), 10 * second + 1);
        bench.pass(SECOND).await;
    }
    let cancelled = bench.engine().cancel_replay(bench.company, id).await.unwrap();
    assert!(cancelled.cancelled && (151..300).contains(&cancelled.made));
    bench.pass_slowly(SECOND * 60, SECOND).await;
    assert_eq!(u64::try_from(bench.network.count()).unwrap(), cancelled.made);
    for (n, sent) in (0..).zip(bench.network.sent()) {
        let due = START.plus(Duration::from_millis(100 * n));
        assert!(due <= sent.at && sent.at <= due.plus(SECOND), "{n}: {}", sent.at);
    }
}

/// With the ids they had then.
pub async fn an_endpoint_registered_later_hears_what_happened_before(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let mut told: Vec<EventId> = Vec::new();
    for _ in 0..3 {
        told.push(bench.emit().await);
        bench.pass(SECOND).await;
    }
    let newcomer = bench.endpoint_at(bench.company, "https://new.example/hooks").await;
    let types = "order.*".parse().unwrap();
    let endpoint = Some(newcomer.id);
    let events = Selection::Events { types, from: START, to: None, endpoint };
    let id = start(bench, wish(events)).await;
    assert_eq!(bench.tally(&newcomer).await, [0, 3, 0]);
    assert_eq!(bench.tally(&shop).await, [0, 3, 0], "nobody else hears of it");
    let heard: Vec<_> = bench.deliveries(&newcomer).await;
    assert!(heard.iter().all(|one| (one.replay, one.replay_of) == (Some(id), None)));
    assert!(heard.iter().map(|one| one.event).eq(told.iter().copied()));
    let ids: Vec<String> = bench.network.sent()[3..].iter().map(super::Sent::webhook_id).collect();
    assert!(ids.iter().eq(&told.iter().map(ToString::to_string).collect::<Vec<_>>()));
}

/// And a dry run has counted what they make.
pub async fn two_replays_of_the_same_failures_send_each_once(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    failures(bench, &shop, 500).await;
    let engine = bench.engine();
    let count = engine.count_replay(bench.company, failed()).await.unwrap();
    assert_eq!((count.found, count.made, count.more), (500, 500, false));
    assert_eq!(bench.deliveries(&shop).await.len(), 500, "nothing was made");
    let endpoint = Some(shop.id);
    let other = wish(Selection::Failed { since: START, endpoint, types: None });
    let ids = [start(bench, failed()).await, start(bench, other).await];
    assert_ne!(ids[0], ids[1]);
    bench.pass_slowly(SECOND, BREATH).await;
    let made = [found(bench, ids[0]).await.made, found(bench, ids[1]).await.made];
    assert_eq!(made.into_iter().sum::<u64>(), 500);
    assert_eq!(bench.tally(&shop).await, [0, 500, 500]);
    let repeats = repeats(bench, &shop).await;
    assert!(repeats.len() == 500 && repeats.into_values().all(|count| count == 1));
    let count = bench.engine().count_replay(bench.company, failed()).await.unwrap();
    assert_eq!((count.found, count.made), (0, 0));
}

/// It goes on after the next start.
pub async fn a_drained_engine_makes_no_more_of_a_replay(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    failures(bench, &shop, 500).await;
    let id = start(bench, failed()).await;
    bench.rest().await;
    bench.engine().drain();
    bench.pass_slowly(SECOND, BREATH).await;
    assert_eq!(found(bench, id).await.made, 200);
    let refused = bench.engine().start_replay(bench.company, failed()).await;
    assert!(matches!(refused, Err(Error::Draining)));
    bench.network.always(Reply::Status(200));
    bench.restart().await;
    bench.pass_slowly(SECOND, BREATH).await;
    assert_eq!(bench.tally(&shop).await, [0, 500, 500]);
}
