//! Keeping house.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::model::{
    Claim, DeliveryState, Endpoint, EndpointChange, EndpointId, PreviousSecret, Purpose, Sealed,
    Timestamp, Verdict,
};
use fanfare::store::Store;

use crate::dice::Dice;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, admission, assert_sound, claim, company,
    emit_some, endpoint, event, failed, history, listener, new, plain, record, repeat, under_both,
    under_id, under_key, wanted,
};

/// They fail, visibly, a slice at a time; nobody else's do.
pub async fn a_deleted_endpoints_deliveries_are_buried_in_slices(store: &dyn Store) {
    let company = company();
    let deleted = listener(store, company).await;
    let kept = listener(store, company).await;
    emit_some(store, company, 5).await;
    let on_the_wire = claim(store, &deleted, 1, NOW).await.claims.remove(0);
    assert_eq!(store.bury(NOW, 10).await.unwrap(), 0);
    store.delete_endpoint(company, deleted.id, &act(NOW)).await.unwrap();
    let later = NOW.plus(SECOND);
    let mut slices = Vec::new();
    for _ in 0..4 {
        slices.push(store.bury(later, 2).await.unwrap());
    }
    assert_eq!(slices, [2, 2, 1, 0]);
    for item in history(store, &deleted).await {
        assert_eq!((item.delivery.state, item.delivery.updated_at), (DeliveryState::Failed, later));
        assert!(!item.delivery.reason.unwrap().is_empty());
    }
    assert!(!record(store, &on_the_wire, Verdict::Concluded, later).await, "it is too late");
    assert_eq!(claim(store, &kept, 10, later).await.claims.len(), 5);
    assert_sound(store).await;
}

/// One step of a walk from the beginning.
async fn expire(store: &dyn Store, before: Timestamp, limit: u32) -> u64 {
    store.expire(before, None, limit).await.unwrap().rows
}

/// Old deliveries that are final go with their attempts, their events and keys; nothing else does.
pub async fn final_history_expires_in_slices(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut old = Vec::new();
    for n in 0..5 {
        let claim = accept_all(store, &event(company, "a", NOW)).await.remove(0);
        let verdict = if n % 2 == 0 { Verdict::Concluded } else { failed("no") };
        assert!(record(store, &claim, verdict, NOW).await);
        old.push(claim);
    }
    // Ids never step back, so the cut is measured from those that were made.
    let cut = old[4].delivery.made_at().plus(LEASE);
    let young = accept_all(store, &event(company, "a", cut)).await.remove(0);
    assert!(record(store, &young, Verdict::Concluded, cut).await);
    assert_eq!(expire(store, NOW, 100).await, 0, "nothing was made before");
    let mut left = Vec::new();
    for _ in 0..3 {
        assert!(expire(store, cut, 2).await > 0);
        left.push(history(store, &endpoint).await.len());
        assert_sound(store).await;
    }
    while expire(store, cut, 2).await > 0 {}
    assert_eq!(left, [4, 2, 1]);
    for claim in &old {
        assert!(store.delivery(company, claim.delivery).await.unwrap().is_none());
        assert!(store.attempts(company, claim.delivery).await.unwrap().is_empty());
    }
    assert_eq!(store.attempts(company, young.delivery).await.unwrap().len(), 1);
    assert_sound(store).await;
}

/// However old it is.
pub async fn what_waits_never_expires(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 3).await;
    let claims = claim(store, &endpoint, 1, NOW).await.claims;
    assert!(record(store, &claims[0], Verdict::RetryAt(NOW.plus(LEASE)), NOW).await);
    let cut = history(store, &endpoint).await[0].delivery.id.made_at().plus(LEASE);
    while expire(store, cut, 10).await > 0 {}
    assert_eq!(history(store, &endpoint).await.len(), 3);
    assert_eq!(store.attempts(company, claims[0].delivery).await.unwrap().len(), 1);
    assert_eq!(claim(store, &endpoint, 10, cut.plus(LEASE)).await.claims.len(), 3);
    assert_sound(store).await;
}

