//! Several `fanfare serve` on one PostgreSQL: killed, stopped, cut off, replaced, all under load.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is missing")]
#![allow(clippy::print_stdout, reason = "how often something came twice is worth knowing")]

mod load;

use std::time::Duration;

use fanfare_testkit::client::Client;
use fanfare_testkit::full;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::proxy::{Network, Proxy};
use fanfare_testkit::receiver::Receiver;
use fanfare_testkit::wait::within;
use hyper::Method;
use load::{Load, PRODUCERS, Repeats, Told, account, complete, missing};

/// How long a node's lease holds here.
const LEASE: Duration = Duration::from_secs(2);
/// Endpoints, each a lane of its own.
const ENDPOINTS: usize = 4;
/// How long a take-over may last, at the most, with so short a lease on a busy machine.
const TAKE_OVER: Duration = Duration::from_secs(20);

/// What the nodes share.
struct Fleet {
    fanfare: Fanfare,
    receiver: Receiver,
    shop: Shop,
    _dir: tempfile::TempDir,
}

impl Fleet {
    /// A first node, and endpoints that hear everything in the order of keys.
    async fn new() -> (Fleet, Server) {
        Fleet::on(&url_of_new_schema()).await
    }

    async fn on(url: &str) -> (Fleet, Server) {
        let dir = tempfile::tempdir().expect("a directory");
        let fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
            .env("FANFARE_DATABASE_URL", url)
            .env("FANFARE_NODE_LEASE", "2s");
        let receiver = Receiver::start().await;
        let first = fanfare.serve(&receiver.allowed()).await;
        let shop = fanfare.shop().await;
        let mut client = Client::connect(first.address, &shop.token).await.expect("a connection");
        let path = format!("/v1/companies/{}/endpoints", shop.company);
        for number in 0..ENDPOINTS {
            let url = format!("{}/{number}", receiver.url());
            let body = format!(r#"{{"url":"{url}","events":["*"],"ordering":"key"}}"#);
            let (status, answer) = client.send(Method::POST, &path, body).await.expect("an answer");
            assert_eq!(status, 201, "{answer}");
        }
        (Fleet { fanfare, receiver, shop, _dir: dir }, first)
    }

    async fn join(&self) -> Server {
        self.fanfare.serve(&self.receiver.allowed()).await
    }

    fn load(&self, nodes: &[Server]) -> Load {
        Load::start(&self.shop, addresses(nodes))
    }

    /// Waits until the nodes that have shards are so many, and all shards are theirs.
    async fn until_shared_by(&self, nodes: usize) {
        let shared = async {
            loop {
                let shown = self.fanfare.run(&["nodes"]).await;
                assert_eq!(shown.code, 0, "{}", shown.stderr);
                let lines: Vec<&str> = shown.stdout.lines().skip(1).collect();
                let sharing = |line: &&&str| !line.contains("run out") && line.contains('-');
                if lines.iter().filter(sharing).count() == nodes && lines.len() == nodes {
                    return;
                }
            }
        };
        within(TAKE_OVER, &format!("{nodes} nodes that share"), shared).await;
    }

    async fn check(&self) {
        let check = self.fanfare.run(&["check"]).await;
        assert_eq!(check.code, 0, "{}\n{}", check.stdout, check.stderr);
    }

    /// Lets everything arrive, ends the nodes, and accounts for every event. Returns how many came
    /// more than once, and who refused what.
    async fn end(self, load: Load, nodes: Vec<Server>) -> (Repeats, Told) {
        let told = load.stop().await;
        let arrived = self.receiver.until(complete(&told, ENDPOINTS));
        if tokio::time::timeout(TAKE_OVER * 3, arrived).await.is_err() {
            let missing = missing(&told, ENDPOINTS, &self.receiver.arrivals());
            let logs: Vec<String> = nodes.iter().map(|node| node.process.log()).collect();
            panic!("never arrived: {missing:#?}\n{}", logs.join("\n--- the next node\n"));
        }
        for node in nodes {
            node.process.terminate().await;
            let ended = node.process.end().await;
            assert_eq!(ended.code, 0, "{}", ended.stderr);
        }
        self.check().await;
        let repeats = account(&told, &self.receiver.arrivals());
        let events: u64 = told.accepted.values().sum();
        println!("{events} events to {ENDPOINTS} endpoints, {repeats:?}");
        (repeats, told)
    }
}

fn addresses(nodes: &[Server]) -> Vec<std::net::SocketAddr> {
    nodes.iter().map(|node| node.address).collect()
}

/// The most that one node can have in flight: one of each key for each endpoint.
const IN_FLIGHT_MAX: usize = ENDPOINTS * PRODUCERS;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_at_random_lose_nothing_and_keep_the_order() {
    let rounds = if full() { 20 } else { 3 };
    let (fleet, first) = Fleet::new().await;
    let mut nodes = vec![first, fleet.join().await, fleet.join().await];
    let load = fleet.load(&nodes);
    for round in 0..rounds {
        load.go_on_for(50 + round * 37 % 200).await;
        let victim = usize::from(uuid::Uuid::new_v4().as_bytes()[0]) % nodes.len();
        nodes.remove(victim).process.kill().await;
        load.aim(addresses(&nodes));
        // The others take what it had; every second time another one joins meanwhile.
        if round % 2 == 0 {
            fleet.until_shared_by(2).await;
        }
        nodes.push(fleet.join().await);
        load.aim(addresses(&nodes));
    }
    fleet.until_shared_by(3).await;
    load.go_on_for(100).await;
    let rounds = usize::try_from(rounds).expect("a small number");
    let (repeats, _) = fleet.end(load, nodes).await;
    assert!(repeats.all <= rounds * IN_FLIGHT_MAX && repeats.late == 0, "{repeats:?}");
}

/// What it was in the middle of sending it sends when it goes on, and no more than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_stopped_for_two_leases_changes_nothing_when_it_goes_on() {
    let (fleet, first) = Fleet::new().await;
    let nodes = vec![first, fleet.join().await];
    fleet.until_shared_by(2).await;
    let load = fleet.load(&nodes);
    let rounds = if full() { 5 } else { 1 };
    for _ in 0..rounds {
        load.go_on_for(50).await;
        nodes[1].process.signal("STOP").await;
        stand_still(LEASE * 2).await;
        load.go_on_for(50).await;
        fleet.until_shared_by(1).await;
        nodes[1].process.signal("CONT").await;
        fleet.until_shared_by(2).await;
    }
    let (repeats, _) = fleet.end(load, nodes).await;
    assert!(repeats.all <= rounds * IN_FLIGHT_MAX, "{repeats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_from_the_database_sends_nothing_twice_but_what_was_in_flight() {
    let url = url_of_new_schema();
    let (fleet, first) = Fleet::on(&url).await;
    let (proxy, by_proxy) = Proxy::leading_to(&url).await;
    let far = fleet.fanfare.clone().env("FANFARE_DATABASE_URL", &by_proxy);
    let nodes = vec![first, far.serve(&fleet.receiver.allowed()).await];
    fleet.until_shared_by(2).await;
    let load = fleet.load(&nodes);
    load.go_on_for(50).await;
    proxy.is(Network::Silent);
    stand_still(if full() { Duration::from_secs(60) } else { LEASE * 3 }).await;
    fleet.until_shared_by(1).await;
    load.go_on_for(50).await;
    proxy.is(Network::Whole);
    fleet.until_shared_by(2).await;
    load.go_on_for(50).await;
    let (repeats, _) = fleet.end(load, nodes).await;
    assert!(repeats.all <= IN_FLIGHT_MAX && repeats.late == 0, "{repeats:?}");
}

/// Nothing comes twice, and whoever does not stop takes every event.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_replaced_one_by_one_without_a_failed_emit() {
    let (fleet, first) = Fleet::new().await;
    let mut nodes = vec![first, fleet.join().await];
    fleet.until_shared_by(2).await;
    let load = fleet.load(&nodes);
    let mut stopped = Vec::new();
    let rounds = if full() { 10 } else { 3 };
    for _ in 0..rounds {
        load.go_on_for(50).await;
        nodes.push(fleet.join().await);
        load.aim(addresses(&nodes));
        fleet.until_shared_by(3).await;
        let old = nodes.remove(0);
        stopped.push(old.address);
        old.process.terminate().await;
        load.aim(addresses(&nodes));
        let ended = old.process.end().await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        fleet.until_shared_by(2).await;
    }
    let (repeats, told) = fleet.end(load, nodes).await;
    for (node, refusals) in told.refused {
        assert!(stopped.contains(&node), "{node} refused: {refusals:?}");
    }
    assert_eq!(repeats.all, 0, "a node that stops leaves nothing half done");
}

/// Lets time pass that is measured in leases.
#[expect(clippy::disallowed_methods, reason = "leases run out by the clock, and by nothing else")]
async fn stand_still(time: Duration) {
    tokio::time::sleep(time).await;
}
