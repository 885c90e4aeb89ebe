//! Asking a running server, with a token signed here.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgMatches};
use fanfare::model::{Answer, CompanyId, Outcome};
use fanfare::send::{GuardPolicy, HttpTransport, Request, Transport};
use fanfare_server::auth::Grant;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::token;
use crate::failure::{Failure, Result};
use crate::server::nearest;
use crate::settings::{Settings, flags};
use crate::{keys, out, runtime};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What to ask a server about a company.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    /// Where, below the company or what else it is about.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    /// The `Idempotency-Key`.
    pub(super) key: Option<&'a str>,
    /// JSON.
    pub(super) body: Bytes,
}

/// The flags that say which server, and about whom.
pub(super) fn args() -> impl Iterator<Item = Arg> {
    let settings = flags(|setting| setting == "listen" || token::SETTINGS.contains(&setting));
    [token::company(), server()].into_iter().chain(settings)
}

/// The flag `--server`.
pub(super) fn server() -> Arg {
    Arg::new("server")
        .long("server")
        .value_name("URL")
        .help("Where the server is [default: the address of the setting `listen`]")
}

/// Asks, and returns what was asked where, and the answer, whatever its status.
pub(super) fn ask(matches: &ArgMatches, question: Question<'_>) -> Result<(Url, Answer)> {
    let settings = Settings::load(matches)?;
    let company = token::company_of(matches)?;
    let asker =
        Asker { settings: &settings, server: server_of(matches), role: token::ROLE, company };
    asker.ask(&["companies", &company.to_string()], question)
}

/// The URL that `--server` names; empty where it does not.
pub(super) fn server_of(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("server").map_or("", String::as_str)
}

/// Who asks which server.
pub(super) struct Asker<'a> {
    pub(super) settings: &'a Settings,
    /// Where it is; empty for the address of the setting `listen`.
    pub(super) server: &'a str,
    pub(super) role: &'a str,
    pub(super) company: CompanyId,
}

impl Asker<'_> {
    /// Asks about what lies below this path of `/v1`.
    pub(super) fn ask(&self, below: &[&str], question: Question<'_>) -> Result<(Url, Answer)> {
        let url = url(self.server, self.settings.listen, below, &question)?;
        let secret = keys::jwt_secret(self.settings)?;
        let grant = token::grant(self.settings, secret.reveal(), self.company);
        let token = token::sign(&Grant { role: self.role, ..grant })?;
        let transport = HttpTransport::new(reaching(&url)?, TIMEOUT).reading(ANSWER_BYTES_MAX);
        let request = Request {
            company: self.company,
            method: question.method,
            url: url.clone(),
            headers: headers(&token, question.key)?,
            body: question.body,
            identity: None,
        };
        match runtime::on_one_thread(async { Ok(transport.send(request).await.outcome) })? {
            Outcome::Answered(answer) => Ok((url, answer)),
            Outcome::NoAnswer { reason } => {
                Err(Failure::Failed(format!("{url} does not answer: {reason}")))
            }
        }
    }
}

/// Asks, and prints the answer as it is.
pub(super) fn print(matches: &ArgMatches, question: Question<'_>) -> Result {
    let (url, answer) = ask(matches, question)?;
    let granted = granted(&url, answer)?;
    out::answer(&out::tame(String::from_utf8_lossy(&granted).trim_end()))
}

/// The body of an answer that says yes.
pub(super) fn granted(url: &Url, answer: Answer) -> Result<Bytes> {
    if (200..300).contains(&answer.status) {
        return match answer.flaw {
            None => Ok(answer.body),
            Some(flaw) => Err(Failure::Failed(format!("{url} did not answer to the end: {flaw}"))),
        };
    }
    let words = out::tame(&words(&answer));
    Err(Failure::Failed(format!("{url} answered {}: {words}", answer.status)))
}

fn url(server: &str, listen: SocketAddr, below: &[&str], question: &Question<'_>) -> Result<Url> {
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
    let mut segments = url.path_segments_mut().map_err(|()| wrong())?;
    segments.pop_if_empty().push("v1").extend(below).extend(question.path);
    drop(segments);
    if !question.query.is_empty() {
        url.query_pairs_mut().extend_pairs(question.query);
    }
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
        ..GuardPolicy::default()
    })
}

fn headers(token: &str, idempotency_key: Option<&str>) -> Result<HeaderMap> {
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
