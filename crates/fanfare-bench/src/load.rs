//! Emit over HTTP, and wait until everything has arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use crate::client::Client;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::{self, Server, event_body};
use crate::{CONNECTIONS, ceiling, runtime};

/// Emits `events` to `endpoints` and reports the rate of deliveries, from the first emit to the
/// last arrival, against a ceiling measured just before and just after.
pub(crate) fn over_http(report: &mut Report, endpoints: u64, events: u64, target: f64) {
    let before = ceiling::measure();
    let server = Arc::new(Server::start());
    let receiver = Receiver::start();
    let runtime = runtime();
    runtime.block_on(async {
        for number in 0..endpoints {
            server.register(&format!("http://{}/{number}", receiver.address)).await;
        }
    });
    let warm = 2_000;
    emit(&runtime, &server, warm);
    receiver.wait_for(warm * endpoints);

    let (cpu, start) = (server.cpu(), Instant::now());
    emit(&runtime, &server, events);
    let accepted = start.elapsed();
    receiver.wait_for((warm + events) * endpoints);
    let (all, cpu) = (start.elapsed(), server.cpu() - cpu);
    let deliveries = (events * endpoints) as f64;
    drop(runtime);
    drop(server);

    let beside = f64::midpoint(before, ceiling::measure());
    let name = format!("emit over HTTP to {endpoints} endpoint(s)");
    report.share(&name, deliveries / all.as_secs_f64(), ("the ceiling", beside), target);
    report.note("  accepted", events as f64 / accepted.as_secs_f64(), "/s");
    report.note("  CPU of the server for a delivery", cpu.as_secs_f64() * 1e6 / deliveries, "µs");
}

fn emit(runtime: &tokio::runtime::Runtime, server: &Arc<Server>, events: u64) {
    let left = Arc::new(AtomicI64::new(i64::try_from(events).unwrap()));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (server, left) = (Arc::clone(server), Arc::clone(&left));
                tokio::spawn(async move {
                    let mut client = Client::connect(server.address).await;
                    let (bearer, body) = (server.bearer(), event_body());
                    let headers = [("authorization", bearer.as_str())];
                    while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                        server::emit(&mut client, &headers, &body).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
