//! The embedded store: one SQLite file in WAL mode.
//!
//! One thread owns the connection that writes. It takes whatever waits and commits it in one
//! transaction with one fsync, so that many callers share the price of a commit. Readers have
//! connections of their own and see the last commit.

mod accept;
mod api_keys;
mod audit;
mod check;
mod checkpoint;
mod ending;
mod endpoints;
mod history;
mod lock;
mod nodes;
mod outbox;
mod queue;
mod record;
mod repeats;
mod replays;
mod retention;
mod rows;
pub(in crate::store) mod transfer;
mod upkeep;
mod writer;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, watch};

use crate::metrics::Metrics;
use crate::store::{Result, StoreError};
use lock::Lock;
pub(super) use outbox::HostFile;
use writer::{Tx, Writer};

/// Connections that read at the same time.
const READERS: usize = 4;
/// Prepared statements kept by each connection.
const STATEMENTS: usize = 64;

/// Migrations in the order of their numbers; the file's `user_version` counts those applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../../../../migrations/sqlite/0001_init.sql"),
    include_str!("../../../../../migrations/sqlite/0002_flow.sql"),
    include_str!("../../../../../migrations/sqlite/0003_guard.sql"),
];

/// A store in one SQLite file.
pub struct Sqlite {
    writer: Option<Arc<Writer>>,
    readers: Arc<Readers>,
    lost: watch::Receiver<Option<String>>,
    /// Whether what an earlier process had claimed is void.
    joined: AtomicBool,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Sqlite {
    /// Opens `path`, making the file and its tables where missing, and keeps every other process
    /// out until [`close`](crate::store::Upkeep::close) or the end of this one.
    pub async fn open(path: &Path, metrics: Metrics) -> Result<Self> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let lock = Lock::take(&path)?;
            make_private(&path)?;
            let mut connection = connect(&path, OpenFlags::default())?;
            migrate(&mut connection)?;
            let (lost_sender, lost) = watch::channel(None);
            let writer = Writer::start(connection, &path, (lock, lost_sender, metrics))?;
            Ok(Self::over(&path, Some(Arc::new(writer)), lost))
        });
        opened.await.map_err(|panic| StoreError::Broken(panic.to_string()))?
    }

    /// Opens `path` to look at it, also while another process serves it.
    pub async fn open_read_only(path: &Path) -> Result<Self> {
        if !path.is_file() {
            return Err(StoreError::Taken(format!("there is no store at {}", path.display())));
        }
        let (_, lost) = watch::channel(None);
        let store = Self::over(path, None, lost);
        let applied: usize =
            store.read(|db| db.query_row("pragma user_version", [], |row| row.get(0))).await?;
        if applied != MIGRATIONS.len() {
            return Err(of_another_version(applied));
        }
        Ok(store)
    }

    fn over(
        path: &Path,
        writer: Option<Arc<Writer>>,
        lost: watch::Receiver<Option<String>>,
    ) -> Sqlite {
        let permits = Semaphore::new(READERS);
        let readers = Readers { path: path.to_owned(), idle: Mutex::default(), permits };
        Sqlite { writer, readers: Arc::new(readers), lost, joined: AtomicBool::new(false) }
    }

    /// Runs `work` in the writer's next transaction. It may run twice: the first time is undone
    /// when another member of the same transaction fails.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(writer) = &self.writer else { return Err(read_only_store()) };
        writer.run(work).await
    }

    /// Runs `work`, which is much, in a transaction of its own, between those of others.
    async fn write_much<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(writer) = &self.writer else { return Err(read_only_store()) };
        writer.run_large(work).await
    }

    /// Runs `work` in a transaction of its own once the writer has nothing else to do. A crash may
    /// undo it.
    async fn do_chore<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(writer) = &self.writer else { return Err(read_only_store()) };
        writer.run_chore(work).await
    }

    /// Runs `work` on a connection that reads, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = Arc::clone(&self.readers);
        let permit = readers.permits.acquire().await;
        let _permit = permit.map_err(|_| StoreError::Away("the store is closed".into()))?;
        let blocking_readers = Arc::clone(&self.readers);
        let read = tokio::task::spawn_blocking(move || {
            let idle = blocking_readers.take_idle();
            let connection = match idle {
                Some(connection) => connection,
                None => connect(&blocking_readers.path, read_only())?,
            };
            let value = work(&connection)?;
            blocking_readers.put_back(connection);
            Ok(value)
        });
        read.await.map_err(|panic| StoreError::Broken(panic.to_string()))?
    }
}

impl Readers {
    fn take_idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

fn read_only_store() -> StoreError {
    StoreError::Broken("the store is open for reading only".into())
}

fn read_only() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Waits where another connection of this process holds a lock for a moment.
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}

/// Makes the file, where there is none, for its owner alone; SQLite gives its companions the same
/// mode.
fn make_private(path: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    made.map(|_| ()).map_err(|error| {
        StoreError::Taken(format!("the store at {} cannot be made: {error}", path.display()))
    })
}

fn migrate(connection: &mut Connection) -> Result<()> {
    // FULL: a commit returns after its fsync. The checkpoints are ours (checkpoint.rs). Pages that
    // are freed can be given back in small steps; a file knows that from its beginning on.
    connection.execute_batch(
        "pragma auto_vacuum = incremental; pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 0;
         pragma cache_size = -16384; pragma temp_store = memory;",
    )?;
    let applied: usize = connection.query_row("pragma user_version", [], |row| row.get(0))?;
    if applied > MIGRATIONS.len() {
        return Err(of_another_version(applied));
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(applied) {
        let tx = connection.transaction()?;
        tx.execute_batch(migration)?;
        tx.pragma_update(None, "user_version", index + 1)?;
        tx.commit()?;
    }
    give_back_from_now_on(connection)
}

fn of_another_version(applied: usize) -> StoreError {
    StoreError::Taken(match applied > MIGRATIONS.len() {
        true => "the store was written by a newer version of Fanfare; use that version".into(),
        false => "the store is of an older version of Fanfare; start the server on it once".into(),
    })
}

/// A file of an older version cannot give pages back until it has been rewritten, once.
fn give_back_from_now_on(connection: &Connection) -> Result<()> {
    let mode: u8 = connection.query_row("pragma auto_vacuum", [], |row| row.get(0))?;
    if mode == 0 {
        connection.execute_batch("pragma auto_vacuum = incremental; vacuum;")?;
    }
    Ok(())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE};
        let reason = error.to_string();
        let Some(cause) = error.sqlite_error() else { return StoreError::Broken(reason) };
        match (cause.code, cause.extended_code) {
            (_, SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC) => StoreError::Untrusted(reason),
            // A write that did not happen at all left what is on disk as it was.
            (ErrorCode::DiskFull, _) | (_, SQLITE_IOERR_WRITE) => StoreError::Full(reason),
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => StoreError::Away(reason),
            _ => StoreError::Broken(reason),
        }
    }
}
