//! Where a delivery stands: what it waits for, when it goes next, and how that is said.

use crate::model::{Delivery, DeliveryId, DeliveryState, Endpoint, Timestamp};
use crate::policy::lanes::LaneView;

/// What a delivery waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// The answer to its request.
    InFlight,
    /// Its endpoint to be enabled.
    Disabled,
    /// An earlier delivery under the same key to be over.
    Order,
    /// Its endpoint to recover from nothing but failures.
    Breaker,
    /// The end of the time for which its endpoint asked to be left alone (`Retry-After`).
    Hold,
    /// Its own time.
    DueTime,
    /// Its endpoint's pace to allow another request.
    Pace,
    /// Its turn.
    Turn,
}

/// Where a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it waits for; `None` when it is over.
    pub waits_for: Option<WaitsFor>,
    /// When it goes next; `None` when that is not known, or it is over.
    pub next_at: Option<Timestamp>,
    /// The same in a sentence for people.
    pub says: String,
}

/// What is known beside the delivery itself.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Where it goes; `None` when that was deleted.
    pub endpoint: Option<&'a Endpoint>,
    /// Since when its request is on the wire.
    pub sent_at: Option<Timestamp>,
    /// Its endpoint's lane.
    pub lane: LaneView,
    /// The delivery that it waits for where order matters, as far as that was asked for.
    pub behind: Option<DeliveryId>,
    /// The time.
    pub now: Timestamp,
}

impl WaitsFor {
    /// Is the delivery held: kept from its turn by something other than time and others' turns?
    pub fn is_held(self) -> bool {
        matches!(self, Self::Disabled | Self::Order | Self::Breaker | Self::Hold)
    }
}

/// Where `delivery` stands. What keeps it longest is what it waits for.
pub fn judge(delivery: &Delivery, facts: &Facts<'_>) -> Standing {
    match delivery.state {
        DeliveryState::Waiting => waiting(delivery, facts),
        DeliveryState::Concluded => over(format!("was delivered at {}", delivery.updated_at)),
        DeliveryState::Failed => over(match (delivery.superseded_by, &delivery.reason) {
            (Some(newer), _) => format!("was superseded by the newer delivery {newer}"),
            (None, Some(reason)) => format!("was given up: {reason}"),
            (None, None) => "was given up".to_owned(),
        }),
    }
}

fn over(says: String) -> Standing {
    Standing { waits_for: None, next_at: None, says }
}

fn waiting(delivery: &Delivery, facts: &Facts<'_>) -> Standing {
    let wait = |waits_for, next_at, says| Standing { waits_for: Some(waits_for), next_at, says };
    if let Some(at) = facts.sent_at {
        return wait(WaitsFor::InFlight, None, format!("is being sent since {at}"));
    }
    let Some(endpoint) = facts.endpoint else {
        return wait(WaitsFor::Disabled, None, "the endpoint was deleted".to_owned());
    };
    if let Some(disabled) = &endpoint.disabled {
        let says = format!("the endpoint is disabled: {}", disabled.reason);
        return wait(WaitsFor::Disabled, None, says);
    }
    if delivery.is_parked() {
        return wait(WaitsFor::Order, None, behind(facts.behind));
    }
    if let Some(since) = facts.lane.failing_since.or(endpoint.health.failing_since) {
        let next = match facts.lane.next_probe {
            Some(at) => format!("the next probe may go at {at}"),
            None => "a probe is on its way".to_owned(),
        };
        let says = format!(
            "the endpoint has failed since {since}; until it recovers, one delivery at a time is \
             tried: {next}"
        );
        return wait(WaitsFor::Breaker, facts.lane.next_probe, says);
    }
    let due_at = if delivery.claimed { facts.now } else { delivery.due_at };
    let held_until = endpoint.health.held_until.filter(|until| *until > due_at.max(facts.now));
    if let Some(until) = held_until {
        let says = format!("the endpoint asked to be left alone until {until}");
        return wait(WaitsFor::Hold, Some(until), says);
    }
    if due_at > facts.now {
        return wait(WaitsFor::DueTime, Some(due_at), due(delivery));
    }
    if let Some(at) = facts.lane.paced_until {
        let rate = facts.lane.rate.unwrap_or_default();
        let says = format!("waits for its endpoint's pace of {rate} a second, until {at} at least");
        return wait(WaitsFor::Pace, Some(at), says);
    }
    wait(WaitsFor::Turn, None, turn(delivery, &facts.lane))
}

fn behind(earlier: Option<DeliveryId>) -> String {
    match earlier {
        Some(earlier) => format!("comes after the delivery {earlier}, which is not over yet"),
        None => "comes after an earlier delivery under the same key".to_owned(),
    }
}

fn due(delivery: &Delivery) -> String {
    match delivery.attempts {
        0 => format!("is to be sent at {}", delivery.due_at),
        1 => format!("is tried again at {}, after one attempt", delivery.due_at),
        made => format!("is tried again at {}, after {made} attempts", delivery.due_at),
    }
}

