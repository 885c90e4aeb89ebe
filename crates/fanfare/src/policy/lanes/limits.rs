//! How much the lanes may hold and send.

use std::time::Duration;

/// How much at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Attempts in flight altogether, those aside that have become slow ones.
    pub in_flight: usize,
    /// Slow ones altogether: attempts that have not ended within a second.
    pub slow_in_flight: usize,
    /// Attempts in flight for one endpoint that names no number.
    pub lane_in_flight: u32,
    /// The same for an endpoint that is not known yet: one more with each success, so that those
    /// that answer soon have their share, and many that hang at once do not take that of others.
    pub lane_in_flight_at_start: u32,
    /// Claims held in memory for one endpoint.
    pub window: usize,
    /// Payload bytes held in memory by all windows. A lane that holds as much as is left of them
    /// takes nothing more; one that holds nothing may always take something.
    pub window_bytes: usize,
    /// How long a claim holds.
    pub lease: Duration,
    /// The longest that an attempt takes until its result is on disk. A claim whose lease may end
    /// before that is not sent any more: the store hands it out again.
    pub attempt: Duration,
    /// An endpoint of which every attempt has failed for so long is given up.
    pub disable_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            in_flight: 512,
            slow_in_flight: 2048,
            lane_in_flight: 64,
            lane_in_flight_at_start: 2,
            window: 1024,
            window_bytes: 64 << 20,
            lease: Duration::from_mins(10),
            attempt: Duration::from_secs(30),
            disable_after: Duration::from_hours(5 * 24),
        }
    }
}
