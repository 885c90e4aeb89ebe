//! `fanfare emit`: one event through a running server.

use std::io::Read;

use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use fanfare::engine::check_json;
use fanfare::model::EventType;
use hyper::Method;

use super::ask::{self, Question};
use crate::failure::{Failure, Result};

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
        .args(ask::args())
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let event_type = text("type").parse();
    let event_type = event_type.map_err(|reason| Failure::Usage(format!("TYPE: {reason}")))?;
    let body = body(&event_type, &payload(text("json"))?);
    let question = Question { method: Method::POST, path: &["events"], query: &[], body };
    ask::print(matches, question)
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

fn body(event_type: &EventType, payload: &[u8]) -> Bytes {
    let head = format!(r#"{{"type":"{event_type}","data":"#);
    Bytes::from([head.as_bytes(), payload, b"}"].concat())
}
