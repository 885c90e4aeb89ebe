//! A receiver that keeps what arrives, verifies it, and answers as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare::clock::{Clock, SystemClock};
use fanfare::sign::{self, Secret};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::wait::{PATIENCE, reached, within};

/// The answer to requests that nothing else was planned for.
const OK: StatusCode = StatusCode::NO_CONTENT;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// POST or PATCH.
    pub method: Method,
    /// Its path with its query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// The sender's life in which its connection was made; see [`Receiver::next_life`].
    pub life: u32,
}

impl Arrival {
    /// A header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The id of its event.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Is it signed with `secret`, not more than five minutes ago?
    pub fn is_signed_with(&self, secret: &Secret) -> bool {
        let Ok(signed_at) = self.header("webhook-timestamp").parse() else { return false };
        let signature = self.header("webhook-signature");
        SystemClock.now().as_secs().abs_diff(signed_at) <= 300
            && sign::verify(secret, self.id(), signed_at, &self.body, signature)
    }
}

/// A receiver on a free port of this machine. It ends with the test's runtime.
pub struct Receiver {
    address: SocketAddr,
    desk: Arc<Desk>,
}

/// What connections share.
struct Desk {
    arrivals: Mutex<Vec<Arrival>>,
    /// Answers for the next requests, then always [`OK`].
    planned: Mutex<VecDeque<StatusCode>>,
    count: watch::Sender<u64>,
    /// Connections that were accepted, and those of them that have ended.
    accepted: watch::Sender<u64>,
    ended: watch::Sender<u64>,
    life: watch::Sender<u32>,
    /// A request is answered when it has a permit.
    gate: Semaphore,
}

impl Receiver {
    /// A receiver that answers 204.
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let desk = Arc::new(Desk {
            arrivals: Mutex::default(),
            planned: Mutex::default(),
            count: watch::Sender::new(0),
            accepted: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            life: watch::Sender::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        tokio::spawn(accept(listener, Arc::clone(&desk)));
        Receiver { address, desk }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where to post.
    pub fn url(&self) -> String {
        format!("http://{}/webhooks", self.address)
    }

    /// Settings that let a server reach it, as flags.
    pub fn allowed(&self) -> [String; 2] {
        let network = format!("--allow-networks=127.0.0.1/32:{}", self.address.port());
        ["--allow-http=true".to_owned(), network]
    }

    /// Answers the next requests like this, then 204 again.
    pub fn plan(&self, answers: &[u16]) {
        let answers = answers.iter().map(|code| StatusCode::from_u16(*code).unwrap_or(OK));
        lock(&self.desk.planned).extend(answers);
    }

    /// Takes requests but answers none, until [`Receiver::answer_all`].
    pub fn hold(&self) {
        self.desk.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Answers what is held and what comes.
    pub fn answer_all(&self) {
        let missing = Semaphore::MAX_PERMITS - self.desk.gate.available_permits();
        self.desk.gate.add_permits(missing);
    }

    /// Everything that has arrived.
    pub fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.desk.arrivals).clone()
    }

    /// How many requests have arrived.
    pub fn count(&self) -> u64 {
        *self.desk.count.borrow()
    }

    /// Waits until `count` requests have arrived in all.
    pub async fn wait_for(&self, count: u64) {
        within(PATIENCE, &format!("{count} requests"), reached(&self.desk.count, count)).await;
    }

    /// Waits until `wanted` says that enough has arrived. It is shown only what is new.
    pub async fn wait_until(&self, wanted: impl FnMut(&[Arrival]) -> bool) {
        within(PATIENCE, "what was waited for did not arrive", self.until(wanted)).await;
    }

    /// The same for as long as the caller likes.
    pub async fn until(&self, mut wanted: impl FnMut(&[Arrival]) -> bool) {
        let mut count = self.desk.count.subscribe();
        let mut shown = 0;
        loop {
            count.borrow_and_update();
            if self.show(&mut shown, &mut wanted) {
                return;
            }
            let _ = count.changed().await;
        }
    }

    fn show(&self, shown: &mut usize, wanted: &mut impl FnMut(&[Arrival]) -> bool) -> bool {
        let arrivals = lock(&self.desk.arrivals);
        let new = &arrivals[*shown..];
        *shown = arrivals.len();
        wanted(new)
    }

    /// Waits until every connection of a sender that has died is over; what comes later is of its
    /// next life.
    pub async fn next_life(&self) {
        // Connections are accepted in order: once this one is, those of the dead were.
        let before = *self.desk.accepted.borrow();
        let probe = crate::client::connect(self.address).await;
        drop(probe.unwrap_or_else(|error| panic!("the receiver cannot be reached: {error}")));
        within(PATIENCE, "the probe", reached(&self.desk.accepted, before + 1)).await;
        let mut accepted = self.desk.accepted.subscribe();
        let over = async {
            loop {
                let goal = *accepted.borrow_and_update();
                reached(&self.desk.ended, goal).await;
                if !accepted.has_changed().unwrap_or(false) {
                    return;
                }
            }
        };
        within(PATIENCE, "the end of the dead sender's connections", over).await;
        self.desk.life.send_modify(|life| *life += 1);
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let life = *desk.life.borrow();
        desk.accepted.send_modify(|accepted| *accepted += 1);
        tokio::spawn(converse(stream, life, Arc::clone(&desk)));
    }
}

async fn converse(stream: TcpStream, life: u32, desk: Arc<Desk>) {
    let at_desk = Arc::clone(&desk);
    let service = service_fn(move |request| {
        let desk = Arc::clone(&at_desk);
        async move { Ok::<_, Infallible>(answer(request, life, &desk).await) }
    });
    let _ = stream.set_nodelay(true);
    // A sender that dies in the middle is what some tests are about.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    desk.ended.send_modify(|ended| *ended += 1);
}

async fn answer(request: Request<Incoming>, life: u32, desk: &Desk) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Full::default());
    let Ok(body) = body.collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    lock(&desk.arrivals).push(Arrival {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body: body.to_bytes(),
        life,
    });
    *response.status_mut() = lock(&desk.planned).pop_front().unwrap_or(OK);
    desk.count.send_modify(|count| *count += 1);
    // Given back at once, so that one permit is enough for all.
    drop(desk.gate.acquire().await);
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
