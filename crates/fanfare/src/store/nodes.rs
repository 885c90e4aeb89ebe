//! Which lanes are whose: the part of the contract that is about several nodes on one store.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{DeliveryId, LaneKey, Shards, Timestamp};
use crate::store::Result;

/// Nodes that share a store, and the shards that each of them has.
///
/// A node has shards for as long as it renews its lease; what it claims and records counts for those
/// alone. The embedded store has one node, which has everything.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Says that this node lives, joining the others when it is not one of them, and takes what it
    /// is due of the shards that nobody has. Whatever is claimed in those is void: it is due at `now`,
    /// and results of it come too late.
    async fn renew(&self, card: &Card, now: Timestamp) -> Result<Tenure>;

    /// Lets go of shards, for others to take. Claims in them are void once somebody does.
    async fn hand_over(&self, shards: Shards) -> Result<()>;

    /// Tells whoever has these lanes. Those of this node are left out.
    async fn tell(&self, words: &[(LaneKey, Word)]) -> Result<()>;

    /// What others have told of the lanes that this node has, once. What a crash swallows is found
    /// by the next look at all lanes.
    async fn told(&self) -> Result<Vec<(LaneKey, Word)>>;

    /// Returns when something may have been told, or shards may be free. A hint: it may be missing,
    /// or come for nothing.
    async fn rung(&self) -> Ring;

    /// Every node that has a lease, the longest-standing first.
    async fn nodes(&self) -> Result<Vec<Node>>;
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Where it is, for people and for its peers' guards: `host:port`, or a word.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The check value of the key that it seals with.
    pub seals_with: Vec<u8>,
    /// How long its lease holds.
    pub lease: Duration,
    /// Whether it is about to end, and is due no shards any more.
    pub leaving: bool,
}

/// What a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tenure {
    /// The shards it has from here on.
    pub held: Shards,
    /// Those of them that it took just now: what waits there is not known to it.
    pub taken: Shards,
    /// Those of them that others are due: to be handed over once nothing of them is in flight.
    pub owed: Shards,
    /// Whether it had lost its lease: whatever it had is void.
    pub anew: bool,
    /// How many nodes there are.
    pub nodes: u32,
    /// The time by the store's own clock, when it has one.
    pub store_time: Option<Timestamp>,
    /// How long that holds, from before it was asked for; `None` for ever.
    pub lease: Option<Duration>,
}

/// Something that the owner of a lane should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Something falls due in it.
    Due(Timestamp),
    /// Its endpoint was changed.
    Changed {
        /// Whether it is sent elsewhere from here on, or was enabled.
        anew: bool,
    },
    /// This delivery is to be cancelled, if it is not on the wire.
    Cancel(DeliveryId),
    /// There is a replay of many to work off. The lane's endpoint means nothing.
    Replay,
}

/// Why a node should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Something was told.
    Told,
    /// Who has what may change.
    Shards,
}

/// A node among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name for this life.
    pub id: uuid::Uuid,
    /// Whether it is this process.
    pub this: bool,
    /// What it says of itself.
    pub card: Card,
    /// When it joined, by the store's clock.
    pub joined_at: Timestamp,
    /// How long its lease still holds; zero when it has run out.
    pub lease_left: Duration,
    /// What it has.
    pub shards: Shards,
}
