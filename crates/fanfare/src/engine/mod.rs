//! The road: emit, schedule, deliver, record; and the engine that drives it.

mod acting;
mod api_keys;
mod asked;
mod cancel;
mod deliver;
mod dispatch;
mod emit;
#[cfg(feature = "postgres")]
mod emit_in;
mod explain;
mod filters;
mod finish;
mod flights;
mod health;
mod hear;
mod manage;
mod outbox;
mod own;
mod refusals;
mod rekey;
mod replay;
mod rotate;
mod sealing;
mod secrets;
mod tenure;
mod told;
mod trouble;
mod upkeep;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::model::{Actor, ActorKind};
use crate::policy::lanes::{Lanes, Limits, Turn};
use crate::policy::retry::RetryPolicy;
use crate::seal::Seal;
use crate::send::{GuardPolicy, Transport};
use crate::store::{Outbox, Store};
use api_keys::Presented;
use filters::Filters;
use flights::Flights;
use refusals::Refusals;
use sealing::Sealing;
use secrets::Secrets;
use tenure::{Holding, InFlight};

pub use api_keys::{ApiKeyText, KEY_NAME_MAX, NewApiKey};
pub use asked::{
    DELIVER_AT_MAX, DEPTH_MAX, EVENTS_BYTES_MAX, EVENTS_MAX, IDEMPOTENCY_KEY_MAX, NewEvent,
    ORDERING_KEY_CHARS_MAX, check_json, check_ordering_key,
};
pub use cancel::Cancelled;
pub use explain::{Explained, Heard, Traced, Unheard};
pub use hear::Hearing;
pub use manage::{
    COALESCE_DEFAULT, COALESCE_MAX, COMPANY_NAME_MAX, IN_FLIGHT_MAX, NewEndpoint, RATE_MAX,
    RETRIES_DEFAULT, RETRIES_MAX, SUBSCRIPTIONS_MAX,
};
pub use own::OwnChange;
pub use rekey::{KeyRotation, PREVIOUS_KEY};
pub use replay::{NewReplay, REPLAY_COUNT_MAX, REPLAY_LIST_MAX, REPLAY_PACE_MAX};
pub use rotate::{GRACE_DEFAULT, GRACE_MAX, PublishedKey, Rotation};
pub use upkeep::check;

/// The delivery engine. Cloning it is cheap and gives another handle to the same engine.
#[derive(Clone)]
pub struct Engine {
    world: Arc<World>,
    /// Who changes things through this handle.
    actor: Arc<Actor>,
}

/// What an engine is made of: its three edges and its rules.
pub struct Parts {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// The disk.
    pub store: Arc<dyn Store>,
    /// Where platforms say events inside their own transactions.
    pub outboxes: Vec<Arc<dyn Outbox>>,
    /// Seals secrets.
    pub seal: Seal,
    /// The file of the key that seals, where it may be replaced by a new one.
    pub key_file: Option<PathBuf>,
    /// Which URLs may be registered.
    pub guard: GuardPolicy,
    /// Counters.
    pub metrics: Metrics,
    /// What this node is called among others on the same store: `host:port`, or a word.
    pub node: String,
    /// Numbers.
    pub rules: Rules,
}

/// The engine's numbers.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How long to wait between attempts.
    pub retry: RetryPolicy,
    /// One attempt, from name resolution to last byte.
    pub request_timeout: Duration,
    /// The largest payload, in bytes.
    pub max_payload: usize,
    /// How long concluded history is kept.
    pub retention: Duration,
    /// How long payloads are kept; not longer than history, whatever is said here.
    pub payload_retention: Duration,
    /// An endpoint is disabled once every attempt has failed for so long.
    pub disable_after: Duration,
    /// How long an event is known by its id or key; at least as long as history is kept.
    pub key_retention: Duration,
    /// How long this node keeps its share of a store that it shares with others when nothing is heard
    /// of it.
    pub node_lease: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            retry: RetryPolicy::default(),
            request_timeout: Duration::from_secs(15),
            max_payload: 256 * 1024,
            retention: Duration::from_hours(30 * 24),
            payload_retention: Duration::from_hours(30 * 24),
            disable_after: Duration::from_hours(5 * 24),
            key_retention: Duration::from_hours(60 * 24),
            node_lease: Duration::from_secs(15),
        }
    }
}

