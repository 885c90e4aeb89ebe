//! As much as it takes, from the first emit to the last arrival.

use std::time::Duration;

use crate::load::{Loaded, Run};
use crate::postgres::database::{Database, Usage};
use crate::report::Report;
use crate::{Length, ceiling};

/// Backends tell what they counted when they end.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// Emits over HTTP to some endpoints, as [`crate::load::over_http`] does on the embedded store.
pub(crate) fn over_http(report: &mut Report, endpoints: u64, events: u64, target: f64) {
    let name = format!("PostgreSQL: emit over HTTP to {endpoints} endpoint(s)");
    let Some(measured) = Measured::of(report, &name, (1, endpoints, events)) else { return };
    let beside = ("the ceiling", measured.ceiling);
    report.share(&name, measured.run.delivered, beside, target);
    measured.note(report);
}

/// The same loads dealt out between two nodes, which share two cores with everything else: what a
/// second one costs there, not what it brings on a machine of its own.
pub(crate) fn two_nodes(report: &mut Report, length: Length) {
    for (endpoints, events) in
        [(1, length.pick(2_000, 40_000, 40_000)), (20, length.pick(200, 4_000, 4_000))]
    {
        let name = format!("PostgreSQL: two nodes, to {endpoints} endpoint(s)");
        let Some(measured) = Measured::of(report, &name, (2, endpoints, events)) else { return };
        report.compare(&name, measured.run.delivered, ("the ceiling", measured.ceiling));
        measured.note(report);
    }
}

struct Measured {
    run: Run,
    /// Of a bare client just before and just after.
    ceiling: f64,
    usage: [Usage; 2],
}

impl Measured {
    fn of(
        report: &mut Report,
        name: &str,
        (nodes, endpoints, events): (usize, u64, u64),
    ) -> Option<Self> {
        let database = Database::make(report, name)?;
        let before = ceiling::measure();
        let nodes = database.serve_with(nodes);
        let loaded = Loaded::warmed_up(&nodes, endpoints);
        let usage = database.usage();
        let run = loaded.run(events);
        drop(nodes);
        std::thread::sleep(COUNTED_WITHIN);
        let usage = [usage, database.usage()];
        let ceiling = f64::midpoint(before, ceiling::measure());
        Some(Measured { run, ceiling, usage })
    }

    fn note(&self, report: &mut Report) {
        let Measured { run, usage: [before, after], .. } = self;
        report.note("  accepted", run.accepted, "/s");
        report.note("  CPU of the nodes for a delivery", run.micros(run.cpu), "µs");
        after.note_since(before, run.deliveries, report);
    }
}
