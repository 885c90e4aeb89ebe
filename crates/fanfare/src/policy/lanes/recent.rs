//! Endpoints that were changed of late.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Endpoint, EndpointId, Timestamp};

/// How long a change is remembered: longer than a claim takes from the store's transaction to its
/// lane.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What endpoints were changed to. A claim that was made before the change may reach its lane
/// after it, and must go by what the endpoint is now.
#[derive(Debug, Default)]
pub(super) struct Recent {
    endpoints: HashMap<EndpointId, (Timestamp, Arc<Endpoint>)>,
    by_age: VecDeque<(Timestamp, EndpointId)>,
}

impl Recent {
    /// Remembers a change.
    pub(super) fn note(&mut self, endpoint: &Arc<Endpoint>, now: Timestamp) {
        self.endpoints.insert(endpoint.id, (now, Arc::clone(endpoint)));
        self.by_age.push_back((now, endpoint.id));
    }

    /// Forgets what is long ago.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        while let Some(&(noted, endpoint)) = self.by_age.front() {
            if now.since(noted) <= REMEMBERED {
                return;
            }
            self.by_age.pop_front();
            if self.endpoints.get(&endpoint).is_some_and(|(newest, _)| *newest == noted) {
                self.endpoints.remove(&endpoint);
            }
        }
    }

    /// What an endpoint was changed to after it was as `known`.
    pub(super) fn newer_than(&self, known: &Endpoint) -> Option<&Arc<Endpoint>> {
        if self.endpoints.is_empty() {
            return None;
        }
        let (_, present) = self.endpoints.get(&known.id)?;
        (present.updated_at >= known.updated_at).then_some(present)
    }

    /// How many changes are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }
}
