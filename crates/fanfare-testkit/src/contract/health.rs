//! How endpoints do, and who hears of it.

use fanfare::model::{CompanyId, Disabled, Endpoint, Event, Health, Record, Timestamp, Verdict};
use fanfare::store::{Accepted, Claimed, Store, Wanted};

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, admission, assert_sound, attempt, claim,
    claim_one, company, delivery, endpoint, event, failed, lane, listener, new, plain, record,
    result, under_id, wanted,
};

async fn probe(store: &dyn Store, endpoint: &Endpoint, now: Timestamp) -> Claimed {
    let wanted = Wanted { probe: true, ..wanted(endpoint, 1) };
    store.claim(&[wanted], now, LEASE).await.unwrap().remove(0)
}

async fn present(store: &dyn Store, endpoint: &Endpoint) -> Endpoint {
    store.endpoint(endpoint.company, endpoint.id).await.unwrap().unwrap()
}

async fn watcher(store: &dyn Store, company: CompanyId, events: &[&str]) -> Endpoint {
    let watcher = Endpoint { operational: true, ..endpoint(company, events) };
    store.add_endpoint(&watcher, &act(NOW)).await.unwrap();
    watcher
}

fn notice(company: CompanyId, name: &str) -> Event {
    Event { operational: true, ..event(company, name, NOW) }
}

/// Of what waits for a retry the next one due, and nothing else: not what was never tried, what is
/// claimed, or what waits for another one.
pub async fn a_probe_brings_forward_what_waits_for_a_retry(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut born = Vec::new();
    for _ in 0..4 {
        born.push(accept_all(store, &event(company, "a", NOW)).await.remove(0));
    }
    let [late, soon, untried, _claimed] = &born[..] else { panic!("four") };
    let far = NOW.plus(LEASE * 100);
    for (claim, due) in [(late, far), (soon, far.minus(SECOND))] {
        assert!(record(store, claim, Verdict::RetryAt(due), NOW).await);
    }
    store.release(std::slice::from_ref(untried), NOW.plus(LEASE)).await.unwrap();

    assert!(claim(store, &endpoint, 9, NOW).await.claims.is_empty(), "nothing is due");
    for expected in [soon, late] {
        let brought = probe(store, &endpoint, NOW).await.claims;
        assert_eq!(brought.len(), 1);
        assert_eq!((brought[0].delivery, brought[0].fence), (expected.delivery, 2));
        assert_eq!(brought[0].attempts, 1);
        assert_eq!(delivery(store, company, expected.delivery).await.due_at, NOW.plus(LEASE));
    }
    let none = probe(store, &endpoint, NOW).await;
    assert!(none.claims.is_empty());
    assert_eq!(none.next_due, Some(NOW.plus(LEASE)));
    assert_sound(store).await;
}

/// What is due needs no bringing forward.
pub async fn a_probe_takes_what_is_due_first(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let retried = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &retried, Verdict::RetryAt(NOW.plus(SECOND)), NOW).await);
    let due = event(company, "a", NOW);
    accept_none(store, &due).await;
    let other = listener(store, company).await;
    let lanes = [Wanted { probe: true, ..wanted(&other, 1) }, wanted(&endpoint, 9)];
    assert!(store.claim(&lanes[..1], NOW, LEASE).await.unwrap()[0].claims.is_empty());
    let claims = probe(store, &endpoint, NOW).await.claims;
    assert_eq!(claims.iter().map(|claim| claim.event.id).collect::<Vec<_>>(), [due.id]);
    let claims = probe(store, &endpoint, NOW).await.claims;
    assert_eq!(claims[0].delivery, retried.delivery);
}

/// Probes are counted by themselves.
pub async fn a_probe_is_counted_as_an_attempt_and_as_a_probe(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let first = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &first, Verdict::RetryAt(NOW), NOW).await);
    for probes in 1..=2 {
        let claim = claim_one(store, &endpoint, NOW).await;
        assert_eq!((claim.attempts, claim.probes), (probes, probes - 1));
        let mut made = attempt(&claim, NOW, 500);
        made.probe = true;
        let record = Record::new(claim, made.into(), Verdict::RetryAt(NOW), NOW);
        assert!(store.record(record).await.unwrap().applied);
    }
    let found = delivery(store, company, first.delivery).await;
    assert_eq!((found.attempts, found.probes, found.errors()), (3, 2, 3));
    let attempts = store.attempts(company, first.delivery).await.unwrap();
    assert_eq!(attempts.iter().map(|a| a.probe).collect::<Vec<_>>(), [false, true, true]);
    assert_sound(store).await;
}

