//! The engine on SQLite.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;

use async_trait::async_trait;
use fanfare::metrics::Metrics;
use fanfare::store::Store;
use fanfare::store::sqlite::Sqlite;
use fanfare_testkit::road::Ground;

fanfare_testkit::road!(open);

/// Virtual time, seeded; many more events with `cargo xtask test --full`.
#[tokio::test]
async fn a_week_of_outages_and_crashes_ends_with_everything_accounted_for() {
    let events = if fanfare_testkit::full() { 50_000 } else { 5_000 };
    let mut bench = fanfare_testkit::road::Bench::on(open().await).await;
    fanfare_testkit::road::a_week_of_outages_and_crashes(&mut bench, events).await;
    bench.end().await;
}

/// The directory that a store stands in.
struct Directory(tempfile::TempDir);

#[async_trait]
impl Ground for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        let path = self.0.path().join("fanfare.db");
        Arc::new(Sqlite::open(&path, Metrics::default()).await.unwrap())
    }
}

async fn open() -> Directory {
    Directory(tempfile::tempdir().unwrap())
}
