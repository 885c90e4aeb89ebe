//! W3Block's eight operations, as its client sees them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use axum::http::Request;
use serde_json::{Value, json};
use support::{
    Bench, COMPANY, CONFIGURATION_FIELDS, NOBODY, OTHER, answered, assert_is_time, fields,
    no_answer, text, v1, w3block,
};

const URL: &str = "https://mydomain.example/hooks";

async fn create(bench: &Bench, url: &str) -> Value {
    bench.post(&w3block(""), &json!({"webhookUrl": url})).await.expect(201)
}

async fn emit(bench: &Bench, event_type: &str) -> Value {
    let body = json!({"type": event_type, "data": {"id": 7}});
    bench.post(&v1("/events"), &body).await.expect(202)
}

/// The webhooks of a configuration, once there are this many and each is as it should be.
async fn webhooks(bench: &Bench, id: &str, ready: impl Fn(&Value) -> bool) -> Vec<Value> {
    let path = w3block(&format!("/{id}/webhooks?limit=100"));
    let all = |page: &Value| {
        let items = page["items"].as_array().unwrap();
        !items.is_empty() && items.iter().all(&ready)
    };
    bench.until(&path, all).await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_new_configuration_has_w3blocks_fields_and_a_key_of_its_own() {
    let bench = Bench::new().await;
    let made = create(&bench, URL).await;
    assert_eq!(fields(&made), CONFIGURATION_FIELDS);
    assert_eq!(fields(&made["company"]), ["createdAt", "id", "name", "updatedAt"]);
    assert_eq!(made["company"]["name"], "");
    assert_eq!((&made["companyId"], &made["company"]["id"]), (&json!(COMPANY), &json!(COMPANY)));
    assert_eq!((&made["webhookUrl"], &made["maxRetries"]), (&json!(URL), &json!(5)));
    assert_eq!(made["disabled"], false);
    let key = text(&made, "signatureKey");
    assert!(key.starts_with("whsec_") && key.len() == 6 + 44, "{key}");
    assert_is_time(&made["createdAt"]);
    assert_is_time(&made["updatedAt"]);
    assert_eq!(text(&made, "id").as_bytes()[14], b'7');

    let other = create(&bench, URL).await;
    assert_ne!(other["signatureKey"], made["signatureKey"]);
    let shown = bench.get(&w3block(&format!("/{}", text(&made, "id")))).await.expect(200);
    assert_eq!(shown, made);
}

#[tokio::test]
async fn the_number_of_retries_is_whole_and_from_0_to_20() {
    let bench = Bench::new().await;
    for (given, shown) in [(json!(0), 0), (json!(20), 20), (json!(5.0), 5), (Value::Null, 5)] {
        let body = json!({"webhookUrl": URL, "maxRetries": given});
        assert_eq!(bench.post(&w3block(""), &body).await.expect(201)["maxRetries"], shown);
    }
    for bad in [json!(-1), json!(21), json!(0.5), json!("5"), json!(true), json!([5])] {
        let body = json!({"webhookUrl": URL, "maxRetries": bad});
        let (status, _, message) = bench.post(&w3block(""), &body).await.error();
        assert_eq!(status, 400);
        assert!(message.starts_with("maxRetries: "), "{message}");
    }
}

#[tokio::test]
async fn a_change_needs_the_url_keeps_what_is_not_given_and_ignores_what_it_does_not_know() {
    let bench = Bench::new().await;
    let made = bench.post(&w3block(""), &json!({"webhookUrl": URL, "maxRetries": 3})).await;
    let made = made.expect(201);
    let path = w3block(&format!("/{}", text(&made, "id")));

    let (status, _, message) = bench.patch(&path, &json!({"maxRetries": 1})).await.error();
    assert_eq!((status, message.as_str()), (400, "webhookUrl: is required"));

    bench.pass(Duration::from_secs(5));
    let body = json!({"webhookUrl": "https://other.example/x", "signatureKey": "x", "id": 1});
    let changed = bench.patch(&path, &body).await.expect(200);
    assert_eq!(changed["webhookUrl"], "https://other.example/x");
    assert_eq!((&changed["maxRetries"], &changed["id"]), (&json!(3), &made["id"]));
    assert_eq!(changed["signatureKey"], made["signatureKey"]);
    assert_eq!(changed["createdAt"], made["createdAt"]);
    assert!(text(&changed, "updatedAt") > text(&made, "updatedAt"));
    assert_eq!(bench.get(&path).await.expect(200), changed);
}

#[tokio::test]
async fn disabling_and_enabling_answer_204_and_can_be_repeated() {
    let bench = Bench::new().await;
    let made = create(&bench, URL).await;
    let path = w3block(&format!("/{}", text(&made, "id")));
    for (switch, disabled) in
        [("disable", true), ("disable", true), ("enable", false), ("enable", false)]
    {
        let reply = bench.call("PATCH", &format!("{path}/{switch}"), "").await;
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        assert_eq!(bench.get(&path).await.expect(200)["disabled"], disabled);
    }
}

#[tokio::test]
async fn a_disabled_configuration_hears_nothing_and_goes_on_with_what_was_held() {
    let bench = Bench::answering(vec![answered(500, "")]).await;
    let made = create(&bench, URL).await;
    let id = text(&made, "id");
    emit(&bench, "order.created").await;
    webhooks(&bench, id, |sent| sent["errors"] == 1).await;

    bench.call("PATCH", &w3block(&format!("/{id}/disable")), "").await.expect(204);
    assert_eq!(emit(&bench, "order.created").await["deliveries"], 0);
    bench.pass(Duration::from_hours(1));
    let held = webhooks(&bench, id, |sent| sent["status"] == "sending").await;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["lastResult"]["statusCode"], 500);
    assert_eq!(held[0]["lastResult"]["nextAttemptAt"], Value::Null);
    assert_eq!(held[0]["configuration"]["disabled"], true);

    bench.call("PATCH", &w3block(&format!("/{id}/enable")), "").await.expect(204);
    let sent = webhooks(&bench, id, |sent| sent["status"] == "concluded").await;
    assert_eq!((sent.len(), &sent[0]["errors"]), (1, &json!(1)));
}

