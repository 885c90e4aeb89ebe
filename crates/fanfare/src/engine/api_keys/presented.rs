//! Keys that were looked up lately, found or not, so that a busy caller costs no lookup for each
//! request, and a stubborn one with a wrong key none either.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{ApiKey, ApiKeyId, KeyHash, Timestamp};

/// Keys of one generation; two are kept.
const GENERATION_MAX: usize = 1024;
/// How long what was found is believed.
const FRESH: Duration = Duration::from_secs(5);
/// How many lookups of what was never a key go on at once.
const TURNS: usize = 2;

/// What became of lookups.
pub(in crate::engine) struct Presented {
    kept: RwLock<Generations>,
    turns: Semaphore,
}

/// When the young are many they become the old, and the old are forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<KeyHash, Arc<Known>>,
    old: HashMap<KeyHash, Arc<Known>>,
    /// Grows with each key that is forgotten: what was looked up before that may be out of date.
    round: u64,
}

/// What came of a lookup.
pub(super) struct Known {
    /// The key; `None` when there is none.
    pub(super) key: Option<Arc<ApiKey>>,
    looked_at: Timestamp,
    /// The last use that was noted.
    noted_at: AtomicI64,
}

impl Known {
    pub(super) fn found(key: Option<ApiKey>, looked_at: Timestamp) -> Self {
        let noted_at = key.as_ref().and_then(|key| key.used_at).unwrap_or_default();
        Known { key: key.map(Arc::new), looked_at, noted_at: AtomicI64::new(noted_at.0) }
    }

    pub(super) fn nothing() -> Self {
        Known::found(None, Timestamp::default())
    }

    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.looked_at <= now && now < self.looked_at.plus(FRESH)
    }

    /// Is it time to note a use? Says so to one caller.
    pub(super) fn is_to_be_noted(&self, now: Timestamp, every: Duration) -> bool {
        let noted_at = self.noted_at.load(Ordering::Relaxed);
        if now < Timestamp(noted_at).plus(every) {
            return false;
        }
        let swapped = (Ordering::Relaxed, Ordering::Relaxed);
        self.noted_at.compare_exchange(noted_at, now.0, swapped.0, swapped.1).is_ok()
    }
}

impl Default for Presented {
    fn default() -> Self {
        Presented { kept: RwLock::default(), turns: Semaphore::new(TURNS) }
    }
}

impl Presented {
    /// What is known of a key, if it was looked up lately. It may not be fresh.
    pub(super) fn get(&self, hash: &KeyHash) -> Option<Arc<Known>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.young.get(hash).or_else(|| kept.old.get(hash)).cloned()
    }

    /// Waits for a turn to look up what was never a key.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// To be asked for before a lookup and given to [`Presented::keep`] behind it.
    pub(super) fn round(&self) -> u64 {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).round
    }

    /// Keeps what was found, unless a key was revoked meanwhile: it may have been this one.
    pub(super) fn keep(&self, hash: KeyHash, known: Known, round: u64) -> Arc<Known> {
        let known = Arc::new(known);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.round == round {
            if kept.young.len() >= GENERATION_MAX {
                kept.old = std::mem::take(&mut kept.young);
            }
            kept.young.insert(hash, Arc::clone(&known));
        }
        known
    }

    /// Forgets a key that was revoked.
    pub(super) fn forget(&self, id: ApiKeyId) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.round += 1;
        let other = |known: &Arc<Known>| known.key.as_ref().is_none_or(|key| key.id != id);
        kept.young.retain(|_, known| other(known));
        kept.old.retain(|_, known| other(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_made_up_keys_fills_no_memory() {
        let presented = Presented::default();
        for number in 0..5_000_u16 {
            let mut hash = [0; 32];
            hash[..2].copy_from_slice(&number.to_be_bytes());
            presented.keep(KeyHash(hash), Known::nothing(), presented.round());
            let kept = presented.kept.read().unwrap();
            assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION_MAX);
        }
    }

    #[test]
    fn what_was_looked_up_before_a_revocation_is_not_kept_after_it() {
        let presented = Presented::default();
        let round = presented.round();
        presented.forget(ApiKeyId::new(Timestamp(0)));
        presented.keep(KeyHash([7; 32]), Known::nothing(), round);
        assert!(presented.get(&KeyHash([7; 32])).is_none());
    }
}
