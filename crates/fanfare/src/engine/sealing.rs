//! The keys in use, which may be replaced while the engine runs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use zeroize::Zeroizing;

use crate::engine::rekey::Walk;
use crate::model::{LaneKey, Purpose, Sealed};
use crate::seal::Seal;

/// The seal, and who is storing something that it sealed.
pub(super) struct Sealing {
    present: RwLock<Arc<Seal>>,
    /// Those who may store something sealed: the present ones, until somebody waits for them.
    writing: RwLock<TaskTracker>,
    /// The file of the key that seals, where it may be replaced by a new one.
    pub(super) key_file: Option<PathBuf>,
    /// How far a rotation of the key has come in this process.
    pub(super) rotation: tokio::sync::Mutex<Option<Walk>>,
}

/// Held by whoever stores something sealed: from before it is sealed, or read in order to be stored
/// elsewhere, until it is on disk.
#[must_use]
pub(super) struct Writing(TaskTrackerToken);

impl Sealing {
    pub(super) fn new(seal: Seal, key_file: Option<PathBuf>) -> Self {
        let (present, writing) = (RwLock::new(Arc::new(seal)), RwLock::default());
        Sealing { present, writing, key_file, rotation: tokio::sync::Mutex::default() }
    }

    /// The seal of this moment.
    pub(super) fn present(&self) -> Arc<Seal> {
        Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// See [`Seal::seal`].
    pub(super) fn seal(
        &self,
        lane: LaneKey,
        purpose: Purpose,
        text: &str,
    ) -> Result<Sealed, String> {
        self.present().seal(lane, purpose, text)
    }

    /// See [`Seal::open`].
    pub(super) fn open(
        &self,
        lane: LaneKey,
        purpose: Purpose,
        sealed: &Sealed,
    ) -> Result<Zeroizing<String>, String> {
        self.present().open(lane, purpose, sealed)
    }

    /// To be taken before something is sealed in order to be stored.
    pub(super) fn writing(&self) -> Writing {
        Writing(self.writing.read().unwrap_or_else(PoisonError::into_inner).token())
    }

    /// Seals with another key from here on. What was sealed before still opens.
    pub(super) fn renew(&self, seal: Seal) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(seal);
    }

    /// Waits until whatever was sealed or read before now in order to be stored is on disk.
    pub(super) async fn settle(&self) {
        let earlier = {
            let mut writing = self.writing.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *writing)
        };
        earlier.close();
        earlier.wait().await;
    }
}

impl Writing {
    /// Holds it until a call has ended.
    pub(super) async fn until_after<T>(self, call: impl Future<Output = T>) -> T {
        let ended = call.await;
        drop(self.0);
        ended
    }
}