/// With the attempt, if that counts, and only of the address that it went to.
pub async fn a_result_brings_along_how_its_endpoint_does(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let health = Health { failing_since: Some(NOW), held_until: Some(NOW.plus(LEASE)) };
    let first = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let later = NOW.plus(SECOND);
    let told = |health, at| {
        let health = Some(health);
        Record { health, ..result(&first, Verdict::RetryAt(NOW), at) }
    };
    assert!(store.record(told(health, later)).await.unwrap().applied);
    let failing = present(store, &endpoint).await;
    assert_eq!((failing.health, failing.updated_at), (health, later));
    assert_eq!(store.lanes(None, 9).await.unwrap()[0].health, health);
    assert_eq!(claim_one(store, &endpoint, later).await.endpoint.health, health);
    let born = accept_all(store, &event(company, "a", later)).await.remove(0);
    assert_eq!(born.endpoint.health, health, "claims at birth know it too");

    assert!(!store.record(told(Health::default(), later)).await.unwrap().applied);
    assert_eq!(present(store, &endpoint).await.health, health, "too late");

    let url = Some("https://new.example/".parse().unwrap());
    let change = fanfare::model::EndpointChange { url, ..Default::default() };
    store.change_endpoint(company, endpoint.id, &change, &act(later)).await.unwrap();
    let stale = Record { health: Some(health), ..result(&born, Verdict::Concluded, later) };
    assert!(store.record(stale).await.unwrap().applied);
    assert_eq!(present(store, &endpoint).await.health, Health::default(), "sent elsewhere");
    assert_sound(store).await;
}

/// Given up with a result that counts; one that is disabled stays as it is.
pub async fn an_endpoint_that_is_given_up_is_disabled_with_the_reason(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let first = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let second = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let disabled = Disabled::failing(NOW, NOW.plus(SECOND));
    let gives_up = |claim| {
        let disabled = Some(disabled.clone());
        Record { disabled, ..result(claim, Verdict::RetryAt(NOW), NOW) }
    };
    assert!(store.record(gives_up(&first)).await.unwrap().applied);
    assert_eq!(present(store, &endpoint).await.disabled, Some(disabled.clone()));
    assert!(accept_all(store, &event(company, "a", NOW)).await.is_empty());
    let later = Some(Disabled::failing(NOW, NOW.plus(LEASE)));
    assert!(store.record(Record { disabled: later, ..gives_up(&second) }).await.unwrap().applied);
    assert_eq!(present(store, &endpoint).await.disabled, Some(disabled));
    assert_sound(store).await;
}

/// Accepted with the result, if that counts, for those who listen to its type.
pub async fn notices_reach_the_operational_endpoints_that_listen(store: &dyn Store) {
    let ours = company();
    listener(store, ours).await;
    let watching = watcher(store, ours, &["endpoint.*"]).await;
    watcher(store, ours, &["delivery.*"]).await;
    watcher(store, company(), &["*"]).await;
    let off = Some(Disabled::gone(NOW));
    let off = Endpoint { disabled: off, operational: true, ..endpoint(ours, &["*"]) };
    store.add_endpoint(&off, &act(NOW)).await.unwrap();

    let claim = accept_all(store, &event(ours, "a", NOW)).await.remove(0);
    let later = NOW.plus(SECOND);
    let told = notice(ours, "endpoint.failing");
    let notices = vec![told.clone()];
    let told_twice = Record { notices, ..result(&claim, failed("out of retries"), later) };
    let recorded = store.record(told_twice.clone()).await.unwrap();
    assert_eq!((recorded.applied, recorded.woken), (true, vec![lane(&watching)]));
    let late = store.record(told_twice).await.unwrap();
    assert_eq!((late.applied, late.woken), (false, vec![]), "it does not count twice");

    let heard = claim_one(store, &watching, NOW).await;
    assert_eq!((heard.event.id, heard.sequence, heard.fence), (told.id, 1, 1));
    assert_eq!(heard.event.payload, told.payload);
    assert!(heard.event.operational);
    assert_sound(store).await;
}

/// Nothing is kept of what nobody hears.
pub async fn a_notice_that_nobody_hears_is_not_stored(store: &dyn Store) {
    let company = company();
    listener(store, company).await;
    let claim = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let unheard = notice(company, "endpoint.failing");
    let notices = vec![unheard.clone()];
    let told = Record { notices, ..result(&claim, Verdict::Concluded, NOW) };
    let recorded = store.record(told).await.unwrap();
    assert_eq!((recorded.applied, recorded.woken), (true, vec![]));
    let again = store.accept(under_id(&unheard), &admission(false)).await.unwrap();
    assert!(matches!(again[..], [Accepted::New { .. }]), "the id is free");
    assert_sound(store).await;
}

/// Two worlds that hear nothing of each other.
pub async fn operational_events_and_others_never_meet(store: &dyn Store) {
    let company = company();
    let ordinary = listener(store, company).await;
    let watching = watcher(store, company, &["*"]).await;
    for (event, hears) in [
        (event(company, "endpoint.failing", NOW), &ordinary),
        (notice(company, "endpoint.failing"), &watching),
    ] {
        let (_, waiting) = new(store.accept(plain(&event), &admission(false)).await.unwrap());
        assert_eq!(waiting, [hears.id]);
    }
}
