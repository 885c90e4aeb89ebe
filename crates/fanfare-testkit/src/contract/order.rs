//! One after the other under a key, and only the newest.

use std::time::Duration;

use fanfare::model::{
    Delivery, DeliveryState, Endpoint, EndpointChange, Event, Flow, Ordering, Record, Verdict,
};
use fanfare::store::{Store, Unsent};
use fanfare::{CompanyId, Timestamp};
use futures_util::future::join_all;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, admission, assert_sound, claim, claim_one,
    company, delivery, endpoint, event, failed, history, new, plain, record, result,
};

const WINDOW: Duration = Duration::from_secs(10);

async fn flowing(store: &dyn Store, company: CompanyId, flow: Flow) -> Endpoint {
    let endpoint = Endpoint { flow, ..endpoint(company, &["*"]) };
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    endpoint
}

async fn ordered(store: &dyn Store, company: CompanyId, ordering: Ordering) -> Endpoint {
    flowing(store, company, Flow { ordering, ..Flow::default() }).await
}

async fn coalescing(store: &dyn Store, company: CompanyId, ordering: Ordering) -> Endpoint {
    flowing(store, company, Flow { ordering, coalesce: Some(WINDOW), ..Flow::default() }).await
}

fn keyed(company: CompanyId, key: &str, at: Timestamp) -> Event {
    Event { ordering_key: Some(key.to_owned()), ..event(company, "stock.level", at) }
}

/// An endpoint's deliveries in the order in which they were made.
async fn in_order(store: &dyn Store, endpoint: &Endpoint) -> Vec<Delivery> {
    let mut all: Vec<_> = history(store, endpoint).await;
    all.sort_by_key(|item| item.delivery.sequence);
    all.into_iter().map(|item| item.delivery).collect()
}

/// The others are parked, whatever is asked for; what has another key or none is not concerned.
pub async fn only_the_first_of_a_key_is_claimed(store: &dyn Store) {
    let company = company();
    let endpoint = ordered(store, company, Ordering::Key).await;
    let first = accept_all(store, &keyed(company, "a", NOW)).await;
    assert_eq!(first.len(), 1);
    assert!(accept_all(store, &keyed(company, "a", NOW)).await.is_empty());
    assert!(accept_none(store, &keyed(company, "a", NOW)).await.is_empty(), "nothing falls due");
    assert_eq!(accept_all(store, &keyed(company, "b", NOW)).await.len(), 1);
    assert_eq!(accept_all(store, &event(company, "a", NOW)).await.len(), 1);
    let all = in_order(store, &endpoint).await;
    let parked: Vec<bool> = all.iter().map(Delivery::is_parked).collect();
    assert_eq!(parked, [false, true, true, false, false]);
    let later = NOW.plus(LEASE * 1000);
    assert_eq!(claim(store, &endpoint, 10, later).await.claims.len(), 3, "leases have run out");
    assert_eq!(claim(store, &endpoint, 10, later).await.next_due, Some(later.plus(LEASE)));
    assert_sound(store).await;
}

/// In a strict order everything has the same key.
pub async fn in_a_strict_order_everything_waits_for_what_came_before(store: &dyn Store) {
    let company = company();
    let endpoint = ordered(store, company, Ordering::Strict).await;
    let mut next = accept_all(store, &event(company, "a", NOW)).await;
    for key in ["x", "y"] {
        assert!(accept_all(store, &keyed(company, key, NOW)).await.is_empty());
    }
    for sequence in 1..=3 {
        assert_eq!(next.iter().map(|claim| claim.sequence).collect::<Vec<_>>(), [sequence]);
        assert!(record(store, &next[0], Verdict::Concluded, NOW).await);
        next = claim(store, &endpoint, 10, NOW).await.claims;
    }
    assert!(next.is_empty());
    assert_sound(store).await;
}

