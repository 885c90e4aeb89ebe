//! What fifty endpoints that are dead, each in its way, do to the fifty others.

use crate::Length;
use crate::fleet::{self, Bad};
use crate::hostile::{DEAD, Hosts};
use crate::report::{Leeway, Pair, Report};

const TIMES: Leeway = Leeway { times: 1.25, plus: 5.0 };
const MEMORY: Leeway = Leeway { times: 1.0, plus: 64.0 };

/// Latency, throughput and memory, beside a run in which all hundred are well.
pub(crate) fn half_of_a_hundred(report: &mut Report, length: Length) {
    let seconds = length.pick(3, 20, 60);
    let usual = fleet::run(seconds, &Bad::new());
    let hosts = Hosts::new();
    let now = fleet::run(seconds, &every_other(&hosts));
    let asked = Pair { usual: usual.times.asked(99), now: now.times.asked(99), unit: "ms" };
    report.beside("50 of 100 dead: asked to first byte, p99", &asked, TIMES);
    let (before, after) = (usual.times.accepted(99), now.times.accepted(99));
    let accepted = Pair { usual: before, now: after, unit: "ms" };
    report.beside("50 of 100 dead: accepted to first byte, p99", &accepted, TIMES);
    report.at_least("50 of 100 dead: delivered in time", now.delivered * 100.0, "%", 97.0);
    let most = Pair { usual: usual.memory.most, now: now.memory.most, unit: "MiB" };
    report.beside("50 of 100 dead: resident at most", &most, MEMORY);
    let end = Pair { usual: usual.memory.at_end, now: now.memory.at_end, unit: "MiB" };
    report.beside("50 of 100 dead: resident at the end", &end, MEMORY);
}

/// Half of every company's endpoints, and every harm in every company.
fn every_other(hosts: &Hosts) -> Bad {
    let pairs = 0..fleet::ENDPOINTS / 2;
    pairs
        .map(|pair| {
            let harm = DEAD[pair as usize % DEAD.len()];
            (pair * 2, hosts.listen(harm))
        })
        .collect()
}
