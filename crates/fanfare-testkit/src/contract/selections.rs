//! What a replay of many sends again, and what it leaves out.

use std::collections::BTreeSet;

use bytes::Bytes;
use fanfare::model::{
    DeliveryId, Endpoint, EndpointChange, Event, EventId, Selection, Timestamp, Verdict,
};
use fanfare::store::{NewReplay, ReplayCount, Store};

use super::fixtures::{
    NOW, SECOND, accept_all, accept_none, act, assert_sound, claim, company, endpoint, event,
    failed, history, listener, record,
};
use super::replays::{LATER, all_failed, failures, wish, work_off};

/// When the replays are asked for.
const THEN: Timestamp = Timestamp(NOW.0 + 1000);

/// The events that an endpoint was told of by replays, each with the delivery it repeats.
async fn repeats(store: &dyn Store, endpoint: &Endpoint) -> Vec<(EventId, Option<DeliveryId>)> {
    let mut found: Vec<_> = history(store, endpoint)
        .await
        .into_iter()
        .filter(|item| item.delivery.replay.is_some())
        .map(|item| (item.event.id, item.delivery.replay_of))
        .collect();
    found.reverse();
    found
}

async fn disable(store: &dyn Store, endpoint: &Endpoint) {
    let disable = EndpointChange { disabled: Some(Some("off".into())), ..Default::default() };
    store.change_endpoint(endpoint.company, endpoint.id, &disable, &act(NOW)).await.unwrap();
}

/// The others are found and not made.
pub async fn listed_deliveries_are_repeated_where_they_can_be(store: &dyn Store) {
    let company = company();
    let (open, off, gone) = (
        listener(store, company).await,
        listener(store, company).await,
        listener(store, company).await,
    );
    let mut ids = vec![DeliveryId::new(NOW)];
    for claim in accept_all(store, &event(company, "a", NOW)).await {
        assert!(record(store, &claim, Verdict::Concluded, NOW).await);
        ids.push(claim.delivery);
    }
    let theirs = listener(store, super::fixtures::company()).await;
    failures(store, &theirs, 1).await;
    ids.push(history(store, &theirs).await[0].id());
    let mut late = event(company, "a", NOW);
    late.expires_at = Some(THEN);
    ids.extend(accept_all(store, &late).await.iter().map(|claim| claim.delivery));
    disable(store, &off).await;
    store.delete_endpoint(company, gone.id, &act(NOW)).await.unwrap();
    let new = wish(company, Selection::Deliveries(ids.clone()), THEN);
    assert_eq!(work_off(store, &new).await, (8, 2));
    for endpoint in [&open, &off] {
        let [(_, old)] = repeats(store, endpoint).await.try_into().unwrap();
        assert!(ids.contains(&old.unwrap()));
    }
    assert!(repeats(store, &gone).await.is_empty());
    let again = wish(company, Selection::Deliveries(ids), THEN.plus(LATER));
    assert_eq!(work_off(store, &again).await, (8, 0), "both wait");
    assert_sound(store).await;
}

/// The end of each chain counts, and what fails while a replay is worked off is not its own.
pub async fn failures_are_repeated_unless_repeated_before(store: &dyn Store) {
    let company = company();
    let shop = listener(store, company).await;
    failures(store, &shop, 10).await;
    let since = |since| Selection::Failed { since, endpoint: None, types: None };
    let late = Timestamp(NOW.0 + 4);
    assert_eq!(work_off(store, &wish(company, since(late), THEN)).await, (6, 6));
    assert_eq!(work_off(store, &wish(company, all_failed(), THEN)).await, (4, 4));
    for claim in claim(store, &shop, 3, THEN).await.claims {
        assert!(record(store, &claim, failed("again"), THEN).await);
    }
    let later = THEN.plus(LATER);
    assert_eq!(work_off(store, &wish(company, since(THEN), later)).await, (3, 3));
    assert_eq!(work_off(store, &wish(company, all_failed(), later.plus(LATER))).await, (0, 0));
    let old: Vec<_> = repeats(store, &shop).await.into_iter().map(|(_, old)| old).collect();
    assert_eq!((old.len(), old.iter().collect::<BTreeSet<_>>().len()), (13, 13));
    assert_sound(store).await;
}

