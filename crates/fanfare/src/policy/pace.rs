//! How fast an endpoint is sent to.

use std::time::Duration;

use crate::model::Timestamp;

/// The lowest and the highest pace that may be asked for, in requests a second.
pub const RATES: std::ops::RangeInclusive<u32> = 1..=10_000;

/// How much of the time that has passed unused may be made up for, in microseconds. The clock has
/// milliseconds, and timers wake a little late: without it a high pace would never be reached.
const CREDIT_US: i64 = 2_000;

/// Spaces requests evenly (the generic cell rate algorithm).
///
/// Requests come one interval apart on average, and no two of them closer than an interval less the
/// credit. The interval is longer by that credit's share than the rate says, so that no second,
/// wherever it begins, sees more requests than the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// When the next request may begin, in microseconds since the epoch.
    next_us: i64,
}

impl Pace {
    /// Nothing before that.
    pub fn not_before(moment: Timestamp) -> Self {
        Pace { next_us: moment.0.saturating_mul(1000) }
    }

    /// When the next request may begin.
    pub fn opens_at(self) -> Timestamp {
        Timestamp(self.next_us.saturating_add(999).div_euclid(1000))
    }

    /// When it is as if no request had ever been made.
    pub fn forgotten_at(self) -> Timestamp {
        if self.next_us == 0 {
            return Timestamp(i64::MIN);
        }
        Timestamp(self.next_us.saturating_add(CREDIT_US + 999).div_euclid(1000))
    }

    /// A request begins, at a pace of `rate` a second.
    pub fn take(&mut self, rate: u32, now: Timestamp) {
        let interval_us = (1_000_000 + CREDIT_US + i64::from(rate) - 1) / i64::from(rate.max(1));
        let earliest_us = now.0.saturating_mul(1000).saturating_sub(CREDIT_US);
        self.next_us = self.next_us.max(earliest_us).saturating_add(interval_us);
    }
}

/// The pace of an endpoint that comes back from an outage, in requests a second.
const START: u32 = 5;
/// How often that doubles before the endpoint is as any other.
const DOUBLINGS: u32 = 10;
/// How long each pace is kept.
const STEP: Duration = Duration::from_secs(1);

/// The slow start of an endpoint that comes back: its backlog must not be its next outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    rate: u32,
    /// When a success doubles it.
    next_step: Timestamp,
}

impl Ramp {
    /// The start.
    pub fn at(now: Timestamp) -> Self {
        Ramp { rate: START, next_step: now.plus(STEP) }
    }

    /// Requests a second, for now.
    pub fn rate(self) -> u32 {
        self.rate
    }

    /// The ramp after a success; `None` once it has come to its end or to `pace`.
    #[must_use]
    pub fn after_success(self, pace: Option<u32>, now: Timestamp) -> Option<Ramp> {
        if now < self.next_step {
            return Some(self);
        }
        let rate = self.rate * 2;
        let end = pace.unwrap_or(u32::MAX).min(START << DOUBLINGS);
        (rate < end).then(|| Ramp { rate, next_step: now.plus(STEP) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    /// Sends as fast as it may for so long, looking every `step`; returns when each was sent.
    fn run(rate: u32, time: Duration, step: u64) -> Vec<i64> {
        let (mut pace, mut sent, mut now) = (Pace::default(), Vec::new(), NOW);
        while now < NOW.plus(time) {
            while pace.opens_at() <= now {
                pace.take(rate, now);
                sent.push(now.0);
            }
            now = now.plus(Duration::from_millis(step));
        }
        sent
    }

    /// The most that were sent in any second.
    fn most_in_a_second(sent: &[i64]) -> usize {
        let mut first = 0;
        let within = sent.iter().enumerate().map(|(n, at)| {
            while sent[first] + 1000 <= *at {
                first += 1;
            }
            n + 1 - first
        });
        within.max().unwrap_or(0)
    }

    #[test]
    fn every_pace_is_reached_and_no_second_sees_more() {
        for rate in [1, 2, 3, 7, 10, 60, 90, 100, 333, 600, 999, 1000, 3000, 9999, 10_000] {
            let sent = run(rate, Duration::from_secs(10), 1);
            let most = most_in_a_second(&sent);
            assert!(most <= rate as usize, "{most} in a second at a pace of {rate}");
            assert!(sent.len() as f64 >= f64::from(rate) * 9.9, "{} at {rate}", sent.len());
        }
    }

    #[test]
    fn little_goes_out_at_once() {
        for (rate, at_once) in [(1, 1), (100, 1), (500, 1), (1000, 2), (10_000, 20)] {
            let sent = run(rate, Duration::from_millis(1), 1);
            assert!(sent.len() <= at_once + 1, "{} at once at {rate}", sent.len());
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut pace = Pace::default();
        assert!(pace.forgotten_at() <= NOW);
        pace.take(10, NOW);
        assert!(pace.opens_at() > NOW);
        let mut later = pace;
        let forgotten = pace.forgotten_at();
        later.take(10, forgotten);
        let mut fresh = Pace::default();
        fresh.take(10, forgotten);
        assert_eq!(later, fresh);
    }

    #[test]
    fn a_ramp_doubles_with_each_second_that_saw_a_success() {
        let (mut ramp, mut now, mut rates) = (Some(Ramp::at(NOW)), NOW, Vec::new());
        while let Some(present) = ramp {
            rates.push(present.rate());
            assert_eq!(present.after_success(None, now), Some(present), "not within the second");
            now = now.plus(STEP);
            ramp = present.after_success(None, now);
        }
        assert_eq!(rates, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]);
        let late = NOW.plus(STEP);
        assert_eq!(Ramp::at(NOW).after_success(Some(10), late), None, "no further than the pace");
        assert_eq!(Ramp::at(NOW).after_success(Some(11), late).map(Ramp::rate), Some(10));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However late it is looked at.
        #[test]
        fn no_second_sees_more_than_the_pace(
            rate in RATES,
            looks in proptest::collection::vec(0..50_u64, 1..300),
        ) {
            let (mut pace, mut sent, mut now) = (Pace::default(), Vec::new(), NOW);
            for look in looks {
                now = now.plus(Duration::from_millis(look));
                while pace.opens_at() <= now {
                    pace.take(rate, now);
                    sent.push(now.0);
                }
            }
            prop_assert!(most_in_a_second(&sent) <= rate as usize);
        }
    }
}
