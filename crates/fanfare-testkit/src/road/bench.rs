//! An engine on a real store, a manual clock and a scripted network.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare::clock::{Clock, ManualClock};
use fanfare::engine::{NewEndpoint, NewEvent, Parts, RETRIES_DEFAULT, Rules};
use fanfare::keys::EncryptionKeys;
use fanfare::metrics::Metrics;
use fanfare::model::{Delivery, DeliveryState, Endpoint, EndpointChange};
use fanfare::policy::retry::RetryPolicy;
use fanfare::send::GuardPolicy;
use fanfare::store::Histories;
use fanfare::{CompanyId, Engine, EventId, Timestamp};

use super::Ground;
use super::network::{Network, Wire};
use super::pulse::Pulse;
use super::tapped::Tapped;

/// When the tests play.
pub const START: Timestamp = Timestamp(1_700_000_000_000);
/// What an event tells.
pub const PAYLOAD: &[u8] = br#"{"total":1.10,"big":12345678901234567890}"#;
/// The waits before the attempts after the first.
pub const DELAYS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_mins(1), Duration::from_mins(5)];
/// How long a claim holds.
pub const LEASE: Duration = Duration::from_mins(10);
/// The pause between two slices of housekeeping.
pub const BREATH: Duration = Duration::from_millis(4);
/// Long enough for whatever was missed to be found.
pub const SWEEP: Duration = Duration::from_secs(61);

/// The file of the key that secrets are sealed with.
const KEY_FILE: &str = "encryption-key";

/// Everything a behaviour needs.
pub struct Bench {
    ground: Box<dyn Ground>,
    /// Time; it stands until told to move.
    pub clock: Arc<ManualClock>,
    /// The network.
    pub network: Arc<Network>,
    /// A company.
    pub company: CompanyId,
    pulse: Arc<Pulse>,
    keys: tempfile::TempDir,
    run: Run,
}

/// One life of the process.
struct Run {
    engine: Engine,
    store: Arc<Tapped>,
    cut: Arc<AtomicBool>,
}

impl Bench {
    /// An engine that has been started on an empty store.
    pub async fn on(ground: impl Ground + 'static) -> Bench {
        let clock = Arc::new(ManualClock::at(START));
        let pulse = Arc::new(Pulse::default());
        let network = Arc::new(Network::new(Arc::clone(&clock), Arc::clone(&pulse)));
        let keys = tempfile::tempdir().unwrap();
        let wire = (Arc::clone(&clock), Arc::clone(&network));
        let run = run(&ground, wire, &pulse, &keys.path().join(KEY_FILE)).await;
        let company = CompanyId::new(START);
        let bench = Bench { ground: Box::new(ground), clock, network, company, pulse, keys, run };
        bench.engine().start().await.unwrap();
        bench
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.run.engine
    }

    /// The store, between the engine and the disk.
    pub fn store(&self) -> &Tapped {
        &self.run.store
    }

    /// Waits, without moving the clock, until everything that can happen has happened.
    pub async fn rest(&self) {
        self.pulse.rest().await;
    }

    /// Moves the clock, and lets happen what is to happen by then.
    pub async fn pass(&self, time: Duration) {
        self.rest().await;
        self.clock.advance(time);
        self.rest().await;
    }

    /// Moves the clock a step at a time, as a clock does.
    pub async fn pass_slowly(&self, time: Duration, step: Duration) {
        let end = self.clock.now().plus(time);
        while self.clock.now() < end {
            self.pass(step.min(end.since(self.clock.now()))).await;
        }
    }

    /// Lets the round of housekeeping that is under way come to its end, and another one.
    pub async fn tidy_up(&self) {
        self.pass_slowly(BREATH * 40, BREATH).await;
        self.pass(SWEEP).await;
        self.pass_slowly(BREATH * 40, BREATH).await;
    }

