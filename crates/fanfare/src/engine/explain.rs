//! Where is my event? Who heard of it and who did not and why, and where each delivery stands.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::filter::Subject;
use crate::model::{
    Attempt, CompanyId, Delivery, DeliveryId, Endpoint, Event, EventId, Journey, LaneKey,
    Timestamp, Told, WhyNot,
};
use crate::policy::standing::{self, Facts, Standing};

/// Endpoints without a delivery that are shown.
const UNHEARD_SHOWN: u32 = 100;

/// An event and what became of it.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The event.
    pub event: Event,
    /// Endpoints with deliveries of it, in the order of their first.
    pub heard: Vec<Heard>,
    /// Endpoints without one, the newest first; only beside the first deliveries.
    pub unheard: Vec<Unheard>,
    /// How many more there are of those.
    pub unheard_left_out: u64,
    /// The last delivery that is shown, when there are more.
    pub next: Option<DeliveryId>,
}

/// An endpoint that an event has deliveries for.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The endpoint as it is now, or was last.
    pub endpoint: Endpoint,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Its deliveries, the oldest first.
    pub deliveries: Vec<Traced>,
}

/// A delivery, what was tried, and where it stands.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The delivery.
    pub delivery: Delivery,
    /// Its attempts, the first one first.
    pub attempts: Vec<Attempt>,
    /// Where it stands now.
    pub standing: Standing,
}

/// An endpoint that an event has no delivery for.
#[derive(Debug, Clone)]
pub struct Unheard {
    /// The endpoint as it is now.
    pub endpoint: Endpoint,
    /// Why not, for people.
    pub why: String,
}

impl Engine {
    /// Tells where an event is: up to `limit` of its deliveries with ids above `after`, and, beside
    /// the first ones, who did not hear of it.
    pub async fn explain(
        &self,
        company: CompanyId,
        id: EventId,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Explained> {
        let store = &self.world.store;
        let event = store.event(company, id).await?;
        let event = event.ok_or_else(|| Error::not_found("event", id))?;
        let mut journeys = store.deliveries_of(company, id, after, limit.saturating_add(1)).await?;
        let more = journeys.len() > limit as usize;
        journeys.truncate(limit as usize);
        let next = journeys.last().filter(|_| more).map(|journey| journey.delivery.id);
        let (unheard, unheard_left_out) = match after {
            None => self.unheard(&event).await?,
            Some(_) => (Vec::new(), 0),
        };
        let heard = self.heard(journeys).await?;
        Ok(Explained { event, heard, unheard, unheard_left_out, next })
    }

    /// Where a delivery stands now. `endpoint` is where it goes, unless that was deleted.
    pub fn standing(&self, delivery: &Delivery, endpoint: Option<&Endpoint>) -> Standing {
        self.stands(delivery, endpoint, None)
    }

    fn stands(
        &self,
        delivery: &Delivery,
        endpoint: Option<&Endpoint>,
        behind: Option<DeliveryId>,
    ) -> Standing {
        let world = &self.world;
        let sent_at = world.flights.since(delivery.id);
        let now = world.clock.now();
        let lane = world.lanes().view(delivery.endpoint, Some(delivery.id), now);
        standing::judge(delivery, &Facts { endpoint, sent_at, lane, behind, now })
    }

    async fn unheard(&self, event: &Event) -> Result<(Vec<Unheard>, u64)> {
        let page = self.world.store.unheard(event.company, event.id, UNHEARD_SHOWN).await?;
        let left_out = page.total.saturating_sub(page.items.len() as u64);
        let unheard = page.items.into_iter().map(|endpoint| {
            let why = why_unheard(&endpoint, event);
            Unheard { endpoint, why }
        });
        Ok((unheard.collect(), left_out))
    }

    /// Deliveries beside where they go, in the order of each endpoint's first.
    async fn heard(&self, journeys: Vec<Journey>) -> Result<Vec<Heard>> {
        let mut heard: Vec<Heard> = Vec::new();
        for Journey { delivery, attempts } in journeys {
            let LaneKey { company, endpoint } = delivery.lane();
            let known = heard.iter().position(|known| known.endpoint.id == endpoint);
            let at = known.unwrap_or(heard.len());
            if known.is_none() {
                let found = self.world.store.registered(company, endpoint).await?;
                let found = found.ok_or_else(|| Error::not_found("endpoint", endpoint))?;
                let (endpoint, deleted_at) = (found.endpoint, found.deleted_at);
                heard.push(Heard { endpoint, deleted_at, deliveries: Vec::new() });
            }
            let Some(to) = heard.get_mut(at) else { continue };
            let behind = self.behind(&delivery).await?;
            let present = Some(&to.endpoint).filter(|_| to.deleted_at.is_none());
            let standing = self.stands(&delivery, present, behind);
            to.deliveries.push(Traced { delivery, attempts, standing });
        }
        Ok(heard)
    }

    /// The delivery that a parked one waits for.
    async fn behind(&self, delivery: &Delivery) -> Result<Option<DeliveryId>> {
        let Some(order_key) = delivery.order_key.as_deref().filter(|_| delivery.is_parked()) else {
            return Ok(None);
        };
        let first = self.world.store.first_in_order(delivery.lane(), order_key).await?;
        Ok(first.filter(|first| *first != delivery.id))
    }
}

/// Why an endpoint has no delivery of an event, as far as what it is now tells.
fn why_unheard(endpoint: &Endpoint, event: &Event) -> String {
    if endpoint.created_at > event.created_at {
        return "registered after the event".to_owned();
    }
    let (event_type, operational) = (&event.event_type, event.operational);
    let payload = Subject::new(&event.payload);
    match endpoint.why_not(&Told { event_type, payload, operational }) {
        Some(WhyNot::Disabled(_)) | None => {}
        Some(other) => return other.to_string(),
    }
    match &endpoint.disabled {
        Some(disabled) if disabled.at <= event.created_at => {
            format!("disabled since {}: {}", disabled.at, disabled.reason)
        }
        _ => "at the time of the event it was disabled, or listened to something else".to_owned(),
    }
}
