//! A small receiver of webhooks on this machine, for `demo` and `listen`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare::clock::{Clock, SystemClock};
use fanfare::model::EventType;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::failure::{Failure, Result};

/// The largest body that is taken.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long to wait before accepting is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// A request that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
}

impl Arrival {
    /// A header, if it is there and readable.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The type of its event, wherever its format has it, dotted.
    pub(crate) fn event_type(&self) -> Option<EventType> {
        let header = self.header("webhook-event").or(self.header("ce-type"));
        if let Some(name) = header {
            return name.parse().ok();
        }
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        let name = body.get("event").or(body.get("type"))?;
        name.as_str()?.parse().ok()
    }

    #[cfg(test)]
    pub(crate) fn for_test(headers: &[(&str, &str)], body: &[u8]) -> Arrival {
        let named = headers.iter().map(|(name, value)| {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        });
        Arrival { headers: named.collect(), body: Bytes::copy_from_slice(body) }
    }
}

/// A socket on this machine that waits for webhooks.
pub(crate) struct Receiver {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Receiver {
    /// Listens on `port` of the loopback address; 0 for any that is free.
    pub(crate) async fn bind(port: u16) -> Result<Receiver> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let failed = |error| {
            Failure::Failed(format!("{wanted} cannot be listened on: {error}; choose a --port"))
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Receiver { listener, address })
    }

    /// Answers every request with `status` and shows it to `look`, for ever.
    pub(crate) async fn run(
        self,
        status: StatusCode,
        look: impl Fn(Arrival) + Send + Sync + 'static,
    ) {
        let look = Arc::new(look);
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Too many open files: some will be closed soon.
                SystemClock.sleep_until(SystemClock.now().plus(PAUSE)).await;
                continue;
            };
            tokio::spawn(converse(stream, status, Arc::clone(&look)));
        }
    }
}

async fn converse(
    stream: TcpStream,
    status: StatusCode,
    look: Arc<impl Fn(Arrival) + Send + Sync + 'static>,
) {
    let service = service_fn(move |request| {
        let look = Arc::clone(&look);
        async move { Ok::<_, Infallible>(answer(request, status, look.as_ref()).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    // A sender that goes away in the middle is no concern of ours.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    status: StatusCode,
    look: &impl Fn(Arrival),
) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Empty::new());
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    *response.status_mut() = status;
    look(Arrival { headers: head.headers, body: body.to_bytes() });
    response
}
