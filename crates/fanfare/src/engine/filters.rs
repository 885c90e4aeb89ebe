//! Filters are asked before the store is: a store has one writer, and nobody's filter may keep it
//! busy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::World;
use crate::error::{Error, Result};
use crate::model::filter::Subject;
use crate::model::{CompanyId, Endpoint, Event};
use crate::store::{Emit, Judged, StoreError};

/// Companies whose filters are kept at hand.
const COMPANIES: usize = 10_000;
/// Bytes of payload, times filters, that are looked at without leaving the thread to others.
const BYTES_AT_ONCE: usize = 64 << 10;

/// The endpoints of companies that have a filter, as far as they were asked for.
#[derive(Default)]
pub(super) struct Filters(Mutex<Known>);

#[derive(Default)]
struct Known {
    companies: HashMap<CompanyId, Filtering>,
    /// Grows with each change, so that what was read before one is not kept after it.
    changes: u64,
}

type Filtering = Arc<Vec<Arc<Endpoint>>>;

impl Filters {
    /// An endpoint is like this from here on; `None` for one that is gone.
    pub(super) fn changed(&self, before: &Endpoint, now: Option<&Endpoint>) {
        let mut known = self.known();
        known.changes += 1;
        let Some(filtering) = known.companies.get_mut(&before.company) else { return };
        let others = filtering.iter().filter(|endpoint| endpoint.id != before.id).cloned();
        let present = now.filter(|endpoint| endpoint.filter.is_some()).cloned().map(Arc::new);
        *filtering = Arc::new(others.chain(present).collect());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Adds to each event what the filters of its company say of it.
    pub(super) async fn ask_filters(&self, emits: &mut [Emit]) -> Result<()> {
        for emit in emits {
            let filtering = self.filtering(emit.event.company).await?;
            if filtering.is_empty() {
                continue;
            }
            let event = Arc::clone(&emit.event);
            let work = event.payload.len().saturating_mul(filtering.len());
            emit.judged = if work <= BYTES_AT_ONCE {
                judge(&event, &filtering)
            } else {
                let judging = tokio::task::spawn_blocking(move || judge(&event, &filtering));
                judging
                    .await
                    .map_err(|panic| Error::Internal(StoreError::Broken(panic.to_string())))?
            };
        }
        Ok(())
    }

    async fn filtering(&self, company: CompanyId) -> Result<Filtering> {
        let changes = {
            let known = self.filters.known();
            if let Some(filtering) = known.companies.get(&company) {
                return Ok(Arc::clone(filtering));
            }
            known.changes
        };
        let read = self.store.filtering(company).await?;
        let filtering: Filtering = Arc::new(read.into_iter().map(Arc::new).collect());
        let mut known = self.filters.known();
        if known.changes == changes {
            if known.companies.len() >= COMPANIES {
                known.companies.clear();
            }
            known.companies.insert(company, Arc::clone(&filtering));
        }
        Ok(filtering)
    }
}

fn judge(event: &Event, filtering: &[Arc<Endpoint>]) -> Vec<Judged> {
    let payload = Subject::new(&event.payload);
    let listens =
        |endpoint: &Endpoint| endpoint.events.iter().any(|events| events.hears(&event.event_type));
    let asked = filtering.iter().filter(|endpoint| listens(endpoint));
    let judged = asked.filter_map(|endpoint| {
        let filter = Arc::clone(endpoint.filter.as_ref()?);
        Some(Judged { endpoint: endpoint.id, passes: payload.passes(&filter), filter })
    });
    judged.collect()
}
