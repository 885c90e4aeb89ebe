//! The store for when one machine is outgrown.
//!
//! Emits and results are gathered into batches, each one transaction ([`batch`]), and one flush of the
//! log is for all batches of the same moment ([`durable`]); everything else is a statement or two of
//! its own. Several processes may share the store ([`nodes`]).

mod accept;
mod alone;
mod api_keys;
mod audit;
mod batch;
mod check;
mod connect;
mod days;
mod doubt;
mod durable;
mod ending;
mod endpoints;
mod error;
mod follow;
mod history;
mod insert;
mod migrate;
mod nodes;
mod outbox;
mod pool;
mod queue;
mod record;
mod repeats;
mod replays;
mod retention;
mod rows;
mod supersede;
mod tls;
mod transaction;
pub(in crate::store) mod transfer;
mod upkeep;
mod url;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::model::Record;
use crate::store::postgres::accept::Call;
use crate::store::postgres::batch::Line;
use crate::store::postgres::connect::Address;
pub(super) use crate::store::postgres::connect::hosts;
use crate::store::postgres::doubt::Doubts;
use crate::store::postgres::durable::Flushes;
use crate::store::postgres::nodes::{Bell, Membership};
pub(super) use crate::store::postgres::outbox::Table;
pub(crate) use crate::store::postgres::outbox::emit_in;
use crate::store::postgres::pool::{Object, Pool, READ_TIME_MAX, WRITE_TIME_MAX};
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
    doubts: Doubts,
    flushes: Flushes,
}

impl Postgres {
    /// Connects to `url`, creating what is missing. The schema is the first one of the URL's
    /// `search_path` (`?options=-csearch_path%3Dshop`), or `fanfare`. Other processes may have it open
    /// too; each claims and records in the shards that it [takes](crate::store::Nodes::renew).
    ///
    /// `sslmode` is `prefer` by default, as everywhere: encrypted where the server offers it, but not
    /// verified. `require`, `verify-ca` and `verify-full` all verify the certificate and its name,
    /// against the system's authorities or those in the file `sslrootcert`; so does `sslrootcert`
    /// alone. `sslcert` and `sslkey` name what is shown to the server. Of several hosts
    /// (`postgres://a,b/shop`) the first one that takes writes is used, after a failover too.
    ///
    /// # Errors
    /// [`StoreError::Taken`] while a process of an older version, which shares with nobody, has the
    /// store; [`StoreError::Away`] while the database cannot be reached.
    pub async fn open(url: &str, metrics: Metrics) -> Result<Self> {
        let address = Address::parse(url)?;
        migrate::apply(&*address.connect().await?, address.schema()).await?;
        let database = Arc::new(Database::at(&address, metrics));
        let (closing, workers) = (CancellationToken::new(), TaskTracker::new());
        Bell::start(&database, address, &closing, &workers);
        workers.spawn(doubt::settle(Arc::clone(&database), closing.clone()));
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
        let database = Database { read_only: true, ..Database::at(&address, Metrics::default()) };
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
    fn at(address: &Address, metrics: Metrics) -> Self {
        Database {
            pool: Pool::new(address.clone()),
            read_only: false,
            membership: Membership::default(),
            bell: Bell::new(address.schema()),
            metrics,
            doubts: Doubts::default(),
            flushes: Flushes::default(),
        }
    }

    /// A connection to read with.
    async fn reader(&self) -> Result<Object> {
        self.pool.lend(READ_TIME_MAX).await
    }

    /// A connection for chores, which may take their time: nobody waits for them, and a slow one says
    /// nothing of whether the database is there.
    async fn housekeeper(&self) -> Result<Object> {
        Ok(self.writer().await?.patient())
    }

    /// A connection to write with.
    async fn writer(&self) -> Result<Object> {
        if self.read_only {
            return Err(StoreError::Away("it was opened for reading".into()));
        }
        self.pool.lend(WRITE_TIME_MAX).await
    }
}

/// A number of rows to leave out.
fn counted(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
