//! An HTTP/1.1 connection that is driven by whoever uses it. It has no task of its own: between
//! requests it costs nothing, and dropping it closes the socket.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::send::wire::Wire;

/// The longest head of an answer, and the most that is read ahead of its body.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest a connection is used, so that a receiver that moved is found at its new place.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// An open connection.
pub(super) struct Link {
    requests: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Wire>, Full<Bytes>>,
    closed: bool,
    heard: Arc<AtomicBool>,
    born: Instant,
}

impl Link {
    pub(super) async fn new(wire: Wire) -> hyper::Result<Box<Self>> {
        let heard = wire.heard();
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(wire))
            .await?;
        Ok(Box::new(Link { requests, connection, closed: false, heard, born: Instant::now() }))
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.heard.store(false, Ordering::Relaxed);
        let mut answer = pin!(self.requests.send_request(request));
        std::future::poll_fn(|cx| {
            drive(&mut self.connection, &mut self.closed, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// The next piece of an answer's body; `None` at its end.
    pub(super) async fn next(
        &mut self,
        body: &mut Incoming,
    ) -> Option<hyper::Result<Frame<Bytes>>> {
        std::future::poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                drive(&mut self.connection, &mut self.closed, cx);
                Pin::new(&mut *body).poll_frame(cx)
            }
            ready => ready,
        })
        .await
    }

    /// Has anything arrived since the last request was sent?
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Is it fit for another request? Looks at the socket: a connection that was closed, or that
    /// brought what nobody asked for, is not.
    pub(super) fn is_fit(&mut self) -> bool {
        // Nobody waits for an idle connection, so nobody is to be woken for it; this also lets go
        // of the task that used it last.
        drive(&mut self.connection, &mut self.closed, &mut Context::from_waker(Waker::noop()));
        !self.closed && self.requests.is_ready() && self.born.elapsed() < LIFE_MAX
    }
}

fn drive(
    connection: &mut Connection<TokioIo<Wire>, Full<Bytes>>,
    closed: &mut bool,
    cx: &mut Context<'_>,
) {
    // What went wrong is told to whoever waits for the answer or its body.
    if !*closed && Pin::new(connection).poll(cx).is_ready() {
        *closed = true;
    }
}
