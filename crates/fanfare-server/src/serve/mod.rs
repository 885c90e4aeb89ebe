//! Connections: accepted, bounded, and told to end when the server stops.

mod edge;
mod framing;
mod seats;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use fanfare::clock::{Clock, SystemClock};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::caller::Peer;
use crate::error::ApiError;
use crate::form::BodyTimeout;
use crate::rate::{Limiter, Rate, network};
use framing::Strict;
use seats::{AtWork, Seat, Seats};

/// The longest head of a request, and the most that is read ahead of its body. A head has at most
/// 100 headers, which is hyper's own limit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait when the machine has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// What is asked by those who watch the server, and must be answered when it is busy, too.
const UNLIMITED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What connections and requests are held to before anybody knows who calls.
#[derive(Clone)]
pub struct Doors {
    /// Connections at the same time (`FANFARE_MAX_CONNECTIONS`). For one more, the one that has
    /// been waiting for a request the longest ends; when none waits, the new one does.
    pub connections_max: usize,
    /// How long a connection may take to send a request's head. An idle connection is given the
    /// same time, so by default it is longer than the minute that proxies keep theirs.
    pub head_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Requests of one address, or one /64 of IPv6 (`FANFARE_RATE_LIMIT_ADDRESS`): the other side
    /// of the connection, whatever headers say.
    pub address_rate: Option<Rate>,
    /// Whose time rates go by.
    pub clock: Arc<dyn Clock>,
}

impl Default for Doors {
    fn default() -> Self {
        Doors {
            connections_max: 4096,
            head_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            address_rate: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Serves HTTP/1.1 until `stop`, then ends every connection behind the answer it is giving, and
/// returns once the last one has ended. Dropping the future cuts them.
pub async fn serve(listener: TcpListener, router: Router, doors: Doors, stop: CancellationToken) {
    let seats = Seats::new(doors.connections_max);
    let house = Arc::new(House::new(router, doors));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(seat) = stop.run_until_cancelled(seats.take()).await else { break };
                let visit = Visit { house: Arc::clone(&house), peer: peer.ip(), seat };
                connections.spawn(converse(stream, visit, stop.clone()));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                seats.make_room();
                let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(stream: TcpStream, visit: Visit, stop: CancellationToken) {
    // Answers are written whole, so there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(visit.house.doors.head_timeout);
    http.max_buf_size(BUFFER_BYTES_MAX);
    let service = service_fn(|request| visit.answer(request));
    let mut connection = pin!(http.serve_connection(TokioIo::new(Strict::new(stream)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = visit.seat.given_up() => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What all connections share.
struct House {
    router: TowerToHyperService<Router>,
    doors: Doors,
    addresses: Option<Limiter<IpAddr>>,
}

impl House {
    fn new(router: Router, doors: Doors) -> House {
        let limiter = |rate| Limiter::new(rate, Arc::clone(&doors.clock));
        let addresses = doors.address_rate.map(limiter);
        House { router: TowerToHyperService::new(router), doors, addresses }
    }

    /// Whether a request of this address may come in now.
    fn admit(&self, peer: IpAddr, path: &str) -> Result<(), ApiError> {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        if UNLIMITED.contains(&path) {
            return Ok(());
        }
        let taken = addresses.take(network(peer));
        taken.map_err(|secs| ApiError::rate_limited("this address", secs))
    }
}

/// One connection.
struct Visit {
    house: Arc<House>,
    peer: IpAddr,
    seat: Arc<Seat>,
}

impl Visit {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Held>, Infallible> {
        let Some(work) = self.seat.begin() else { return pending().await };
        let response = match self.house.admit(self.peer, request.uri().path()) {
            Ok(()) => self.admitted(request).await?,
            Err(refusal) => refusal.into_response(),
        };
        Ok(response.map(|body| Held { body, _work: work }))
    }

    async fn admitted(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (mut head, body) = request.into_parts();
        if let Some(flaw) = edge::flaw(&head) {
            let mut refusal = ApiError::invalid(vec![flaw.to_owned()]).into_response();
            refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(refusal);
        }
        head.extensions.insert(Peer(self.peer));
        head.extensions.insert(BodyTimeout(self.house.doors.body_timeout));
        self.house.router.call(Request::from_parts(head, body)).await
    }
}

/// The body of an answer. The request is under way until all of it was handed over.
struct Held {
    body: Body,
    _work: AtWork,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Errors that say nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}
