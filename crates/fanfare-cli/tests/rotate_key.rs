//! `fanfare rotate-key`: beside a server, without one, and across crashes.

#![allow(clippy::expect_used, reason = "a test ends where something is missing")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fanfare::sign::Secret;
use fanfare_testkit::client::Client;
use fanfare_testkit::full;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Ended, Fanfare, Server};
use fanfare_testkit::producers::{Producers, Shop};
use fanfare_testkit::receiver::Receiver;
use hyper::Method;
use serde_json::{Value, json};

const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const TWO: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
const KEY: &str = "FANFARE_ENCRYPTION_KEY";
const PREVIOUS: &str = "FANFARE_ENCRYPTION_KEY_PREVIOUS";

fn fanfare(dir: &Path) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir)
}

/// A company whose webhooks arrive at a receiver.
struct Stage {
    receiver: Receiver,
    shop: Shop,
    secrets: Vec<Secret>,
}

impl Stage {
    async fn set(
        fanfare: &Fanfare,
        server: &Server,
        receiver: Receiver,
        endpoints: usize,
    ) -> Stage {
        let shop = fanfare.shop().await;
        let path = format!("/v1/companies/{}/endpoints", shop.company);
        let mut client = Client::connect(server.address, &shop.token).await.expect("a connection");
        let mut secrets = Vec::new();
        for n in 0..endpoints {
            // One hears everything; the others only have secrets.
            let events = if n == 0 { "*" } else { "never" };
            let body = json!({ "url": receiver.url(), "events": [events] }).to_string();
            let made = client.send(Method::POST, &path, body).await.expect("an answer");
            assert_eq!(made.0, 201, "{}", made.1);
            secrets.push(made.1["secret"].as_str().and_then(|text| text.parse().ok()).expect("it"));
        }
        Stage { receiver, shop, secrets }
    }

    /// An event arrives, signed as ever.
    async fn delivers(&self, server: &Server) {
        let before = self.receiver.count();
        let path = format!("/v1/companies/{}/events", self.shop.company);
        let body = r#"{"type":"order.created","data":1}"#;
        let (status, answer) =
            self.client(server).await.send(Method::POST, &path, body).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
        self.receiver.wait_for(before + 1).await;
        let arrivals = self.receiver.arrivals();
        assert!(arrivals.last().is_some_and(|arrival| arrival.is_signed_with(&self.secrets[0])));
    }

    /// Every endpoint shows the secret that it had.
    async fn shows_every_secret(&self, server: &Server) {
        let path = format!("/v1/companies/{}/endpoints?limit=100", self.shop.company);
        let (_, page) = self.client(server).await.send(Method::GET, &path, "").await.expect("it");
        let shown: Vec<_> = page["items"].as_array().into_iter().flatten().collect();
        for (shown, secret) in shown.iter().rev().zip(&self.secrets) {
            assert_eq!(shown["secret"], secret.reveal());
        }
        assert_eq!(shown.len(), self.secrets.len().min(100));
    }

    async fn client(&self, server: &Server) -> Client {
        Client::connect(server.address, &self.shop.token).await.expect("a connection")
    }
}

