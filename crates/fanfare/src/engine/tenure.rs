//! Which lanes are this node's: the lease on its shards, and how those change hands.
//!
//! A node renews its lease several times while it holds, and starts nothing once it has run out.
//! Shards that others are due are handed over one by one, each as soon as nothing of it is in flight
//! any more, results on their way to the disk included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::really;
use crate::engine::{World, dispatch, trouble};
use crate::metrics::Stopwatch;
use crate::model::{SHARDS, Shards, Timestamp};
use crate::store::{self, Card, Ring, Tenure};

/// How often a lease is renewed while it holds.
const RENEWALS: u32 = 5;
/// How long a lane with a pace rests when it has changed hands: no second may see more than the
/// pace, also when it begins with the one owner and ends with the next.
const REST: Duration = Duration::from_secs(1);

/// What this engine has of the store.
#[derive(Default)]
pub(super) struct Holding {
    /// The shards whose lanes it works on.
    mine: AtomicU64,
    lease: Lease,
    busy: Busy,
    /// Whether it is about to end.
    leaving: AtomicBool,
    /// Whether what waits in its lanes may have been missed.
    missed: AtomicBool,
    /// Rung when shards may change hands.
    look: Notify,
    /// Rung when something was told.
    pub(super) told: Notify,
    /// Ends the renewals.
    pub(super) end: CancellationToken,
}

impl Holding {
    /// Does this node work on what belongs to this id?
    pub(super) fn owns(&self, id: Uuid) -> bool {
        self.mine().has_id(id)
    }

    /// The shards that it works on.
    pub(super) fn mine(&self) -> Shards {
        Shards::from_bits(self.mine.load(Ordering::Acquire))
    }

    /// May it rely on having them?
    pub(super) fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    /// It will end, and is due no shards any more.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.look.notify_one();
    }
}

/// Until when shards may be relied upon, by the monotonic clock: it goes on while a process is
/// stopped.
struct Lease {
    base: Stopwatch,
    /// In microseconds behind the base.
    until: AtomicU64,
}

impl Default for Lease {
    fn default() -> Self {
        Lease { base: Stopwatch::start(), until: AtomicU64::new(0) }
    }
}

impl Lease {
    fn is_valid(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == u64::MAX || micros(self.base.elapsed()) < until
    }

