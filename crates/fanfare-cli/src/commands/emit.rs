//! `fanfare emit`: one event through a running server.

use std::io::Read;

use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use fanfare::engine::check_json;
use fanfare::model::EventType;
use hyper::Method;
use serde_json::json;

use super::ask::{self, Question};
use crate::failure::{Failure, Result};

/// What may be asked of the event: the flag, the field, and what stands for its value in help.
const WISHES: [(&str, &str, &str, &str); 3] = [
    ("ordering-key", "orderingKey", "KEY", "What it is about, such as an order's id"),
    ("deliver-at", "deliverAt", "TIME", "Not to be sent before, such as 2025-07-05T01:52:11Z"),
    ("expires-at", "expiresAt", "TIME", "Not to be sent from here on"),
];

pub(super) fn command() -> Command {
    Command::new("emit")
        .about("Emits one event through a running server")
        .arg(Arg::new("type").value_name("TYPE").required(true).help("Such as order.created"))
        .arg(
            Arg::new("json")
                .value_name("JSON")
                .required(true)
                .allow_hyphen_values(true)
                .help("The payload; `-` reads it from the standard input, `@FILE` from a file"),
        )
        .args(
            WISHES.map(|(flag, _, value, help)| {
                Arg::new(flag).long(flag).value_name(value).help(help)
            }),
        )
        .arg(
            Arg::new("idempotency-key")
                .long("idempotency-key")
                .value_name("KEY")
                .help("Makes a repeat answer the same and emit nothing"),
        )
        .args(ask::args())
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let event_type = text("type").parse();
    let event_type = event_type.map_err(|reason| Failure::Usage(format!("TYPE: {reason}")))?;
    let body = body(&event_type, &wishes(matches), &payload(text("json"))?);
    let key = matches.get_one::<String>("idempotency-key").map(String::as_str);
    let path = &["events"];
    ask::print(matches, Question { method: Method::POST, path, query: &[], key, body })
}

/// The payload as it was meant: itself, from a file, or from the standard input.
fn payload(given: &str) -> Result<Vec<u8>> {
    let unreadable =
        |error: std::io::Error| Failure::Failed(format!("{given} cannot be read: {error}"));
    let bytes = if given == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(unreadable)?;
        bytes
    } else if let Some(path) = given.strip_prefix('@') {
        std::fs::read(path).map_err(unreadable)?
    } else {
        given.as_bytes().to_vec()
    };
    // It goes into the body as it is, so it must not be able to end early.
    check_json(&bytes).map_err(|error| Failure::Usage(format!("JSON: {error}")))?;
    Ok(bytes)
}

/// The fields of what is asked of the event, each with a comma behind it.
fn wishes(matches: &ArgMatches) -> String {
    let given = WISHES.iter().filter_map(|(flag, field, ..)| {
        let value = matches.get_one::<String>(flag)?;
        Some(format!("{}:{},", json!(field), json!(value)))
    });
    given.collect()
}

fn body(event_type: &EventType, wishes: &str, payload: &[u8]) -> Bytes {
    let head = format!(r#"{{"type":"{event_type}",{wishes}"data":"#);
    Bytes::from([head.as_bytes(), payload, b"}"].concat())
}
