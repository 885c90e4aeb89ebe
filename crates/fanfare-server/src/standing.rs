//! Where a delivery stands, for people.

use fanfare::model::{Delivery, DeliveryState, Endpoint, Timestamp};

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It will be sent at this time, or is on its way right now (`None`).
    Waiting(Option<Timestamp>),
    /// It waits for an earlier one; in words.
    Behind(String),
    /// It waits for its endpoint to be enabled; the reason.
    Held(String),
    /// A 2xx was received.
    Concluded,
    /// It was given up; the reason.
    Failed(String),
}

/// Where `delivery` stands; `endpoint` is where it goes, unless that was deleted.
pub(crate) fn of(delivery: &Delivery, endpoint: Option<&Endpoint>) -> Standing {
    match delivery.state {
        DeliveryState::Concluded => Standing::Concluded,
        DeliveryState::Failed => {
            Standing::Failed(delivery.reason.clone().unwrap_or_else(|| "given up".to_owned()))
        }
        DeliveryState::Waiting => match endpoint.map(|endpoint| endpoint.disabled.as_ref()) {
            None => Standing::Held("the endpoint was deleted".to_owned()),
            Some(Some(disabled)) => {
                Standing::Held(format!("the endpoint is disabled: {}", disabled.reason))
            }
            Some(None) if delivery.is_parked() => Standing::Behind(behind(delivery)),
            Some(None) => Standing::Waiting((!delivery.claimed).then_some(delivery.due_at)),
        },
    }
}

fn behind(delivery: &Delivery) -> String {
    let key = delivery.order_key.as_deref().unwrap_or_default();
    if key.is_empty() {
        return "waits for the delivery before it: the endpoint's order is strict".to_owned();
    }
    "waits for an earlier delivery with the same ordering key".to_owned()
}
