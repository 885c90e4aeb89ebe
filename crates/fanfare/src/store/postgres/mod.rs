//! The store for when one machine is outgrown.
//!
//! Emits and results are gathered into batches, each one transaction ([`batch`]); everything else
//! is a statement or two of its own. Several processes may share the store ([`nodes`]).

mod accept;
mod alone;
mod api_keys;
mod audit;
mod batch;
mod check;
mod connect;
mod ending;
mod endpoints;
mod error;
mod follow;
mod history;
mod insert;
mod migrate;
mod nodes;
mod queue;
mod record;
mod repeats;
mod replays;
mod retention;
mod rows;
mod supersede;
mod transaction;
pub(in crate::store) mod transfer;
mod upkeep;

use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::model::Record;
use crate::store::postgres::accept::Call;
use crate::store::postgres::batch::Line;
use crate::store::postgres::connect::Address;
pub(super) use crate::store::postgres::connect::hosts;
use crate::store::postgres::nodes::{Bell, Membership};
use crate::store::{Result, StoreError};

/// A store in a PostgreSQL database, in a schema of its own.
pub struct Postgres {
    database: Arc<Database>,
    emits: Line<Call>,
    records: Line<Record>,
    closing: CancellationToken,
    workers: TaskTracker,
}

/// The way to the database, for the store and its batch workers.
struct Database {
    pool: Pool,
    /// Opened for those who only read.
    read_only: bool,
    membership: Membership,
    bell: Bell,
    metrics: Metrics,
}

impl Postgres {
    /// Connects to `url`, creating what is missing. The schema is the first one of the URL's
    /// `search_path` (`?options=-csearch_path%3Dshop`), or `fanfare`. Other processes may have it open
    /// too; each claims and records in the shards that it [takes](crate::store::Nodes::renew).
    ///
    /// # Errors
    /// [`StoreError::Taken`] while a process of an older version, which shares with nobody, has the
    /// store; [`StoreError::Away`] while the database cannot be reached.
    pub async fn open(url: &str, metrics: Metrics) -> Result<Self> {
        let address = Address::parse(url)?;
        migrate::apply(&*address.connect().await?, address.schema()).await?;
        let database = Arc::new(Database::at(&address, metrics)?);
        let (closing, workers) = (CancellationToken::new(), TaskTracker::new());
        Bell::start(&database, address, &closing, &workers);
        Ok(Postgres {
            emits: Line::start(&database, &closing, &workers),
            records: Line::start(&database, &closing, &workers),
            database,
            closing,
            workers,
        })
    }

    /// Connects to `url` for reading alone.
    ///
    /// # Errors
    /// [`StoreError::Broken`] when there is no store there, or one of another version.
    pub async fn open_read_only(url: &str) -> Result<Self> {
        let address = Address::parse(url)?.read_only();
        migrate::verify(&*address.connect().await?, address.schema()).await?;
        let database = Database { read_only: true, ..Database::at(&address, Metrics::default())? };
        Ok(Postgres {
            database: Arc::new(database),
            emits: Line::closed(),
            records: Line::closed(),
            closing: CancellationToken::new(),
            workers: TaskTracker::new(),
        })
    }
}

impl Database {
    fn at(address: &Address, metrics: Metrics) -> Result<Self> {
        Ok(Database {
            pool: address.pool()?,
            read_only: false,
            membership: Membership::default(),
            bell: Bell::new(address.schema()),
            metrics,
        })
    }

    /// A connection to read with.
    async fn reader(&self) -> Result<Object> {
        self.pool.get().await.map_err(|error| error::of_pool(&error))
    }

    /// A connection to write with.
    async fn writer(&self) -> Result<Object> {
        if self.read_only {
            return Err(StoreError::Away("it was opened for reading".into()));
        }
        self.reader().await
    }
}

/// A number of rows to leave out.
fn counted(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
