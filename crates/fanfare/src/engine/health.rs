//! What befalls an endpoint, and who is told: its company's operational endpoints, the log, the
//! metrics.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::{Engine, World, dispatch};
use crate::model::{
    Claim, Disabled, Endpoint, EndpointId, Event, EventId, LaneKey, Notice, Record, Timestamp,
    Verdict,
};
use crate::policy::lanes::{Change, LaneView};

impl Engine {
    /// What the lane of an endpoint does and waits for now.
    pub fn lane(&self, endpoint: EndpointId) -> LaneView {
        self.world.lanes().view(endpoint, None, self.world.clock.now())
    }
}

/// Adds to a record what follows for its endpoint, and what is to be told of it.
pub(super) fn draw(record: &mut Record, change: Option<Change>) {
    let (at, operational) = (record.at, record.claim.endpoint.operational);
    record.disabled = match (change, &record.verdict) {
        (_, Verdict::Gone) => Some(Disabled::gone(at)),
        (Some(Change::GivenUp { since }), _) => Some(Disabled::failing(since, at)),
        _ => None,
    };
    // Word of an operational endpoint's troubles would go to that endpoint.
    if !operational {
        record.notices = notices(record, change);
    }
}

fn notices(record: &Record, change: Option<Change>) -> Vec<Event> {
    let mut notices = Vec::new();
    match change {
        Some(Change::Opened { since }) => {
            notices.push(notice(record, Notice::Failing, &[failing(since)]));
        }
        Some(Change::Closed { since }) => {
            notices.push(notice(record, Notice::Recovered, &[failing(since)]));
        }
        Some(Change::GivenUp { .. }) | None => {}
    }
    if let Some(disabled) = &record.disabled {
        notices.push(notice(record, Notice::Disabled, &[("reason", json!(disabled.reason))]));
    }
    if let Verdict::Failed(reason) = &record.verdict {
        notices.push(notice(record, Notice::Exhausted, &exhausted(record, reason)));
    }
    notices
}

type Field = (&'static str, Value);

fn failing(since: Timestamp) -> Field {
    ("failingSince", json!(since.to_string()))
}

fn exhausted(record: &Record, reason: &str) -> [Field; 5] {
    let Claim { delivery, event, .. } = &record.claim;
    [
        ("deliveryId", json!(delivery.to_string())),
        ("eventId", json!(event.id.to_string())),
        ("eventType", json!(event.event_type.as_str())),
        ("attempts", json!(record.attempt.number)),
        ("reason", json!(reason)),
    ]
}

fn notice(record: &Record, notice: Notice, fields: &[Field]) -> Event {
    let endpoint = &record.claim.endpoint;
    let mut payload = json!({
        "endpointId": endpoint.id.to_string(),
        "url": endpoint.url.as_str(),
        "at": record.at.to_string(),
    });
    for (name, value) in fields {
        payload[*name] = value.clone();
    }
    let names = (endpoint.company, EventId::new(record.at));
    let payload = payload.to_string().into();
    let event = Event::new(names, notice.event_type(), payload, record.at);
    Event { operational: true, ..event }
}

impl World {
    /// Draws the consequences of a record that is on disk: the log, the metrics, the lanes.
    pub(super) async fn heard(self: &Arc<Self>, record: &Record, change: Option<Change>) {
        let (id, metrics) = (record.claim.endpoint.id, &self.metrics);
        match change {
            Some(Change::Opened { since }) => {
                metrics.failing.inc();
                tracing::warn!(
                    endpoint.id = %id, %since, "every attempt fails; the endpoint is only probed"
                );
            }
            Some(Change::Closed { since }) => {
                metrics.recovered.inc();
                tracing::info!(endpoint.id = %id, %since, "an endpoint that was failing is back");
            }
            Some(Change::GivenUp { .. }) | None => {}
        }
        if let Some(disabled) = &record.disabled {
            metrics.disabled.inc();
            tracing::warn!(endpoint.id = %id, "an endpoint is disabled: {}", disabled.reason);
            self.tell_lanes_of_end(&record.claim.endpoint, disabled).await;
        }
    }

    async fn tell_lanes_of_end(self: &Arc<Self>, endpoint: &Endpoint, disabled: &Disabled) {
        // It may have been changed, or enabled again, since the claim was made.
        match self.store.endpoint(endpoint.company, endpoint.id).await {
            Ok(Some(present)) => self.tell_lanes(present),
            Ok(None) => {} // Whoever deleted it has told the lanes.
            Err(_) => {
                let updated_at = disabled.at;
                let disabled = Some(disabled.clone());
                self.tell_lanes(Endpoint { disabled, updated_at, ..endpoint.clone() });
            }
        }
    }

    /// Tells the lanes what an endpoint has been changed to.
    pub(super) fn tell_lanes(self: &Arc<Self>, endpoint: Endpoint) {
        let now = self.clock.now();
        let held = self.decide(|lanes| lanes.changed(endpoint, now));
        dispatch::give_back(self, held, Duration::ZERO);
    }

    /// Notes that a lane may have something due in the store now.
    pub(super) fn look_into(self: &Arc<Self>, key: LaneKey) {
        self.look_into_all(&[key]);
    }

    /// The same for several.
    pub(super) fn look_into_all(self: &Arc<Self>, keys: &[LaneKey]) {
        if keys.is_empty() {
            return;
        }
        let now = self.clock.now();
        self.fall_due(keys.iter().map(|key| (*key, now)));
    }
}
