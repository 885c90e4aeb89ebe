//! `fanfare emit`: one event through a running server, with a token signed here.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgMatches, Command};
use fanfare::engine::check_json;
use fanfare::model::{Answer, CompanyId, EventType, Outcome};
use fanfare::send::{GuardPolicy, HttpTransport, Request, Transport};
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use url::{Host, Url};

use super::token;
use crate::failure::{Failure, Result};
use crate::server::nearest;
use crate::settings::{Settings, flags};
use crate::{keys, out, runtime};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

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
        .arg(token::company())
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
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("URL")
                .help("Where the server is [default: the address of the setting `listen`]"),
        )
        .args(flags(|setting| setting == "listen" || token::SETTINGS.contains(&setting)))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    let company = token::company_of(matches)?;
    let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
    let event_type = text("type").parse();
    let event_type = event_type.map_err(|reason| Failure::Usage(format!("TYPE: {reason}")))?;
    let payload = payload(text("json"))?;
    let url = events_url(text("server"), settings.listen, company)?;
    let secret = keys::jwt_secret(&settings)?;
    let token = token::sign(&token::grant(&settings, &secret, company))?;

    let transport = HttpTransport::new(reaching(&url)?, TIMEOUT);
    let request = Request {
        company,
        method: Method::POST,
        url: url.clone(),
        headers: headers(&token, matches.get_one::<String>("idempotency-key"))?,
        body: body(&event_type, &wishes(matches), &payload),
    };
    let outcome = runtime::on_one_thread(async { Ok(transport.send(request).await) })?;
    report(&url, outcome)
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

/// Where events of `company` go.
fn events_url(server: &str, listen: SocketAddr, company: CompanyId) -> Result<Url> {
    let base = match server {
        "" => format!("http://{}", nearest(listen)),
        given => given.to_owned(),
    };
    let wrong =
        || Failure::Usage(format!("--server: `{base}` is not a URL such as https://hooks.shop"));
    let parsed = Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let mut url = parsed.ok_or_else(wrong)?;
    url.set_query(None);
    url.set_fragment(None);
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend([
        "v1",
        "companies",
        &company.to_string(),
        "events",
    ]);
    Ok(url)
}

/// Lets the server be reached wherever it is: whoever named it knows the machine.
fn reaching(url: &Url) -> Result<GuardPolicy> {
    let port = url.port_or_known_default().unwrap_or_default();
    let wrong = |reason| Failure::Usage(format!("--server: {reason}"));
    let network = |any: &str| format!("{any}/0:{port}").parse().map_err(wrong);
    let named = match url.host() {
        Some(Host::Domain(name)) => Some(format!("{name}:{port}").parse().map_err(wrong)?),
        _ => None,
    };
    Ok(GuardPolicy {
        allow_http: true,
        allow_networks: vec![network("0.0.0.0")?, network("[::]")?],
        allow_hosts: named.into_iter().collect(),
    })
}

fn headers(token: &str, idempotency_key: Option<&String>) -> Result<HeaderMap> {
    let bearer = HeaderValue::try_from(format!("Bearer {token}"));
    let bearer = bearer.map_err(|error| Failure::Failed(error.to_string()))?;
    let json = HeaderValue::from_static("application/json");
    let mut headers: HeaderMap =
        [(AUTHORIZATION, bearer), (CONTENT_TYPE, json)].into_iter().collect();
    if let Some(key) = idempotency_key {
        let key = HeaderValue::try_from(key);
        let key = key.map_err(|error| Failure::Usage(format!("--idempotency-key: {error}")))?;
        headers.insert(HeaderName::from_static("idempotency-key"), key);
    }
    Ok(headers)
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

fn report(url: &Url, outcome: Outcome) -> Result {
    let answer = match outcome {
        Outcome::Answered(answer) => answer,
        Outcome::NoAnswer { reason } => {
            return Err(Failure::Failed(format!("{url} does not answer: {reason}")));
        }
    };
    if (200..300).contains(&answer.status) {
        return out::answer(&out::tame(String::from_utf8_lossy(&answer.body).trim_end()));
    }
    let words = out::tame(&words(&answer));
    Err(Failure::Failed(format!("{url} answered {}: {words}", answer.status)))
}

/// The server's own words, where they are.
fn words(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match &body["message"] {
        serde_json::Value::String(message) => message.clone(),
        serde_json::Value::Array(messages) => {
            let messages: Vec<&str> = messages.iter().filter_map(|m| m.as_str()).collect();
            messages.join("; ")
        }
        _ => String::from_utf8_lossy(&answer.body).into_owned(),
    }
}
