//! Headers and certificates of an endpoint's own, as a program that speaks HTTP sees them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use fanfare_testkit::authority::Authority;
use serde_json::{Value, json};
use support::{Bench, CONFIGURATION_FIELDS, fields, text, v1, w3block};

const URL: &str = "https://shop.example/hooks";
const PLANTED: &str = "Bearer planted-and-sought";

async fn register(bench: &Bench, more: Value) -> Value {
    let mut body = json!({"url": URL, "events": ["*"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bench.post(&v1("/endpoints"), &body).await.expect(201)
}

fn path(endpoint: &Value, more: &str) -> String {
    v1(&format!("/endpoints/{}{more}", text(endpoint, "id")))
}

/// Emits an event and returns the value of a header that its request had.
async fn sent(bench: &Bench, header: &str) -> Option<String> {
    let before = bench.network.sent().len();
    bench.post(&v1("/events"), &json!({"type": "a.b", "data": 1})).await.expect(202);
    while bench.network.sent().len() == before {
        tokio::task::yield_now().await;
    }
    let request = bench.network.sent().pop().unwrap();
    request.headers.get(header).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_endpoint_has_no_headers_until_it_is_given_some_and_values_are_never_shown() {
    let bench = Bench::new().await;
    let plain = register(&bench, json!({})).await;
    assert_eq!((&plain["headers"], &plain["tls"]), (&json!({}), &Value::Null));
    let made = register(&bench, json!({"headers": {"Authorization": PLANTED, "x-b": "2"}})).await;
    assert_eq!(made["headers"], json!({"authorization": "***", "x-b": "***"}));
    assert_eq!(bench.get(&path(&made, "")).await.expect(200), made);
    let listed = bench.get(&v1("/endpoints")).await;
    assert_eq!(listed.json()["items"][0], made);
    assert!(!listed.text().contains("planted"));
}

#[tokio::test]
async fn a_change_replaces_all_headers_keeps_what_is_masked_and_null_removes_them() {
    let bench = Bench::new().await;
    let made = register(&bench, json!({"headers": {"authorization": PLANTED, "x-b": "2"}})).await;
    let path = path(&made, "");
    // What was shown can be given back, and changes nothing.
    bench.pass(Duration::from_secs(1));
    let shown = json!({"headers": made["headers"], "tls": made["tls"]});
    assert_eq!(bench.patch(&path, &shown).await.expect(200), made);
    bench.patch(&path, &json!({"headers": made["headers"], "maxRetries": 7})).await.expect(200);
    assert_eq!(sent(&bench, "authorization").await.as_deref(), Some(PLANTED));

    let other = json!({"headers": {"AUTHORIZATION": "***", "x-c": "3"}});
    let changed = bench.patch(&path, &other);
    assert_eq!(changed.await.expect(200)["headers"], json!({"authorization": "***", "x-c": "***"}));
    assert_eq!(sent(&bench, "authorization").await.as_deref(), Some(PLANTED));
    assert_eq!(sent(&bench, "x-b").await, None);
    assert_eq!(sent(&bench, "x-c").await.as_deref(), Some("3"));
    bench.patch(&path, &json!({"usePatch": true})).await.expect(200);
    assert_eq!(sent(&bench, "x-c").await.as_deref(), Some("3"));
    for nothing in [json!({}), json!(null)] {
        bench.patch(&path, &json!({"headers": {"x-d": "4"}})).await.expect(200);
        let changed = bench.patch(&path, &json!({"headers": nothing})).await.expect(200);
        assert_eq!(changed["headers"], json!({}));
        assert_eq!(sent(&bench, "x-d").await, None);
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_is_refused_by_its_name_with_the_remedy() {
    let bench = Bench::new().await;
    let made = register(&bench, json!({"headers": {"x-kept": "1"}})).await;
    let many: serde_json::Map<_, _> = (0..21).map(|n| (format!("x-{n}"), json!("1"))).collect();
    let long = "v".repeat(2049);
    let cases = [
        (json!({"Host": "a"}), "headers.Host: is reserved"),
        (json!({"CONTENT-length": "1"}), "headers.CONTENT-length: is reserved"),
        (json!({"Webhook-Id": "1"}), "headers.Webhook-Id: is reserved"),
        (json!({"x-w3block-signature": "1"}), "headers.x-w3block-signature: is reserved"),
        (json!({":path": "/"}), "headers.:path: a name has"),
        (json!({"": "1"}), "headers.: a name has"),
        (json!({"a b": "1"}), "headers.a b: a name has"),
        (json!({"a\r\nb": "1"}), "headers.a\\r\\nb: a name has"),
        (json!({"x-a": "1\r\nhost: b"}), "headers.x-a: must be printable ASCII"),
        (json!({"x-a": "é"}), "headers.x-a: must be printable ASCII"),
        (json!({"x-a": ""}), "headers.x-a: must have 1 to 2048 characters"),
        (json!({"x-a": long}), "headers.x-a: must have 1 to 2048 characters"),
        (json!({"x-a": " 1"}), "headers.x-a: must not begin or end with a blank"),
        (json!({"x-a": 1}), "headers.x-a: must be a string"),
        (json!({"x-a": "1", "X-A": "2"}), "headers.x-a: is there twice"),
        (json!({"x-a": "***"}), "headers.x-a: `***` stands for the value"),
        (Value::Object(many), "headers: must be at most 20"),
        (json!(["x-a"]), "headers: must be an object"),
        (json!("x-a: 1"), "headers: must be an object"),
    ];
    for (headers, said) in cases {
        let whole = json!({"url": URL, "events": ["*"], "headers": headers});
        for reply in [
            bench.post(&v1("/endpoints"), &whole).await,
            bench.patch(&path(&made, ""), &json!({"headers": headers})).await,
        ] {
            let (status, code, message) = reply.error();
            assert_eq!((status, code.as_str()), (400, "invalid_request"), "{headers}");
            assert!(message.starts_with(said), "{headers}: {message}");
        }
    }
    assert_eq!(bench.get(&path(&made, "")).await.expect(200), made);
    // Everything that is wrong in one answer.
    let wrong = json!({"headers": {"te": "1", "x-a": ""}, "tls": {"ca": "x", "clientKey": 1}});
    let (_, _, message) = bench.patch(&path(&made, ""), &wrong).await.error();
    let fields: Vec<_> = message.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(fields, ["headers.te", "headers.x-a", "tls.clientKey", "tls.ca"], "{message}");
}

#[tokio::test]
async fn no_history_shows_a_value() {
    let bench = Bench::answering(vec![support::answered(500, "")]).await;
    let made = register(&bench, json!({"headers": {"authorization": PLANTED}})).await;
    let event = json!({"type": "a.b", "data": 1});
    let event = bench.post(&v1("/events"), &event).await.expect(202);
    let deliveries = path(&made, "/deliveries");
    let page = bench.until(&deliveries, |page| page["items"][0]["attempts"] == 1).await;
    let delivery = v1(&format!("/deliveries/{}", text(&page["items"][0], "id")));
    let details = bench.get(&delivery).await;
    let headers = &details.json()["history"][0]["requestHeaders"];
    assert_eq!(
        (&headers["authorization"], headers["webhook-id"] == event["id"]),
        (&json!("***"), true)
    );
    let explained = bench.get(&v1(&format!("/events/{}", text(&event, "id")))).await;
    assert!(explained.text().contains("\"authorization\":\"***\""), "{}", explained.text());

    let configuration = bench.get(&w3block(&format!("/{}", text(&made, "id")))).await;
    assert_eq!(
        fields(&configuration.json()),
        CONFIGURATION_FIELDS,
        "W3Block's form stays what it is"
    );
    let webhooks = bench.get(&w3block(&format!("/{}/webhooks", text(&made, "id")))).await;
    let shown = &webhooks.json()["items"][0]["data"]["headers"]["authorization"];
    assert_eq!(shown, "***");
    let metrics = bench.get("/metrics").await;
    for reply in [details, explained, configuration, webhooks, metrics] {
        assert!(!reply.text().contains("planted"));
    }
    bench.pass(Duration::from_secs(60));
    bench.until(&deliveries, |page| page["items"][0]["success"] == true).await;
    let all = bench.network.sent();
    assert!(all.len() == 2 && all.iter().all(|one| one.headers["authorization"] == PLANTED));
}

#[tokio::test]
async fn certificates_are_shown_without_their_key_and_can_be_given_back() {
    let bench = Bench::new().await;
    let ours = Authority::new("ours");
    let us = ours.issue("fanfare", 2999);
    let given = json!({
        "caCertificate": ours.certificate(), "clientCertificate": us.certificate,
        "clientKey": us.key,
    });
    let made = register(&bench, json!({"tls": given})).await;
    let mut shown = given.clone();
    shown["clientKey"] = json!("***");
    assert_eq!(made["tls"], shown);
    sent(&bench, "x").await;
    assert!(bench.network.sent()[0].identity.is_some());

    let path = path(&made, "");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.patch(&path, &json!({"tls": shown})).await.expect(200), made);
    assert_eq!(bench.patch(&path, &json!({"tls": given})).await.expect(200), made);
    let authority = json!({"caCertificate": ours.certificate()});
    let changed = bench.patch(&path, &json!({"tls": authority})).await.expect(200);
    let alone = json!({
        "caCertificate": ours.certificate(), "clientCertificate": null, "clientKey": null,
    });
    assert_eq!(changed["tls"], alone, "all of it is replaced");
    assert_eq!(bench.patch(&path, &json!({"tls": alone})).await.expect(200)["tls"], alone);
    for nothing in [json!(null), json!({})] {
        bench.patch(&path, &json!({"tls": authority})).await.expect(200);
        let changed = bench.patch(&path, &json!({"tls": nothing})).await.expect(200);
        assert_eq!(changed["tls"], Value::Null);
    }
    sent(&bench, "x").await;
    assert!(bench.network.sent()[1].identity.is_none());
}

#[tokio::test]
async fn certificates_that_make_no_connection_are_refused_by_their_field() {
    let bench = Bench::new().await;
    let made = register(&bench, json!({})).await;
    let ours = Authority::new("ours");
    let (one, other) = (ours.issue("one", 2999), ours.issue("other", 2999));
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (tls, said) in [
        (json!({"caCertificate": "x"}), "tls.caCertificate: must be PEM"),
        (json!({"caCertificate": one.key}), "tls.caCertificate: holds a private key"),
        (json!({"caCertificate": "x".repeat(33_000)}), "tls: must have 32768 bytes"),
        (json!({"clientCertificate": one.certificate}), "tls.clientKey: is required"),
        (json!({"clientKey": one.key}), "tls.clientCertificate: is required"),
        (
            json!({"clientCertificate": one.certificate, "clientKey": other.key}),
            "tls.clientKey: is not the key",
        ),
        (
            json!({"clientCertificate": one.certificate, "clientKey": encrypted}),
            "tls.clientKey: is encrypted",
        ),
        (
            json!({"clientCertificate": one.certificate, "clientKey": "***"}),
            "tls.clientKey: `***` stands for the key",
        ),
        (json!({"insecure": true}), "tls.insecure: is not a field here"),
        (json!({"verify": false}), "tls.verify: is not a field here"),
        (json!("x"), "tls: must be an object"),
    ] {
        let whole = json!({"url": URL, "events": ["*"], "tls": tls});
        for reply in [
            bench.post(&v1("/endpoints"), &whole).await,
            bench.patch(&path(&made, ""), &json!({"tls": tls})).await,
        ] {
            let (status, code, message) = reply.error();
            assert_eq!((status, code.as_str()), (400, "invalid_request"), "{tls}");
            assert!(message.starts_with(said), "{message} instead of {said}");
            assert!(!message.contains("MII"), "{message}");
        }
    }
    assert_eq!(bench.get(&path(&made, "")).await.expect(200), made);
}

#[tokio::test]
async fn nothing_of_it_can_be_read_in_the_files_of_the_store() {
    let bench = Bench::new().await;
    let us = Authority::new("ours").issue("fanfare", 2999);
    let tls = json!({"clientCertificate": us.certificate, "clientKey": us.key});
    register(&bench, json!({"headers": {"authorization": PLANTED}, "tls": tls})).await;
    assert_eq!(sent(&bench, "authorization").await.as_deref(), Some(PLANTED));
    bench.engine.stop(std::future::ready(())).await;
    let key_line = us.key.lines().nth(1).unwrap();
    for (name, bytes) in bench.files() {
        let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        let found = has(b"planted") || has(key_line.as_bytes()) || has(&us.key_der);
        assert!(!found, "{name} holds what was planted");
    }
}
