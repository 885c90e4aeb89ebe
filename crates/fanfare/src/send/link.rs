//! An open connection, driven by whoever uses it. It has no task of its own: between requests it
//! costs nothing, and dropping it closes the socket.

mod http1;
mod http2;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::response::Parts;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use self::http1::Http1;
use self::http2::Http2;
use crate::send::failure::Failure;
use crate::send::meter::Meter;
use crate::send::wire::Wire;

/// The most that is read until the head of an answer is complete, interim answers and whatever
/// else comes before it included; and the most that may come around a body.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most that may come without bringing any of the body: more than the largest frame.
const BARREN_BYTES_MAX: usize = 32 * 1024;
/// How many interim answers may come before the answer.
const INTERIMS_MAX: usize = 8;
/// The longest a connection is used, so that a receiver that moved is found at its new place.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// An open connection, for one request after the other.
pub(super) struct Link {
    talk: Talk,
    meter: Arc<Meter>,
    /// How much of the body, and around it, may still come.
    left: usize,
    born: Instant,
}

#[expect(clippy::large_enum_variant, reason = "a link is boxed as a whole, and most are HTTP/1.1")]
enum Talk {
    Http1(Http1),
    Http2(Box<Http2>),
}

/// The body of an answer, still on its way.
pub(super) enum Body {
    Http1(Incoming),
    Http2(h2::RecvStream),
}

/// An exchange without an answer.
pub(super) struct Broken {
    /// Nobody heard the request: it may be made anew without being made twice.
    pub(super) unheard: bool,
    pub(super) failure: Failure,
}

impl Link {
    pub(super) async fn new(wire: Wire) -> Result<Box<Self>, Failure> {
        let meter = wire.meter();
        let talk = if wire.is_h2() {
            Talk::Http2(Box::new(Http2::new(wire).await?))
        } else {
            Talk::Http1(Http1::new(wire).await?)
        };
        Ok(Box::new(Link { talk, meter, left: 0, born: Instant::now() }))
    }

    /// Sends one request, with a path for its target and its `host`, and waits for the head of its
    /// answer. From then on the body may be of `body_bytes_max`.
    pub(super) async fn send(
        &mut self,
        request: Request<Bytes>,
        body_bytes_max: usize,
    ) -> Result<(Parts, Body), Broken> {
        self.meter.begin();
        self.meter.allow(HEAD_BYTES_MAX);
        let answer = match &mut self.talk {
            Talk::Http1(talk) => {
                let answer = talk.send(request.map(Full::new)).await;
                answer.map(|answer| answer.map(Body::Http1))
            }
            Talk::Http2(talk) => talk.send(request).await.map(|answer| answer.map(Body::Http2)),
        };
        self.left = body_bytes_max.saturating_add(HEAD_BYTES_MAX);
        answer.map(http::Response::into_parts)
    }

    /// The next piece of an answer's body; `None` at its end; or what is wrong with it.
    pub(super) async fn next(&mut self, body: &mut Body) -> Option<Result<Bytes, &'static str>> {
        let before = self.meter.read();
        self.meter.allow(self.left.min(BARREN_BYTES_MAX));
        let piece = match (&mut self.talk, body) {
            (Talk::Http1(talk), Body::Http1(body)) => talk.next(body).await,
            (Talk::Http2(talk), Body::Http2(body)) => talk.next(body).await,
            _ => None, // The body of another connection.
        };
        self.left = self.left.saturating_sub(self.meter.read() - before);
        piece
    }

    /// Is it fit for another request? A connection that was closed, that brought what nobody
    /// asked for, or that lived too long, is not.
    pub(super) fn is_fit(&mut self) -> bool {
        let fit = match &mut self.talk {
            Talk::Http1(talk) => talk.is_fit(),
            Talk::Http2(talk) => talk.is_fit(),
        };
        fit && self.born.elapsed() < LIFE_MAX
    }

    /// The same when it has idled, and what came meanwhile may not have been noticed yet.
    pub(super) fn is_still_fit(&mut self) -> bool {
        self.meter.look_closely();
        self.is_fit()
    }
}

impl Body {
    pub(super) fn is_at_end(&self) -> bool {
        match self {
            Body::Http1(body) => body.is_end_stream(),
            Body::Http2(body) => body.is_end_stream(),
        }
    }
}

/// An answer in the making, unless it has cost too much.
fn within_budget<T>(answer: Poll<Result<T, Failure>>, meter: &Meter) -> Poll<Result<T, Failure>> {
    if meter.interims() > INTERIMS_MAX {
        let flood = "more than 8 interim answers came before the answer";
        return Poll::Ready(Err(Failure::Budget(flood)));
    }
    if answer.is_pending() && meter.starved() {
        let excess = "more than 64 KiB came before the answer";
        return Poll::Ready(Err(Failure::Budget(excess)));
    }
    answer
}

/// Too much came around a body, or instead of it.
const EXCESS: &str = "the body was cut, because too much came around it";
/// It ended early.
const BROKE_OFF: &str = "the connection broke off within the body";
/// It is not in the form that its head announced.
const MALFORMED: &str = "the body breaks the rules of HTTP";
