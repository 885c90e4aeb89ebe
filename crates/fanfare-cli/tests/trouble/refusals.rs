//! The database is there, and refuses.

use fanfare_testkit::cluster::Cluster;

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_takes_no_writes_is_waited_for() {
    let cluster = Cluster::start("").await;
    let bench = Bench::start(&cluster.url()).await;
    bench.accepts(50).await;
    cluster.sql("alter system set default_transaction_read_only = on").await;
    cluster.sql("select pg_reload_conf()").await;
    bench.refuses().await;
    cluster.sql("alter system reset default_transaction_read_only").await;
    cluster.sql("select pg_reload_conf()").await;
    bench.recovers().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_connections_are_waited_for() {
    let cluster = Cluster::start("").await;
    cluster.sql("create role shop login; grant create on database postgres to shop").await;
    let bench = Bench::start(&cluster.url().replace("postgres@", "shop@")).await;
    bench.accepts(50).await;
    cluster.sql("alter role shop connection limit 0").await;
    cluster.terminate_all().await;
    bench.refuses().await;
    cluster.sql("alter role shop connection limit -1").await;
    bench.recovers().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let Some(cluster) = Cluster::on_small_disk().await else {
        println!("NOT RUN: a disk of its own needs root, `unshare` and `setpriv`");
        return;
    };
    let bench = Bench::start(&cluster.url()).await;
    bench.accepts(50).await;
    cluster.fill_disk().await;
    bench.refuses().await;
    assert!(bench.producers.outcome().refused.contains_key("disk_full"));
    cluster.free_disk().await;
    bench.recovers().await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_lock_is_waited_for() {
    let cluster = Cluster::start("").await;
    let bench = Bench::start(&cluster.url()).await;
    bench.accepts(50).await;
    let other = cluster.connect("postgres").await.expect("a connection");
    other.batch_execute("begin; lock table fanfare.events").await.expect("the lock");
    bench.producers.wait_for_refusals(1).await;
    other.batch_execute("rollback").await.expect("the end of the lock");
    bench.recovers().await;
    bench.end().await;
}
