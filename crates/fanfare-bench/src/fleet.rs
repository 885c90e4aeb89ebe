//! A hundred endpoints of ten companies under a steady load, some of them hostile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::memory::{Memory, Watch};
use crate::paced::{Emitted, Load};
use crate::receiver::{Receiver, Reply};
use crate::runtime;
use crate::server::{Post, Server, events_of, numbered_payload};
use crate::times::Times;

pub(crate) const ENDPOINTS: u64 = 100;
const COMPANIES: u64 = 10;
/// Events a second over all.
const RATE: u32 = 500;
/// The seconds at the beginning that are not judged.
const WARM_UP: u64 = 2;
/// How long after the last event what arrives still counts as delivered in time.
const LATE: Duration = Duration::from_secs(1);
/// How long is waited for what is later.
const PATIENCE: Duration = Duration::from_secs(30);

/// The hostile endpoints, and where each of them listens.
pub(crate) type Bad = HashMap<u64, SocketAddr>;

/// What became of the endpoints that are well.
pub(crate) struct Run {
    pub(crate) times: Times,
    /// The share of their events that arrived while the load lasted, or at most a second later.
    pub(crate) delivered: f64,
    /// What the server held.
    pub(crate) memory: Memory,
}

/// Emits to each endpoint in turn, on a fresh server.
pub(crate) fn run(seconds: u64, bad: &Bad) -> Run {
    let server = Server::start();
    let receiver = Receiver::start_on_ports(ENDPOINTS as usize, |_, _| Reply::AT_ONCE);
    register(&server, &receiver, bad);
    let watch = Watch::start(&server);
    let emitted = Load::new(RATE, WARM_UP + seconds, post).run(&server);
    let is_well = |event: &&Emitted| !bad.contains_key(&endpoint_of(event.number));
    let well: Vec<Emitted> = emitted.iter().filter(is_well).copied().collect();
    let in_time = receiver.wait_for_passed(well.len(), LATE);
    let memory = watch.end();
    receiver.wait_for_passed(well.len(), PATIENCE);
    let warm = u64::from(RATE) * WARM_UP;
    let judged = well.iter().filter(|event| event.number >= warm);
    let delivered = in_time as f64 / well.len() as f64;
    Run { times: Times::of(judged, &receiver), delivered, memory }
}

/// Registers all hundred, each for events of its own.
pub(crate) fn register(server: &Server, receiver: &Receiver, bad: &Bad) {
    runtime().block_on(async {
        for (endpoint, well) in (0..ENDPOINTS).zip(&receiver.addresses) {
            let url = format!("http://{}/hooks", bad.get(&endpoint).unwrap_or(well));
            let heard = json!({ "url": url, "events": [event_type(endpoint)] });
            server.register_for(&company_of(endpoint), &heard).await;
        }
    });
}

/// An event that one endpoint alone listens to.
fn post(number: u64) -> Post {
    let endpoint = endpoint_of(number);
    let (event_type, payload) = (event_type(endpoint), numbered_payload(number));
    let body = format!(r#"{{"type":"{event_type}","data":{payload}}}"#);
    Post { path: events_of(&company_of(endpoint)), body: body.into() }
}

fn endpoint_of(number: u64) -> u64 {
    number % ENDPOINTS
}

fn event_type(endpoint: u64) -> String {
    format!("e{endpoint}.happened")
}

/// The company of an endpoint.
pub(crate) fn company_of(endpoint: u64) -> String {
    format!("0197d0a5-7b5d-7c39-8cfa-{:012x}", endpoint / (ENDPOINTS / COMPANIES))
}
