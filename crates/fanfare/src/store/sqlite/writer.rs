//! The thread that writes: takes whatever waits, commits it in one transaction with one fsync.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::metrics::{Metrics, Stopwatch};
use crate::model::{CompanyId, DeliveryState, LaneKey, Listeners};
use crate::store::StoreError;
use crate::store::sqlite::checkpoint::{self, Checkpointer};
use crate::store::sqlite::lock::Lock;
use crate::store::told::Told;

/// Members of one transaction.
const BATCH: usize = 512;
/// Companies whose listeners are kept at hand.
const COMPANIES: usize = 10_000;
/// Lanes whose last sequence number is kept at hand.
const SEQUENCES: usize = 50_000;

const COUNT: &str = "
    insert into counts (company_id, endpoint_id, waiting, concluded, failed, sequence)
    values (?1, ?2, ?3, ?4, ?5, ?6)
    on conflict do update set waiting = waiting + excluded.waiting,
        concluded = concluded + excluded.concluded, failed = failed + excluded.failed,
        sequence = max(sequence, excluded.sequence)";

const SEQUENCE: &str = "select sequence from counts where company_id = ?1 and endpoint_id = ?2";

/// A handle to the thread that writes.
pub(super) struct Writer {
    jobs: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Job(Box<dyn Job>),
    /// Much work: done alone, one between two batches of the others.
    Large(Box<dyn Job>),
    /// Done when nothing else waits.
    Chore(Box<dyn Job>),
    Close,
}

/// Something to write. `run` may be called again after what it did was undone.
trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    /// Tells whoever waits how it ended.
    fn done(self: Box<Self>, end: Result<(), StoreError>);
}

struct Work<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

/// What a member of the running transaction works with.
pub(super) struct Tx<'a> {
    transaction: Transaction<'a>,
    memory: &'a mut Memory,
}

/// What the thread remembers between transactions. Only it writes, so it is always true; undoing a
/// transaction clears it.
#[derive(Default)]
struct Memory {
    listeners: HashMap<CompanyId, Arc<Listeners>>,
    companies: HashSet<CompanyId>,
    /// Changes to `counts` in the running transaction.
    counts: HashMap<LaneKey, [i64; 3]>,
    /// The last sequence number given in each lane, of those used lately.
    sequences: HashMap<LaneKey, u64>,
}

struct Loop {
    connection: Connection,
    memory: Memory,
    checkpointer: Checkpointer,
    /// Pages in the write-ahead log after the last commit.
    log_pages: Arc<AtomicU64>,
    lost: watch::Sender<Option<String>>,
    metrics: Metrics,
    done: Announcer,
    _lock: Lock,
}

/// Tells those who wait how their transaction ended, on the runtime: to wake its tasks from outside
/// costs more than to wake one that wakes the others.
struct Announcer(UnboundedSender<Ended>);

/// The members of a transaction that has ended.
type Ended = (Vec<Box<dyn Job>>, Result<(), StoreError>);

impl Announcer {
    /// Starts its task on the present runtime. It ends with the writer.
    fn start() -> Self {
        let (sender, mut ended) = unbounded_channel::<Ended>();
        tokio::spawn(async move {
            let told = Told::default();
            while let Some((batch, end)) = ended.recv().await {
                if let Err(error) = &end {
                    told.tell(error);
                }
                batch.into_iter().for_each(|job| job.done(end.clone()));
            }
        });
        Announcer(sender)
    }

    fn announce(&self, batch: Vec<Box<dyn Job>>, end: Result<(), StoreError>) {
        // An error means that the runtime has ended, and everyone who waited with it.
        let _ = self.0.send((batch, end));
    }
}