/// Both, where both are named.
pub async fn failures_are_selected_by_endpoint_and_type(store: &dyn Store) {
    let company = company();
    let (one, two) = (listener(store, company).await, listener(store, company).await);
    for name in ["order.created", "order.line.added", "payment.received", "order"] {
        for claim in accept_all(store, &event(company, name, NOW)).await {
            assert!(record(store, &claim, failed("no"), NOW).await);
        }
    }
    let types = |text: &str| Some(text.parse().unwrap());
    let of = |endpoint: Option<&Endpoint>, types| {
        let endpoint = endpoint.map(|endpoint| endpoint.id);
        wish(company, Selection::Failed { since: NOW, endpoint, types }, THEN)
    };
    assert_eq!(work_off(store, &of(Some(&one), types("order.*"))).await, (2, 2));
    assert_eq!(work_off(store, &of(None, types("payment.received"))).await, (2, 2));
    assert_eq!(work_off(store, &of(Some(&two), None)).await, (3, 3));
    assert_eq!(work_off(store, &of(None, types("*"))).await, (1, 1));
    assert_sound(store).await;
}

/// Cancelled, past its time, or to a deleted endpoint.
pub async fn what_was_given_up_on_purpose_stays_so(store: &dyn Store) {
    let company = company();
    let (shop, gone) = (listener(store, company).await, listener(store, company).await);
    let mut late = event(company, "a", NOW);
    late.expires_at = Some(THEN);
    for (event, reason) in [(event(company, "a", NOW), "cancelled"), (late, "expired")] {
        for claim in accept_all(store, &event).await {
            assert!(record(store, &claim, failed(reason), NOW).await);
        }
    }
    failures(store, &shop, 1).await;
    store.delete_endpoint(company, gone.id, &act(NOW)).await.unwrap();
    let new = wish(company, all_failed(), THEN);
    assert_eq!(work_off(store, &new).await, (4, 1), "what was cancelled is not even looked at");
    assert_eq!(repeats(store, &shop).await.len(), 1);
    assert_sound(store).await;
}

fn events(pattern: &str) -> Selection {
    let types = pattern.parse().unwrap();
    Selection::Events { types, from: NOW, to: None, endpoint: None }
}

/// Also those that were registered later; not those that are disabled, or that have it coming.
pub async fn events_reach_endpoints_that_listen_today(store: &dyn Store) {
    let company = company();
    let (heard, waits, off) = (
        listener(store, company).await,
        listener(store, company).await,
        listener(store, company).await,
    );
    let told = event(company, "order.created", NOW);
    for claim in accept_all(store, &told).await {
        if claim.endpoint.id != waits.id {
            assert!(record(store, &claim, Verdict::Concluded, NOW).await);
        }
    }
    disable(store, &off).await;
    let [newcomer, elsewhere, operational] = ["order.*", "payment.*", "*"].map(|pattern| {
        let operational = pattern == "*";
        Endpoint { operational, created_at: THEN, ..endpoint(company, &[pattern]) }
    });
    for endpoint in [&newcomer, &elsewhere, &operational] {
        store.add_endpoint(endpoint, &act(NOW)).await.unwrap();
    }
    assert_eq!(work_off(store, &wish(company, events("order.created"), THEN)).await, (4, 2));
    let first = history(store, &heard).await.pop().unwrap().id();
    assert_eq!(repeats(store, &heard).await, [(told.id, Some(first))]);
    assert_eq!(repeats(store, &newcomer).await, [(told.id, None)]);
    for endpoint in [&waits, &off, &elsewhere, &operational] {
        assert!(repeats(store, endpoint).await.is_empty());
    }
    for endpoint in [&heard, &newcomer] {
        let claim = claim(store, endpoint, 9, THEN).await.claims.remove(0);
        assert_eq!((claim.event.id, claim.sequence > 0), (told.id, true));
        assert!(record(store, &claim, Verdict::Concluded, THEN).await);
    }
    let for_newcomer = Selection::Events {
        types: "*".parse().unwrap(),
        from: NOW,
        to: None,
        endpoint: Some(newcomer.id),
    };
    let again = wish(company, for_newcomer, THEN.plus(LATER));
    assert_eq!(work_off(store, &again).await, (1, 1));
    let last = repeats(store, &newcomer).await.pop().unwrap();
    assert!(last.1.is_some(), "it repeats what the first replay made");
    assert_sound(store).await;
}

