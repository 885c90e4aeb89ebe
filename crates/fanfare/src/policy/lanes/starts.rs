//! Attempts in flight, by when they began.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{CompanyId, Timestamp};

/// After so long an attempt is a slow one.
const SLOW: Duration = Duration::from_secs(1);

/// Who has begun of late, and how many are slow.
///
/// Most attempts end within milliseconds, so what hangs need not count against those: a place is
/// held for a second, and from then on it is one of the many more that wait cheaply.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// In the order in which they began; the first is number `first`.
    began: VecDeque<Start>,
    first: u64,
    slow: usize,
}

#[derive(Debug)]
struct Start {
    at: Timestamp,
    company: CompanyId,
    ended: bool,
}

impl Starts {
    /// An attempt begins. Returns its number.
    pub(super) fn begin(&mut self, company: CompanyId, at: Timestamp) -> u64 {
        self.began.push_back(Start { at, company, ended: false });
        self.first + (self.began.len() as u64 - 1)
    }

    /// An attempt has ended. Returns whether it was a slow one.
    pub(super) fn end(&mut self, number: u64) -> bool {
        let Some(behind) = number.checked_sub(self.first) else {
            self.slow -= 1;
            return true;
        };
        let at = usize::try_from(behind).unwrap_or(usize::MAX);
        if let Some(start) = self.began.get_mut(at) {
            start.ended = true;
        }
        self.drop_ended();
        false
    }

    /// Whose attempt has become a slow one by now, while fewer than `most` are.
    pub(super) fn next_slow(&mut self, most: usize, now: Timestamp) -> Option<CompanyId> {
        if self.slow >= most || self.began.front()?.at.plus(SLOW) > now {
            return None;
        }
        let start = self.began.pop_front()?;
        self.first += 1;
        self.slow += 1;
        self.drop_ended();
        Some(start.company)
    }

    /// When the next attempt becomes a slow one, while fewer than `most` are.
    pub(super) fn next_slow_at(&self, most: usize) -> Option<Timestamp> {
        let start = self.began.front().filter(|_| self.slow < most)?;
        Some(start.at.plus(SLOW))
    }

    /// How many are slow.
    #[cfg(test)]
    pub(super) fn slow(&self) -> usize {
        self.slow
    }

    /// Is this one that has not ended still no slow one?
    #[cfg(test)]
    pub(super) fn holds_place(&self, number: u64) -> bool {
        number >= self.first
    }

    /// The first is always one that has not ended.
    fn drop_ended(&mut self) {
        while self.began.front().is_some_and(|start| start.ended) {
            self.began.pop_front();
            self.first += 1;
        }
    }
}
