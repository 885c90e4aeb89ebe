//! Several engines on one PostgreSQL, on the real clock and with real receivers. Needs
//! `FANFARE_TEST_POSTGRES`, as the store's own tests do.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]
#![allow(clippy::disallowed_methods, reason = "leases run on the machine's clock")]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare::clock::{Clock, FollowingClock, SystemClock};
use fanfare::engine::{NewEndpoint, NewEvent, Parts, Rules};
use fanfare::metrics::Metrics;
use fanfare::model::{
    DeliveryState, Endpoint, EndpointChange, Flow, Ordering, Selection, Shards, Timestamp,
};
use fanfare::seal::Seal;
use fanfare::send::{GuardPolicy, HttpTransport};
use fanfare::store::{self, Node};
use fanfare::{CompanyId, Engine, Options};
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::receiver::{Arrival, Receiver};
use fanfare_testkit::wait::{PATIENCE, within};

/// How long a lease holds here.
const LEASE: Duration = Duration::from_secs(2);

/// Engines that share a store, and a receiver.
struct Fleet {
    url: String,
    receiver: Receiver,
    company: CompanyId,
}

impl Fleet {
    async fn new() -> Fleet {
        let company = CompanyId::new(Timestamp(1_700_000_000_000));
        Fleet { url: url_of_new_schema(), receiver: Receiver::start().await, company }
    }

    /// Another node, at work.
    async fn join(&self, name: &str) -> Engine {
        let mut options = Options::new(&self.url, [7; 32]);
        options.node = name.to_owned();
        options.rules.node_lease = LEASE;
        options.guard.allow_http = true;
        let network = format!("127.0.0.1/32:{}", self.receiver.address().port());
        options.guard.allow_networks = vec![network.parse().unwrap()];
        let engine = Engine::open(options).await.unwrap();
        engine.start().await.unwrap();
        engine
    }

    /// Who has what, by name.
    async fn shares(&self) -> BTreeMap<String, Shards> {
        let store = store::open_read_only(&self.url).await.unwrap();
        let nodes = store.nodes().await.unwrap();
        store.close().await;
        nodes.into_iter().map(|Node { card, shards, .. }| (card.name, shards)).collect()
    }