impl Writer {
    pub(super) fn start(
        mut connection: Connection,
        path: &Path,
        (lock, lost, metrics): (Lock, watch::Sender<Option<String>>, Metrics),
    ) -> Result<Writer, StoreError> {
        let log_pages = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&log_pages);
        connection.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let checkpointer = Checkpointer::start(path)?;
        let memory = Memory::default();
        let done = Announcer::start();
        let mut state =
            Loop { connection, memory, checkpointer, log_pages, lost, metrics, done, _lock: lock };
        let (jobs, waiting) = mpsc::channel();
        let named = std::thread::Builder::new().name("fanfare-writer".into());
        let thread = named.spawn(move || state.run(&waiting));
        let thread = thread.map_err(|error| StoreError::Away(error.to_string()))?;
        Ok(Writer { jobs, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in the next transaction and returns once it is on disk.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(work, Message::Job).await
    }

    /// Runs `work`, which is much, in a transaction of its own and returns once it is on disk.
    /// Whoever comes with little meanwhile waits for one such transaction at most.
    pub(super) async fn run_large<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(work, Message::Large).await
    }

    /// Runs `work` in a transaction of its own once nothing else waits. A crash may undo it: it is
    /// on disk with the next transaction that is not a chore.
    pub(super) async fn run_chore<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(work, Message::Chore).await
    }

    async fn submit<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
        message: fn(Box<dyn Job>) -> Message,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Away("the store is closed".into());
        let (reply, result) = oneshot::channel();
        let job = Box::new(Work { work, value: None, reply });
        self.jobs.send(message(job)).map_err(|_| closed())?;
        result.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Ends the thread once everything that waits is on disk.
    pub(super) fn close(&self) {
        // An error means that the thread has ended already.
        let _ = self.jobs.send(Message::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes ended by a panic");
        }
    }
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.work)(tx)?);
        Ok(())
    }

    fn done(self: Box<Self>, end: Result<(), StoreError>) {
        let Work { value, reply, .. } = *self;
        let never_ran = || StoreError::Broken("a write did not run".into());
        // An error means that whoever asked has gone away.
        let _ = reply.send(end.and_then(|()| value.ok_or_else(never_ran)));
    }
}

/// What is not done together with others.
#[derive(Default)]
struct Later {
    large: VecDeque<Box<dyn Job>>,
    chores: VecDeque<Box<dyn Job>>,
}

/// What waits, up to a batch.
#[derive(Default)]
struct Gathered {
    batch: Vec<Box<dyn Job>>,
    close: bool,
}

impl Gathered {
    /// Takes what waits. Blocks while there is nothing to do at all.
    fn from(waiting: &mpsc::Receiver<Message>, later: &mut Later) -> Self {
        let mut gathered = Gathered::default();
        if later.large.is_empty() && later.chores.is_empty() {
            gathered.add(waiting.recv().unwrap_or(Message::Close), later);
        }
        while !gathered.close && gathered.batch.len() < BATCH {
            let Ok(message) = waiting.try_recv() else { break };
            gathered.add(message, later);
        }
        gathered
    }

    fn add(&mut self, message: Message, later: &mut Later) {
        match message {
            Message::Job(job) => self.batch.push(job),
            Message::Large(large) => later.large.push_back(large),
            Message::Chore(chore) => later.chores.push_back(chore),
            Message::Close => self.close = true,
        }
    }
}

impl Loop {
    fn run(&mut self, waiting: &mpsc::Receiver<Message>) {
        let mut later = Later::default();
        loop {
            let gathered = Gathered::from(waiting, &mut later);
            let idle = gathered.batch.is_empty() && later.large.is_empty();
            if !gathered.batch.is_empty() {
                self.commit(gathered.batch);
            }
            if let Some(large) = later.large.pop_front() {
                self.commit(vec![large]);
            }
            if idle && let Some(chore) = later.chores.pop_front() {
                self.do_chore(chore);
            }
            if gathered.close {
                later.large.into_iter().for_each(|large| self.commit(vec![large]));
                // Whoever waits for a chore hears that the store is closed.
                checkpoint::copy(&self.connection);
                return;
            }
            self.keep_log_short();
        }
    }

    /// Commits without waiting for the disk.
    fn do_chore(&mut self, chore: Box<dyn Job>) {
        let relaxed = self.connection.pragma_update(None, "synchronous", "normal");
        self.commit(vec![chore]);
        let strict = self.connection.pragma_update(None, "synchronous", "full");
        if let Err(error) = relaxed.and(strict) {
            self.lost.send_replace(Some(format!("the disk is not waited for: {error}")));
        }
    }

