//! The audit log: who changed what, when and from where.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a caller of the server needs a socket of its own")]

mod support;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare::engine::NewEndpoint;
use fanfare_server::{Doors, serve};
use serde_json::{Value, json};
use support::{Bench, COMPANY, NOW, OTHER, SECRET, answered, assert_is_time, text, v1, w3block};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const URL: &str = "https://shop.example/hooks/in/the/cellar";

/// A token that says whose it is.
fn token(subject: &Value) -> String {
    let roles = ["gardener", "integration", "admin"];
    let exp = NOW.as_secs() + 3600 * 24;
    let claims = json!({"exp": exp, "roles": roles, "tenantId": COMPANY, "sub": subject});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(&claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The log, the oldest first.
async fn log(bench: &Bench) -> Vec<Value> {
    let page = bench.get(&v1("/audit?limit=100")).await.expect(200);
    assert_eq!(page["next"], Value::Null);
    let mut items = page["items"].as_array().unwrap().clone();
    items.reverse();
    items
}

/// What was done to what.
fn deeds(log: &[Value]) -> Vec<(&str, &str)> {
    log.iter().map(|entry| (text(entry, "action"), text(entry, "subject"))).collect()
}

/// Changes of an endpoint by either interface and of a key; some of them change nothing.
fn calls(native: &str, foreign: &str, key: &str) -> Vec<(&'static str, String, Value)> {
    let of = |rest: &str| v1(&format!("/endpoints/{native}{rest}"));
    let ours = |rest: &str| w3block(&format!("/{foreign}{rest}"));
    let change = json!({"url": format!("{URL}/2"), "maxRetries": 3, "events": ["*"]});
    vec![
        ("PUT", v1(""), json!({"name": "Tea"})),
        ("PATCH", of(""), change.clone()),
        ("PATCH", of(""), change),
        ("PATCH", of(""), json!({"url": "not a URL"})),
        ("POST", of("/deactivate"), json!({})),
        ("POST", of("/deactivate"), json!({})),
        ("POST", of("/activate"), json!({})),
        ("POST", of("/secret/rotate"), json!({})),
        ("PATCH", of(""), json!({"addAsymmetricSignature": true})),
        ("PATCH", ours(""), json!({"webhookUrl": format!("{URL}/3")})),
        ("PATCH", ours("/disable"), json!({})),
        ("PATCH", ours("/enable"), json!({})),
        ("DELETE", v1(&format!("/api-keys/{key}")), json!({})),
        ("DELETE", v1(&format!("/api-keys/{key}")), json!({})),
        ("DELETE", of(""), json!({})),
        ("DELETE", of(""), json!({})),
        ("POST", v1("/events"), json!({"type": "a", "data": 1})),
    ]
}

#[tokio::test]
async fn every_change_through_either_interface_is_noted_with_who_made_it() {
    let bench = Bench::new().await;
    let token = token(&json!("zoe@shop.example"));
    let call = async |method: &str, path: &str, body: Value| {
        bench.call_as(Some(&token), method, path, body.to_string()).await
    };
    let new = json!({"url": URL, "events": ["*"]});
    let native = call("POST", &v1("/endpoints"), new).await.expect(201);
    let foreign = call("POST", &w3block(""), json!({"webhookUrl": URL})).await.expect(201);
    let key = json!({"name": "till", "scope": "emit"});
    let key = call("POST", &v1("/api-keys"), key).await.expect(201);
    let (native, foreign) = (text(&native, "id"), text(&foreign, "id"));
    let key = text(&key, "id");
    for (method, path, body) in calls(native, foreign, key) {
        assert!(call(method, &path, body).await.status < 500);
    }
    let log = log(&bench).await;
    let expected = [
        ("endpoint.register", native, ""),
        ("endpoint.register", foreign, ""),
        ("api_key.create", key, ""),
        ("company.name", COMPANY, "name"),
        ("endpoint.change", native, "url maxRetries"),
        ("endpoint.disable", native, "isActive"),
        ("endpoint.enable", native, "isActive"),
        ("endpoint.rotate_secret", native, "secret"),
        ("endpoint.change", native, "addAsymmetricSignature"),
        ("endpoint.change", foreign, "url"),
        ("endpoint.disable", foreign, "isActive"),
        ("endpoint.enable", foreign, "isActive"),
        ("api_key.revoke", key, ""),
        ("endpoint.delete", native, ""),
    ];
    assert_eq!(deeds(&log), expected.map(|(action, subject, _)| (action, subject)));
    for (entry, (_, _, fields)) in log.iter().zip(expected) {
        let named: Vec<_> = fields.split_whitespace().collect();
        assert_eq!(entry["fields"], json!(named), "{entry}");
        assert_is_time(&entry["at"]);
        let zoe = json!({"kind": "token", "subject": "zoe@shop.example",
            "roles": ["admin", "integration"], "address": null});
        assert_eq!(entry["actor"], zoe);
    }
    let told = serde_json::to_string(&log).unwrap();
    assert!(!told.contains("cellar") && !told.contains("whsec_") && !told.contains("fanfare_"));
}

#[tokio::test]
async fn replays_and_cancellations_are_noted_once() {
    let bench = Bench::answering(vec![answered(500, "")]).await;
    let new = json!({"url": URL, "events": ["*"]});
    let endpoint = bench.post(&v1("/endpoints"), &new).await.expect(201);
    let body = json!({"type": "a", "data": 1});
    let event = bench.post(&v1("/events"), &body).await.expect(202);
    let path = v1(&format!("/endpoints/{}/deliveries", text(&endpoint, "id")));
    let sent = bench.until(&path, |page| page["items"][0]["attempts"] == 1).await;
    let id = text(&sent["items"][0], "id");
    bench.post(&v1(&format!("/deliveries/{id}/cancel")), &json!({})).await.expect(200);
    bench.post(&v1(&format!("/deliveries/{id}/cancel")), &json!({})).await.expect(409);
    for _ in 0..2 {
        bench.post(&v1(&format!("/deliveries/{id}/replay")), &json!({})).await.expect(202);
    }
    let later = json!({"type": "a", "data": 1, "deliverAt": "2025-07-06T00:00:00Z"});
    let later = bench.post(&v1("/events"), &later).await.expect(202);
    for event in [&event, &later, &later] {
        let cancel = v1(&format!("/events/{}/cancel", text(event, "id")));
        bench.until(&path, |page| page["items"][1]["success"] == true).await;
        bench.post(&cancel, &json!({})).await.expect(200);
    }
    let many = json!({"failedSince": "2025-07-06T00:00:00Z"});
    let dry = json!({"failedSince": "2025-07-06T00:00:00Z", "dryRun": true});
    bench.post(&v1("/replays"), &dry).await.expect(200);
    let replay = bench.post(&v1("/replays"), &many).await.expect(202);
    bench.post(&v1("/replays"), &many).await.expect(202);
    let log = log(&bench).await;
    let expected = [
        ("endpoint.register", text(&endpoint, "id")),
        ("delivery.cancel", id),
        ("delivery.replay", id),
        ("event.cancel", text(&later, "id")),
        ("replay.start", text(&replay, "id")),
    ];
    assert_eq!(deeds(&log), expected);
}

#[tokio::test]
async fn keys_programs_and_the_engine_itself_are_told_apart() {
    let bench = Bench::answering(vec![answered(410, "")]).await;
    let key = json!({"name": "till", "scope": "admin"});
    let key = bench.post(&v1("/api-keys"), &key).await.expect(201);
    let named = json!({"name": "Tea"}).to_string();
    bench.call_as(Some(text(&key, "key")), "PUT", &v1(""), named).await.expect(200);
    let url = bench.engine.parse_url("url", URL).unwrap();
    let new = NewEndpoint::new(url, vec!["*".parse().unwrap()]);
    let endpoint = bench.engine.register(COMPANY.parse().unwrap(), new).await.unwrap();
    bench.post(&v1("/events"), &json!({"type": "a", "data": 1})).await.expect(202);
    let path = v1(&format!("/endpoints/{}", endpoint.id));
    bench.until(&path, |endpoint| endpoint["isActive"] == false).await;
    let log = log(&bench).await;
    let by: Vec<_> = log.iter().map(|entry| (text(entry, "action"), &entry["actor"])).collect();
    let actor = |kind: &str, subject: Value, roles: &[&str]| json!({"kind": kind, "subject": subject, "roles": roles, "address": null});
    let expected = [
        ("api_key.create", &actor("token", Value::Null, &["admin"])),
        ("company.name", &actor("key", key["id"].clone(), &["admin"])),
        ("endpoint.register", &actor("library", Value::Null, &[])),
        ("endpoint.disable", &actor("system", Value::Null, &[])),
    ];
    assert_eq!(by, expected);
}

#[tokio::test]
async fn the_log_is_the_companys_own_and_read_on_by_cursor_and_subject() {
    let bench = Bench::new().await;
    let new = json!({"url": URL, "events": ["*"]});
    let one = bench.post(&v1("/endpoints"), &new).await.expect(201);
    let other = bench.post(&v1("/endpoints"), &new).await.expect(201);
    let theirs = v1("/audit").replace(COMPANY, OTHER);
    let admin = bench.token(OTHER, "admin");
    let empty = bench.call_as(Some(&admin), "GET", &theirs, "").await.expect(200);
    assert_eq!(empty, json!({"items": [], "next": null}));
    let page = bench.get(&v1("/audit?limit=1")).await.expect(200);
    assert_eq!(page["items"][0]["subject"], other["id"]);
    let next = text(&page, "next");
    let page = bench.get(&v1(&format!("/audit?limit=1&after={next}"))).await.expect(200);
    assert_eq!((&page["items"][0]["subject"], &page["next"]), (&one["id"], &Value::Null));
    let about = v1(&format!("/audit?subject={}", text(&other, "id")));
    let page = bench.get(&about).await.expect(200);
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (1, &Value::Null));
    assert_eq!(page["items"][0]["subject"], other["id"]);
    for (query, field) in [("subject=x", "subject"), ("limit=0", "limit"), ("after=1", "after")] {
        let (status, _, message) = bench.get(&v1(&format!("/audit?{query}"))).await.error();
        assert!(status == 400 && message.starts_with(field), "{message}");
    }
}

#[tokio::test]
async fn the_address_is_that_of_the_connection_whatever_headers_say() {
    let bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server =
        tokio::spawn(serve(listener, bench.router.clone(), Doors::default(), stop.clone()));
    let body = r#"{"name":"Tea"}"#;
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nx-forwarded-for: 192.0.2.7\r\n\
         forwarded: for=192.0.2.7\r\nx-real-ip: 192.0.2.7\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        v1(""),
        token(&json!(7)),
        body.len(),
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let entry = log(&bench).await.remove(0);
    assert_eq!(entry["actor"]["address"], "127.0.0.1");
    assert_eq!(entry["actor"]["subject"], Value::Null);
    stop.cancel();
    server.await.unwrap();
}
