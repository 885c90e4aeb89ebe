//! HTTP/1.1.

use std::borrow::Cow::Borrowed;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::{BROKE_OFF, Broken, EXCESS, HEAD_BYTES_MAX, MALFORMED, within_budget};
use crate::send::failure::{Failure, describe};
use crate::send::meter::Meter;
use crate::send::wire::Wire;

pub(super) struct Http1 {
    requests: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Wire>, Full<Bytes>>,
    closed: bool,
    /// Where its answer ended was not beyond doubt.
    doubtful: bool,
    meter: Arc<Meter>,
}

impl Http1 {
    pub(super) async fn new(wire: Wire) -> Result<Self, Failure> {
        let meter = wire.meter();
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| broken(&error))?;
        Ok(Http1 { requests, connection, closed: false, doubtful: false, meter })
    }

    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Broken> {
        let meter = Arc::clone(&self.meter);
        hyper::ext::on_informational(&mut request, move |_| meter.interim());
        let mut answer = pin!(self.requests.send_request(request));
        let answered = std::future::poll_fn(|cx| {
            drive(&mut self.connection, &mut self.closed, &self.meter, cx);
            let answer = answer.as_mut().poll(cx).map_err(|error| broken(&error));
            within_budget(answer, &self.meter)
        });
        let answer = answered.await.map_err(|failure| self.broke(failure))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.broke(Failure::Protocol(Borrowed(SWITCH))));
        }
        let headers = answer.headers();
        // One of them is false. Who believes the other finds the next answer elsewhere.
        self.doubtful =
            headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
        Ok(answer)
    }

    pub(super) async fn next(
        &mut self,
        body: &mut Incoming,
    ) -> Option<Result<Bytes, &'static str>> {
        let next = std::future::poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                drive(&mut self.connection, &mut self.closed, &self.meter, cx);
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending if self.meter.starved() => Poll::Ready(Some(Err(None))),
                    polled => polled.map_err(Some),
                }
            }
            ready => ready.map_err(Some),
        });
        let piece = next.await?;
        Some(match piece {
            // Trailers are read and forgotten.
            Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
            Err(Some(error)) => Err(flaw(&error)),
            Err(None) => Err(EXCESS),
        })
    }

    pub(super) fn is_fit(&mut self) -> bool {
        // Nobody waits for an idle connection, so nobody is to be woken for it; this also lets go
        // of the task that used it last.
        let nobody = &mut Context::from_waker(Waker::noop());
        drive(&mut self.connection, &mut self.closed, &self.meter, nobody);
        let quiet = !self.meter.starved() && !self.meter.disturbed();
        quiet && !self.closed && !self.doubtful && self.requests.is_ready()
    }

    fn broke(&self, failure: Failure) -> Broken {
        Broken { unheard: !self.meter.heard(), failure }
    }
}

const SWITCH: &str = "the endpoint switched to another protocol (101), which nobody asked for";

fn drive(
    connection: &mut Connection<TokioIo<Wire>, Full<Bytes>>,
    closed: &mut bool,
    meter: &Meter,
    cx: &mut Context<'_>,
) {
    meter.take_breath();
    // What went wrong is told to whoever waits for the answer or its body.
    if !*closed && Pin::new(connection).poll(cx).is_ready() {
        *closed = true;
    }
}

/// Why hyper gave up.
fn broken(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return Failure::Budget("the answer has more than 100 headers, or 64 KiB of them");
    }
    Failure::Protocol(match io(error) {
        Some(io) => format!("{} before the answer was complete", describe(io)).into(),
        None if error.is_incomplete_message() || error.is_canceled() => {
            "connection closed before the answer was complete".into()
        }
        None => error.to_string().into(),
    })
}

/// Why hyper gave up within a body.
fn flaw(error: &hyper::Error) -> &'static str {
    use io::ErrorKind::{InvalidData, InvalidInput};
    let malformed = |error: &io::Error| matches!(error.kind(), InvalidData | InvalidInput);
    if io(error).is_some_and(malformed) { MALFORMED } else { BROKE_OFF }
}

fn io(error: &hyper::Error) -> Option<&io::Error> {
    error.source().and_then(|source| source.downcast_ref())
}
