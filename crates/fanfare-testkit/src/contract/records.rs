//! What follows from an attempt.

use std::time::Duration;

use fanfare::model::{DeliveryState, EndpointChange, Verdict};
use fanfare::store::Store;
use futures_util::future::join_all;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, assert_sound, claim, claim_one, company,
    delivery, emit_some, event, failed, history, listener, record, standing,
};

/// Concluded stays concluded, whoever says what.
pub async fn concluded_is_final(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 1).await;
    let stale = claim_one(store, &endpoint, NOW).await;
    let fresh = claim_one(store, &endpoint, NOW.plus(LEASE)).await;
    let at = NOW.plus(LEASE + SECOND);
    assert!(record(store, &fresh, Verdict::Concluded, at).await);
    let done = delivery(store, company, fresh.delivery).await;
    assert_eq!((done.state, done.attempts, done.updated_at), (DeliveryState::Concluded, 1, at));
    assert_eq!((done.errors(), done.reason), (0, None));

    let verdicts = [failed("late"), Verdict::RetryAt(at), Verdict::Gone, Verdict::Concluded];
    for verdict in verdicts {
        for claim in [&stale, &fresh] {
            assert!(!record(store, claim, verdict.clone(), at.plus(SECOND)).await);
        }
    }
    assert_eq!(standing(store, &fresh).await, (DeliveryState::Concluded, 1));
    assert_eq!(store.endpoint(company, endpoint.id).await.unwrap(), Some(endpoint.clone()));
    assert!(claim(store, &endpoint, 10, at.plus(LEASE * 9)).await.claims.is_empty());
    assert_sound(store).await;
}

/// Not a millisecond earlier.
pub async fn a_retry_is_due_when_it_says(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let retry_at = NOW.plus(LEASE * 3);
    assert!(record(store, &born, Verdict::RetryAt(retry_at), NOW.plus(SECOND)).await);
    let waiting = delivery(store, company, born.delivery).await;
    assert_eq!((waiting.state, waiting.due_at), (DeliveryState::Waiting, retry_at));
    assert_eq!((waiting.attempts, waiting.errors(), waiting.reason), (1, 1, None));
    assert_eq!(waiting.updated_at, NOW.plus(SECOND));
    let early = retry_at.minus(Duration::from_millis(1));
    assert!(claim(store, &endpoint, 10, early).await.claims.is_empty());
    let again = claim_one(store, &endpoint, retry_at).await;
    assert_eq!((again.delivery, again.attempts, again.fence), (born.delivery, 1, 2));
    assert!(!record(store, &born, Verdict::Concluded, retry_at).await, "its claim was used");
    assert!(record(store, &again, Verdict::Concluded, retry_at).await);
    let done = delivery(store, company, born.delivery).await;
    assert_eq!((done.attempts, done.errors()), (2, 1));
    assert_sound(store).await;
}

/// The reason is kept as it was said.
pub async fn a_failed_delivery_says_why(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &born, failed("retries used up: 'näh'"), NOW).await);
    let done = delivery(store, company, born.delivery).await;
    assert_eq!((done.state, done.attempts, done.errors()), (DeliveryState::Failed, 1, 1));
    assert_eq!(done.reason.as_deref(), Some("retries used up: 'näh'"));
    assert!(claim(store, &endpoint, 10, NOW.plus(LEASE * 9)).await.claims.is_empty());
    assert_sound(store).await;
}

/// `410`: that delivery fails, the endpoint is disabled, its others are held and go on later.
pub async fn gone_disables_the_endpoint_and_holds_its_others(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let bystander = listener(store, company).await;
    emit_some(store, company, 3).await;
    let claims = claim(store, &endpoint, 2, NOW.plus(SECOND)).await.claims;
    let at = NOW.plus(SECOND * 2);
    assert!(record(store, &claims[0], Verdict::Gone, at).await);
    let gone = delivery(store, company, claims[0].delivery).await;
    assert_eq!((gone.state, gone.attempts), (DeliveryState::Failed, 1));
    assert!(!gone.reason.unwrap().is_empty());
    let disabled = store.endpoint(company, endpoint.id).await.unwrap().unwrap();
    assert_eq!(disabled.updated_at, at);
    let why = disabled.disabled.clone().unwrap();
    assert_eq!(why.at, at);
    assert!(why.reason.contains("410"), "{}", why.reason);

    assert!(record(store, &claims[1], Verdict::Gone, at.plus(SECOND)).await);
    let same = store.endpoint(company, endpoint.id).await.unwrap().unwrap();
    assert_eq!(same, disabled, "what already is so stays as it is");
    assert!(claim(store, &endpoint, 10, at.plus(LEASE * 9)).await.claims.is_empty());
    assert_eq!(accept_none(store, &event(company, "a", at)).await, [bystander.id]);
    let enable = EndpointChange { disabled: Some(None), ..Default::default() };
    store.change_endpoint(company, endpoint.id, &enable, &act(at)).await.unwrap();
    assert_eq!(claim(store, &endpoint, 10, at).await.claims.len(), 1, "the one that was held");
    assert_sound(store).await;
}