    /// Waits until the nodes have so many shards, and know it.
    async fn until_shared(&self, wanted: &[(&str, &Engine, u32)]) {
        let known = || wanted.iter().all(|(_, node, share)| shards_of(node) == i64::from(*share));
        let shared = async {
            loop {
                let shares = self.shares().await;
                let has = |name: &str| shares.get(name).map_or(0, |shards| shards.len());
                let even = wanted.iter().all(|(name, _, share)| has(name) == *share);
                if even && shares.len() == wanted.len() && known() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(PATIENCE, "an even share", shared).await;
    }

    async fn endpoint(&self, node: &Engine, flow: Flow) -> Endpoint {
        let everything = vec!["*".parse().unwrap()];
        let url = self.receiver.url().parse().unwrap();
        let new = NewEndpoint { flow, ..NewEndpoint::new(url, everything) };
        node.register(self.company, new).await.unwrap()
    }

    /// An endpoint of a lane that `name` has.
    async fn endpoint_of(&self, name: &str, node: &Engine, flow: Flow) -> Endpoint {
        loop {
            let endpoint = self.endpoint(node, flow).await;
            if self.shares().await[name].has_id(endpoint.id.uuid()) {
                return endpoint;
            }
            node.delete_endpoint(self.company, endpoint.id).await.unwrap();
        }
    }

    async fn emit(&self, node: &Engine, text: &str) {
        node.emit(self.company, self.event(text)).await.unwrap();
    }

    fn event(&self, text: &str) -> NewEvent {
        NewEvent::new("order.created".parse().unwrap(), Bytes::from(format!("\"{text}\"")))
    }

    /// Nothing is broken, and every node ends.
    async fn end(self, nodes: impl IntoIterator<Item = Engine>) {
        for node in nodes {
            assert_eq!(node.check().await.unwrap(), Vec::<String>::new());
            node.stop(pending()).await;
        }
        let store = store::open_read_only(&self.url).await.unwrap();
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        assert_eq!(store.nodes().await.unwrap(), []);
        store.close().await;
    }
}

fn shards_of(node: &Engine) -> i64 {
    node.metrics().shards.get()
}

fn texts(arrivals: &[Arrival]) -> Vec<String> {
    arrivals.iter().map(|arrival| serde_json::from_slice(&arrival.body).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_shared_evenly_and_handed_over_as_nodes_come_and_go() {
    let fleet = Fleet::new().await;
    let one = fleet.join("one").await;
    fleet.until_shared(&[("one", &one, 64)]).await;
    let two = fleet.join("two").await;
    fleet.until_shared(&[("one", &one, 32), ("two", &two, 32)]).await;
    let three = fleet.join("three").await;
    fleet.until_shared(&[("one", &one, 22), ("two", &two, 21), ("three", &three, 21)]).await;
    assert_eq!(one.metrics().nodes.get(), 3);
    one.stop(pending()).await;
    fleet.until_shared(&[("two", &two, 32), ("three", &three, 32)]).await;
    fleet.end([two, three]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_accepts_an_event_its_owners_send_it_once() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.join("one").await, fleet.join("two").await);
    fleet.until_shared(&[("one", &one, 32), ("two", &two, 32)]).await;
    fleet.endpoint_of("one", &one, Flow::default()).await;
    fleet.endpoint_of("two", &one, Flow::default()).await;
    for n in 0..20 {
        fleet.emit([&one, &two][n % 2], &n.to_string()).await;
    }
    fleet.receiver.wait_for(40).await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for text in texts(&fleet.receiver.arrivals()) {
        *counts.entry(text).or_default() += 1;
    }
    assert!(counts.len() == 20 && counts.values().all(|count| *count == 2), "{counts:?}");
    fleet.end([one, two]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_is_known_to_every_node() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.join("one").await, fleet.join("two").await);
    fleet.endpoint(&one, Flow::default()).await;
    let keyed = || NewEvent { idempotency_key: Some("k".to_owned()), ..fleet.event("x") };
    let emits = (0..40).map(|n| [&one, &two][n % 2].emit(fleet.company, keyed()));
    let receipts = futures_util::future::join_all(emits).await;
    let ids: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().id).collect();
    assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
    fleet.receiver.wait_for(1).await;
    fleet.emit(&two, "after").await;
    fleet.receiver.wait_for(2).await;
    assert_eq!(texts(&fleet.receiver.arrivals()), ["x", "after"]);
    fleet.end([one, two]).await;
}

/// A change, a cancel and a replay reach the node whose lane it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_is_told_counts_for_the_lanes_of_the_others() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.join("one").await, fleet.join("two").await);
    fleet.until_shared(&[("one", &one, 32), ("two", &two, 32)]).await;
    let one_at_a_time = Flow { max_in_flight: Some(1), ..Flow::default() };
    let shop = fleet.endpoint_of("two", &one, one_at_a_time).await;
    fleet.receiver.hold();
    for n in 0..3 {
        fleet.emit(&two, &n.to_string()).await;
    }
    fleet.receiver.wait_for(1).await;
    // What waits for its turn in the other node's memory.
    let waiting = one.deliveries_before(fleet.company, shop.id, None, 9).await.unwrap();
    let last = waiting.iter().find(|found| found.delivery.sequence == 3).unwrap();
    one.cancel_delivery(fleet.company, last.delivery.id).await.unwrap();
    until(&one, &fleet, last.delivery.id, DeliveryState::Failed).await;
    // What is not on the wire is held.
    let off = EndpointChange { disabled: Some(Some("off".into())), ..EndpointChange::default() };
    one.change_endpoint(fleet.company, shop.id, off).await.unwrap();
    until_given_back(&one, &fleet, &shop).await;
    fleet.receiver.answer_all();
    let first = waiting.iter().find(|found| found.delivery.sequence == 1).unwrap();
    until(&one, &fleet, first.delivery.id, DeliveryState::Concluded).await;
    let on = EndpointChange { disabled: Some(None), ..EndpointChange::default() };
    one.change_endpoint(fleet.company, shop.id, on).await.unwrap();
    fleet.receiver.wait_for(2).await;
    let again = one.replay(fleet.company, first.delivery.id).await.unwrap();
    fleet.receiver.wait_for(3).await;
    // What still waits is not sent again.
    let second = waiting.iter().find(|found| found.delivery.sequence == 2).unwrap();
    for id in [again.id, second.delivery.id] {
        until(&one, &fleet, id, DeliveryState::Concluded).await;
    }
    let from = Timestamp(0);
    let selection =
        Selection::Events { types: "*".parse().unwrap(), from, to: None, endpoint: Some(shop.id) };
    let many = fanfare::engine::NewReplay { selection, per_second: None, idempotency_key: None };
    two.start_replay(fleet.company, many).await.unwrap();
    fleet.receiver.wait_for(6).await;
    assert_eq!(texts(&fleet.receiver.arrivals())[..3], ["0", "1", "0"]);
    fleet.end([one, two]).await;
}

/// Waits until a delivery stands like this.
async fn until(node: &Engine, fleet: &Fleet, id: fanfare::DeliveryId, state: DeliveryState) {
    let stands = async {
        while node.delivery(fleet.company, id).await.unwrap().delivery.state != state {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(PATIENCE, "the state of a delivery", stands).await;
}

/// Waits until only what is on the wire is claimed.
async fn until_given_back(node: &Engine, fleet: &Fleet, endpoint: &Endpoint) {
    let given_back = async {
        loop {
            let found = node.deliveries_before(fleet.company, endpoint.id, None, 9).await.unwrap();
            if found.iter().filter(|found| found.delivery.claimed).count() == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(PATIENCE, "the rest to be given back", given_back).await;
}

/// Order holds while lanes change hands under load.
#[tokio::test(flavor = "multi_thread")]
async fn order_holds_while_lanes_change_hands() {
    let fleet = Fleet::new().await;
    let strict = Flow { ordering: Ordering::Strict, ..Flow::default() };
    let one = fleet.join("one").await;
    fleet.endpoint(&one, strict).await;
    let (mut told, mut others) = (0, Vec::new());
    for round in 0..6 {
        match round % 2 {
            0 => others.push(fleet.join(&format!("other {round}")).await),
            _ => others.remove(0).stop(pending()).await,
        }
        for _ in 0..30 {
            let node = others.last().unwrap_or(&one);
            fleet.emit(node, &told.to_string()).await;
            told += 1;
        }
    }
    fleet.receiver.wait_for(told).await;
    let expected: Vec<String> = (0..told).map(|n| n.to_string()).collect();
    assert_eq!(texts(&fleet.receiver.arrivals()), expected);
    fleet.end([one]).await;
}

/// No second sees much more than the pace, also when it begins with one owner and ends with another:
/// twice as many would be the share of each.
#[tokio::test(flavor = "multi_thread")]
async fn the_pace_holds_while_lanes_change_hands() {
    const PACE: u32 = 20;
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.join("one").await, fleet.join("two").await);
    fleet.until_shared(&[("one", &one, 32), ("two", &two, 32)]).await;
    let paced = Flow { rate_limit: Some(PACE), ..Flow::default() };
    let shop = fleet.endpoint_of("two", &one, paced).await;
    let events = (0..PACE * 4).map(|n| fleet.event(&n.to_string())).collect();
    one.emit_all(fleet.company, events, None).await.unwrap();
    fleet.receiver.wait_for(u64::from(PACE) / 2).await;
    two.stop(pending()).await;
    fleet.receiver.wait_for(u64::from(PACE) * 4).await;
    let mut starts = Vec::new();
    for found in one.deliveries_before(fleet.company, shop.id, None, PACE * 4).await.unwrap() {
        until(&one, &fleet, found.delivery.id, DeliveryState::Concluded).await;
        let attempts = one.attempts(fleet.company, found.delivery.id).await.unwrap();
        starts.extend(attempts.iter().map(|attempt| attempt.started_at.0));
    }
    starts.sort_unstable();
    let within_a_second =
        |from: i64| starts.iter().filter(|at| (from..from + 1000).contains(at)).count();
    let most = starts.iter().map(|from| within_a_second(*from)).max().unwrap();
    assert!(
        starts.len() == 4 * PACE as usize && most <= PACE as usize * 3 / 2,
        "{most}: {starts:?}"
    );
    fleet.end([one]).await;
}

/// Whichever nodes accept them, and whosever the lane is.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_several_nodes_accept_coalesces() {
    let fleet = Fleet::new().await;
    let (one, two) = (fleet.join("one").await, fleet.join("two").await);
    fleet.until_shared(&[("one", &one, 32), ("two", &two, 32)]).await;
    let coalescing = Flow { coalesce: Some(Duration::from_secs(3)), ..Flow::default() };
    let shop = fleet.endpoint_of("two", &one, coalescing).await;
    for n in 0..20 {
        let keyed = NewEvent { ordering_key: Some("k".to_owned()), ..fleet.event(&n.to_string()) };
        [&one, &two][n % 2].emit(fleet.company, keyed).await.unwrap();
    }
    fleet.receiver.wait_for(1).await;
    let found = one.deliveries_before(fleet.company, shop.id, None, 20).await.unwrap();
    until(&one, &fleet, found[0].delivery.id, DeliveryState::Concluded).await;
    let sent = fleet.receiver.arrivals();
    assert_eq!(texts(&sent).last().map(String::as_str), Some("19"));
    let superseded = found.iter().filter(|found| found.delivery.state == DeliveryState::Failed);
    assert_eq!(superseded.count() + sent.len(), 20, "what was not sent was superseded");
    assert!(sent.len() < 3, "a busy machine may take longer than a window, not than two");
    fleet.end([one, two]).await;
}

/// What listens where another node does is not reached, though the network is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_no_receiver_of_its_peers() {
    let fleet = Fleet::new().await;
    let elsewhere = format!("peer:{}", fleet.receiver.address().port());
    let (one, two) = (fleet.join("one").await, fleet.join(&elsewhere).await);
    fleet.until_shared(&[("one", &one, 32), (&elsewhere, &two, 32)]).await;
    let refused = one.parse_url("url", &fleet.receiver.url()).unwrap_err().to_string();
    assert!(refused.contains("own"), "{refused}");
    two.stop(pending()).await;
    fleet.until_shared(&[("one", &one, 64)]).await;
    assert!(one.parse_url("url", &fleet.receiver.url()).is_ok());
    fleet.end([one]).await;
}

/// An hour behind, it would send an hour late what another node has accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_clock_follows_the_databases() {
    let clock = Arc::new(FollowingClock::default());
    clock.correct(-3_600_000);
    let guard = GuardPolicy::default();
    let engine = Engine::new(Parts {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        transport: Arc::new(HttpTransport::new(guard.clone(), Duration::from_secs(1))),
        store: store::open(&url_of_new_schema(), Metrics::default()).await.unwrap(),
        outboxes: Vec::new(),
        seal: Seal::new(&[7; 32]),
        key_file: None,
        guard,
        metrics: Metrics::default(),
        node: "late".to_owned(),
        rules: Rules::default(),
    });
    engine.start().await.unwrap();
    let off = clock.now().0.abs_diff(SystemClock.now().0);
    assert!(off < 60_000, "{off} ms");
    engine.stop(pending()).await;
}

/// A machine that stands still for longer than a lease holds, in the moment in which the first
/// delivery is about to be sent.
struct Stalling {
    metrics: Metrics,
    stalled: AtomicBool,
}

#[async_trait]
impl Clock for Stalling {
    fn now(&self) -> Timestamp {
        let about_to_send = self.metrics.accepted.get() > 0;
        if about_to_send && !self.stalled.swap(true, SeqCst) {
            std::thread::sleep(LEASE * 3 / 2);
        }
        SystemClock.now()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        SystemClock.sleep_until(moment).await;
    }
}

/// It sends nothing then, because another node may have the delivery. If none has, it goes out as
/// soon as the lease is renewed, and not when the claim runs out. On one thread, so that nothing
/// renews the lease meanwhile.
#[tokio::test]
async fn what_a_lease_that_ran_out_kept_from_being_sent_is_sent_once_it_is_renewed() {
    let fleet = Fleet::new().await;
    let metrics = Metrics::default();
    let network = format!("127.0.0.1/32:{}", fleet.receiver.address().port());
    let guard = GuardPolicy {
        allow_http: true,
        allow_networks: vec![network.parse().unwrap()],
        ..GuardPolicy::default()
    };
    let engine = Engine::new(Parts {
        clock: Arc::new(Stalling { metrics: metrics.clone(), stalled: AtomicBool::new(false) }),
        transport: Arc::new(HttpTransport::new(guard.clone(), Duration::from_secs(1))),
        store: store::open(&fleet.url, metrics.clone()).await.unwrap(),
        outboxes: Vec::new(),
        seal: Seal::new(&[7; 32]),
        key_file: None,
        guard,
        metrics,
        node: "slow".to_owned(),
        rules: Rules { node_lease: LEASE, ..Rules::default() },
    });
    engine.start().await.unwrap();
    fleet.endpoint(&engine, Flow::default()).await;
    fleet.emit(&engine, "held up").await;
    fleet.receiver.wait_for(1).await;
    fleet.end([engine]).await;
}
