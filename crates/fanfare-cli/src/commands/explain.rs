//! `fanfare explain`: where an event is, told by a running server.

use std::fmt::{self, Display, Formatter};

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use fanfare::EventId;
use hyper::Method;
use serde::Deserialize;

use super::ask::{self, Question};
use crate::failure::{Failure, Result};
use crate::out;

pub(super) fn command() -> Command {
    Command::new("explain")
        .about("Tells where an event is: who heard of it, what was tried, and what it waits for")
        .arg(
            Arg::new("event")
                .value_name("EVENT_ID")
                .required(true)
                .help("Its id, which receivers see as webhook-id"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the server's answer as it is, a line for each hundred deliveries"),
        )
        .args(ask::args())
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let text = matches.get_one::<String>("event").map_or("", String::as_str);
    let id: EventId = text.parse().map_err(|_| {
        Failure::Usage(format!(
            "EVENT_ID: `{text}` is not a UUID such as 01980a54-5b5c-7d8e-9f00-112233445566"
        ))
    })?;
    let mut after = None;
    loop {
        let body = ask_for(matches, id, after.as_deref())?;
        let page = String::from_utf8_lossy(&body);
        let event: Event = serde_json::from_str(&page).map_err(|error| {
            Failure::Failed(format!("the server's answer cannot be read: {error}"))
        })?;
        let shown = match (matches.get_flag("json"), after) {
            (true, _) => page.into_owned(),
            (false, None) => format!("{event}{}", Endpoints(&event)),
            (false, Some(_)) => Endpoints(&event).to_string(),
        };
        out::answer(out::tame(&shown).trim_end())?;
        after = event.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// A page of the answer.
fn ask_for(matches: &ArgMatches, id: EventId, after: Option<&str>) -> Result<Bytes> {
    let query: Vec<_> = after.map(|after| ("after", after)).into_iter().collect();
    let id = id.to_string();
    let path = ["events", &id];
    let (method, body) = (Method::GET, Bytes::new());
    let question = Question { method, path: &path, query: &query, key: None, body };
    let (url, answer) = ask::ask(matches, question)?;
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status == 404 && refusal.code == "event_not_found" {
        return Err(Failure::Failed(format!(
            "the company has no event {id}: it was never accepted, or its history has expired"
        )));
    }
    ask::granted(&url, answer)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    id: String,
    r#type: String,
    created_at: String,
    ordering_key: Option<String>,
    deliver_at: Option<String>,
    expires_at: Option<String>,
    endpoints: Vec<Endpoint>,
    others_not_matched: u64,
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    id: String,
    url: String,
    deleted_at: Option<String>,
    reason: Option<String>,
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    id: String,
    state: String,
    sequence: u64,
    attempts: Vec<Attempt>,
    replay_of: Option<String>,
    waiting_for: Option<String>,
    says: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    number: u32,
    started_at: String,
    probe: bool,
    status_code: Option<u16>,
    error: Option<String>,
    timing: Timing,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timing {
    queue_ms: Option<f64>,
    dns_ms: Option<f64>,
    connect_ms: Option<f64>,
    tls_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    total_ms: f64,
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, emitted at {}", self.r#type, self.id, self.created_at)?;
        for (what, value) in [
            ("ordering key", &self.ordering_key),
            ("not to be sent before", &self.deliver_at),
            ("not to be sent from here on:", &self.expires_at),
        ] {
            if let Some(value) = value {
                writeln!(f, "  {what} {value}")?;
            }
        }
        Ok(())
    }
}

/// Every endpoint on a page.
struct Endpoints<'a>(&'a Event);

impl Display for Endpoints<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for endpoint in &self.0.endpoints {
            write!(f, "{endpoint}")?;
        }
        match self.0.others_not_matched {
            0 => Ok(()),
            others => writeln!(f, "and {others} more endpoints that it was not for"),
        }
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} (endpoint {})", self.url, self.id)?;
        if let Some(at) = &self.deleted_at {
            write!(f, ", deleted at {at}")?;
        }
        match &self.reason {
            Some(reason) => writeln!(f, ": not for it: {reason}")?,
            None => writeln!(f)?,
        }
        self.deliveries.iter().try_for_each(|delivery| write!(f, "{delivery}"))
    }
}

impl Display for Delivery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  delivery {}, number {}, {}", self.id, self.sequence, self.state)?;
        if let Some(waiting_for) = &self.waiting_for {
            write!(f, " ({waiting_for})")?;
        }
        if let Some(first) = &self.replay_of {
            write!(f, ", a replay of {first}")?;
        }
        writeln!(f, ": {}", self.says)?;
        self.attempts.iter().try_for_each(|attempt| writeln!(f, "    {attempt}"))
    }
}

impl Display for Attempt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let probe = if self.probe { ", a probe" } else { "" };
        write!(f, "attempt {}{probe}, at {}: ", self.number, self.started_at)?;
        match (self.status_code, &self.error) {
            (Some(status), None) => write!(f, "answered {status}")?,
            (Some(status), Some(flaw)) => write!(f, "answered {status}, but {flaw}")?,
            (None, error) => write!(f, "{}", error.as_deref().unwrap_or("no answer"))?,
        }
        write!(f, ", {}", self.timing)
    }
}

impl Display for Timing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let steps = [
            ("queue", self.queue_ms),
            ("dns", self.dns_ms),
            ("connect", self.connect_ms),
            ("tls", self.tls_ms),
            ("first byte", self.first_byte_ms),
        ];
        let steps = steps.into_iter().filter_map(|(step, ms)| Some(format!("{step} {} ms", ms?)));
        write!(f, "{} ms", self.total_ms)?;
        match steps.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => Ok(()),
            steps => write!(f, " ({steps})"),
        }
    }
}
