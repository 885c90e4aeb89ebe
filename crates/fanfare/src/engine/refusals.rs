//! What the operator hears of deliveries that the guard refuses.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Endpoint, Timestamp};
use crate::send::Refusal;

/// How many refusals are logged as warnings within a minute. Whoever can register endpoints can
/// cause as many as they like; a log that they could fill would be a weapon.
const TOLD_MAX: u32 = 30;
const MINUTE: Duration = Duration::from_mins(1);

/// One line for each refusal, while there are not too many of them.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    began: Timestamp,
    refusals: u32,
}

/// How a refusal is told.
#[derive(Debug, PartialEq, Eq)]
enum Tell {
    Aloud,
    /// The first one too many.
    AloudAndLast,
    Quietly,
}

impl Refusals {
    /// Names the rule, the endpoint and what would allow it; never an address, nor the URL.
    pub(super) fn tell(&self, refusal: Refusal, endpoint: &Endpoint, now: Timestamp) {
        let (rule, remedy) = (refusal.rule(), refusal.remedy().unwrap_or("nothing allows it"));
        let (company, endpoint) = (endpoint.company, endpoint.id);
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner).count(now);
        if tell == Tell::Quietly {
            tracing::debug!(rule, %company, endpoint.id = %endpoint, "a delivery was refused; {remedy}");
            return;
        }
        tracing::warn!(rule, %company, endpoint.id = %endpoint, "a delivery was refused; {remedy}");
        if tell == Tell::AloudAndLast {
            tracing::warn!("more refusals within this minute are logged at level debug");
        }
    }
}

impl Minute {
    fn count(&mut self, now: Timestamp) -> Tell {
        // Also when the clock was set back.
        if now < self.began || now.since(self.began) >= MINUTE {
            *self = Minute { began: now, refusals: 0 };
        }
        self.refusals = self.refusals.saturating_add(1);
        match self.refusals {
            ..TOLD_MAX => Tell::Aloud,
            TOLD_MAX => Tell::AloudAndLast,
            _ => Tell::Quietly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_aloud_in_a_minute_and_the_last_says_so() {
        let mut minute = Minute::default();
        for start in [1_000_000, 1_060_000] {
            let told: Vec<Tell> = (0..100).map(|n| minute.count(Timestamp(start + n))).collect();
            assert!(told[..29].iter().all(|tell| *tell == Tell::Aloud));
            assert_eq!(told[29], Tell::AloudAndLast);
            assert!(told[30..].iter().all(|tell| *tell == Tell::Quietly));
        }
        assert_eq!(minute.count(Timestamp(5)), Tell::Aloud, "the clock was set back");
    }
}
