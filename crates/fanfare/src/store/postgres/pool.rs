//! Connections to lend, and the one place that knows whether the database is there.
//!
//! While it is away every call fails at once with the reason, and one prober tries to reach it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement, ToStatement};
use tokio_util::sync::CancellationToken;

use crate::metrics::Stopwatch;
use crate::store::postgres::connect::{Address, Connection, HOST_TIME_MAX};
use crate::store::postgres::error;
use crate::store::told::Told;
use crate::store::{Result, StoreError};

/// How many connections at most, those outside the pool aside.
const CONNECTIONS_MAX: usize = 8;
/// How long a call waits for a connection that others use.
const TURN_MAX: Duration = Duration::from_secs(2);
/// How long a statement that writes may take: what an emit waits for.
pub(super) const WRITE_TIME_MAX: Duration = Duration::from_secs(4);
/// How long a statement that reads may take.
pub(super) const READ_TIME_MAX: Duration = Duration::from_secs(30);
/// As good as none.
const NO_LIMIT: Duration = Duration::from_hours(24);
/// The pauses between attempts to reach a database that is away, each up to a third longer.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the log says again that it is away.
const REMINDER: Duration = Duration::from_secs(60);

/// The pool. Cloning it gives another handle to the same one.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    address: Address,
    idle: Mutex<Vec<Link>>,
    /// How many are connected, lent or not.
    open: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
    /// Why it is away; `None` while it is there.
    away: watch::Sender<Option<StoreError>>,
    back: Notify,
    told: Told,
    closing: CancellationToken,
}

/// A connection with the statements that were prepared on it.
struct Link {
    connection: Connection,
    statements: Mutex<HashMap<String, Statement>>,
    _counted: Counted,
}

