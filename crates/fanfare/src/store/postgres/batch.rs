//! Many callers, one commit: whatever waits when the last commit is done goes into the next. Callers
//! are answered once the disk has it. Only behind a large batch do the next ones wait for that too, so
//! that they are many again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::store::postgres::Database;
use crate::store::postgres::doubt::Doubt;
use crate::store::{Result, StoreError};

/// How many jobs share a transaction at most.
const JOBS_MAX: usize = 500;
/// Up to so many jobs make a small batch.
const FEW_JOBS: usize = 8;
/// How long those behind a large one wait at most for more to come: a disk may be slow.
const GATHERING_MAX: Duration = Duration::from_millis(3);
/// How many bytes of payload they bring at most, one job aside.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many jobs wait in the line before their callers wait for a place in it.
const LINE_MAX: usize = 4 * JOBS_MAX;

/// How often a batch is tried again when other nodes were at the same rows.
const TRIES_MAX: u32 = 5;

/// Something that can be done together with others of its kind.
pub(super) trait Job: Send + Sync + Sized + 'static {
    /// What comes of it.
    type Answer: Send + 'static;

    /// Its size in bytes, roughly.
    fn bytes(&self) -> usize;

    /// Does all of them in one transaction, all or none, whose commit need not wait for the disk. The
    /// answers are in the order of the jobs.
    fn together(
        database: &Database,
        jobs: &[Self],
    ) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;

    /// What nobody holds if this was done and is never answered.
    fn in_doubt(_answer: &Self::Answer) -> Option<Doubt> {
        None
    }
}

/// Where jobs wait for the next transaction.
pub(super) struct Line<J: Job> {
    jobs: mpsc::Sender<Waiting<J>>,
}

struct Waiting<J: Job> {
    job: J,
    answer: Caller<J>,
}

type Caller<J> = oneshot::Sender<Result<<J as Job>::Answer>>;
/// What is to be answered to whom.
type Answers<J> = Vec<(Caller<J>, Result<<J as Job>::Answer>)>;

impl<J: Job> Line<J> {
    /// Starts the worker. It ends when `closing` is cancelled and the line is empty, or when the
    /// line is dropped.
    pub(super) fn start(
        database: &Arc<Database>,
        closing: &CancellationToken,
        workers: &TaskTracker,
    ) -> Self {
        let (jobs, line) = mpsc::channel(LINE_MAX);
        let work = work((Arc::clone(database), workers.clone()), line, closing.clone());
        workers.spawn(work);
        Line { jobs }
    }

    /// A line that nobody works on.
    pub(super) fn closed() -> Self {
        Line { jobs: mpsc::channel(1).0 }
    }

    /// Has a job done with the next batch.
    pub(super) async fn submit(&self, job: J) -> Result<J::Answer> {
        let (answer, answered) = oneshot::channel();
        let closed = |_| StoreError::Away("the store is closed".to_owned());
        self.jobs.send(Waiting { job, answer }).await.map_err(closed)?;
        // Without an answer, whether it happened is unknown.
        let lost = |_| StoreError::Away("the store closed before it answered".to_owned());
        answered.await.map_err(lost)?
    }
}

async fn work<J: Job>(
    (database, workers): (Arc<Database>, TaskTracker),
    mut line: mpsc::Receiver<Waiting<J>>,
    closing: CancellationToken,
) {
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled(), if !line.is_closed() => line.close(),
            taken = line.recv_many(&mut waiting, JOBS_MAX) => {
                if taken == 0 {
                    return;
                }
                while !waiting.is_empty() {
                    let count = slice(&waiting);
                    let some: Vec<Waiting<J>> = waiting.drain(..count).collect();
                    let answers = do_together(&database, some).await;
                    let kept = workers.spawn(answer::<J>(Arc::clone(&database), answers));
                    if count > FEW_JOBS {
                        let gathered = gather(&mut line, &mut waiting, kept);
                        let _ = timeout(GATHERING_MAX, gathered).await;
                    }
                }
            }
        }
    }
}

/// Behind a large batch, waits until the disk has it or enough have come for the next one: who has
/// much to do does it in large batches.
async fn gather<J: Job>(
    line: &mut mpsc::Receiver<Waiting<J>>,
    waiting: &mut Vec<Waiting<J>>,
    mut kept: JoinHandle<()>,
) {
    while waiting.len() < JOBS_MAX {
        let room = JOBS_MAX - waiting.len();
        tokio::select! {
            _ = &mut kept => return,
            taken = line.recv_many(waiting, room) => if taken == 0 { return },
        }
    }
}

/// How many of the first jobs go into one transaction.
fn slice<J: Job>(waiting: &[Waiting<J>]) -> usize {
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|waiting| {
        bytes += waiting.job.bytes();
        bytes <= BYTES_MAX
    });
    fits.count().max(1)
}

/// Answers the callers as soon as the disk has what was done.
async fn answer<J: Job>(database: Arc<Database>, answers: Answers<J>) {
    let any_done = answers.iter().any(|(_, answer)| answer.is_ok());
    let kept = if any_done { database.durable().await } else { Ok(()) };
    for (caller, answer) in answers {
        let answer = match (answer, &kept) {
            (Ok(done), Err(error)) => {
                database.doubts.add(J::in_doubt(&done));
                Err(error.clone())
            }
            (answer, _) => answer,
        };
        // A caller may have gone away; what was to be done is done.
        drop(caller.send(answer));
    }
}

async fn do_together<J: Job>(database: &Database, waiting: Vec<Waiting<J>>) -> Answers<J> {
    let (jobs, callers): (Vec<J>, Vec<_>) =
        waiting.into_iter().map(|waiting| (waiting.job, waiting.answer)).unzip();
    let mut together = J::together(database, &jobs).await;
    for _ in 0..TRIES_MAX {
        if !matches!(together, Err(StoreError::Raced(_))) {
            break;
        }
        together = J::together(database, &jobs).await;
    }
    let answers: Vec<Result<J::Answer>> = match together {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if jobs.len() == 1 => vec![Err(error)],
        // Nobody is the culprit, and nobody shall wait for the same refusal once for each.
        Err(error) if is_everybodys(&error) => jobs.iter().map(|_| Err(error.clone())).collect(),
        // Only the culprit shall fail.
        Err(_) => do_alone(database, &jobs).await,
    };
    callers.into_iter().zip(answers).collect()
}

/// Is it no single job's fault?
fn is_everybodys(error: &StoreError) -> bool {
    error.passes() && !matches!(error, StoreError::Raced(_))
}

async fn do_alone<J: Job>(database: &Database, jobs: &[J]) -> Vec<Result<J::Answer>> {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut refused: Option<StoreError> = None;
    for job in jobs.chunks(1) {
        let answer = match &refused {
            Some(error) => Err(error.clone()),
            None => J::together(database, job).await.and_then(only),
        };
        if let Err(error) = &answer
            && is_everybodys(error)
        {
            refused = Some(error.clone());
        }
        answers.push(answer);
    }
    answers
}

fn only<A>(mut answers: Vec<A>) -> Result<A> {
    answers.pop().ok_or_else(|| StoreError::Broken("a job without an answer".to_owned()))
}
