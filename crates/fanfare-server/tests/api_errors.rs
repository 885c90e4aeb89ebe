//! What comes in badly: always refused, always in the one shape, never a 5xx.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use support::never::Never;
use support::{Bench, COMPANY, MAX_PAYLOAD, NOBODY, OTHER, Reply, text, v1, w3block};

const URL: &str = "https://shop.example/hooks";

/// Every route that wants a token, with ids that are well-formed.
fn guarded() -> Vec<(&'static str, String)> {
    let paths = [
        ("GET", v1("")),
        ("PUT", v1("")),
        ("POST", v1("/events")),
        ("POST", v1("/events/match")),
        ("GET", v1("/endpoints")),
        ("POST", v1("/endpoints")),
        ("GET", v1("/endpoints/ID")),
        ("PATCH", v1("/endpoints/ID")),
        ("DELETE", v1("/endpoints/ID")),
        ("POST", v1("/endpoints/ID/activate")),
        ("POST", v1("/endpoints/ID/deactivate")),
        ("POST", v1("/endpoints/ID/secret/rotate")),
        ("GET", v1("/endpoints/ID/deliveries")),
        ("GET", v1("/deliveries/ID")),
        ("POST", v1("/deliveries/ID/replay")),
        ("GET", v1("/replays")),
        ("POST", v1("/replays")),
        ("GET", v1("/replays/ID")),
        ("POST", v1("/replays/ID/cancel")),
        ("GET", v1("/api-keys")),
        ("POST", v1("/api-keys")),
        ("DELETE", v1("/api-keys/ID")),
        ("GET", v1("/audit")),
        ("GET", w3block("")),
        ("POST", w3block("")),
        ("GET", w3block("/ID")),
        ("PATCH", w3block("/ID")),
        ("PATCH", w3block("/ID/enable")),
        ("PATCH", w3block("/ID/disable")),
        ("GET", w3block("/ID/webhooks")),
        ("GET", w3block("/ID/webhooks/ID")),
    ];
    paths.map(|(method, path)| (method, path.replace("ID", NOBODY))).to_vec()
}

/// A body that fits the route, so that nothing but the ids can be wrong.
fn fitting(method: &str, path: &str) -> String {
    let body = match (method, path) {
        ("PUT", _) => json!({"name": "x"}),
        ("POST", path) if path.ends_with("/replays") => json!({"deliveries": [NOBODY]}),
        (_, path) if path.ends_with("/events") || path.ends_with("/match") => {
            json!({"type": "a", "data": 1})
        }
        (_, path) if path.ends_with("/secret/rotate") => json!({}),
        ("POST", path) if path.ends_with("/api-keys") => json!({"name": "x", "scope": "emit"}),
        ("POST", path) if path.starts_with("/v1") => json!({"url": URL, "events": ["*"]}),
        ("PATCH" | "POST", path) if path.starts_with("/admin") => json!({"webhookUrl": URL}),
        _ => json!({}),
    };
    body.to_string()
}

#[tokio::test]
async fn who_calls_comes_before_everything_else() {
    let bench = Bench::new().await;
    let viewer = "Bearer eyJhbGciOiJub25lIn0.e30.";
    for (method, path) in guarded() {
        for path in [path.clone(), path.replace(COMPANY, "not-an-id"), path + "?page=0&limit=x"] {
            for header in [None, Some("Basic eDp5"), Some("Bearer"), Some("Bearer x"), Some(viewer)]
            {
                let mut request = Request::builder().method(method).uri(&path);
                if let Some(header) = header {
                    request = request.header("authorization", header);
                }
                let reply = bench.send(request.body(Body::from("not json")).unwrap()).await;
                let (status, code, _) = reply.error();
                assert_eq!(status, 401, "{method} {path} {header:?}");
                assert!(code.starts_with("token_"), "{code}");
                assert_eq!(reply.header("www-authenticate"), "Bearer");
            }
        }
    }
}

