//! The settings of endpoints, filters and keys, as a program that speaks HTTP sees them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use fanfare::sign::{self, PublicKey, Secret};
use serde_json::{Value, json};
use support::{Bench, NOBODY, fields, text, v1, w3block};

const URL: &str = "https://shop.example/hooks";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const KEYS: &str = "/.well-known/webhook-keys";

async fn register(bench: &Bench, more: Value) -> Value {
    let mut body = json!({"url": URL, "events": ["*"]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bench.post(&v1("/endpoints"), &body).await.expect(201)
}

fn path(endpoint: &Value, more: &str) -> String {
    v1(&format!("/endpoints/{}{more}", text(endpoint, "id")))
}

#[tokio::test]
async fn an_endpoint_has_its_settings_and_null_lifts_a_limit() {
    let bench = Bench::new().await;
    let plain = register(&bench, json!({})).await;
    let defaults = json!({
        "rateLimit": null, "maxInFlight": null, "ordering": "none", "coalesce": "none",
        "coalesceWindowMs": null, "operational": false, "filter": null, "failingSince": null,
        "heldUntil": null, "secretRotation": null, "addAsymmetricSignature": false,
        "publicKey": null,
    });
    for (name, value) in defaults.as_object().unwrap() {
        assert_eq!(&plain[name], value, "{name}");
    }
    let settings = json!({
        "rateLimit": 10_000, "maxInFlight": 512, "ordering": "strict", "coalesce": "key",
        "coalesceWindowMs": 3_600_000, "operational": true, "filter": {"total": {"$gte": 100}},
    });
    let made = register(&bench, settings.clone()).await;
    let mut expected = made.clone();
    for (name, value) in settings.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    for (change, set) in [
        (json!({"rateLimit": 1}), json!({"rateLimit": 1})),
        (json!({"rateLimit": null}), json!({"rateLimit": null})),
        (
            json!({"maxInFlight": null, "filter": null}),
            json!({"maxInFlight": null, "filter": null}),
        ),
        (json!({"ordering": "key", "operational": null}), json!({"ordering": "key"})),
        (json!({"coalesce": "key"}), json!({"coalesceWindowMs": 1000})),
        (json!({"coalesce": "none"}), json!({"coalesce": "none", "coalesceWindowMs": null})),
        (json!({"operational": false}), json!({"operational": false})),
    ] {
        bench.pass(Duration::from_secs(1));
        let changed = bench.patch(&path(&made, ""), &change).await.expect(200);
        expected.as_object_mut().unwrap().extend(set.as_object().unwrap().clone());
        expected["updatedAt"] = changed["updatedAt"].clone();
        assert_eq!(changed, expected, "{change}");
    }
    assert_eq!(bench.get(&path(&made, "")).await.expect(200), expected);
}

#[tokio::test]
async fn what_is_out_of_range_is_refused_with_the_field_and_the_range() {
    let bench = Bench::new().await;
    let made = register(&bench, json!({})).await;
    let cases = [
        (json!({"rateLimit": 0}), "rateLimit: must be a whole number from 1 to 10000"),
        (json!({"rateLimit": 10_001}), "rateLimit: must be a whole number from 1 to 10000"),
        (json!({"rateLimit": 1.5}), "rateLimit: must be a whole number from 1 to 10000"),
        (json!({"rateLimit": "9"}), "rateLimit: must be a whole number from 1 to 10000"),
        (json!({"maxInFlight": 513}), "maxInFlight: must be a whole number from 1 to 512"),
        (json!({"maxInFlight": -1}), "maxInFlight: must be a whole number from 1 to 512"),
        (json!({"ordering": "some"}), "ordering: must be one of: none, key, strict"),
        (json!({"coalesce": "strict"}), "coalesce: must be one of: none, key"),
        (
            json!({"coalesce": "key", "coalesceWindowMs": 3_600_001}),
            "coalesceWindowMs: must be a whole number from 0 to 3600000",
        ),
        (
            json!({"coalesceWindowMs": 5}),
            "coalesceWindowMs: has an effect only with `coalesce: key`",
        ),
        (json!({"operational": "yes"}), "operational: must be true or false"),
        (json!({"filter": "x"}), "filter: "),
        (json!({"filter": {"total": {"$gt": true}}}), "filter.total.$gt: "),
        (json!({"filter": {"$xor": []}}), "filter.$xor: "),
        (json!({"addAsymmetricSignature": 1}), "addAsymmetricSignature: must be true or false"),
        (json!({"failingSince": null}), "failingSince: is not a field here"),
    ];
    for (change, expected) in cases {
        let mut whole = json!({"url": URL, "events": ["*"]});
        whole.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        for reply in [
            bench.patch(&path(&made, ""), &change).await,
            bench.post(&v1("/endpoints"), &whole).await,
        ] {
            let (status, code, message) = reply.error();
            assert_eq!((status, code.as_str()), (400, "invalid_request"), "{change}");
            assert!(message.starts_with(expected), "{change}: {message}");
        }
    }
    let twice = r#"{"filter": {"a": 1, "a": 2}}"#;
    let (status, _, message) = bench.call("PATCH", &path(&made, ""), twice).await.error();
    assert!(status == 400 && message.starts_with("filter.a: "), "{message}");
    assert_eq!(bench.get(&path(&made, "")).await.expect(200), made);
}

#[tokio::test]
async fn a_filter_is_kept_as_it_was_sent_and_stops_what_does_not_pass() {
    let bench = Bench::new().await;
    let body = format!(
        r#"{{"url": "{URL}", "events": ["*"], "filter": {{"total": {{"$gt": 12345678901234567890.10}}}}}}"#
    );
    let reply = bench.call("POST", &v1("/endpoints"), body).await;
    assert!(reply.text().contains("12345678901234567890.10"), "{}", reply.text());
    for (total, deliveries) in [("12345678901234567890.1", 0), ("12345678901234567890.11", 1)] {
        let event = format!(r#"{{"type": "a", "data": {{"total": {total}}}}}"#);
        let accepted = bench.call("POST", &v1("/events"), event).await.expect(202);
        assert_eq!(accepted["deliveries"], deliveries, "{total}");
    }
}

#[tokio::test]
async fn a_test_call_says_what_an_event_would_match() {
    let bench = Bench::new().await;
    let everything = register(&bench, json!({})).await;
    let orders = register(&bench, json!({"events": ["payment.*", "a"]})).await;
    let picky = register(&bench, json!({"filter": {"total": {"$gte": 100}}})).await;
    let watcher = register(&bench, json!({"operational": true})).await;
    let off = register(&bench, json!({})).await;
    bench.call("POST", &path(&off, "/deactivate"), "").await.expect(200);
    let asked = json!({"type": "ORDER_CREATED", "data": {"total": 5}, "filter": {"total": 5}});
    let answer = bench.post(&v1("/events/match"), &asked).await.expect(200);
    assert_eq!(answer["filter"], json!({"matches": true, "reason": null}));
    let reason = |endpoint: &Value| {
        let all = answer["endpoints"].as_array().unwrap();
        let found = all.iter().find(|one| one["endpointId"] == endpoint["id"]).unwrap();
        assert_eq!(fields(found), ["endpointId", "matches", "reason", "url"]);
        assert_eq!(found["matches"], found["reason"].is_null());
        found["reason"].as_str().unwrap_or("").to_owned()
    };
    assert_eq!(reason(&everything), "");
    assert_eq!(reason(&orders), "not subscribed to order.created, only to payment.*, a");
    assert_eq!(reason(&picky), "filter: total is 5, not $gte 100");
    assert!(reason(&watcher).starts_with("operational: "));
    assert_eq!(reason(&off), "disabled: disabled through the API");
    assert!(bench.network.sent().is_empty());

    let asked = json!({"type": "x", "data": {"total": 5}, "filter": {"total": {"$lt": 5}}});
    let answer = bench.post(&v1("/events/match"), &asked).await.expect(200);
    assert_eq!(answer["filter"]["reason"], "total is 5, not $lt 5");
    let wrong = json!({"type": "a b", "filter": {"$xor": 1}});
    let (status, _, message) = bench.post(&v1("/events/match"), &wrong).await.error();
    assert_eq!(status, 400);
    for field in ["type: ", "data: ", "filter.$xor: "] {
        assert!(message.contains(field), "{message}");
    }
}

#[tokio::test]
async fn a_rotated_secret_is_shown_with_the_end_of_the_old_one() {
    let bench = Bench::new().await;
    let made = register(&bench, json!({"secret": SECRET})).await;
    let rotate = path(&made, "/secret/rotate");
    let rotated = bench.call("POST", &rotate, "").await.expect(200);
    assert_ne!(rotated["secret"], SECRET);
    assert_eq!(rotated["secretRotation"], json!({"previousUntil": "2025-07-06T01:52:11.000Z"}));
    assert_eq!(bench.get(&path(&made, "")).await.expect(200), rotated);
    let (status, code, message) = bench.post(&rotate, &json!({"gracePeriod": 1})).await.error();
    assert_eq!((status, code.as_str()), (409, "rotation_under_way"));
    assert!(message.contains("2025-07-06T01:52:11.000Z"), "{message}");

    let at_once = json!({"secret": SECRET, "gracePeriod": 0});
    let ended = bench.post(&rotate, &at_once).await.expect(200);
    assert_eq!((&ended["secret"], &ended["secretRotation"]), (&json!(SECRET), &Value::Null));
    bench.post(&rotate, &json!({"gracePeriod": 604_800})).await.expect(200);
    bench.pass(Duration::from_secs(604_800));
    assert_eq!(bench.get(&path(&made, "")).await.expect(200)["secretRotation"], Value::Null);

    for (body, expected) in [
        (json!({"gracePeriod": 604_801}), "gracePeriod: must be a whole number from 0 to 604800"),
        (json!({"gracePeriod": -1}), "gracePeriod: must be a whole number from 0 to 604800"),
        (json!({"secret": "whsec_x"}), "secret: a secret is `whsec_`"),
        (json!({"grace": 1}), "grace: is not a field here; there are: secret, gracePeriod"),
    ] {
        let (status, _, message) = bench.post(&rotate, &body).await.error();
        assert!(status == 400 && message.starts_with(expected), "{message}");
    }
    let nobody = v1(&format!("/endpoints/{NOBODY}/secret/rotate"));
    assert_eq!(bench.call("POST", &nobody, "").await.error().1, "endpoint_not_found");
}

#[tokio::test]
async fn w3block_shows_the_key_behind_its_header_and_none_of_the_settings() {
    let bench = Bench::new().await;
    let made = bench.post(&w3block(""), &json!({"webhookUrl": URL})).await.expect(201);
    let shown = w3block(&format!("/{}", text(&made, "id")));
    let (old, names) = (made["signatureKey"].clone(), fields(&made));
    let settings = json!({"rateLimit": 5, "ordering": "key", "addAsymmetricSignature": true});
    bench.patch(&path(&made, ""), &settings).await.expect(200);
    let rotate = path(&made, "/secret/rotate");
    let new = bench.post(&rotate, &json!({"gracePeriod": 60})).await.expect(200)["secret"].clone();
    let during = bench.get(&shown).await.expect(200);
    assert_eq!((fields(&during), &during["signatureKey"]), (names, &old));
    bench.patch(&shown, &json!({"webhookUrl": URL, "maxRetries": 7})).await.expect(200);
    bench.pass(Duration::from_secs(60));
    let after = bench.get(&shown).await.expect(200);
    assert_eq!(after["signatureKey"], new);
    let kept = bench.get(&path(&made, "")).await.expect(200);
    assert_eq!((&kept["rateLimit"], &kept["ordering"]), (&json!(5), &json!("key")));
}

#[tokio::test]
async fn public_keys_are_shown_to_everyone_and_verify_what_is_sent() {
    let bench = Bench::new().await;
    register(&bench, json!({})).await;
    let made = register(&bench, json!({"addAsymmetricSignature": true})).await;
    let reply = bench.call_as(None, "GET", KEYS, "").await;
    assert_eq!(reply.header("cache-control"), "public, max-age=60");
    let page = reply.expect(200);
    assert_eq!((fields(&page), &page["next"]), (vec!["keys", "next"], &Value::Null));
    assert_eq!(page["keys"].as_array().unwrap().len(), 1, "{page}");
    let key = &page["keys"][0];
    assert_eq!(fields(key), ["endpointId", "jwk", "kid", "publicKey", "validUntil"]);
    assert_eq!((&key["endpointId"], &key["publicKey"]), (&made["id"], &made["publicKey"]));
    assert_eq!((&key["jwk"]["kty"], &key["jwk"]["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert_eq!(key["validUntil"], Value::Null);

    bench.post(&v1("/events"), &json!({"type": "a", "data": 1})).await.expect(202);
    let deliveries = path(&made, "/deliveries");
    bench.until(&deliveries, |page| page["items"][0]["success"] == true).await;
    let public: PublicKey = text(key, "publicKey").parse().unwrap();
    let secret: Secret = text(&made, "secret").parse().unwrap();
    let sent = bench.network.sent();
    let verified = sent.iter().filter(|sent| {
        let header = |name: &str| sent.headers[name].to_str().unwrap();
        let at = header("webhook-timestamp").parse().unwrap();
        let (id, signature) = (header("webhook-id"), header("webhook-signature"));
        sign::verify_asymmetric(public, id, at, &sent.body, signature)
            && sign::verify(&secret, id, at, &sent.body, signature)
    });
    assert_eq!(verified.count(), 1);

    bench.post(&path(&made, "/secret/rotate"), &json!({"gracePeriod": 60})).await.expect(200);
    let one = format!("{KEYS}?endpoint={}", text(&made, "id"));
    let both = bench.call_as(None, "GET", &one, "").await.expect(200)["keys"].clone();
    assert_eq!((both.as_array().unwrap().len(), &both[1]["publicKey"]), (2, &made["publicKey"]));
    assert_eq!(both[1]["validUntil"], "2025-07-05T01:53:11.000Z");
    bench.patch(&path(&made, ""), &json!({"addAsymmetricSignature": false})).await.expect(200);
    for path in [one, format!("{KEYS}?endpoint={NOBODY}"), format!("{KEYS}?after={NOBODY}")] {
        let page = bench.call_as(None, "GET", &path, "").await.expect(200);
        assert_eq!(page, json!({"keys": [], "next": null}), "{path}");
    }
    let twice = format!("{KEYS}?after={NOBODY}&after={NOBODY}");
    for path in [format!("{KEYS}?endpoint=x"), format!("{KEYS}?after=x"), twice] {
        assert_eq!(bench.call_as(None, "GET", &path, "").await.error().0, 400);
    }
}