/// A conclusion, a failure, a 410, being ended or buried, or an expiry; a retry does not, nor the
/// end of one that was parked.
pub async fn whatever_ends_a_delivery_lets_the_next_one_go(store: &dyn Store) {
    let company = company();
    let endpoint = ordered(store, company, Ordering::Key).await;
    for n in 0..8 {
        let end = (n == 3).then(|| NOW.plus(SECOND * 2));
        let event = Event { expires_at: end, ..keyed(company, "a", NOW) };
        accept_none(store, &event).await;
    }
    let ids: Vec<_> = in_order(store, &endpoint).await.iter().map(|one| one.id).collect();
    let lane = vec![endpoint.lane()];
    let head = claim_one(store, &endpoint, NOW).await;
    assert!(record(store, &head, Verdict::RetryAt(NOW), NOW).await);
    let head = claim_one(store, &endpoint, NOW).await;
    assert_eq!((head.delivery, head.attempts), (ids[0], 1), "a retry is before the next one");
    for (n, verdict) in [Verdict::Concluded, failed("no")].into_iter().enumerate() {
        let head = if n == 0 { head.clone() } else { claim_one(store, &endpoint, NOW).await };
        assert_eq!(head.delivery, ids[n]);
        let attempt = super::attempt(&head, NOW, 200).into();
        let record = Record::new(head, attempt, verdict, NOW);
        let recorded = store.record(record).await.unwrap();
        assert_eq!((recorded.applied, &recorded.woken), (true, &lane));
    }
    let ended = store
        .end(company, &[(ids[2], None), (ids[7], None)], &Unsent::by_rule("no", NOW))
        .await
        .unwrap();
    assert_eq!((ended.deliveries.len(), &ended.woken), (2, &lane));
    let lapsed = store.lapse(NOW.plus(SECOND * 2), 10).await.unwrap();
    assert_eq!((lapsed.deliveries, &lapsed.woken), (vec![ids[3]], &lane));
    let gone = claim_one(store, &endpoint, NOW.plus(LEASE)).await;
    assert_eq!(gone.delivery, ids[4]);
    assert!(record(store, &gone, Verdict::Gone, NOW).await);
    assert!(!delivery(store, company, ids[5]).await.is_parked());
    store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap();
    for left in [2, 1, 0] {
        assert_sound(store).await;
        let waits = |one: &Delivery| one.state == DeliveryState::Waiting;
        assert_eq!(in_order(store, &endpoint).await.into_iter().filter(waits).count(), left);
        store.bury(NOW, 1).await.unwrap();
    }
}

/// Under the record's lease, for the endpoint as it is by then, or not at all: then its lane is
/// woken. What is disabled or due later is let go unclaimed.
pub async fn what_is_let_go_may_be_claimed_at_once(store: &dyn Store) {
    let company = company();
    let endpoint = ordered(store, company, Ordering::Key).await;
    for n in 0..4 {
        let deliver_at = (n == 3).then(|| NOW.plus(SECOND * 9));
        accept_none(store, &Event { deliver_at, ..keyed(company, "a", NOW) }).await;
    }
    let change = EndpointChange { max_retries: Some(9), ..EndpointChange::default() };
    let (mut head, at) = (claim_one(store, &endpoint, NOW).await, NOW.plus(SECOND));
    store.change_endpoint(company, endpoint.id, &change, &act(NOW)).await.unwrap();
    for sequence in [2, 3] {
        let next = Some(LEASE);
        let concluded = Record { next, ..result(&head, Verdict::Concluded, at) };
        let recorded = store.record(concluded.clone()).await.unwrap();
        let late = store.record(concluded).await.unwrap();
        assert!(!late.applied && late.next.is_none() && late.woken.is_empty());
        head = match recorded.next {
            Some(claimed) => {
                assert!(recorded.woken.is_empty());
                assert!(claim(store, &endpoint, 10, at).await.claims.is_empty(), "it is claimed");
                claimed
            }
            None => {
                assert_eq!(recorded.woken, [endpoint.lane()]);
                claim_one(store, &endpoint, at).await
            }
        };
        assert_eq!((head.sequence, head.due_at, head.attempts), (sequence, at, 0));
        assert_eq!((head.endpoint.max_retries, head.ordered), (9, true));
        assert_sound(store).await;
    }
    let last = Record { next: Some(LEASE), ..result(&head, Verdict::Concluded, at) };
    let recorded = store.record(last).await.unwrap();
    assert!(recorded.next.is_none(), "it is not due yet");
    assert_eq!(claim_one(store, &endpoint, NOW.plus(SECOND * 9)).await.sequence, 4);

    accept_none(store, &keyed(company, "b", NOW)).await;
    accept_none(store, &keyed(company, "b", NOW)).await;
    let head = claim_one(store, &endpoint, at).await;
    let disabled = Some(Some("by hand".to_owned()));
    let change = EndpointChange { disabled, ..EndpointChange::default() };
    store.change_endpoint(company, endpoint.id, &change, &act(at)).await.unwrap();
    let held = Record { next: Some(LEASE), ..result(&head, Verdict::Concluded, at) };
    assert!(store.record(held).await.unwrap().next.is_none(), "nothing of a disabled endpoint");
    assert_sound(store).await;
}

