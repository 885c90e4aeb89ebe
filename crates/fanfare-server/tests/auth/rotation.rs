use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use fanfare::clock::{Clock, ManualClock};
use fanfare::model::{Outcome, Timestamp};
use fanfare::send::{Request, Sent, Transport};
use fanfare_server::auth::Auth;
use http::Method;
use tokio_util::sync::CancellationToken;

use crate::fixtures::{
    Bench, EC, ED, Logged, NOW, Pair, RSA, admin, hs256, key_set, settings, settle,
};

#[tokio::test]
async fn an_unknown_key_is_fetched_when_a_token_names_it() {
    let bench = Bench::with_url();
    assert_eq!(bench.provider.fetches(), 0, "nothing is fetched before it is needed");
    bench.provider.has_keys(&[EC.jwk("one")]);
    assert_eq!(bench.code(&EC.token("one")).await, "ok");
    let request = bench.provider.requests().remove(0);
    assert_eq!(request.method, Method::GET);
    assert_eq!(request.url.as_str(), "https://id.example/keys.json");
    assert!(request.company.uuid().is_nil() && request.body.is_empty());
}

#[tokio::test]
async fn a_rotated_key_is_taken_over_and_the_old_one_forgotten_with_its_tokens() {
    let bench = Bench::with_keys(&[EC.jwk("one")]).await;
    assert_eq!(bench.code(&EC.token("one")).await, "ok");
    let believed = EC.token("one");
    assert_eq!(bench.code(&believed).await, "ok");
    bench.provider.has_keys(&[ED.jwk("two")]);
    bench.advance(30);
    assert_eq!(bench.code(&ED.token("two")).await, "ok");
    assert_eq!(bench.code(&believed).await, "token_key");
    assert_eq!(bench.provider.fetches(), 2);
}

#[tokio::test]
async fn unknown_keys_lead_to_a_fetch_every_thirty_seconds_at_most() {
    let bench = Bench::with_keys(&[EC.jwk("one")]).await;
    bench.provider.has_keys(&[EC.jwk("one"), ED.jwk("two")]);
    for _ in 0..29 {
        bench.advance(1);
        assert_eq!(bench.code(&ED.token("two")).await, "token_key");
    }
    assert_eq!(bench.provider.fetches(), 1);
    bench.advance(1);
    assert_eq!(bench.code(&ED.token("two")).await, "ok");
    for number in 0..100 {
        assert_eq!(bench.code(&ED.token(&number.to_string())).await, "token_key");
    }
    assert_eq!(bench.provider.fetches(), 2);
}

