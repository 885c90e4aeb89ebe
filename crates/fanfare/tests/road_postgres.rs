//! The engine on PostgreSQL. Needs `FANFARE_TEST_POSTGRES`, as the store's own tests do.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;

use async_trait::async_trait;
use fanfare::metrics::Metrics;
use fanfare::store::Store;
use fanfare::store::postgres::Postgres;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::road::Ground;

fanfare_testkit::road!(open);

/// The URL of a server and a schema.
struct Schema(String);

#[async_trait]
impl Ground for Schema {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Postgres::open(&self.0, Metrics::default()).await.unwrap())
    }
}

async fn open() -> Schema {
    Schema(url_of_new_schema())
}