/// It comes after everything that waits under its key by then.
pub async fn a_replay_waits_for_others_of_its_key(store: &dyn Store) {
    let company = company();
    let endpoint = ordered(store, company, Ordering::Key).await;
    let old = accept_all(store, &keyed(company, "a", NOW)).await.remove(0);
    assert!(record(store, &old, Verdict::Concluded, NOW).await);
    let alone = store.replay(company, old.delivery, &act(NOW)).await.unwrap().unwrap();
    let behind = store.replay(company, alone.id, &act(NOW)).await.unwrap().unwrap();
    assert_eq!((alone.is_parked(), behind.is_parked()), (false, true));
    assert_eq!((alone.sequence, behind.sequence), (2, 3));
    let first = claim_one(store, &endpoint, NOW).await;
    assert!(record(store, &first, Verdict::Concluded, NOW).await);
    assert_eq!(claim_one(store, &endpoint, NOW).await.delivery, behind.id);
    assert_sound(store).await;
}

/// The order is what was accepted first, also when results and emits come at the same time.
pub async fn racing_emits_and_results_leave_one_of_each_key_to_go(store: &dyn Store) {
    let company = company();
    let endpoint = ordered(store, company, Ordering::Key).await;
    let emits = async |worker: usize| {
        for n in 0..20 {
            accept_none(store, &keyed(company, ["a", "b", "c"][(n + worker) % 3], NOW)).await;
        }
    };
    let results = async || {
        let mut done = 0;
        for _ in 0..60 {
            let claims = claim(store, &endpoint, 10, NOW).await.claims;
            done += claims.len();
            join_all(claims.iter().map(|claim| record(store, claim, Verdict::Concluded, NOW)))
                .await;
        }
        done
    };
    let (.., mut done) = tokio::join!(emits(0), emits(1), emits(2), results());
    assert_sound(store).await;
    loop {
        let claims = claim(store, &endpoint, 10, NOW).await.claims;
        assert!(claims.len() <= 3);
        if claims.is_empty() {
            break;
        }
        done += claims.len();
        for claim in &claims {
            assert!(record(store, claim, Verdict::Concluded, NOW).await);
        }
    }
    assert_eq!(done, 60);
    assert_sound(store).await;
}

/// Those that wait unclaimed end, and say by which; it takes over the time of those not yet tried.
pub async fn a_newer_delivery_supersedes_those_of_its_type_and_key(store: &dyn Store) {
    let company = company();
    let endpoint = coalescing(store, company, Ordering::None).await;
    let at = |secs: u32| NOW.plus(SECOND * secs);
    assert!(accept_all(store, &keyed(company, "a", NOW)).await.is_empty(), "it waits for others");
    accept_none(store, &keyed(company, "b", NOW)).await;
    accept_none(store, &event(company, "a", NOW)).await;
    let other = Event { ordering_key: Some("a".to_owned()), ..event(company, "other", NOW) };
    accept_none(store, &other).await;
    accept_none(store, &keyed(company, "a", at(3))).await;
    accept_none(store, &keyed(company, "a", at(6))).await;
    let all = in_order(store, &endpoint).await;
    let dues: Vec<_> = all.iter().skip(1).take(3).map(|one| one.due_at).collect();
    assert_eq!(dues, [NOW.plus(WINDOW), NOW, NOW.plus(WINDOW)], "another key, none, another type");
    assert_eq!((all[0].superseded_by, all[4].superseded_by), (Some(all[4].id), Some(all[5].id)));
    let reason = format!("superseded by {}", all[4].id);
    assert_eq!((all[0].state, all[0].reason.as_ref()), (DeliveryState::Failed, Some(&reason)));
    assert_eq!(all[5].due_at, NOW.plus(WINDOW), "the first one's");

    let claims = claim(store, &endpoint, 10, NOW.plus(WINDOW)).await.claims;
    let newest = claims.iter().find(|claim| claim.delivery == all[5].id).unwrap();
    accept_none(store, &keyed(company, "a", at(10))).await;
    assert!(delivery(store, company, newest.delivery).await.claimed, "it is being sent");
    assert!(record(store, newest, Verdict::Concluded, at(10)).await);
    accept_none(store, &keyed(company, "a", at(12))).await;
    let next = claim_one(store, &endpoint, at(20)).await;
    assert_eq!(next.sequence, 8, "at the time of the one before it");
    assert!(record(store, &next, Verdict::RetryAt(at(25)), at(20)).await);
    accept_none(store, &keyed(company, "a", at(21))).await;
    let all = in_order(store, &endpoint).await;
    assert_eq!((all[6].superseded_by, all[7].superseded_by), (Some(all[7].id), Some(all[8].id)));
    assert_eq!(all[8].due_at, at(31), "not that of the retry");
    let again = store.replay(company, all[0].id, &act(at(22))).await.unwrap().unwrap();
    accept_none(store, &keyed(company, "a", at(23))).await;
    assert_eq!(delivery(store, company, again.id).await.superseded_by, None, "replays stay");
    assert_sound(store).await;
}

