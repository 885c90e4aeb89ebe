//! Cancelling what still waits. What is in flight goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::finish::finish;
use crate::engine::{Engine, World, dispatch};
use crate::error::{Error, Result};
use crate::model::{
    Act, Action, Claim, CompanyId, Delivery, DeliveryId, DeliveryState, EndpointId, Entry, EventId,
    History, LaneKey,
};
use crate::store::{self, Unsent, Word};

/// Ends a delivery that another node was asked to cancel, if it waits for its turn here.
pub(super) async fn cancelled_by_peer(
    world: &Arc<World>,
    lane: LaneKey,
    delivery: DeliveryId,
) -> store::Result<()> {
    let claims = world.lanes().withdraw(lane.endpoint, &[delivery]);
    let doomed: Vec<_> = claims.iter().map(|claim| (delivery, Some(claim.fence))).collect();
    let at = world.clock.now();
    let noted = Act::of_system(at).entry(lane.company, Action::CancelDelivery, delivery.uuid());
    let ending = Unsent { reason: REASON.to_owned(), at, noted: Some(noted) };
    let ended = world.store.end(lane.company, &doomed, &ending).await;
    if let Ok(ended) = &ended {
        world.look_into_all(&ended.woken);
    } else {
        dispatch::give_back(world, claims, Duration::ZERO);
    }
    dispatch::start_senders(world);
    ended.map(drop)
}

/// Why a cancelled delivery has failed.
const REASON: &str = "cancelled";

/// What came of cancelling an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cancelled {
    /// How many of its deliveries were waiting and have ended.
    pub cancelled: usize,
    /// How many are being sent: they go on, and are retried if they fail.
    pub in_flight: usize,
}

impl Engine {
    /// Ends those deliveries of an event that still wait.
    pub async fn cancel_event(&self, company: CompanyId, event: EventId) -> Result<Cancelled> {
        let cancel = Arc::clone(&self.world).cancel_event(company, event, self.act());
        finish(&self.world, cancel).await
    }

    /// Ends a delivery that still waits, and returns it as it is now: still waiting when it is being
    /// sent.
    ///
    /// # Errors
    /// [`Error::Final`] when it has ended already.
    pub async fn cancel_delivery(&self, company: CompanyId, id: DeliveryId) -> Result<History> {
        let found = self.delivery(company, id).await?;
        refuse_final(&found.delivery)?;
        let cancel = Arc::clone(&self.world).cancel_delivery(found, self.act());
        finish(&self.world, cancel).await?;
        self.delivery(company, id).await
    }
}

fn refuse_final(delivery: &Delivery) -> Result<()> {
    let how = match delivery.state {
        DeliveryState::Waiting => return Ok(()),
        DeliveryState::Concluded => "was concluded",
        DeliveryState::Failed => "has failed",
    };
    Err(Error::Final { id: delivery.id.to_string(), how })
}

impl World {
    async fn cancel_event(
        self: Arc<Self>,
        company: CompanyId,
        id: EventId,
        act: Act,
    ) -> Result<Cancelled> {
        let waiting = self.store.waiting_of(company, id).await?;
        let waiting = waiting.ok_or_else(|| Error::not_found("event", id))?;
        let entry = act.entry(company, Action::CancelEvent, id.uuid());
        let cancelled = self.cancel(entry, &waiting).await?;
        Ok(Cancelled { cancelled, in_flight: waiting.len() - cancelled })
    }

    async fn cancel_delivery(self: Arc<Self>, found: History, act: Act) -> Result<usize> {
        let delivery = found.delivery;
        let entry = act.entry(delivery.company, Action::CancelDelivery, delivery.id.uuid());
        self.cancel(entry, &[delivery]).await
    }

    /// Ends what of this still waits, in the store or in the window of a lane. Returns how many.
    async fn cancel(self: &Arc<Self>, entry: Entry, waiting: &[Delivery]) -> Result<usize> {
        let mut claims = self.withdraw(waiting);
        let fences: HashMap<DeliveryId, u64> =
            claims.iter().map(|claim| (claim.delivery, claim.fence)).collect();
        let doomed: Vec<(DeliveryId, Option<u64>)> = waiting
            .iter()
            .map(|delivery| (delivery.id, fences.get(&delivery.id).copied()))
            .collect();
        let company = entry.company;
        let ending = Unsent { reason: REASON.to_owned(), at: entry.at, noted: Some(entry) };
        let ended = self.store.end(company, &doomed, &ending).await;
        if let Ok(ended) = &ended {
            self.look_into_all(&ended.woken);
            claims.retain(|claim| !ended.deliveries.contains(&claim.delivery));
        }
        dispatch::give_back(self, claims, Duration::ZERO);
        dispatch::start_senders(self);
        let ended = ended?;
        self.cancel_elsewhere(waiting, &ended.deliveries);
        Ok(ended.deliveries.len())
    }

    /// What other nodes have claimed, they end, if it is not on the wire.
    fn cancel_elsewhere(self: &Arc<Self>, waiting: &[Delivery], ended: &[DeliveryId]) {
        let left = waiting.iter().filter(|delivery| {
            !ended.contains(&delivery.id) && !self.tenure.owns(delivery.endpoint.uuid())
        });
        self.tell(left.map(|left| (left.lane(), Word::Cancel(left.id))).collect());
    }

    fn withdraw(&self, waiting: &[Delivery]) -> Vec<Claim> {
        let mut lanes: HashMap<EndpointId, Vec<DeliveryId>> = HashMap::new();
        for delivery in waiting {
            lanes.entry(delivery.endpoint).or_default().push(delivery.id);
        }
        let mut claims = Vec::new();
        for (endpoint, ids) in lanes {
            claims.extend(self.lanes().withdraw(endpoint, &ids));
        }
        claims
    }
}
