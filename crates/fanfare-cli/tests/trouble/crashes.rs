//! The database ends, its connections do, or the network between.

use fanfare_testkit::cluster::{Cluster, Stop};
use fanfare_testkit::full;
use fanfare_testkit::proxy::{Network, Proxy};

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_under_load_costs_nothing() {
    let cluster = Cluster::start("").await;
    let bench = Bench::start(&cluster.url()).await;
    for round in 0..if full() { 10 } else { 3 } {
        bench.accepts(100).await;
        let how = if full() || round > 0 { Stop::Immediate } else { Stop::Fast };
        cluster.stop(how).await;
        bench.refuses().await;
        cluster.start_again().await;
        bench.recovers().await;
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_terminated_under_load_cost_nothing() {
    let cluster = Cluster::start("").await;
    let bench = Bench::start(&cluster.url()).await;
    for _ in 0..if full() { 30 } else { 5 } {
        bench.accepts(50).await;
        cluster.terminate_all().await;
    }
    bench.recovers().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_a_commit_neither_loses_nor_doubles_anything() {
    let (_cluster, proxy, bench) = behind_a_proxy().await;
    bench.accepts(20).await;
    proxy.loses_replies(5);
    let wanted = if full() { 300 } else { 30 };
    while proxy.lost() < wanted {
        bench.accepts(20).await;
        bench.catches_up().await;
    }
    proxy.loses_replies(0);
    println!("{} replies were lost", proxy.lost());
    bench.recovers().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_or_falls_silent_costs_nothing() {
    let (_cluster, proxy, bench) = behind_a_proxy().await;
    for network in [Network::Cut, Network::Silent] {
        bench.accepts(50).await;
        proxy.is(network);
        bench.refuses().await;
        proxy.is(Network::Whole);
        bench.recovers().await;
    }
    bench.end().await;
}

/// They were given up for lost, and what they claimed belongs to nobody; it must not wait for a lease.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_arrive_late_cost_nothing() {
    let (_cluster, proxy, bench) = behind_a_proxy().await;
    bench.accepts(50).await;
    proxy.holds_commits(true);
    bench.refuses().await;
    // By other connections it is there.
    bench.is_ready(true).await;
    proxy.holds_commits(false);
    bench.accepts(20).await;
    bench.end().await;
}

async fn behind_a_proxy() -> (Cluster, Proxy, Bench) {
    let cluster = Cluster::start("").await;
    let proxy = Proxy::before(cluster.address()).await;
    let bench = Bench::start(&proxy.url()).await;
    (cluster, proxy, bench)
}

/// Replication is synchronous here: what a primary acknowledged alone is lost with it, whoever
/// waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_new_primary_is_found_after_a_failover() {
    let primary = Cluster::start("").await;
    let standby = primary.standby().await;
    primary.sql("alter system set synchronous_standby_names = '*'").await;
    primary.sql("select pg_reload_conf()").await;
    let (first, second) = (primary.address(), standby.address());
    let bench = Bench::start(&format!("postgres://postgres@{first},{second}/postgres")).await;
    bench.accepts(100).await;
    primary.stop(Stop::Immediate).await;
    bench.refuses().await;
    standby.promote().await;
    bench.recovers().await;
    bench.end().await;
}
