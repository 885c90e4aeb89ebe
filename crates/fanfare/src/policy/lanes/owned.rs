//! Whose lanes they are: an engine may share its store with others.

use crate::model::{Claim, EndpointId, SHARDS, Shards, Timestamp};
use crate::policy::lanes::Lanes;

/// The shards whose lanes are this engine's.
#[derive(Debug)]
pub(super) struct Owned {
    shards: Shards,
    /// Until when lanes with a pace send nothing, by their shards: another node may have sent to them
    /// within the second before.
    rest_until: [Timestamp; SHARDS as usize],
}

impl Default for Owned {
    fn default() -> Self {
        Owned { shards: Shards::ALL, rest_until: [Timestamp::default(); SHARDS as usize] }
    }
}

impl Owned {
    pub(super) fn has(&self, endpoint: EndpointId) -> bool {
        self.shards.has_id(endpoint.uuid())
    }

    pub(super) fn rest_until(&self, endpoint: EndpointId) -> Option<Timestamp> {
        let until = self.rest_until.get(usize::from(Shards::of(endpoint.uuid()))).copied();
        until.filter(|until| *until > Timestamp::default())
    }
}

impl Lanes {
    /// The lanes of these shards are its own from here on, and no others. Those it did not have
    /// before and that have a pace send nothing until `rest_until`. Of those it has no more
    /// everything is forgotten, as soon as nothing of them is in flight. Returns their claims, to be
    /// given back.
    pub fn own(&mut self, shards: Shards, rest_until: Timestamp) -> Vec<Claim> {
        let gained = shards.without(self.owned.shards);
        let lost = self.owned.shards.without(shards);
        self.owned.shards = shards;
        for shard in gained.iter() {
            if let Some(until) = self.owned.rest_until.get_mut(usize::from(shard)) {
                *until = rest_until;
            }
        }
        if lost.is_empty() {
            return Vec::new();
        }
        let known = self.lanes.keys().copied();
        let left: Vec<EndpointId> = known.filter(|id| lost.has_id(id.uuid())).collect();
        left.into_iter().flat_map(|endpoint| self.abandon(endpoint)).collect()
    }

    fn abandon(&mut self, endpoint: EndpointId) -> Vec<Claim> {
        let claims = self.empty(endpoint);
        self.begin_anew(endpoint);
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.forget();
        }
        self.wait_for_store(endpoint);
        self.forget_if_idle(endpoint);
        claims
    }
}