/// From a time, up to another, which is not in it; in the order in which they were accepted.
pub async fn events_are_selected_by_type_and_time(store: &dyn Store) {
    let company = company();
    let shop = listener(store, company).await;
    let mut told: Vec<Event> = Vec::new();
    for (n, name) in (0..12).zip(["a.b", "a.c", "b"].into_iter().cycle()) {
        let at = Timestamp(NOW.0 + n / 2);
        let event = event(company, name, at);
        for claim in accept_all(store, &event).await {
            assert!(record(store, &claim, Verdict::Concluded, at).await);
        }
        told.push(event);
    }
    let mut empty = event(company, "a.b", Timestamp(NOW.0 + 2));
    empty.payload = Bytes::new();
    accept_all(store, &empty).await;
    let (from, to) = (Timestamp(NOW.0 + 1), Some(Timestamp(NOW.0 + 4)));
    let types = "a.*".parse().unwrap();
    let new = wish(company, Selection::Events { types, from, to, endpoint: None }, THEN);
    assert_eq!(work_off(store, &new).await, (4, 4));
    let mut expected: Vec<(Timestamp, EventId)> = told[2..8]
        .iter()
        .filter(|event| event.event_type.as_str() != "b")
        .map(|event| (event.created_at, event.id))
        .collect();
    expected.sort();
    let made = repeats(store, &shop).await.into_iter().map(|(event, _)| event);
    assert!(made.eq(expected.into_iter().map(|(_, id)| id)));
    assert_sound(store).await;
}

/// It goes when its last replay goes.
pub async fn what_nobody_heard_stays_while_it_is_replayed(store: &dyn Store) {
    let company = company();
    accept_none(store, &event(company, "a", NOW)).await;
    let shop = listener(store, company).await;
    assert_eq!(work_off(store, &wish(company, events("*"), THEN)).await, (1, 1));
    let expired = THEN.plus(SECOND);
    assert_eq!(store.expire(expired, None, 100).await.unwrap().rows, 0);
    let claim = claim(store, &shop, 9, THEN).await.claims.remove(0);
    assert!(record(store, &claim, Verdict::Concluded, THEN).await);
    assert!(store.expire(expired, None, 100).await.unwrap().rows > 0);
    assert!(history(store, &shop).await.is_empty());
    assert_sound(store).await;
}

/// As far as it counts.
pub async fn a_count_is_what_a_replay_makes(store: &dyn Store) {
    let company = company();
    let (shop, off) = (listener(store, company).await, listener(store, company).await);
    failures(store, &shop, 9).await;
    disable(store, &off).await;
    let listed: Vec<_> = history(store, &shop).await.iter().take(3).map(|one| one.id()).collect();
    for selection in [Selection::Deliveries(listed), all_failed(), events("a.*")] {
        let new = NewReplay { key: None, ..wish(company, selection, THEN) };
        let count = store.count_replay(&new, 1000).await.unwrap();
        assert!(!count.more);
        assert_eq!((count.found, count.made), work_off(store, &new).await);
    }
    let new = wish(company, events("*"), THEN);
    let capped = store.count_replay(&new, 5).await.unwrap();
    assert_eq!(capped, ReplayCount { found: 18, made: 0, more: false }, "one part at least");
    assert_sound(store).await;
}
