//! `fanfare move`: a server's store into another one, while nobody serves it, and back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fanfare::clock::{Clock, SystemClock};
use fanfare::metrics::Metrics;
use fanfare::model::{CompanyId, Event, EventId};
use fanfare::sign::Secret;
use fanfare::store::{self, Admission, Emit};
use fanfare_testkit::client::Client;
use fanfare_testkit::full;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Ended, Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::{Arrival, Receiver};
use hyper::Method;
use serde_json::{Value, json};

const DATABASE: &str = "FANFARE_DATABASE_URL";
/// Where a server keeps its store when nothing is said.
const FILE: &str = "sqlite:./fanfare-data/fanfare.db";

fn fanfare(dir: &Path) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir)
}

fn well(ended: &Ended) -> &str {
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    &ended.stdout
}

/// What the last lines say of each table: how many rows, and their checksum.
fn proof(ended: &Ended) -> Vec<String> {
    let lines = well(ended).lines().filter(|line| line.contains(" rows in both, sha256 "));
    lines.map(str::to_owned).collect()
}

/// A company with endpoints at a receiver.
struct Stage {
    receiver: Receiver,
    shop: Shop,
    secret: Secret,
    /// Of the events that were accepted.
    ids: BTreeSet<String>,
}

impl Stage {
    async fn set(fanfare: &Fanfare, server: &Server, receiver: Receiver) -> Stage {
        let shop = fanfare.shop().await;
        let mut client = Client::connect(server.address, &shop.token).await.unwrap();
        let path = format!("/v1/companies/{}/endpoints", shop.company);
        let body = json!({ "url": receiver.url(), "events": ["*"], "ordering": "key" }).to_string();
        let (status, made) = client.send(Method::POST, &path, body).await.unwrap();
        assert_eq!(status, 201, "{made}");
        let secret = made["secret"].as_str().unwrap().parse().unwrap();
        Stage { receiver, shop, secret, ids: BTreeSet::new() }
    }

    async fn ask(&self, server: &Server, path: &str, body: Value) -> (u16, Value) {
        let mut client = Client::connect(server.address, &self.shop.token).await.unwrap();
        let path = format!("/v1/companies/{}/{path}", self.shop.company);
        let method = if body.is_null() { Method::GET } else { Method::POST };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        client.send(method, &path, body).await.unwrap()
    }

    async fn emit(&mut self, server: &Server, n: u32) {
        let event =
            json!({ "type": "order.created", "data": n, "orderingKey": format!("{}", n % 2) });
        let (status, accepted) = self.ask(server, "events", event).await;
        assert_eq!(status, 202, "{accepted}");
        self.ids.insert(accepted["id"].as_str().unwrap().to_owned());
    }

    /// The same under the same key, whenever it is called. Returns the event's id.
    async fn emit_once(&self, fanfare: &Fanfare, server: &Server) -> String {
        let (company, server) = (&self.shop.company, format!("--server=http://{}", server.address));
        let keys = ["--idempotency-key=once", "--ordering-key=1"];
        let call = ["emit", "--company", company, &server, keys[0], keys[1], "order.created", "21"];
        let told: Value = serde_json::from_str(well(&fanfare.run(&call).await)).unwrap();
        told["id"].as_str().unwrap().to_owned()
    }

    /// Everything that was accepted arrives, and the last of each that arrives is signed as ever.
    async fn everything_arrives(&self) {
        let mut missing = self.ids.clone();
        let all = |arrivals: &[Arrival]| {
            arrivals.iter().for_each(|arrival| {
                missing.remove(arrival.id());
            });
            missing.is_empty()
        };
        self.receiver.wait_until(all).await;
        let arrivals = self.receiver.arrivals();
        assert!(arrivals.iter().all(|arrival| arrival.is_signed_with(&self.secret)));
    }

    /// In the order in which they were emitted, under each key.
    fn in_order(&self) -> bool {
        let mut heard: [Vec<u32>; 2] = Default::default();
        for arrival in self.receiver.arrivals() {
            let number: u32 = str::from_utf8(&arrival.body).unwrap().parse().unwrap();
            heard[(number % 2) as usize].push(number);
        }
        heard.iter().all(|numbers| numbers.is_sorted())
    }
}

