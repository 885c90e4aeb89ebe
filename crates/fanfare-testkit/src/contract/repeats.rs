//! The same thing said twice.

use bytes::Bytes;
use fanfare::model::{EventId, Verdict};
use fanfare::store::{Receipt, Store};

use super::fixtures::{
    NOW, SECOND, accept_none, act, admission, assert_sound, company, conflict, event, history,
    listener, new, record, repeat, under_both, under_id, under_key,
};

/// Under the caller's own id.
pub async fn a_repeated_id_is_answered_the_same(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut event = event(company, "a", NOW);
    assert_eq!(new(store.accept(under_id(&event), &admission(true)).await.unwrap()).0.len(), 1);
    let expected = Receipt { id: event.id, created_at: NOW, deliveries: 1 };
    event.created_at = NOW.plus(SECOND);
    for _ in 0..2 {
        let again = store.accept(under_id(&event), &admission(true)).await.unwrap();
        assert_eq!(repeat(again), expected);
    }
    assert_eq!(history(store, &endpoint).await.len(), 1);
    assert_sound(store).await;
}

/// Under the caller's key: the event's id is the first one's.
pub async fn a_repeated_key_is_answered_the_same(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut event = event(company, "a", NOW);
    let key = "order 1 — 'ñ' \\ %";
    assert_eq!(
        new(store.accept(under_key(&event, key), &admission(true)).await.unwrap()).0.len(),
        1
    );
    let expected = Receipt { id: event.id, created_at: NOW, deliveries: 1 };
    for _ in 0..2 {
        event.id = EventId::new(NOW);
        event.created_at = NOW.plus(SECOND);
        let again = store.accept(under_key(&event, key), &admission(true)).await.unwrap();
        assert_eq!(repeat(again), expected);
    }
    assert_eq!(history(store, &endpoint).await.len(), 1);
    let other = store.accept(under_key(&event, "order 2"), &admission(true)).await.unwrap();
    assert_eq!(new(other).0.len(), 1);
    assert_sound(store).await;
}

/// Another type or other bytes: the name says what is there already, and nothing is stored.
pub async fn another_event_under_the_same_id_or_key_is_a_conflict(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let first = event(company, "a", NOW);
    let emit = under_both(&first, "k");
    new(store.accept(emit.clone(), &admission(true)).await.unwrap());
    let expected = Receipt { id: first.id, created_at: NOW, deliveries: 1 };
    assert_eq!(repeat(store.accept(emit, &admission(true)).await.unwrap()), expected);
    let mut other_type = first.clone();
    other_type.event_type = "b".parse().unwrap();
    let mut other_bytes = first.clone();
    other_bytes.payload = Bytes::from_static(br#"{"total":1.1}"#);
    for mut event in [other_type, other_bytes] {
        let by_id = store.accept(under_id(&event), &admission(true)).await.unwrap();
        assert_eq!(conflict(by_id), format!("id:{}", first.id));
        event.id = EventId::new(NOW);
        let by_key = store.accept(under_key(&event, "k"), &admission(true)).await.unwrap();
        assert_eq!(conflict(by_key), "key:k");
    }
    assert_eq!(history(store, &endpoint).await.len(), 1);
    assert_sound(store).await;
}

/// Two companies may say the same.
pub async fn ids_and_keys_belong_to_their_company(store: &dyn Store) {
    let (ours, theirs) = (company(), company());
    let endpoint = listener(store, theirs).await;
    let mut event = event(ours, "a", NOW);
    new(store.accept(under_both(&event, "k"), &admission(true)).await.unwrap());
    event.company = theirs;
    event.payload = Bytes::from_static(b"null");
    let emit = under_both(&event, "k");
    assert_eq!(new(store.accept(emit, &admission(true)).await.unwrap()).0.len(), 1);
    let [heard] = history(store, &endpoint).await.try_into().unwrap();
    assert_eq!((heard.event.id, &heard.event.payload[..]), (event.id, &b"null"[..]));
    assert_sound(store).await;
}

/// What happened since changes no receipt.
pub async fn a_receipt_tells_what_was_answered_then(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    listener(store, company).await;
    let event = event(company, "a", NOW);
    let (claims, _) = new(store.accept(under_id(&event), &admission(true)).await.unwrap());
    assert!(record(store, &claims[0], Verdict::Concluded, NOW).await);
    store.replay(company, claims[0].delivery, &act(NOW)).await.unwrap().unwrap();
    store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap();
    listener(store, company).await;
    accept_none(store, &super::event(company, "a", NOW)).await;
    let again = store.accept(under_id(&event), &admission(true)).await.unwrap();
    assert_eq!(repeat(again).deliveries, 2);
}
