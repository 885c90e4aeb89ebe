//! Emit over HTTP, and wait until everything has arrived.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::Client;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::{COMPANY, Post, Server, emit_for, event_body, events_of};
use crate::{CONNECTIONS, ceiling, runtime};

/// Events before those that are measured.
const WARM_UP: u64 = 2_000;

/// Emits `events` to `endpoints` and reports the rate of deliveries, from the first emit to the
/// last arrival, against a ceiling measured just before and just after.
pub(crate) fn over_http(report: &mut Report, endpoints: u64, events: u64, target: f64) {
    let before = ceiling::measure();
    let nodes = [Server::start()];
    let run = Loaded::warmed_up(&nodes, endpoints).run(events);
    drop(nodes);
    let beside = f64::midpoint(before, ceiling::measure());
    let name = format!("emit over HTTP to {endpoints} endpoint(s)");
    report.share(&name, run.delivered, ("the ceiling", beside), target);
    report.note("  accepted", run.accepted, "/s");
    report.note("  CPU of the server for a delivery", run.micros(run.cpu), "µs");
}

/// Nodes with endpoints of one receiver, under as much load as they take.
pub(crate) struct Loaded<'a> {
    nodes: &'a [Server],
    endpoints: u64,
    receiver: Receiver,
}

/// What a run came to.
pub(crate) struct Run {
    pub(crate) deliveries: f64,
    /// A second, from the first emit to the last arrival.
    pub(crate) delivered: f64,
    /// Events a second, from the first emit to the last 202.
    pub(crate) accepted: f64,
    /// Processor time of all nodes.
    pub(crate) cpu: Duration,
}

impl<'a> Loaded<'a> {
    pub(crate) fn warmed_up(nodes: &'a [Server], endpoints: u64) -> Self {
        let receiver = Receiver::start();
        runtime().block_on(async {
            for number in 0..endpoints {
                nodes[0].register(&format!("http://{}/{number}", receiver.address)).await;
            }
        });
        let loaded = Loaded { nodes, endpoints, receiver };
        loaded.run(WARM_UP);
        loaded
    }

    pub(crate) fn run(&self, events: u64) -> Run {
        let cpu = || self.nodes.iter().map(Server::cpu).sum::<Duration>();
        let body = event_body();
        let post = move |_| Post { path: events_of(COMPANY), body: body.clone() };
        let deliveries = events * self.endpoints;
        let (cpu_before, arrived, start) = (cpu(), self.receiver.requests(), Instant::now());
        emit(self.nodes, 0..events, post);
        let accepted = start.elapsed();
        self.receiver.wait_for(arrived + deliveries);
        let (all, deliveries) = (start.elapsed(), deliveries as f64);
        Run {
            deliveries,
            delivered: deliveries / all.as_secs_f64(),
            accepted: events as f64 / accepted.as_secs_f64(),
            cpu: cpu() - cpu_before,
        }
    }
}

impl Run {
    /// A time for each delivery, in µs.
    pub(crate) fn micros(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.deliveries
    }
}

/// Emits these numbers as fast as the nodes take them.
pub(crate) fn emit(
    nodes: &[Server],
    numbers: Range<u64>,
    post: impl Fn(u64) -> Post + Clone + Send + 'static,
) {
    let (next, end) = (Arc::new(AtomicU64::new(numbers.start)), numbers.end);
    runtime().block_on(async {
        let mut emitters = JoinSet::new();
        for node in nodes.iter().cycle().take(CONNECTIONS) {
            let (next, bearer, post) = (Arc::clone(&next), node.bearer(), post.clone());
            let mut client = Client::connect(node.address).await;
            emitters.spawn(async move {
                let headers = [("authorization", bearer.as_str())];
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        break;
                    }
                    emit_for(&mut client, &headers, &post(number)).await;
                }
            });
        }
        emitters.join_all().await;
    });
}
