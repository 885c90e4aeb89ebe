//! Where an event went.

use fanfare::model::{EventId, Verdict};
use fanfare::store::Store;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, admission, attempt, claim_one, company,
    endpoint, event, lane, listener, new, plain, record, result,
};

/// In its company, and with all that it was emitted with.
pub async fn an_event_is_found_in_its_company(store: &dyn Store) {
    let company = company();
    let mut emitted = event(company, "a", NOW);
    emitted.ordering_key = Some("order 7".to_owned());
    emitted.expires_at = Some(NOW.plus(LEASE * 100));
    accept_none(store, &emitted).await;
    let found = store.event(company, emitted.id).await.unwrap().unwrap();
    assert_eq!((found.id, found.created_at, &found.payload), (emitted.id, NOW, &emitted.payload));
    assert_eq!(found.ordering_key, emitted.ordering_key);
    assert_eq!(found.expires_at, emitted.expires_at);
    let elsewhere = fanfare::CompanyId::new(NOW);
    assert!(store.event(elsewhere, emitted.id).await.unwrap().is_none());
    assert!(store.event(company, EventId::new(NOW)).await.unwrap().is_none());
}

/// The oldest first, replays included; above the one named, up to the limit.
pub async fn the_deliveries_of_an_event_come_with_their_attempts_in_pages(store: &dyn Store) {
    let company = company();
    let (one, _two) = (listener(store, company).await, listener(store, company).await);
    let told = event(company, "a", NOW);
    let claims = accept_all(store, &told).await;
    accept_all(store, &event(company, "a", NOW)).await;
    let first = claims.iter().find(|claim| claim.endpoint.id == one.id).unwrap();
    let at = NOW.plus(SECOND);
    assert!(record(store, first, Verdict::RetryAt(at), NOW).await);
    let again = claim_one(store, &one, at).await;
    store.record(result(&again, Verdict::Concluded, at)).await.unwrap();
    let replay = store.replay(company, first.delivery, &act(at)).await.unwrap().unwrap();

    let all = store.deliveries_of(company, told.id, None, 10).await.unwrap();
    let mut ids: Vec<_> = claims.iter().map(|claim| claim.delivery).collect();
    ids.sort();
    ids.push(replay.id);
    assert_eq!(all.iter().map(|journey| journey.delivery.id).collect::<Vec<_>>(), ids);
    for journey in &all {
        let known = store.delivery(company, journey.delivery.id).await.unwrap().unwrap();
        assert_eq!(journey.delivery, known.delivery);
        let made: &[_] = if journey.delivery.id == first.delivery {
            &[attempt(first, NOW, 500), attempt(&again, at, 204)]
        } else {
            &[]
        };
        assert_eq!(journey.attempts, made);
    }
    let page = store.deliveries_of(company, told.id, Some(ids[0]), 1).await.unwrap();
    assert_eq!(page.iter().map(|journey| journey.delivery.id).collect::<Vec<_>>(), [ids[1]]);
    assert!(store.deliveries_of(company, told.id, Some(ids[2]), 9).await.unwrap().is_empty());
    let elsewhere = fanfare::CompanyId::new(NOW);
    assert!(store.deliveries_of(elsewhere, told.id, None, 9).await.unwrap().is_empty());
}

/// Whoever has a delivery has heard, and a deleted endpoint is not asked about.
pub async fn who_has_no_delivery_of_an_event_is_listed_and_counted(store: &dyn Store) {
    let company = company();
    listener(store, company).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = endpoint(company, &["b"]);
        store.add_endpoint(&other, &act(NOW)).await.unwrap();
        others.push(other);
    }
    let gone = endpoint(company, &["b"]);
    store.add_endpoint(&gone, &act(NOW)).await.unwrap();
    store.delete_endpoint(company, gone.id, &act(NOW)).await.unwrap();
    let told = event(company, "a", NOW);
    accept_none(store, &told).await;
    others.reverse();
    let page = store.unheard(company, told.id, 2).await.unwrap();
    assert_eq!((page.items.as_slice(), page.total), (&others[..2], 3));
    let nobody = store.unheard(fanfare::CompanyId::new(NOW), told.id, 2).await.unwrap();
    assert_eq!((nobody.items.len(), nobody.total), (0, 0));
}

/// Its history needs its name.
pub async fn a_deleted_endpoint_is_still_known(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    accept_none(store, &event(company, "a", NOW)).await;
    let found = store.registered(company, endpoint.id).await.unwrap().unwrap();
    assert_eq!((&found.endpoint, found.deleted_at), (&endpoint, None));
    store.delete_endpoint(company, endpoint.id, &act(NOW.plus(SECOND))).await.unwrap();
    let found = store.registered(company, endpoint.id).await.unwrap().unwrap();
    assert_eq!((&found.endpoint.url, found.deleted_at), (&endpoint.url, Some(NOW.plus(SECOND))));
    let elsewhere = fanfare::CompanyId::new(NOW);
    assert!(store.registered(elsewhere, endpoint.id).await.unwrap().is_none());
}

/// Nobody waits under a key that nothing was emitted under.
pub async fn the_first_in_order_is_one_that_waits(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    accept_none(store, &event(company, "a", NOW)).await;
    assert_eq!(store.first_in_order(lane(&endpoint), "order 7").await.unwrap(), None);
}

/// At birth that is when the event was emitted; later, when it fell due.
pub async fn a_claim_tells_when_it_was_due(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let (claims, _) =
        new(store.accept(plain(&event(company, "a", NOW)), &admission(true)).await.unwrap());
    assert_eq!(claims[0].due_at, NOW);
    let at = NOW.plus(SECOND);
    assert!(record(store, &claims[0], Verdict::RetryAt(at), NOW).await);
    assert_eq!(claim_one(store, &endpoint, at.plus(SECOND)).await.due_at, at);
}
