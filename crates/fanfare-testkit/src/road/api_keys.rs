//! API keys in a running engine: what is remembered of them, and how they end.

use std::time::Duration;

use fanfare::engine::{ApiKeyText, NewApiKey};
use fanfare::model::{ApiKeyId, Scope};
use fanfare::store::StoreError;

use super::bench::Bench;
use super::tapped::{Call, Moment};

/// For how long a lookup is believed.
const BELIEVED: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_hours(24);

async fn made(bench: &Bench) -> (ApiKeyId, ApiKeyText) {
    let new = NewApiKey { name: "till".to_owned(), scope: Scope::Emit, expires_at: None };
    let (key, text) = bench.engine().create_api_key(bench.company, new).await.unwrap();
    (key.id, text)
}

async fn works(bench: &Bench, key: &ApiKeyText) -> bool {
    bench.engine().check_api_key(key.reveal()).await.unwrap().is_some()
}

async fn revoke(bench: &Bench, id: ApiKeyId) {
    bench.engine().revoke_api_key(bench.company, id).await.unwrap();
}

/// A busy caller costs no lookup for each request, nor does a stubborn one with a wrong key.
pub async fn a_key_is_looked_up_once_in_a_while(bench: &mut Bench) {
    let ((_, good), (id, bad)) = (made(bench).await, made(bench).await);
    revoke(bench, id).await;
    assert!(works(bench, &good).await && !works(bench, &bad).await);
    bench.rest().await;
    bench.store().hold(Moment::Before(Call::Read));
    bench.pass(BELIEVED - Duration::from_millis(1)).await;
    assert!(works(bench, &good).await && !works(bench, &bad).await);
    bench.pass(Duration::from_millis(1)).await;
    for key in [&good, &bad] {
        tokio::select! {
            _ = works(bench, key) => panic!("it was not looked up"),
            () = bench.rest() => {}
        }
    }
    bench.store().go_on();
    assert!(works(bench, &good).await && !works(bench, &bad).await);
}

/// Also where it was looked up just before and its lookup is answered just after.
pub async fn a_revoked_key_ends_at_once(bench: &mut Bench) {
    let (id, key) = made(bench).await;
    bench.store().hold(Moment::After(Call::Read));
    let check = works(bench, &key);
    let meanwhile = async {
        bench.rest().await;
        revoke(bench, id).await;
        bench.store().go_on();
    };
    let _ = tokio::join!(check, meanwhile);
    assert!(!works(bench, &key).await);
}

/// Nobody's call fails because a use cannot be noted; a later one is.
pub async fn a_use_that_cannot_be_noted_fails_no_call(bench: &mut Bench) {
    let (_, key) = made(bench).await;
    bench.store().refuse(StoreError::Full("of tests".to_owned()));
    assert!(works(bench, &key).await);
    bench.rest().await;
    bench.store().work_again();
    bench.pass(Duration::from_secs(60)).await;
    let now = bench.engine().clock().now();
    assert!(works(bench, &key).await);
    bench.rest().await;
    let listed = bench.engine().api_keys_before(bench.company, None, 10).await.unwrap();
    assert_eq!(listed[0].used_at, Some(now));
}

/// Keys of no use are listed as long as history is kept, and the audit log outlives them.
pub async fn revoked_keys_go_with_history_and_the_audit_log_later(bench: &mut Bench) {
    let ((id, _), (_, good)) = (made(bench).await, made(bench).await);
    revoke(bench, id).await;
    let (engine, company) = (bench.engine().clone(), bench.company);
    let kept = async || {
        let keys = engine.api_keys_before(company, None, 10).await.unwrap();
        (keys.len(), engine.audit(company, None, None, 10).await.unwrap().len())
    };
    let retention = engine.rules().retention;
    for (days, left) in [(retention - DAY, (2, 3)), (DAY * 2, (1, 3)), (DAY * 371, (1, 0))] {
        bench.pass(days).await;
        bench.tidy_up().await;
        assert_eq!(kept().await, left);
    }
    assert!(works(bench, &good).await);
}
