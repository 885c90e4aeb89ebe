//! The beginning of the road: validate events and store them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::asked::{EVENTS_BYTES_MAX, EVENTS_MAX, NewEvent, check_key, digest_of_all};
use crate::engine::finish::finish;
use crate::engine::{Engine, World, dispatch};
use crate::error::{Error, Result};
use crate::model::{CompanyId, Event, LaneKey, Timestamp};
use crate::store::{Accepted, Admission, Emit, Name, Receipt, StoreError};

/// How many deliveries of one call are claimed at birth: others wait in the store for their turn, so
/// that a large call does not fill the memory.
const CLAIMS_MAX: usize = 1024;
/// What an error calls the caller's key.
pub(super) const KEY: &str = "Idempotency-Key";

impl Engine {
    /// Accepts an event. Once this returns, the event and all its deliveries are on disk.
    ///
    /// The payload is trusted to be JSON: whoever has parsed it already need not do so twice.
    /// [`check_json`](super::check_json) is for the others.
    pub async fn emit(&self, company: CompanyId, new: NewEvent) -> Result<Receipt> {
        let world = &self.world;
        world.refuse_while_draining()?;
        let now = world.clock.now();
        new.check(&world.rules, now)?;
        let key = new.idempotency_key.as_ref();
        let name = key.map(|key| Name { text: format!("key:{key}"), digest: new.digest() });
        let emits = vec![new.into_emit(company, name, now)];
        let accepted = finish(world, Arc::clone(world).accept(emits)).await;
        let mut receipts = accepted.map_err(|error| match error {
            Error::OfSeveral { error, .. } => *error,
            error => error,
        })?;
        receipts.pop().ok_or_else(|| StoreError::Broken("an emit without an answer".into()).into())
    }

    /// Accepts events in their order: all of them or, when one is refused, none. `key` is the
    /// caller's for the whole call, so that a repeat of it answers the same.
    ///
    /// # Errors
    /// [`Error::OfSeveral`] names the event that is refused; [`Error::TooMuch`] for payloads that
    /// are too large together.
    pub async fn emit_all(
        &self,
        company: CompanyId,
        news: Vec<NewEvent>,
        key: Option<&str>,
    ) -> Result<Vec<Receipt>> {
        let world = &self.world;
        world.refuse_while_draining()?;
        let now = world.clock.now();
        check_all(world, &news, now)?;
        check_key(key)?;
        let names = key.map(|key| (key, digest_of_all(&news)));
        let emits = news.into_iter().enumerate().map(|(at, new)| {
            let name =
                names.map(|(key, digest)| Name { text: format!("batch:{key}:{at}"), digest });
            new.into_emit(company, name, now)
        });
        let accepted = finish(world, Arc::clone(world).accept(emits.collect())).await;
        accepted.map_err(|error| match error {
            // The key is of the call, not of an event.
            Error::OfSeveral { error, .. } if matches!(*error, Error::Conflict { what: KEY }) => {
                *error
            }
            error => error,
        })
    }
}

impl World {
    async fn accept(self: Arc<Self>, emits: Vec<Emit>) -> Result<Vec<Receipt>> {
        self.offer(emits).await?.map_err(|refused| {
            let nothing = || StoreError::Broken("a refusal of nothing".into()).into();
            refused.into_iter().next().map_or_else(nothing, |(at, error)| of_several(at, error))
        })
    }

    /// Accepts events in their order, of whatever companies: all of them or, when some are refused,
    /// none. Those are answered with their places.
    pub(super) async fn offer(self: Arc<Self>, mut emits: Vec<Emit>) -> Result<Offered> {
        self.ask_filters(&mut emits).await?;
        let events: Vec<Arc<Event>> = emits.iter().map(|emit| Arc::clone(&emit.event)).collect();
        let accepted = self.store.accept(emits, &self.admission()).await?;
        let refused = refused(&events, &accepted);
        if !refused.is_empty() {
            return Ok(Err(refused));
        }
        let mut receipts = Vec::with_capacity(accepted.len());
        for (event, accepted) in events.iter().zip(accepted) {
            match accepted {
                Accepted::New { claims, waiting, deliveries } => {
                    self.metrics.accepted.inc();
                    let lane = |endpoint| LaneKey { company: event.company, endpoint };
                    let waiting = waiting.into_iter().map(|(endpoint, due)| (lane(endpoint), due));
                    dispatch::take_in(&self, claims, waiting, event.created_at);
                    let (id, created_at) = (event.id, event.created_at);
                    receipts.push(Receipt { id, created_at, deliveries });
                }
                Accepted::Repeat(receipt) => receipts.push(receipt),
                Accepted::Conflict(_) | Accepted::Withheld => {}
            }
        }
        Ok(Ok(receipts))
    }

    fn admission(self: &Arc<Self>) -> Admission {
        let world = Arc::clone(self);
        let left = AtomicUsize::new(CLAIMS_MAX);
        let take_one = move || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        };
        let may_claim = Arc::new(move |endpoint| {
            world.delivers()
                && world.lanes().admits(endpoint, world.clock.now())
                && take_one().is_ok()
        });
        Admission { lease: self.lease(), may_claim }
    }
}

/// What comes of events that are offered together: a receipt for each, or what is refused of them.
pub(super) type Offered = std::result::Result<Vec<Receipt>, Vec<(usize, Error)>>;

fn of_several(at: usize, error: Error) -> Error {
    Error::OfSeveral { at, error: Box::new(error) }
}

/// Because of what nothing was stored, if so: conflicts first, then what had expired.
fn refused(events: &[Arc<Event>], accepted: &[Accepted]) -> Vec<(usize, Error)> {
    let conflicts = accepted.iter().enumerate().filter_map(|(at, accepted)| {
        let Accepted::Conflict(name) = accepted else { return None };
        let what = if name.starts_with("id:") { "id" } else { KEY };
        Some((at, Error::Conflict { what }))
    });
    let expired = events.iter().zip(accepted).enumerate().filter_map(|(at, (event, accepted))| {
        let expired = event.expires_at.is_some_and(|at| at <= event.created_at);
        let withheld = expired && matches!(accepted, Accepted::Withheld);
        withheld.then(|| (at, Error::invalid("expiresAt", "must be in the future")))
    });
    conflicts.chain(expired).collect()
}

fn check_all(world: &World, news: &[NewEvent], now: Timestamp) -> Result<()> {
    if !(1..=EVENTS_MAX).contains(&news.len()) {
        return Err(Error::invalid("events", format!("must be 1 to {EVENTS_MAX} events")));
    }
    let size = news.iter().map(|new| new.payload.len()).sum();
    if size > EVENTS_BYTES_MAX {
        return Err(Error::TooMuch { size, max: EVENTS_BYTES_MAX });
    }
    for (at, new) in news.iter().enumerate() {
        let checked = new.check(&world.rules, now);
        checked.map_err(|error| of_several(at, error))?;
    }
    Ok(())
}
