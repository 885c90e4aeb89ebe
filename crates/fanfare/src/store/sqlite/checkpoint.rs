//! Moves commits from the write-ahead log into the file, mostly off the thread that writes.
//!
//! SQLite checkpoints on the committing thread, and every caller waits for it. Here a thread of its
//! own copies in the background whatever is in the log. Under load it never quite catches up, and
//! only a log that is copied to its end can be begun anew; so the writer copies the short rest
//! itself, between two commits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;
use crate::store::sqlite::connect;

/// Pages in the log from which on the background copies: 16 MiB.
const COPY_FROM: u64 = 4096;
/// Pages that the log may grow by before the background copies again.
const COPY_AGAIN: u64 = 4096;

const COPY: &str = "pragma wal_checkpoint(passive)";

pub(super) struct Checkpointer {
    go: mpsc::SyncSender<()>,
    copied: Arc<AtomicBool>,
    /// Pages in the log from which on the background is told to copy.
    next: u64,
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = connect(path, OpenFlags::default())?;
        let (go, told) = mpsc::sync_channel::<()>(1);
        let copied = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&copied);
        let named = std::thread::Builder::new().name("fanfare-checkpoint".into());
        let spawned = named.spawn(move || {
            // Ends when the writer does.
            while told.recv().is_ok() {
                copy(&connection);
                done.store(true, Ordering::Release);
            }
        });
        spawned.map_err(|error| StoreError::Away(error.to_string()))?;
        Ok(Checkpointer { go, copied, next: COPY_FROM })
    }

    /// Called by the writer after a commit, with the pages in the log.
    pub(super) fn keep_short(&mut self, writer: &Connection, pages: u64) {
        if self.copied.swap(false, Ordering::Acquire) {
            // What was written meanwhile is short; once it is copied too, the next commit begins
            // the log anew.
            copy(writer);
            self.next = if pages > 4 * COPY_FROM { pages + COPY_AGAIN } else { COPY_FROM };
        } else if pages >= self.next && self.go.try_send(()).is_ok() {
            self.next = u64::MAX;
        } else if pages < COPY_FROM && self.next != u64::MAX {
            self.next = COPY_FROM;
        }
    }
}

/// Copies what is in the log into the file.
pub(super) fn copy(connection: &Connection) {
    // A reader in the way, or no room, only delays the copy.
    if let Err(error) = connection.query_row(COPY, [], |_| Ok(())) {
        tracing::warn!(%error, "the write-ahead log could not be copied for now");
    }
}
