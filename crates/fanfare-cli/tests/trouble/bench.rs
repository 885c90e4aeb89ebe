//! A server under load, and the account at the end.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::sign::Secret;
use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::{Producers, Shop};
use fanfare_testkit::receiver::Receiver;
use fanfare_testkit::wait::{PATIENCE, pause, within};
use hyper::Method;
use serde_json::Value;
use tempfile::TempDir;

/// How many clients emit at once.
const PRODUCERS: usize = 8;
/// How soon after its database is back a server delivers again.
const DELIVERING_AGAIN: Duration = Duration::from_secs(5);
/// Lines that a server logs without any trouble, and those that tell of what was done to it.
const LINES: u64 = 20;

pub(crate) struct Bench {
    _dir: TempDir,
    fanfare: Fanfare,
    server: Server,
    shop: Shop,
    secret: Secret,
    pub(crate) receiver: Receiver,
    pub(crate) producers: Producers,
}

impl Bench {
    /// A server on this database, with clients that go on until each event is accepted.
    pub(crate) async fn start(url: &str) -> Bench {
        let dir = tempfile::tempdir().expect("a folder");
        let fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path());
        let fanfare = fanfare.env("FANFARE_DATABASE_URL", url);
        let receiver = Receiver::start().await;
        let server = fanfare.serve(&receiver.allowed()).await;
        let shop = fanfare.shop().await;
        let secret = register(&server, &shop, &receiver).await;
        let producers = Producers::start_patient(PRODUCERS, &shop);
        producers.aim(server.address);
        Bench { _dir: dir, fanfare, server, shop, secret, receiver, producers }
    }

    /// Waits until so many more events were accepted.
    pub(crate) async fn accepts(&self, more: u64) {
        self.producers.wait_for(self.producers.accepted() + more).await;
    }

    /// Waits until what was accepted so far has arrived.
    pub(crate) async fn catches_up(&self) {
        self.receiver.wait_for(self.producers.accepted()).await;
    }

    /// The database has gone: callers are told, and so are those who ask.
    pub(crate) async fn refuses(&self) {
        self.producers.wait_for_refusals(1).await;
        self.is_ready(false).await;
    }

    /// The database is back: events are accepted and delivered again.
    pub(crate) async fn recovers(&self) {
        let arrived = self.receiver.count();
        let again = self.receiver.wait_for(arrived + 1);
        within(DELIVERING_AGAIN, "a delivery after its return", again).await;
        self.is_ready(true).await;
        self.accepts(20).await;
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn is_ready(&self, ready: bool) {
        let wanted = if ready { 200 } else { 503 };
        let asked = async {
            let mut client = self.client().await;
            loop {
                let (status, answer) =
                    client.send(Method::GET, "/readyz", "").await.expect("an answer");
                if status == wanted {
                    return answer;
                }
                pause().await;
            }
        };
        let answer = within(PATIENCE, &format!("a readiness of {wanted}"), asked).await;
        assert!(ready || !answer["code"].as_str().unwrap_or_default().is_empty(), "{answer}");
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.address, &self.shop.token).await.expect("a connection")
    }

    /// Waits until everything has arrived, stops the server, and accounts for every event.
    pub(crate) async fn end(self) {
        let outcome = self.producers.stop().await;
        let mut missing: Vec<&String> = outcome.accepted.values().collect();
        missing.sort_unstable();
        let mut left = missing.len();
        self.receiver
            .wait_until(|arrivals| {
                for arrival in arrivals {
                    let found = missing.binary_search_by(|id| id.as_str().cmp(arrival.id()));
                    left -= usize::from(found.is_ok()).min(left);
                }
                left == 0
            })
            .await;
        let lasted = self.server.since_start.elapsed();
        self.server.process.terminate().await;
        let ended = self.server.process.end().await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let check = self.fanfare.run(&["check"]).await;
        assert_eq!(check.code, 0, "{}\n{}", check.stdout, check.stderr);

        let arrivals = self.receiver.arrivals();
        let mut newest: HashMap<String, u64> = HashMap::new();
        let mut came: HashMap<String, String> = HashMap::new();
        for arrival in &arrivals {
            assert!(arrival.is_signed_with(&self.secret), "{arrival:?}");
            let text = serde_json::from_slice::<Value>(&arrival.body).ok();
            let text = text.as_ref().and_then(Value::as_str).expect("a text").to_owned();
            let before = came.insert(text.clone(), arrival.id().to_owned());
            assert_eq!(before, None, "{text} came twice\n{}", ended.stderr);
            let (producer, number) = text.split_once(", event ").expect("a number");
            let number: u64 = number.parse().expect("a number");
            let before = newest.insert(producer.to_owned(), number);
            assert_eq!(before, number.checked_sub(1), "{text} came out of order");
        }
        assert_eq!(came, outcome.accepted, "what arrived, and what was accepted");
        let lines = ended.stderr.lines().count() as u64;
        assert!(lines <= LINES + lasted.as_secs(), "{lines} in {lasted:?}:\n{}", ended.stderr);
        println!(
            "{} accepted, each arrived once, in order; refused {:?}; {lines} lines in {lasted:.0?}",
            came.len(),
            outcome.refused
        );
    }
}

/// Registers the receiver for everything, in the order of keys, and returns its secret.
async fn register(server: &Server, shop: &Shop, receiver: &Receiver) -> Secret {
    let body = format!(r#"{{"url":"{}","events":["*"],"ordering":"key"}}"#, receiver.url());
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let mut client = Client::connect(server.address, &shop.token).await.expect("a connection");
    let (status, endpoint) = client.send(Method::POST, &path, body).await.expect("an answer");
    assert_eq!(status, 201, "{endpoint}");
    endpoint["secret"].as_str().and_then(|text| text.parse().ok()).expect("a secret")
}
