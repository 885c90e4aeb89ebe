//! Schedule: lanes take turns, senders send, and the dispatcher fills lanes from the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::deliver::deliver;
use crate::engine::{Engine, World};
use crate::model::{Claim, LaneKey, Timestamp};
use crate::policy::lanes::Room;
use crate::store::{self, Wanted};

/// How often every lane in the store is looked at, in case a wake-up was lost or a sender died.
const SWEEP: Duration = Duration::from_secs(60);
/// How long to leave the store alone after it refused us.
const PAUSE: Duration = Duration::from_secs(1);
/// Lanes filled by one question to the store.
const ROOMS: usize = 64;
/// Lanes read from the store at once by a sweep.
const LANES: u32 = 1000;

impl Engine {
    /// Fills lanes as deliveries fall due, until the engine stops.
    pub(super) async fn dispatch(&self) {
        let world = &self.world;
        let mut next_sweep = world.clock.now().plus(SWEEP);
        let stopped = world.stop.cancelled();
        tokio::pin!(stopped);
        loop {
            let look_again = match fill_lanes(world).await {
                Ok(next_wake) => next_wake.map_or(next_sweep, |due| due.min(next_sweep)),
                Err(error) => {
                    tracing::error!(%error, "deliveries cannot be claimed for now");
                    world.clock.now().plus(PAUSE)
                }
            };
            tokio::select! {
                () = world.wake.notified() => {}
                () = world.clock.sleep_until(look_again) => {}
                () = &mut stopped => break,
            }
            if world.clock.now() >= next_sweep {
                next_sweep = world.clock.now().plus(SWEEP);
                if let Err(error) = sweep(world).await {
                    tracing::error!(%error, "the lanes cannot be read for now");
                }
            }
        }
        world.give_all_back();
    }
}

/// Hands fresh claims to their lanes, tells them what else falls due when, and starts what may
/// start.
pub(super) fn take_in(
    world: &Arc<World>,
    claims: Vec<Claim>,
    waiting: impl Iterator<Item = (LaneKey, Timestamp)>,
    since: Timestamp,
) {
    let held: Vec<Claim> = world.decide(|lanes| {
        waiting.for_each(|(key, due)| lanes.stored(key, due));
        claims.into_iter().filter_map(|claim| lanes.claimed(claim, since)).collect()
    });
    give_back(world, held, Duration::ZERO);
    if world.stop.is_cancelled() {
        return world.give_all_back();
    }
    start_senders(world);
}

/// Starts a sender for each delivery that may go now.
pub(super) fn start_senders(world: &Arc<World>) {
    while let Some((turn, in_flight)) = world.next_claim() {
        let sender = deliver(Arc::clone(world), turn, in_flight);
        world.senders.spawn(sender);
    }
}

impl World {
    /// Gives everything back that is claimed and not in flight.
    pub(super) fn give_all_back(self: &Arc<Self>) {
        let unused = self.lanes().clear();
        give_back(self, unused, Duration::ZERO);
    }
}

/// Gives claims back to the store that will not be used now, and looks for them again after a
/// while: their endpoint may have been enabled before they were back.
pub(super) fn give_back(world: &Arc<World>, claims: Vec<Claim>, again_after: Duration) {
    if claims.is_empty() {
        return;
    }
    let world = Arc::clone(world);
    world.clone().tasks.spawn(async move {
        let now = world.clock.now();
        // Should this fail, the leases run out by themselves.
        if let Err(error) = world.store.release(&claims, now).await {
            tracing::warn!(%error, "claims could not be given back; their leases will run out");
            return;
        }
        let keys: BTreeSet<LaneKey> = claims.iter().map(|claim| claim.endpoint.lane()).collect();
        let due = now.plus(again_after);
        world.decide(|lanes| keys.into_iter().for_each(|key| lanes.stored(key, due)));
    });
}

/// Reads every lane that has something waiting in the store.
pub(super) async fn sweep(world: &Arc<World>) -> store::Result<()> {
    let mut after = None;
    loop {
        let found = world.store.lanes(after, LANES).await?;
        let Some(last) = found.last() else { return Ok(()) };
        after = Some(last.key);
        world.decide(|lanes| {
            for lane in found {
                lanes.found(lane.key, lane.due_at, lane.health);
            }
        });
    }
}

/// Fills every lane that has room with what is due, and starts what has waited for time to pass.
/// Returns when to do so again.
async fn fill_lanes(world: &Arc<World>) -> store::Result<Option<Timestamp>> {
    loop {
        let now = world.clock.now();
        let rooms = world.lanes().rooms(now, ROOMS);
        if rooms.is_empty() {
            start_senders(world);
            return Ok(world.lanes().next_wake());
        }
        let filled = fill(world, &rooms, now).await;
        if filled.is_err() {
            // What was due is still due, after a pause.
            let mut lanes = world.lanes();
            for room in &rooms {
                lanes.filled(room.key, Some(now.plus(PAUSE)));
            }
        }
        filled?;
        start_senders(world);
    }
}

async fn fill(world: &Arc<World>, rooms: &[Room], now: Timestamp) -> store::Result<()> {
    let wanted = |room: &Room| Wanted { key: room.key, limit: room.limit, probe: room.probe };
    let wanted: Vec<Wanted> = rooms.iter().map(wanted).collect();
    let got = world.store.claim(&wanted, now, world.lease()).await?;
    let mut held = Vec::new();
    let mut lanes = world.lanes();
    for lane in got {
        held.extend(lane.claims.into_iter().filter_map(|claim| lanes.claimed(claim, now)));
        lanes.filled(lane.key, lane.next_due);
    }
    drop(lanes);
    // The store knows them as enabled, the lanes do not: never in a circle without a pause.
    give_back(world, held, PAUSE);
    Ok(())
}
