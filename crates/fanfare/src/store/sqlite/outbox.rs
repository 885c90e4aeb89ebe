//! The outbox in the database file of a platform that runs on SQLite. Its transactions are that
//! platform's own, so nothing here holds one open longer than a statement takes.
//!
//! One thread owns the connection. Between two jobs it looks whether the file was changed, which
//! reads a number from shared memory or from the file's first page.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use tokio::sync::{Notify, oneshot};

use crate::model::Timestamp;
use crate::store::outbox::{Outbox, Portion, Row, Said, Waiting};
use crate::store::{Result, StoreError};

/// How often the file is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// How long a lock of the platform's is waited for before the next try.
const PATIENCE: Duration = Duration::from_secs(5);

const READ: &str = "
    select number, id, company, type, octet_length(data),
           case when octet_length(data) <= ?2 then data end,
           idempotency_key, ordering_key, deliver_at, expires_at, hex(id)
    from fanfare_outbox where refused is null order by number limit ?1";
const REMOVE: &str = "delete from fanfare_outbox where number = ?1 and hex(id) = ?2";
const REFUSE: &str = "update fanfare_outbox set refused = ?3 where number = ?1 and hex(id) = ?2";
const IS_THERE: &str = "
    select exists (select 1 from sqlite_schema where type = 'table' and name = 'fanfare_outbox')";

/// An outbox in a file that is not ours.
pub(in crate::store) struct HostFile {
    name: String,
    jobs: mpsc::Sender<Job>,
    rung: Arc<Notify>,
}

type Job = Box<dyn FnOnce(&mut File) + Send>;

/// What the thread owns.
struct File {
    path: PathBuf,
    /// `None` before the first use, and after an error.
    open: Option<Connection>,
    /// Which file that is: another one may be put in its place.
    place: Option<(u64, u64)>,
    /// Which state of the file was seen last.
    version: i64,
}

impl HostFile {
    /// The outbox in the file at `path`, which is opened when it is first read.
    pub(in crate::store) fn new(path: &Path) -> Result<HostFile> {
        let mut file = File { path: path.to_owned(), open: None, place: None, version: 0 };
        let (jobs, told) = mpsc::channel::<Job>();
        let rung = Arc::new(Notify::new());
        let ring = Arc::clone(&rung);
        let named = std::thread::Builder::new().name("fanfare-outbox".into());
        let spawned = named.spawn(move || {
            loop {
                match told.recv_timeout(GLANCE) {
                    Ok(job) => job(&mut file),
                    Err(mpsc::RecvTimeoutError::Timeout) if file.has_changed() => ring.notify_one(),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        spawned.map_err(|error| StoreError::Away(error.to_string()))?;
        Ok(HostFile { name: format!("sqlite:{}", path.display()), jobs, rung })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |file| drop(answer.send(file.run(work))));
        let gone = || StoreError::Away("its thread has ended".to_owned());
        self.jobs.send(job).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

#[async_trait]
impl Outbox for HostFile {
    fn name(&self) -> &str {
        &self.name
    }

    /// Other nodes are on other machines.
    fn is_shared(&self) -> bool {
        false
    }

    fn emit_statement(&self) -> Option<String> {
        None
    }

    async fn read(&self, portion: Portion) -> Result<Vec<Waiting>> {
        self.run(move |db| read(db, portion)).await
    }

    async fn settle(&self, stored: Vec<Row>, refused: Vec<(Row, String)>) -> Result<()> {
        self.run(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for row in stored {
                tx.prepare_cached(REMOVE)?.execute(params![row.number, row.id])?;
            }
            for (row, reason) in refused {
                tx.prepare_cached(REFUSE)?.execute(params![row.number, row.id, reason])?;
            }
            tx.commit()
        })
        .await
    }

    async fn hint(&self) {
        self.rung.notified().await;
    }
}

impl File {
    fn run<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        let place = self.place();
        let mut open = match self.open.take() {
            Some(open) if self.place == place => open,
            _ => self.connect()?,
        };
        self.place = place;
        let done = work(&mut open).map_err(StoreError::from)?;
        self.open = Some(open);
        Ok(done)
    }

    /// The device and number of the file that is there now.
    fn place(&self) -> Option<(u64, u64)> {
        self.path.metadata().ok().map(|file| (file.dev(), file.ino()))
    }

    fn connect(&self) -> Result<Connection> {
        let path = self.path.display();
        if !self.path.is_file() {
            return Err(StoreError::Away(format!("there is no file at {path}")));
        }
        // Never making it: an empty file in its place would only hide that it is missing.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = Connection::open_with_flags(&self.path, flags)?;
        open.busy_timeout(PATIENCE)?;
        if open.query_row(IS_THERE, [], |row| row.get(0))? {
            return Ok(open);
        }
        Err(StoreError::Taken(format!(
            "{path} has no table fanfare_outbox: have its owner run what `fanfare outbox-sql \
             sqlite` prints"
        )))
    }

    /// Has anybody else committed anything since this was asked last?
    fn has_changed(&mut self) -> bool {
        let Some(open) = &self.open else { return false };
        let version = open.query_row("pragma data_version", [], |row| row.get(0));
        version.is_ok_and(|version| std::mem::replace(&mut self.version, version) != version)
    }
}

fn read(db: &Connection, portion: Portion) -> rusqlite::Result<Vec<Waiting>> {
    let data_max = i64::try_from(portion.data_max).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(READ)?;
    let mut rows = statement.query(params![portion.rows, data_max])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let waiting = waiting(row)?;
        bytes += waiting.said.as_ref().map_or(0, |said| said.data.as_ref().map_or(0, Bytes::len));
        found.push(waiting);
        if bytes >= portion.bytes {
            break;
        }
    }
    Ok(found)
}

fn waiting(row: &rusqlite::Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting { row: Row { number: row.get(0)?, id: row.get(10)? }, said: said(row)? })
}

/// What a row says, or what is wrong with it: its table is another's, and may have been made in
/// another way.
fn said(row: &rusqlite::Row<'_>) -> rusqlite::Result<std::result::Result<Said, String>> {
    let time = |column| -> rusqlite::Result<_> {
        Ok(text(row, column)?.map(|text| text.parse::<Timestamp>()).transpose())
    };
    let id = text(row, 1)?.unwrap_or_default().parse();
    let company = text(row, 2)?.unwrap_or_default().parse();
    let (deliver_at, expires_at) = (time(8)?, time(9)?);
    let event_type = text(row, 3)?.unwrap_or_default();
    let (idempotency_key, ordering_key) = (text(row, 6)?, text(row, 7)?);
    let bytes: usize = row.get(4)?;
    let data = match row.get_ref(5)? {
        ValueRef::Text(data) => Some(Bytes::copy_from_slice(data)),
        ValueRef::Null => None,
        _ => return Ok(Err("data: must be a text".to_owned())),
    };
    Ok((|| {
        Ok(Said {
            id: id.map_err(|_| "id: must be a UUID with hyphens")?,
            company: company.map_err(|_| "company: must be a UUID with hyphens")?,
            event_type,
            bytes,
            data,
            idempotency_key,
            ordering_key,
            deliver_at: deliver_at.map_err(|reason| format!("deliver_at: {reason}"))?,
            expires_at: expires_at.map_err(|reason| format!("expires_at: {reason}"))?,
        })
    })())
}

/// A text; what is none is read as what SQLite would show for it.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
    })
}
