//! The engine on SQLite.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;

use async_trait::async_trait;
use fanfare::metrics::Metrics;
use fanfare::store::Store;
use fanfare::store::sqlite::Sqlite;
use fanfare_testkit::road::{Bench, Ground, Trouble, a_week_of_outages_and_crashes};

fanfare_testkit::road!(open);

/// Virtual time, seeded; much more happens with `cargo xtask test --full`.
#[tokio::test]
async fn a_week_of_outages_and_crashes_ends_with_everything_accounted_for() {
    let trouble = match fanfare_testkit::full() {
        true => Trouble { events: 50_000, one_in: 3, lost: 3 },
        false => Trouble { events: 3_000, one_in: 10, lost: 1 },
    };
    let mut bench = Bench::on(open().await).await;
    a_week_of_outages_and_crashes(&mut bench, trouble).await;
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
