//! What nodes tell each other: that something falls due in a lane, or that its endpoint is another
//! one now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::really;
use crate::engine::World;
use crate::engine::cancel::cancelled_by_peer;
use crate::model::{LaneKey, Timestamp};
use crate::store::{self, Word};

/// How often is looked for what was told: the bell is only a hint.
const POLL: Duration = Duration::from_secs(1);

/// Does what other nodes tell, until the engine stops.
pub(super) async fn hear(world: Arc<World>) {
    loop {
        tokio::select! {
            () = world.tenure.told.notified() => {}
            () = really(POLL) => {}
            () = world.stop.cancelled() => return,
        }
        if let Err(error) = hear_once(&world).await {
            tracing::debug!(%error, "what other nodes tell cannot be heard for now");
        }
    }
}

async fn hear_once(world: &Arc<World>) -> store::Result<()> {
    let words = world.store.told().await?;
    let mut changed: HashMap<LaneKey, bool> = HashMap::new();
    world.decide(|lanes| {
        for (lane, word) in &words {
            if let Word::Due(at) = word {
                lanes.stored(*lane, *at);
            }
        }
    });
    for (lane, word) in words {
        match word {
            Word::Due(_) => {}
            Word::Changed { anew } => *changed.entry(lane).or_default() |= anew,
            Word::Cancel(delivery) => cancelled_by_peer(world, lane, delivery).await?,
            Word::Replay => world.replays.notify_one(),
        }
    }
    for (lane, anew) in changed {
        if let Some(found) = world.store.registered(lane.company, lane.endpoint).await? {
            match found.deleted_at {
                Some(at) => world.deleted(found.endpoint, at),
                None => world.changed(&found.endpoint, anew),
            }
        }
    }
    Ok(())
}

impl World {
    /// Notes that something falls due in lanes, this node's or another's.
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
