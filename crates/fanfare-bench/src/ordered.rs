//! Order by key: that it holds over failures and a crash, and what it costs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Client, Result};
use crate::receiver::{Receiver, Reply};
use crate::report::Report;
use crate::server::{COMPANY, Server, events_of, numbered_payload};
use crate::{CONNECTIONS, Length, runtime};

const KEYS: u64 = 500;
/// Events of one key in a row: soon enough after each other to overtake one that failed, where
/// nothing holds them.
const BURST: u64 = 4;
/// A retry comes soon, so that the run is short.
const RETRIES: [&str; 2] = ["--retry-schedule", "100ms,200ms,500ms,1s"];
/// Runs of each kind, in turns; the median counts.
const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// Inversions within a key and what is lost, over failures and a crash; then the throughput with
/// order by key as a share of that without order.
pub(crate) fn by_key(report: &mut Report, length: Length) {
    if !can_order() {
        report.absent("ordered: order by key", "not there yet");
        return;
    }
    let events = length.pick(1_000, 10_000, 10_000);
    through_a_crash(report, events);
    let events = length.pick(2_000, 20_000, 40_000);
    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        rates.0.push(throughput("none", events));
        rates.1.push(throughput("key", events));
    }
    let (none, key) = (median(rates.0), median(rates.1));
    report.note("ordered: deliveries without order", none, "/s");
    report.share("ordered: deliveries by key", key, ("without order", none), 0.85);
}

fn can_order() -> bool {
    let server = Server::start();
    let endpoint = json!({ "url": "http://127.0.0.1:18080/", "events": ["*"], "ordering": "key" });
    let (status, answer) = runtime().block_on(server.try_register(COMPANY, &endpoint));
    assert!([StatusCode::CREATED, StatusCode::BAD_REQUEST].contains(&status), "{answer:?}");
    status == StatusCode::CREATED
}

/// Emits while a fifth of the first attempts fail and the server is killed in the middle.
fn through_a_crash(report: &mut Report, events: u64) {
    let server = Server::start_with(&RETRIES);
    let receiver = Receiver::start_on_ports(1, |number, attempt| match (number % 5, attempt) {
        (0, 1) => Reply { status: StatusCode::INTERNAL_SERVER_ERROR, ..Reply::AT_ONCE },
        _ => Reply::AT_ONCE,
    });
    register(&server, &receiver, "key");
    let producer = Producer::new(&server, 0..events);
    let start = Instant::now();
    let (server, accepted) = std::thread::scope(|scope| {
        let emitting = scope.spawn(|| producer.emit_all());
        while producer.accepted.load(Ordering::Relaxed) < events / 2 && !emitting.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let server = server.kill_and_restart(&RETRIES);
        emitting.join().unwrap();
        (server, start.elapsed())
    });
    let passed = receiver.wait_for_passed(events as usize, PATIENCE);
    let took = start.elapsed();
    drop(server);
    let lost = events - passed as u64;
    let inversions = inversions(&receiver.passed());
    report.at_most("ordered: inversions within a key", inversions as f64, "", 0.0);
    report.at_most("ordered: events lost", lost as f64, "", 0.0);
    report.note("ordered: failures and a crash, all accepted", accepted.as_secs_f64(), "s");
    report.note("ordered: failures and a crash, all delivered", took.as_secs_f64(), "s");
    report.note("ordered: requests for an event", requests(&receiver, events), "");
}

fn requests(receiver: &Receiver, events: u64) -> f64 {
    receiver.requests() as f64 / events as f64
}

/// How many of these events came after a later one of their key. Within a key, numbers rise.
fn inversions(passed: &[u64]) -> usize {
    let mut latest = HashMap::new();
    let is_late = |number: &&u64| {
        let latest = latest.entry(key_of(**number)).or_insert(**number);
        let late = **number < *latest;
        *latest = (*latest).max(**number);
        late
    };
    passed.iter().filter(is_late).count()
}

fn key_of(number: u64) -> u64 {
    number / BURST % KEYS
}

/// Deliveries a second, from the first emit to the last arrival, when nothing fails.
fn throughput(ordering: &str, events: u64) -> f64 {
    let server = Server::start();
    let receiver = Receiver::start_noting();
    register(&server, &receiver, ordering);
    let warm = events / 10;
    Producer::new(&server, 0..warm).emit_all();
    receiver.wait_for(warm);
    let producer = Producer::new(&server, warm..warm + events);
    let start = Instant::now();
    producer.emit_all();
    receiver.wait_for(warm + events);
    events as f64 / start.elapsed().as_secs_f64()
}

fn register(server: &Server, receiver: &Receiver, ordering: &str) {
    let url = format!("http://{}/hooks", receiver.address);
    let endpoint = json!({ "url": url, "events": ["*"], "ordering": ordering });
    runtime().block_on(server.register_for(COMPANY, &endpoint));
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Emits events in rising order within each key: an event is emitted once the one before it of the
/// same key is accepted. Goes on where it was when the server comes back.
#[derive(Clone)]
struct Producer {
    server: SocketAddr,
    bearer: String,
    numbers: std::ops::Range<u64>,
    accepted: Arc<AtomicU64>,
}

impl Producer {
    fn new(server: &Server, numbers: std::ops::Range<u64>) -> Self {
        let (address, bearer) = (server.address, server.bearer());
        Producer { server: address, bearer, numbers, accepted: Arc::default() }
    }

    fn emit_all(&self) {
        runtime().block_on(async {
            let mut connections = JoinSet::new();
            for connection in 0..CONNECTIONS as u64 {
                connections.spawn(self.clone().emit_keys_of(connection));
            }
            connections.join_all().await;
        });
    }

    /// All events of a key go through one connection.
    async fn emit_keys_of(self, connection: u64) {
        let mut client = None;
        let is_mine = |number: &u64| key_of(*number) % CONNECTIONS as u64 == connection;
        for number in self.numbers.clone().filter(is_mine) {
            let body = event(number);
            while !matches!(self.emit(&mut client, &body).await, Ok(StatusCode::ACCEPTED)) {
                client = None;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn emit(&self, client: &mut Option<Client>, body: &Bytes) -> Result<StatusCode> {
        let open = match client.take() {
            Some(open) => open,
            None => Client::try_connect(self.server).await?,
        };
        let headers = [("authorization", self.bearer.as_str())];
        let open = client.insert(open);
        let (status, answer) =
            open.try_send("POST", &events_of(COMPANY), &headers, body.clone()).await?;
        assert!(status.is_success() || status.is_server_error(), "{status}: {answer:?}");
        Ok(status)
    }
}

/// It has an id, so that a repeat after a crash does not make a second one.
fn event(number: u64) -> Bytes {
    let id = format!("0197d0a5-7b5d-7c39-8cfa-{number:012x}");
    let (key, data) = (key_of(number), numbered_payload(number));
    format!(r#"{{"type":"ORDER_CHANGED","id":"{id}","orderingKey":"order-{key}","data":{data}}}"#)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_after_a_later_one_of_its_key_is_an_inversion() {
        let other_key = BURST;
        assert_eq!(inversions(&[0, other_key, 1, 2]), 0);
        assert_eq!(inversions(&[other_key, 0, 2, 1]), 1);
        assert_eq!(inversions(&[3, 0, 1, 2, other_key]), 3);
    }
}
