//! How soon an idle system hears of an event that somebody else's transaction commits.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::paced::Emitted;
use crate::postgres::database::Database;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::{COMPANY, numbered_payload};
use crate::times::Times;
use crate::{Length, runtime};

/// Between two events. No multiple of what is polled, so that every phase of a poll is met.
const PAUSE: Duration = Duration::from_millis(237);
/// The first ones, which connect and prepare, are not judged.
const WARM_UP: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);

/// From a commit of `select emit(…)` by a client of its own to the head of the request at the
/// receiver, one event at a time.
pub(crate) fn from_a_commit(report: &mut Report, length: Length) {
    let name = |what| format!("PostgreSQL, idle: commit to first byte, {what}");
    let Some(database) = Database::make(report, &name("p50")) else { return };
    let nodes = database.serve_with(1);
    if !can_emit(&database) {
        report.absent(&name("p50"), "not there: the store's schema has no function emit");
        return;
    }
    let receiver = Receiver::start_noting();
    runtime().block_on(nodes[0].register(&format!("http://{}/hooks", receiver.address)));
    let emitted = commit_each(&database, &receiver, length.pick(10, 200, 500));
    let times = Times::of(&emitted[WARM_UP..], &receiver);
    report.at_most(&name("p50"), times.accepted(50), "ms", 5.0);
    report.at_most(&name("p99"), times.accepted(99), "ms", 50.0);
    report.note("PostgreSQL, idle: call to first byte, p50", times.asked(50), "ms");
}

fn can_emit(database: &Database) -> bool {
    let sql = "select exists (select from pg_proc where proname = 'emit'
                              and pronamespace = current_schema()::regnamespace)";
    database.query(sql, &[])[0].get(0)
}

/// A transaction of one statement each, as `psql` would send it.
fn commit_each(database: &Database, receiver: &Receiver, events: u64) -> Vec<Emitted> {
    let company: Uuid = COMPANY.parse().unwrap();
    let emit = |number: u64| {
        let payload = numbered_payload(number);
        let sql = "select emit($1, 'order.created', $2::text::json)";
        let asked = Instant::now();
        database.query(sql, &[&company, &payload]);
        Emitted { number, asked, accepted: Instant::now() }
    };
    let each = |number| {
        let emitted = emit(number);
        receiver.wait_for_passed(number as usize + 1, PATIENCE);
        std::thread::sleep(PAUSE);
        emitted
    };
    (0..events).map(each).collect()
}
