//! The right to make an attempt.

use std::time::Duration;

use fanfare::model::{EndpointChange, EventId, Format, Shards, Timestamp, Verdict};
use fanfare::store::Store;

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, assert_sound, card, claim, claim_one,
    company, delivery, emit_some, event, lane, listener, record, wanted,
};

/// Leases.
pub async fn a_claim_excludes_others_until_its_lease_ends(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 1).await;
    let just_before = Timestamp(NOW.plus(LEASE).0 - 1);
    let mut fences = Vec::new();
    for moment in [Timestamp(NOW.0 - 1), NOW, just_before, NOW.plus(LEASE)] {
        let claims = claim(store, &endpoint, 10, moment).await.claims;
        fences.push(claims.iter().map(|claim| claim.fence).collect::<Vec<_>>());
    }
    assert_eq!(fences, [vec![], vec![1], vec![], vec![2]]);
}

/// Limits and order.
pub async fn a_claim_takes_its_limit_and_the_longest_due_first(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let mut expected: Vec<EventId> = Vec::new();
    for back in [3, 1, 5, 2, 4] {
        let event = event(company, "a", NOW.minus(SECOND * back));
        accept_none(store, &event).await;
        expected.push(event.id);
    }
    let expected = [2, 4, 0, 3, 1].map(|n| expected[n]);
    let mut taken = Vec::new();
    for limit in [0, 2, 1, 10] {
        let claims = claim(store, &endpoint, limit, NOW).await.claims;
        taken.push(claims.iter().map(|claim| claim.event.id).collect::<Vec<_>>());
    }
    assert_eq!(taken, [&expected[..0], &expected[..2], &expected[2..3], &expected[3..]]);
}

/// One call, many lanes, each with its own limit.
pub async fn a_claim_serves_many_lanes(store: &dyn Store) {
    let (ours, theirs) = (company(), company());
    let first = listener(store, ours).await;
    let second = listener(store, ours).await;
    let other = listener(store, theirs).await;
    let idle = listener(store, company()).await;
    emit_some(store, ours, 5).await;
    emit_some(store, theirs, 5).await;
    let lanes = [wanted(&other, 3), wanted(&first, 2), wanted(&idle, 4), wanted(&second, 9)];
    let claimed = store.claim(&lanes, NOW.plus(SECOND), LEASE).await.unwrap();
    for (endpoint, count) in [(&first, 2), (&second, 5), (&other, 3), (&idle, 0)] {
        let of_lane: Vec<_> = claimed.iter().filter(|c| c.key == lane(endpoint)).collect();
        assert_eq!(of_lane.len(), 1, "one answer for each lane");
        assert_eq!(of_lane[0].claims.len(), count);
        assert!(of_lane[0].claims.iter().all(|c| *c.endpoint == *endpoint));
    }
    assert!(store.claim(&[], NOW, LEASE).await.unwrap().is_empty());
}

/// Held is not lost: what waits for a disabled endpoint goes on when it is enabled.
pub async fn a_claim_leaves_disabled_and_deleted_endpoints_alone(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let deleted = listener(store, company).await;
    emit_some(store, company, 2).await;
    let mut change = EndpointChange { disabled: Some(Some("off".into())), ..Default::default() };
    store.change_endpoint(company, endpoint.id, &change, &act(NOW)).await.unwrap();
    store.delete_endpoint(company, deleted.id, &act(NOW)).await.unwrap();
    let later = NOW.plus(SECOND);
    for endpoint in [&endpoint, &deleted] {
        let nothing = claim(store, endpoint, 10, later).await;
        assert!(nothing.claims.is_empty());
        assert_eq!(nothing.next_due, None);
    }
    change.disabled = Some(None);
    store.change_endpoint(company, endpoint.id, &change, &act(later)).await.unwrap();
    assert_eq!(claim(store, &endpoint, 10, later).await.claims.len(), 2);
}

