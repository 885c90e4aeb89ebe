//! What a server takes that has nothing to do.

use std::time::Duration;

use crate::report::Report;
use crate::server::Server;

pub(crate) fn measure(report: &mut Report) {
    let server = Server::start();
    report.at_most(
        "idle: ready after the start",
        server.ready_after.as_secs_f64() * 1e3,
        "ms",
        100.0,
    );
    std::thread::sleep(Duration::from_secs(1));
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(5));
    report.at_most("idle: resident", server.resident_mib(), "MiB", 25.0);
    let used = (server.cpu() - before).as_secs_f64() * 1e3;
    report.at_most("idle: CPU in 5 s", used, "ms", 10.0);
}