/// A walk goes on from where it came to, over many companies and past what is held, and ends.
pub async fn a_walk_through_what_is_old_reaches_everything_and_ends(store: &dyn Store) {
    let mut expected = 0;
    let mut cut = NOW;
    for n in 0..5_u32 {
        let company = company();
        emit_some(store, company, 1).await; // Nobody hears of it.
        expected += 1;
        let endpoint = listener(store, company).await;
        emit_some(store, company, 4).await;
        let claims = claim(store, &endpoint, n, NOW.plus(SECOND)).await.claims;
        for claim in &claims {
            assert!(record(store, claim, Verdict::Concluded, NOW).await);
            expected += 1;
        }
        cut = history(store, &endpoint).await[0].delivery.id.made_at().plus(LEASE);
    }
    let (mut rows, mut steps, mut place) = (0, 0, None);
    loop {
        let swept = store.expire(cut, place, 3).await.unwrap();
        (rows, steps, place) = (rows + swept.rows, steps + 1, swept.next);
        if place.is_none() {
            break;
        }
        assert!(steps < 100, "it does not end");
    }
    assert_eq!(rows, expected);
    assert_eq!(store.expire(cut, None, 100).await.unwrap().rows, 0);
    assert_sound(store).await;
}

/// Of what is old, and of what nothing waits to deliver; history stays.
pub async fn old_payloads_are_emptied_and_nothing_else(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let done = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &done, Verdict::Concluded, NOW).await);
    let waiting = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let young = event(company, "a", NOW.plus(SECOND));
    let young = accept_all(store, &young).await.remove(0);
    assert!(record(store, &young, Verdict::Concluded, NOW.plus(SECOND)).await);
    let (mut rows, mut place) = (0, None);
    loop {
        let swept = store.strip(NOW.plus(SECOND), place, 1).await.unwrap();
        (rows, place) = (rows + swept.rows, swept.next);
        if place.is_none() {
            break;
        }
    }
    assert_eq!(rows, 1);
    for item in history(store, &endpoint).await {
        let emptied = item.delivery.id == done.delivery;
        assert_eq!(item.event.payload.is_empty(), emptied, "{}", item.delivery.id);
    }
    assert_eq!(store.attempts(company, done.delivery).await.unwrap().len(), 1);
    assert!(record(store, &waiting, Verdict::Concluded, NOW).await);
    assert_eq!(store.strip(NOW.plus(SECOND), None, 10).await.unwrap().rows, 1);
    assert_sound(store).await;
}

/// While one delivery is left, it stays; what it is known by outlives it.
pub async fn an_event_expires_with_its_last_delivery(store: &dyn Store) {
    let company = company();
    let heard = event(company, "a", NOW);
    let unheard = event(company, "b", NOW);
    new(store.accept(under_key(&unheard, "unheard"), &admission(true)).await.unwrap());
    let endpoint = listener(store, company).await;
    let emit = under_both(&heard, "heard");
    let first = new(store.accept(emit, &admission(true)).await.unwrap()).0.remove(0);
    assert!(record(store, &first, Verdict::Concluded, NOW).await);
    let second = store.replay(company, first.delivery, &act(NOW)).await.unwrap().unwrap();
    let cut = second.id.made_at().plus(LEASE);
    while expire(store, cut, 10).await > 0 {}
    assert!(store.delivery(company, first.delivery).await.unwrap().is_none());
    assert_eq!(history(store, &endpoint).await[0].event.payload, heard.payload);
    assert!(store.waiting_of(company, unheard.id).await.unwrap().is_none());

    let claims = claim(store, &endpoint, 10, cut.plus(LEASE)).await.claims;
    for claim in &claims {
        assert!(record(store, claim, Verdict::Concluded, cut).await);
    }
    let cut = claims.iter().map(|claim| claim.delivery.made_at()).max().unwrap().plus(LEASE);
    while expire(store, cut, 10).await > 0 {}
    assert!(store.waiting_of(company, heard.id).await.unwrap().is_none());
    for emit in [under_id(&heard), under_key(&heard, "heard")] {
        assert_eq!(repeat(store.accept(emit, &admission(true)).await.unwrap()).deliveries, 1);
    }
    let again = under_key(&unheard, "unheard");
    assert_eq!(repeat(store.accept(again, &admission(true)).await.unwrap()).deliveries, 0);
    assert_sound(store).await;
}

