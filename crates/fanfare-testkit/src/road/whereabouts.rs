//! Where is my event?

use std::time::Duration;

use fanfare::engine::{Explained, NewEndpoint, Traced};
use fanfare::model::{Endpoint, EndpointChange, EventId, Health, Outcome};
use fanfare::policy::standing::WaitsFor;
use fanfare::{EndpointId, Error};

use super::{Bench, DELAYS, Reply, event};

async fn explain(bench: &Bench, id: EventId) -> Explained {
    bench.rest().await;
    bench.engine().explain(bench.company, id, None, 100).await.unwrap()
}

/// The newest delivery of an event for an endpoint.
async fn traced(bench: &Bench, id: EventId, endpoint: &Endpoint) -> Traced {
    let explained = explain(bench, id).await;
    let mut heard = explained.heard.into_iter().filter(|heard| heard.endpoint.id == endpoint.id);
    heard.next().unwrap().deliveries.pop().unwrap()
}

async fn waits_for(bench: &Bench, id: EventId, endpoint: &Endpoint) -> Option<WaitsFor> {
    traced(bench, id, endpoint).await.standing.waits_for
}

async fn endpoint(bench: &Bench, events: &str, operational: bool) -> EndpointId {
    let url = "https://shop.example/hooks".parse().unwrap();
    let new = NewEndpoint { operational, ..NewEndpoint::new(url, vec![events.parse().unwrap()]) };
    bench.engine().register(bench.company, new).await.unwrap().id
}

fn health(failing_secs: Option<u64>, held_secs: Option<u64>, bench: &Bench) -> EndpointChange {
    let after = |secs| bench.engine().clock().now().plus(Duration::from_secs(secs));
    let health =
        Health { failing_since: failing_secs.map(after), held_until: held_secs.map(after) };
    EndpointChange { health: Some(health), ..EndpointChange::default() }
}

/// Who heard of it has deliveries; of the others each has its reason.
pub async fn an_event_says_who_heard_of_it_and_why_the_others_did_not(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let elsewhere = endpoint(bench, "payment.*", false).await;
    let operational = endpoint(bench, "*", true).await;
    let off = bench.endpoint().await;
    bench.disable(&off).await;
    let since = bench.present(&off).await.disabled.unwrap().at;
    bench.pass(Duration::from_secs(1)).await;
    let id = bench.emit().await;
    bench.pass(Duration::from_secs(1)).await;
    let later = bench.endpoint().await;

    let explained = explain(bench, id).await;
    assert_eq!((explained.event.id, explained.unheard_left_out), (id, 0));
    let heard: Vec<_> = explained.heard.iter().map(|heard| heard.endpoint.id).collect();
    assert!(heard.contains(&shop.id) && !heard.contains(&elsewhere), "{heard:?}");
    let why = |id: EndpointId| {
        let found = explained.unheard.iter().find(|unheard| unheard.endpoint.id == id);
        found.map(|unheard| unheard.why.clone()).unwrap_or_default()
    };
    assert!(why(elsewhere).starts_with("not subscribed to order.created, only to "));
    assert_eq!(why(off.id), format!("disabled since {since}: off"));
    assert_eq!(why(later.id), "registered after the event");
    if !heard.contains(&operational) {
        assert_eq!(why(operational), "operational: it hears only of what befalls other endpoints");
    }
    bench.enable(&off).await;
    let why = explain(bench, id).await.unheard.into_iter();
    let why = why.filter(|unheard| unheard.endpoint.id == off.id).map(|unheard| unheard.why).next();
    let unknown = "at the time of the event it was disabled, or listened to something else";
    assert_eq!(why.as_deref(), Some(unknown));

    let nobody = bench.engine().explain(bench.company, EventId::new(super::START), None, 9).await;
    assert!(matches!(nobody, Err(Error::NotFound { kind: "event", .. })));
}

