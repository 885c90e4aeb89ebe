//! What is kept of keys, and what is sealed with another one.

use fanfare::model::{Endpoint, LaneKey, PreviousSecret, Purpose, Sealed};
use fanfare::store::{Resealed, Store};

use super::fixtures::{NOW, accept_all, act, assert_sound, company, endpoint, event, listener};

/// By one who knows what it is.
pub async fn a_kept_value_is_replaced_only_as_it_is_known(store: &dyn Store) {
    assert!(!store.keep_instead("key", b"", b"new").await.unwrap(), "nothing is kept there");
    assert_eq!(store.kept("key").await.unwrap(), None);
    assert!(store.agree("key", b"old").await.unwrap());
    assert!(store.agree("another", b"old").await.unwrap());
    assert!(!store.keep_instead("key", b"other", b"new").await.unwrap());
    assert!(store.keep_instead("key", b"old", b"new").await.unwrap());
    assert!(!store.keep_instead("key", b"old", b"newer").await.unwrap());
    assert_eq!(store.kept("key").await.unwrap(), Some(b"new".to_vec()));
    assert_eq!(store.kept("another").await.unwrap(), Some(b"old".to_vec()));
}

/// In each place where it is kept, and nowhere else.
pub async fn what_is_sealed_anew_takes_the_place_of_what_it_was(store: &dyn Store) {
    let mut first = endpoint(company(), &["*"]);
    let (old, older, headers, tls) =
        (first.secret.clone(), Sealed(vec![2]), Sealed(vec![3]), Sealed(vec![4]));
    first.previous = Some(PreviousSecret { secret: older.clone(), until: NOW });
    (first.headers, first.tls) = (Some(headers.clone()), Some(tls.clone()));
    let mut second = endpoint(company(), &["*"]);
    second.secret = old.clone();
    let gone = endpoint(company(), &["*"]);
    for endpoint in [&first, &second, &gone] {
        store.add_endpoint(endpoint, &act(NOW)).await.unwrap();
    }
    store.delete_endpoint(gone.company, gone.id, &act(NOW)).await.unwrap();
    let anew = |endpoint: &Endpoint, purpose, before: &Sealed, after: u8| {
        let sealed = Sealed(vec![after]);
        Resealed { lane: endpoint.lane(), purpose, before: before.clone(), sealed }
    };

    let all = [
        anew(&first, Purpose::Secret, &old, 11),
        anew(&first, Purpose::Secret, &older, 12),
        anew(&first, Purpose::Headers, &headers, 13),
        anew(&first, Purpose::Tls, &tls, 14),
        anew(&gone, Purpose::Secret, &gone.secret, 15),
        // Not what is kept there, not for that, not that company's.
        anew(&second, Purpose::Secret, &older, 16),
        anew(&second, Purpose::Headers, &old, 17),
        Resealed {
            lane: LaneKey { company: company(), ..second.lane() },
            ..anew(&second, Purpose::Secret, &old, 18)
        },
    ];
    assert_eq!(store.reseal(&all).await.unwrap(), 5);
    assert_eq!(store.reseal(&all).await.unwrap(), 0);
    assert_eq!(store.reseal(&[]).await.unwrap(), 0);
    let sealed = |n| Sealed(vec![n]);
    first.secret = sealed(11);
    first.previous = Some(PreviousSecret { secret: sealed(12), until: NOW });
    (first.headers, first.tls) = (Some(sealed(13)), Some(sealed(14)));
    for endpoint in [first, second] {
        let read = store.endpoint(endpoint.company, endpoint.id).await.unwrap();
        assert_eq!(read, Some(endpoint));
    }
    let kept = store.secrets(None, 10).await.unwrap();
    assert!(kept.contains(&(gone.lane(), Purpose::Secret, sealed(15))));

    // What is claimed from here on carries it.
    let company = company();
    let mut heard = listener(store, company).await;
    store.reseal(&[anew(&heard, Purpose::Secret, &heard.secret, 19)]).await.unwrap();
    heard.secret = sealed(19);
    let claims = accept_all(store, &event(company, "a", NOW)).await;
    assert_eq!(*claims[0].endpoint, heard);
    assert_sound(store).await;
}
