//! Who may do what: every operation, asked by every kind of caller. An operation without a row in
//! the table fails the test.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use support::{Bench, COMPANY, Made, NOBODY, NOW, OTHER, Reply, SECRET, text};

const URL: &str = "https://shop.example/hooks";
const ISSUER: &str = "https://id.example";
/// An API path begins so, or needs no token.
const V1: &str = "/v1/companies/{companyId}";
const W3BLOCK: &str = "/admin/companies/{companyId}/webhooks-configurations";

/// An operation: method, path after its prefix, what it answers to whoever may ask, body.
type Row = (&'static str, &'static str, u16, &'static str);

const EVENT: &str = r#"{"type":"a","data":1}"#;
const EVENTS: &str = r#"{"events":[{"type":"a","data":1}]}"#;
const ENDPOINT: &str = r#"{"url":"https://shop.example/hooks","events":["*"]}"#;
const CONFIGURATION: &str = r#"{"webhookUrl":"https://shop.example/hooks"}"#;
const REPLAY: &str = r#"{"failedSince":"2025-01-01T00:00:00Z"}"#;

/// What is for the callers of a company.
const NATIVE: &[Row] = &[
    ("GET", "", 200, ""),
    ("PUT", "", 200, r#"{"name":"x"}"#),
    ("POST", "/events", 202, EVENT),
    ("POST", "/events/batch", 202, EVENTS),
    ("POST", "/events/match", 200, EVENT),
    ("GET", "/events/{eventId}", 200, ""),
    ("POST", "/events/{eventId}/cancel", 200, ""),
    ("GET", "/endpoints", 200, ""),
    ("POST", "/endpoints", 201, ENDPOINT),
    ("GET", "/endpoints/{endpointId}", 200, ""),
    ("PATCH", "/endpoints/{endpointId}", 200, r#"{"maxRetries":7}"#),
    ("DELETE", "/endpoints/{endpointId}", 204, ""),
    ("POST", "/endpoints/{endpointId}/activate", 200, ""),
    ("POST", "/endpoints/{endpointId}/deactivate", 200, ""),
    ("POST", "/endpoints/{endpointId}/secret/rotate", 200, ""),
    ("GET", "/endpoints/{endpointId}/deliveries", 200, ""),
    ("GET", "/deliveries/{deliveryId}", 200, ""),
    ("POST", "/deliveries/{deliveryId}/replay", 202, ""),
    ("POST", "/deliveries/{deliveryId}/cancel", 200, ""),
    ("GET", "/replays", 200, ""),
    ("POST", "/replays", 202, REPLAY),
    ("GET", "/replays/{replayId}", 200, ""),
    ("POST", "/replays/{replayId}/cancel", 200, ""),
    ("GET", "/api-keys", 200, ""),
    ("POST", "/api-keys", 201, r#"{"name":"x","scope":"emit"}"#),
    ("DELETE", "/api-keys/{apiKeyId}", 204, ""),
    ("GET", "/audit", 200, ""),
];

/// The same in W3Block's interface.
const FOREIGN: &[Row] = &[
    ("GET", "", 200, ""),
    ("POST", "", 201, CONFIGURATION),
    ("GET", "/{configurationId}", 200, ""),
    ("PATCH", "/{configurationId}", 200, CONFIGURATION),
    ("PATCH", "/{configurationId}/enable", 204, ""),
    ("PATCH", "/{configurationId}/disable", 204, ""),
    ("GET", "/{configurationId}/webhooks", 200, ""),
    ("GET", "/{configurationId}/webhooks/{webhookId}", 200, ""),
];

/// What everybody may ask.
const OPEN: &[Row] = &[
    ("GET", "/.well-known/webhook-keys?companyId={companyId}&endpointId={endpointId}", 200, ""),
    ("GET", "/healthz", 200, ""),
    ("GET", "/readyz", 200, ""),
    ("GET", "/metrics", 200, ""),
    ("GET", "/openapi.json", 200, ""),
    ("GET", "/docs", 200, ""),
    ("GET", "/", 200, ""),
];

/// An operation with its whole path.
struct Operation {
    method: &'static str,
    path: String,
    good: u16,
    body: &'static str,
}

fn operations(prefix: &str, rows: &[Row]) -> Vec<Operation> {
    let whole = |&(method, path, good, body): &Row| {
        let path = format!("{prefix}{path}");
        Operation { method, path, good, body }
    };
    rows.iter().map(whole).collect()
}

/// The operations that need a token.
fn guarded() -> Vec<Operation> {
    operations(V1, NATIVE).into_iter().chain(operations(W3BLOCK, FOREIGN)).collect()
}

fn all() -> Vec<Operation> {
    guarded().into_iter().chain(operations("", OPEN)).collect()
}

/// A path as it is routed, without a query.
fn route(path: &str) -> &str {
    path.split('?').next().unwrap()
}

/// What a caller sends along.
type Headers = Vec<(&'static str, String)>;

/// A caller: a name, its headers, and what it is answered: its way in, or a status and code.
type Caller = (&'static str, Headers, Option<(u16, &'static str)>);

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// A token of these claims, beside `exp` and `iss`, where they are not among them.
fn token(claims: &Value) -> String {
    signed(&json!({"alg": "HS256"}), claims, SECRET)
}

fn signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let mut whole = json!({"exp": NOW.as_secs() + 3600, "iss": ISSUER});
    for (name, value) in claims.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(&whole));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn of(role: &str, company: &str) -> Headers {
    vec![bearer(&token(&json!({"roles": [role], "tenantId": company})))]
}

/// Everybody who may stand before the door of [`COMPANY`].
fn callers() -> Vec<Caller> {
    let now = NOW.as_secs();
    let but = |changes: Value| {
        let mut claims = json!({"roles": ["admin"], "tenantId": COMPANY});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let with = |changes: Value| vec![bearer(&token(&but(changes)))];
    let admin = of("admin", COMPANY);
    let forged = signed(&json!({"alg": "HS256"}), &but(json!({})), b"another secret");
    let unsigned = signed(&json!({"alg": "none"}), &but(json!({})), SECRET);
    let pair = vec![("x-w3block-id", COMPANY.to_owned()), ("x-w3block-secret", "s".to_owned())];
    let refused = |name, headers, code| (name, headers, Some((401, code)));
    let outside = |name, headers| (name, headers, Some((403, "forbidden")));
    vec![
        refused("nobody", vec![], "token_missing"),
        refused("a password", vec![("authorization", "Basic YTpi".into())], "token_missing"),
        refused("W3Block's id and secret", pair, "token_missing"),
        refused("garbage", vec![bearer("x.y.z")], "token_malformed"),
        refused("two tokens", [admin.clone(), admin.clone()].concat(), "token_malformed"),
        refused("expired", with(json!({"exp": now - 61})), "token_expired"),
        refused("not yet valid", with(json!({"nbf": now + 61})), "token_not_yet_valid"),
        refused("forged", vec![bearer(&forged)], "token_signature"),
        refused("unsigned", vec![bearer(&unsigned)], "token_algorithm"),
        refused("another issuer's", with(json!({"iss": "https://evil.example"})), "token_issuer"),
        refused("no issuer's", with(json!({"iss": null})), "token_issuer"),
        refused("a viewer", of("viewer", COMPANY), "token_role"),
        refused("without a role", with(json!({"roles": []})), "token_role"),
        outside("another company's admin", of("admin", OTHER)),
        outside("another company's administrator", of("administrator", OTHER)),
        outside("another company's integration", of("integration", OTHER)),
        outside("an admin of no company", vec![bearer(&token(&json!({"roles": ["admin"]})))]),
        ("its admin", admin, None),
        ("its administrator", of("administrator", COMPANY), None),
        ("its integration", of("integration", COMPANY), None),
        ("superAdmin of another company", of("superAdmin", OTHER), None),
        ("superAdmin", vec![bearer(&token(&json!({"roles": ["superAdmin"]})))], None),
    ]
}

async fn ask(bench: &Bench, headers: &Headers, method: &str, path: &str, body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header("host", "hooks.example");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    bench.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// A server that asks for an issuer.
async fn server() -> Bench {
    Bench::made(Made { issuer: Some(ISSUER.to_owned()), ..Made::default() }).await
}

/// What a company has, by the name that it has in paths.
#[derive(Clone)]
struct Things(BTreeMap<&'static str, String>);

impl Things {
    /// Makes an endpoint, an event that it has heard of, one that waits, and a replay.
    async fn make(bench: &Bench, company: &str) -> Things {
        let base = V1.replace("{companyId}", company);
        let admin = of("admin", company);
        let post = async |path: &str, body: Value| {
            ask(bench, &admin, "POST", &format!("{base}{path}"), &body.to_string()).await
        };
        // It hears of nothing else, so that what others do does not change it.
        let endpoint = post("/endpoints", json!({"url": URL, "events": ["one"]})).await.expect(201);
        let endpoint = text(&endpoint, "id").to_owned();
        post("/events", json!({"type": "one", "data": 1})).await.expect(202);
        let list = format!("{base}/endpoints/{endpoint}/deliveries");
        let mut sent = Value::Null;
        for _ in 0..2000 {
            let page = ask(bench, &admin, "GET", &list, "").await.expect(200);
            sent = page["items"][0].clone();
            if sent["success"] == true {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(sent["success"], true, "{sent}");
        let later = json!({"type": "one", "data": 1, "deliverAt": "2025-07-09T00:00:00Z"});
        let event = post("/events", later).await.expect(202);
        let waiting = ask(bench, &admin, "GET", &list, "").await.expect(200);
        let waiting = text(&waiting["items"][0], "id").to_owned();
        let sent = text(&sent, "id").to_owned();
        let replay = post("/replays", json!({"deliveries": [sent]})).await.expect(202);
        let key = post("/api-keys", json!({"name": "x", "scope": "emit"})).await.expect(201);
        Things(BTreeMap::from([
            ("apiKeyId", text(&key, "id").to_owned()),
            ("companyId", company.to_owned()),
            ("endpointId", endpoint.clone()),
            ("configurationId", endpoint),
            ("eventId", text(&event, "id").to_owned()),
            ("webhookId", sent.clone()),
            ("sent", sent),
            ("waiting", waiting),
            ("replayId", text(&replay, "id").to_owned()),
        ]))
    }

    /// The path of these things.
    fn fill(&self, path: &str) -> String {
        let delivery = if path.ends_with("/cancel") { "{waiting}" } else { "{sent}" };
        let mut path = path.replace("{deliveryId}", delivery);
        for (name, id) in &self.0 {
            path = path.replace(&format!("{{{name}}}"), id);
        }
        path
    }

    /// The same with something of somebody else's.
    fn with(&self, name: &'static str, others: &Things) -> Things {
        let mut mixed = self.clone();
        mixed.0.insert(name, others.0[name].clone());
        mixed
    }

    /// Everything that could have been changed, as the company sees it.
    async fn seen(&self, bench: &Bench) -> Vec<Value> {
        let admin = of("admin", &self.0["companyId"]);
        let mut seen = Vec::new();
        for path in
            ["/endpoints", "/endpoints/{endpointId}/deliveries", "/events/{eventId}", "/replays"]
        {
            let path = self.fill(&format!("{V1}{path}"));
            seen.push(ask(bench, &admin, "GET", &path, "").await.expect(200));
        }
        seen
    }
}

#[test]
fn every_operation_has_its_row() {
    let document: Value = serde_json::from_str(&fanfare_server::openapi()).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        described.extend(item.as_object().unwrap().keys().map(|m| format!("{m} {path}")));
    }
    let row = |is: &Operation| format!("{} {}", is.method.to_lowercase(), route(&is.path));
    let rows: BTreeSet<String> = all().iter().map(row).collect();
    assert_eq!(rows, described, "left: the table; right: what is served");
    // Whatever may be served beside what is described.
    let page = include_str!("../src/app.rs");
    let routed = page.split(".route(").skip(1).map(|call| call.split('"').nth(1).unwrap());
    let paths: BTreeSet<String> = all().iter().map(|is| route(&is.path).to_owned()).collect();
    assert_eq!(paths, routed.map(str::to_owned).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_lets_in_who_may_and_nobody_else() {
    let bench = server().await;
    let things = Things::make(&bench, COMPANY).await;
    Things::make(&bench, OTHER).await;
    let callers = callers();
    for is in guarded() {
        let place = format!("{} {}", is.method, is.path);
        let before = things.seen(&bench).await;
        for (name, headers, refusal) in &callers {
            let Some((status, code)) = refusal else { continue };
            let path = things.fill(&is.path);
            let reply = ask(&bench, headers, is.method, &path, is.body).await;
            let (found, word, _) = reply.error();
            assert_eq!((found, word.as_str()), (*status, *code), "{place} by {name}");
            let challenge = if *status == 401 { "Bearer" } else { "" };
            assert_eq!(reply.header("www-authenticate"), challenge, "{place} by {name}");
        }
        assert_eq!(things.seen(&bench).await, before, "{place} did something for a stranger");
        for (name, headers, refusal) in &callers {
            if refusal.is_none() {
                let things = Things::make(&bench, COMPANY).await;
                let reply = ask(&bench, headers, is.method, &things.fill(&is.path), is.body).await;
                assert_eq!(reply.status, is.good, "{place} by {name}: {}", reply.text());
                assert_is_private(&reply, &place);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_token_is_the_same_for_everybody() {
    let bench = server().await;
    let things = Things::make(&bench, COMPANY).await;
    for is in operations("", OPEN) {
        for (name, headers, _) in callers() {
            let reply = ask(&bench, &headers, is.method, &things.fill(&is.path), is.body).await;
            assert_eq!(reply.status, is.good, "{} by {name}: {}", is.path, reply.text());
            assert_eq!(reply.header("x-content-type-options"), "nosniff", "{}", is.path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_companys_is_as_if_it_were_not_there() {
    let bench = server().await;
    let (theirs, ours) = (Things::make(&bench, COMPANY).await, Things::make(&bench, OTHER).await);
    let before = theirs.seen(&bench).await;
    let ids =
        ["endpointId", "configurationId", "eventId", "sent", "waiting", "webhookId", "replayId"];
    let mut tried = 0;
    for is in guarded() {
        for name in ids {
            let mixed = ours.with(name, &theirs);
            let path = mixed.fill(&is.path);
            if path == ours.fill(&is.path) {
                continue;
            }
            for headers in [of("admin", OTHER), of("superAdmin", OTHER), of("superAdmin", COMPANY)]
            {
                let reply = ask(&bench, &headers, is.method, &path, is.body).await;
                let (status, code, message) = reply.error();
                let place = format!("{} {} with their {name}", is.method, is.path);
                assert!(
                    status == 404 && code.ends_with("_not_found"),
                    "{place}: {status} {message}"
                );
                tried += 1;
            }
        }
    }
    assert_eq!(theirs.seen(&bench).await, before);
    let with_ids = guarded().iter().filter(|is| is.path.matches('{').count() > 1).count();
    assert!(tried >= 3 * with_ids, "{tried} of {with_ids}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_a_body_reach_no_further_than_those_in_a_path() {
    let bench = server().await;
    let (theirs, ours) = (Things::make(&bench, COMPANY).await, Things::make(&bench, OTHER).await);
    let before = theirs.seen(&bench).await;
    let (endpoint, since) = (&theirs.0["endpointId"], "2025-01-01T00:00:00Z");
    let sent = bench.network.sent().len();
    for body in [
        json!({"deliveries": [theirs.0["sent"]]}),
        json!({"deliveries": [ours.0["sent"], theirs.0["waiting"]]}),
        json!({"deliveries": [theirs.0["sent"]], "dryRun": true}),
        json!({"failedSince": since, "endpointId": endpoint}),
        json!({"failedSince": since, "endpointId": endpoint, "dryRun": true}),
        json!({"type": "one", "from": since, "endpointId": endpoint}),
        json!({"type": "one", "from": since, "endpointId": endpoint, "dryRun": true}),
    ] {
        let mut nobodys = body.to_string();
        for theirs in theirs.0.values() {
            nobodys = nobodys.replace(theirs, NOBODY);
        }
        for headers in [of("admin", OTHER), of("superAdmin", COMPANY)] {
            let found = replayed(&bench, &headers, &ours, &body.to_string()).await;
            assert_eq!(found, replayed(&bench, &headers, &ours, &nobodys).await, "{body}");
        }
    }
    let again = bench.network.sent().into_iter().skip(sent);
    let wrong = again.filter(|request| request.company.to_string() != OTHER);
    assert_eq!(wrong.count(), 0, "nothing was sent for them");
    // An event's id is the company's own affair: theirs is still theirs, and this one is ours.
    let body = json!({"type": "two", "data": 2, "id": theirs.0["eventId"]}).to_string();
    let path = ours.fill(&format!("{V1}/events"));
    let made = ask(&bench, &of("admin", OTHER), "POST", &path, &body).await.expect(202);
    assert_eq!(made["id"], theirs.0["eventId"].as_str());
    assert_eq!(theirs.seen(&bench).await, before);
}

/// What comes of a replay, without what is different each time.
async fn replayed(bench: &Bench, headers: &Headers, things: &Things, body: &str) -> (u16, Value) {
    let path = things.fill(&format!("{V1}/replays"));
    let reply = ask(bench, headers, "POST", &path, body).await;
    let (status, mut shown) = (reply.status, reply.json());
    if status == 202 {
        let path = format!("{path}/{}", text(&shown, "id"));
        while shown["state"] == "running" {
            tokio::task::yield_now().await;
            shown = ask(bench, headers, "GET", &path, "").await.expect(200);
        }
        shown = json!([shown["found"], shown["made"], shown["skipped"]]);
    }
    if status >= 400 {
        shown = shown["code"].clone();
    }
    (status, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_asked_for_by_the_same_rules() {
    let bench = server().await;
    let things = Things::make(&bench, COMPANY).await;
    for is in all().into_iter().filter(|is| is.method == "GET") {
        for (name, headers, refusal) in callers() {
            let open = !is.path.starts_with(V1) && !is.path.starts_with(W3BLOCK);
            let status = refusal.filter(|_| !open).map_or(is.good, |(status, _)| status);
            let reply = ask(&bench, &headers, "HEAD", &things.fill(&is.path), "").await;
            assert_eq!(reply.status, status, "{} by {name}", is.path);
            assert!(reply.body.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_refused_and_no_page_of_another_origin_is_let_in() {
    let bench = server().await;
    let things = Things::make(&bench, COMPANY).await;
    let paths: BTreeSet<String> = all().iter().map(|is| route(&is.path).to_owned()).collect();
    for path in paths {
        let here = all();
        let here = here.iter().filter(|is| route(&is.path) == path).map(|is| is.method);
        let mut allowed: BTreeSet<&str> = here.collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        let methods = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
        for method in methods.into_iter().filter(|method| !allowed.contains(method)) {
            for mut headers in [vec![], of("admin", COMPANY)] {
                headers.push(("origin", "https://evil.example".into()));
                headers.push(("access-control-request-method", "POST".into()));
                headers.push(("x-http-method-override", "GET".into()));
                let reply = ask(&bench, &headers, method, &things.fill(&path), "").await;
                let place = format!("{method} {path}");
                assert_eq!(reply.status, 405, "{place}");
                if method != "HEAD" {
                    assert_eq!(reply.error().1, "method_not_allowed", "{place}");
                }
                let named: BTreeSet<&str> = reply.header("allow").split(',').collect();
                assert_eq!(named, allowed, "{place}");
                assert_no_cors(&reply, &place);
            }
        }
        let mut headers = of("admin", COMPANY);
        headers.push(("origin", "https://evil.example".into()));
        for method in allowed.intersection(&BTreeSet::from(["GET", "POST"])) {
            let reply = ask(&bench, &headers, method, &things.fill(&path), "").await;
            assert_no_cors(&reply, &format!("{method} {path}"));
        }
    }
}

#[tokio::test]
async fn a_path_has_one_spelling() {
    let bench = server().await;
    let admin = of("admin", COMPANY);
    let path = format!("/v1/companies/{COMPANY}/endpoints");
    ask(&bench, &admin, "GET", &path, "").await.expect(200);
    for other in [
        format!("/{path}"),
        format!("{path}/"),
        path.replace("/v1/", "/V1/"),
        path.replace("/v1/", "//v1/"),
        path.replace("/v1/", "/./v1/"),
        path.replace("/v1/", "/v1/../v1/"),
        path.replace("/v1/", "/v1/%2e%2e/v1/"),
        path.replace("/endpoints", "/endpoints;x=1"),
        path.replace("/endpoints", "/endpoints%00"),
        path.replace("/endpoints", "/%65ndpoints%2f"),
        path.replace('/', "\\").replacen('\\', "/", 1),
        format!("/v1/companies/{OTHER}%2f..%2f{COMPANY}/endpoints"),
    ] {
        let reply = ask(&bench, &admin, "GET", &other, "").await;
        let (status, code, message) = reply.error();
        let refused = (status == 404 && code == "route_not_found") || status == 400;
        assert!(refused, "{other}: {status} {message}");
    }
}

/// An answer that may hold a secret is kept by nobody and taken for nothing else.
#[track_caller]
fn assert_is_private(reply: &Reply, place: &str) {
    if !reply.body.is_empty() {
        assert_eq!(reply.header("cache-control"), "no-store", "{place}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{place}");
    }
}

#[track_caller]
fn assert_no_cors(reply: &Reply, place: &str) {
    let mut names = reply.headers.keys();
    assert!(!names.any(|name| name.as_str().starts_with("access-control")), "{place}");
}
