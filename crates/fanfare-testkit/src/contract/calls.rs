//! Several events in one call, at their time, and what ends unsent.

use fanfare::EventId;
use fanfare::model::{DeliveryState, Event, Ordering, Verdict};
use fanfare::store::{Accepted, Emit, Name, Store, Unsent};

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, admission, assert_sound, claim, claim_one,
    company, conflict, delivery, endpoint, event, history, listener, new, plain, record, repeat,
    under_id, under_key,
};

fn is_new(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::New { .. })
}

/// In the order of the call, within a key too.
pub async fn a_call_is_stored_in_its_order(store: &dyn Store) {
    let company = company();
    let mut endpoint = endpoint(company, &["*"]);
    endpoint.flow.ordering = Ordering::Key;
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    let events: Vec<Event> = (0..7)
        .map(|n| {
            let key = ["a", "b"].get(n % 3).map(|key| (*key).to_owned());
            Event { ordering_key: key, ..event(company, "a", NOW) }
        })
        .collect();
    let accepted = store.accept(events.iter().flat_map(plain).collect(), &admission(true)).await;
    let accepted = accepted.unwrap();
    let claimed: Vec<usize> =
        accepted.into_iter().map(|accepted| new(vec![accepted]).0.len()).collect();
    assert_eq!(claimed, [1, 1, 1, 0, 0, 1, 0], "the first of each key, and what has none");
    let mut made: Vec<_> = history(store, &endpoint).await;
    made.sort_by_key(|item| item.delivery.sequence);
    let made: Vec<EventId> = made.iter().map(|item| item.event.id).collect();
    assert_eq!(made, events.iter().map(|event| event.id).collect::<Vec<_>>());
    assert!(store.accept(Vec::new(), &admission(true)).await.unwrap().is_empty());
    assert_sound(store).await;
}

/// Nothing of it, if one is a conflict; the others learn that.
pub async fn a_call_with_a_conflict_stores_nothing(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let known = event(company, "a", NOW);
    new(store.accept(under_id(&known), &admission(true)).await.unwrap());
    let other = Event { id: known.id, ..event(company, "b", NOW) };
    let fresh = event(company, "a", NOW);
    let call = |event: &Event| {
        let emits = [under_id(&known), under_key(&fresh, "k"), under_id(event), plain(&fresh)];
        emits.concat()
    };
    let accepted = store.accept(call(&other), &admission(true)).await.unwrap();
    let [Accepted::Repeat(_), Accepted::Withheld, Accepted::Conflict(name), Accepted::Withheld] =
        &accepted[..]
    else {
        panic!("{accepted:?}")
    };
    assert_eq!(*name, format!("id:{}", known.id));
    assert_eq!(history(store, &endpoint).await.len(), 1);
    assert_sound(store).await;
    let mut again = call(&known);
    again.pop();
    let accepted = store.accept(again, &admission(true)).await.unwrap();
    let news: Vec<bool> = accepted.iter().map(is_new).collect();
    assert_eq!(news, [false, true, false]);
    assert_eq!(history(store, &endpoint).await.len(), 2);
    assert_sound(store).await;
}

/// Twice in one call is once; two that say different things are a conflict.
pub async fn a_call_may_repeat_itself(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let first = event(company, "a", NOW);
    let emits = [under_id(&first), under_id(&first)].concat();
    let accepted = store.accept(emits, &admission(true)).await.unwrap();
    let [Accepted::New { .. }, Accepted::Repeat(receipt)] = &accepted[..] else {
        panic!("{accepted:?}")
    };
    assert_eq!((receipt.id, receipt.deliveries), (first.id, 1));
    let second = event(company, "a", NOW);
    let other = Event { id: second.id, ..event(company, "b", NOW) };
    let emits = [under_id(&second), under_id(&other)].concat();
    let accepted = store.accept(emits, &admission(true)).await.unwrap();
    assert!(matches!(accepted[..], [Accepted::Withheld, Accepted::Conflict(_)]), "{accepted:?}");
    new(store.accept(under_id(&other), &admission(true)).await.unwrap());
    assert_eq!(history(store, &endpoint).await.len(), 2);
    assert_sound(store).await;
}

/// Not before; a time that has passed is now.
pub async fn a_delivery_is_due_at_its_events_time(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let at = |deliver_at| Event { deliver_at: Some(deliver_at), ..event(company, "a", NOW) };
    assert_eq!(accept_all(store, &at(NOW.minus(LEASE))).await.len(), 1);
    let later = NOW.plus(LEASE * 9);
    assert!(accept_all(store, &at(later)).await.is_empty());
    let first = claim_one(store, &endpoint, NOW.plus(LEASE)).await;
    assert!(record(store, &first, Verdict::Concluded, NOW).await);
    assert_eq!(claim(store, &endpoint, 10, NOW).await.next_due, Some(later));
    assert_eq!(claim_one(store, &endpoint, later).await.event.deliver_at, Some(later));
    assert_sound(store).await;
}

