//! An endpoint with something to do.

use std::collections::VecDeque;

use crate::model::{Claim, LaneKey, Timestamp};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a success.
    Well,
    /// With a failure.
    Badly,
    /// With word that the endpoint is gone: nothing is sent there until [`Lanes::resume`].
    Gone,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    pub(super) window: VecDeque<Waiting>,
    /// Payload bytes in the window.
    pub(super) bytes: usize,
    pub(super) in_flight: u32,
    pub(super) cap: u32,
    /// When the earliest delivery that is not in the window falls due.
    pub(super) store_due: Option<Timestamp>,
    /// Whether the store is being asked for more.
    pub(super) filling: bool,
    /// Results that the store has refused so far.
    pub(super) refused: u32,
    /// Whether the lane has its place in the turns.
    pub(super) queued: bool,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) since: Timestamp,
    pub(super) claim: Claim,
}

impl Lane {
    pub(super) fn new(key: LaneKey, cap: u32) -> Lane {
        Lane {
            key,
            window: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            cap,
            store_due: None,
            filling: false,
            refused: 0,
            queued: false,
        }
    }

    /// An attempt has ended; never more than `cap_max` may be in flight.
    pub(super) fn ended(&mut self, ending: Ending, cap_max: u32) {
        self.in_flight -= 1;
        self.cap = match ending {
            Ending::Gone => 0,
            _ if self.cap == 0 => 0,
            Ending::Well => (self.cap + 1).min(cap_max),
            Ending::Badly => (self.cap / 2).max(1),
        };
    }

    /// Has it nothing to do, and nothing that it waits for?
    pub(super) fn is_idle(&self) -> bool {
        self.window.is_empty()
            && self.in_flight == 0
            && self.store_due.is_none()
            && self.refused == 0
            && !self.filling
            && !self.queued
            && self.cap > 0
    }
}
