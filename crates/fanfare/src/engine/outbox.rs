//! Taking events from where platforms say them inside their own transactions.
//!
//! What is read goes the road of every other event and is removed once it is stored. A crash in
//! between, or another node that takes the same, is told by the event's id. What can never be
//! accepted stays where it is, with its reason, and blocks nothing.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::engine::asked::{NewEvent, check_json};
use crate::engine::emit::KEY;
use crate::engine::finish::finish;
use crate::engine::{EVENTS_BYTES_MAX, World};
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::store::{Emit, Name, Outbox, Portion, Row, Said, Waiting};

/// How long something may wait that nobody hinted at.
const POLL: Duration = Duration::from_secs(1);
/// How long an outbox that is away is left alone at first, and at most.
const BACK_OFF: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(3);
/// How often it is said that one is away.
const COMPLAIN: Duration = Duration::from_secs(60);
/// Rows that are taken at once.
const ROWS: u32 = 500;

/// The node that has this shard takes from outboxes that others can reach, too.
const SHARD: u8 = 0;

/// Takes from every outbox in the background, until the engine stops.
pub(super) fn take_from_all(world: &Arc<World>) {
    let mut outboxes = world.outboxes.lock().unwrap_or_else(PoisonError::into_inner);
    for outbox in outboxes.drain(..) {
        let taking = Arc::clone(world);
        world.tasks.spawn(async move {
            tokio::select! {
                () = taking.take_from(outbox.as_ref()) => {}
                () = taking.stop.cancelled() => {}
            }
        });
    }
}

/// Whether an outbox is away.
#[derive(Default)]
struct Absence {
    /// How long it was left alone last; nothing while it is there.
    pause: Duration,
    /// Whether the log says that it is away, and when that was said last.
    told: bool,
    told_at: Option<Timestamp>,
}

impl World {
    async fn take_from(self: &Arc<Self>, outbox: &dyn Outbox) {
        let mut absence = Absence::default();
        while !self.draining.load(Ordering::Relaxed) {
            if outbox.is_shared() && !self.takes_from_shared() {
                self.clock.sleep_until(self.clock.now().plus(POLL)).await;
                continue;
            }
            match self.take_some(outbox).await {
                Ok(true) => self.is_there(outbox, &mut absence),
                Ok(false) => {
                    self.is_there(outbox, &mut absence);
                    tokio::select! {
                        () = outbox.hint() => {}
                        () = self.clock.sleep_until(self.clock.now().plus(POLL)) => {}
                    }
                }
                Err(error) => self.is_away(outbox, &mut absence, &error).await,
            }
        }
    }

    /// One node is enough for an outbox that several can reach; two do no harm.
    fn takes_from_shared(&self) -> bool {
        self.delivers() && self.tenure.mine().has(SHARD)
    }

    /// Takes the first that wait. Returns whether there were any.
    async fn take_some(self: &Arc<Self>, outbox: &dyn Outbox) -> Result<bool> {
        let data_max = self.rules.max_payload;
        let found = outbox.read(Portion { rows: ROWS, bytes: EVENTS_BYTES_MAX, data_max }).await?;
        if found.is_empty() {
            return Ok(false);
        }
        let now = self.clock.now();
        let (mut offered, mut refused) = (Vec::new(), Vec::new());
        for Waiting { row, said } in found {
            match said.and_then(|said| self.emit_of(said, now).map_err(|error| said_of(&error))) {
                Ok(emit) => offered.push((row, emit)),
                Err(reason) => refused.push((row, reason)),
            }
        }
        let stored = self.store_what_can_be(offered, &mut refused).await?;
        if let Some((row, reason)) = refused.first() {
            let (outbox, number, count) = (outbox.name(), row.number, refused.len());
            tracing::warn!(outbox, count, number, reason, "refused; the rows say why");
        }
        let counts = (stored.len() as u64, refused.len() as u64);
        outbox.settle(stored, refused).await?;
        self.metrics.outbox_taken.inc_by(counts.0);
        self.metrics.outbox_refused.inc_by(counts.1);
        Ok(true)
    }