#[tokio::test]
async fn whose_company_it_is_comes_before_what_is_asked() {
    let bench = Bench::new().await;
    let admin = bench.token(OTHER, "admin");
    let everyone = bench.token(OTHER, "superAdmin");
    for (method, path) in guarded() {
        for path in [path.clone(), path.replace(NOBODY, "not-an-id"), format!("{path}?limit=x")] {
            let reply = bench.call_as(Some(&admin), method, &path, "not json").await;
            assert_eq!(reply.error().0, 403, "{method} {path}");
        }
        let reply = bench.call_as(Some(&everyone), method, &path, fitting(method, &path)).await;
        assert_ne!(reply.status, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn an_id_is_a_hyphenated_uuid_and_the_answer_says_which_is_not() {
    let bench = Bench::new().await;
    let simple = NOBODY.replace('-', "");
    let braced = format!("%7B{NOBODY}%7D");
    let bad = ["x", "1", &simple, &braced, "%00", "%FF", "..%2F..", "%27--", &"9".repeat(5000)];
    for (method, path) in guarded() {
        for bad in bad {
            let reply = bench.call(method, &path.replace(COMPANY, bad), "{}").await;
            let (status, _, message) = reply.error();
            assert_eq!(status, 400, "{method} {path} {bad}");
            assert!(message.starts_with("companyId: ") || bad == "%FF", "{message}");
            if path.contains(NOBODY) {
                let reply = bench.call(method, &path.replace(NOBODY, bad), "{}").await;
                let (status, _, message) = reply.error();
                assert_eq!(status, 400, "{method} {path} {bad}");
                let (named, _) = message.split_once(": ").unwrap();
                let known =
                    ["endpointId", "deliveryId", "replayId", "configurationId", "apiKeyId", "path"];
                assert!(known.contains(&named), "{message}");
            }
        }
    }
    let upper = bench.get(&v1("").replace(COMPANY, &COMPANY.to_uppercase())).await;
    assert_eq!(upper.error().0, 404);
}

#[tokio::test]
async fn an_id_that_nothing_has_is_not_found() {
    let bench = Bench::new().await;
    for (method, path) in guarded().iter().filter(|(_, path)| path.contains(NOBODY)) {
        let (status, code, message) = bench.call(method, path, fitting(method, path)).await.error();
        assert_eq!(status, 404, "{method} {path}");
        assert!(code.ends_with("_not_found") && message.contains(NOBODY), "{code} {message}");
    }
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_method_have_the_same_shape() {
    let bench = Bench::new().await;
    for path in
        ["/x", "/v1", "/v1/companies", "/admin", "//", "/docs/", "/%FF", "/v1/%00", "/metrics/x"]
    {
        let (status, code, _) = bench.get(path).await.error();
        assert_eq!((status, code.as_str()), (404, "route_not_found"), "{path}");
    }
    for (method, path, allowed) in [
        ("POST", "/healthz".to_owned(), "GET,HEAD"),
        ("DELETE", v1("/events"), "POST"),
        ("PUT", w3block("/ID/enable"), "PATCH"),
        ("OPTIONS", v1("/endpoints"), "GET,HEAD,POST"),
        ("BREW", "/".to_owned(), "GET,HEAD"),
    ] {
        let reply = bench.call(method, &path, "").await;
        let (status, code, _) = reply.error();
        assert_eq!((status, code.as_str()), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(reply.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_head_request_is_answered_without_a_body() {
    let bench = Bench::new().await;
    let reply = bench.call("HEAD", &v1("/endpoints"), "").await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

/// Bodies that are no JSON object.
fn broken() -> Vec<Vec<u8>> {
    let deep = "[".repeat(10_000);
    let texts = [
        "",
        " ",
        "null",
        "1",
        "\"x\"",
        "[]",
        "{",
        "}",
        "{}{}",
        "{\"type\"",
        "{'type': 1}",
        "nul",
        "{,}",
        "[\"a.b\", {}]",
        "<a/>",
        "type=a&data=1",
        "\u{feff}{}",
        &deep,
    ];
    let bytes: [&[u8]; 4] = [b"\xff", b"{\"name\":\"\xff\"}", b"\0", b"{\"a\":\"\x01\"}"];
    texts.iter().map(|text| text.as_bytes()).chain(bytes).map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_wherever_one_is_read() {
    let bench = Bench::new().await;
    for (method, path) in [
        ("POST", v1("/events")),
        ("POST", v1("/endpoints")),
        ("PUT", v1("")),
        ("PATCH", v1(&format!("/endpoints/{NOBODY}"))),
        ("POST", w3block("")),
        ("PATCH", w3block(&format!("/{NOBODY}"))),
    ] {
        for body in broken() {
            let shown = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
            let (status, code, message) = bench.call(method, &path, body).await.error();
            assert_eq!(status, 400, "{method} {path} {shown}");
            assert!(code == "malformed_json" || code == "invalid_request", "{code}: {message}");
        }
    }
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let bench = Bench::new().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "\u{fc}"]
    {
        let request = Request::post(v1("/events"))
            .header("authorization", format!("Bearer {}", bench.token(COMPANY, "admin")))
            .header("content-type", kind.as_bytes());
        let body = json!({"type": "a", "data": 1}).to_string();
        bench.send(request.body(body.into()).unwrap()).await.expect(202);
    }
}

/// Sends each body and expects a 400 that names the field.
async fn refused(bench: &Bench, method: &str, path: &str, cases: &[(Value, &str)]) {
    for (body, named) in cases {
        let reply = bench.call(method, path, body.to_string()).await;
        let (status, _, message) = reply.error();
        let shown: String = body.to_string().chars().take(120).collect();
        assert_eq!(status, 400, "{method} {path} {shown}");
        assert!(message.split('\n').any(|line| line.starts_with(named)), "{shown}: {message}");
    }
}

#[tokio::test]
async fn an_event_with_a_bad_field_is_refused_by_its_name() {
    let bench = Bench::new().await;
    let event = |change: Value| {
        let mut event = json!({"type": "order.created", "data": {}});
        for (name, value) in change.as_object().unwrap() {
            event[name] = value.clone();
        }
        event
    };
    let long = "a".repeat(129);
    let cases = [
        (json!({}), "type: "),
        (json!({}), "data: "),
        (json!({"type": "a"}), "data: "),
        (json!({"data": 1}), "type: "),
        (event(json!({"type": null})), "type: "),
        (event(json!({"type": 5})), "type: "),
        (event(json!({"type": ["a"]})), "type: "),
        (event(json!({"type": ""})), "type: "),
        (event(json!({"type": "order created"})), "type: "),
        (event(json!({"type": "order..created"})), "type: "),
        (event(json!({"type": "order.*"})), "type: "),
        (event(json!({"type": "*"})), "type: "),
        (event(json!({"type": "naïve"})), "type: "),
        (event(json!({"type": long})), "type: "),
        (event(json!({"type": "a\u{0}"})), "type: "),
        (event(json!({"id": "x"})), "id: "),
        (event(json!({"id": 7})), "id: "),
        (event(json!({"id": ""})), "id: "),
        (event(json!({"orderingKey": 7})), "orderingKey: "),
        (event(json!({"orderingKey": ""})), "orderingKey: "),
        (event(json!({"orderingKey": "é".repeat(257)})), "orderingKey: "),
        (event(json!({"ordering_key": "x"})), "body: unknown field `ordering_key`"),
        (event(json!({"orderingKey": "a\tb"})), "orderingKey: "),
        (event(json!({"deliverAt": "x"})), "deliverAt: must be a time such as"),
        (event(json!({"deliverAt": 7})), "deliverAt: must be a string"),
        (event(json!({"deliverAt": "2999-01-01T00:00:00Z"})), "deliverAt: must be at most 366"),
        (event(json!({"expiresAt": "2000-01-01"})), "expiresAt: must be a time such as"),
        (event(json!({"expiresAt": "2000-01-01T00:00:00Z"})), "expiresAt: must be in the future"),
    ];
    refused(&bench, "POST", &v1("/events"), &cases).await;
    let ok = event(json!({"orderingKey": "é".repeat(256), "type": "a".repeat(128), "id": null}));
    bench.post(&v1("/events"), &ok).await.expect(202);
    let twice = r#"{"type":"a","data":1,"data":2}"#;
    assert_eq!(bench.call("POST", &v1("/events"), twice).await.error().0, 400);
}

#[tokio::test]
async fn a_batch_is_refused_by_the_field_of_the_event() {
    let bench = Bench::new().await;
    let good = json!({"type": "a", "data": 1});
    let past = json!({"type": "a", "data": 1, "expiresAt": "2000-01-01T00:00:00Z"});
    let cases = [
        (json!({}), "events: must be 1 to 1000 events"),
        (json!({"events": []}), "events: must be 1 to 1000 events"),
        (json!({"events": vec![&good; 1001]}), "events: must be 1 to 1000 events"),
        (json!({"events": {}}), "events: must be 1 to 1000 events"),
        (json!({"events": [good, 7]}), "events[1]: must be a JSON object"),
        (json!({"events": [good, {"type": "a"}]}), "events[1].data: is required"),
        (json!({"events": [{"type": "", "data": 1}, good]}), "events[0].type: "),
        (json!({"events": [good, {"typ": "a", "data": 1}]}), "events[1]: unknown field `typ`"),
        (json!({"events": [good, good, past]}), "events[2].expiresAt: must be in the future"),
        (json!([good]), "body: must be a JSON object"),
        (json!({"event": [good]}), "body: unknown field `event`"),
    ];
    refused(&bench, "POST", &v1("/events/batch"), &cases).await;
    let large = "x".repeat(MAX_PAYLOAD);
    let too_large = json!({"events": [good, {"type": "a", "data": format!("{large}x")}]});
    let reply = bench.post(&v1("/events/batch"), &too_large).await.error();
    assert!(reply.0 == 413 && reply.2.starts_with("events[1].data: "), "{reply:?}");
}

#[tokio::test]
async fn a_payload_is_refused_when_it_is_too_deep_or_too_large() {
    let bench = Bench::new().await;
    let body = |data: &str| format!(r#"{{"type":"a","data":{data}}}"#);
    let nested = |levels: usize| body(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    bench.call("POST", &v1("/events"), nested(128)).await.expect(202);
    for levels in [129, 900] {
        let (status, _, message) = bench.call("POST", &v1("/events"), nested(levels)).await.error();
        assert!(status == 400 && message.starts_with("data: "), "{status} {message}");
    }
    let sized = |size: usize| body(&format!("\"{}\"", "x".repeat(size - 2)));
    bench.call("POST", &v1("/events"), sized(MAX_PAYLOAD)).await.expect(202);
    for size in [MAX_PAYLOAD + 1, MAX_PAYLOAD + 20_000, 10_000_000] {
        let (status, code, _) = bench.call("POST", &v1("/events"), sized(size)).await.error();
        assert_eq!((status, code.as_str()), (413, "payload_too_large"), "{size}");
    }
}

#[tokio::test]
async fn a_body_is_refused_by_its_length_before_it_is_read() {
    let bench = Bench::new().await;
    for path in [v1("/events"), v1("/endpoints"), w3block("")] {
        for length in ["1000000", "18446744073709551615", "99999999999999999999999"] {
            let request = Request::post(&path)
                .header("authorization", format!("Bearer {}", bench.token(COMPANY, "admin")))
                .header("content-length", length);
            let reply = bench.send(request.body(Body::new(Never)).unwrap()).await;
            assert_eq!(reply.error().0, 413, "{path} {length}");
        }
    }
}

#[tokio::test]
async fn an_idempotency_key_has_its_limits() {
    let bench = Bench::new().await;
    let key = |keys: Vec<Vec<u8>>| {
        let mut request = Request::post(v1("/events"))
            .header("authorization", format!("Bearer {}", bench.token(COMPANY, "admin")));
        for key in keys {
            request = request.header("idempotency-key", key);
        }
        request.body(Body::from(json!({"type": "a", "data": 1}).to_string())).unwrap()
    };
    bench.send(key(vec![vec![b'x'; 256]])).await.expect(202);
    for bad in
        [vec![vec![]], vec![vec![b'x'; 257]], vec![b"\xe9".to_vec()], vec![vec![b'a'], vec![b'b']]]
    {
        let (status, _, message) = bench.send(key(bad)).await.error();
        assert!(status == 400 && message.starts_with("Idempotency-Key: "), "{status} {message}");
    }
}

#[tokio::test]
async fn a_url_that_deliveries_may_not_go_to_is_refused_by_both_interfaces() {
    let bench = Bench::new().await;
    let long = format!("https://a.example/{}", "x".repeat(2048));
    let urls = [
        json!(5),
        json!(""),
        json!("shop.example"),
        json!("ftp://a.example/"),
        json!(long),
        json!("http://a.example/"),
        json!("https://"),
        json!("https://u:p@a.example/"),
        json!("https://a.example/#x"),
        json!("https://127.0.0.1/"),
        json!("https://[::1]/"),
        json!("https://localhost/"),
        json!("https://0x7f.1/"),
        json!("https://a.example/ x"),
        json!("javascript:alert(1)"),
        json!(["https://a.example/"]),
        json!("https://169.254.169.254/"),
    ];
    let cases: Vec<_> = urls.iter().map(|url| json!({"url": url, "events": ["*"]})).collect();
    let cases: Vec<_> = cases.into_iter().map(|body| (body, "url: ")).collect();
    refused(&bench, "POST", &v1("/endpoints"), &cases).await;
    let cases: Vec<_> =
        urls.iter().map(|url| (json!({"webhookUrl": url}), "webhookUrl: ")).collect();
    refused(&bench, "POST", &w3block(""), &cases).await;
}

#[tokio::test]
async fn an_endpoint_with_a_bad_field_is_refused_by_its_name() {
    let bench = Bench::new().await;
    let with = |name: &str, value: Value| {
        let mut body = json!({"url": URL, "events": ["*"]});
        body[name] = value;
        body
    };
    let many: Vec<_> = (0..101).map(|n| format!("e{n}")).collect();
    let cases = [
        (json!({}), "url: is required"),
        (json!({}), "events: is required"),
        (with("events", Value::Null), "events: is required"),
        (with("events", json!([])), "events: must name"),
        (with("events", json!(many)), "events: must name"),
        (with("events", json!("*")), "events: must be a list"),
        (with("events", json!(["ORDER_CREATED", "a b", "*"])), "events[1]: "),
        (with("events", json!(["*", 5])), "events[1]: "),
        (with("events", json!(["order*"])), "events[0]: "),
        (with("events", json!([""])), "events[0]: "),
        (with("events", json!(["a".repeat(129)])), "events[0]: "),
        (with("secret", json!("x")), "secret: "),
        (with("secret", json!("whsec_c2hvcnQ=")), "secret: "),
        (with("secret", json!(5)), "secret: "),
        (with("format", json!("xml")), "format: "),
        (with("format", json!(1)), "format: "),
        (with("maxRetries", json!(21)), "maxRetries: "),
        (with("maxRetries", json!(-1)), "maxRetries: "),
        (with("maxRetries", json!(0.5)), "maxRetries: "),
        (with("maxRetries", json!(18_446_744_073_709_551_615_u64)), "maxRetries: "),
        (with("maxRetries", json!("5")), "maxRetries: "),
        (with("usePatch", json!("true")), "usePatch: "),
        (with("updateWithSystemHeaders", json!(1)), "updateWithSystemHeaders: "),
        (with("addCreatedAtToBody", json!([])), "addCreatedAtToBody: "),
        (with("isActive", json!(true)), "isActive: is not a field here"),
        (with("x\u{0}\n", json!(true)), "x\u{0}"),
    ];
    refused(&bench, "POST", &v1("/endpoints"), &cases).await;

    let made = bench.post(&v1("/endpoints"), &json!({"url": URL, "events": ["*"]})).await;
    let path = v1(&format!("/endpoints/{}", text(&made.expect(201), "id")));
    let own = |(body, _): &&(Value, &str)| *body != json!({}) && !body["events"].is_null();
    let cases: Vec<_> = cases.iter().filter(own).cloned().collect();
    let secret = (json!({"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}), "secret: is not");
    refused(&bench, "PATCH", &path, &[&cases[..], &[secret]].concat()).await;
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once_and_never_without_bound() {
    let bench = Bench::new().await;
    let body = json!({"url": 1, "events": [1, "a b"], "maxRetries": "x", "foo": 1});
    let error = bench.post(&v1("/endpoints"), &body).await.json();
    assert_eq!(error["message"].as_array().unwrap().len(), 5, "{error}");

    let mut body = json!({"url": URL, "events": ["*"]});
    for n in 0..500 {
        body[format!("{n}{}", "x".repeat(20))] = json!(1);
    }
    body["y".repeat(5000)] = json!(1);
    let reply = bench.post(&v1("/endpoints"), &body).await;
    assert_eq!(reply.error().0, 400);
    assert!(reply.body.len() < 12_000, "{}", reply.body.len());
}

#[tokio::test]
async fn a_companys_name_has_its_limits() {
    let bench = Bench::new().await;
    let cases = [
        (json!({}), "name: "),
        (json!({"name": null}), "name: "),
        (json!({"name": 5}), "name: "),
        (json!({"name": "a\u{0}b"}), "name: "),
        (json!({"name": "é".repeat(256)}), "name: "),
        (json!({"name": "x", "id": "y"}), "id: "),
    ];
    refused(&bench, "PUT", &v1(""), &cases).await;
    let body = json!({"name": "é".repeat(255)}).to_string();
    bench.call("PUT", &v1(""), body).await.expect(200);
}

#[tokio::test]
async fn a_query_out_of_range_is_refused_by_its_name() {
    let bench = Bench::new().await;
    let made = bench.post(&w3block(""), &json!({"webhookUrl": URL})).await.expect(201);
    let webhooks = w3block(&format!("/{}/webhooks", text(&made, "id")));
    let long = format!("search={}", "x".repeat(2049));
    for path in [w3block(""), webhooks.clone()] {
        for (query, named) in [
            ("page=0", "page: "),
            ("page=-1", "page: "),
            ("page=1.5", "page: "),
            ("page=", "page: "),
            ("page=x", "page: "),
            ("page=%2B1", "page: "),
            ("page=1&page=2", "page: "),
            ("page=18446744073709551616", "page: "),
            ("page=922337203685477581", "page: "),
            ("page=%D9%A1", "page: "),
            ("limit=0", "limit: "),
            ("limit=101", "limit: "),
            ("limit=1e1", "limit: "),
            ("limit=10&limit=10", "limit: "),
            ("sortBy=", "sortBy: "),
            ("sortBy=id", "sortBy: "),
            ("sortBy=createdAt;drop", "sortBy: "),
            ("sortBy=createdat", "sortBy: "),
            ("orderBy=asc", "orderBy: "),
            ("orderBy=", "orderBy: "),
            ("orderBy=ASC&orderBy=ASC", "orderBy: "),
            ("search=a&search=b", "search: "),
            ("search=%00", "search: "),
            (&long, "search: "),
        ] {
            let (status, _, message) = bench.get(&format!("{path}?{query}")).await.error();
            assert_eq!(status, 400, "{query}");
            assert!(message.starts_with(named), "{query}: {message}");
        }
        bench
            .get(&format!("{path}?limit=100&page=01&x=1&x=2&=&%FF=%FF&search=%FF"))
            .await
            .expect(200);
    }
    for (path, sort) in [(w3block(""), "status"), (webhooks, "webhookUrl")] {
        let (status, _, message) = bench.get(&format!("{path}?sortBy={sort}")).await.error();
        assert!(status == 400 && message.starts_with("sortBy: "), "{message}");
    }
    let deliveries = v1(&format!("/endpoints/{}/deliveries", text(&made, "id")));
    for path in [v1("/endpoints"), deliveries] {
        for (query, named) in [
            ("limit=0", "limit: "),
            ("limit=101", "limit: "),
            ("limit=x", "limit: "),
            ("limit=", "limit: "),
            ("limit=1&limit=1", "limit: "),
            ("after=x", "after: "),
            ("after=", "after: "),
            ("after=%00", "after: "),
        ] {
            let (status, _, message) = bench.get(&format!("{path}?{query}")).await.error();
            assert!(status == 400 && message.starts_with(named), "{query}: {message}");
        }
    }
}

#[tokio::test]
async fn an_error_never_repeats_a_secret() {
    let bench = Bench::new().await;
    let secret = "whsec_!!MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({"url": URL, "events": ["*"], "secret": secret});
    let reply: Reply = bench.post(&v1("/endpoints"), &body).await;
    assert_eq!(reply.error().0, 400);
    assert!(!reply.text().contains("MfKQ9"));
}