/// A slice at a time; then the same id and key name another event.
pub async fn names_are_forgotten_in_slices(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut old = Vec::new();
    for n in 0..5 {
        let event = event(company, "a", NOW);
        let emit = under_key(&event, &n.to_string());
        new(store.accept(emit, &admission(true)).await.unwrap());
        old.push(event);
    }
    let young = event(company, "a", NOW.plus(SECOND));
    new(store.accept(under_both(&young, "young"), &admission(true)).await.unwrap());
    assert_eq!(store.forget(NOW, 10).await.unwrap(), 0);
    let mut slices = Vec::new();
    for _ in 0..4 {
        slices.push(store.forget(NOW.plus(SECOND), 2).await.unwrap());
    }
    assert_eq!(slices, [2, 2, 1, 0]);
    let other = event(company, "b", NOW);
    new(store.accept(under_key(&other, "3"), &admission(true)).await.unwrap());
    for emit in [under_id(&young), under_key(&young, "young")] {
        repeat(store.accept(emit, &admission(true)).await.unwrap());
    }
    assert_eq!(store.forget(NOW.plus(LEASE), 10).await.unwrap(), 3);
    let again = store.accept(under_id(&young), &admission(true)).await.unwrap();
    assert_eq!(repeat(again).id, young.id, "the event itself is still there");
    assert_eq!(history(store, &endpoint).await.len(), 7);
    assert_sound(store).await;
}

/// The first value stays.
pub async fn a_value_is_agreed_on_once(store: &dyn Store) {
    let bytes = [0u8, 255, 39, 0];
    assert_eq!(store.kept("key").await.unwrap(), None);
    assert!(store.agree("key", &bytes).await.unwrap());
    assert_eq!(store.kept("key").await.unwrap(), Some(bytes.to_vec()));
    assert!(store.agree("key", &bytes).await.unwrap());
    assert!(!store.agree("key", b"another").await.unwrap());
    assert!(store.agree("key", &bytes).await.unwrap());
    assert!(store.agree("another", b"").await.unwrap());
    assert!(!store.agree("another", &bytes).await.unwrap());
}

/// In the order of ids over all companies.
pub async fn what_is_sealed_is_listed_with_older_secrets_and_that_of_deleted_endpoints(
    store: &dyn Store,
) {
    let mut expected = Vec::new();
    for n in 0..7 {
        let mut endpoint = endpoint(company(), &["*"]);
        let older = Sealed(vec![n]);
        endpoint.previous =
            (n % 3 == 0).then(|| PreviousSecret { secret: older.clone(), until: NOW });
        let (headers, tls) = (Sealed(vec![10, n]), Sealed(vec![20, n]));
        endpoint.headers = (n % 2 == 0).then(|| headers.clone());
        endpoint.tls = (n == 1).then(|| tls.clone());
        store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
        if n % 2 == 0 {
            store.delete_endpoint(endpoint.company, endpoint.id, &act(NOW)).await.unwrap();
        }
        let lane = endpoint.lane();
        expected.push((lane, Purpose::Secret, endpoint.secret));
        expected.extend((n % 3 == 0).then_some((lane, Purpose::Secret, older)));
        expected.extend((n % 2 == 0).then_some((lane, Purpose::Headers, headers)));
        expected.extend((n == 1).then_some((lane, Purpose::Tls, tls)));
    }
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let some = store.secrets(after, 3).await.unwrap();
        let Some(last) = some.last() else { break };
        assert!(some.len() <= 4 * 3);
        after = Some(last.0.endpoint);
        read.extend(some);
    }
    assert_eq!(read, expected);
}

/// Empty or not.
pub async fn a_store_that_works_is_ready(store: &dyn Store) {
    store.ready(1024).await.unwrap();
    listener(store, company()).await;
    store.ready(1024).await.unwrap();
    assert_sound(store).await;
}