    /// The emit of what a row says, if it can be accepted.
    fn emit_of(&self, said: Said, now: Timestamp) -> Result<Emit> {
        let max = self.rules.max_payload;
        let payload = said.data.ok_or(Error::TooLarge { size: said.bytes, max })?;
        check_json(&payload)?;
        let event_type =
            said.event_type.parse().map_err(|reason: String| Error::invalid("type", reason))?;
        let new = NewEvent {
            id: None,
            idempotency_key: said.idempotency_key,
            ordering_key: said.ordering_key,
            deliver_at: said.deliver_at,
            expires_at: said.expires_at,
            ..NewEvent::new(event_type, payload)
        };
        new.check(&self.rules, now)?;
        // A repeat of the platform's has another id, so that is no part of what its key stands for.
        let key = new.idempotency_key.as_ref();
        let name = key.map(|key| Name { text: format!("key:{key}"), digest: new.digest() });
        let new = NewEvent { id: Some(said.id), ..new };
        Ok(new.into_emit(said.company, name, now))
    }

    /// Stores events in their order, without those that turn out to be refused, which are added to
    /// `refused`. Returns the rows of the others.
    async fn store_what_can_be(
        self: &Arc<Self>,
        mut offered: Vec<(Row, Emit)>,
        refused: &mut Vec<(Row, String)>,
    ) -> Result<Vec<Row>> {
        while !offered.is_empty() {
            let emits = offered.iter().map(|(_, emit)| emit.clone()).collect();
            let mut flaws = match finish(self, Arc::clone(self).offer(emits)).await {
                Ok(Ok(_)) => break,
                Ok(Err(flaws)) => flaws,
                Err(Error::Internal(_)) if offered.len() > 1 => {
                    return self.store_one_by_one(offered, refused).await;
                }
                // If it is not the store, it is this event.
                Err(Error::Internal(error)) => {
                    self.store.ready(self.rules.max_payload).await?;
                    vec![(0, Error::Internal(error))]
                }
                Err(error) => return Err(error),
            };
            // From the end, so that the places before stay what they are.
            flaws.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            for (at, error) in flaws {
                refused.push((offered.remove(at).0, said_of(&error)));
            }
        }
        Ok(offered.into_iter().map(|(row, _)| row).collect())
    }

    /// The same where one of them makes the store fail for all.
    async fn store_one_by_one(
        self: &Arc<Self>,
        offered: Vec<(Row, Emit)>,
        refused: &mut Vec<(Row, String)>,
    ) -> Result<Vec<Row>> {
        let mut stored = Vec::new();
        for one in offered {
            stored.extend(Box::pin(self.store_what_can_be(vec![one], refused)).await?);
        }
        Ok(stored)
    }

    fn is_there(&self, outbox: &dyn Outbox, absence: &mut Absence) {
        if absence.pause.is_zero() {
            return;
        }
        absence.pause = Duration::ZERO;
        self.metrics.outboxes_away.dec();
        if std::mem::take(&mut absence.told) {
            tracing::info!(outbox = outbox.name(), "the outbox is there again");
        }
    }

    /// Leaves an outbox alone for a while, longer each time.
    async fn is_away(&self, outbox: &dyn Outbox, absence: &mut Absence, error: &Error) {
        let now = self.clock.now();
        if absence.pause.is_zero() {
            self.metrics.outboxes_away.inc();
        }
        if absence.told_at.is_none_or(|told_at| now.since(told_at) >= COMPLAIN) {
            (absence.told, absence.told_at) = (true, Some(now));
            let error = cause_of(error);
            tracing::warn!(outbox = outbox.name(), error, "the outbox cannot be drained for now");
        }
        absence.pause = absence.pause.saturating_mul(2).clamp(BACK_OFF, BACK_OFF_MAX);
        // Up to half as long again, so that nodes do not return together.
        let pause = absence.pause.mul_f64(1.0 + self.draw_jitter() / 2.0);
        self.clock.sleep_until(now.plus(pause)).await;
    }
}

/// Why a row is refused, in the outbox's own words.
fn said_of(error: &Error) -> String {
    let text = cause_of(error);
    [
        ("orderingKey", "ordering_key"),
        ("deliverAt", "deliver_at"),
        ("expiresAt", "expires_at"),
        (KEY, "idempotency_key"),
    ]
    .iter()
    .fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// What is behind an error, for those who run the server.
fn cause_of(error: &Error) -> String {
    match error {
        Error::Internal(cause) => cause.to_string(),
        other => other.to_string(),
    }
}
