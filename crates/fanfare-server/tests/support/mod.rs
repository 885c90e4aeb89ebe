//! The whole server without its sockets: the router on a real store, with a clock and a network that
//! do as they are told.

#![allow(dead_code, reason = "each test file needs a part of it")]

pub(crate) mod never;
pub(crate) mod server;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use fanfare::Engine;
use fanfare::clock::{Clock as _, ManualClock};
use fanfare::engine::{Parts, Rules};
use fanfare::keys;
use fanfare::metrics::Metrics;
use fanfare::model::{Answer, Outcome, Timestamp};
use fanfare::seal::Seal;
use fanfare::send::{self, GuardPolicy, Request as Sent, Transport};
use fanfare::store;
use fanfare_server::auth::{Auth, AuthSettings, Grant, mint};
use fanfare_server::{App, Rate, router};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use url::Url;

pub(crate) const NOW: Timestamp = Timestamp(1_751_680_331_000);
pub(crate) const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
/// The company whose admin calls, if nothing else is said.
pub(crate) const COMPANY: &str = "0197d8a2-52bd-7000-8000-000000000001";
/// Another company.
pub(crate) const OTHER: &str = "0197d8a2-52bd-7000-8000-000000000002";
/// An id that nothing has.
pub(crate) const NOBODY: &str = "0197d8a2-52bd-7000-8000-0000000000ff";
/// What a configuration has in W3Block's interface.
pub(crate) const CONFIGURATION_FIELDS: [&str; 9] = [
    "company",
    "companyId",
    "createdAt",
    "disabled",
    "id",
    "maxRetries",
    "signatureKey",
    "updatedAt",
    "webhookUrl",
];
/// The largest payload.
pub(crate) const MAX_PAYLOAD: usize = 2048;

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) network: Arc<Network>,
    pub(crate) router: Router,
    dir: TempDir,
}

/// A network on which every endpoint answers as the script says, and 204 when it has ended.
#[derive(Default)]
pub(crate) struct Network {
    script: Mutex<VecDeque<Outcome>>,
    sent: Mutex<Vec<Sent>>,
    silent: Mutex<bool>,
}

impl Network {
    /// From here on, nobody answers.
    pub(crate) fn fall_silent(&self) {
        *self.silent.lock().unwrap() = true;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: Sent) -> send::Sent {
        self.sent.lock().unwrap().push(request);
        if *self.silent.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        self.script.lock().unwrap().pop_front().unwrap_or_else(|| answered(204, "")).into()
    }
}

/// An endpoint's answer.
pub(crate) fn answered(status: u16, body: &str) -> Outcome {
    let headers = [("x-one", "1"), ("set-cookie", "a"), ("set-cookie", "b")];
    let headers = headers.into_iter().collect();
    let body = Bytes::copy_from_slice(body.as_bytes());
    Outcome::Answered(Answer { status, headers, body, flaw: None })
}

/// What comes of no answer.
pub(crate) fn no_answer(reason: &str) -> Outcome {
    Outcome::NoAnswer { reason: reason.to_owned() }
}

/// What the server answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// Its body, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// Its body, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The error's status, code and messages; panics unless it has the contract's shape.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, String, String) {
        let error = self.json();
        let fields: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["code", "error", "message", "statusCode"], "{error}");
        assert_eq!(error["statusCode"], self.status, "{error}");
        assert_eq!(self.header("content-type"), "application/json");
        let words = StatusCode::from_u16(self.status).unwrap().canonical_reason();
        assert_eq!(error["error"].as_str(), words, "{error}");
        let code = error["code"].as_str().unwrap().to_owned();
        assert!(!code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        let message = match &error["message"] {
            Value::String(one) => one.clone(),
            Value::Array(several) => {
                assert!(several.len() > 1, "{error}");
                several.iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join("\n")
            }
            other => panic!("{other}"),
        };
        assert!(!message.is_empty());
        (self.status, code, message)
    }
}

