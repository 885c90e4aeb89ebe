//! SQLite keeps the contract.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::ops::Deref;

use fanfare::metrics::Metrics;
use fanfare::store::sqlite::Sqlite;

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
