//! API keys: what they open, what they do not, and how they end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use support::{Bench, COMPANY, NOBODY, OTHER, Reply, assert_is_time, fields, text, v1, w3block};

const URL: &str = "https://shop.example/hooks";
const AS_W3BLOCK: &str = "x-w3block-api-key";

/// A key of this scope, as it was shown.
async fn key(bench: &Bench, scope: &str) -> Value {
    bench.post(&v1("/api-keys"), &json!({"name": "till", "scope": scope})).await.expect(201)
}

/// Calls with these headers.
async fn with(bench: &Bench, headers: &[(&str, &str)], method: &str, path: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(path).header("host", "hooks.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    bench.send(request.body(Body::empty()).unwrap()).await
}

async fn listed(bench: &Bench) -> Vec<Value> {
    let page = bench.get(&v1("/api-keys?limit=100")).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let bench = Bench::new().await;
    let body = json!({"name": "till", "scope": "emit", "expiresAt": "2099-12-31T00:00:00.000Z"});
    let made = bench.post(&v1("/api-keys"), &body).await.expect(201);
    let all = ["createdAt", "expiresAt", "hint", "id", "key", "lastUsedAt", "name", "revokedAt"];
    assert_eq!(fields(&made), [&all[..], &["scope"]].concat());
    let key = text(&made, "key");
    assert!(key.starts_with("fanfare_") && key.ends_with(text(&made, "hint")), "{made}");
    assert_is_time(&made["createdAt"]);
    let shown = bench.get(&v1("/api-keys")).await;
    assert!(!shown.text().contains(&key[..40]) && !shown.text().contains("\"key\""));
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!(listed(&bench).await, [expected]);
    assert_eq!(made["expiresAt"], body["expiresAt"]);
    assert!(!format!("{:?}", bench.engine.check_api_key(key).await.unwrap()).contains(&key[8..]));
}

#[tokio::test]
async fn a_key_is_taken_as_a_bearer_and_in_w3blocks_header() {
    let bench = Bench::new().await;
    let key = text(&key(&bench, "read").await, "key").to_owned();
    for headers in [("authorization", format!("Bearer {key}")), (AS_W3BLOCK, key.clone())] {
        let headers = [(headers.0, headers.1.as_str())];
        for path in [v1("/endpoints"), w3block("")] {
            with(&bench, &headers, "GET", &path).await.expect(200);
        }
        let other = v1("/endpoints").replace(COMPANY, OTHER);
        let (status, code, _) = with(&bench, &headers, "GET", &other).await.error();
        assert_eq!((status, code.as_str()), (403, "forbidden"));
    }
}

#[tokio::test]
async fn one_credential_is_enough_and_w3blocks_id_and_secret_are_none() {
    let bench = Bench::new().await;
    let key = text(&key(&bench, "admin").await, "key").to_owned();
    let token = format!("Bearer {}", bench.token(COMPANY, "admin"));
    let bearer = format!("Bearer {key}");
    let several: [&[(&str, &str)]; 4] = [
        &[("authorization", &token), (AS_W3BLOCK, &key)],
        &[("authorization", &bearer), (AS_W3BLOCK, &key)],
        &[("authorization", "Basic YTpi"), (AS_W3BLOCK, &key)],
        &[(AS_W3BLOCK, &key), (AS_W3BLOCK, &key)],
    ];
    for headers in several {
        let (status, code, _) = with(&bench, headers, "GET", &v1("/endpoints")).await.error();
        assert_eq!((status, code.as_str()), (401, "several_credentials"));
    }
    let pair = [("x-w3block-id", COMPANY), ("x-w3block-secret", key.as_str())];
    for headers in [&pair[..], &pair[..1], &pair[1..]] {
        let (status, code, message) = with(&bench, headers, "GET", &v1("/endpoints")).await.error();
        assert_eq!((status, code.as_str()), (401, "token_missing"));
        assert!(message.contains("x-w3block-api-key"), "{message}");
    }
    let beside = [("authorization", token.as_str()), pair[0]];
    with(&bench, &beside, "GET", &v1("/endpoints")).await.expect(200);
}

/// What each scope opens: (method, path, body, needed scope).
fn operations(endpoint: &str) -> Vec<(&'static str, String, Value, &'static str)> {
    let event = json!({"type": "a", "data": 1});
    let mut operations = vec![
        ("POST", v1("/events"), event.clone(), "emit"),
        ("POST", v1("/events/batch"), json!({"events": [event]}), "emit"),
        ("POST", v1("/events/match"), event, "read"),
        ("GET", v1(""), json!({}), "read"),
        ("GET", v1("/endpoints"), json!({}), "read"),
        ("GET", v1("/endpoints/ID"), json!({}), "read"),
        ("HEAD", v1("/endpoints/ID"), json!({}), "read"),
        ("GET", v1("/endpoints/ID/deliveries"), json!({}), "read"),
        ("GET", v1("/replays"), json!({}), "read"),
        ("GET", w3block(""), json!({}), "read"),
        ("GET", w3block("/ID"), json!({}), "read"),
        ("GET", w3block("/ID/webhooks"), json!({}), "read"),
        ("PUT", v1(""), json!({"name": "x"}), "admin"),
        ("POST", v1("/endpoints"), json!({"url": URL, "events": ["*"]}), "admin"),
        ("PATCH", v1("/endpoints/ID"), json!({"maxRetries": 7}), "admin"),
        ("POST", v1("/endpoints/ID/deactivate"), json!({}), "admin"),
        ("POST", v1("/endpoints/ID/activate"), json!({}), "admin"),
        ("POST", v1("/endpoints/ID/secret/rotate"), json!({}), "admin"),
        ("POST", v1("/replays"), json!({"failedSince": "2025-01-01T00:00:00Z"}), "admin"),
        ("PATCH", w3block("/ID"), json!({"webhookUrl": URL}), "admin"),
        ("PATCH", w3block("/ID/disable"), json!({}), "admin"),
        ("PATCH", w3block("/ID/enable"), json!({}), "admin"),
        ("GET", v1("/api-keys"), json!({}), "admin"),
        ("POST", v1("/api-keys"), json!({"name": "x", "scope": "admin"}), "admin"),
        ("GET", v1("/audit"), json!({}), "admin"),
        ("DELETE", v1("/endpoints/ID"), json!({}), "admin"),
    ];
    operations.iter_mut().for_each(|(_, path, ..)| *path = path.replace("ID", endpoint));
    operations
}

#[tokio::test]
async fn a_scope_opens_what_it_names_and_nothing_else() {
    let bench = Bench::new().await;
    let body = json!({"url": URL, "events": ["none"]});
    let endpoint = bench.post(&v1("/endpoints"), &body).await.expect(201);
    for scope in ["emit", "read", "admin"] {
        let made = key(&bench, scope).await;
        let key = Some(text(&made, "key"));
        for (method, path, body, needed) in operations(text(&endpoint, "id")) {
            let reply = bench.call_as(key, method, &path, body.to_string()).await;
            if scope == "admin" || scope == needed {
                assert!((200..300).contains(&reply.status), "{scope} {method} {path}");
                continue;
            }
            assert_eq!(reply.status, 403, "{scope} {method} {path}");
            if method != "HEAD" {
                let (_, code, message) = reply.error();
                assert_eq!(code, "insufficient_scope", "{scope} {method} {path}");
                assert!(message.contains(&format!("`{needed}`")), "{message}");
            }
        }
        for other in [format!("/api-keys/{NOBODY}"), "/api-keys/x".to_owned()] {
            let status = bench.call_as(key, "DELETE", &v1(&other), "").await.status;
            let expected = if other.ends_with('x') { 400 } else { 404 };
            assert_eq!(status, if scope == "admin" { expected } else { 403 });
        }
    }
}

#[tokio::test]
async fn who_may_only_read_sees_no_secret() {
    let bench = Bench::new().await;
    let body = json!({"url": URL, "events": ["*"]});
    let endpoint = bench.post(&v1("/endpoints"), &body).await.expect(201);
    let id = text(&endpoint, "id");
    bench.post(&v1("/events"), &json!({"type": "a", "data": 1})).await.expect(202);
    let path = v1(&format!("/endpoints/{id}/deliveries"));
    let sent = bench.until(&path, |page| page["items"][0]["success"] == true).await;
    let sent = text(&sent["items"][0], "id");
    let read = key(&bench, "read").await;
    let admin = key(&bench, "admin").await;
    let paths = [
        v1("/endpoints"),
        v1(&format!("/endpoints/{id}")),
        w3block(""),
        w3block(&format!("/{id}")),
        w3block(&format!("/{id}/webhooks")),
        w3block(&format!("/{id}/webhooks/{sent}")),
    ];
    for path in paths {
        let shown = bench.call_as(Some(text(&read, "key")), "GET", &path, "").await;
        assert_eq!(shown.status, 200);
        let shown = shown.text();
        assert!(shown.contains("\"***\"") && !shown.contains("whsec_"), "{path}: {shown}");
        let all = bench.call_as(Some(text(&admin, "key")), "GET", &path, "").await.text();
        assert!(all.contains(text(&endpoint, "secret")), "{path}: {all}");
    }
}

#[tokio::test]
async fn a_key_that_does_not_work_is_answered_the_same_whatever_the_reason() {
    let bench = Bench::new().await;
    let body = json!({"name": "x", "scope": "read", "expiresAt": "2025-07-05T02:00:00.000Z"});
    let expiring = bench.post(&v1("/api-keys"), &body).await.expect(201);
    let (expired, works) = (text(&expiring, "key"), key(&bench, "read").await);
    let revoked = key(&bench, "read").await;
    let (works, revoked_key) = (text(&works, "key"), text(&revoked, "key"));
    let call = |key: String| {
        let bench = &bench;
        async move { bench.call_as(Some(&key), "GET", &v1("/endpoints"), "").await }
    };
    for key in [expired, works, revoked_key] {
        call(key.to_owned()).await.expect(200);
    }
    let path = v1(&format!("/api-keys/{}", text(&revoked, "id")));
    // Also for the next request, and repeated.
    for _ in 0..2 {
        bench.call("DELETE", &path, "").await.expect(204);
        assert_eq!(call(revoked_key.to_owned()).await.status, 401);
    }
    bench.pass(Duration::from_secs(3600));
    let other = Bench::new().await;
    let elsewhere = key(&other, "read").await;
    let cut = works[..works.len() - 1].to_owned();
    let spoilt = works.replace("fanfare_A", "fanfare_B");
    let all = [
        expired.to_owned(),
        revoked_key.to_owned(),
        text(&elsewhere, "key").to_owned(),
        cut,
        works.replace("fanfare_", "fanfare_A"),
        format!("{spoilt}A"),
        "fanfare_".to_owned(),
        format!("fanfare_{}", "é".repeat(3)).replace('é', "%"),
    ];
    let mut told = Vec::new();
    for key in all {
        let reply = call(key).await;
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        told.push(reply.error());
    }
    assert_eq!((told[0].0, told[0].1.as_str()), (401, "api_key_invalid"));
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    call(works.to_owned()).await.expect(200);
    let in_header = [(AS_W3BLOCK, "not a key at all")];
    assert_eq!(with(&bench, &in_header, "GET", &v1("/endpoints")).await.error(), told[0]);
}

#[tokio::test]
async fn the_list_tells_when_a_key_was_used_and_revoked_and_goes_on_by_cursor() {
    let bench = Bench::new().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(key(&bench, "read").await);
    }
    assert!(listed(&bench).await.iter().all(|key| key["lastUsedAt"].is_null()));
    let used = text(&made[0], "key");
    let path = v1("/api-keys?limit=100");
    bench.pass(Duration::from_secs(1));
    bench.call_as(Some(used), "GET", &v1("/endpoints"), "").await.expect(200);
    let shown = bench.until(&path, |page| !page["items"][2]["lastUsedAt"].is_null()).await;
    let first = shown["items"][2]["lastUsedAt"].clone();
    assert_eq!(first, bench.clock_text());
    // A use right behind it is not noted; one a minute later is.
    bench.call_as(Some(used), "GET", &v1("/endpoints"), "").await.expect(200);
    bench.pass(Duration::from_secs(60));
    bench.call_as(Some(used), "GET", &v1("/endpoints"), "").await.expect(200);
    bench.until(&path, |page| page["items"][2]["lastUsedAt"] == bench.clock_text()).await;
    let id = text(&made[1], "id");
    bench.call("DELETE", &v1(&format!("/api-keys/{id}")), "").await.expect(204);
    assert_eq!(listed(&bench).await[1]["revokedAt"], bench.clock_text());

    let page = bench.get(&v1("/api-keys?limit=2")).await.expect(200);
    assert_eq!(page["next"], made[1]["id"]);
    let next = bench.get(&v1(&format!("/api-keys?limit=2&after={id}"))).await.expect(200);
    assert_eq!((&next["items"][0]["id"], &next["next"]), (&made[0]["id"], &Value::Null));
}

