//! HTTP/2, used like HTTP/1.1: one request after the other.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, Parts, Scheme, Uri};
use http::{Request, Response, Version};

use super::{BROKE_OFF, Broken, EXCESS, HEAD_BYTES_MAX, MALFORMED, within_budget};
use crate::send::failure::{Failure, describe};
use crate::send::meter::Meter;
use crate::send::wire::Wire;

/// How far the other side may go ahead of what was read of a body.
const WINDOW_BYTES: u32 = 64 * 1024 - 1;
/// The largest frame that is taken; the smallest maximum that the protocol allows.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// How many streams that were reset are remembered. There is only one at a time.
const RESET_STREAMS_MAX: usize = 8;

/// Headers that speak of an HTTP/1.1 connection (RFC 9113, section 8.2.2), beside `host`, which
/// has a form of its own here.
const OF_CONNECTIONS: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

pub(super) struct Http2 {
    requests: SendRequest<Bytes>,
    connection: Connection<Wire, Bytes>,
    closed: bool,
    meter: Arc<Meter>,
}

impl Http2 {
    pub(super) async fn new(wire: Wire) -> Result<Self, Failure> {
        let meter = wire.meter();
        let (requests, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_concurrent_reset_streams(RESET_STREAMS_MAX)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .max_local_error_reset_streams(Some(RESET_STREAMS_MAX))
            .handshake(wire)
            .await
            .map_err(|error| broken(&error))?;
        Ok(Http2 { requests, connection, closed: false, meter })
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<RecvStream>, Broken> {
        let (head, body) = in_form(request)?.into_parts();
        self.ready().await?;
        let last = body.is_empty();
        let head = Request::from_parts(head, ());
        let sent = self.requests.send_request(head, last).and_then(|(answer, mut sending)| {
            // It waits there until the other side has a window for it.
            if !last {
                sending.send_data(body, true)?;
            }
            Ok((answer, sending))
        });
        let (mut answer, _sending) = sent.map_err(|error| self.broke(&error))?;
        let answered = std::future::poll_fn(|cx| {
            self.drive(cx);
            self.count_interims(&mut answer, cx);
            self.judged(Pin::new(&mut answer).poll(cx))
        });
        answered.await
    }

    /// Waits until another request may be sent.
    async fn ready(&mut self) -> Result<(), Broken> {
        let ready = std::future::poll_fn(|cx| {
            self.drive(cx);
            let ready = self.requests.poll_ready(cx);
            self.judged(ready)
        });
        ready.await
    }

    pub(super) async fn next(
        &mut self,
        body: &mut RecvStream,
    ) -> Option<Result<Bytes, &'static str>> {
        let piece = std::future::poll_fn(|cx| match body.poll_data(cx) {
            Poll::Pending => {
                self.drive(cx);
                match body.poll_data(cx) {
                    Poll::Pending if self.meter.starved() => Poll::Ready(Some(Err(EXCESS))),
                    polled => polled.map_err(|error| flaw(&error)),
                }
            }
            ready => ready.map_err(|error| flaw(&error)),
        });
        let piece = piece.await?;
        if let Ok(data) = &piece {
            // An error only means that the stream is over.
            let _ = body.flow_control().release_capacity(data.len());
        }
        Some(piece)
    }

    pub(super) fn is_fit(&mut self) -> bool {
        // Nobody waits for an idle connection, so nobody is to be woken for it.
        let nobody = &mut Context::from_waker(Waker::noop());
        self.drive(nobody);
        let ready = matches!(self.requests.poll_ready(nobody), Poll::Ready(Ok(())));
        ready && !self.closed && !self.meter.starved()
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        self.meter.take_breath();
        // What went wrong is told to whoever waits for the answer or its body.
        if !self.closed && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.closed = true;
        }
    }

    fn count_interims(&self, answer: &mut ResponseFuture, cx: &mut Context<'_>) {
        // What else this can say, the answer itself will say.
        while let Poll::Ready(Some(Ok(_))) = answer.poll_informational(cx) {
            self.meter.interim();
        }
    }

    fn judged<T>(&self, polled: Poll<Result<T, h2::Error>>) -> Poll<Result<T, Broken>> {
        let judged = match polled {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.broke(&error))),
            Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
            Poll::Pending => Poll::Pending,
        };
        within_budget(judged, &self.meter).map_err(|failure| Broken { unheard: false, failure })
    }

    fn broke(&self, error: &h2::Error) -> Broken {
        // Both say that the request was not processed (RFC 9113, section 8.7).
        let refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        let unheard = !self.meter.heard() || (error.is_remote() && refused);
        Broken { unheard, failure: broken(error) }
    }
}

/// The request as HTTP/2 has it: with scheme and authority, and without what belongs to a
/// connection.
fn in_form(mut request: Request<Bytes>) -> Result<Request<Bytes>, Broken> {
    let length = request.body().len();
    let host = request.headers_mut().remove(HOST);
    for name in OF_CONNECTIONS {
        request.headers_mut().remove(name);
    }
    // Not needed to find the end of the body, but some receivers look for it.
    if length > 0 {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Broken {
        unheard: false,
        failure: Failure::Protocol(Cow::Borrowed("the URL has no form that HTTP/2 can carry")),
    })?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// Why there is no answer.
fn broken(error: &h2::Error) -> Failure {
    let reason = error.reason().unwrap_or(Reason::NO_ERROR);
    if reason == Reason::ENHANCE_YOUR_CALM && !error.is_remote() {
        return Failure::Budget("too many HTTP/2 frames or headers came");
    }
    Failure::Protocol(match error.get_io() {
        Some(io) => format!("{} before the answer was complete", describe(io)).into(),
        None if error.is_remote() && error.is_go_away() => {
            format!("the endpoint ended the HTTP/2 connection ({reason:?})").into()
        }
        None if error.is_remote() => {
            format!("the endpoint reset the HTTP/2 stream ({reason:?})").into()
        }
        None => format!("the endpoint broke the rules of HTTP/2 ({reason:?})").into(),
    })
}

/// What is wrong with a body.
fn flaw(error: &h2::Error) -> &'static str {
    if error.is_io() || error.is_remote() { BROKE_OFF } else { MALFORMED }
}
