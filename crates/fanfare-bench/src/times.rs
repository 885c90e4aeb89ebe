//! How long events took, and percentiles of it.

use std::time::{Duration, Instant};

use crate::paced::Emitted;
use crate::receiver::Receiver;

/// Times to the head of the request at the receiver, in order.
pub(crate) struct Times {
    /// From the moment the caller has its 202.
    accepted: Vec<Duration>,
    /// From the moment it began to ask.
    asked: Vec<Duration>,
}

impl Times {
    /// An event that has not arrived took until now, at least.
    pub(crate) fn of<'a>(
        emitted: impl IntoIterator<Item = &'a Emitted>,
        receiver: &Receiver,
    ) -> Self {
        let now = Instant::now();
        let (mut accepted, mut asked) = (Vec::new(), Vec::new());
        for event in emitted {
            let arrived = receiver.arrival(event.number).unwrap_or(now);
            accepted.push(arrived.saturating_duration_since(event.accepted));
            asked.push(arrived.saturating_duration_since(event.asked));
        }
        accepted.sort_unstable();
        asked.sort_unstable();
        Times { accepted, asked }
    }

    /// From the 202, in milliseconds.
    pub(crate) fn accepted(&self, percent: usize) -> f64 {
        ms(percentile(&self.accepted, percent))
    }

    /// From the beginning, in milliseconds.
    pub(crate) fn asked(&self, percent: usize) -> f64 {
        ms(percentile(&self.asked, percent))
    }
}

/// From the beginning of the emit to its 202, in milliseconds.
pub(crate) fn accept_times(emitted: &[Emitted], percent: usize) -> f64 {
    let mut times: Vec<_> = emitted.iter().map(|event| event.accepted - event.asked).collect();
    times.sort_unstable();
    ms(percentile(&times, percent))
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
