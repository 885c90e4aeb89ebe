//! What is counted and timed. Names and meanings are what `/metrics` shows.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The counters of one engine. Cloning gives another handle to the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Events accepted: on disk and answered.
    pub accepted: Counter,
    /// Deliveries concluded.
    pub delivered: Counter,
    /// Deliveries given up.
    pub failed: Counter,
    /// Attempts that failed and will be repeated.
    pub retried: Counter,
    /// Attempts on the wire now.
    pub in_flight: Gauge,
    /// Endpoints that are left alone now because every attempt fails.
    pub breakers_open: Gauge,
    /// Breakers that opened.
    pub failing: Counter,
    /// Breakers that closed again.
    pub recovered: Counter,
    /// Endpoints disabled without anybody asking for it.
    pub disabled: Counter,
    /// Nodes on the same store, this one included.
    pub nodes: Gauge,
    /// Shards whose lanes are this node's.
    pub shards: Gauge,
    /// From accepted to the start of the first attempt.
    pub first_attempt: Histogram,
    /// A whole attempt.
    pub attempt: Histogram,
    /// A commit of the store, its fsync included.
    pub fsync: Histogram,
}

/// Upper bounds in seconds, from a tenth of a millisecond to half a minute.
const BOUNDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    15.0, 30.0,
];

impl Default for Metrics {
    fn default() -> Self {
        let histogram = || Histogram::new(BOUNDS);
        Metrics {
            accepted: Counter::default(),
            delivered: Counter::default(),
            failed: Counter::default(),
            retried: Counter::default(),
            in_flight: Gauge::default(),
            breakers_open: Gauge::default(),
            failing: Counter::default(),
            recovered: Counter::default(),
            disabled: Counter::default(),
            nodes: Gauge::default(),
            shards: Gauge::default(),
            first_attempt: histogram(),
            attempt: histogram(),
            fsync: histogram(),
        }
    }
}

impl Metrics {
    /// Shows everything in `registry`, with names that begin with `fanfare_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("fanfare");
        registry.register("events_accepted", "Events on disk", self.accepted.clone());
        registry.register("deliveries_delivered", "Concluded", self.delivered.clone());
        registry.register("deliveries_failed", "Given up", self.failed.clone());
        registry.register("attempts_retried", "Failed, to be repeated", self.retried.clone());
        registry.register("attempts_in_flight", "On the wire now", self.in_flight.clone());
        self.register_health(registry);
        registry.register("nodes", "Nodes on the same store", self.nodes.clone());
        registry.register("shards_held", "Shards of 64 that this node has", self.shards.clone());
        registry.register(
            "first_attempt_seconds",
            "From accepted to the start of the first attempt",
            self.first_attempt.clone(),
        );
        registry.register("attempt_seconds", "A whole attempt", self.attempt.clone());
        registry.register("store_fsync_seconds", "A durable commit", self.fsync.clone());
    }

    fn register_health(&self, registry: &mut Registry) {
        registry.register(
            "endpoints_breaker_open",
            "Left alone now because every attempt fails",
            self.breakers_open.clone(),
        );
        registry.register("endpoints_failing", "Breakers that opened", self.failing.clone());
        registry.register("endpoints_recovered", "Breakers that closed", self.recovered.clone());
        registry.register(
            "endpoints_disabled",
            "Given up: answered 410, or failed for days",
            self.disabled.clone(),
        );
    }
}

/// Measures how long something takes. It never decides anything, so it may read the machine's
/// monotonic clock directly.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "a measurement, not a decision")]
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
