//! One attempt, start to finish: send, judge, record.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::engine::dispatch::{give_back, start_senders, take_in};
use crate::engine::tenure::InFlight;
use crate::engine::trouble::Again;
use crate::engine::{World, health, trouble};
use crate::metrics::Stopwatch;
use crate::model::{
    Answer, Attempt, Claim, Headers, LaneKey, Outcome, Record, Timestamp, Timing, Verdict, expired,
};
use crate::policy::lanes::{Change, Consequence, End, Ending, Pass, Turn};
use crate::policy::retry;
use crate::send::{self, Request, Sent};
use crate::store::Unsent;

/// How much of an answer's body the history keeps.
const BODY_BYTES_KEPT: usize = 16 * 1024;
/// How long to wait before a delivery that could not be ended is looked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends a delivery once and records what came of it.
///
/// If the process dies anywhere before the record is on disk, the delivery is claimed again: at
/// least once, never lost.
pub(super) async fn deliver(world: Arc<World>, turn: Turn, _in_flight: InFlight) {
    let Turn { claim, pass } = turn;
    let slot = Slot::taken(&world, pass);
    if let Some(end) = claim.event.expires_at.filter(|end| *end <= world.clock.now()) {
        slot.end_unsent();
        return end_expired(&world, claim, end).await;
    }
    let attempt = match attempt(&world, &claim, pass.probe).await {
        Ok(attempt) => attempt,
        Err(Cut::Stopped) => return, // Nothing is recorded, the next start delivers it.
        Err(Cut::Lapsed) => {
            slot.end_unsent();
            return give_back(&world, vec![claim], Duration::ZERO);
        }
    };
    let now = world.clock.now();
    let ending = ending(&attempt.outcome);
    let (unrecorded, consequence) =
        slot.end(End { ending, at: now, hold: retry::hold(&attempt.outcome, now) });
    let Consequence { health, change, back } = consequence;
    let ends = ending == Ending::Gone || matches!(change, Some(Change::GivenUp { .. }));
    let withheld = ends.then(|| Withheld(&world, pass.key));
    give_back(&world, back, Duration::ZERO);
    // The lane may go on while the result is on its way to the disk.
    start_senders(&world);

    let verdict = judge(&world, &claim, &attempt, now);
    let verdict = retry::in_time(verdict, attempt.number, claim.event.expires_at);
    let next = (claim.ordered && change.is_none())
        .then(|| world.lanes().admits(pass.key.endpoint, now))
        .and_then(|admitted| admitted.then(|| world.lease()));
    let mut record = Record { health, next, ..Record::new(claim, attempt.into(), verdict, now) };
    health::draw(&mut record, change);
    save(&world, record, change).await;
    drop((withheld, unrecorded));
    start_senders(&world);
}

/// What becomes of the delivery. Probes use up no retries.
fn judge(world: &World, claim: &Claim, attempt: &Attempt, now: Timestamp) -> Verdict {
    if attempt.probe {
        return retry::judge_probe(&attempt.outcome, now);
    }
    let counted = attempt.number.saturating_sub(claim.probes);
    let retries = (counted, claim.endpoint.max_retries);
    retry::judge(&world.rules.retry, retries, &attempt.outcome, now, world.draw_jitter())
}