fn turn(delivery: &Delivery, lane: &LaneView) -> String {
    let LaneView { in_flight, in_flight_max: cap, place, .. } = lane;
    let sending = format!("{in_flight} of at most {cap} requests to its endpoint are on their way");
    match place {
        Some(0) => format!("is the next of its endpoint; {sending}"),
        Some(before) => format!("waits for its turn behind {before} of its endpoint; {sending}"),
        None if delivery.claimed => {
            "is about to be sent, or its result is on the way to the disk".to_owned()
        }
        None => "is due, and waits in the store for its turn".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use uuid::Uuid;

    use super::*;
    use crate::model::{
        CompanyId, Disabled, EndpointId, EventId, Flow, Health, PARKED_MS, Sealed, Shape,
    };

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const LATER: Timestamp = Timestamp(NOW.0 + 60_000);
    static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| Endpoint {
        id: EndpointId::from_uuid(Uuid::from_u128(1)),
        company: CompanyId::from_uuid(Uuid::from_u128(2)),
        url: "https://shop.example/hooks".parse().unwrap(),
        secret: Sealed(Vec::new()),
        previous: None,
        headers: None,
        tls: None,
        events: Vec::new(),
        filter: None,
        shape: Shape::default(),
        max_retries: 5,
        flow: Flow::default(),
        operational: false,
        disabled: None,
        health: Health::default(),
        created_at: NOW,
        updated_at: NOW,
    });

    fn delivery() -> Delivery {
        Delivery {
            id: DeliveryId::new(NOW),
            company: ENDPOINT.company,
            endpoint: ENDPOINT.id,
            event: EventId::new(NOW),
            shape: Shape::default(),
            state: DeliveryState::Waiting,
            due_at: NOW,
            claimed: false,
            attempts: 0,
            probes: 0,
            sequence: 1,
            order_key: None,
            fence: 0,
            reason: None,
            replay_of: None,
            replay: None,
            superseded_by: None,
            updated_at: NOW,
        }
    }

    fn facts(endpoint: &Endpoint) -> Facts<'_> {
        let lane = LaneView::default();
        Facts { endpoint: Some(endpoint), sent_at: None, lane, behind: None, now: NOW }
    }

    fn waits(delivery: &Delivery, endpoint: &Endpoint) -> (WaitsFor, Option<Timestamp>) {
        let standing = judge(delivery, &facts(endpoint));
        (standing.waits_for.unwrap(), standing.next_at)
    }

    fn healthy(failing_since: Option<Timestamp>, held_until: Option<Timestamp>) -> Endpoint {
        Endpoint { health: Health { failing_since, held_until }, ..ENDPOINT.clone() }
    }

    #[test]
    fn what_is_over_waits_for_nothing() {
        for state in [DeliveryState::Concluded, DeliveryState::Failed] {
            let over = judge(&Delivery { state, ..delivery() }, &facts(&ENDPOINT));
            assert_eq!((over.waits_for, over.next_at), (None, None));
        }
        let newer = Some(DeliveryId::new(NOW));
        let superseded =
            Delivery { state: DeliveryState::Failed, superseded_by: newer, ..delivery() };
        assert!(judge(&superseded, &facts(&ENDPOINT)).says.contains("superseded"));
    }

    #[test]
    fn what_keeps_it_longest_is_what_it_waits_for() {
        let due = Delivery { due_at: LATER, ..delivery() };
        let parked = Delivery { due_at: Timestamp(PARKED_MS + NOW.0), ..delivery() };
        let failing = healthy(Some(NOW), Some(LATER));
        let off = Disabled { at: NOW, reason: "off".into() };
        let disabled = Endpoint { disabled: Some(off), ..failing.clone() };
        assert_eq!(waits(&parked, &disabled), (WaitsFor::Disabled, None));
        assert_eq!(waits(&parked, &failing), (WaitsFor::Order, None));
        assert_eq!(waits(&due, &failing), (WaitsFor::Breaker, None));
        let held = healthy(None, Some(LATER));
        assert_eq!(waits(&delivery(), &held), (WaitsFor::Hold, Some(LATER)));
        assert_eq!(waits(&due, &held), (WaitsFor::DueTime, Some(LATER)), "the hold ends first");
        assert_eq!(waits(&due, &ENDPOINT), (WaitsFor::DueTime, Some(LATER)));
        assert_eq!(waits(&delivery(), &healthy(None, Some(NOW))), (WaitsFor::Turn, None));
    }

    #[test]
    fn a_lease_is_no_due_time_and_a_request_on_the_wire_comes_first() {
        let claimed = Delivery { claimed: true, due_at: LATER, ..delivery() };
        assert_eq!(waits(&claimed, &ENDPOINT), (WaitsFor::Turn, None));
        let off = Disabled { at: NOW, reason: "off".into() };
        let disabled = Endpoint { disabled: Some(off), ..ENDPOINT.clone() };
        let sent = judge(&claimed, &Facts { sent_at: Some(NOW), ..facts(&disabled) });
        assert_eq!(sent.waits_for, Some(WaitsFor::InFlight));
        let gone = judge(&claimed, &Facts { endpoint: None, ..facts(&ENDPOINT) });
        assert_eq!(gone.says, "the endpoint was deleted");
    }
}