    /// The process dies, at whatever point it is: nothing of it is heard again.
    pub async fn crash(&mut self) {
        self.crash_unstarted().await;
        self.engine().start().await.unwrap();
        self.rest().await;
    }

    /// The process dies; the next one is not started yet.
    pub async fn crash_unstarted(&mut self) {
        self.run.cut.store(true, Ordering::SeqCst);
        let disk = self.run.store.die();
        self.network.forget_hanging();
        self.rest().await;
        if let Some(disk) = disk {
            disk.close().await;
        }
        self.run = self.run_again().await;
    }

    /// Stops with all the time in the world for what is in flight, and starts again.
    pub async fn restart(&mut self) {
        self.engine().stop(pending()).await;
        self.start_again().await;
    }

    /// Stops at once, and starts again.
    pub async fn restart_at_once(&mut self) {
        self.engine().stop(ready(())).await;
        self.start_again().await;
    }

    /// A process after one that has stopped.
    pub async fn start_again(&mut self) {
        self.network.forget_hanging();
        self.run = self.run_again().await;
        self.engine().start().await.unwrap();
        self.rest().await;
    }

    async fn run_again(&self) -> Run {
        let wire = (Arc::clone(&self.clock), Arc::clone(&self.network));
        run(&*self.ground, wire, &self.pulse, &self.key_file()).await
    }

    /// The file of the key that secrets are sealed with.
    pub fn key_file(&self) -> PathBuf {
        self.keys.path().join(KEY_FILE)
    }

    /// The end of every behaviour: nothing is broken, and no place was lost.
    pub async fn end(&self) {
        self.rest().await;
        assert_eq!(self.engine().check().await.unwrap(), Vec::<String>::new());
        let hanging = i64::try_from(self.network.hanging()).unwrap();
        assert_eq!(self.engine().metrics().in_flight.get(), hanging, "attempts in flight");
        self.engine().stop(ready(())).await;
    }

    /// An endpoint of the company that hears everything.
    pub async fn endpoint(&self) -> Endpoint {
        self.endpoint_of(self.company, RETRIES_DEFAULT).await
    }

    /// An endpoint that allows so many retries.
    pub async fn endpoint_of(&self, company: CompanyId, max_retries: u32) -> Endpoint {
        self.register(company, "https://shop.example/hooks", max_retries).await
    }

    /// An endpoint at this address.
    pub async fn endpoint_at(&self, company: CompanyId, url: &str) -> Endpoint {
        self.register(company, url, RETRIES_DEFAULT).await
    }

    async fn register(&self, company: CompanyId, url: &str, max_retries: u32) -> Endpoint {
        let everything = vec!["*".parse().unwrap()];
        let new = NewEndpoint { max_retries, ..NewEndpoint::new(url.parse().unwrap(), everything) };
        self.engine().register(company, new).await.unwrap()
    }

    /// Emits an event of the company.
    pub async fn emit(&self) -> EventId {
        self.emit_for(self.company).await
    }

    /// Emits an event.
    pub async fn emit_for(&self, company: CompanyId) -> EventId {
        self.engine().emit(company, event()).await.unwrap().id
    }

    /// Emits so many events at once.
    pub async fn emit_many(&self, company: CompanyId, count: usize) {
        let emits = (0..count).map(|_| self.engine().emit(company, event()));
        for receipt in futures_util::future::join_all(emits).await {
            receipt.unwrap();
        }
    }

    /// Changes an endpoint.
    pub async fn change(&self, endpoint: &Endpoint, change: EndpointChange) -> Endpoint {
        self.engine().change_endpoint(endpoint.company, endpoint.id, change).await.unwrap()
    }

    /// Disables an endpoint.
    pub async fn disable(&self, endpoint: &Endpoint) {
        self.change(endpoint, switched(Some("off".to_owned()))).await;
    }

    /// Enables an endpoint.
    pub async fn enable(&self, endpoint: &Endpoint) {
        self.change(endpoint, switched(None)).await;
    }