#[tokio::test]
async fn a_key_with_a_bad_field_is_refused_by_its_name() {
    let bench = Bench::new().await;
    let cases = [
        (json!({"scope": "emit"}), "name: is required"),
        (json!({"name": "", "scope": "emit"}), "name: must have"),
        (json!({"name": "x".repeat(256), "scope": "emit"}), "name: must have"),
        (json!({"name": "a\nb", "scope": "emit"}), "name: must have"),
        (json!({"name": 7, "scope": "emit"}), "name: must be a string"),
        (json!({"name": "x"}), "scope: is required"),
        (json!({"name": "x", "scope": "root"}), "scope: must be one of: emit, read, admin"),
        (json!({"name": "x", "scope": "emit", "expiresAt": "soon"}), "expiresAt: must be a time"),
        (
            json!({"name": "x", "scope": "emit", "expiresAt": "2025-07-05T00:00:00Z"}),
            "expiresAt: must be in the future",
        ),
        (json!({"name": "x", "scope": "emit", "key": "mine"}), "key: is not a field here"),
    ];
    for (body, complaint) in cases {
        let (status, _, message) = bench.post(&v1("/api-keys"), &body).await.error();
        assert_eq!(status, 400, "{body}");
        assert!(message.contains(complaint), "{message}");
    }
    assert_eq!(listed(&bench).await.len(), 0);
}

#[tokio::test]
async fn a_superadmin_makes_keys_for_any_company_and_they_open_that_one() {
    let bench = Bench::new().await;
    let everywhere = bench.token(COMPANY, "superAdmin");
    let (path, body) =
        (v1("/api-keys").replace(COMPANY, OTHER), json!({"name": "x", "scope": "admin"}));
    let made = bench.call_as(Some(&everywhere), "POST", &path, body.to_string()).await.expect(201);
    let key = Some(text(&made, "key"));
    bench.call_as(key, "GET", &path, "").await.expect(200);
    let (status, code, _) = bench.call_as(key, "GET", &v1("/api-keys"), "").await.error();
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    // Not even to revoke it: it is not there in the other company.
    let theirs = v1(&format!("/api-keys/{}", text(&made, "id")));
    assert_eq!(bench.call("DELETE", &theirs, "").await.error().1, "api_key_not_found");
    bench.call_as(key, "GET", &path, "").await.expect(200);
}
