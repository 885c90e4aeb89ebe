//! What was committed is on disk: asked once for all who wait at the same moment.
//!
//! A commit that waits for the disk holds its locks meanwhile, and whoever comes next to the same rows
//! waits with it. So the transactions of batches end without that wait, and it is made up for here,
//! by one flush of the log for many of them, before anybody is told. The log is flushed up to its end:
//! whatever was seen before, of other nodes too, is on disk behind it, and on the standbys that the
//! server waits for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::metrics::Stopwatch;
use crate::store::Result;
use crate::store::postgres::Database;

/// The least that makes a commit which is waited for: a few bytes in the log, which nobody reads.
const FLUSH: &str = "select pg_logical_emit_message(true, 'fanfare', '')";

/// Who waits for the disk.
#[derive(Default)]
pub(super) struct Flushes {
    asked: AtomicU64,
    /// Up to whom it was flushed. Held by the one who has it done.
    done: Mutex<u64>,
}

impl Database {
    /// Returns once everything that was committed before the call is on disk.
    ///
    /// # Errors
    /// Whether it is, is unknown then.
    pub(super) async fn durable(&self) -> Result<()> {
        let number = self.flushes.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut done = self.flushes.done.lock().await;
        if *done >= number {
            return Ok(());
        }
        let asked = self.flushes.asked.load(Ordering::Acquire);
        let client = self.writer().await?;
        let flush = client.prepare_cached(FLUSH).await?;
        let clock = Stopwatch::start();
        client.query(&flush, &[]).await?;
        self.metrics.fsync.observe(clock.elapsed().as_secs_f64());
        *done = asked;
        Ok(())
    }
}
