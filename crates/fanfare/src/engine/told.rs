//! What nodes tell each other: that something falls due in a lane, or that its endpoint is another
//! one now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::really;
use crate::engine::World;
use crate::engine::cancel::cancelled_by_peer;
use crate::model::{DeliveryId, LaneKey, Timestamp};
use crate::store::{self, Word};

/// When something is due of which only the store knows when.
pub(super) const SOME_TIME: Timestamp = Timestamp(0);
/// How often is looked for what was told: the bell is only a hint.
const POLL: Duration = Duration::from_secs(1);

/// What was told and is still to be done: it is told once.
#[derive(Default)]
struct ToDo {
    /// Endpoints that were changed, and whether they begin anew by that.
    changed: HashMap<LaneKey, bool>,
    cancelled: Vec<(LaneKey, DeliveryId)>,
}

/// Does what other nodes tell, until the engine stops.
pub(super) async fn hear(world: Arc<World>) {
    let mut to_do = ToDo::default();
    loop {
        tokio::select! {
            () = world.tenure.told.notified() => {}
            () = really(POLL) => {}
            () = world.stop.cancelled() => return,
        }
        if let Err(error) = to_do.hear(&world).await {
            tracing::debug!(%error, "what other nodes tell waits for the store");
        }
    }
}

impl ToDo {
    async fn hear(&mut self, world: &Arc<World>) -> store::Result<()> {
        let words = world.store.told().await?;
        let now = world.clock.now();
        world.decide(|lanes| {
            for (lane, word) in words {
                match word {
                    Word::Due(at) if at <= SOME_TIME => lanes.look_into(lane, now),
                    Word::Due(at) => lanes.stored(lane, at),
                    Word::Changed { anew } => *self.changed.entry(lane).or_default() |= anew,
                    Word::Cancel(delivery) => self.cancelled.push((lane, delivery)),
                    Word::Replay => world.replays.notify_one(),
                }
            }
        });
        self.go_on(world).await
    }

    async fn go_on(&mut self, world: &Arc<World>) -> store::Result<()> {
        while let Some(&(lane, delivery)) = self.cancelled.last() {
            cancelled_by_peer(world, lane, delivery).await?;
            self.cancelled.pop();
        }
        while let Some((lane, anew)) = self.changed.iter().next().map(|(lane, anew)| (*lane, *anew))
        {
            if let Some(found) = world.store.registered(lane.company, lane.endpoint).await? {
                match found.deleted_at {
                    Some(at) => world.deleted(found.endpoint, at),
                    None => world.changed(&found.endpoint, anew),
                }
            }
            self.changed.remove(&lane);
        }
        Ok(())
    }
}

impl World {
    /// Notes that something falls due in lanes, this node's or another's, and not before.
    pub(super) fn fall_due(self: &Arc<Self>, due: impl Iterator<Item = (LaneKey, Timestamp)>) {
        let (own, others): (Vec<_>, Vec<_>) =
            due.partition(|(lane, _)| self.tenure.owns(lane.endpoint.uuid()));
        self.decide(|lanes| own.into_iter().for_each(|(lane, at)| lanes.stored(lane, at)));
        self.tell(others.into_iter().map(|(lane, at)| (lane, Word::Due(at))).collect());
    }

    /// Tells the owners of lanes, in the background.
    pub(super) fn tell(self: &Arc<Self>, words: Vec<(LaneKey, Word)>) {
        if words.is_empty() || !self.delivers() {
            return;
        }
        let world = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(error) = world.store.tell(&words).await {
                tracing::debug!(%error, "other nodes cannot be told; they look for themselves");
            }
        });
    }
}
