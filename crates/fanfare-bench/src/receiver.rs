//! The receiver that everything is posted to, on a thread of its own: answers and counts.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A running receiver. It ends with the process.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// One for each of its ports; the first is `address`.
    pub(crate) addresses: Vec<SocketAddr>,
    seen: Arc<Seen>,
}

/// What a receiver answers to an event, by its number and the number of its attempt (from 1).
pub(crate) type Manner = fn(number: u64, attempt: u32) -> Reply;

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// How long it takes its time.
    pub(crate) after: Duration,
}

impl Reply {
    pub(crate) const AT_ONCE: Reply =
        Reply { status: StatusCode::NO_CONTENT, after: Duration::ZERO };
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    /// What came of each event, where that is wanted. Their payloads begin with a number then.
    noted: Option<(Manner, Mutex<Notes>)>,
}

#[derive(Default)]
struct Notes {
    attempts: HashMap<u64, u32>,
    /// The head of the first attempt.
    arrivals: HashMap<u64, Instant>,
    /// Events in the order in which each was first answered well.
    passed: Vec<u64>,
    /// The same, to look up.
    known: HashSet<u64>,
}

impl Receiver {
    /// Starts one that counts.
    pub(crate) fn start() -> Self {
        Self::with(1, Seen::default())
    }

    /// Starts one that also notes when each event arrives.
    pub(crate) fn start_noting() -> Self {
        Self::start_on_ports(1, |_, _| Reply::AT_ONCE)
    }

    /// Starts one that listens on several ports, which makes as many hosts of it for a sender, and
    /// notes what comes.
    pub(crate) fn start_on_ports(ports: usize, manner: Manner) -> Self {
        Self::with(ports, Seen { noted: Some((manner, Mutex::default())), ..Seen::default() })
    }

    fn with(ports: usize, seen: Seen) -> Self {
        let seen = Arc::new(seen);
        let bind = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<_> = (0..ports).map(bind).collect();
        let addresses: Vec<_> =
            listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for listener in listeners {
                    tokio::spawn(serve(listener, Arc::clone(&shared)));
                }
                std::future::pending::<()>().await;
            });
        });
        Receiver { address: addresses[0], addresses, seen }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// Waits until there were this many; panics when nothing comes any more.
    pub(crate) fn wait_for(&self, requests: u64) {
        let (mut last, mut since) = (self.requests(), Instant::now());
        while self.requests() < requests {
            std::thread::sleep(Duration::from_millis(1));
            if self.requests() != last {
                (last, since) = (self.requests(), Instant::now());
            }
            assert!(since.elapsed() < Duration::from_secs(30), "only {last} of {requests} arrived");
        }
    }

    /// Waits until so many events were answered well, for some time. Returns how many there are.
    pub(crate) fn wait_for_passed(&self, events: usize, patience: Duration) -> usize {
        let start = Instant::now();
        loop {
            let passed = self.notes(|notes| notes.passed.len());
            if passed >= events || start.elapsed() > patience {
                return passed;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// When an event arrived.
    pub(crate) fn arrival(&self, number: u64) -> Option<Instant> {
        self.notes(|notes| notes.arrivals.get(&number).copied())
    }

    /// The events that were answered well, each once, in their order.
    pub(crate) fn passed(&self) -> Vec<u64> {
        self.notes(|notes| notes.passed.clone())
    }

    fn notes<T>(&self, look: impl FnOnce(&Notes) -> T) -> T {
        let (_, notes) = self.seen.noted.as_ref().expect("a receiver that notes");
        look(&notes.lock().unwrap())
    }
}

impl Notes {
    fn note(&mut self, number: u64, at: Instant, manner: Manner) -> Reply {
        self.arrivals.entry(number).or_insert(at);
        let attempt = self.attempts.entry(number).or_default();
        *attempt += 1;
        let reply = manner(number, *attempt);
        if reply.status.is_success() && self.known.insert(number) {
            self.passed.push(number);
        }
        reply
    }
}

async fn serve(listener: std::net::TcpListener, seen: Arc<Seen>) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
            let connection = hyper::server::conn::http1::Builder::new();
            // A sender that goes away in the middle is the end of the run.
            let _ = connection.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let now = Instant::now();
    let body = request.into_body().collect().await?.to_bytes();
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let status = match &seen.noted {
        None => StatusCode::NO_CONTENT,
        Some((manner, notes)) => note(&body, now, *manner, notes).await,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

async fn note(body: &[u8], at: Instant, manner: Manner, notes: &Mutex<Notes>) -> StatusCode {
    let reply = notes.lock().unwrap().note(number_in(body), at, manner);
    if !reply.after.is_zero() {
        tokio::time::sleep(reply.after).await;
    }
    reply.status
}

/// The number with which a payload begins.
fn number_in(body: &[u8]) -> u64 {
    let digits = body.strip_prefix(br#"{"number":"#).expect("a numbered payload");
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