/// It can only be a mistake; but a repeat is answered however late it comes.
pub async fn an_event_that_has_expired_is_not_stored(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut event = Event { expires_at: Some(NOW.plus(SECOND)), ..event(company, "a", NOW) };
    new(store.accept(under_key(&event, "k"), &admission(true)).await.unwrap());
    event.created_at = NOW.plus(SECOND);
    let again = store.accept(under_key(&event, "k"), &admission(true)).await.unwrap();
    assert!(matches!(again[..], [Accepted::Repeat(_)]), "{again:?}");
    event.id = EventId::new(NOW);
    let emits = [plain(&event), plain(&super::event(company, "a", NOW))].concat();
    let late = store.accept(emits, &admission(true)).await.unwrap();
    assert!(matches!(late[..], [Accepted::Withheld, Accepted::Withheld]), "{late:?}");
    assert_eq!(history(store, &endpoint).await.len(), 1);
    assert_sound(store).await;
}

/// Unsent or after some attempts, held or not; what is claimed is left to whoever claimed it.
pub async fn what_has_expired_lapses_in_slices(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let end = NOW.plus(SECOND);
    for n in 0..5 {
        let expires_at = (n < 4).then_some(end);
        accept_none(store, &Event { expires_at, ..event(company, "a", NOW) }).await;
    }
    let claims = claim(store, &endpoint, 2, NOW).await.claims;
    assert!(record(store, &claims[0], Verdict::RetryAt(end.plus(LEASE)), NOW).await);
    let off = Some(Some("off".to_owned()));
    let change = fanfare::model::EndpointChange { disabled: off, ..Default::default() };
    store.change_endpoint(company, endpoint.id, &change, &act(NOW)).await.unwrap();
    assert!(store.lapse(fanfare::Timestamp(end.0 - 1), 10).await.unwrap().deliveries.is_empty());
    let mut slices = Vec::new();
    for _ in 0..3 {
        slices.push(store.lapse(end, 2).await.unwrap().deliveries.len());
    }
    assert_eq!(slices, [2, 1, 0]);
    let tried = delivery(store, company, claims[0].delivery).await;
    assert_eq!(tried.reason, Some(format!("expired at {end}, after 1 attempt")));
    let reasons = history(store, &endpoint).await;
    let reasons = reasons.iter().filter_map(|item| item.delivery.reason.as_deref());
    assert_eq!(reasons.filter(|reason| *reason == format!("expired unsent at {end}")).count(), 2);
    assert!(record(store, &claims[1], Verdict::Concluded, end).await, "it was being sent");
    assert_sound(store).await;
}

/// Neither final nor claimed by somebody else.
pub async fn only_what_waits_is_ended(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let event = event(company, "a", NOW);
    let sent = accept_all(store, &event).await.remove(0);
    assert!(record(store, &sent, Verdict::Concluded, NOW).await);
    let mut last = sent.delivery;
    for _ in 0..3 {
        last = store.replay(company, last, &act(NOW)).await.unwrap().unwrap().id;
    }
    let claims = claim(store, &endpoint, 2, NOW).await.claims;
    let waiting = store.waiting_of(company, event.id).await.unwrap().unwrap();
    assert_eq!(waiting.len(), 3);
    assert!(waiting.is_sorted_by_key(|one| one.id));
    assert!(store.waiting_of(company, EventId::new(NOW)).await.unwrap().is_none());
    let fence_of = |id| (id == claims[0].delivery).then_some(claims[0].fence);
    let mut doomed: Vec<_> = waiting.iter().map(|one| (one.id, fence_of(one.id))).collect();
    doomed.push((sent.delivery, Some(sent.fence)));
    assert!(
        store
            .end(super::fixtures::company(), &doomed, &Unsent::by_rule("no", NOW))
            .await
            .unwrap()
            .deliveries
            .is_empty()
    );
    let mut ended =
        store.end(company, &doomed, &Unsent::by_rule("no", NOW)).await.unwrap().deliveries;
    ended.sort();
    let mut expected: Vec<_> = waiting.iter().map(|one| one.id).collect();
    expected.retain(|id| *id != claims[1].delivery);
    assert_eq!(ended, expected);
    for id in ended {
        let ended = delivery(store, company, id).await;
        assert_eq!((ended.state, ended.reason.as_deref()), (DeliveryState::Failed, Some("no")));
    }
    assert!(!record(store, &claims[0], Verdict::Concluded, NOW).await, "it is too late");
    assert!(record(store, &claims[1], Verdict::Concluded, NOW).await);
    assert_eq!(store.waiting_of(company, event.id).await.unwrap(), Some(Vec::new()));
    assert_sound(store).await;
}

/// The first name that is known decides, however the others are known.
pub async fn the_first_name_that_is_known_decides(store: &dyn Store) {
    let company = company();
    listener(store, company).await;
    let event = event(company, "a", NOW);
    new(store.accept(under_key(&event, "1"), &admission(true)).await.unwrap());
    let other = super::event(company, "b", NOW);
    new(store.accept(under_key(&other, "2"), &admission(true)).await.unwrap());
    let name = |n: &str, of: &Event| -> Name { under_key(of, n).remove(0).names.remove(0) };
    let mut emit: Emit = plain(&event).remove(0);
    emit.names = vec![name("new", &event), name("1", &event), name("2", &event)];
    let accepted = store.accept(vec![emit.clone()], &admission(true)).await.unwrap();
    assert_eq!(repeat(accepted).id, event.id);
    emit.names.swap(1, 2);
    let refused = store.accept(vec![emit], &admission(true)).await.unwrap();
    assert_eq!(conflict(refused), "key:2");
}
