//! `kill -9` at any moment loses nothing that was accepted.

#![allow(clippy::expect_used, reason = "a test ends where something is missing")]
#![allow(clippy::print_stdout, reason = "how often something came twice is worth knowing")]

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use fanfare::sign::Secret;
use fanfare_testkit::client::Client;
use fanfare_testkit::full;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::{Outcome, Producers, Shop};
use fanfare_testkit::receiver::{Arrival, Receiver};
use fanfare_testkit::wait::within;
use hyper::Method;
use serde_json::Value;

/// How often the server is killed.
const KILLS: u64 = 20;
/// How often on PostgreSQL in the short form: after each, a lease has to run out.
const KILLS_SHORT: u64 = 5;
/// How many clients emit at once.
const PRODUCERS: usize = 8;
/// How soon after its start a server delivers again (contract, section 7).
const DELIVERING_AGAIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_under_load_lose_nothing_on_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    survive(Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path()), KILLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_lose_nothing_on_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path());
    let fanfare = fanfare.env("FANFARE_DATABASE_URL", &url_of_new_schema());
    // What a killed process had is taken over once its lease has run out.
    let kills = if full() { KILLS } else { KILLS_SHORT };
    survive(fanfare.env("FANFARE_NODE_LEASE", "1s"), kills).await;
}

/// Kills the server again and again under load, each time at another moment, and then accounts for
/// every event.
async fn survive(fanfare: Fanfare, kills: u64) {
    let receiver = Receiver::start().await;
    let mut server = fanfare.serve(&receiver.allowed()).await;
    let shop = fanfare.shop().await;
    let secret = register(&server, &shop, &receiver).await;
    let bench = Bench { fanfare, receiver, producers: Producers::start(PRODUCERS, &shop) };
    for round in 0..kills {
        server = bench.kill_and_start_again(server, round).await;
        check(&bench.fanfare).await;
    }
    bench.end(server, &secret).await;
}

struct Bench {
    fanfare: Fanfare,
    receiver: Receiver,
    producers: Producers,
}

impl Bench {
    async fn kill_and_start_again(&self, server: Server, round: u64) -> Server {
        let Bench { fanfare, receiver, producers } = self;
        producers.aim(server.address);
        producers.wait_for(producers.accepted() + 100 + round * 37 % 500).await;
        server.process.kill().await;
        receiver.next_life().await;
        let arrived = receiver.count();

        let server = fanfare.serve(&receiver.allowed()).await;
        if round.is_multiple_of(2) {
            // Everything accepted so far arrives.
            delivering(&server, receiver.wait_until(missing(&producers.outcome()))).await;
        } else {
            // Load comes before the backlog is gone.
            producers.aim(server.address);
            delivering(&server, receiver.wait_for(arrived + 1)).await;
        }
        server
    }

    /// Waits until everything has arrived, stops the server, and accounts for every event.
    async fn end(self, server: Server, secret: &Secret) {
        let outcome = self.producers.stop().await;
        self.receiver.wait_until(missing(&outcome)).await;
        server.process.terminate().await;
        let ended = server.process.end().await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        check(&self.fanfare).await;
        account(&outcome, &self.receiver.arrivals(), secret);
    }
}

async fn check(fanfare: &Fanfare) {
    let check = fanfare.run(&["check"]).await;
    assert_eq!(check.code, 0, "{}\n{}", check.stdout, check.stderr);
}

/// Registers the receiver for everything, and returns its secret.
async fn register(server: &Server, shop: &Shop, receiver: &Receiver) -> Secret {
    let body = format!(r#"{{"url":"{}","events":["*"]}}"#, receiver.url());
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let mut client = Client::connect(server.address, &shop.token).await.expect("a connection");
    let (status, endpoint) = client.send(Method::POST, &path, body).await.expect("an answer");
    assert_eq!(status, 201, "{endpoint}");
    endpoint["secret"].as_str().and_then(|text| text.parse().ok()).expect("a secret")
}

async fn delivering(server: &Server, arrival: impl Future<Output = ()>) {
    let left = DELIVERING_AGAIN.saturating_sub(server.since_start.elapsed());
    within(left, "a delivery after the start", arrival).await;
}

/// Takes what arrives off the list of what was accepted, until nothing is missing.
fn missing(outcome: &Outcome) -> impl FnMut(&[Arrival]) -> bool {
    let mut missing: HashSet<String> = outcome.accepted.values().cloned().collect();
    move |arrivals| {
        for arrival in arrivals {
            missing.remove(arrival.id());
        }
        missing.is_empty()
    }
}

/// Every accepted event arrived under its id and no other, nothing was invented or altered, and
/// nothing came twice from one life of the server.
fn account(outcome: &Outcome, arrivals: &[Arrival], secret: &Secret) {
    let mut ids: HashMap<String, &str> = HashMap::new();
    let mut by_life: HashSet<(&str, u32)> = HashSet::new();
    for arrival in arrivals {
        assert!(arrival.is_signed_with(secret), "{arrival:?}");
        let text = serde_json::from_slice::<Value>(&arrival.body).ok();
        let text = text.as_ref().and_then(Value::as_str).expect("a text").to_owned();
        let emitted = outcome.accepted.contains_key(&text) || outcome.unanswered.contains(&text);
        assert!(emitted, "{text} was never emitted");
        let id = *ids.entry(text.clone()).or_insert(arrival.id());
        assert_eq!(id, arrival.id(), "{text} came under two ids");
        let first = by_life.insert((arrival.id(), arrival.life));
        assert!(first, "{text} came twice in life {}", arrival.life);
    }
    for (text, id) in &outcome.accepted {
        assert_eq!(ids.get(text), Some(&id.as_str()), "{text}");
    }
    println!(
        "{} events accepted, {} unanswered, {} arrived, {} more than once",
        outcome.accepted.len(),
        outcome.unanswered.len(),
        ids.len(),
        arrivals.len() - ids.len()
    );
}