/// It was on its way when the newer one came: it is not tried again behind that.
pub async fn a_failed_attempt_gives_way_to_a_newer_delivery(store: &dyn Store) {
    for ordering in [Ordering::None, Ordering::Key] {
        let company = company();
        let endpoint = coalescing(store, company, ordering).await;
        accept_none(store, &keyed(company, "a", NOW)).await;
        let at = NOW.plus(WINDOW);
        let old = claim_one(store, &endpoint, at).await;
        for _ in 0..2 {
            accept_none(store, &keyed(company, "a", at)).await;
        }
        assert!(record(store, &old, Verdict::RetryAt(at), at).await);
        let all = in_order(store, &endpoint).await;
        assert_eq!((all[0].state, all[0].attempts), (DeliveryState::Failed, 1));
        assert_eq!((all[0].superseded_by, all[0].claimed), (Some(all[2].id), false));
        assert_sound(store).await;
        assert_eq!(claim_one(store, &endpoint, at.plus(WINDOW)).await.delivery, all[2].id);
    }
}

/// Whatever the superseded one was before.
pub async fn superseding_keeps_the_order(store: &dyn Store) {
    let company = company();
    let endpoint = coalescing(store, company, Ordering::Key).await;
    let other = Event { ordering_key: Some("a".to_owned()), ..event(company, "other", NOW) };
    accept_none(store, &keyed(company, "a", NOW)).await;
    accept_none(store, &other).await;
    let late = NOW.plus(WINDOW * 2);
    let accepted = accept_none(store, &keyed(company, "a", late)).await;
    assert_eq!(accepted, [endpoint.id], "the other one may go");
    let all = in_order(store, &endpoint).await;
    let parked: Vec<bool> = all.iter().map(Delivery::is_parked).collect();
    assert_eq!(parked, [false, false, true]);
    assert_eq!(all[1].due_at, late);
    assert_sound(store).await;
    let first = claim_one(store, &endpoint, late).await;
    assert_eq!(first.event.id, other.id);
    accept_none(store, &keyed(company, "a", late)).await;
    assert_sound(store).await;
    assert!(record(store, &first, Verdict::Concluded, late).await);
    let second = claim_one(store, &endpoint, late).await;
    assert_eq!(second.sequence, 4);
    assert!(accept_none(store, &keyed(company, "a", late)).await.is_empty());
    assert!(record(store, &second, Verdict::Concluded, late).await);
    assert_eq!(claim_one(store, &endpoint, late.plus(WINDOW)).await.sequence, 5);
    assert_sound(store).await;
}

/// One call, one key, one window: the last one is left.
pub async fn a_call_supersedes_its_own(store: &dyn Store) {
    let company = company();
    let endpoint = coalescing(store, company, Ordering::Key).await;
    let emits = (0..5).flat_map(|_| plain(&keyed(company, "a", NOW))).collect();
    let accepted = store.accept(emits, &admission(true)).await.unwrap();
    for accepted in accepted {
        assert!(new(vec![accepted]).0.is_empty());
    }
    let all = in_order(store, &endpoint).await;
    let waiting = all.iter().filter(|one| one.state == DeliveryState::Waiting).count();
    assert_eq!((waiting, all[4].state), (1, DeliveryState::Waiting));
    assert_sound(store).await;
    assert_eq!(claim_one(store, &endpoint, NOW.plus(WINDOW)).await.sequence, 5);
}