/// A connection on loan. Dropped means given back, unless it has turned out to be of no use.
pub(super) struct Object {
    link: Option<Link>,
    pool: Pool,
    time_max: Duration,
    spoiled: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        Pool(Arc::new(Shared {
            address,
            idle: Mutex::default(),
            open: Arc::default(),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            away: watch::Sender::new(None),
            back: Notify::new(),
            told: Told::default(),
            closing: CancellationToken::new(),
        }))
    }

    /// A connection whose statements may take so long.
    ///
    /// # Errors
    /// [`StoreError::Away`], at once while the database is away.
    pub(super) async fn lend(&self, time_max: Duration) -> Result<Object> {
        let lent = self.try_lend(time_max).await;
        if let Err(error) = &lent
            && self.is_there()
        {
            self.0.told.tell(error);
        }
        lent
    }

    async fn try_lend(&self, time_max: Duration) -> Result<Object> {
        self.there()?;
        let place = timeout(TURN_MAX, Arc::clone(&self.0.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(StoreError::Away(format!("all {CONNECTIONS_MAX} connections are busy")));
        };
        self.there()?;
        let link = match self.take_idle() {
            Some(link) => link,
            None => self.connect_in_time().await.map_err(|error| self.unreachable(error))?,
        };
        let spoiled = AtomicBool::new(false);
        Ok(Object { link: Some(link), pool: self.clone(), time_max, spoiled, _place: place })
    }

    /// Fails while the database is away.
    pub(super) fn there(&self) -> Result<()> {
        if self.0.closing.is_cancelled() {
            return Err(StoreError::Away("the store is closed".to_owned()));
        }
        self.0.away.borrow().clone().map_or(Ok(()), Err)
    }

    fn is_there(&self) -> bool {
        self.0.away.borrow().is_none()
    }

    /// Waits until the database is there.
    pub(super) async fn wait(&self) {
        // The sender is borrowed, so it is there.
        let _ = self.0.away.subscribe().wait_for(Option::is_none).await;
    }

    /// Returns once the database was away and is back, or [`Pool::put_in_order`] was called.
    pub(super) async fn back(&self) {
        self.0.back.notified().await;
    }

    /// Says that callers shall look at the store again.
    pub(super) fn put_in_order(&self) {
        self.0.back.notify_one();
    }

    /// Lends nothing any more.
    pub(super) fn close(&self) {
        self.0.closing.cancel();
        self.0.places.close();
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Link> {
        let mut idle = self.idle();
        while let Some(link) = idle.pop() {
            if !link.connection.is_closed() {
                return Some(link);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Link> {
        let connection = self.0.address.connect().await?;
        let counted = Counted::on(&self.0.open);
        Ok(Link { connection, statements: Mutex::default(), _counted: counted })
    }

    /// A caller waits for one host at most; the prober goes through all of them.
    async fn connect_in_time(&self) -> Result<Link> {
        let late = |_| StoreError::Away(format!("no answer within {HOST_TIME_MAX:?}"));
        timeout(HOST_TIME_MAX, self.connect()).await.map_err(late)?
    }

    /// No new connection can be had. With others still open, the server is there, and full.
    fn unreachable(&self, error: StoreError) -> StoreError {
        if self.0.open.load(Ordering::Acquire) > 0 && error::reason(&error).contains("(53300)") {
            return error;
        }
        self.gone(&error::reason(&error))
    }

    /// From here on every call fails at once, until the prober has reached the database.
    pub(super) fn gone(&self, reason: &str) -> StoreError {
        let error = StoreError::Away(reason.to_owned());
        let first = self.0.away.send_if_modified(|away| {
            let first = away.is_none();
            away.get_or_insert_with(|| error.clone());
            first
        });
        if first {
            tokio::spawn(self.clone().probe());
        }
        error
    }

    /// Tries until the database is there or the pool is closed.
    async fn probe(self) {
        let mut away = Away { since: Stopwatch::start(), told: None };
        let mut pause = PAUSE_MIN;
        loop {
            let reached = tokio::select! {
                reached = self.connect() => reached,
                () = self.0.closing.cancelled() => return,
            };
            match reached {
                Ok(link) => break self.is_back(link, &away),
                Err(error) => self.still_gone(&error, &mut away),
            }
            let spread = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
            let pause_now = pause.mul_f64(1.0 + spread / 3.0);
            if timeout(pause_now, self.0.closing.cancelled()).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn still_gone(&self, error: &StoreError, away: &mut Away) {
        // Whoever comes from now on hears the newest reason.
        let reason = error::reason(error);
        let error = StoreError::Away(reason.clone());
        self.0.away.send_replace(Some(error.clone()));
        self.idle().clear();
        let due = match &away.told {
            None => true,
            Some((told, when)) => *told != reason || when.elapsed() >= REMINDER,
        };
        if due && self.0.told.may() {
            tracing::error!("{error}; trying to reach it");
            away.told = Some((reason, Stopwatch::start()));
        }
    }

    fn is_back(&self, link: Link, away: &Away) {
        self.idle().push(link);
        let reason = self.0.away.send_replace(None).map(|error| error::reason(&error));
        let lasted = away.since.elapsed();
        if away.told.is_some() || self.0.told.may() {
            let reason = reason.unwrap_or_default();
            tracing::warn!("the database is back after {lasted:.1?}: {reason}");
        }
        self.put_in_order();
    }
}

/// A time in which the database is away.
struct Away {
    since: Stopwatch,
    /// The reason in the last line of the log, and when that was written.
    told: Option<(String, Stopwatch)>,
}

impl Object {
    /// The same without a limit to the time of its statements.
    pub(super) fn patient(mut self) -> Self {
        self.time_max = NO_LIMIT;
        self
    }

    /// Closes the connection instead of giving it back.
    pub(super) fn close(self) {
        self.spoiled.store(true, Ordering::Release);
    }

    /// Prepares a statement, once on each connection.
    pub(super) async fn prepare_cached(&self, sql: &str) -> std::result::Result<Statement, Error> {
        let link = self.link();
        if let Some(statement) = link.statements().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.ask(link.connection.prepare(sql)).await?;
        link.statements().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    pub(super) async fn query<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Vec<Row>, Error> {
        self.ask(self.link().connection.query(statement, values)).await
    }

    pub(super) async fn query_one<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Row, Error> {
        self.ask(self.link().connection.query_one(statement, values)).await
    }

    pub(super) async fn query_opt<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Option<Row>, Error> {
        self.ask(self.link().connection.query_opt(statement, values)).await
    }

    pub(super) async fn execute<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        values: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<u64, Error> {
        self.ask(self.link().connection.execute(statement, values)).await
    }

    pub(super) async fn batch_execute(&self, sql: &str) -> std::result::Result<(), Error> {
        self.ask(self.link().connection.batch_execute(sql)).await
    }

    /// Waits for an answer, but not for ever: a database that says nothing is away.
    async fn ask<T>(
        &self,
        question: impl Future<Output = std::result::Result<T, Error>>,
    ) -> std::result::Result<T, Error> {
        // Boxed, so that many of them in one call are no large one.
        let mut question = Box::pin(question);
        let answer = match timeout(self.time_max, question.as_mut()).await {
            Ok(answer) => answer,
            Err(_) => {
                self.pool.gone(&format!("no answer within {:?}", self.time_max));
                // What is asked on this connection fails with it.
                self.link().connection.end();
                question.await
            }
        };
        if let Err(error) = &answer {
            if error::spoils(error) {
                self.spoiled.store(true, Ordering::Release);
            }
            if self.pool.is_there() {
                self.pool.0.told.tell(&error::of(error));
            }
        }
        answer
    }

    #[expect(clippy::expect_used, reason = "taken only at the end of its owner's life")]
    fn link(&self) -> &Link {
        self.link.as_ref().expect("a connection on loan")
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        let spoiled = self.spoiled.load(Ordering::Acquire) || link.connection.is_closed();
        if !spoiled && self.pool.there().is_ok() {
            self.pool.idle().push(link);
        }
    }
}

impl Link {
    fn statements(&self) -> MutexGuard<'_, HashMap<String, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One more that is open, until dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn on(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Counted(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