/// From accepted to delivered, by everything that can keep it.
pub async fn a_delivery_says_what_it_waits_for(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.emit().await);
    }
    let sent = traced(bench, ids[0], &shop).await;
    assert_eq!((sent.standing.waits_for, sent.attempts.len()), (Some(WaitsFor::InFlight), 0));
    assert_eq!(waits_for(bench, ids[2], &shop).await, Some(WaitsFor::Turn), "two at the start");

    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(500));
    let retried = traced(bench, ids[0], &shop).await;
    assert_eq!(retried.standing.waits_for, Some(WaitsFor::DueTime));
    assert_eq!(retried.standing.next_at, Some(retried.delivery.due_at));
    assert!(retried.standing.says.contains("after one attempt"), "{}", retried.standing.says);
    assert!(matches!(&retried.attempts[0].outcome, Outcome::Answered(no) if no.status == 500));

    let held = bench.change(&shop, health(None, Some(3600), bench)).await;
    let standing = traced(bench, ids[0], &shop).await.standing;
    assert_eq!(
        (standing.waits_for, standing.next_at),
        (Some(WaitsFor::Hold), held.health.held_until)
    );
    bench.change(&shop, health(Some(0), None, bench)).await;
    assert_eq!(waits_for(bench, ids[0], &shop).await, Some(WaitsFor::Breaker));
    bench.disable(&shop).await;
    assert_eq!(waits_for(bench, ids[0], &shop).await, Some(WaitsFor::Disabled));
    bench.enable(&shop).await;
    bench.pass(DELAYS[0] * 2).await;
    let over = traced(bench, ids[0], &shop).await;
    assert_eq!((over.standing.waits_for, over.standing.next_at), (None, None));
    assert!(over.standing.says.starts_with("was delivered at "), "{}", over.standing.says);
}

/// Replays stand beside what they repeat, and a deleted endpoint beside what it got.
pub async fn replays_and_deleted_endpoints_are_explained_too(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    bench.network.statuses(&[500]);
    let id = bench.emit().await;
    let failed = traced(bench, id, &shop).await;
    assert!(failed.standing.says.contains("answered 500"), "{}", failed.standing.says);
    bench.engine().replay(bench.company, failed.delivery.id).await.unwrap();
    let explained = explain(bench, id).await;
    let [first, replay] = &explained.heard[0].deliveries[..] else { panic!("two deliveries") };
    assert_eq!(replay.delivery.replay_of, Some(first.delivery.id));

    bench.engine().delete_endpoint(bench.company, shop.id).await.unwrap();
    let explained = explain(bench, id).await;
    assert_eq!((explained.heard.len(), explained.unheard.len()), (1, 0));
    assert!(explained.heard[0].deleted_at.is_some());

    let page = bench.engine().explain(bench.company, id, None, 1).await.unwrap();
    assert_eq!((page.heard[0].deliveries.len(), page.next), (1, Some(first.delivery.id)));
    let rest = bench.engine().explain(bench.company, id, page.next, 1).await.unwrap();
    assert_eq!(rest.heard[0].deliveries[0].delivery, replay.delivery);
    assert_eq!((rest.next, rest.unheard.len()), (None, 0));
}

/// From the time it was due until it went.
pub async fn the_wait_before_each_attempt_is_measured(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.always(Reply::Hang);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(bench.emit().await);
    }
    bench.pass(Duration::from_secs(3)).await;
    bench.network.always(Reply::Status(200));
    bench.network.let_go(&Reply::Status(500));
    bench.rest().await;
    let first = traced(bench, ids[0], &shop).await;
    let third = traced(bench, ids[2], &shop).await;
    assert_eq!(first.attempts[0].timing.queue, Some(Duration::ZERO));
    assert_eq!(third.attempts[0].timing.queue, Some(Duration::from_secs(3)));

    bench.pass(DELAYS[0] * 2).await;
    let retry = &traced(bench, ids[0], &shop).await.attempts[1];
    let waited = retry.started_at.since(first.delivery.due_at);
    assert_eq!(retry.timing.queue, Some(waited));
    assert!(waited > Duration::ZERO);
}

/// More endpoints than anybody reads: those that heard, a hundred others, and how many more.
pub async fn of_many_endpoints_a_hundred_others_are_shown_and_the_rest_counted(bench: &mut Bench) {
    for _ in 0..103 {
        endpoint(bench, "payment.*", false).await;
    }
    let shop = bench.endpoint().await;
    let id = bench.engine().emit(bench.company, event()).await.unwrap().id;
    let explained = explain(bench, id).await;
    assert_eq!(explained.heard[0].endpoint.id, shop.id);
    assert_eq!((explained.unheard.len(), explained.unheard_left_out), (100, 3));
}
