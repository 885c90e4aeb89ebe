//! PostgreSQL keeps the contract. Needs `FANFARE_TEST_POSTGRES`, the URL of a server that may be
//! filled with rubbish (`cargo xtask test` starts one); each test has a schema of its own.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test may read the environment")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare::metrics::Metrics;
use fanfare::model::{CompanyId, Endpoint, Event, Record, Verdict};
use fanfare::store::postgres::Postgres;
use fanfare::store::{
    Accepted, Admission, Emit, Endpoints, Histories, Nodes, Queue, Result, StoreError, Upkeep,
};
use fanfare_testkit::contract::{LEASE, NOW, accept_all, act, attempt, card, endpoint, event};
use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls};

#[path = "store_postgres/days.rs"]
mod days;

fanfare_testkit::store_contract!(open);

/// A store in a schema that goes with it.
struct Schema {
    store: Postgres,
    name: String,
    url: String,
}

async fn open() -> Schema {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let server = server();
    let mark = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{mark}options=-csearch_path%3D{name}");
    // A run that was cut short may have left one of this name.
    sql(&format!("drop schema if exists {name} cascade")).await;
    Schema { store: join(&url).await, name, url }
}

/// Opens a store as one of its nodes.
async fn join(url: &str) -> Postgres {
    let store = Postgres::open(url, Metrics::default()).await.unwrap();
    store.renew(&card(), NOW).await.unwrap();
    store
}

fn server() -> String {
    std::env::var("FANFARE_TEST_POSTGRES").expect(
        "FANFARE_TEST_POSTGRES must be the URL of a PostgreSQL server for tests: run \
         `cargo xtask test`, which starts one, or set it",
    )
}

async fn connect() -> Client {
    let (client, connection) = tokio_postgres::connect(&server(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn sql(text: &str) {
    connect().await.batch_execute(text).await.unwrap();
}

impl Deref for Schema {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.store
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop_it = format!("drop schema {} cascade", self.name);
        // A runtime cannot be entered on a thread that is in one.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(sql(&drop_it));
        });
        thread.join().unwrap();
    }
}

async fn emit(store: &Postgres, event: Event, claimed: bool) -> Result<Vec<Accepted>> {
    let admission = Admission { lease: LEASE, may_claim: Arc::new(move |_| claimed) };
    store.accept(vec![Emit::new(event)], &admission).await
}