async fn ended_well(server: Server) {
    server.process.terminate().await;
    let ended = server.process.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn well(ended: &Ended) -> &str {
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    &ended.stdout
}

fn key_file(dir: &Path) -> PathBuf {
    dir.join("fanfare-data/encryption-key")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_server_that_runs_gets_a_new_key_and_needs_the_old_one_no_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let (fanfare, receiver) = (fanfare(dir.path()), Receiver::start().await);
    let server = fanfare.serve(&receiver.allowed()).await;
    let stage = Stage::set(&fanfare, &server, receiver, 3).await;
    stage.delivers(&server).await;
    let file = key_file(dir.path());
    let old = fs::read_to_string(&file).expect("a key");

    // The store has an owner, so the command asks that one.
    let listen = format!("--listen={}", server.address);
    let told = fanfare.run(&["rotate-key", &listen]).await;
    assert!(well(&told).contains("3 secrets were sealed anew"), "{}", told.stdout);
    let beside = file.with_file_name("encryption-key.previous");
    assert!(told.stdout.contains("encryption-key.previous may be removed"), "{}", told.stdout);
    assert_eq!(fs::read_to_string(&beside).expect("the old key"), old);
    assert_ne!(fs::read_to_string(&file).expect("the new key"), old);
    assert_eq!((mode(&file), mode(&beside)), (0o600, 0o600));
    for key in [&old, &fs::read_to_string(&file).expect("the new key")] {
        assert!(!told.stdout.contains(key.trim()), "a key is never shown");
    }
    stage.delivers(&server).await;
    stage.shows_every_secret(&server).await;

    fs::remove_file(beside).expect("the old key");
    well(&fanfare.run(&["check"]).await);
    server.process.kill().await;
    let server = fanfare.serve(&stage.receiver.allowed()).await;
    stage.delivers(&server).await;
    stage.shows_every_secret(&server).await;
    // The key that is gone is noticed.
    fs::write(&file, old).expect("the file");
    let check = fanfare.run(&["check"]).await;
    assert_eq!(check.code, 1);
    assert!(check.stdout.contains("FANFARE_ENCRYPTION_KEY is not the key"), "{}", check.stdout);
}

#[tokio::test]
async fn a_store_without_a_server_gets_a_new_key_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (fanfare, receiver) = (fanfare(dir.path()), Receiver::start().await);
    let nothing = fanfare.run(&["rotate-key", "--listen=127.0.0.1:9"]).await;
    assert_eq!(nothing.code, 1, "{}", nothing.stderr);
    assert!(nothing.stderr.contains("no key is known here"), "{}", nothing.stderr);

    let server = fanfare.serve(&receiver.allowed()).await;
    let stage = Stage::set(&fanfare, &server, receiver, 2).await;
    ended_well(server).await;
    well(&fanfare.run(&["rotate-key"]).await);
    well(&fanfare.run(&["rotate-key"]).await);
    fs::remove_file(key_file(dir.path()).with_file_name("encryption-key.previous")).expect("it");
    well(&fanfare.run(&["check"]).await);
    let server = fanfare.serve(&stage.receiver.allowed()).await;
    stage.delivers(&server).await;
    ended_well(server).await;
}

#[tokio::test]
async fn keys_that_are_given_are_rotated_with_both_and_then_the_new_one_does() {
    let dir = tempfile::tempdir().expect("a directory");
    given_keys(fanfare(dir.path())).await;
}

#[tokio::test]
async fn keys_that_are_given_are_rotated_on_postgresql() {
    let dir = tempfile::tempdir().expect("a directory");
    given_keys(fanfare(dir.path()).env("FANFARE_DATABASE_URL", &url_of_new_schema())).await;
}

