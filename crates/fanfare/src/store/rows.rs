//! How values that both stores keep as text are written and read.

use crate::model::{Answer, Outcome, Subscription};

/// Headers as `name: value`, a line each. Neither names nor values of HTTP hold a line break.
pub(super) fn write_headers(headers: &[(String, String)]) -> String {
    let length = headers.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
    let mut text = String::with_capacity(length);
    for (name, value) in headers {
        for part in [name, ": ", value, "\n"] {
            text.push_str(part);
        }
    }
    text
}

pub(super) fn read_headers(text: &str) -> Vec<(String, String)> {
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.split('\n').filter_map(header).collect()
}

/// Subscriptions, separated by spaces.
pub(super) fn write_subscriptions(events: &[Subscription]) -> String {
    let names: Vec<&str> = events.iter().map(Subscription::as_str).collect();
    names.join(" ")
}

pub(super) fn read_subscriptions(text: &str) -> Option<Vec<Subscription>> {
    text.split(' ').map(|name| name.parse().ok()).collect()
}

/// An outcome as columns: status, headers, body, and what was wrong.
pub(super) type OutcomeColumns<'a> =
    (Option<u16>, Option<String>, Option<&'a [u8]>, Option<&'a str>);

pub(super) fn write_outcome(outcome: &Outcome) -> OutcomeColumns<'_> {
    match outcome {
        Outcome::Answered(answer) => (
            Some(answer.status),
            Some(write_headers(&answer.headers)),
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
        headers: read_headers(&headers.unwrap_or_default()),
        body: body.unwrap_or_default().into(),
        flaw,
    })
}
