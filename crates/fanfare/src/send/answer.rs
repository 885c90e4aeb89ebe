//! An answer, read within its budget.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;

use crate::metrics::Stopwatch;
use crate::model::{Answer, Headers, Outcome, Timing};
use crate::send::Sent;
use crate::send::connect::{CONNECTING, RESOLVING, SHAKING};
use crate::send::failure::Failure;
use crate::send::link::{Body, Link};

/// How much of a body is read, if nothing else is asked for.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// In how many pieces a body may come: each costs time, however little is in it.
const PIECES_MAX: usize = 2048;
/// How long a body may take, within the time for the whole.
const BODY_MAX: Duration = Duration::from_secs(5);
/// How much of the headers is kept, names and values together.
const HEADER_BYTES_KEPT: usize = 16 * 1024;

/// How far an attempt has come. It stands outside the attempt, so that a deadline leaves it.
pub(super) struct Progress {
    pub(super) stage: Stage,
    /// Where the time went so far.
    pub(super) timing: Timing,
    answer: Option<Answer>,
    kept: Vec<u8>,
    /// How much of the body is read before the connection is dropped, and handed on.
    pub(super) body_bytes_max: usize,
}

/// What is being done, for who reads that it took too long.
pub(super) enum Stage {
    /// A connection is made, or fetched.
    Opening,
    /// The request is on its way, or its answer.
    Asking,
}

impl Progress {
    pub(super) fn new(body_bytes_max: usize) -> Self {
        Progress {
            stage: Stage::Opening,
            timing: Timing::default(),
            answer: None,
            kept: Vec::new(),
            body_bytes_max,
        }
    }

    /// Notes the head of the answer to what was sent at `since`: from here on the attempt counts by
    /// its status.
    pub(super) fn head(&mut self, head: &Parts, since: Stopwatch) {
        self.timing.first_byte = Some(since.elapsed());
        self.answer = Some(Answer {
            status: head.status.as_u16(),
            headers: kept_headers(&head.headers),
            body: Bytes::new(),
            flaw: None,
        });
    }

    /// Reads the body, and says whether it came to its end.
    pub(super) async fn body(&mut self, link: &mut Link, body: Body) -> bool {
        // A receiver that has given its answer has no claim to all of the time.
        let whole = tokio::time::timeout(BODY_MAX, self.pieces(link, body)).await;
        whole.unwrap_or_else(|_| self.flawed(LATE))
    }

    async fn pieces(&mut self, link: &mut Link, mut body: Body) -> bool {
        for _ in 0..PIECES_MAX {
            if body.is_at_end() {
                return true;
            }
            let piece = match link.next(&mut body).await {
                None => return true,
                Some(Ok(piece)) => piece,
                Some(Err(flaw)) => return self.flawed(flaw),
            };
            let room = self.body_bytes_max - self.kept.len();
            self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                let kib = self.body_bytes_max / 1024;
                return self.flawed(&format!("the body was cut at {kib} KiB"));
            }
        }
        self.flawed("the body was cut, because it came in too many pieces")
    }

    /// What the attempt came to, by itself or at its deadline.
    pub(super) fn sent(mut self, end: Result<(), End>) -> Sent {
        let stage = self.in_words();
        if matches!(end, Err(End::Deadline(_))) {
            self.flawed(LATE);
        }
        let refusal = match &end {
            Err(End::Failed(Failure::Refused(refusal))) => Some(*refusal),
            _ => None,
        };
        let outcome = match (self.answer, end) {
            (Some(answer), _) => Outcome::Answered(Answer { body: self.kept.into(), ..answer }),
            (None, Err(End::Failed(failure))) => Outcome::NoAnswer { reason: failure.to_string() },
            (None, Err(End::Deadline(after))) => {
                Outcome::NoAnswer { reason: Failure::Timeout(stage, after).to_string() }
            }
            (None, Ok(())) => Outcome::NoAnswer { reason: "protocol: no answer came".to_owned() },
        };
        Sent { outcome, timing: self.timing, refusal }
    }

    fn in_words(&self) -> &'static str {
        match self.stage {
            Stage::Asking => "waiting for the answer",
            Stage::Opening if self.timing.tls.is_some() => SHAKING,
            Stage::Opening if self.timing.connect.is_some() => CONNECTING,
            Stage::Opening => RESOLVING,
        }
    }

    fn flawed(&mut self, flaw: &str) -> bool {
        if let Some(answer) = &mut self.answer {
            answer.flaw = Some(flaw.to_owned());
        }
        false
    }
}

/// How an attempt can end before it is done.
pub(super) enum End {
    Failed(Failure),
    /// All the time there was is used up.
    Deadline(Duration),
}

const LATE: &str = "the body was cut at the deadline";

fn kept_headers(headers: &HeaderMap) -> Headers {
    let mut kept = Headers::default();
    for (name, value) in headers {
        if kept.as_text().len() + name.as_str().len() + value.len() > HEADER_BYTES_KEPT {
            break;
        }
        // Not every header is text; what is not is shown as far as it is.
        kept.push(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    kept
}
