//! One node, which has everything: the file's lock keeps others out.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::params;

use crate::model::{LaneKey, Shards, Timestamp};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::queue::next_lane;
use crate::store::{Card, Node, Nodes, Result, Ring, Tenure, Word};

// Only leases that have not run out: whatever is due already needs no voiding.
const VOID: &str = "
    update deliveries indexed by deliveries_due set due_at = ?3, claimed = 0
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and due_at > ?3
        and due_at < 4503599627370496 and claimed = 1";

#[async_trait]
impl Nodes for Sqlite {
    async fn renew(&self, _card: &Card, now: Timestamp) -> Result<Tenure> {
        let mut tenure = Tenure { held: Shards::ALL, nodes: 1, ..Tenure::default() };
        if self.joined.load(Ordering::Acquire) {
            return Ok(tenure);
        }
        self.write(move |tx| {
            let mut after = None;
            while let Some(lane) = next_lane(tx, after)? {
                let (company, endpoint) = (lane.key.company.uuid(), lane.key.endpoint.uuid());
                tx.prepare_cached(VOID)?.execute(params![company, endpoint, now.0])?;
                after = Some(lane.key);
            }
            Ok(())
        })
        .await?;
        self.joined.store(true, Ordering::Release);
        tenure.taken = Shards::ALL;
        Ok(tenure)
    }

    async fn hand_over(&self, _shards: Shards) -> Result<()> {
        self.joined.store(false, Ordering::Release);
        Ok(())
    }

    async fn tell(&self, _words: &[(LaneKey, Word)]) -> Result<()> {
        Ok(())
    }

    async fn told(&self) -> Result<Vec<(LaneKey, Word)>> {
        Ok(Vec::new())
    }

    async fn rung(&self) -> Ring {
        std::future::pending().await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        Ok(Vec::new())
    }
}
