//! Open-loop load: events at a fixed rate, whatever becomes of those before.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::Client;
use crate::server::{Post, Server, emit_for};

/// Connections among which a load is dealt out.
const SENDERS: u32 = 16;

/// What to emit, and how often.
#[derive(Clone)]
pub(crate) struct Load {
    rate: u32,
    numbers: Range<u64>,
    post: Arc<dyn Fn(u64) -> Post + Send + Sync>,
    stop: Arc<AtomicBool>,
}

/// An event that was accepted.
#[derive(Clone, Copy)]
pub(crate) struct Emitted {
    pub(crate) number: u64,
    /// When it began to be asked for: when it was due, if its connection was still busy then, so
    /// that a server that stalls is not measured only once. A timer that wakes late does not count.
    pub(crate) asked: Instant,
    /// When the 202 was there.
    pub(crate) accepted: Instant,
}

impl Load {
    /// `rate` events a second, numbered from 0, for some seconds.
    pub(crate) fn new(
        rate: u32,
        seconds: u64,
        post: impl Fn(u64) -> Post + Send + Sync + 'static,
    ) -> Self {
        let numbers = 0..u64::from(rate) * seconds;
        Load { rate, numbers, post: Arc::new(post), stop: Arc::default() }
    }

    /// The same once more, with numbers that were not there yet.
    pub(crate) fn again(&self, seconds: u64) -> Self {
        let first = self.numbers.end;
        Load { numbers: first..first + u64::from(self.rate) * seconds, ..self.clone() }
    }

    /// Ends it early when this is set.
    pub(crate) fn until(self, stop: &Arc<AtomicBool>) -> Self {
        Load { stop: Arc::clone(stop), ..self }
    }

    /// Emits all of it, on this thread. Returns what was emitted, in order.
    pub(crate) fn run(&self, server: &Server) -> Vec<Emitted> {
        self.run_among(std::slice::from_ref(server))
    }

    /// The same, dealt out among nodes in turn.
    pub(crate) fn run_among(&self, nodes: &[Server]) -> Vec<Emitted> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut emitted = runtime.block_on(async {
            let mut senders = JoinSet::new();
            let start = Instant::now() + Duration::from_millis(50);
            for (sender, node) in (0..SENDERS).zip(nodes.iter().cycle()) {
                let client = Client::connect(node.address).await;
                senders.spawn(send(self.clone(), sender, start, (client, node.bearer())));
            }
            senders.join_all().await.concat()
        });
        emitted.sort_unstable_by_key(|emitted: &Emitted| emitted.number);
        emitted
    }
}

async fn send(load: Load, sender: u32, start: Instant, to: (Client, String)) -> Vec<Emitted> {
    let (mut client, bearer) = to;
    let headers = [("authorization", bearer.as_str())];
    let mut emitted = Vec::new();
    let first = load.numbers.start;
    for number in load.numbers.skip(sender as usize).step_by(SENDERS as usize) {
        let post = (load.post)(number);
        let due = start + Duration::from_secs_f64((number - first) as f64 / f64::from(load.rate));
        let asked = wait_for(due).await;
        if load.stop.load(Ordering::Relaxed) {
            break;
        }
        emit_for(&mut client, &headers, &post).await;
        emitted.push(Emitted { number, asked, accepted: Instant::now() });
    }
    emitted
}

/// Returns now, or the due time if that has passed already.
async fn wait_for(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}
