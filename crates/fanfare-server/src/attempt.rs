//! What an attempt came to, as both interfaces show it.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare::model::{Attempt, Headers, Outcome};
use serde_json::value::RawValue;

use crate::error::{ApiError, Result};

/// An attempt's outcome, flat.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The answer's status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// The answer's headers.
    pub(crate) headers: BTreeMap<String, String>,
    /// The answer's body, as text.
    pub(crate) body: String,
    /// What went wrong apart from the status.
    pub(crate) error: Option<String>,
    /// How long it took.
    pub(crate) duration_ms: u64,
}

/// Stored JSON as it came; `null` for what has expired.
pub(crate) fn raw_or_null(json: &[u8]) -> Result<Box<RawValue>> {
    let json = if json.is_empty() { b"null" } else { json };
    serde_json::from_slice(json).map_err(ApiError::internal)
}

/// What `attempt` came to.
pub(crate) fn show(attempt: &Attempt) -> Shown {
    let duration_ms = u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX);
    match &attempt.outcome {
        Outcome::Answered(answer) => Shown {
            status: Some(answer.status),
            headers: joined(&answer.headers),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            error: answer.flaw.clone(),
            duration_ms,
        },
        Outcome::NoAnswer { reason } => Shown {
            status: None,
            headers: BTreeMap::new(),
            body: String::new(),
            error: Some(reason.clone()),
            duration_ms,
        },
    }
}

/// A span in milliseconds, with its microseconds behind the point.
pub(crate) fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// Headers as an object. What comes several times is joined as RFC 9110, section 5.3, has it.
pub(crate) fn joined(headers: &Headers) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers.iter() {
        let known = all.entry(name.to_owned()).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(value);
    }
    all
}
