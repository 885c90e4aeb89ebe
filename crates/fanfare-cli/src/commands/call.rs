//! A call of a running server, with a token signed here.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgMatches};
use fanfare::model::{Answer, CompanyId, Outcome};
use fanfare::send::{GuardPolicy, HttpTransport, Request, Transport};
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::{Host, Url};

use super::token;
use crate::failure::{Failure, Result};
use crate::server::nearest;
use crate::settings::Settings;
use crate::{keys, out, runtime};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The flag `--server`.
pub(super) fn server() -> Arg {
    Arg::new("server")
        .long("server")
        .value_name("URL")
        .help("Where the server is [default: the address of the setting `listen`]")
}

/// What a call needs to know of the settings.
pub(super) fn needs(setting: &str) -> bool {
    setting == "listen" || token::SETTINGS.contains(&setting)
}

/// Posts `body` to what the company has under `place`, and prints the answer.
pub(super) fn post(matches: &ArgMatches, place: &str, body: Bytes) -> Result {
    let settings = Settings::load(matches)?;
    let company = token::company_of(matches)?;
    let server = matches.get_one::<String>("server").map_or("", String::as_str);
    let url = url_of(server, settings.listen, (company, place))?;
    let secret = keys::jwt_secret(&settings)?;
    let token = token::sign(&token::grant(&settings, &secret, company))?;
    let transport = HttpTransport::new(reaching(&url)?, TIMEOUT);
    let headers = headers(&token)?;
    let request = Request { company, method: Method::POST, url: url.clone(), headers, body };
    let outcome = runtime::on_one_thread(async { Ok(transport.send(request).await) })?;
    report(&url, outcome)
}

/// Where something of a company is.
fn url_of(server: &str, listen: SocketAddr, (company, place): (CompanyId, &str)) -> Result<Url> {
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
        place,
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

fn headers(token: &str) -> Result<HeaderMap> {
    let bearer = HeaderValue::try_from(format!("Bearer {token}"));
    let bearer = bearer.map_err(|error| Failure::Failed(error.to_string()))?;
    let json = HeaderValue::from_static("application/json");
    Ok([(AUTHORIZATION, bearer), (CONTENT_TYPE, json)].into_iter().collect())
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