/// A company with one endpoint and a delivery concluded, one failed and one waiting.
async fn some_history(store: &Postgres) -> (CompanyId, Endpoint) {
    let company = CompanyId::new(NOW);
    let endpoint = endpoint(company, &["*"]);
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    let verdicts = [Verdict::Concluded, Verdict::Failed("no".into()), Verdict::RetryAt(NOW)];
    for verdict in verdicts {
        let claim = accept_all(store, &event(company, "a", NOW)).await.remove(0);
        let attempt = attempt(&claim, NOW, 200);
        let record = Record::new(claim, attempt.into(), verdict, NOW);
        assert!(store.record(record).await.unwrap().applied);
    }
    (company, endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_what_is_broken() {
    let damages = [
        ("update deliveries set due_at = null where state = 0", "waits without a next time"),
        ("update deliveries set claimed = true where state = 1", "is final but claimed"),
        ("update deliveries set claimed = true, fence = 0 where state = 0", "no claim's number"),
        ("update deliveries set reason = null where state = 2", "failed without a reason"),
        ("delete from events", "has no event"),
        ("delete from endpoints", "has no endpoint"),
        ("delete from companies", "owns something but is not there"),
        ("update deliveries set attempts = 2 where state = 1", "counts other attempts"),
        ("update deliveries set attempts = 0 where state = 1", "concluded without an attempt"),
        ("update attempts set fence = 9", "under a claim that was never made"),
        ("delete from deliveries where state = 1", "is tried but not there"),
        ("update counts set waiting = 5", "has other deliveries than its counts say"),
        ("update counts set failed = 0", "has other deliveries than its counts say"),
        ("delete from counts", "has other deliveries than its counts say"),
        ("update events set deliveries = 0", "has more deliveries than it was answered"),
        (
            "update deliveries set due_at = due_at + (1::bigint << 52) where state = 0",
            "is parked with nothing before it",
        ),
        (
            "update deliveries set state = 0, claimed = false, reason = null, order_key = ''",
            "may go before another one under its key",
        ),
    ];
    let store = open().await;
    let path = format!("set search_path = {};", store.name);
    some_history(&store).await;
    // What the tables themselves refuse is looked for all the same: they may have been altered.
    sql(&format!(
        "{path} alter table deliveries alter due_at drop not null;
         alter table deliveries drop constraint deliveries_check;
         alter table deliveries drop constraint deliveries_check1;"
    ))
    .await;
    let tables = ["companies", "endpoints", "events", "deliveries", "attempts", "counts"];
    for table in tables {
        sql(&format!("{path} create table saved_{table} as table {table}")).await;
    }
    for (damage, expected) in damages {
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
        sql(&format!("{path} {damage}")).await;
        let found = store.check().await.unwrap();
        assert!(found.iter().any(|line| line.contains(expected)), "{damage}: {found:?}");
        for table in tables {
            let back = format!("delete from {table}; insert into {table} table saved_{table}");
            sql(&format!("{path} {back}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_is_on_disk_before_it_closes() {
    let store = open().await;
    let company = CompanyId::new(NOW);
    let endpoint = endpoint(company, &["*"]);
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    let emits = join_all((0..200).map(|_| emit(&store, event(company, "a", NOW), false)));
    let (answers, ()) = tokio::join!(emits, async {
        tokio::task::yield_now().await;
        store.close().await;
    });
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(accepted > 0);
    let read = Postgres::open_read_only(&store.url).await.unwrap();
    let stored = read.deliveries_before(company, endpoint.id, None, 1_000).await.unwrap();
    assert_eq!(stored.len(), accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_checks_beside_the_owner_and_writes_nothing() {
    let owner = open().await;
    let (company, endpoint) = some_history(&owner).await;
    let reader = Postgres::open_read_only(&owner.url).await.unwrap();
    assert_eq!(reader.check().await.unwrap(), Vec::<String>::new());
    assert_eq!(reader.secrets(None, 9).await.unwrap().len(), 1);
    assert!(reader.name_company(company, "no", &act(NOW)).await.is_err());
    assert!(reader.delete_endpoint(company, endpoint.id, &act(NOW)).await.is_err());
    assert!(emit(&reader, event(company, "a", NOW), false).await.is_err());
    assert!(reader.ready(1024).await.is_err());
    reader.close().await;
    owner.ready(1024).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_needs_a_store() {
    let owner = open().await;
    let elsewhere = owner.url.replace(&owner.name, "nowhere");
    let refused = Postgres::open_read_only(&elsewhere).await.err().unwrap();
    assert!(refused.to_string().contains("nowhere"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_fanfare_where_the_url_names_none() {
    let database = format!("d{}", std::process::id());
    sql(&format!("create database {database}")).await;
    let mut url: url::Url = server().parse().unwrap();
    url.set_path(&database);
    let store = join(url.as_str()).await;
    let (company, _) = some_history(&store).await;
    let (client, connection) = tokio_postgres::connect(url.as_str(), NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let row = client.query_one("select company_id from fanfare.companies", &[]).await.unwrap();
    assert_eq!(CompanyId::from_uuid(row.get(0)), company);
    store.close().await;
    drop((client, store));
    connection.await.unwrap().unwrap();
    sql(&format!("drop database {database} with (force)")).await;
}

/// Ends every connection of this name; returns how many there were.
async fn cut(name: &str) -> usize {
    let select = "select pg_terminate_backend(a.pid) from pg_stat_activity a
        where a.application_name = $1";
    connect().await.query(select, &[&name]).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_heal() {
    let mut store = open().await;
    store.close().await;
    // So that its connections can be told from those of other tests.
    let url = format!("{}&application_name={}", store.url, store.name);
    store.store = join(&url).await;
    let (company, endpoint) = some_history(&store).await;
    for round in 0..3 {
        assert!(cut(&store.name).await > 0, "there was nothing to cut");
        let mut tries = 0;
        while emit(&store, event(company, "a", NOW), true).await.is_err() {
            tries += 1;
            assert!(tries < 50, "it does not heal");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let claim = accept_all(&*store, &event(company, "a", NOW)).await.remove(0);
        let attempt = attempt(&claim, NOW, 200).into();
        let record = Record::new(claim, attempt, Verdict::Gone, NOW);
        assert!(store.record(record).await.unwrap().applied, "round {round}");
        let enable = fanfare::model::EndpointChange { disabled: Some(None), ..Default::default() };
        store.change_endpoint(company, endpoint.id, &enable, &act(NOW)).await.unwrap();
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_a_newer_version_is_refused_unless_it_says_that_older_ones_may() {
    let store = open().await;
    store.close().await;
    sql(&format!("insert into {}.migrations values (998, null)", store.name)).await;
    let beside = Postgres::open(&store.url, Metrics::default()).await.unwrap();
    beside.close().await;
    sql(&format!("insert into {}.migrations values (999, 999)", store.name)).await;
    let owner = Postgres::open(&store.url, Metrics::default()).await.err().unwrap();
    let reader = Postgres::open_read_only(&store.url).await.err().unwrap();
    for refused in [owner, reader] {
        let text = refused.to_string();
        assert!(text.contains("newer version") && text.contains("999"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_is_away_and_its_password_stays_secret() {
    let url = "postgres://shop:hunter2@127.0.0.1:1/shop";
    let refused = Postgres::open(url, Metrics::default()).await.err().unwrap();
    assert!(matches!(refused, StoreError::Away(_)), "{refused}");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_job_does_not_spoil_the_batch() {
    let store = open().await;
    let company = CompanyId::new(NOW);
    let heard = endpoint(company, &["*"]);
    store.add_endpoint(&heard, &act(NOW)).await.unwrap();
    let poison = "add constraint poison check (payload <> 'false')";
    sql(&format!("alter table {}.events {poison}", store.name)).await;
    let emits = (0..50).map(|n| {
        let mut event = event(company, "a", NOW);
        if n == 20 {
            event.payload = Bytes::from_static(b"false");
        }
        emit(&store, event, true)
    });
    let answers = join_all(emits).await;
    let refused: Vec<usize> = (0..50).filter(|n| answers[*n].is_err()).collect();
    assert_eq!(refused, [20]);
    let stored = store.deliveries_before(company, heard.id, None, 100).await.unwrap();
    assert_eq!(stored.len(), 49);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

/// However often it fails to come back, it is told in the end that what it had is void.
#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_lease_is_told_also_after_a_failed_return() {
    let store = open().await;
    let nodes = format!("{}.nodes", store.name);
    sql(&format!("delete from {nodes}; alter table {nodes} add constraint shut check (false)"))
        .await;
    assert!(store.renew(&card(), NOW).await.is_err());
    sql(&format!("alter table {nodes} drop constraint shut")).await;
    let back = store.renew(&card(), NOW).await.unwrap();
    assert!(back.anew && !back.held.is_empty(), "{back:?}");
    assert!(!store.renew(&card(), NOW).await.unwrap().anew, "it is told once");
}