/// Fencing: the late sender's request is seen in the history, and that is all.
pub async fn a_stale_claim_records_history_but_changes_nothing(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 1).await;
    let stale = claim_one(store, &endpoint, NOW).await;
    let fresh = claim_one(store, &endpoint, NOW.plus(LEASE)).await;
    let before = delivery(store, company, stale.delivery).await;
    for verdict in [failed("late"), Verdict::Concluded, Verdict::RetryAt(NOW)] {
        assert!(!record(store, &stale, verdict, NOW.plus(LEASE)).await);
    }
    assert_eq!(delivery(store, company, stale.delivery).await, before);
    assert!(!store.attempts(company, stale.delivery).await.unwrap().is_empty());
    assert!(record(store, &fresh, Verdict::Concluded, NOW.plus(LEASE + SECOND)).await);
    assert_eq!(standing(store, &fresh).await, (DeliveryState::Concluded, 1));
    let attempts = store.attempts(company, stale.delivery).await.unwrap();
    assert_eq!(attempts.last().unwrap().started_at, NOW.plus(LEASE + SECOND));
    assert!(attempts.len() > 1);
    assert_sound(store).await;
}

/// A claim that was lost cannot switch anything off.
pub async fn a_stale_gone_disables_nothing(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 1).await;
    let stale = claim_one(store, &endpoint, NOW).await;
    claim_one(store, &endpoint, NOW.plus(LEASE)).await;
    assert!(!record(store, &stale, Verdict::Gone, NOW.plus(LEASE)).await);
    assert_eq!(store.endpoint(company, endpoint.id).await.unwrap(), Some(endpoint));
}

/// A lease that ran out takes nothing away until somebody else claims.
pub async fn a_late_result_counts_if_nobody_else_claimed(store: &dyn Store) {
    let company = company();
    listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &born, Verdict::Concluded, NOW.plus(LEASE * 2)).await);
    assert_eq!(standing(store, &born).await, (DeliveryState::Concluded, 1));
}

/// What was on the wire when its endpoint was disabled or deleted is not thrown away.
pub async fn a_held_delivery_still_takes_its_result(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let first = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let second = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let disable = EndpointChange { disabled: Some(Some("off".into())), ..Default::default() };
    store.change_endpoint(company, endpoint.id, &disable, &act(NOW)).await.unwrap();
    assert!(record(store, &first, Verdict::Concluded, NOW).await);
    store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap();
    assert!(record(store, &second, Verdict::Concluded, NOW).await);
    assert_sound(store).await;
}

/// However results are gathered, each claim stands for itself.
pub async fn a_batch_of_records_is_judged_one_by_one(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 40).await;
    let later = NOW.plus(SECOND);
    let claims = claim(store, &endpoint, 40, later).await.claims;
    let verdicts = [Verdict::Concluded, failed("no"), Verdict::RetryAt(NOW.plus(LEASE))];
    let records = claims.iter().enumerate().map(|(n, claim)| {
        let mut claim = claim.clone();
        claim.fence -= u64::from(n % 4 == 3);
        let verdict = verdicts[n % 3].clone();
        async move { record(store, &claim, verdict, later).await }
    });
    let held = join_all(records).await;
    for (n, held) in held.iter().enumerate() {
        assert_eq!(*held, n % 4 != 3);
        let (state, attempts) = standing(store, &claims[n]).await;
        let expected = match n % 3 {
            _ if n % 4 == 3 => DeliveryState::Waiting,
            0 => DeliveryState::Concluded,
            1 => DeliveryState::Failed,
            _ => DeliveryState::Waiting,
        };
        assert_eq!((state, attempts), (expected, u32::from(*held)));
    }
    assert_eq!(history(store, &endpoint).await.len(), 40);
    assert_sound(store).await;
}
