//! Nodes on one database: who has which shards, and what they tell each other.
//!
//! A node is a row with a lease. Before a batch claims anything it locks its node's row for sharing;
//! whoever takes a node's shards away, because its lease ran out or because it hands them over, locks
//! that row alone. So what a node claimed is either visible to the next owner, which voids it, or not
//! claimed at all. Whose shards they are, and since which epoch, is asked again where results are
//! recorded.

mod bell;
mod renew;
mod wakes;

use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::metrics::Stopwatch;
use crate::model::{LaneKey, SHARDS, Shards, Timestamp};
use crate::store::postgres::Postgres;
use crate::store::{Card, Node, Nodes, Result, Ring, Tenure, Word};
pub(super) use bell::Bell;
pub(super) use renew::{MEMBER, leave};
pub(super) use wakes::{PUT_WAKES, WakeRows, Wakes, put_wakes};

/// What this process is among the nodes.
#[derive(Default)]
pub(super) struct Membership {
    seat: RwLock<Seat>,
    /// Held while shards change hands, so that one change is seen by the next.
    changing: Mutex<Changing>,
}

/// What this node is, as far as it knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    /// Its name for this life; `None` while it is no member.
    pub(super) node: Option<Uuid>,
    /// What it has.
    pub(super) held: Shards,
    epochs: [i64; SHARDS as usize],
}

#[derive(Default)]
struct Changing {
    /// Runs since this node last became a member, or could not renew its lease in time.
    since_joined: Option<Stopwatch>,
    since_renewed: Option<Stopwatch>,
    /// Whether it has lost its lease and the engine was not told yet.
    anew: bool,
    /// How far what was told has been read.
    read_to: wakes::ReadTo,
}

impl Default for Seat {
    fn default() -> Self {
        Seat { node: None, held: Shards::NONE, epochs: [NO_EPOCH; SHARDS as usize] }
    }
}

/// No shard ever has it.
const NO_EPOCH: i64 = -1;

impl Seat {
    /// The epoch of an id's shard, if this node has that.
    pub(super) fn epoch(&self, id: Uuid) -> i64 {
        let shard = Shards::of(id);
        let epoch = self.epochs.get(usize::from(shard)).filter(|_| self.held.has(shard));
        epoch.copied().unwrap_or(NO_EPOCH)
    }

    /// The node's name, or one that no node has.
    pub(super) fn node(&self) -> Uuid {
        self.node.unwrap_or(Uuid::nil())
    }
}

impl Membership {
    /// What this node is now.
    pub(super) fn seat(&self) -> Seat {
        *self.seat.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, seat: Seat) {
        *self.seat.write().unwrap_or_else(PoisonError::into_inner) = seat;
    }
}

#[async_trait]
impl Nodes for Postgres {
    async fn renew(&self, card: &Card, now: Timestamp) -> Result<Tenure> {
        let database = &self.database;
        let mut changing = database.membership.changing.lock().await;
        renew::renew(database, &mut changing, (card, now)).await
    }

    async fn hand_over(&self, shards: Shards) -> Result<()> {
        let _changing = self.database.membership.changing.lock().await;
        renew::hand_over(&self.database, shards).await
    }

    async fn tell(&self, words: &[(LaneKey, Word)]) -> Result<()> {
        let mut wakes = Wakes::foreign_to(self.database.membership.seat().held);
        words.iter().for_each(|(lane, word)| wakes.add(*lane, *word));
        if wakes.is_empty() {
            return Ok(());
        }
        let client = self.database.writer().await?;
        put_wakes(&client, &wakes).await?;
        self.database.bell.ring(wakes.shards());
        Ok(())
    }

    async fn told(&self) -> Result<Vec<(LaneKey, Word)>> {
        let mut changing = self.database.membership.changing.lock().await;
        wakes::take(&self.database, &mut changing.read_to).await
    }

    async fn rung(&self) -> Ring {
        self.database.bell.rung().await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        renew::nodes(&self.database).await
    }
}
