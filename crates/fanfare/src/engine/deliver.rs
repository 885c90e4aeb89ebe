//! One attempt, start to finish: send, judge, record.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::engine::World;
use crate::engine::dispatch::{give_back, start_senders};
use crate::metrics::Stopwatch;
use crate::model::{
    Answer, Attempt, Claim, Disabled, Endpoint, Headers, LaneKey, Outcome, Record, Timestamp,
    Timing, Verdict, expired,
};
use crate::policy::lanes::Ending;
use crate::policy::retry;
use crate::send::{self, Request};
use crate::store::StoreError;

/// How much of an answer's body the history keeps.
const BODY_BYTES_KEPT: usize = 16 * 1024;
/// How long to wait before a result is offered to a refusing store again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends a delivery once and records what came of it.
///
/// If the process dies anywhere before the record is on disk, the delivery is claimed again: at
/// least once, never lost.
pub(super) async fn deliver(world: Arc<World>, claim: Claim) {
    let slot = Slot::taken(&world, claim.endpoint.lane());
    if let Some(end) = claim.event.expires_at.filter(|end| *end <= world.clock.now()) {
        slot.end_unsent();
        return end_expired(&world, claim, end).await;
    }
    let Some(attempt) = attempt(&world, &claim).await else {
        return; // Cut by a stop: nothing is recorded, the next start delivers it.
    };
    let ending = ending(&attempt.outcome);
    let unrecorded = slot.end(ending);
    let withheld = (ending == Ending::Gone).then(|| Withheld(&world, claim.endpoint.lane()));
    // The lane may go on while the result is on its way to the disk.
    start_senders(&world);

    let now = world.clock.now();
    let endpoint = &claim.endpoint;
    let verdict = retry::judge(
        &world.rules.retry,
        (attempt.number, endpoint.max_retries),
        &attempt.outcome,
        now,
        world.draw_jitter(),
    );
    let verdict = retry::in_time(verdict, attempt.number, claim.event.expires_at);
    let record = Record::new(claim, attempt.into(), verdict, now);
    save(&world, record).await;
    drop((withheld, unrecorded));
    start_senders(&world);
}

/// Ends a delivery whose event had expired when its turn came.
async fn end_expired(world: &Arc<World>, claim: Claim, expired_at: Timestamp) {
    let (company, reason) = (claim.event.company, expired(claim.attempts, expired_at));
    let doomed = [(claim.delivery, Some(claim.fence))];
    match world.store.end(company, &doomed, &reason, world.clock.now()).await {
        Ok(ended) => {
            world.metrics.failed.inc_by(ended.deliveries.len() as u64);
            world.look_into_all(&ended.woken);
        }
        Err(error) => {
            tracing::warn!(%error, delivery.id = %claim.delivery, "{reason}; to be ended later");
            give_back(world, vec![claim], PAUSE);
        }
    }
    start_senders(world);
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Answered(Answer { status: 200..=299, .. }) => Ending::Well,
        Outcome::Answered(Answer { status: 410, .. }) => Ending::Gone,
        _ => Ending::Badly,
    }
}

/// Makes the request of this attempt and waits for what becomes of it. `None` when the engine was
/// told to cut it off.
async fn attempt(world: &Arc<World>, claim: &Claim) -> Option<Attempt> {
    let started_at = world.clock.now();
    let number = claim.attempts + 1;
    if number == 1 {
        let waited = started_at.since(claim.event.created_at);
        world.metrics.first_attempt.observe(waited.as_secs_f64());
    }
    let (outcome, headers, duration) = match world.secrets.of(&world.seal, &claim.endpoint) {
        Ok(secret) => {
            let request = send::request(claim, &secret, started_at);
            let headers = send::shown(&request.headers);
            let stopwatch = Stopwatch::start();
            let mut outcome = transmit(world, request).await?;
            if let Outcome::Answered(answer) = &mut outcome {
                answer.body.truncate(BODY_BYTES_KEPT);
            }
            (outcome, headers, stopwatch.elapsed())
        }
        Err(reason) => {
            tracing::error!(endpoint.id = %claim.endpoint.id, "{reason}");
            let reason = "refused: the signing secret cannot be read".to_owned();
            (Outcome::NoAnswer { reason }, Headers::default(), Duration::ZERO)
        }
    };
    world.metrics.attempt.observe(duration.as_secs_f64());
    tracing::debug!(
        delivery.id = %claim.delivery, attempt = number, ?duration, "{}", retry::describe(&outcome)
    );
    let url = claim.endpoint.url.to_string();
    let timing = Timing::default();
    Some(Attempt { number, started_at, duration, timing, probe: false, url, headers, outcome })
}

