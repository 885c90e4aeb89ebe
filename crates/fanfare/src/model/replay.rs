//! Sending again what was sent before, many at once.

use crate::model::{CompanyId, DeliveryId, EndpointId, ReplayId, Subscription, Timestamp};

/// What is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These deliveries, in whatever state they are.
    Deliveries(Vec<DeliveryId>),
    /// Deliveries that failed and were not repeated yet; not those that were superseded or
    /// cancelled on purpose.
    Failed {
        /// Ended at this time or later.
        since: Timestamp,
        /// To this endpoint alone.
        endpoint: Option<EndpointId>,
        /// Of events of these types alone.
        types: Option<Subscription>,
    },
    /// Events, for every enabled endpoint that listens to them today, also where it did not when
    /// they were accepted.
    Events {
        /// Of these types.
        types: Subscription,
        /// Accepted at this time or later.
        from: Timestamp,
        /// Accepted before this time; `None` for everything until the replay was asked for.
        to: Option<Timestamp>,
        /// For this endpoint alone.
        endpoint: Option<EndpointId>,
    },
}

impl Selection {
    /// The endpoint that it is confined to.
    pub fn endpoint(&self) -> Option<EndpointId> {
        match self {
            Selection::Deliveries(_) => None,
            Selection::Failed { endpoint, .. } | Selection::Events { endpoint, .. } => *endpoint,
        }
    }
}

/// A job that sends a selection again: a new delivery for each, with the same `webhook-id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its name.
    pub id: ReplayId,
    /// Whose it is.
    pub company: CompanyId,
    /// What to send again.
    pub selection: Selection,
    /// The pace: how many fall due in a second. `None`: all at once, at the endpoint's own pace.
    pub per_second: Option<u32>,
    /// How many of the selection were looked at so far.
    pub found: u64,
    /// How many of them became deliveries; the others could not be sent again.
    pub made: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether it was ended before it was through.
    pub cancelled: bool,
}