#[tokio::test]
async fn a_sent_webhook_shows_the_request_the_answer_and_its_configuration() {
    let bench = Bench::answering(vec![answered(201, "thanks")]).await;
    let made = create(&bench, URL).await;
    let id = text(&made, "id");
    emit(&bench, "ORDER_CREATED").await;
    let sent = webhooks(&bench, id, |sent| sent["status"] == "concluded").await;
    let sent = &sent[0];
    let names = [
        "addCreatedAtToBody",
        "company",
        "companyId",
        "configuration",
        "configurationId",
        "createdAt",
        "data",
        "errors",
        "id",
        "lastResult",
        "status",
        "updateWithSystemHeaders",
        "updatedAt",
        "usePatch",
    ];
    assert_eq!(fields(sent), names);
    assert_eq!((&sent["configuration"], &sent["company"]), (&made, &made["company"]));
    assert_eq!((&sent["companyId"], &sent["configurationId"]), (&json!(COMPANY), &made["id"]));
    assert_eq!((&sent["errors"], &sent["usePatch"]), (&json!(0), &json!(false)));

    let data = &sent["data"];
    assert_eq!(fields(data), ["body", "headers", "url"]);
    assert_eq!(data["url"], URL);
    assert_eq!(data["body"]["event"], "order.created");
    assert_eq!(data["body"]["data"], json!({"id": 7}));
    let request = &bench.network.sent()[0];
    assert_eq!(data["body"], serde_json::from_slice::<Value>(&request.body).unwrap());
    for name in ["webhook-id", "webhook-signature", "x-w3block-commerce-signature"] {
        assert_eq!(data["headers"][name], request.headers[name].to_str().unwrap(), "{name}");
    }

    let result = &sent["lastResult"];
    let names =
        ["at", "attempt", "body", "durationMs", "error", "headers", "nextAttemptAt", "statusCode"];
    assert_eq!(fields(result), names);
    assert_eq!((&result["statusCode"], &result["body"]), (&json!(201), &json!("thanks")));
    assert_eq!(result["headers"], json!({"x-one": "1", "set-cookie": "a, b"}));
    assert_eq!((&result["attempt"], &result["error"]), (&json!(1), &Value::Null));
    assert_is_time(&result["at"]);

    let path = w3block(&format!("/{id}/webhooks/{}", text(sent, "id")));
    assert_eq!(&bench.get(&path).await.expect(200), sent);
}

