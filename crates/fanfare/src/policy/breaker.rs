//! When an endpoint that only fails is left alone, and when it is tried again.

use std::time::Duration;

use crate::model::Timestamp;

/// So many attempts must have failed in a row …
pub const FAILURES: u32 = 10;
/// … over so long a time, before an endpoint is left alone: neither a burst of requests in one bad
/// second nor a few of them over a quiet night is an outage.
pub const OVER: Duration = Duration::from_secs(60);
/// How long failures of an endpoint that nothing waits for are remembered: one that is tried less
/// than ten times a day needs no rest.
const MEMORY: Duration = Duration::from_hours(24);
/// From the end of one probe to the start of the next; the last one repeats. With the time that a
/// probe may take, two of them are less than a minute apart.
const WAITS: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
];

/// What the attempts of late say about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// It is sent to.
    Closed {
        /// Attempts that failed in a row.
        failures: u32,
        /// When the first of them did.
        first: Timestamp,
    },
    /// It is left alone but for one probe at a time.
    Open {
        /// Since when every attempt has failed.
        since: Timestamp,
        /// When the next probe may begin; means nothing while one is on its way.
        next_probe: Timestamp,
        /// Whether one is on its way.
        probing: bool,
        /// Probes that have failed.
        failed: u32,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::Closed { failures: 0, first: Timestamp::default() }
    }
}

impl Breaker {
    /// The breaker of an endpoint that has been failing `since` then, as an earlier process knew:
    /// the first probe may begin at once.
    pub fn restored(since: Timestamp) -> Self {
        let next_probe = Timestamp::default();
        Breaker::Open { since, next_probe, probing: false, failed: 0 }
    }

    /// Is the endpoint left alone?
    pub fn is_open(self) -> bool {
        matches!(self, Breaker::Open { .. })
    }

    /// Until when there is something to remember, if nothing happens any more.
    pub fn forgotten_at(self) -> Timestamp {
        match self {
            Breaker::Closed { failures: 0, .. } => Timestamp(i64::MIN),
            Breaker::Closed { first, .. } => first.plus(MEMORY),
            Breaker::Open { .. } => Timestamp(i64::MAX),
        }
    }

    /// Is a probe on its way?
    pub fn is_probing(self) -> bool {
        matches!(self, Breaker::Open { probing: true, .. })
    }

    /// Since when every attempt has failed, while it is open.
    pub fn failing_since(self) -> Option<Timestamp> {
        match self {
            Breaker::Closed { .. } => None,
            Breaker::Open { since, .. } => Some(since),
        }
    }

    /// When it lets the next attempt pass: long ago while it is closed, nobody knows while a probe
    /// is on its way.
    pub fn opens_at(self) -> Timestamp {
        match self {
            Breaker::Closed { .. } => Timestamp(i64::MIN),
            Breaker::Open { probing: true, .. } => Timestamp(i64::MAX),
            Breaker::Open { next_probe, .. } => next_probe,
        }
    }

    /// An attempt begins. Returns whether it is a probe.
    pub fn begin(&mut self) -> bool {
        if let Breaker::Open { probing, .. } = self {
            *probing = true;
        }
        self.is_open()
    }

    /// An attempt has succeeded. Returns since when all had failed, if it was open until now.
    pub fn succeeded(&mut self) -> Option<Timestamp> {
        let since = self.failing_since();
        *self = Breaker::default();
        since
    }

    /// An attempt has failed. Returns whether that opened it.
    pub fn failed(&mut self, was_probe: bool, now: Timestamp) -> bool {
        let Breaker::Closed { failures, first } = self else {
            if was_probe {
                self.probe_ended(now);
            }
            return false;
        };
        if *failures == 0 {
            *first = now;
        }
        *failures = failures.saturating_add(1);
        let (failures, since) = (*failures, *first);
        if failures < FAILURES || now.since(since) < OVER {
            return false;
        }
        *self = Breaker::Open { since, next_probe: now.plus(WAITS[0]), probing: false, failed: 0 };
        true
    }