    /// Commits a batch, or, when a member of it fails, each member by itself.
    fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) {
        if let Some(reason) = self.lost.borrow().clone() {
            self.done.announce(batch, Err(StoreError::Untrusted(reason)));
            return;
        }
        match self.try_commit(&mut batch) {
            Ok(()) => self.done.announce(batch, Ok(())),
            Err(StoreError::Untrusted(reason)) => {
                self.lost.send_replace(Some(reason));
                self.commit(batch);
            }
            Err(error) if batch.len() == 1 => self.done.announce(batch, Err(error)),
            Err(_) => batch.into_iter().for_each(|job| self.commit(vec![job])),
        }
    }

    fn try_commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let result = self.write(batch);
        if result.is_err() {
            self.memory = Memory::default();
        }
        Ok(result?)
    }

    fn write(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut tx = Tx { transaction: begun?, memory: &mut self.memory };
        for job in batch {
            job.run(&mut tx)?;
        }
        tx.flush_counts()?;
        let stopwatch = Stopwatch::start();
        tx.transaction.commit()?;
        self.metrics.fsync.observe(stopwatch.elapsed().as_secs_f64());
        Ok(())
    }

    fn keep_log_short(&mut self) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        self.checkpointer.keep_short(&self.connection, pages);
    }
}

impl Tx<'_> {
    /// Notes that a delivery of this lane came into a state.
    pub(super) fn count_in(&mut self, lane: LaneKey, state: DeliveryState) {
        self.memory.counts.entry(lane).or_default()[state as usize] += 1;
    }

    /// Notes that a delivery of this lane left a state.
    pub(super) fn count_out(&mut self, lane: LaneKey, state: DeliveryState) {
        self.memory.counts.entry(lane).or_default()[state as usize] -= 1;
    }

    /// The enabled endpoints of a company, read by `read` when they are not at hand.
    pub(super) fn listeners(
        &mut self,
        company: CompanyId,
        read: impl FnOnce(&Connection) -> rusqlite::Result<Listeners>,
    ) -> rusqlite::Result<Arc<Listeners>> {
        if let Some(listeners) = self.memory.listeners.get(&company) {
            return Ok(Arc::clone(listeners));
        }
        if self.memory.listeners.len() >= COMPANIES {
            self.memory.listeners.clear();
        }
        let listeners = Arc::new(read(&self.transaction)?);
        self.memory.listeners.insert(company, Arc::clone(&listeners));
        Ok(listeners)
    }

    /// Forgets who listens, after an endpoint of the company was changed.
    pub(super) fn forget_listeners(&mut self, company: CompanyId) {
        self.memory.listeners.remove(&company);
    }

    /// Is it the first time since the start that this company is named?
    pub(super) fn is_new_name(&mut self, company: CompanyId) -> bool {
        if self.memory.companies.len() >= COMPANIES {
            self.memory.companies.clear();
        }
        self.memory.companies.insert(company)
    }

    /// The next sequence number of a lane.
    pub(super) fn next_sequence(&mut self, lane: LaneKey) -> rusqlite::Result<u64> {
        if let Some(last) = self.memory.sequences.get_mut(&lane) {
            *last += 1;
            return Ok(*last);
        }
        let (company, endpoint) = (lane.company.uuid(), lane.endpoint.uuid());
        let mut kept = self.transaction.prepare_cached(SEQUENCE)?;
        let last: Option<u64> = kept.query_row([company, endpoint], |row| row.get(0)).optional()?;
        let next = last.unwrap_or(0) + 1;
        self.memory.sequences.insert(lane, next);
        Ok(next)
    }

    fn flush_counts(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.transaction.prepare_cached(COUNT)?;
        for (lane, [waiting, concluded, failed]) in self.memory.counts.drain() {
            let (company, endpoint) = (lane.company.uuid(), lane.endpoint.uuid());
            let sequence = self.memory.sequences.get(&lane).copied().unwrap_or(0);
            statement.execute(params![company, endpoint, waiting, concluded, failed, sequence])?;
        }
        if self.memory.sequences.len() > SEQUENCES {
            self.memory.sequences.clear();
        }
        Ok(())
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}
