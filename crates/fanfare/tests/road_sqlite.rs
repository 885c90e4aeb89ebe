//! The engine on SQLite.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;

use async_trait::async_trait;
use fanfare::metrics::Metrics;
use fanfare::store::Store;
use fanfare::store::sqlite::Sqlite;
use fanfare_testkit::road::Ground;

fanfare_testkit::road!(open);

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