struct World {
    clock: Arc<dyn Clock>,
    transport: Arc<dyn Transport>,
    store: Arc<dyn Store>,
    /// Those that nobody takes from yet.
    outboxes: Mutex<Vec<Arc<dyn Outbox>>>,
    /// How a transaction on PostgreSQL says an event, where there is such an outbox.
    #[cfg(feature = "postgres")]
    emit_statement: Option<String>,
    seal: Sealing,
    guard: GuardPolicy,
    metrics: Metrics,
    node: String,
    rules: Rules,
    tenure: Holding,
    secrets: Secrets,
    filters: Filters,
    flights: Flights,
    presented: Presented,
    refusals: Refusals,
    /// Whose turn it is. Held for the time of a decision, never across a wait.
    lanes: Mutex<Lanes>,
    /// Rung when a lane may want something from the store before the dispatcher planned to look.
    wake: Notify,
    /// Rung when there may be something to tidy before the next round.
    tidy: Notify,
    /// Rung when there is a new replay.
    replays: Notify,
    /// Set once claims of an earlier process are void.
    started: AtomicBool,
    /// Set once nothing new is taken.
    draining: AtomicBool,
    /// Ends the dispatcher and the upkeep.
    stop: CancellationToken,
    /// Ends attempts in flight.
    cut: CancellationToken,
    tasks: TaskTracker,
    senders: TaskTracker,
}

/// How long a claim may wait for its turn beyond the time of its own request: the window before it,
/// one slow request after the other.
const LEASE_FACTOR: u32 = 40;
/// The shortest lease: a disk that stalls for some seconds must not cost a duplicate.
const LEASE_MIN: Duration = Duration::from_mins(1);

impl Rules {
    /// How long a claim holds.
    fn lease(&self) -> Duration {
        self.request_timeout.saturating_mul(LEASE_FACTOR).max(LEASE_MIN)
    }

    /// What is still there must be known.
    fn key_retention(&self) -> Duration {
        self.key_retention.max(self.retention)
    }

    /// What lanes may hold and send at once.
    fn limits(&self) -> Limits {
        // As long again as the request may take is left for its result to reach the disk.
        let attempt = self.request_timeout.saturating_mul(2);
        let (lease, disable_after) = (self.lease(), self.disable_after);
        Limits { lease, attempt, disable_after, ..Limits::default() }
    }
}

impl Engine {
    /// An engine made of these parts. It accepts and answers, and delivers once it is started.
    pub fn new(parts: Parts) -> Self {
        let limits = parts.rules.limits();
        let world = World {
            clock: parts.clock,
            transport: parts.transport,
            store: parts.store,
            #[cfg(feature = "postgres")]
            emit_statement: parts.outboxes.iter().find_map(|outbox| outbox.emit_statement()),
            outboxes: Mutex::new(parts.outboxes),
            seal: Sealing::new(parts.seal, parts.key_file),
            guard: parts.guard,
            metrics: parts.metrics,
            node: parts.node,
            tenure: Holding::default(),
            rules: parts.rules,
            secrets: Secrets::default(),
            filters: Filters::default(),
            flights: Flights::default(),
            presented: Presented::default(),
            refusals: Refusals::default(),
            lanes: Mutex::new(Lanes::new(limits)),
            wake: Notify::new(),
            tidy: Notify::new(),
            replays: Notify::new(),
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            senders: TaskTracker::new(),
        };
        Engine { world: Arc::new(world), actor: Arc::new(Actor::of(ActorKind::Library)) }
    }

