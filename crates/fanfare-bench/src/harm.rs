//! What hostile receivers cost: one of each kind, and a hundred beside a hundred that are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare_testkit::authority::Authority;
use fanfare_testkit::hostile::{BEFORE_TLS, HTTP2, Hostile, PLAIN};
use serde_json::json;

use crate::attack::{self, Cost};
use crate::fleet::{self, Bad, company_of};
use crate::hostile::Hosts;
use crate::load::emit;
use crate::paced::Load;
use crate::receiver::{Receiver, Reply};
use crate::report::Report;
use crate::server::{Post, Server, events_of, numbered_payload};
use crate::{Length, runtime};

/// How many hostile endpoints there are beside the others, and their events a second over all.
const HOSTILE: u64 = 100;
const RATE: u32 = 50;
/// More seconds than a run takes.
const EVER: u64 = 3600;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn of_hostile_receivers(report: &mut Report, length: Length) {
    each(report, length.pick(9, 1, 1) as usize);
    beside(report, length.pick(1_000, 60_000, 60_000));
}

/// The worst of every so many kinds.
fn each(report: &mut Report, every: usize) {
    let (hosts, authority) = (Hosts::new(), Authority::new("ours"));
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, authority.certificate()).unwrap();
    let mut costs: Vec<(&str, Cost)> = Vec::new();
    for hostile in PLAIN.iter().chain(BEFORE_TLS).chain(HTTP2).step_by(every) {
        let over_h2 = HTTP2.iter().any(|other| other.name == hostile.name);
        let issued = || authority.issue("127.0.0.1", 2999);
        let tls = over_h2.then(|| issued().acceptor());
        let scheme = scheme(hostile);
        let address = hosts.start(hostile, tls);
        costs.push((hostile.name, attack::on(&format!("{scheme}://{address}/hook"), &roots)));
    }
    report.note("hostile: kinds of receivers", costs.len() as f64, "");
    let mut worst = |what: &str, unit, most, figure: fn(&Cost) -> f64| {
        let order = |a: &&(&str, Cost), b: &&(&str, Cost)| figure(&a.1).total_cmp(&figure(&b.1));
        let (name, cost) = costs.iter().max_by(order).unwrap();
        report.at_most(&format!("hostile: {what} ({name})"), figure(cost), unit, most);
    };
    worst("later than its deadline", "ms", 250.0, |cost| cost.late);
    worst("processor time", "ms", 5.0, |cost| cost.cpu);
    worst("memory", "MiB", 1.0, |cost| cost.memory);
}

/// The rate of those that are well, beside a run in which all are.
fn beside(report: &mut Report, events: u64) {
    let before = rate(None, events);
    let hosts = Hosts::new();
    let now = rate(Some(&hosts), events);
    drop(hosts);
    let usual = f64::midpoint(before, rate(None, events));
    report.share("100 hostile beside 100: delivered", now, ("all well", usual), 0.9);
}

/// Deliveries a second to a hundred endpoints, beside which a hundred others are served.
fn rate(hosts: Option<&Hosts>, events: u64) -> f64 {
    let server = Server::start();
    let well = Receiver::start_on_ports(fleet::ENDPOINTS as usize, |_, _| Reply::AT_ONCE);
    let others = Receiver::start_on_ports(HOSTILE as usize, |_, _| Reply::AT_ONCE);
    fleet::register(&server, &well, &Bad::new());
    register(&server, &others, hosts);
    let over = Arc::new(AtomicBool::new(false));
    let load = Load::new(RATE, EVER, |number| post("other", number)).until(&over);
    std::thread::scope(|scope| {
        scope.spawn(|| load.run(&server));
        // By then the hostile ones have shown what they are.
        std::thread::sleep(Duration::from_secs(HOSTILE / u64::from(RATE)));
        let start = Instant::now();
        emit(std::slice::from_ref(&server), 0..events, |number| post("e", number));
        let arrived = well.wait_for_passed(events as usize, PATIENCE);
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        arrived as f64 / took.as_secs_f64()
    })
}

fn register(server: &Server, others: &Receiver, hosts: Option<&Hosts>) {
    let kinds = || PLAIN.iter().chain(BEFORE_TLS);
    let hostile = |number: u64, hosts: &Hosts| {
        let hostile = kinds().nth(number as usize % kinds().count()).unwrap();
        format!("{}://{}/hooks", scheme(hostile), hosts.start(hostile, None))
    };
    let urls: Vec<String> = (0..HOSTILE)
        .zip(&others.addresses)
        .map(|(number, well)| {
            hosts.map_or_else(|| format!("http://{well}/hooks"), |hosts| hostile(number, hosts))
        })
        .collect();
    runtime().block_on(async {
        for (number, url) in (0..).zip(urls) {
            let heard = json!({ "url": url, "events": [format!("other{number}.happened")] });
            server.register_for(&company_of(number), &heard).await;
        }
    });
}

/// An event that one endpoint alone listens to.
fn post(kind: &str, number: u64) -> Post {
    let endpoint = number % HOSTILE;
    let payload = numbered_payload(number);
    let body = format!(r#"{{"type":"{kind}{endpoint}.happened","data":{payload}}}"#);
    Post { path: events_of(&company_of(endpoint)), body: body.into() }
}

fn scheme(hostile: &Hostile) -> &'static str {
    if PLAIN.iter().any(|plain| plain.name == hostile.name) { "http" } else { "https" }
}