#[tokio::test]
async fn whoever_waits_for_an_unknown_key_shares_one_fetch_and_holds_up_nobody() {
    let bench = Bench::with_keys(&[EC.jwk("one")]).await;
    bench.provider.has_keys(&[EC.jwk("one"), ED.jwk("two")]);
    bench.provider.gate.forget_permits(usize::MAX);
    bench.advance(30);
    let ask = |token: String| {
        let auth = Arc::clone(&bench.auth);
        tokio::spawn(
            async move { auth.check(Some(format!("Bearer {token}").as_bytes())).await.is_ok() },
        )
    };
    let new: Vec<_> = (0..50).map(|_| ask(ED.token("two"))).collect();
    let strange: Vec<_> = (0..50).map(|_| ask(ED.token("three"))).collect();
    let auth = Arc::clone(&bench.auth);
    let refreshing = tokio::spawn(async move { auth.refresh().await });
    settle().await;
    assert!(!refreshing.is_finished());
    assert!(new.iter().chain(&strange).all(|asked| !asked.is_finished()));
    assert_eq!(bench.code(&EC.token("one")).await, "ok");
    assert_eq!(bench.code(&hs256(&admin())).await, "ok");
    assert_eq!(bench.provider.fetches(), 2);
    bench.provider.gate.add_permits(1);
    for asked in new {
        assert!(asked.await.unwrap());
    }
    for asked in strange {
        assert!(!asked.await.unwrap());
    }
    refreshing.await.unwrap();
    assert_eq!(bench.provider.fetches(), 2);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_use_up_the_fetch() {
    let bench = Bench::with_keys(&[EC.jwk("one")]).await;
    bench.provider.has_keys(&[ED.jwk("two")]);
    bench.provider.gate.forget_permits(usize::MAX);
    bench.advance(30);
    let auth = Arc::clone(&bench.auth);
    let token = format!("Bearer {}", ED.token("two"));
    let gone = tokio::spawn(async move { auth.check(Some(token.as_bytes())).await });
    settle().await;
    gone.abort();
    settle().await;
    bench.provider.gate.add_permits(1);
    assert_eq!(bench.code(&ED.token("two")).await, "ok");
    assert_eq!(bench.provider.fetches(), 2);
}

#[tokio::test]
async fn keys_stay_when_the_url_fails_and_the_operator_is_told_once() {
    let bench = Bench::with_keys(&[EC.jwk("one")]).await;
    let logged = Logged::default();
    let _listening = tracing::subscriber::set_default(logged.clone());
    let keys = key_set(&[ED.jwk("two")]);
    bench.provider.is_away();
    bench.auth.refresh().await;
    let half = &keys[..keys.len() - 1];
    let failures: [(u16, &[u8], Option<&str>); 7] = [
        (500, &keys, None),
        (404, b"gone", None),
        (302, &keys, None),
        (204, b"", None),
        (200, b"<html>", None),
        (200, half, None),
        (200, &keys, Some("cut at the deadline")),
    ];
    for (status, body, flaw) in failures {
        bench.provider.answers(status, body.to_vec(), flaw);
        bench.auth.refresh().await;
        assert_eq!(bench.code(&EC.token("one")).await, "ok");
        assert_eq!(bench.code(&ED.token("two")).await, "token_key");
    }
    assert_eq!(logged.warnings(), 1);
    bench.provider.has_keys(&[ED.jwk("two")]);
    bench.auth.refresh().await;
    assert_eq!(bench.code(&ED.token("two")).await, "ok");
    bench.provider.is_away();
    bench.auth.refresh().await;
    bench.auth.refresh().await;
    assert_eq!(logged.warnings(), 2);
}

#[tokio::test]
async fn an_emptied_key_set_believes_nobody() {
    let bench = Bench::with_keys(&[EC.jwk("one")]).await;
    bench.provider.has_keys(&[]);
    bench.auth.refresh().await;
    assert_eq!(bench.code(&EC.token("one")).await, "token_key");
}

#[tokio::test]
async fn a_url_that_is_away_at_the_start_is_asked_again() {
    let bench = Bench::with_url();
    bench.provider.is_away();
    assert_eq!(bench.code(&hs256(&admin())).await, "ok");
    assert_eq!(bench.code(&EC.token("one")).await, "token_key");
    bench.provider.has_keys(&[EC.jwk("one")]);
    bench.advance(30);
    assert_eq!(bench.code(&EC.token("one")).await, "ok");
}

/// A clock that can also be set back.
struct Settable(Mutex<Timestamp>);

#[async_trait]
impl Clock for Settable {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    async fn sleep_until(&self, _: Timestamp) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_clock_set_back_does_not_stop_the_fetches() {
    let clock = Arc::new(Settable(Mutex::new(NOW.plus(Duration::from_secs(3600)))));
    let Bench { provider, .. } = Bench::plain();
    let source = "https://id.example/keys.json".parse().unwrap();
    let auth = Auth::new(settings(Some(source)), clock.clone(), provider.clone()).unwrap();
    auth.refresh().await;
    provider.has_keys(&[ED.jwk("two")]);
    *clock.0.lock().unwrap() = NOW;
    let header = format!("Bearer {}", ED.token("two"));
    assert!(auth.check(Some(header.as_bytes())).await.is_ok());
}

#[tokio::test]
async fn running_fetches_at_once_and_every_five_minutes_until_it_is_stopped() {
    let bench = Bench::with_url();
    bench.provider.has_keys(&[EC.jwk("one")]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&bench.auth).run(stop.clone()));
    settle().await;
    assert_eq!(bench.provider.fetches(), 1);
    bench.provider.has_keys(&[ED.jwk("two")]);
    bench.advance(299);
    settle().await;
    assert_eq!(bench.provider.fetches(), 1);
    bench.advance(1);
    settle().await;
    assert_eq!(bench.provider.fetches(), 2);
    assert_eq!(bench.code(&ED.token("two")).await, "ok");
    // Now the identity provider hangs, and the stop does not wait for it.
    bench.provider.gate.forget_permits(usize::MAX);
    bench.advance(300);
    settle().await;
    stop.cancel();
    running.await.unwrap();
    bench.advance(300);
    assert_eq!(bench.code(&EC.token("three")).await, "token_key");
    assert_eq!(bench.code(&ED.token("two")).await, "ok");
    assert_eq!(bench.provider.fetches(), 3);
}

#[tokio::test]
async fn running_without_a_key_set_waits_for_the_stop() {
    let stop = CancellationToken::new();
    let running = tokio::spawn(Bench::plain().auth.run(stop.clone()));
    settle().await;
    assert!(!running.is_finished());
    stop.cancel();
    running.await.unwrap();
}

/// A transport that panics the first time.
struct Panics(std::sync::atomic::AtomicUsize);

#[async_trait]
impl Transport for Panics {
    async fn send(&self, _: Request) -> Sent {
        let before = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(before > 0, "the first request goes wrong");
        Outcome::NoAnswer { reason: "connect: nobody there".into() }.into()
    }
}

#[tokio::test]
async fn a_fetch_that_panics_leaves_nobody_waiting() {
    let transport = Arc::new(Panics(0.into()));
    let source = "https://id.example/keys.json".parse().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let auth = Auth::new(settings(Some(source)), clock, transport.clone()).unwrap();
    auth.refresh().await;
    auth.refresh().await;
    assert_eq!(transport.0.load(std::sync::atomic::Ordering::Relaxed), 2);
}

/// Writes a file and gives it a modification time, whatever the file system's grain.
fn write(path: &std::path::Path, content: &[u8], age: u64) {
    std::fs::write(path, content).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + age);
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[tokio::test]
async fn a_changed_file_is_noticed_and_a_bad_one_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    write(&path, &key_set(&[EC.jwk("one")]), 0);
    let bench = Bench::with_file(path.clone()).unwrap();
    assert_eq!(bench.code(&EC.token("one")).await, "ok");

    write(&path, b"half writ", 1);
    bench.auth.refresh().await;
    assert_eq!(bench.code(&EC.token("one")).await, "ok");
    std::fs::remove_file(&path).unwrap();
    bench.auth.refresh().await;
    assert_eq!(bench.code(&EC.token("one")).await, "ok");

    write(&path, &key_set(&[RSA.jwk("two")]), 2);
    bench.advance(4);
    assert_eq!(bench.code(&RSA.token("two")).await, "token_key");
    bench.advance(1);
    assert_eq!(bench.code(&RSA.token("two")).await, "ok");
    assert_eq!(bench.code(&EC.token("one")).await, "token_key");
    assert_eq!(bench.provider.fetches(), 0);
}

#[tokio::test]
async fn a_file_is_read_again_only_when_its_time_or_length_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let other = Pair::ec();
    write(&path, &key_set(&[EC.jwk("it")]), 0);
    let bench = Bench::with_file(path.clone()).unwrap();
    write(&path, &key_set(&[other.jwk("it")]), 0);
    bench.auth.refresh().await;
    assert_eq!(bench.code(&EC.token("it")).await, "ok");
    write(&path, &key_set(&[other.jwk("it")]), 1);
    bench.auth.refresh().await;
    assert_eq!(bench.code(&other.token("it")).await, "ok");
}

#[tokio::test]
async fn running_looks_at_the_file_without_being_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let other = Pair::ec();
    write(&path, &key_set(&[EC.jwk("it")]), 0);
    let bench = Bench::with_file(path.clone()).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&bench.auth).run(stop.clone()));
    write(&path, &key_set(&[other.jwk("it")]), 1);
    let token = other.token("it");
    // The disk is read beside this thread, so the steps are counted, not timed.
    let mut steps = 0;
    while bench.code(&token).await != "ok" {
        assert!(steps < 600, "the file's change was not noticed");
        steps += 1;
        bench.advance(5);
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.unwrap();
    }
    stop.cancel();
    running.await.unwrap();
}
