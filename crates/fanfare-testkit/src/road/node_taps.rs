//! The calls that are about nodes, each tapped.

use async_trait::async_trait;
use fanfare::Timestamp;
use fanfare::model::Shards;
use fanfare::store::{Card, LaneKey, Node, Nodes, Result, Ring, Tenure, Word};

use super::tapped::{Call, Tapped};

#[async_trait]
impl Nodes for Tapped {
    async fn renew(&self, card: &Card, now: Timestamp) -> Result<Tenure> {
        self.call(Call::Renew, |store| async move { store.renew(card, now).await }).await
    }

    async fn hand_over(&self, shards: Shards) -> Result<()> {
        self.call(Call::Renew, |store| async move { store.hand_over(shards).await }).await
    }

    async fn tell(&self, words: &[(LaneKey, Word)]) -> Result<()> {
        self.call(Call::Renew, |store| async move { store.tell(words).await }).await
    }

    async fn told(&self) -> Result<Vec<(LaneKey, Word)>> {
        self.call(Call::Read, |store| async move { store.told().await }).await
    }

    async fn rung(&self) -> Ring {
        match self.present() {
            Some(store) => store.rung().await,
            None => std::future::pending().await,
        }
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        self.call(Call::Read, |store| async move { store.nodes().await }).await
    }
}