/// The next time something may be due: what was left, a retry, or the end of a lease.
pub async fn a_claim_tells_when_to_come_again(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    assert_eq!(claim(store, &endpoint, 1, NOW).await.next_due, None);
    let millisecond = Duration::from_millis(1);
    emit_some(store, company, 2).await;
    let first = claim(store, &endpoint, 1, NOW).await;
    assert_eq!(first.next_due, Some(NOW.plus(millisecond)), "what is left");
    let second = claim(store, &endpoint, 1, NOW.plus(millisecond)).await;
    assert_eq!(second.next_due, Some(NOW.plus(LEASE)), "a lease from before");
    let retry_at = NOW.plus(SECOND);
    assert!(record(store, &first.claims[0], Verdict::RetryAt(retry_at), NOW).await);
    assert_eq!(claim(store, &endpoint, 9, NOW).await.next_due, Some(retry_at), "a retry");
    assert!(record(store, &second.claims[0], Verdict::Concluded, NOW).await);
    let again = claim(store, &endpoint, 9, retry_at).await;
    assert_eq!(again.next_due, Some(retry_at.plus(LEASE)), "a lease from now");
    assert!(record(store, &again.claims[0], Verdict::Concluded, NOW).await);
    assert_eq!(claim(store, &endpoint, 9, NOW.plus(LEASE * 2)).await.next_due, None);
}

/// Attempts go to the present URL; their body stays what it was.
pub async fn a_claim_carries_the_endpoint_as_it_is_now_and_the_shape_of_old(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 1).await;
    let change = EndpointChange {
        url: Some("https://new.example/".parse().unwrap()),
        events: Some(vec!["nothing".parse().unwrap()]),
        format: Some(Format::W3block),
        max_retries: Some(9),
        ..Default::default()
    };
    let changed =
        store.change_endpoint(company, endpoint.id, &change, &act(NOW)).await.unwrap().unwrap();
    let claim = claim_one(store, &endpoint, NOW).await;
    assert_eq!(*claim.endpoint, changed);
    assert_eq!(claim.shape, endpoint.shape);
}

/// Given back, a claim is nobody's; what no longer holds is left alone.
pub async fn claims_are_given_back_unused(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 3).await;
    let claims = claim(store, &endpoint, 3, NOW.plus(SECOND)).await.claims;
    let again_at = NOW.plus(LEASE + SECOND);
    assert!(record(store, &claims[0], Verdict::Concluded, NOW).await);
    assert!(record(store, &claims[1], Verdict::RetryAt(again_at), NOW).await);
    let later = NOW.plus(SECOND * 2);
    store.release(&claims, later).await.unwrap();
    store.release(&[], later).await.unwrap();
    assert!(!record(store, &claims[2], Verdict::Concluded, later).await, "it was given back");
    let back = claim_one(store, &endpoint, later).await;
    assert_eq!((back.delivery, back.fence, back.attempts), (claims[2].delivery, 2, 0));
    store.release(&claims, again_at).await.unwrap();
    assert!(record(store, &back, Verdict::Concluded, later).await, "another's claim holds");
    assert_eq!(claim_one(store, &endpoint, again_at).await.delivery, claims[1].delivery);
    assert_sound(store).await;
}

/// Another process comes after this one.
async fn die_and_begin(store: &dyn Store, now: Timestamp) {
    store.hand_over(Shards::ALL).await.unwrap();
    assert_eq!(store.renew(&card(), now).await.unwrap().taken, Shards::ALL);
}

/// What a dead process had claimed is due now, and its results come too late.
pub async fn a_recovered_store_has_no_claims(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    accept_none(store, &event(company, "a", NOW)).await;
    let claimed = claim_one(store, &endpoint, NOW).await;
    let later = NOW.plus(SECOND);
    die_and_begin(store, later).await;
    assert!(!record(store, &born, Verdict::Concluded, later).await);
    let claims = claim(store, &endpoint, 10, later).await.claims;
    let mut fences: Vec<_> = claims.iter().map(|claim| (claim.delivery, claim.fence)).collect();
    fences.sort();
    assert_eq!(fences, [(born.delivery, 2), (claimed.delivery, 2)]);
}

/// A retry within one lease of now is no claim.
pub async fn recovery_leaves_retries_where_they_are(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let soon = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let late = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    let (soon_at, late_at) = (NOW.plus(SECOND * 5), NOW.plus(LEASE * 50));
    assert!(record(store, &soon, Verdict::RetryAt(soon_at), NOW).await);
    assert!(record(store, &late, Verdict::RetryAt(late_at), NOW).await);
    die_and_begin(store, NOW).await;
    assert_eq!(claim(store, &endpoint, 10, NOW).await.next_due, Some(soon_at));
    assert_eq!(delivery(store, company, late.delivery).await.due_at, late_at);
}
