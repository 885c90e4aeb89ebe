//! Replays and lanes.

use fanfare::model::{DeliveryId, DeliveryState, EndpointChange, Health, Verdict};
use fanfare::store::{Lane, LaneKey, Store};

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, assert_sound, claim, company, delivery,
    event, failed, history, lane, listener, record,
};

/// The old one stays as it is.
pub async fn a_replay_is_a_new_delivery_of_the_same_event(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let event = event(company, "a", NOW);
    let born = accept_all(store, &event).await.remove(0);
    assert!(record(store, &born, failed("no"), NOW).await);
    let old = delivery(store, company, born.delivery).await;
    let later = NOW.plus(SECOND);
    let made = store.replay(company, born.delivery, &act(later)).await.unwrap().unwrap();
    assert!(made.id > old.id);
    assert_eq!((made.event, made.endpoint, made.shape), (event.id, endpoint.id, old.shape));
    assert_eq!((made.state, made.attempts, made.fence), (DeliveryState::Waiting, 0, 0));
    assert_eq!((made.due_at, made.updated_at, &made.reason), (later, later, &None));
    assert_eq!(made.replay_of, Some(old.id));
    assert_eq!(delivery(store, company, made.id).await, made);
    assert_eq!(delivery(store, company, old.id).await, old);

    let again = claim(store, &endpoint, 9, later).await.claims.remove(0);
    assert_eq!((again.delivery, again.event.id), (made.id, event.id));
    assert!(record(store, &again, Verdict::Concluded, later).await);
    let third = store.replay(company, made.id, &act(later)).await.unwrap().unwrap();
    assert_eq!(third.replay_of, Some(made.id));
    assert_eq!(history(store, &endpoint).await.len(), 3);
    assert_sound(store).await;
}

/// A disabled endpoint holds the replay; a deleted one has none.
pub async fn a_replay_needs_a_delivery_and_an_endpoint(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &born, Verdict::Concluded, NOW).await);
    let unknown = DeliveryId::new(NOW);
    assert!(store.replay(company, unknown, &act(NOW)).await.unwrap().is_none());
    assert!(
        store.replay(super::fixtures::company(), born.delivery, &act(NOW)).await.unwrap().is_none()
    );
    let disable = EndpointChange { disabled: Some(Some("off".into())), ..Default::default() };
    store.change_endpoint(company, endpoint.id, &disable, &act(NOW)).await.unwrap();
    assert!(store.replay(company, born.delivery, &act(NOW)).await.unwrap().is_some());
    store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap();
    assert!(store.replay(company, born.delivery, &act(NOW)).await.unwrap().is_none());
    assert_sound(store).await;
}

/// Lanes with something waiting, due or not, whose endpoint is enabled.
pub async fn lanes_are_those_that_wait_and_may_go(store: &dyn Store) {
    let company = company();
    assert!(store.lanes(None, 10).await.unwrap().is_empty());
    let mut endpoints = Vec::new();
    for _ in 0..5 {
        endpoints.push(listener(store, company).await);
    }
    for n in [2, 0, 1] {
        accept_none(store, &event(company, "a", NOW.plus(SECOND * n))).await;
    }
    let [done, claimed, held, deleted, retrying] = endpoints.try_into().unwrap();
    for claim in claim(store, &done, 9, NOW.plus(LEASE)).await.claims {
        assert!(record(store, &claim, Verdict::Concluded, NOW).await);
    }
    claim(store, &claimed, 9, NOW.plus(LEASE)).await;
    let retry_at = NOW.plus(LEASE * 20);
    for claim in claim(store, &retrying, 9, NOW.plus(LEASE)).await.claims {
        assert!(record(store, &claim, Verdict::RetryAt(retry_at), NOW).await);
    }
    let mut change = EndpointChange { disabled: Some(Some("off".into())), ..Default::default() };
    store.change_endpoint(company, held.id, &change, &act(NOW)).await.unwrap();
    store.delete_endpoint(company, deleted.id, &act(NOW)).await.unwrap();
    let mut expected = vec![
        Lane { key: lane(&claimed), due_at: NOW.plus(LEASE * 2), health: Health::default() },
        Lane { key: lane(&retrying), due_at: retry_at, health: Health::default() },
    ];
    assert_eq!(store.lanes(None, 10).await.unwrap(), expected);

    change.disabled = Some(None);
    store.change_endpoint(company, held.id, &change, &act(NOW)).await.unwrap();
    expected.insert(1, Lane { key: lane(&held), due_at: NOW, health: Health::default() });
    assert_eq!(store.lanes(None, 10).await.unwrap(), expected);
}

/// In the order of company and endpoint, whatever the limit.
pub async fn lanes_are_read_on_from_any_place(store: &dyn Store) {
    let mut keys: Vec<LaneKey> = Vec::new();
    for _ in 0..4 {
        let company = company();
        for _ in 0..3 {
            keys.push(lane(&listener(store, company).await));
        }
        for _ in 0..3 {
            accept_none(store, &event(company, "a", NOW)).await;
        }
    }
    keys.sort();
    for limit in [1, 2, 5, 100] {
        let (mut read, mut after) = (Vec::new(), None);
        loop {
            let lanes = store.lanes(after, limit).await.unwrap();
            let Some(last) = lanes.last() else { break };
            assert!(lanes.len() <= limit as usize);
            after = Some(last.key);
            read.extend(lanes.iter().map(|lane| lane.key));
        }
        assert_eq!(read, keys);
    }
}
