//! An answer, read within its budget.

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use hyper::body::{Body, Incoming};

use crate::model::{Answer, Headers, Outcome};
use crate::send::failure::Failure;
use crate::send::link::Link;

/// How much of a body is read before the connection is dropped, and handed on.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How much of the headers is kept, names and values together.
const HEADER_BYTES_KEPT: usize = 16 * 1024;

/// How far an attempt has come. It stands outside the attempt, so that a deadline leaves it.
pub(super) struct Progress {
    /// What is being done, for who reads that it took too long.
    pub(super) stage: &'static str,
    answer: Option<Answer>,
    kept: Vec<u8>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress { stage: "connecting", answer: None, kept: Vec::new() }
    }

    /// Notes the head of the answer: from here on the attempt counts by its status.
    pub(super) fn head(&mut self, head: &Parts) {
        self.stage = "reading the answer";
        self.answer = Some(Answer {
            status: head.status.as_u16(),
            headers: kept_headers(&head.headers),
            body: Bytes::new(),
            flaw: None,
        });
    }

    /// Reads the body, and says whether it came to its end.
    pub(super) async fn body(&mut self, link: &mut Link, mut body: Incoming) -> bool {
        while !body.is_end_stream() {
            let piece = match link.next(&mut body).await {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return self.flawed("the connection broke off within the body"),
            };
            let room = BODY_BYTES_MAX - self.kept.len();
            self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                return self.flawed("the body was cut at 64 KiB");
            }
        }
        true
    }

    /// What the attempt came to, by itself or at its deadline.
    pub(super) fn outcome(mut self, end: Result<(), End>) -> Outcome {
        if matches!(end, Err(End::Deadline(_))) {
            self.flawed("the body was cut at the deadline");
        }
        match (self.answer, end) {
            (Some(answer), _) => Outcome::Answered(Answer { body: self.kept.into(), ..answer }),
            (None, Err(End::Failed(failure))) => Outcome::NoAnswer { reason: failure.to_string() },
            (None, Err(End::Deadline(after))) => {
                Outcome::NoAnswer { reason: format!("timeout: {} took over {after}", self.stage) }
            }
            (None, Ok(())) => Outcome::NoAnswer { reason: "protocol: no answer came".to_owned() },
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
    /// After this long, for people.
    Deadline(String),
}

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
