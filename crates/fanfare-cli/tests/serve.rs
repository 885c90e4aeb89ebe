//! `fanfare serve` as a process: its first start, its keys, its neighbours, its end.

#![allow(clippy::expect_used, reason = "a test ends where something is missing")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::Receiver;
use hyper::Method;

fn fanfare(dir: &tempfile::TempDir) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o777)
}

async fn client(server: &Server, shop: &Shop) -> Client {
    Client::connect(server.address, &shop.token).await.expect("a connection")
}

/// Registers the receiver for everything.
async fn register(server: &Server, shop: &Shop, receiver: &Receiver) {
    let body = format!(r#"{{"url":"{}","events":["*"]}}"#, receiver.url());
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let answer = client(server, shop).await.send(Method::POST, &path, body).await;
    assert!(answer.as_ref().is_ok_and(|(status, _)| *status == 201), "{answer:?}");
}

async fn emit(client: &mut Client, shop: &Shop) -> u16 {
    let path = format!("/v1/companies/{}/events", shop.company);
    client.send(Method::POST, &path, r#"{"type":"a","data":1}"#).await.expect("an answer").0
}

#[tokio::test]
async fn without_settings_it_makes_its_keys_says_what_to_do_next_and_serves() {
    let dir = tempfile::tempdir().unwrap();
    let server = fanfare(&dir).serve::<&str>(&[]).await;
    for wanted in ["/docs", "fanfare-data", "fanfare token", "curl ", "fanfare demo"] {
        server.process.line(wanted).await;
    }
    let data = dir.path().join("fanfare-data");
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("jwt-secret")), 0o600);
    assert_eq!(mode(&data.join("encryption-key")), 0o600);

    let shop = fanfare(&dir).shop().await;
    assert_eq!(emit(&mut client(&server, &shop).await, &shop).await, 202);
    server.process.terminate().await;
    let ended = server.process.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("stopped"), "{}", ended.stderr);
}

#[tokio::test]
async fn keys_that_are_given_are_not_written_and_keep_their_store() {
    let dir = tempfile::tempdir().unwrap();
    let keys = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &"s".repeat(32)];
    let given =
        fanfare(&dir).env("FANFARE_ENCRYPTION_KEY", keys[0]).env("FANFARE_JWT_SECRET", keys[1]);
    given.serve::<&str>(&[]).await.process.kill().await;
    let data = dir.path().join("fanfare-data");
    assert!(!data.join("jwt-secret").exists() && !data.join("encryption-key").exists());

    let other = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
    for (setting, value) in
        [("FANFARE_ENCRYPTION_KEY", other), ("FANFARE_JWT_SECRET", &"t".repeat(32))]
    {
        let ended = given.clone().env(setting, value).run(&["serve", "--listen=127.0.0.1:0"]).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(setting), "{}", ended.stderr);
        assert!(!ended.stderr.contains(value), "{}", ended.stderr);
    }
    given.serve::<&str>(&[]).await.process.kill().await;
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fanfare(&dir).serve::<&str>(&[]).await.process.kill().await;
    let file = dir.path().join("fanfare-data/encryption-key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = fanfare(&dir).run(&["serve", "--listen=127.0.0.1:0"]).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("encryption-key") && ended.stderr.contains("0600"));
}

#[tokio::test]
async fn a_lost_key_is_not_replaced_and_a_wrong_one_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = fanfare(&dir).serve::<&str>(&[]).await;
    server.process.terminate().await;
    assert_eq!(server.process.end().await.code, 0);
    let other = fanfare(&dir).env("FANFARE_ENCRYPTION_KEY", &format!("{}=", "A".repeat(43)));
    let check = other.run(&["check"]).await;
    assert_eq!(check.code, 1, "{}", check.stdout);
    assert!(check.stdout.contains("FANFARE_ENCRYPTION_KEY is not the key"), "{}", check.stdout);

    let key = dir.path().join("fanfare-data/encryption-key");
    std::fs::remove_file(&key).expect("the key is there");
    let ended = fanfare(&dir).run(&["serve"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("FANFARE_ENCRYPTION_KEY"), "{}", ended.stderr);
    assert!(!key.exists());
}

#[tokio::test]
async fn a_taken_store_and_a_taken_port_are_refused_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let server = fanfare(&dir).serve::<&str>(&[]).await;
    let second = fanfare(&dir).run(&["serve", "--listen=127.0.0.1:0"]).await;
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("in use by another process"), "{}", second.stderr);

    let elsewhere = tempfile::tempdir().unwrap();
    let listen = format!("--listen={}", server.address);
    let third = fanfare(&elsewhere).run(&["serve", &listen]).await;
    assert_eq!(third.code, 1, "{}", third.stderr);
    assert!(third.stderr.contains(&server.address.to_string()), "{}", third.stderr);
    assert!(third.stderr.contains("--listen"), "{}", third.stderr);
    let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing is made for a server that cannot listen: {left:?}");
}

#[tokio::test]
async fn a_stop_refuses_events_and_lets_attempts_in_flight_end() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let server = fanfare(&dir).serve(&receiver.allowed()).await;
    let shop = fanfare(&dir).shop().await;
    register(&server, &shop, &receiver).await;
    receiver.hold();
    let mut caller = client(&server, &shop).await;
    assert_eq!(emit(&mut caller, &shop).await, 202);
    receiver.wait_for(1).await;

    server.process.terminate().await;
    server.process.logged("stopping").await;
    assert_eq!(emit(&mut caller, &shop).await, 503);
    let (ready, _) = caller.send(Method::GET, "/readyz", "").await.unwrap();
    assert_eq!(ready, 503);
    receiver.answer_all();
    let ended = server.process.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    // What ended well is not sent again, and what was refused was not kept.
    let server = fanfare(&dir).serve(&receiver.allowed()).await;
    let mut caller = client(&server, &shop).await;
    assert_eq!(emit(&mut caller, &shop).await, 202);
    receiver.wait_for(2).await;
    server.process.terminate().await;
    assert_eq!(server.process.end().await.code, 0);
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), 2);
    assert_ne!(arrivals[0].id(), arrivals[1].id());
    let check = fanfare(&dir).run(&["check"]).await;
    assert_eq!(check.code, 0, "{}", check.stdout);
}

#[tokio::test]
async fn a_second_signal_cuts_what_is_in_flight_and_the_next_start_delivers_it() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let server = fanfare(&dir).serve(&receiver.allowed()).await;
    let shop = fanfare(&dir).shop().await;
    register(&server, &shop, &receiver).await;
    receiver.hold();
    assert_eq!(emit(&mut client(&server, &shop).await, &shop).await, 202);
    receiver.wait_for(1).await;
    server.process.terminate().await;
    server.process.logged("stopping").await;
    server.process.terminate().await;
    assert_eq!(server.process.end().await.code, 0);

    receiver.answer_all();
    let server = fanfare(&dir).serve(&receiver.allowed()).await;
    receiver.wait_for(2).await;
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals[0].id(), arrivals[1].id());
    server.process.kill().await;
}

#[tokio::test]
async fn the_grace_time_ends_what_does_not_end() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let [http, network] = receiver.allowed();
    let server = fanfare(&dir).serve(&[&http, &network, "--grace=200ms"]).await;
    let shop = fanfare(&dir).shop().await;
    register(&server, &shop, &receiver).await;
    receiver.hold();
    assert_eq!(emit(&mut client(&server, &shop).await, &shop).await, 202);
    receiver.wait_for(1).await;
    server.process.terminate().await;
    assert_eq!(server.process.end().await.code, 0);
}
