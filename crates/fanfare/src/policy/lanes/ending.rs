//! How an attempt begins and ends, and what that means for its endpoint.

use crate::model::{Claim, Health, LaneKey, Timestamp};

/// A delivery whose turn it is.
#[derive(Debug)]
pub struct Turn {
    /// What to send.
    pub claim: Claim,
    /// To be given back when the attempt has ended.
    pub pass: Pass,
}

/// A place among the attempts in flight.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// The lane's name.
    pub key: LaneKey,
    /// Whether the attempt is a probe.
    pub probe: bool,
    /// When it began.
    pub began_at: Timestamp,
    /// Its number among all attempts.
    pub(super) number: u64,
    /// Which of the lane's lives it belongs to.
    pub(super) life: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a success.
    Well,
    /// With a failure.
    Badly,
    /// With word that the endpoint is gone: nothing is sent there until
    /// [`Lanes::resume`](super::Lanes::resume).
    Gone,
    /// By no fault of the endpoint, and nobody knows how.
    Lost,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// How.
    pub ending: Ending,
    /// When.
    pub at: Timestamp,
    /// Until when the endpoint asks to be left alone.
    pub hold: Option<Timestamp>,
}

/// What follows for an endpoint from the end of an attempt.
#[derive(Debug, Default)]
pub struct Consequence {
    /// How it does from here on; `None` when that did not change.
    pub health: Option<Health>,
    /// What people should hear of.
    pub change: Option<Change>,
    /// Claims to give back, because nothing more is sent for a while.
    pub back: Vec<Claim>,
}

/// A turn in an endpoint's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its breaker opened.
    Opened {
        /// Since when every attempt has failed.
        since: Timestamp,
    },
    /// Its breaker closed: it is back.
    Closed {
        /// Since when every attempt had failed.
        since: Timestamp,
    },
    /// It has failed for so long that it is to be disabled.
    GivenUp {
        /// Since when every attempt has failed.
        since: Timestamp,
    },
}

/// What a lane does and waits for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneView {
    /// Since when every attempt has failed, while the breaker is open.
    pub failing_since: Option<Timestamp>,
    /// Whether a probe is on its way.
    pub probing: bool,
    /// When the next probe may begin, while the breaker is open and none is on its way.
    pub next_probe: Option<Timestamp>,
    /// Until when the endpoint asked to be left alone.
    pub held_until: Option<Timestamp>,
    /// When its pace lets the next request pass, if that is yet to come.
    pub paced_until: Option<Timestamp>,
    /// Requests a second at most, for now: its own pace, or the slow start after an outage.
    pub rate: Option<u32>,
    /// Attempts in flight.
    pub in_flight: u32,
    /// How many may be.
    pub in_flight_max: u32,
    /// Deliveries in memory that wait for their turn.
    pub window: usize,
    /// How many of those go before the one that was asked about; `None` when it is not there.
    pub place: Option<usize>,
}
