//! How long an event takes at a modest rate.

use crate::paced::Load;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::runtime;
use crate::server::{COMPANY, Post, Server, events_of, numbered_payload};
use crate::times::Times;

const RATE: u32 = 200;
const SECONDS: u64 = 10;

/// From the moment the caller has its 202, and from the moment it began to ask, to the head of the
/// request at the receiver.
pub(crate) fn at_200_a_second(report: &mut Report) {
    let server = Server::start();
    let receiver = Receiver::start_noting();
    runtime().block_on(server.register(&format!("http://{}/hooks", receiver.address)));
    let emitted = Load::new(RATE, SECONDS, order_created).run(&server);
    receiver.wait_for(emitted.len() as u64);
    // The first second warms up.
    let times = Times::of(&emitted[emitted.len() / 10..], &receiver);
    report.at_most("200/s: accepted to first byte, p50", times.accepted(50), "ms", 1.0);
    report.at_most("200/s: accepted to first byte, p99", times.accepted(99), "ms", 5.0);
    report.note("200/s: asked to first byte, p50", times.asked(50), "ms");
    report.note("200/s: asked to first byte, p99", times.asked(99), "ms");
}

/// An event of the usual size that a receiver can tell from the others.
pub(crate) fn order_created(number: u64) -> Post {
    let body = format!(r#"{{"type":"ORDER_CREATED","data":{}}}"#, numbered_payload(number));
    Post { path: events_of(COMPANY), body: body.into() }
}