#[tokio::test]
async fn the_body_is_shown_byte_for_byte_as_it_was_sent() {
    let bench = Bench::new().await;
    let id = text(&create(&bench, URL).await, "id").to_owned();
    let data = r#"{ "n": 1.10, "big": 12345678901234567890, "a": 1, "a": "é\u00e9" }"#;
    let body = format!(r#"{{"type":"a.b","data": {data} }}"#);
    bench.call("POST", &v1("/events"), body).await.expect(202);
    webhooks(&bench, &id, |sent| sent["status"] == "concluded").await;
    let shown = bench.get(&w3block(&format!("/{id}/webhooks"))).await.text();
    let sent = String::from_utf8(bench.network.sent()[0].body.to_vec()).unwrap();
    assert!(sent.contains(data), "{sent}");
    assert!(shown.contains(&format!(r#""body":{sent}"#)), "{shown}");
}

#[tokio::test]
async fn before_the_first_attempt_there_is_no_result_and_no_header() {
    let bench = Bench::new().await;
    bench.network.fall_silent();
    let id = text(&create(&bench, URL).await, "id").to_owned();
    emit(&bench, "order.created").await;
    let sent = webhooks(&bench, &id, |sent| sent["status"] == "sending").await;
    assert_eq!(sent[0]["lastResult"], Value::Null);
    assert_eq!(sent[0]["data"]["headers"], json!({}));
    assert_eq!(sent[0]["data"]["url"], URL);
    assert_eq!(sent[0]["data"]["body"]["data"], json!({"id": 7}));

    let body = json!({"webhookUrl": "https://moved.example/"});
    bench.patch(&w3block(&format!("/{id}")), &body).await.expect(200);
    let sent = webhooks(&bench, &id, |_| true).await;
    assert_eq!(sent[0]["data"]["url"], "https://moved.example/");
}

#[tokio::test]
async fn a_webhook_that_is_held_has_no_result_before_its_first_attempt() {
    let bench = Bench::new().await;
    bench.network.fall_silent();
    let id = text(&create(&bench, URL).await, "id").to_owned();
    emit(&bench, "order.created").await;
    bench.call("PATCH", &w3block(&format!("/{id}/disable")), "").await.expect(204);
    let sent = webhooks(&bench, &id, |_| true).await;
    assert_eq!((&sent[0]["status"], &sent[0]["lastResult"]), (&json!("sending"), &Value::Null));
    assert_eq!(sent[0]["data"]["headers"], json!({}));
    assert_eq!(sent[0]["configuration"]["disabled"], true);
}

#[tokio::test]
async fn a_failing_webhook_says_when_it_is_tried_again_and_in_the_end_why_not() {
    let bench =
        Bench::answering(vec![no_answer("timeout: no answer in 15 s"), answered(503, "x")]).await;
    let made = bench.post(&w3block(""), &json!({"webhookUrl": URL, "maxRetries": 1})).await;
    let made = made.expect(201);
    let id = text(&made, "id");
    emit(&bench, "order.created").await;

    let sent = webhooks(&bench, id, |sent| sent["errors"] == 1).await;
    let result = &sent[0]["lastResult"];
    assert_eq!((&sent[0]["status"], &result["statusCode"]), (&json!("sending"), &Value::Null));
    assert_eq!(result["error"], "timeout: no answer in 15 s");
    assert_eq!((&result["body"], &result["headers"]), (&json!(""), &json!({})));
    assert_is_time(&result["nextAttemptAt"]);
    assert!(text(result, "nextAttemptAt") > text(result, "at"));

    bench.pass(Duration::from_secs(40));
    let sent = webhooks(&bench, id, |sent| sent["status"] == "failed").await;
    let result = &sent[0]["lastResult"];
    assert_eq!((&sent[0]["errors"], &result["statusCode"]), (&json!(2), &json!(503)));
    assert_eq!((&result["attempt"], &result["nextAttemptAt"]), (&json!(2), &Value::Null));
    assert!(text(result, "error").contains("no retries left"));
}

#[tokio::test]
async fn a_configuration_that_is_gone_is_disabled() {
    let bench = Bench::answering(vec![answered(410, "")]).await;
    let id = text(&create(&bench, URL).await, "id").to_owned();
    emit(&bench, "order.created").await;
    let sent = webhooks(&bench, &id, |sent| sent["status"] == "failed").await;
    assert_eq!(sent[0]["configuration"]["disabled"], true);
}

#[tokio::test]
async fn what_the_native_interface_sets_is_shown_and_sent() {
    let bench = Bench::new().await;
    let body = json!({
        "url": URL, "events": ["order.*"], "format": "w3block", "usePatch": true,
        "updateWithSystemHeaders": true, "addCreatedAtToBody": true,
    });
    let made = bench.post(&v1("/endpoints"), &body).await.expect(201);
    let id = text(&made, "id");
    emit(&bench, "order.created").await;
    let sent = webhooks(&bench, id, |sent| sent["status"] == "concluded").await;
    for flag in ["usePatch", "updateWithSystemHeaders", "addCreatedAtToBody"] {
        assert_eq!(sent[0][flag], true, "{flag}");
    }
    assert_eq!(sent[0]["data"]["headers"]["webhook-attempt"], "1");
    assert_eq!(sent[0]["data"]["headers"]["webhook-delivery"], sent[0]["id"]);
    assert_is_time(&sent[0]["data"]["body"]["createdAt"]);
    assert_eq!(bench.network.sent()[0].method, "PATCH");
}

#[tokio::test]
async fn both_interfaces_show_the_same_endpoints() {
    let bench = Bench::new().await;
    let here = create(&bench, URL).await;
    let body = json!({"url": "https://shop.example/in", "events": ["ORDER_CREATED"]});
    let there = bench.post(&v1("/endpoints"), &body).await.expect(201);

    let native = bench.get(&v1(&format!("/endpoints/{}", text(&here, "id")))).await.expect(200);
    assert_eq!((&native["events"], &native["format"]), (&json!(["*"]), &json!("w3block")));
    assert_eq!(native["secret"], here["signatureKey"]);
    let foreign = bench.get(&w3block(&format!("/{}", text(&there, "id")))).await.expect(200);
    assert_eq!(foreign["webhookUrl"], "https://shop.example/in");
    assert_eq!(foreign["signatureKey"], there["secret"]);
    let list = bench.get(&w3block("")).await.expect(200);
    assert_eq!(list["meta"]["totalItems"], 2);
}

#[tokio::test]
async fn a_list_has_meta_and_absolute_links_that_keep_the_other_parameters() {
    let bench = Bench::new().await;
    for n in 0..25 {
        create(&bench, &format!("https://h{n:02}.example/hooks")).await;
    }
    let page = bench.get(&w3block("")).await.expect(200);
    assert_eq!(fields(&page), ["items", "links", "meta"]);
    let meta = json!({
        "itemCount": 10, "totalItems": 25, "itemsPerPage": 10, "totalPages": 3, "currentPage": 1,
    });
    assert_eq!(page["meta"], meta);
    let base = format!("http://hooks.example{}", w3block(""));
    let links = |first: &str, prev: &str, next: &str, last: &str| {
        let link = |query: &str| {
            if query.is_empty() { String::new() } else { format!("{base}?{query}") }
        };
        json!({"first": link(first), "prev": link(prev), "next": link(next), "last": link(last)})
    };
    assert_eq!(page["links"], links("page=1", "", "page=2", "page=3"));

    let page = bench.get(&w3block("?limit=5&page=2&search=%2Fhooks&x=a%26b+c")).await.expect(200);
    let kept = "limit=5&search=%2Fhooks&x=a%26b+c&page=";
    let at = |n: u32| format!("{kept}{n}");
    assert_eq!(page["links"], links(&at(1), &at(1), &at(3), &at(5)));
    let next = text(&page["links"], "next").strip_prefix("http://hooks.example").unwrap();
    assert_eq!(bench.get(next).await.expect(200)["meta"]["currentPage"], 3);

    let past = bench.get(&w3block("?page=9")).await.expect(200);
    assert_eq!(
        (past["items"].as_array().unwrap().len(), &past["meta"]["itemCount"]),
        (0, &json!(0))
    );
    assert_eq!(past["meta"]["totalItems"], 25);
    assert_eq!(past["links"], links("page=1", "page=3", "", "page=3"));
    let far = bench.get(&w3block("?limit=100&page=92233720368547758")).await.expect(200);
    assert_eq!(far["meta"]["itemCount"], 0);

    let nothing = bench.get(&w3block("?search=nowhere")).await.expect(200);
    assert_eq!(nothing["meta"]["totalPages"], 0);
    let first = "search=nowhere&page=1";
    assert_eq!(nothing["links"], links(first, "", "", ""));
}

#[tokio::test]
async fn links_begin_with_the_public_url_or_the_host_and_never_with_what_a_proxy_says() {
    let bench = Bench::with_public_url("https://hooks.corp.example/fanfare/").await;
    let list = bench.get(&w3block("")).await.expect(200);
    let base = format!("https://hooks.corp.example/fanfare{}?page=1", w3block(""));
    assert_eq!(list["links"]["first"], base);

    let bench = Bench::new().await;
    let token = bench.token(COMPANY, "admin");
    for (host, shown) in [("a.example:8080", "a.example:8080"), ("me@evil.example", "localhost")] {
        let request = Request::get(w3block(""))
            .header("authorization", format!("Bearer {token}"))
            .header("host", host)
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("forwarded", "host=evil.example");
        let list = bench.send(request.body("".into()).unwrap()).await.expect(200);
        assert_eq!(list["links"]["first"], format!("http://{shown}{}?page=1", w3block("")));
    }
}

#[tokio::test]
async fn configurations_are_sorted_by_every_name_in_both_directions() {
    let bench = Bench::new().await;
    let mut made = Vec::new();
    for (url, retries) in
        [("https://b.example/", 1), ("https://c.example/", 0), ("https://a.example/", 2)]
    {
        let body = json!({"webhookUrl": url, "maxRetries": retries});
        made.push(bench.post(&w3block(""), &body).await.expect(201));
        bench.pass(Duration::from_secs(1));
    }
    let id = |n: usize| text(&made[n], "id").to_owned();
    bench.call("PATCH", &w3block(&format!("/{}/disable", id(0))), "").await.expect(204);
    for (sort, order) in [
        ("createdAt", [0, 1, 2]),
        ("updatedAt", [1, 2, 0]),
        ("webhookUrl", [2, 0, 1]),
        ("maxRetries", [1, 0, 2]),
        ("disabled", [1, 2, 0]),
    ] {
        for (way, order) in [("ASC", order), ("DESC", [order[2], order[1], order[0]])] {
            let path = w3block(&format!("?sortBy={sort}&orderBy={way}"));
            let list = bench.get(&path).await.expect(200);
            let ids: Vec<_> =
                list["items"].as_array().unwrap().iter().map(|i| text(i, "id")).collect();
            assert_eq!(ids, order.map(id), "{sort} {way}");
        }
    }
    let newest = bench.get(&w3block("")).await.expect(200);
    assert_eq!(newest["items"][0]["id"], made[2]["id"]);
}

#[tokio::test]
async fn a_search_is_literal_text_in_any_case() {
    let bench = Bench::new().await;
    for url in ["https://a.example/100%25/x", "https://b.example/a_b", "https://c.example/Shop"] {
        create(&bench, url).await;
    }
    for (search, found) in [
        ("", 3),
        ("%25", 1),
        ("%2525", 1),
        ("_", 1),
        ("a_b", 1),
        ("a%5Fb", 1),
        ("shop", 1),
        ("SHOP", 1),
        ("example", 3),
        ("%27%20or%201%3D1--", 0),
        ("*", 0),
        ("%5C", 0),
        ("%22", 0),
        ("%E9", 0),
        ("%F0%9F%8E%89", 0),
    ] {
        let list = bench.get(&w3block(&format!("?search={search}"))).await.expect(200);
        assert_eq!(list["meta"]["totalItems"], found, "{search}");
    }
}

#[tokio::test]
async fn sent_webhooks_are_found_by_type_url_and_id_and_sorted_by_status_and_errors() {
    let bench = Bench::answering(vec![answered(500, ""), answered(410, "")]).await;
    let id = text(&create(&bench, URL).await, "id").to_owned();
    let list = |query: &str| w3block(&format!("/{id}/webhooks?{query}"));
    emit(&bench, "order.created").await;
    webhooks(&bench, &id, |sent| sent["errors"] == 1).await;
    let event = emit(&bench, "payment.received").await;
    webhooks(&bench, &id, |sent| sent["errors"] == 1).await;

    let failed = bench.get(&list("sortBy=status&orderBy=DESC")).await.expect(200);
    assert_eq!(failed["items"][0]["status"], "failed");
    let newest = text(&failed["items"][0], "id");
    let event_id = text(&event, "id");
    for (search, found) in [
        ("order", 1),
        ("ORDER.C", 1),
        ("received", 1),
        ("mydomain", 2),
        ("%25", 0),
        ("_", 0),
        ("order_created", 0),
        (newest, 1),
        (event_id, 1),
        (&event_id[..20], 0),
        (NOBODY, 0),
    ] {
        let page = bench.get(&list(&format!("search={search}"))).await.expect(200);
        assert_eq!(page["meta"]["totalItems"], found, "{search}");
    }
    for sort in ["createdAt", "updatedAt", "status", "errors"] {
        let page = bench.get(&list(&format!("sortBy={sort}&orderBy=ASC"))).await.expect(200);
        assert_eq!(page["meta"]["itemCount"], 2, "{sort}");
    }
    let page = bench.get(&list("limit=1&page=2")).await.expect(200);
    assert_eq!(page["links"]["prev"], format!("http://hooks.example{}", list("limit=1&page=1")));
}

#[tokio::test]
async fn a_company_that_nobody_named_has_no_configurations() {
    let bench = Bench::new().await;
    let token = bench.token(OTHER, "integration");
    let path = format!("/admin/companies/{OTHER}/webhooks-configurations");
    let list = bench.call_as(Some(&token), "GET", &path, "").await.expect(200);
    assert_eq!((&list["items"], &list["meta"]["totalItems"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn the_companys_name_is_shown_once_it_is_set() {
    let bench = Bench::new().await;
    let id = text(&create(&bench, URL).await, "id").to_owned();
    bench.call("PUT", &v1(""), json!({"name": "Acme"}).to_string()).await.expect(200);
    let shown = bench.get(&w3block(&format!("/{id}"))).await.expect(200);
    assert_eq!(shown["company"]["name"], "Acme");
}

#[tokio::test]
async fn a_webhook_is_found_under_its_own_configuration_alone() {
    let bench = Bench::new().await;
    let (one, two) = (create(&bench, URL).await, create(&bench, URL).await);
    emit(&bench, "order.created").await;
    let sent = webhooks(&bench, text(&one, "id"), |_| true).await;
    let under = |configuration: &Value| {
        let id = text(configuration, "id");
        w3block(&format!("/{id}/webhooks/{}", text(&sent[0], "id")))
    };
    bench.get(&under(&one)).await.expect(200);
    assert_eq!(bench.get(&under(&two)).await.error().0, 404);
    assert_eq!(bench.get(&w3block(&format!("/{NOBODY}/webhooks"))).await.error().0, 404);
}
