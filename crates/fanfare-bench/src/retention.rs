//! What deleting a million expired deliveries does to those who emit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare::EndpointId;
use serde_json::json;

use crate::client::Client;
use crate::paced::{Emitted, Load};
use crate::receiver::Receiver;
use crate::report::{Leeway, Pair, Report};
use crate::server::{Post, Server, events_of, numbered_payload};
use crate::times::accept_times;
use crate::{Length, history, runtime};

/// Who emits; the history is another company's.
const EMITTING: &str = "0197d0a5-7b5d-7c39-8cfa-00000000000b";
const RATE: u32 = 200;
const LEEWAY: Leeway = Leeway { times: 1.10, plus: 0.0 };
const AGE: Duration = Duration::from_hours(24 * 60);
/// With this, nothing of that age has expired; with the other, all of it.
const KEEP: [&str; 2] = ["--retention", "365d"];
const DELETE: [&str; 2] = ["--retention", "30d"];
/// Events at the beginning of each run that are not judged: the server has only just started.
const WARM_UP: usize = 2 * RATE as usize;
/// How long deleting may take.
const SECONDS_MAX: u64 = 480;

/// The p99 of accepting while a million deliveries are deleted, beside the same on the same store
/// before; how long it takes, and what becomes of the files.
pub(crate) fn a_million_deliveries(report: &mut Report, length: Length) {
    let deliveries = length.pick(10_000, 1_000_000, 1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let endpoint = runtime().block_on(history::fill(directory.path(), deliveries, AGE));
    let server = Server::start_on(directory, &KEEP);
    let receiver = Receiver::start_noting();
    register(&server, &receiver);
    let keeping = Load::new(RATE, length.pick(3, 60, 60), post);
    let usual = keeping.run(&server);
    let before = mib(server.directory());

    let server = server.kill_and_restart(&DELETE);
    let (emitted, took, left) = while_deleting(&keeping.again(SECONDS_MAX), &server, endpoint);
    let (usual, now) = (p99(&usual), p99(&emitted));
    report.beside("retention: accept, p99", &Pair { usual, now, unit: "ms" }, LEEWAY);
    report.at_most("retention: deliveries left", left as f64, "", 0.0);
    report.note("retention: deleting took", took.as_secs_f64(), "s");
    report.note("retention: files of the database before", before, "MiB");
    report.note("retention: files of the database after", mib(server.directory()), "MiB");
}

fn p99(emitted: &[Emitted]) -> f64 {
    accept_times(&emitted[WARM_UP.min(emitted.len() / 2)..], 99)
}

fn register(server: &Server, receiver: &Receiver) {
    let url = format!("http://{}/hooks", receiver.address);
    let endpoint = json!({ "url": url, "events": ["*"] });
    runtime().block_on(server.register_for(EMITTING, &endpoint));
}

/// Emits until the history is gone or the time is over. Returns what was emitted, how long it took
/// and how many deliveries are left.
fn while_deleting(
    load: &Load,
    server: &Server,
    endpoint: EndpointId,
) -> (Vec<Emitted>, Duration, u64) {
    let (over, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let load = load.clone().until(&over);
    std::thread::scope(|scope| {
        let emitting = scope.spawn(|| load.run(server));
        let left = runtime().block_on(wait_until_gone(server, endpoint));
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        (emitting.join().unwrap(), took, left)
    })
}

/// Looks each second. Returns how many deliveries are left when the time is over.
async fn wait_until_gone(server: &Server, endpoint: EndpointId) -> u64 {
    let mut client = Client::connect(server.address).await;
    let start = Instant::now();
    loop {
        let left = history::count(server, &mut client, endpoint).await;
        if left == 0 || start.elapsed() > Duration::from_secs(SECONDS_MAX) {
            return left;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn post(number: u64) -> Post {
    let body = format!(r#"{{"type":"ORDER_CREATED","data":{}}}"#, numbered_payload(number));
    Post { path: events_of(EMITTING), body: body.into() }
}

/// The database and its log.
fn mib(directory: &Path) -> f64 {
    let files = ["fanfare.db", "fanfare.db-wal"];
    let bytes = files.map(|file| std::fs::metadata(directory.join(file)).map_or(0, |of| of.len()));
    bytes.iter().sum::<u64>() as f64 / (1024.0 * 1024.0)
}
