//! Where a delivery stands, as both interfaces show it.

use fanfare::Engine;
use fanfare::model::{Delivery, DeliveryState, Endpoint, Timestamp};
use fanfare::policy::standing::WaitsFor;

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It will be sent at this time, or is on its way right now (`None`).
    Waiting(Option<Timestamp>),
    /// It is kept from its turn.
    Held {
        /// Why.
        reason: String,
        /// Until when, where that is known.
        until: Option<Timestamp>,
    },
    /// A 2xx was received.
    Concluded,
    /// It was given up; the reason.
    Failed(String),
}

/// Where `delivery` stands; `endpoint` is where it goes, unless that was deleted.
pub(crate) fn of(engine: &Engine, delivery: &Delivery, endpoint: Option<&Endpoint>) -> Standing {
    match delivery.state {
        DeliveryState::Concluded => Standing::Concluded,
        DeliveryState::Failed => {
            Standing::Failed(delivery.reason.clone().unwrap_or_else(|| "given up".to_owned()))
        }
        DeliveryState::Waiting => {
            let now = engine.standing(delivery, endpoint);
            if now.waits_for.is_some_and(WaitsFor::is_held) {
                return Standing::Held { reason: now.says, until: now.next_at };
            }
            Standing::Waiting((!delivery.claimed).then_some(delivery.due_at))
        }
    }
}