/// Ends a delivery whose event had expired when its turn came.
async fn end_expired(world: &Arc<World>, claim: Claim, expired_at: Timestamp) {
    let (company, reason) = (claim.event.company, expired(claim.attempts, expired_at));
    let doomed = [(claim.delivery, Some(claim.fence))];
    let unsent = Unsent::by_rule(&reason, world.clock.now());
    match world.store.end(company, &doomed, &unsent).await {
        Ok(ended) => {
            world.metrics.failed.inc_by(ended.deliveries.len() as u64);
            world.look_into_all(&ended.woken);
        }
        Err(error) => {
            trouble::log(&error, "an expired delivery is to be ended later");
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

/// Why an attempt came to no end.
enum Cut {
    /// The engine was told to.
    Stopped,
    /// The lease had run out before anything was sent: another node may have the delivery by now, or
    /// this one has it still and was only late to renew.
    Lapsed,
}

/// Makes the request of this attempt and waits for what becomes of it.
async fn attempt(world: &Arc<World>, claim: &Claim, probe: bool) -> Result<Attempt, Cut> {
    let started_at = world.clock.now();
    let number = claim.attempts + 1;
    if number == 1 {
        let waited = started_at.since(claim.event.created_at);
        world.metrics.first_attempt.observe(waited.as_secs_f64());
    }
    let opened = world.secrets.of(&world.seal, &claim.endpoint, started_at);
    let (sent, headers, duration) = match opened {
        Ok(opened) => {
            let request = send::request(claim, &opened.signers, &opened.own, started_at);
            let headers = send::shown(&request.headers);
            let stopwatch = Stopwatch::start();
            let flight = world.flights.begin(claim.delivery, started_at);
            let mut sent = guarded(world, claim, request).await?;
            drop(flight);
            if let Outcome::Answered(answer) = &mut sent.outcome {
                answer.body.truncate(BODY_BYTES_KEPT);
            }
            (sent, headers, stopwatch.elapsed())
        }
        Err((purpose, why)) => {
            tracing::error!(endpoint.id = %claim.endpoint.id, "{why}");
            let reason = format!("refused: the {purpose} cannot be read");
            (Outcome::NoAnswer { reason }.into(), Headers::default(), Duration::ZERO)
        }
    };
    world.metrics.attempt.observe(duration.as_secs_f64());
    tracing::debug!(
        delivery.id = %claim.delivery, attempt = number, ?duration, "{}", retry::describe(&sent.outcome)
    );
    let url = claim.endpoint.url.to_string();
    let timing = Timing { queue: Some(started_at.since(claim.due_at)), ..sent.timing };
    let outcome = sent.outcome;
    Ok(Attempt { number, started_at, duration, timing, probe, url, headers, outcome })
}

/// Sends a request, unless its URL as it is stored would not be taken: it may have come into the
/// store by another hand, or under another policy.
async fn guarded(world: &Arc<World>, claim: &Claim, request: Request) -> Result<Sent, Cut> {
    let stored = &claim.endpoint.url;
    let sent = match world.guard.judge_stored(stored.as_str(), stored.url()) {
        Ok(()) => transmit(world, request).await?,
        Err(refusal) => refusal.into(),
    };
    if let Some(refusal) = sent.refusal {
        world.refusals.tell(refusal, &claim.endpoint, world.clock.now());
    }
    Ok(sent)
}

async fn transmit(world: &Arc<World>, request: Request) -> Result<Sent, Cut> {
    if !world.tenure.is_valid() {
        return Err(Cut::Lapsed);
    }
    let _counted = Counted::on(&world.metrics.in_flight);
    tokio::select! {
        sent = world.transport.send(request) => Ok(sent),
        () = world.cut.cancelled() => Err(Cut::Stopped),
    }
}

/// Brings a result to the disk, however long the store refuses, and draws the consequences.
async fn save(world: &Arc<World>, record: Record, change: Option<Change>) {
    let (mut refused, mut again) = (None, Again::new());
    let recorded = loop {
        match world.store.record(record.clone()).await {
            Ok(recorded) => break recorded,
            Err(error) if error.passes() => {
                refused.get_or_insert_with(|| Refused::by(world, record.claim.endpoint.lane()));
                tokio::select! {
                    () = world.clock.sleep_until(again.after(world.clock.now())) => {}
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
    // Refused before, it may have been applied all the same, and only the answer lost: what follows
    // must follow. If not, another one has it: that one is told nothing it does not know.
    let repeated = refused.is_some();
    if recorded.applied || repeated {
        count(world, &record.verdict);
        if let Verdict::Failed(reason) = &record.verdict {
            let (delivery, endpoint) = (record.claim.delivery, record.claim.endpoint.id);
            tracing::warn!(delivery.id = %delivery, endpoint.id = %endpoint, "given up: {reason}");
        }
        world.heard(&record, change).await;
    } else {
        let delivery = record.claim.delivery;
        tracing::warn!(delivery.id = %delivery, "a result came too late, or for the second time");
    }
    tell_lanes(world, &record, &recorded.woken);
    if repeated {
        // Whom it let go was in the lost answer.
        world.look_into(record.claim.endpoint.lane());
    }
    if recorded.next.is_some() {
        take_in(world, recorded.next.into_iter().collect(), std::iter::empty(), record.at);
    }
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

/// Tells the lanes what has fallen due by a record, or will.
fn tell_lanes(world: &Arc<World>, record: &Record, woken: &[LaneKey]) {
    if let Verdict::RetryAt(due) = record.verdict {
        world.decide(|lanes| lanes.stored(record.claim.endpoint.lane(), due));
    }
    world.look_into_all(woken);
}

/// A place among the attempts in flight. Dropped means given back, also on panic.
struct Slot {
    world: Arc<World>,
    pass: Pass,
    ended: bool,
}

/// A place among the results that wait for the disk.
struct Unrecorded(Arc<World>);

impl Slot {
    fn taken(world: &Arc<World>, pass: Pass) -> Slot {
        Slot { world: Arc::clone(world), pass, ended: false }
    }

    fn end(mut self, end: End) -> (Unrecorded, Consequence) {
        self.ended = true;
        let consequence = self.world.decide(|lanes| lanes.ended(self.pass, end));
        (Unrecorded(Arc::clone(&self.world)), consequence)
    }

    fn end_unsent(mut self) {
        self.ended = true;
        let now = self.world.clock.now();
        self.world.decide(|lanes| lanes.unsent(self.pass, now));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let end = End { ending: Ending::Lost, at: self.world.clock.now(), hold: None };
        let consequence = self.world.decide(|lanes| {
            let consequence = lanes.ended(self.pass, end);
            lanes.recorded();
            consequence
        });
        give_back(&self.world, consequence.back, Duration::ZERO);
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