/// What a server is made of that is not as usual.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) script: Vec<Outcome>,
    pub(crate) public_url: Option<Url>,
    pub(crate) issuer: Option<String>,
    pub(crate) company_rate: Option<Rate>,
}

impl Bench {
    pub(crate) async fn new() -> Bench {
        Bench::answering(Vec::new()).await
    }

    /// A server whose endpoints answer so, one after the other, and then 204.
    pub(crate) async fn answering(script: Vec<Outcome>) -> Bench {
        Bench::made(Made { script, ..Made::default() }).await
    }

    pub(crate) async fn with_public_url(url: &str) -> Bench {
        let public_url = Some(url.parse().unwrap());
        Bench::made(Made { public_url, ..Made::default() }).await
    }

    pub(crate) async fn made(made: Made) -> Bench {
        let Made { script, public_url, issuer, company_rate } = made;
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let network = Arc::new(Network { script: Mutex::new(script.into()), ..Network::default() });
        let metrics = Metrics::default();
        let url = format!("sqlite:{}", dir.path().join("fanfare.db").display());
        let key_file = dir.path().join("encryption-key");
        let key = keys::read_or_make(&key_file).unwrap();
        let engine = Engine::new(Parts {
            clock: clock.clone(),
            transport: network.clone(),
            store: store::open(&url, metrics.clone()).await.unwrap(),
            seal: Seal::new(key.bytes()),
            key_file: Some(key_file),
            guard: GuardPolicy::default(),
            metrics,
            node: "test".to_owned(),
            rules: Rules { max_payload: MAX_PAYLOAD, ..Rules::default() },
        });
        engine.start().await.unwrap();
        let secret = SECRET.to_vec().into();
        let settings = AuthSettings { secret, jwks: None, issuer, audience: None };
        let auth = Auth::new(settings, clock.clone(), network.clone()).unwrap();
        let app = App::new(engine.clone(), Arc::new(auth), public_url);
        let router = router(app.with_company_rate(company_rate));
        Bench { engine, clock, network, router, dir }
    }

    pub(crate) fn token(&self, company: &str, role: &str) -> String {
        let ttl = Duration::from_hours(24 * 365);
        let company = company.parse().unwrap();
        let (issuer, audience) = (None, None);
        let grant = Grant { secret: SECRET, company, role, ttl, issuer, audience };
        mint(&grant, self.clock.now()).unwrap()
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Calls as an admin of [`COMPANY`].
    pub(crate) async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> Reply {
        self.call_as(Some(&self.token(COMPANY, "admin")), method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
        request = request.uri(path).header("host", "hooks.example");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", path, body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.call("PATCH", path, body.to_string()).await
    }

    /// Asks until the answer is as it should be, and returns it.
    pub(crate) async fn until(&self, path: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let mut beats = tokio::time::interval(Duration::from_millis(5));
        let mut last = Value::Null;
        for _ in 0..2000 {
            beats.tick().await;
            last = self.get(path).await.expect(200);
            if ready(&last) {
                return last;
            }
        }
        panic!("never came: {last}");
    }

    /// The time, as answers show it.
    pub(crate) fn clock_text(&self) -> String {
        self.clock.now().to_string()
    }

    /// What the store has written, by the names of its files.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path());
        let files: Vec<_> =
            files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect();
        assert!(!files.is_empty());
        files
    }

    /// Moves the clock past the next retry.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// A path under the native interface of [`COMPANY`].
pub(crate) fn v1(path: &str) -> String {
    format!("/v1/companies/{COMPANY}{path}")
}

/// A path under W3Block's interface of [`COMPANY`].
pub(crate) fn w3block(path: &str) -> String {
    format!("/admin/companies/{COMPANY}/webhooks-configurations{path}")
}

/// The names of an object's fields, sorted.
#[track_caller]
pub(crate) fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// `2025-07-05T01:52:11.613Z`.
#[track_caller]
pub(crate) fn assert_is_time(value: &Value) {
    let shape: String = value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}