/// It fails, it does not hang; closing again does no harm.
pub async fn a_closed_store_answers_nothing(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let claim = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    store.close().await;
    store.close().await;
    let next = plain(&event(company, "a", NOW));
    assert!(store.accept(next, &admission(true)).await.is_err());
    assert!(store.record(super::fixtures::result(&claim, Verdict::Concluded, NOW)).await.is_err());
    assert!(store.claim(&[wanted(&endpoint, 1)], NOW, LEASE).await.is_err());
    assert!(store.endpoint(company, endpoint.id).await.is_err());
    assert!(store.delivery(company, claim.delivery).await.is_err());
    assert!(store.lanes(None, 1).await.is_err());
    assert!(store.ready(1024).await.is_err());
    assert!(store.add_endpoint(&endpoint, &act(NOW)).await.is_err());
}

/// Everything at random; the invariants hold all the way, and every delivery can be accounted for.
pub async fn a_busy_store_checks_out(store: &dyn Store) {
    let company = company();
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for _ in 0..4 {
        endpoints.push(listener(store, company).await);
    }
    let mut dice = Dice::new(7);
    let mut held: Vec<Claim> = Vec::new();
    let mut made: HashMap<EndpointId, u64> = HashMap::new();
    for step in 0..400u32 {
        let now = NOW.plus(SECOND * step);
        let endpoint = endpoints[dice.below(4)].clone();
        match dice.below(10) {
            0..=2 => {
                let event = event(company, "a", now);
                for heard in emit_at_random(store, &event, &mut dice, &mut held).await {
                    *made.entry(heard).or_default() += 1;
                }
            }
            3 => held.extend(claim(store, &endpoint, 3, now).await.claims),
            4..=7 if !held.is_empty() => {
                let claim = held.remove(dice.below(held.len()));
                record(store, &claim, at_random(&mut dice, now), now).await;
            }
            8 => {
                let off = (dice.below(2) == 0).then(|| "off".to_owned());
                let change = EndpointChange { disabled: Some(off), ..Default::default() };
                store.change_endpoint(company, endpoint.id, &change, &act(now)).await.unwrap();
            }
            _ => {
                if let Some(item) = history(store, &endpoint).await.first() {
                    let replay = store.replay(company, item.id(), &act(now)).await.unwrap();
                    *made.entry(endpoint.id).or_default() += u64::from(replay.is_some());
                }
            }
        }
        if step % 100 == 99 {
            assert_sound(store).await;
        }
    }
    let gone = endpoints[0].id;
    store.delete_endpoint(company, gone, &act(NOW)).await.unwrap();
    while store.bury(NOW, 7).await.unwrap() > 0 {}
    for endpoint in &endpoints {
        let all = history(store, endpoint).await;
        assert_eq!(all.len() as u64, made.get(&endpoint.id).copied().unwrap_or_default());
        let waiting = all.iter().any(|item| item.delivery.state == DeliveryState::Waiting);
        assert!(!(waiting && endpoint.id == gone));
    }
    let all = history(store, &endpoints[1]).await;
    while expire(store, all[all.len() / 2].id().made_at(), 5).await > 0 {}
    assert_sound(store).await;
}

/// Emits with or without claims; returns who heard of it.
async fn emit_at_random(
    store: &dyn Store,
    event: &fanfare::model::Event,
    dice: &mut Dice,
    held: &mut Vec<Claim>,
) -> Vec<EndpointId> {
    if dice.below(2) == 0 {
        return accept_none(store, event).await;
    }
    let claims = accept_all(store, event).await;
    let heard = claims.iter().map(|claim| claim.endpoint.id).collect();
    held.extend(claims);
    heard
}

fn at_random(dice: &mut Dice, now: Timestamp) -> Verdict {
    match dice.below(20) {
        0..=9 => Verdict::Concluded,
        10..=15 => Verdict::RetryAt(now.plus(Duration::from_secs(dice.below(300) as u64))),
        16..=18 => failed("no"),
        _ => Verdict::Gone,
    }
}