/// What was in flight, what waited for a retry, what was parked.
async fn moves_under_work(to: &str, back: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (here, receiver) = (fanfare(dir.path()), Receiver::start().await);
    let (there, again) = (here.clone().env(DATABASE, to), here.clone().env(DATABASE, back));
    let settings: Vec<String> =
        receiver.allowed().into_iter().chain(["--retry-schedule=1s".to_owned()]).collect();
    let server = here.serve(&settings).await;
    let mut stage = Stage::set(&here, &server, receiver).await;
    stage.receiver.plan(&[500, 500]);
    for n in 0..6 {
        stage.emit(&server, n).await;
    }
    stage.receiver.wait_for(2).await;
    stage.receiver.hold();
    for n in 6..20 {
        stage.emit(&server, n).await;
    }
    let first = stage.emit_once(&here, &server).await;
    stage.ids.insert(first.clone());
    let key = stage.ask(&server, "api-keys", json!({ "name": "till", "scope": "read" })).await;
    let key = key.1["key"].as_str().unwrap().to_owned();

    let refused = here.run(&["move", "--to", to]).await;
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("in use by another process"), "{}", refused.stderr);
    server.process.kill().await;

    let there_proof = proof(&here.run(&["move", "--to", to]).await);
    assert_eq!(there_proof.len(), 11, "{there_proof:?}");
    well(&there.run(&["check"]).await);
    let back_proof = proof(&here.run(&["move", "--from", to, "--to", back]).await);
    assert_eq!(back_proof, there_proof);
    well(&again.run(&["check"]).await);

    stage.receiver.answer_all();
    let server = there.serve(&settings).await;
    stage.everything_arrives().await;
    assert_eq!(stage.emit_once(&there, &server).await, first, "it is known");
    let read = format!("/v1/companies/{}/endpoints", stage.shop.company);
    let mut till = Client::connect(server.address, &key).await.unwrap();
    let (status, endpoints) = till.send(Method::GET, &read, "").await.unwrap();
    assert_eq!((status, endpoints["items"].as_array().map(Vec::len)), (200, Some(1)));
    stage.emit(&server, 30).await;
    stage.everything_arrives().await;
    assert!(stage.in_order());
    server.process.terminate().await;
    well(&server.process.end().await);
    well(&there.run(&["check"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_on_postgresql_with_all_that_waited() {
    moves_under_work(&url_of_new_schema(), "sqlite:back.db").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_in_another_file_with_all_that_waited() {
    moves_under_work("sqlite:there.db", &url_of_new_schema()).await;
}

/// Fills the store that a server has made with events that nobody hears of.
async fn fill(dir: &Path, events: usize) {
    let file = format!("sqlite:{}", dir.join("fanfare-data/fanfare.db").display());
    let store = store::open(&file, Metrics::default()).await.unwrap();
    let (company, now) = (CompanyId::new(SystemClock.now()), SystemClock.now());
    let admission = Admission { lease: Duration::ZERO, may_claim: Arc::new(|_| false) };
    for _ in 0..events / 1_000 {
        let emits = (0..1_000).map(|_| {
            let (id, payload) = ((company, EventId::new(now)), "null".into());
            Emit::new(Event::new(id, "order.created".parse().unwrap(), payload, now))
        });
        store.accept(emits.collect(), &admission).await.unwrap();
    }
    store.close().await;
}

async fn killed_again_and_again(there: &str, back: &str) {
    let (events, kills) = if full() { (200_000, 20) } else { (40_000, 4) };
    let dir = tempfile::tempdir().unwrap();
    let here = fanfare(dir.path());
    let server = here.serve::<&str>(&[]).await;
    server.process.terminate().await;
    well(&server.process.end().await);
    fill(dir.path(), events).await;
    let mut proofs = Vec::new();
    for (from, to) in [(FILE, there), (there, back)] {
        for kill in 0..kills {
            let moving = here.spawn(&["move", "--from", from, "--to", to]);
            // Not always at the same place of the work.
            moving.line("copying events: ").await;
            if kill % 2 == 1 {
                moving.lines("copying events: ", 2).await;
            }
            moving.kill().await;
            let target = here.clone().env(DATABASE, to);
            let refused = target.run(&["serve", "--listen=127.0.0.1:0"]).await;
            assert_eq!(refused.code, 1, "{}", refused.stderr);
            let remedy = "has not been finished: run the same `fanfare move` again";
            assert!(refused.stderr.contains(remedy), "{}", refused.stderr);
        }
        let ended = here.run(&["move", "--from", from, "--to", to]).await;
        assert!(ended.stdout.contains(" rows, 100 %"), "{}", ended.stdout);
        let proof = proof(&ended);
        let all = format!("events {events:>18} rows in both");
        assert!(proof.iter().any(|line| line.starts_with(&all)), "{proof:?}");
        proofs.push(proof);
        well(&here.clone().env(DATABASE, to).run(&["check"]).await);
    }
    assert_eq!(proofs[0], proofs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_goes_on_where_it_was() {
    killed_again_and_again(&url_of_new_schema(), "sqlite:back.db").await;
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let here = fanfare(dir.path());
    let secret = "postgres://user:hunter2@127.0.0.1:1/nowhere";
    let cases: [(&[&str], i32, &str); 5] = [
        (&["move"], 2, "--to"),
        (
            &["move", "--to", "mysql://user:hunter2@db"],
            2,
            "--to must be sqlite:PATH or postgres://",
        ),
        (&["move", "--to", secret], 1, "the target: "),
        (&["move", "--from", "sqlite:none.db", "--to", "sqlite:new.db"], 1, "there is no store at"),
        (&["move", "--from", FILE, "--to", FILE], 1, "are the same store"),
    ];
    let server = here.serve::<&str>(&[]).await;
    server.process.kill().await;
    for (args, code, told) in cases {
        let refused = here.run(args).await;
        assert_eq!(refused.code, code, "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{args:?}: {}", refused.stderr);
        let said = refused.stdout + &refused.stderr;
        assert!(!said.contains("hunter2"), "{said}");
    }
    // A store in use as the target.
    let server = here.clone().env(DATABASE, "sqlite:other.db").serve::<&str>(&[]).await;
    let refused = here.run(&["move", "--to", "sqlite:other.db"]).await;
    assert!(refused.stderr.contains("in use by another process"), "{}", refused.stderr);
    server.process.kill().await;
    let refused = here.run(&["move", "--to", "sqlite:other.db"]).await;
    assert!(refused.stderr.contains("the target is not empty"), "{}", refused.stderr);
}
