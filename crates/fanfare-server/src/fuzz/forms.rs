use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use fanfare::Engine;
use fanfare::clock::Clock;
use fanfare::engine::{Parts, Rules};
use fanfare::metrics::Metrics;
use fanfare::model::CompanyId;
use fanfare::seal::Seal;
use fanfare::send::GuardPolicy;
use fanfare::store;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{Echo, clock, runtime, secret};
use crate::auth::{Auth, AuthSettings, Grant, mint};
use crate::{App, router};

/// Requests after which the store begins anew: it shall not grow for days.
const REQUESTS_MAX: u32 = 20_000;

/// Whatever reads a body, by the digit with which an input begins. An endpoint is there already.
const FORMS: [(&str, &str); 10] = [
    ("POST", "/v1/companies/{company}/events"),
    ("POST", "/v1/companies/{company}/events/batch"),
    ("POST", "/v1/companies/{company}/endpoints"),
    ("PATCH", "/v1/companies/{company}/endpoints/{endpoint}"),
    ("POST", "/v1/companies/{company}/events/match"),
    ("POST", "/v1/companies/{company}/replays"),
    ("POST", "/admin/companies/{company}/webhooks-configurations"),
    ("PATCH", "/admin/companies/{company}/webhooks-configurations/{endpoint}"),
    ("PUT", "/v1/companies/{company}"),
    ("POST", "/v1/companies/{company}/endpoints/{endpoint}/secret/rotate"),
];

/// A server on a store of its own.
struct Server {
    runtime: Runtime,
    router: TowerToHyperService<Router>,
    secret: Vec<u8>,
    company: CompanyId,
    endpoint: String,
    requests: u32,
    dir: PathBuf,
}

/// Takes a digit for a form and the rest for its body: whatever is sent is answered, with a refusal
/// in the one shape where it is none of what is asked for.
pub fn bodies(data: &[u8]) {
    // Of a thread, and not of the process: with the thread its files go, too.
    thread_local!(static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) });
    let Some((form, body)) = data.split_first() else { return };
    let (method, path) = FORMS[usize::from(*form) % FORMS.len()];
    let (status, answer) = SERVER.with_borrow_mut(|server| {
        if server.as_ref().is_some_and(|server| server.requests >= REQUESTS_MAX) {
            *server = None;
        }
        let server = server.get_or_insert_with(Server::start);
        server.ask(method, path, Bytes::copy_from_slice(body))
    });
    let shown = String::from_utf8_lossy(body);
    assert!(status < 500, "{method} {path} {shown} is answered {status}");
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    if status >= 400 {
        assert_eq!(answer["statusCode"], status, "{method} {path} {shown}");
        assert!(answer["code"].is_string(), "{method} {path} {shown}");
    }
}

impl Server {
    fn start() -> Server {
        let (runtime, secret, clock) = (runtime(), secret(), clock());
        let dir = std::env::temp_dir().join(format!("fanfare-fuzz-{}", Uuid::new_v4()));
        std::fs::create_dir(&dir).expect("a directory");
        let url = format!("sqlite:{}", dir.join("fanfare.db").display());
        let metrics = Metrics::default();
        let store = runtime.block_on(store::open(&url, metrics.clone())).expect("a store");
        let company = CompanyId::new(clock.now());
        let network = Arc::new(Echo(""));
        let settings = AuthSettings {
            secret: secret.clone().into(),
            jwks: None,
            issuer: None,
            audience: None,
        };
        let auth = Auth::new(settings, clock.clone(), network.clone()).expect("settings that hold");
        let engine = Engine::new(Parts {
            clock,
            transport: network,
            store,
            seal: Seal::new(&[7; 32]),
            key_file: None,
            guard: GuardPolicy::default(),
            metrics,
            node: "fuzz".to_owned(),
            rules: Rules::default(),
        });
        let router = TowerToHyperService::new(router(App::new(engine, Arc::new(auth), None)));
        let endpoint = String::new();
        let mut server = Server { runtime, router, secret, company, endpoint, requests: 0, dir };
        server.register();
        server
    }

    fn register(&mut self) {
        let body = Bytes::from_static(br#"{"url":"https://shop.example/","events":["none"]}"#);
        let (status, answer) = self.ask(FORMS[2].0, FORMS[2].1, body);
        assert_eq!(status, StatusCode::CREATED.as_u16());
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        self.endpoint = answer["id"].as_str().expect("an id").to_owned();
    }

    fn ask(&mut self, method: &str, path: &str, body: Bytes) -> (u16, Bytes) {
        self.requests += 1;
        let company = self.company.to_string();
        let ttl = Duration::from_hours(1);
        let (role, issuer, audience) = ("admin", None, None);
        let grant =
            Grant { secret: &self.secret, company: self.company, role, ttl, issuer, audience };
        let token = mint(&grant, super::NOW).expect("a token");
        let path = path.replace("{company}", &company).replace("{endpoint}", &self.endpoint);
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::from(body)).expect("a request");
        let answered = async {
            let response = self.router.call(request).await.unwrap_or_else(|never| match never {});
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.expect("a body");
            (status, body.to_bytes())
        };
        self.runtime.block_on(answered)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