async fn transmit(world: &Arc<World>, request: Request) -> Option<Outcome> {
    let _counted = Counted::on(&world.metrics.in_flight);
    tokio::select! {
        outcome = world.transport.send(request) => Some(outcome),
        () = world.cut.cancelled() => None,
    }
}

/// Brings a result to the disk, however long the store refuses, and draws the consequences.
async fn save(world: &Arc<World>, record: Record) {
    let mut refused = None;
    let recorded = loop {
        match world.store.record(record.clone()).await {
            Ok(recorded) => break recorded,
            Err(StoreError::Full(_) | StoreError::Away(_)) => {
                refused.get_or_insert_with(|| Refused::by(world, record.claim.endpoint.lane()));
                let again = world.clock.now().plus(PAUSE);
                tokio::select! {
                    () = world.clock.sleep_until(again) => {}
                    () = world.cut.cancelled() => return,
                }
            }
            Err(error) => {
                let delivery = record.claim.delivery;
                tracing::error!(%error, delivery.id = %delivery, "a result could not be recorded");
                return;
            }
        }
    };
    if recorded.applied {
        count(world, &record.verdict);
        if let Verdict::Failed(reason) = &record.verdict {
            let (delivery, endpoint) = (record.claim.delivery, record.claim.endpoint.id);
            tracing::warn!(delivery.id = %delivery, endpoint.id = %endpoint, "given up: {reason}");
        }
    } else {
        let delivery = record.claim.delivery;
        tracing::warn!(delivery.id = %delivery, "a result came too late, or for the second time");
    }
    tell_lanes(world, &record).await;
    world.look_into_all(&recorded.woken);
    drop(refused);
}

fn count(world: &World, verdict: &Verdict) {
    let metrics = &world.metrics;
    match verdict {
        Verdict::Concluded => metrics.delivered.inc(),
        Verdict::RetryAt(_) => metrics.retried.inc(),
        Verdict::Failed(_) | Verdict::Gone => metrics.failed.inc(),
    };
}

async fn tell_lanes(world: &Arc<World>, record: &Record) {
    let endpoint = &record.claim.endpoint;
    match record.verdict {
        Verdict::Concluded | Verdict::Failed(_) => {}
        Verdict::RetryAt(due) => world.decide(|lanes| lanes.stored(endpoint.lane(), due)),
        Verdict::Gone => {
            tracing::info!(endpoint.id = %endpoint.id, "an endpoint answered 410 and is disabled");
            // It may have been changed, or enabled again, since the claim was made.
            match world.store.endpoint(endpoint.company, endpoint.id).await {
                Ok(Some(present)) => world.tell_lanes(present),
                Ok(None) => {} // Whoever deleted it has told the lanes.
                Err(_) => world.tell_lanes(gone(endpoint, record.at)),
            }
        }
    }
}

fn gone(endpoint: &Endpoint, at: Timestamp) -> Endpoint {
    Endpoint { disabled: Some(Disabled::gone(at)), updated_at: at, ..endpoint.clone() }
}

/// A place among the attempts in flight. Dropped means given back, also on panic.
struct Slot {
    world: Arc<World>,
    lane: LaneKey,
    ended: bool,
}

/// A place among the results that wait for the disk.
struct Unrecorded(Arc<World>);

impl Slot {
    fn taken(world: &Arc<World>, lane: LaneKey) -> Slot {
        Slot { world: Arc::clone(world), lane, ended: false }
    }

    fn end(mut self, ending: Ending) -> Unrecorded {
        self.ended = true;
        self.world.lanes().ended(self.lane, ending);
        Unrecorded(Arc::clone(&self.world))
    }

    fn end_unsent(mut self) {
        self.ended = true;
        self.world.lanes().unsent(self.lane);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut lanes = self.world.lanes();
        lanes.ended(self.lane, Ending::Badly);
        lanes.recorded();
        drop(lanes);
        if std::thread::panicking() {
            // Nobody else would give the place to the next one.
            start_senders(&self.world);
        }
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        self.0.lanes().recorded();
    }
}

/// A lane that sends nothing while word that its endpoint is gone is on its way to the disk.
struct Withheld<'a>(&'a World, LaneKey);

impl Drop for Withheld<'_> {
    fn drop(&mut self) {
        self.0.lanes().resume(self.1);
    }
}

/// A result that the store refuses for now: its delivery must not be claimed again meanwhile.
struct Refused {
    world: Arc<World>,
    lane: LaneKey,
}

impl Refused {
    fn by(world: &Arc<World>, lane: LaneKey) -> Refused {
        world.lanes().refused(lane);
        Refused { world: Arc::clone(world), lane }
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        self.world.decide(|lanes| lanes.settled(self.lane));
    }
}

/// One more on a gauge, until dropped.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn on(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Counted(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
