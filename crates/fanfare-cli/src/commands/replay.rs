//! `fanfare replay`: sends again what was sent before, through a running server.

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use hyper::Method;
use serde_json::{Map, Value};

use super::ask::{self, Question};
use crate::failure::{Failure, Result};

/// Flags with a text, and what they are called in the call.
const TEXTS: [(&str, &str, &str, &str); 5] = [
    ("failed-since", "failedSince", "TIME", "Every delivery that failed since this time"),
    ("type", "type", "TYPE", "Events of this type, or below a prefix such as `order.*`"),
    ("from", "from", "TIME", "Events accepted since this time; needs --type"),
    ("to", "to", "TIME", "Events accepted before this time [default: now]"),
    ("endpoint", "endpointId", "UUID", "To this endpoint alone"),
];

pub(super) fn command() -> Command {
    let texts =
        TEXTS.map(|(flag, _, value, help)| Arg::new(flag).long(flag).value_name(value).help(help));
    Command::new("replay")
        .about("Sends deliveries again through a running server")
        .arg(
            Arg::new("delivery")
                .long("delivery")
                .value_name("UUID")
                .num_args(1..)
                .help("These deliveries"),
        )
        .args(texts)
        .group(ArgGroup::new("selection").args(["delivery", "failed-since", "from"]).required(true))
        .arg(
            Arg::new("per-second")
                .long("per-second")
                .value_name("N")
                .help("The pace [default: as fast as the endpoints are sent to]"),
        )
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Only count"))
        .args(ask::args())
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let question = Question {
        method: Method::POST,
        path: &["replays"],
        query: &[],
        key: None,
        body: body(matches)?,
    };
    ask::print(matches, question)
}

/// The call in words of the server, which says what is wrong with it.
fn body(matches: &ArgMatches) -> Result<Bytes> {
    let mut fields = Map::new();
    for (flag, name, ..) in TEXTS {
        if let Some(text) = matches.get_one::<String>(flag) {
            fields.insert(name.to_owned(), Value::from(text.as_str()));
        }
    }
    if let Some(ids) = matches.get_many::<String>("delivery") {
        let ids: Vec<&str> = ids.map(String::as_str).collect();
        fields.insert("deliveries".to_owned(), Value::from(ids));
    }
    if let Some(text) = matches.get_one::<String>("per-second") {
        let pace: u32 = text.parse().map_err(|_| {
            Failure::Usage(format!("--per-second: `{text}` is not a whole number such as 50"))
        })?;
        fields.insert("perSecond".to_owned(), Value::from(pace));
    }
    if matches.get_flag("dry-run") {
        fields.insert("dryRun".to_owned(), Value::from(true));
    }
    Ok(Bytes::from(Value::Object(fields).to_string()))
}
