//! SQLite keeps the contract.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fanfare::CompanyId;
use fanfare::metrics::Metrics;
use fanfare::model::{Record, Verdict};
use fanfare::store::sqlite::Sqlite;
use fanfare::store::{Endpoints, Queue, Upkeep};
use fanfare_testkit::contract::{NOW, accept_all, act, attempt, endpoint, event};
use fanfare_testkit::wait::{PATIENCE, pause, within};

fanfare_testkit::store_contract!(open);

/// A store and the directory it stands in.
struct Opened {
    store: Sqlite,
    _directory: tempfile::TempDir,
}

impl Deref for Opened {
    type Target = Sqlite;

    fn deref(&self) -> &Sqlite {
        &self.store
    }
}

async fn open() -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.db");
    let store = Sqlite::open(&path, Metrics::default()).await.unwrap();
    Opened { store, _directory: directory }
}

/// What has expired is not kept as an empty shell.
#[tokio::test]
async fn the_file_becomes_smaller_when_history_has_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.db");
    let store = Sqlite::open(&path, Metrics::default()).await.unwrap();
    let company = CompanyId::new(NOW);
    store.add_endpoint(&endpoint(company, &["*"]), &act(NOW)).await.unwrap();
    let payload = Bytes::from(vec![b'1'; 128 * 1024]);
    for _ in 0..200 {
        let mut event = event(company, "a", NOW);
        event.payload = payload.clone();
        let claim = accept_all(&store, &event).await.remove(0);
        let attempt = attempt(&claim, NOW, 200).into();
        store.record(Record::new(claim, attempt, Verdict::Concluded, NOW)).await.unwrap();
    }
    store.close().await;
    drop(store);
    let full = length(&path).await;
    assert!(full > 24_000_000, "{full} bytes");

    let store = Sqlite::open(&path, Metrics::default()).await.unwrap();
    let mut place = None;
    let cut = fanfare::DeliveryId::new(NOW).made_at().plus(Duration::from_secs(1));
    loop {
        place = store.expire(cut, place, 200).await.unwrap().next;
        if place.is_none() {
            break;
        }
    }
    while store.reclaim().await.unwrap() {}
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
    drop(store);
    let empty = length(&path).await;
    assert!(empty < full / 2, "{empty} of {full} bytes are left");
}

/// Whoever only looks changes nothing, and says what to do instead.
#[tokio::test]
async fn a_store_of_an_older_version_is_brought_up_to_date_by_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../../migrations/sqlite/0001_init.sql")).unwrap();
    old.execute_batch("pragma user_version = 1").unwrap();
    drop(old);
    let looked = Sqlite::open_read_only(&path).await;
    assert!(looked.is_err_and(|error| error.to_string().contains("start the server on it once")));
    Sqlite::open(&path, Metrics::default()).await.unwrap().close().await;
    let store = Sqlite::open_read_only(&path).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

/// Its length with all that the log says: at the end of a store the background may still be copying
/// that into the file.
async fn length(path: &Path) -> u64 {
    let file = rusqlite::Connection::open(path).unwrap();
    let is_busy = || {
        let copy = "pragma wal_checkpoint(truncate)";
        file.query_row(copy, [], |row| row.get::<_, bool>(0)).unwrap()
    };
    let copied = async {
        while is_busy() {
            pause().await;
        }
    };
    within(PATIENCE, "the end of the copy", copied).await;
    std::fs::metadata(path).unwrap().len()
}
