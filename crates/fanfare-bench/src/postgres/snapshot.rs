//! What a snapshot that somebody holds open does to claims: PostgreSQL keeps every version of a row
//! that it could still see, and a claim must not walk over them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare::Timestamp;

use crate::latency::order_created;
use crate::load::emit;
use crate::paced::{Emitted, Load};
use crate::postgres::database::Database;
use crate::receiver::Receiver;
use crate::report::{Leeway, Pair, Report};
use crate::server::{COMPANY, Post, Server, events_of, numbered_payload};
use crate::times::Times;
use crate::{Length, runtime};

const RATE: u32 = 200;
const LEEWAY: Leeway = Leeway { times: 2.0, plus: 0.0 };
/// How far ahead those are put that have to wait in the store.
const AHEAD: Duration = Duration::from_secs(1);
const WARM_UP: u64 = 2_000;

/// The p99 of claims while a snapshot is held under which many deliveries have passed in the same
/// lane, beside the same before.
pub(crate) fn held_open(report: &mut Report, length: Length) {
    let passing = length.pick(1_000, 100_000, 1_000_000);
    let seconds = length.pick(3, 20, 30);
    let Some(database) = Database::make(report, "PostgreSQL, a snapshot held") else { return };
    let lane = Lane::of(database.serve_with(1));
    lane.pass(WARM_UP);
    let usual = lane.measure(seconds);

    let holder = database.wait(database.connect());
    let hold = "begin isolation level repeatable read; select count(*) from deliveries limit 1";
    database.wait(holder.batch_execute(hold)).unwrap();
    let start = Instant::now();
    lane.pass(passing);
    let took = start.elapsed();
    let now = lane.measure(seconds);
    drop(holder);

    let name = |what| format!("PostgreSQL, a snapshot held, {passing} passed: {what}");
    let mut beside = |what, figure: fn(&Claims) -> f64| {
        let pair = Pair { usual: figure(&usual), now: figure(&now), unit: "ms" };
        report.beside(&name(what), &pair, LEEWAY);
    };
    beside("claims from the store, p99", |claims| claims.from_store.accepted(99));
    beside("claims at birth, p99", |claims| claims.at_birth.accepted(99));
    report.note(&name("they passed with"), passing as f64 / took.as_secs_f64(), "/s");
}

/// A server with one endpoint.
struct Lane {
    nodes: Vec<Server>,
    receiver: Receiver,
    next: Mutex<u64>,
}

/// How long two kinds of deliveries take to the first byte.
struct Claims {
    /// Claimed by the emit that made them: from the 202.
    at_birth: Times,
    /// Made to wait, then claimed from the store: from when they were due.
    from_store: Times,
}

/// When deliveries that have to wait are due, by their numbers.
type Due = Arc<Mutex<HashMap<u64, Instant>>>;

impl Lane {
    fn of(nodes: Vec<Server>) -> Self {
        let receiver = Receiver::start_noting();
        runtime().block_on(nodes[0].register(&format!("http://{}/hooks", receiver.address)));
        Lane { nodes, receiver, next: Mutex::default() }
    }

    /// The first of so many numbers that were not there yet.
    fn take(&self, numbers: u64) -> u64 {
        let mut next = self.next.lock().unwrap();
        *next += numbers;
        *next - numbers
    }

    /// Emits and delivers as much as it takes.
    fn pass(&self, events: u64) {
        let first = self.take(events);
        let arrived = self.receiver.requests();
        emit(&self.nodes, first..first + events, order_created);
        self.receiver.wait_for(arrived + events);
    }

    /// Emits at a modest rate; every other one has to wait in the store until it is due.
    fn measure(&self, seconds: u64) -> Claims {
        let (first, due) = (self.take(u64::from(RATE) * seconds), Due::default());
        let noted = Arc::clone(&due);
        let post = move |number: u64| match number % 2 {
            0 => order_created(first + number),
            _ => waiting(first + number, &noted),
        };
        let arrived = self.receiver.requests();
        let emitted = Load::new(RATE, seconds, post).run_among(&self.nodes);
        self.receiver.wait_for(arrived + emitted.len() as u64);
        let due = due.lock().unwrap();
        // The beginning warms up.
        let (mut at_birth, mut from_store) = (Vec::new(), Vec::new());
        for event in &emitted[emitted.len() / 10..] {
            let event = Emitted { number: first + event.number, ..*event };
            match due.get(&event.number) {
                None => at_birth.push(event),
                Some(at) => from_store.push(Emitted { asked: *at, accepted: *at, ..event }),
            }
        }
        Claims {
            at_birth: Times::of(&at_birth, &self.receiver),
            from_store: Times::of(&from_store, &self.receiver),
        }
    }
}

/// An event that is due a while ahead, on a whole millisecond.
fn waiting(number: u64, due: &Due) -> Post {
    let (now, clock) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), Instant::now());
    let below_a_ms = Duration::from_nanos(u64::from(now.subsec_nanos()) % 1_000_000);
    due.lock().unwrap().insert(number, clock + AHEAD - below_a_ms);
    let at = Timestamp((now + AHEAD).as_millis() as i64);
    let payload = numbered_payload(number);
    let body = format!(r#"{{"type":"ORDER_CREATED","deliverAt":"{at}","data":{payload}}}"#);
    Post { path: events_of(COMPANY), body: body.into() }
}
