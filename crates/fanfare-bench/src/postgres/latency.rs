//! How long an event takes at a modest rate.

use crate::latency::order_created;
use crate::paced::Load;
use crate::postgres::database::Database;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::Server;
use crate::times::Times;
use crate::{Length, runtime};

const RATE: u32 = 200;

/// From the moment the caller has its 202 to the head of the request at the receiver: on one node,
/// and on two, of which the one that is asked leases the lane half of the time.
pub(crate) fn at_200_a_second(report: &mut Report, length: Length) {
    let Some(database) = Database::make(report, "PostgreSQL, 200/s") else { return };
    let seconds = length.pick(3, 20, 20);
    let one = times(&database.serve_with(1), seconds);
    let name = |what| format!("PostgreSQL, 200/s: {what}");
    report.at_most(&name("accepted to first byte, p50"), one.accepted(50), "ms", 2.0);
    report.at_most(&name("accepted to first byte, p99"), one.accepted(99), "ms", 10.0);
    report.note(&name("asked to first byte, p50"), one.asked(50), "ms");
    report.note(&name("asked to first byte, p99"), one.asked(99), "ms");
    drop(database);

    let Some(database) = Database::make(report, "PostgreSQL, 200/s, two nodes") else { return };
    let two = times(&database.serve_with(2), seconds);
    let name = |what| format!("PostgreSQL, 200/s, two nodes: {what}");
    report.note(&name("accepted to first byte, p50"), two.accepted(50), "ms");
    report.note(&name("accepted to first byte, p99"), two.accepted(99), "ms");
}

fn times(nodes: &[Server], seconds: u64) -> Times {
    let receiver = Receiver::start_noting();
    runtime().block_on(nodes[0].register(&format!("http://{}/hooks", receiver.address)));
    let emitted = Load::new(RATE, seconds, order_created).run_among(nodes);
    receiver.wait_for(emitted.len() as u64);
    // The beginning warms up.
    Times::of(&emitted[emitted.len() / 10..], &receiver)
}
