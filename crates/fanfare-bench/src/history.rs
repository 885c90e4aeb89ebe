//! Lists of a million sent webhooks.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::clock::{Clock, SystemClock};
use fanfare::metrics::Metrics;
use fanfare::model::{
    Act, Answer, Attempt, Claim, Event, Flow, Format, Health, LaneKey, Outcome, Purpose, Record,
    Shape, Subscription, Timing, Verdict,
};
use fanfare::store::{Accepted, Admission, Emit, Store};
use fanfare::{CompanyId, EndpointId, EventId, Timestamp, keys, seal, store};
use serde_json::Value;

use crate::client::Client;
use crate::report::Report;
use crate::server::{COMPANY, Server};
use crate::{Length, runtime};

/// Callers that write at the same time, so that they share commits.
const WRITERS: u64 = 256;

/// Fills a store and asks a server for its first page and for page 1,000, in W3Block's form.
pub(crate) fn a_million_deliveries(report: &mut Report, length: Length) {
    let deliveries = length.pick(10_000, 1_000_000, 1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let runtime = runtime();
    // Younger than what retention removes.
    let endpoint = runtime.block_on(fill(directory.path(), deliveries, Duration::ZERO));
    let server = Server::start_on(directory, &[]);
    runtime.block_on(async {
        let mut client = Client::connect(server.address).await;
        for page in [1, 1000] {
            let took = ask(&server, &mut client, (endpoint, page), deliveries).await;
            let name = format!("a list of {deliveries}: page {page}");
            report.at_most(&name, took.as_secs_f64() * 1e3, "ms", 50.0);
        }
    });
}

/// The median of eleven questions.
pub(crate) async fn ask(
    server: &Server,
    client: &mut Client,
    page: (EndpointId, u32),
    deliveries: u64,
) -> Duration {
    let mut times = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        let list = list(server, client, page).await;
        times.push(start.elapsed());
        assert_eq!(list["meta"]["totalItems"], deliveries);
        assert_eq!(list["meta"]["totalPages"], deliveries / 10);
        assert_eq!(list["items"].as_array().unwrap().len(), 10);
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// How many deliveries of an endpoint there are.
pub(crate) async fn count(server: &Server, client: &mut Client, endpoint: EndpointId) -> u64 {
    list(server, client, (endpoint, 1)).await["meta"]["totalItems"].as_u64().unwrap()
}

async fn list(server: &Server, client: &mut Client, (endpoint, page): (EndpointId, u32)) -> Value {
    search(server, client, (endpoint, &format!("page={page}"))).await
}

/// A list of what an endpoint was sent, in W3Block's form.
pub(crate) async fn search(
    server: &Server,
    client: &mut Client,
    (endpoint, query): (EndpointId, &str),
) -> Value {
    let path =
        format!("/admin/companies/{COMPANY}/webhooks-configurations/{endpoint}/webhooks?{query}");
    let bearer = server.bearer();
    let headers = [("authorization", bearer.as_str())];
    let (status, answer) = client.send("GET", &path, &headers, Bytes::new()).await;
    assert_eq!(status.as_u16(), 200, "{answer:?}");
    serde_json::from_slice(&answer).unwrap()
}

/// Plants concluded deliveries of one endpoint in a store, one each millisecond until a time ago.
pub(crate) async fn fill(directory: &Path, deliveries: u64, ago: Duration) -> EndpointId {
    let key = keys::read_or_make(&directory.join("encryption-key")).unwrap();
    let url = format!("sqlite:{}", directory.join("fanfare.db").display());
    let store = store::open(&url, Metrics::default()).await.unwrap();
    let start = SystemClock.now().minus(ago + Duration::from_millis(deliveries));
    let endpoint = endpoint(&seal::Seal::new(key.bytes()), start);
    store.add_endpoint(&endpoint, &Act::of_system(start)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, company) = (Arc::clone(&store), endpoint.company);
        writers.spawn(async move {
            for number in (writer..deliveries).step_by(WRITERS as usize) {
                let at = start.plus(Duration::from_millis(number));
                deliver(store.as_ref(), company, at).await;
            }
        });
    }
    writers.join_all().await;
    store.close().await;
    endpoint.id
}

fn endpoint(seal: &seal::Seal, start: Timestamp) -> fanfare::model::Endpoint {
    let (company, id): (CompanyId, _) = (COMPANY.parse().unwrap(), EndpointId::new(start));
    let lane = LaneKey { company, endpoint: id };
    let secret = fanfare::sign::Secret::from_bytes(&[7; 32]);
    fanfare::model::Endpoint {
        id,
        company,
        url: "https://shop.example/hooks".parse().unwrap(),
        secret: seal.seal(lane, Purpose::Secret, secret.reveal()).unwrap(),
        previous: None,
        headers: None,
        tls: None,
        filter: None,
        events: vec![Subscription::everything()],
        shape: Shape { format: Format::W3block, ..Shape::default() },
        max_retries: 5,
        flow: Flow::default(),
        operational: false,
        disabled: None,
        health: Health::default(),
        created_at: start,
        updated_at: start,
    }
}

/// One event that was delivered at once.
async fn deliver(store: &dyn Store, company: CompanyId, at: Timestamp) {
    let payload = Bytes::from_static(br#"{"id":"0197d0a5","total":"238.80","currency":"EUR"}"#);
    let event =
        Event::new((company, EventId::new(at)), "ORDER_CREATED".parse().unwrap(), payload, at);
    let lease = Duration::from_secs(60);
    let admission = Admission { lease, may_claim: Arc::new(|_| true) };
    let mut accepted = store.accept(vec![Emit::new(event)], &admission).await.unwrap();
    let Some(Accepted::New { claims, .. }) = accepted.pop() else { panic!("every event is new") };
    for claim in claims {
        let record = Record::new(claim.clone(), attempt(&claim, at).into(), Verdict::Concluded, at);
        assert!(store.record(record).await.unwrap().applied);
    }
}

fn attempt(claim: &Claim, at: Timestamp) -> Attempt {
    Attempt {
        number: 1,
        started_at: at,
        duration: Duration::from_millis(40),
        timing: Timing::default(),
        probe: false,
        url: claim.endpoint.url.to_string(),
        headers: [("webhook-id", claim.event.id.to_string())].into_iter().collect(),
        outcome: Outcome::Answered(Answer {
            status: 204,
            headers: [("date", "Sun, 15 Jun 2025 15:06:40 GMT")].into_iter().collect(),
            body: Bytes::new(),
            flaw: None,
        }),
    }
}