async fn given_keys(fanfare: Fanfare) {
    let receiver = Receiver::start().await;
    let one = fanfare.clone().env(KEY, ONE);
    let both = fanfare.clone().env(KEY, TWO).env(PREVIOUS, ONE);
    let two = fanfare.clone().env(KEY, TWO);
    let server = one.serve(&receiver.allowed()).await;
    let stage = Stage::set(&one, &server, receiver, 2).await;
    let listen = |server: &Server| format!("--listen={}", server.address);
    let nothing = one.run(&["rotate-key", &listen(&server)]).await;
    assert_eq!(nothing.code, 1, "{}", nothing.stdout);
    assert!(nothing.stderr.contains(PREVIOUS), "it says how: {}", nothing.stderr);
    ended_well(server).await;

    let server = both.serve(&stage.receiver.allowed()).await;
    stage.delivers(&server).await;
    well(&both.run(&["check"]).await);
    // Until everything is sealed anew, neither key alone will do.
    for (alone, named) in [(&one, "FANFARE_ENCRYPTION_KEY is not the key"), (&two, PREVIOUS)] {
        let check = alone.run(&["check"]).await;
        assert_eq!(check.code, 1);
        assert!(check.stdout.contains(named), "{}", check.stdout);
    }
    server.process.kill().await;
    let refused = two.run(&["serve", "--listen=127.0.0.1:0"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains(PREVIOUS), "{}", refused.stderr);
    let refused = one.run(&["serve", "--listen=127.0.0.1:0"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);

    let server = both.serve(&stage.receiver.allowed()).await;
    let told = both.run(&["rotate-key", &listen(&server)]).await;
    assert!(well(&told).contains("2 secrets were sealed anew"), "{}", told.stdout);
    assert!(told.stdout.contains(&format!("{PREVIOUS} may be removed")), "{}", told.stdout);
    stage.delivers(&server).await;
    ended_well(server).await;

    let server = two.serve(&stage.receiver.allowed()).await;
    stage.delivers(&server).await;
    stage.shows_every_secret(&server).await;
    well(&two.run(&["check"]).await);
    ended_well(server).await;
    let refused = one.run(&["serve", "--listen=127.0.0.1:0"]).await;
    assert_eq!(refused.code, 2, "the old key is no key any more: {}", refused.stderr);
}

/// Under load, each time at another moment.
#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_of_a_rotation_leave_a_store_that_starts_and_delivers() {
    let (kills, endpoints) = if full() { (20, 2_000) } else { (4, 100) };
    let dir = tempfile::tempdir().expect("a directory");
    let (fanfare, receiver) = (fanfare(dir.path()), Receiver::start().await);
    let mut server = fanfare.serve(&receiver.allowed()).await;
    let stage = Stage::set(&fanfare, &server, receiver, endpoints).await;
    let producers = Producers::start(2, &stage.shop);
    let super_admin = super_admin(&fanfare, &stage.shop).await;
    for round in 0..kills {
        producers.aim(server.address);
        producers.wait_for(producers.accepted() + 20).await;
        let rotating = tokio::spawn(rotate(server.address, super_admin.clone()));
        producers.wait_for(producers.accepted() + 1 + round * 13 % 40).await;
        server.process.kill().await;
        rotating.await.expect("an end");

        server = fanfare.serve(&stage.receiver.allowed()).await;
        well(&fanfare.run(&["check"]).await);
        stage.shows_every_secret(&server).await;
    }
    producers.aim(server.address);
    let finished = fanfare.run(&["rotate-key", &format!("--listen={}", server.address)]).await;
    well(&finished);
    let outcome = producers.stop().await;
    let mut missing: std::collections::HashSet<_> = outcome.accepted.into_values().collect();
    let all = |arrivals: &[fanfare_testkit::receiver::Arrival]| {
        missing.retain(|id| !arrivals.iter().any(|arrival| arrival.id() == id));
        missing.is_empty()
    };
    stage.receiver.wait_until(all).await;
    assert!(stage.receiver.arrivals().iter().all(|one| one.is_signed_with(&stage.secrets[0])));
    ended_well(server).await;

    fs::remove_file(key_file(dir.path()).with_file_name("encryption-key.previous")).expect("it");
    well(&fanfare.run(&["check"]).await);
}

async fn super_admin(fanfare: &Fanfare, shop: &Shop) -> String {
    let token = ["token", "--role=superAdmin", "--company", &shop.company];
    fanfare.run(&token).await.stdout.trim().to_owned()
}

/// Rotates, one rotation after the other, until the server is gone.
async fn rotate(server: std::net::SocketAddr, token: String) {
    let Ok(mut client) = Client::connect(server, &token).await else { return };
    while let Ok((200, _)) = client.send(Method::POST, "/v1/rotate-key", "").await {}
}

#[tokio::test]
async fn only_a_super_admin_may_rotate() {
    let dir = tempfile::tempdir().expect("a directory");
    let fanfare = fanfare(dir.path());
    let server = fanfare.serve::<&str>(&[]).await;
    let shop = fanfare.shop().await;
    let token = super_admin(&fanfare, &shop).await;
    for (token, expected) in [("", 401), (shop.token.as_str(), 403), (token.as_str(), 200)] {
        let mut client = Client::connect(server.address, token).await.expect("a connection");
        let answer = client.send(Method::POST, "/v1/rotate-key", "").await.expect("an answer");
        assert_eq!(answer.0, expected, "{}", answer.1);
        let no_key = answer.1.get("done").is_none_or(Value::is_boolean);
        assert!(no_key, "{}", answer.1);
    }
    server.process.kill().await;
}

#[tokio::test]
async fn a_server_leaves_no_core() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = fanfare(dir.path()).serve::<&str>(&[]).await;
    let pid = server.process.id().expect("a process");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    server.process.kill().await;
}
