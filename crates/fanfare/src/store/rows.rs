//! How values that both stores keep as text are written and read.

use std::sync::Arc;
use std::time::Duration;

use crate::model::filter::Filter;
use crate::model::{Actor, Answer, Headers, Outcome, Purpose, Subscription};

/// What of an endpoint is sealed, by its column.
pub(super) const SEALED: &[(&str, Purpose)] = &[
    ("secret", Purpose::Secret),
    ("previous_secret", Purpose::Secret),
    ("headers", Purpose::Headers),
    ("tls", Purpose::Tls),
];

/// Subscriptions, separated by spaces.
pub(super) fn write_subscriptions(events: &[Subscription]) -> String {
    let names: Vec<&str> = events.iter().map(Subscription::as_str).collect();
    names.join(" ")
}

pub(super) fn read_subscriptions(text: &str) -> Option<Vec<Subscription>> {
    text.split(' ').map(|name| name.parse().ok()).collect()
}

/// Compiles a filter that is kept as its text. The outer `None` is a text that is none.
pub(super) fn read_filter(text: Option<&str>) -> Option<Option<Arc<Filter>>> {
    let Some(text) = text else { return Some(None) };
    Filter::parse(text).ok().map(|filter| Some(Arc::new(filter)))
}

/// A span as a column, in microseconds.
pub(super) fn write_micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// A span as a column, in milliseconds.
pub(super) fn write_millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// An outcome as columns: status, headers, body, and what was wrong.
pub(super) type OutcomeColumns<'a> =
    (Option<u16>, Option<&'a str>, Option<&'a [u8]>, Option<&'a str>);

pub(super) fn write_outcome(outcome: &Outcome) -> OutcomeColumns<'_> {
    match outcome {
        Outcome::Answered(answer) => (
            Some(answer.status),
            Some(answer.headers.as_text()),
            Some(&answer.body),
            answer.flaw.as_deref(),
        ),
        Outcome::NoAnswer { reason } => (None, None, None, Some(reason)),
    }
}

pub(super) fn read_outcome(
    status: Option<u16>,
    headers: Option<String>,
    body: Option<Vec<u8>>,
    flaw: Option<String>,
) -> Outcome {
    let Some(status) = status else {
        return Outcome::NoAnswer { reason: flaw.unwrap_or_default() };
    };
    Outcome::Answered(Answer {
        status,
        headers: Headers::from_text(headers.unwrap_or_default()),
        body: body.unwrap_or_default().into(),
        flaw,
    })
}

/// Who acted, as JSON.
pub(super) fn write_actor(actor: &Actor) -> String {
    // It has no maps and no numbers, so that there is always JSON of it.
    serde_json::to_string(actor).unwrap_or_default()
}

pub(super) fn read_actor(text: &str) -> Option<Arc<Actor>> {
    serde_json::from_str(text).ok().map(Arc::new)
}

/// Names of fields, separated by spaces.
pub(super) fn write_fields(fields: &[String]) -> String {
    fields.join(" ")
}

pub(super) fn read_fields(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