    /// Takes up what an earlier process left behind, and delivers from here on, in the background.
    pub async fn start(&self) -> Result<()> {
        let world = &self.world;
        let tenure = tenure::renew(world).await?;
        upkeep::make_room(world).await?;
        world.started.store(true, Ordering::Release);
        if let Some(lease) = tenure.lease {
            world.tasks.spawn(tenure::keep(Arc::clone(world), lease));
            world.tasks.spawn(tenure::listen(Arc::clone(world)));
            world.tasks.spawn(told::hear(Arc::clone(world)));
        }
        let engine = self.clone();
        world.tasks.spawn(async move { engine.dispatch().await });
        let engine = self.clone();
        world.tasks.spawn(async move { engine.keep_house().await });
        let engine = self.clone();
        world.tasks.spawn(async move { engine.work_off_replays().await });
        outbox::take_from_all(world);
        Ok(())
    }

    /// Refuses new events from here on; what is on its way goes on.
    pub fn drain(&self) {
        self.world.draining.store(true, Ordering::Relaxed);
    }

    /// Is nothing new taken any more?
    pub fn is_draining(&self) -> bool {
        self.world.draining.load(Ordering::Relaxed)
    }

    /// Starts nothing new, waits until attempts in flight have ended and are recorded, or `grace`
    /// is over, gives back what was claimed, and closes the store.
    pub async fn stop(&self, grace: impl Future<Output = ()>) {
        let world = &self.world;
        self.drain();
        world.stop.cancel();
        world.give_all_back();
        world.tenure.leave();
        world.senders.close();
        tokio::select! {
            () = world.senders.wait() => {}
            () = grace => world.cut.cancel(),
        }
        world.senders.wait().await;
        world.tenure.end.cancel();
        world.tasks.close();
        world.tasks.wait().await;
        world.store.close().await;
    }

    /// Can an event be accepted now?
    pub async fn ready(&self) -> Result<()> {
        self.world.refuse_while_draining()?;
        Ok(self.world.store.ready(self.world.rules.max_payload).await?)
    }

    /// Returns, with the reason, once the disk has lost a write that it had been asked to keep;
    /// otherwise never. The process must then end.
    pub async fn lost(&self) -> String {
        self.world.store.lost().await
    }

    /// The disk.
    pub(crate) fn store(&self) -> &dyn Store {
        self.world.store.as_ref()
    }

    /// The network, for other requests of the server: the guard stands before them too.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.world.transport
    }

    /// The engine's counters.
    pub fn metrics(&self) -> &Metrics {
        &self.world.metrics
    }

    /// How long the oldest delivery that could be sent has been waiting.
    pub fn oldest_due(&self) -> Duration {
        let now = self.world.clock.now();
        self.world.lanes().oldest_due(now).map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The engine's rules.
    pub fn rules(&self) -> &Rules {
        &self.world.rules
    }

    /// The engine's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.world.clock
    }
}

impl World {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the lanes something, and wakes the dispatcher when it must look at the store earlier
    /// for that.
    fn decide<T>(&self, tell: impl FnOnce(&mut Lanes) -> T) -> T {
        let mut lanes = self.lanes();
        let told = tell(&mut lanes);
        let sooner = lanes.sooner();
        let breakers_open = i64::try_from(lanes.breakers_open()).unwrap_or(i64::MAX);
        drop(lanes);
        self.metrics.breakers_open.set(breakers_open);
        if sooner {
            self.wake.notify_one();
        }
        told
    }

    /// What is to be sent now. It counts as in flight from the same moment on, so that its shard does
    /// not change hands.
    fn next_claim(self: &Arc<Self>) -> Option<(Turn, InFlight)> {
        if !self.delivers() {
            return None;
        }
        let now = self.clock.now();
        self.decide(|lanes| {
            let turn = lanes.next_claim(now)?;
            let in_flight = InFlight::of(self, turn.pass.key.endpoint.uuid());
            Some((turn, in_flight))
        })
    }

    fn lease(&self) -> Duration {
        self.rules.lease()
    }

    /// Started, with a lease that holds, and not yet told to stop.
    fn delivers(&self) -> bool {
        let started = self.started.load(Ordering::Acquire);
        started && self.tenure.is_valid() && !self.stop.is_cancelled()
    }

    fn refuse_while_draining(&self) -> Result<()> {
        if self.draining.load(Ordering::Relaxed) { Err(Error::Draining) } else { Ok(()) }
    }

    /// A number in `0.0..1.0`.
    fn draw_jitter(&self) -> f64 {
        f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
    }
}
