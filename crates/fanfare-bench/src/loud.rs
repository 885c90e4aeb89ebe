//! What a company that dumps a mountain of events for a slow endpoint does to another company.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use serde_json::json;

use crate::latency::order_created;
use crate::memory::Watch;
use crate::paced::Load;
use crate::receiver::{Receiver, Reply};
use crate::report::{Leeway, Pair, Report};
use crate::server::{COMPANY, Post, Server, emit_for, events_of};
use crate::times::Times;
use crate::{Length, runtime};

/// Company A; company B is [`COMPANY`].
const LOUD: &str = "0197d0a5-7b5d-7c39-8cfa-00000000000a";
/// Connections on which A dumps.
const DUMPERS: u64 = 16;
/// Events in one call of the dump.
const BATCH: u64 = 500;
/// Events of B a second.
const RATE: u32 = 5;
/// More seconds than a dump takes.
const EVER: u64 = 3600;
const LEEWAY: Leeway = Leeway { times: 2.0, plus: 0.0 };

/// B's p99 while A dumps, and with A's backlog standing, beside its own before. While A dumps, the
/// two cores are full of A's emits, so that phase is about the processor more than about turns.
pub(crate) fn one_of_two_companies(report: &mut Report, length: Length) {
    let (seconds, events) = (length.pick(3, 30, 30), length.pick(20_000, 50_000, 1_000_000));
    let server = Server::start();
    let slow = Receiver::start_on_ports(1, |_, _| slowly());
    let quick = Receiver::start_noting();
    register(&server, &slow, &quick);
    let alone = Load::new(RATE, seconds, order_created);
    let usual = times(&alone, &server, &quick);
    let (before, watch) = (server.resident_mib(), Watch::start(&server));

    let dumping = alone.again(EVER);
    let (during, rate) = while_dumping(&dumping, &server, &quick, events);
    let standing = times(&dumping.again(seconds), &server, &quick);
    let memory = watch.end();

    let pair = |now: &Times| Pair { usual: usual.asked(99), now: now.asked(99), unit: "ms" };
    report.beside("loud: asked to first byte while A dumps, p99", &pair(&during), LEEWAY);
    report.beside("loud: asked to first byte over A's backlog, p99", &pair(&standing), LEEWAY);
    report.note("loud: accepted to first byte, all well, p99", usual.accepted(99), "ms");
    report.note("loud: accepted to first byte while A dumps, p99", during.accepted(99), "ms");
    report.note("loud: accepted to first byte over A's backlog, p99", standing.accepted(99), "ms");
    report.note("loud: A's events accepted", rate, "/s");
    report.note("loud: A's backlog at the end", (events - slow.requests()) as f64, "");
    report.note("loud: resident before the dump", before, "MiB");
    report.note("loud: resident at most, more than before", memory.most - before, "MiB");
    report.note("loud: resident at the end, more than before", memory.at_end - before, "MiB");
}

fn slowly() -> Reply {
    Reply { status: StatusCode::NO_CONTENT, after: Duration::from_millis(200) }
}

fn register(server: &Server, slow: &Receiver, quick: &Receiver) {
    runtime().block_on(async {
        for (company, receiver) in [(LOUD, slow), (COMPANY, quick)] {
            let url = format!("http://{}/hooks", receiver.address);
            server.register_for(company, &json!({ "url": url, "events": ["*"] })).await;
        }
    });
}

/// How long B's events take.
fn times(load: &Load, server: &Server, quick: &Receiver) -> Times {
    let before = quick.passed().len();
    let emitted = load.run(server);
    quick.wait_for_passed(before + emitted.len(), Duration::from_secs(30));
    Times::of(&emitted, quick)
}

/// How long B's events take for as long as A dumps, and A's rate.
fn while_dumping(load: &Load, server: &Server, quick: &Receiver, events: u64) -> (Times, f64) {
    let over = Arc::new(AtomicBool::new(false));
    let load = load.clone().until(&over);
    std::thread::scope(|scope| {
        let emitting = scope.spawn(|| times(&load, server, quick));
        let start = Instant::now();
        dump(server, events);
        let rate = events as f64 / start.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        (emitting.join().unwrap(), rate)
    })
}

/// Emits all of A's events as fast as the server takes them, in batches.
fn dump(server: &Server, events: u64) {
    let left = Arc::new(AtomicU64::new(events));
    runtime().block_on(async {
        let mut dumpers = tokio::task::JoinSet::new();
        for _ in 0..DUMPERS {
            let (left, bearer) = (Arc::clone(&left), server.bearer());
            let mut client = crate::client::Client::connect(server.address).await;
            dumpers.spawn(async move {
                let headers = [("authorization", bearer.as_str())];
                while let Some(number) = take_some(&left) {
                    emit_for(&mut client, &headers, &stock_changed(number)).await;
                }
            });
        }
        dumpers.join_all().await;
    });
}

fn take_some(left: &AtomicU64) -> Option<u64> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(BATCH)).ok()
}

/// A batch of small events: that there are many of them is the point.
fn stock_changed(first: u64) -> Post {
    let event = |number: u64| {
        let level = number % 1000;
        let data = format!(r#"{{"number":{number},"sku":"TEA-0042","level":{level}}}"#);
        format!(r#"{{"type":"STOCK_CHANGED","data":{data}}}"#)
    };
    let events: Vec<String> = (first - BATCH..first).map(event).collect();
    let body = format!(r#"{{"events":[{}]}}"#, events.join(","));
    Post { path: format!("{}/batch", events_of(LOUD)), body: body.into() }
}