    /// An endpoint as it is now.
    pub async fn present(&self, endpoint: &Endpoint) -> Endpoint {
        self.engine().endpoint(endpoint.company, endpoint.id).await.unwrap()
    }

    /// An endpoint's deliveries, the oldest first.
    pub async fn deliveries(&self, endpoint: &Endpoint) -> Vec<Delivery> {
        let (company, id) = (endpoint.company, endpoint.id);
        let found = self.store().deliveries_before(company, id, None, 100_000).await.unwrap();
        found.into_iter().rev().map(|history| history.delivery).collect()
    }

    /// An endpoint's only delivery.
    pub async fn only(&self, endpoint: &Endpoint) -> Delivery {
        let mut deliveries = self.deliveries(endpoint).await;
        assert_eq!(deliveries.len(), 1, "one delivery");
        deliveries.remove(0)
    }

    /// The state and attempts of an endpoint's only delivery, once all is at rest.
    pub async fn standing(&self, endpoint: &Endpoint) -> (DeliveryState, u32) {
        self.rest().await;
        let only = self.only(endpoint).await;
        (only.state, only.attempts)
    }

    /// How many of an endpoint's deliveries are waiting, concluded and failed, once all is at rest.
    pub async fn tally(&self, endpoint: &Endpoint) -> [usize; 3] {
        self.rest().await;
        let mut tally = [0; 3];
        for delivery in self.deliveries(endpoint).await {
            tally[delivery.state as usize] += 1;
        }
        tally
    }

    /// How often each event was sent.
    pub fn sent_of_each(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for sent in self.network.sent() {
            *counts.entry(sent.webhook_id()).or_default() += 1;
        }
        counts
    }

    /// Every request is an attempt of a delivery, and every attempt was a request.
    pub async fn every_request_is_recorded(&self, endpoints: &[Endpoint]) {
        self.rest().await;
        let mut recorded: BTreeMap<String, u32> = BTreeMap::new();
        for endpoint in endpoints {
            for delivery in self.deliveries(endpoint).await {
                *recorded.entry(delivery.event.to_string()).or_default() += delivery.attempts;
            }
        }
        recorded.retain(|_, attempts| *attempts > 0);
        assert_eq!(self.sent_of_each(), recorded);
    }
}

/// An event.
pub fn event() -> NewEvent {
    NewEvent::new("order.created".parse().unwrap(), Bytes::from_static(PAYLOAD))
}

/// Another address.
pub fn to_url(url: &str) -> EndpointChange {
    EndpointChange { url: Some(url.parse().unwrap()), ..EndpointChange::default() }
}

/// Disabled for a reason, or enabled.
pub fn switched(disabled: Option<String>) -> EndpointChange {
    EndpointChange { disabled: Some(disabled), ..EndpointChange::default() }
}

async fn run(
    ground: &dyn Ground,
    (clock, network): (Arc<ManualClock>, Arc<Network>),
    pulse: &Arc<Pulse>,
    key_file: &Path,
) -> Run {
    let keys = EncryptionKeys::read_or_make(key_file).unwrap();
    let store = Arc::new(Tapped::new(ground.open().await, Arc::clone(pulse)));
    let cut = Arc::new(AtomicBool::new(false));
    let wire = Wire { network, cut: Arc::clone(&cut) };
    let engine = Engine::new(Parts {
        clock: clock as Arc<dyn Clock>,
        transport: Arc::new(wire),
        store: Arc::clone(&store) as _,
        seal: keys.seal(),
        key_file: keys.file,
        guard: GuardPolicy::default(),
        metrics: Metrics::default(),
        node: "bench".to_owned(),
        rules: Rules { retry: RetryPolicy { delays: DELAYS.to_vec() }, ..Rules::default() },
    });
    engine.agree_on_encryption_keys().await.unwrap();
    Run { engine, store, cut }
}
