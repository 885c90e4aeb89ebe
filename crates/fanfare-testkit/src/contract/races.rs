//! Many at once.

use fanfare::model::{EventId, Verdict};
use fanfare::store::{Accepted, Receipt, Store};
use futures_util::future::join_all;

use super::fixtures::{
    NOW, SECOND, accept_all, accept_none, admission, assert_sound, claim, company, emit_some,
    event, history, listener, only, record, under_key,
};

/// Several claimers, one lane.
pub async fn racing_claimers_never_get_the_same_delivery(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    emit_some(store, company, 100).await;
    let later = NOW.plus(SECOND);
    let claim_some = || async {
        let mut mine = Vec::new();
        // A rival may hold rows for a moment, so one empty answer is not the end.
        for _ in 0..40 {
            mine.extend(claim(store, &endpoint, 7, later).await.claims);
        }
        mine
    };
    let racers = join_all([claim_some(), claim_some(), claim_some(), claim_some()]).await;
    let mut all: Vec<_> = racers.iter().flatten().map(|claim| claim.delivery).collect();
    let total = all.len();
    all.sort();
    all.dedup();
    assert_eq!((total, all.len()), (100, 100));
    assert!(racers.iter().flatten().all(|claim| claim.fence == 1));
}

/// One is new, the rest are told the same.
pub async fn a_hundred_emits_with_one_key_are_one_event(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let emits = (0..100).map(|_| async {
        let event = event(company, "a", NOW);
        (event.id, store.accept(under_key(&event, "k"), &admission(true)).await.unwrap())
    });
    let (mut made, mut receipts): (Vec<EventId>, Vec<Receipt>) = (Vec::new(), Vec::new());
    for (id, accepted) in join_all(emits).await {
        match only(accepted) {
            Accepted::New { claims, .. } => {
                assert_eq!(claims.len(), 1);
                made.push(id);
            }
            Accepted::Repeat(receipt) => receipts.push(receipt),
            Accepted::Conflict(_) | Accepted::Withheld => panic!("they are the same"),
        }
    }
    let [made] = made.try_into().unwrap();
    let expected = Receipt { id: made, created_at: NOW, deliveries: 1 };
    assert_eq!(receipts, vec![expected; 99]);
    assert_eq!(history(store, &endpoint).await.len(), 1);
    assert_sound(store).await;
}

/// Emits and results of several companies at the same time.
pub async fn a_crowd_is_accepted_whole(store: &dyn Store) {
    let (ours, theirs) = (company(), company());
    let quiet = listener(store, ours).await;
    let loud = listener(store, theirs).await;
    let road = |n: usize| async move {
        let company = if n.is_multiple_of(5) { ours } else { theirs };
        let event = event(company, "a", NOW);
        if n.is_multiple_of(2) {
            accept_none(store, &event).await;
            return;
        }
        let claims = accept_all(store, &event).await;
        assert_eq!(claims.len(), 1);
        assert_eq!(claims[0].event.id, event.id);
        assert!(record(store, &claims[0], Verdict::Concluded, NOW).await);
    };
    join_all((0..300).map(road)).await;
    assert_eq!(history(store, &quiet).await.len(), 60);
    assert_eq!(history(store, &loud).await.len(), 240);
    assert_eq!(claim(store, &quiet, 300, NOW).await.claims.len(), 30);
    assert_eq!(claim(store, &loud, 300, NOW).await.claims.len(), 120);
    assert_sound(store).await;
}
