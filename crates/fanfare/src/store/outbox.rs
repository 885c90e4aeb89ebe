//! Where a platform says events inside its own transactions: a table in a database of its own, or
//! in the store's. Rows are read as they become visible, in the order of their numbers, and go once
//! their events are stored. No place in it is ever remembered: commits become visible out of order,
//! so whatever is there is still to be taken.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{CompanyId, EventId, Timestamp};
#[cfg(feature = "postgres")]
use crate::store::postgres;
use crate::store::sqlite;
use crate::store::{Result, StoreError};

/// The table as hosts of SQLite make it in their own database file.
pub const SQLITE_OUTBOX: &str = include_str!("../../../../migrations/outbox-sqlite.sql");
/// The table and the function as PostgreSQL has them, for the first schema of the `search_path`.
pub const POSTGRES_OUTBOX: &str = include_str!("../../../../migrations/postgres/0006_outbox.sql");

/// The setting that names outboxes beside the store's own.
const SETTING: &str = "FANFARE_OUTBOX_URL";

/// A table of events that wait to be taken. Several may take from it at once: what is read is still
/// there until it is settled, and is known by its event's id.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// What it is called in the log. Holds no password.
    fn name(&self) -> &str;

    /// May others take from it too, so that one node of several is enough?
    fn is_shared(&self) -> bool;

    /// The statement by which a transaction says an event, with its parameters in the order of
    /// PostgreSQL's `emit`; `None` where none of PostgreSQL's does.
    fn emit_statement(&self) -> Option<String>;

    /// The first rows that wait, in the order of their numbers, as many as fit into `portion`.
    /// Connects where that is to be done.
    async fn read(&self, portion: Portion) -> Result<Vec<Waiting>>;

    /// Removes rows whose events are stored, and marks others with the reason why they never will
    /// be. Rows that are not there any more are passed by.
    async fn settle(&self, stored: Vec<Row>, refused: Vec<(Row, String)>) -> Result<()>;

    /// Returns when something may have come. It may miss it, and never return.
    async fn hint(&self);
}

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub struct Portion {
    /// Rows.
    pub rows: u32,
    /// Bytes of their data together; one row is read however large it is.
    pub bytes: usize,
    /// Bytes of one row's data; what is larger is told without its data.
    pub data_max: usize,
}

/// What a row is known by. Numbers alone might be given again by a database that was put back to an
/// earlier state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub number: i64,
    /// Its event's id, in a form that the outbox itself knows.
    pub id: String,
}

/// A row that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Which.
    pub row: Row,
    /// What it says; an error when that cannot be read.
    pub said: std::result::Result<Said, String>,
}

/// What a row says.
#[derive(Debug, Clone)]
pub struct Said {
    /// The event's id.
    pub id: EventId,
    /// Whose it is.
    pub company: CompanyId,
    /// What kind of thing happened.
    pub event_type: String,
    /// How many bytes its data has.
    pub bytes: usize,
    /// The data, where it is not too large to be read.
    pub data: Option<Bytes>,
    /// The platform's key for it.
    pub idempotency_key: Option<String>,
    /// What it is about.
    pub ordering_key: Option<String>,
    /// Not to be sent before.
    pub deliver_at: Option<Timestamp>,
    /// Not to be sent from here on.
    pub expires_at: Option<Timestamp>,
}

/// The outbox in the database that `url` names, `sqlite:PATH` or `postgres://…`. Connects to nothing
/// yet.
///
/// # Errors
/// [`StoreError::Taken`] for a URL of neither kind.
pub fn open_outbox(url: &str) -> Result<Arc<dyn Outbox>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Arc::new(sqlite::HostFile::new(Path::new(path))?));
    }
    #[cfg(feature = "postgres")]
    if super::is_postgres(url) {
        return Ok(Arc::new(postgres::Table::new(url).map_err(named)?));
    }
    Err(named(super::unknown_url(url)))
}

/// The outbox of the store that `url` names, where it has one of its own: the embedded store's file
/// is nobody else's to write.
///
/// # Errors
/// As [`open_outbox`].
pub fn own_outbox(url: &str) -> Result<Option<Arc<dyn Outbox>>> {
    if url.starts_with("sqlite:") { Ok(None) } else { open_outbox(url).map(Some) }
}

/// URLs are read by those who read the store's, and their errors name its setting.
fn named(error: StoreError) -> StoreError {
    match error {
        StoreError::Taken(reason) => {
            StoreError::Taken(reason.replace("FANFARE_DATABASE_URL", SETTING))
        }
        other => other,
    }
}