    /// It was asked for so long ago, and holds from then on.
    fn renewed(&self, asked: Stopwatch, lease: Option<Duration>) {
        let end = lease.map(|lease| self.base.elapsed() + lease);
        let until = end.map_or(u64::MAX, |end| micros(end.saturating_sub(asked.elapsed())));
        self.until.store(until, Ordering::Release);
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// How much of each shard is in flight.
struct Busy {
    shards: [AtomicU32; SHARDS as usize],
}

impl Default for Busy {
    fn default() -> Self {
        Busy { shards: [const { AtomicU32::new(0) }; SHARDS as usize] }
    }
}

/// Something of a shard is in flight, until dropped.
pub(super) struct InFlight {
    world: Arc<World>,
    shard: u8,
}

impl InFlight {
    /// Of the shard of this endpoint.
    pub(super) fn of(world: &Arc<World>, endpoint: Uuid) -> InFlight {
        let shard = Shards::of(endpoint);
        if let Some(count) = world.tenure.busy.shards.get(usize::from(shard)) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        InFlight { world: Arc::clone(world), shard }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let tenure = &self.world.tenure;
        let Some(count) = tenure.busy.shards.get(usize::from(self.shard)) else { return };
        if count.fetch_sub(1, Ordering::AcqRel) == 1 && !tenure.mine().has(self.shard) {
            tenure.look.notify_one();
        }
    }
}

impl Busy {
    fn idle(&self, shards: Shards) -> Shards {
        let is_idle = |shard: &u8| {
            let count = self.shards.get(usize::from(*shard));
            count.is_none_or(|count| count.load(Ordering::Acquire) == 0)
        };
        shards.iter().filter(is_idle).collect()
    }
}

/// Renews the lease until the engine has come to its end.
pub(super) async fn keep(world: Arc<World>, lease: Duration) {
    let tenure = &world.tenure;
    loop {
        tokio::select! {
            () = really(lease / RENEWALS) => {}
            () = tenure.look.notified() => {}
            () = tenure.end.cancelled() => return,
        }
        if let Err(error) = renew(&world).await {
            tenure.missed.store(true, Ordering::Release);
            trouble::log(&error, "this node cannot renew its lease for now");
            // Whoever rings meanwhile must not make it ask again and again.
            really(lease / RENEWALS / RENEWALS).await;
        }
    }
}

/// Passes on what the store's bell says, until the engine stops.
pub(super) async fn listen(world: Arc<World>) {
    loop {
        tokio::select! {
            ring = world.store.rung() => match ring {
                Ring::Shards => world.tenure.look.notify_one(),
                Ring::Told => world.tenure.told.notify_one(),
            },
            () = world.tenure.end.cancelled() => return,
        }
    }
}

/// Renews the lease, or joins, takes what there is to take, and hands over what others are due.
pub(super) async fn renew(world: &Arc<World>) -> store::Result<Tenure> {
    let (asked, before) = (Stopwatch::start(), world.clock.now());
    let tenure = world.store.renew(&world.card(), before).await?;
    let holding = &world.tenure;
    follow(world, before, tenure.store_time);
    world.guard.peers.set(tenure.peers.clone());
    holding.lease.renewed(asked, tenure.lease);
    if tenure.anew {
        tracing::warn!("this node had lost its lease; it joins the others anew");
        own(world, Shards::NONE, &tenure);
    }
    let earlier = holding.mine();
    let mine = tenure.held.without(tenure.owed);
    own(world, mine, &tenure);
    // Another node may have told of them while they were nobody's.
    let gained = mine.without(earlier).union(tenure.taken);
    if !gained.is_empty() || holding.missed.swap(false, Ordering::AcqRel) {
        look_at_all(world).await?;
    }
    let idle = holding.busy.idle(tenure.owed);
    if !idle.is_empty() {
        world.store.hand_over(idle).await?;
    }
    dispatch::start_senders(world);
    Ok(tenure)
}

/// Works on these shards from here on, and on no others.
fn own(world: &Arc<World>, shards: Shards, tenure: &Tenure) {
    let now = world.clock.now();
    let rest_until = if tenure.nodes > 1 { now.plus(REST) } else { Timestamp::default() };
    let held = world.decide(|lanes| {
        world.tenure.mine.store(shards.bits(), Ordering::Release);
        lanes.own(shards, rest_until)
    });
    world.metrics.nodes.set(i64::from(tenure.nodes));
    world.metrics.shards.set(i64::from(shards.len()));
    dispatch::give_back(world, held, Duration::ZERO);
}

async fn look_at_all(world: &Arc<World>) -> store::Result<()> {
    let looked = dispatch::sweep(world).await;
    if looked.is_err() {
        world.tenure.missed.store(true, Ordering::Release);
    }
    looked
}

/// Brings the engine's clock to the store's, where that lies outside what the question took.
fn follow(world: &World, before: Timestamp, store_time: Option<Timestamp>) {
    let (Some(at), after) = (store_time, world.clock.now()) else { return };
    let off = if at < before { at.0 - before.0 } else { (at.0 - after.0).max(0) };
    if off != 0 {
        tracing::debug!(millis = off, "the clock is corrected by the database's");
        world.clock.correct(off);
    }
}

impl World {
    fn card(&self) -> Card {
        Card {
            name: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seals_with: self.seal.present().settled().to_vec(),
            lease: self.rules.node_lease,
            leaving: self.tenure.leaving.load(Ordering::Acquire),
        }
    }
}
