//! What one endpoint that never answers does to ninety-nine others.

use crate::Length;
use crate::fleet::{self, Bad};
use crate::hostile::{Hosts, SILENT};
use crate::report::{Leeway, Pair, Report};

const HANGING: u64 = 42;
const LEEWAY: Leeway = Leeway { times: 1.10, plus: 5.0 };

/// The p99 of the others, beside a run in which all hundred are well.
pub(crate) fn one_of_a_hundred(report: &mut Report, length: Length) {
    let seconds = length.pick(3, 20, 60);
    let usual = fleet::run(seconds, &Bad::new()).times;
    let hosts = Hosts::new();
    let now = fleet::run(seconds, &Bad::from([(HANGING, hosts.listen(SILENT))])).times;
    let asked = Pair { usual: usual.asked(99), now: now.asked(99), unit: "ms" };
    report.beside("1 of 100 hangs: asked to first byte, p99", &asked, LEEWAY);
    let accepted = Pair { usual: usual.accepted(99), now: now.accepted(99), unit: "ms" };
    report.beside("1 of 100 hangs: accepted to first byte, p99", &accepted, LEEWAY);
}
