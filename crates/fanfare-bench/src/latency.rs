//! How long an event takes at a modest rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::Client;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::runtime;
use crate::server::{Server, emit, event_body};

const RATE: u32 = 200;
const SECONDS: u32 = 10;
const SENDERS: u32 = 4;

/// From the moment the caller has its 202, and from the moment it began to ask, to the head of the
/// request at the receiver.
pub(crate) fn at_200_a_second(report: &mut Report) {
    let server = Server::start();
    let receiver = Receiver::start_noting();
    let runtime = runtime();
    let emitted = runtime.block_on(async {
        server.register(&format!("http://{}/hooks", receiver.address)).await;
        let mut senders = JoinSet::new();
        for number in 0..SENDERS {
            senders.spawn(send(server.address, server.bearer(), number));
        }
        senders.join_all().await.concat()
    });
    receiver.wait_for(u64::from(RATE * SECONDS));
    let mut accepted = Vec::new();
    let mut asked = Vec::new();
    // The first second warms up.
    for (id, began, ended) in emitted.iter().skip(emitted.len() / 10) {
        let arrived = receiver.arrival(id).expect("every event arrives");
        accepted.push(arrived.saturating_duration_since(*ended));
        asked.push(arrived.saturating_duration_since(*began));
    }
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    report.at_most(
        "200/s: accepted to first byte, p50",
        ms(percentile(&mut accepted, 50)),
        "ms",
        1.0,
    );
    report.at_most(
        "200/s: accepted to first byte, p99",
        ms(percentile(&mut accepted, 99)),
        "ms",
        5.0,
    );
    report.note("200/s: asked to first byte, p50", ms(percentile(&mut asked, 50)), "ms");
    report.note("200/s: asked to first byte, p99", ms(percentile(&mut asked, 99)), "ms");
}

async fn send(server: SocketAddr, bearer: String, number: u32) -> Vec<(String, Instant, Instant)> {
    let mut client = Client::connect(server).await;
    let body = event_body();
    let headers = [("authorization", bearer.as_str())];
    let period = Duration::from_secs(1) * SENDERS / RATE;
    let mut next = Instant::now() + period * number / SENDERS;
    let mut emitted = Vec::new();
    for _ in 0..RATE * SECONDS / SENDERS {
        tokio::time::sleep_until(next.into()).await;
        next += period;
        let began = Instant::now();
        let answer = emit(&mut client, &headers, &body).await;
        let ended = Instant::now();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        emitted.push((answer["id"].as_str().unwrap().to_owned(), began, ended));
    }
    emitted
}

fn percentile(durations: &mut [Duration], percent: usize) -> Duration {
    durations.sort_unstable();
    durations[(durations.len() * percent / 100).min(durations.len() - 1)]
}
