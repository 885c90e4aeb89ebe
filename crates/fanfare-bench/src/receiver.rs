//! The receiver that everything is posted to: answers 204 and counts, on a thread of its own.

use std::collections::HashMap;
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
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    /// When each `webhook-id` first arrived, where that is wanted.
    arrivals: Option<Mutex<HashMap<String, Instant>>>,
}

impl Receiver {
    /// Starts one that counts.
    pub(crate) fn start() -> Self {
        Self::with(Seen::default())
    }

    /// Starts one that also notes when each event arrives.
    pub(crate) fn start_noting() -> Self {
        Self::with(Seen { arrivals: Some(Mutex::default()), ..Seen::default() })
    }

    fn with(seen: Seen) -> Self {
        let seen = Arc::new(seen);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, shared));
        });
        Receiver { address, seen }
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

    /// When an event arrived.
    pub(crate) fn arrival(&self, id: &str) -> Option<Instant> {
        self.seen.arrivals.as_ref()?.lock().unwrap().get(id).copied()
    }
}

async fn serve(listener: std::net::TcpListener, seen: Arc<Seen>) {
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
    if let Some(arrivals) = &seen.arrivals {
        let now = Instant::now();
        let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok());
        arrivals.lock().unwrap().entry(id.unwrap_or_default().to_owned()).or_insert(now);
    }
    request.into_body().collect().await?;
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