    /// A probe has ended without a success, or without anybody knowing how.
    pub fn probe_ended(&mut self, now: Timestamp) {
        if let Breaker::Open { next_probe, probing, failed, .. } = self {
            *failed = failed.saturating_add(1);
            let wait = WAITS.get(*failed as usize).or(WAITS.last()).copied().unwrap_or_default();
            *next_probe = now.plus(wait);
            *probing = false;
        }
    }

    /// Has every attempt failed for so long? A process that has been away for days must have
    /// tried for itself before it says so.
    pub fn has_failed_for(self, long: Duration, now: Timestamp) -> bool {
        match self {
            Breaker::Closed { .. } => false,
            Breaker::Open { since, failed, .. } => failed >= FAILURES && now.since(since) >= long,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn at(secs: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(secs))
    }

    /// A breaker that has seen attempts fail at these seconds, and whether the last one opened it.
    fn after(failures: &[u64]) -> (Breaker, bool) {
        let mut breaker = Breaker::default();
        let mut opened = false;
        for secs in failures {
            assert!(!opened, "it was open before the last one");
            opened = breaker.failed(false, at(*secs));
        }
        (breaker, opened)
    }

    #[test]
    fn it_opens_at_the_tenth_failure_in_a_row_over_a_minute_and_not_before() {
        for (failures, opens) in [
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8][..], false),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 60], true),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 59], false),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 59, 60], true),
            (&[0, 900, 9000], false),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], false),
        ] {
            let (breaker, opened) = after(failures);
            assert_eq!((opened, breaker.is_open()), (opens, opens), "{failures:?}");
            assert_eq!(breaker.failing_since(), opens.then_some(NOW));
        }
    }

    #[test]
    fn a_success_in_between_begins_the_count_anew() {
        let (mut breaker, _) = after(&[0, 1, 2, 3, 4, 5, 6, 7, 100]);
        assert_eq!(breaker.succeeded(), None);
        assert_eq!(breaker, Breaker::default());
        let opened: Vec<bool> = (1..=10).map(|n| breaker.failed(false, at(100 + n * 7))).collect();
        assert_eq!(opened.iter().position(|opened| *opened), Some(9));
    }

    #[test]
    fn probes_come_one_at_a_time_and_rarer_up_to_half_a_minute_apart() {
        let (mut breaker, _) = after(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 60]);
        let (mut now, mut waits) = (at(60), Vec::new());
        for _ in 0..6 {
            waits.push(breaker.opens_at().since(now).as_secs());
            now = breaker.opens_at();
            assert!(breaker.begin());
            assert_eq!(breaker.opens_at(), Timestamp(i64::MAX), "one at a time");
            assert!(!breaker.failed(false, now), "an attempt from before changes nothing");
            assert!(breaker.is_probing());
            now = now.plus(Duration::from_secs(15));
            assert!(!breaker.failed(true, now));
        }
        assert_eq!(waits, [5, 10, 20, 30, 30, 30]);
        assert_eq!(breaker.succeeded(), Some(NOW));
        assert_eq!(breaker, Breaker::default());
        assert!(!breaker.begin());
    }

    #[test]
    fn what_an_earlier_process_knew_is_probed_at_once() {
        let breaker = Breaker::restored(NOW);
        assert!(breaker.opens_at() <= NOW);
        assert_eq!(breaker.failing_since(), Some(NOW));
    }

    #[test]
    fn days_of_failures_are_days_and_ten_probes_of_this_process() {
        let day = Duration::from_hours(24);
        let mut breaker = Breaker::restored(NOW);
        for _ in 0..FAILURES {
            assert!(!breaker.has_failed_for(day, NOW.plus(day)));
            breaker.begin();
            breaker.failed(true, NOW);
        }
        assert!(!breaker.has_failed_for(day, Timestamp(NOW.plus(day).0 - 1)));
        assert!(breaker.has_failed_for(day, NOW.plus(day)));
        assert!(!Breaker::default().has_failed_for(Duration::ZERO, NOW));
    }
}
