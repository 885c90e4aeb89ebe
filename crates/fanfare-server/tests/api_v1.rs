//! The native interface, as a program that speaks HTTP sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use axum::http::Request;
use serde_json::{Value, json};
use support::{
    Bench, COMPANY, NOBODY, OTHER, Reply, answered, assert_is_time, fields, no_answer, text, v1,
};

const URL: &str = "https://shop.example/hooks";

/// Of a delivery in a list.
const DELIVERY_FIELDS: [&str; 19] = [
    "attempts",
    "createdAt",
    "event",
    "eventId",
    "failedReason",
    "heldReason",
    "id",
    "lastAttemptAt",
    "nextAttemptAt",
    "payload",
    "replayId",
    "replayOf",
    "sequence",
    "state",
    "statusCode",
    "success",
    "supersededBy",
    "updatedAt",
    "webhookId",
];

async fn register(bench: &Bench, events: &[&str]) -> Value {
    bench.post(&v1("/endpoints"), &json!({"url": URL, "events": events})).await.expect(201)
}

async fn emit(bench: &Bench, event_type: &str) -> Value {
    let body = json!({"type": event_type, "data": {"id": 7}});
    bench.post(&v1("/events"), &body).await.expect(202)
}

/// The newest delivery of an endpoint, once it is as it should be.
async fn delivery(bench: &Bench, endpoint: &Value, ready: impl Fn(&Value) -> bool) -> Value {
    let path = v1(&format!("/endpoints/{}/deliveries", text(endpoint, "id")));
    let page = bench.until(&path, |page| !page["items"][0].is_null() && ready(&page["items"][0]));
    page.await["items"][0].clone()
}

async fn emit_with_key(bench: &Bench, key: &str, body: &Value) -> Reply {
    let request = Request::post(v1("/events"))
        .header("authorization", format!("Bearer {}", bench.token(COMPANY, "admin")))
        .header("idempotency-key", key);
    bench.send(request.body(body.to_string().into()).unwrap()).await
}

#[tokio::test]
async fn an_event_is_accepted_and_reaches_every_endpoint_that_listens() {
    let bench = Bench::new().await;
    for events in [&["ORDER_CREATED"][..], &["order.*", "order.created"], &["*"], &["payment.*"]] {
        register(&bench, events).await;
    }
    let accepted = emit(&bench, "ORDER_CREATED").await;
    assert_eq!(fields(&accepted), ["createdAt", "deliveries", "id", "type"]);
    assert_eq!((&accepted["type"], &accepted["deliveries"]), (&json!("order.created"), &json!(3)));
    assert_is_time(&accepted["createdAt"]);
    assert_eq!(emit(&bench, "nobody.listens").await["deliveries"], 1);
}

#[tokio::test]
async fn a_payload_is_any_json_and_arrives_byte_for_byte() {
    let bench = Bench::new().await;
    register(&bench, &["*"]).await;
    let payloads = [
        "null",
        "1.10",
        "12345678901234567890",
        r#""\u00e9é""#,
        "[ 1 ,2]",
        r#"{ "a":1,"a":2 }"#,
        "\"\\ud83c\"",
        "-0.0",
        "1E400",
    ];
    for (n, payload) in payloads.iter().enumerate() {
        let body = format!("\n {{ \"data\" :\t{payload} , \"type\":\"a\\u002eb\" }} ");
        bench.call("POST", &v1("/events"), body).await.expect(202);
        while bench.network.sent().len() <= n {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.network.sent()[n].body, payload.as_bytes());
        assert_eq!(bench.network.sent()[n].headers["webhook-event"], "a.b");
    }
}

#[tokio::test]
async fn an_event_told_twice_under_its_own_id_is_one_event() {
    let bench = Bench::new().await;
    register(&bench, &["*"]).await;
    let event = json!({"type": "a.b", "data": 1, "id": NOBODY, "orderingKey": "order-7"});
    let first = bench.post(&v1("/events"), &event).await.expect(202);
    assert_eq!((&first["id"], &first["deliveries"]), (&json!(NOBODY), &json!(1)));
    bench.pass(Duration::from_secs(9));
    assert_eq!(bench.post(&v1("/events"), &event).await.expect(202), first);
    let other = json!({"type": "a.b", "data": 2, "id": NOBODY});
    let (status, code, message) = bench.post(&v1("/events"), &other).await.error();
    assert_eq!((status, code.as_str()), (409, "id_conflict"), "{message}");
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeat_answer_the_same() {
    let bench = Bench::new().await;
    register(&bench, &["*"]).await;
    let event = json!({"type": "a.b", "data": {"n": 1}});
    let first = emit_with_key(&bench, "k-1", &event).await.expect(202);
    bench.pass(Duration::from_secs(9));
    assert_eq!(emit_with_key(&bench, "k-1", &event).await.expect(202), first);
    assert_ne!(emit_with_key(&bench, "k-2", &event).await.expect(202)["id"], first["id"]);
    let other = json!({"type": "a.b", "data": {"n": 2}});
    let (status, code, _) = emit_with_key(&bench, "k-1", &other).await.error();
    assert_eq!((status, code.as_str()), (409, "idempotency_key_conflict"));
}

#[tokio::test]
async fn an_endpoint_is_commercios_webhook_and_more() {
    let bench = Bench::new().await;
    let events =
        ["order.created", "PAYMENT_RECEIVED", "custom.thing", "inventory.*", "order.created"];
    let made = register(&bench, &events).await;
    let names = [
        "addAsymmetricSignature",
        "addCreatedAtToBody",
        "coalesce",
        "coalesceWindowMs",
        "createdAt",
        "disabledAt",
        "disabledReason",
        "events",
        "failingSince",
        "filter",
        "format",
        "headers",
        "heldUntil",
        "id",
        "isActive",
        "maxInFlight",
        "maxRetries",
        "operational",
        "ordering",
        "publicKey",
        "rateLimit",
        "secret",
        "secretRotation",
        "tls",
        "updateWithSystemHeaders",
        "updatedAt",
        "url",
        "usePatch",
    ];
    assert_eq!(fields(&made), names);
    let shown = json!(["ORDER_CREATED", "PAYMENT_RECEIVED", "custom.thing", "inventory.*"]);
    assert_eq!(made["events"], shown);
    assert_eq!((&made["isActive"], &made["format"]), (&json!(true), &json!("payload")));
    assert_eq!((&made["maxRetries"], &made["usePatch"]), (&json!(5), &json!(false)));
    assert!(text(&made, "secret").starts_with("whsec_"));
    assert_eq!((&made["disabledAt"], &made["disabledReason"]), (&Value::Null, &Value::Null));
    let path = v1(&format!("/endpoints/{}", text(&made, "id")));
    assert_eq!(bench.get(&path).await.expect(200), made);
}

#[tokio::test]
async fn an_endpoint_may_bring_its_own_secret_and_shape() {
    let bench = Bench::new().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let body = json!({
        "url": URL, "events": ["*"], "secret": secret, "format": "cloudevents", "maxRetries": 0,
        "usePatch": true, "updateWithSystemHeaders": true, "addCreatedAtToBody": true,
    });
    let made = bench.post(&v1("/endpoints"), &body).await.expect(201);
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name() {
    let bench = Bench::new().await;
    let made = register(&bench, &["order.*"]).await;
    let path = v1(&format!("/endpoints/{}", text(&made, "id")));
    assert_eq!(bench.patch(&path, &json!({})).await.expect(200), made);
    assert_eq!(bench.patch(&path, &json!({"url": null})).await.expect(200), made);

    bench.pass(Duration::from_secs(1));
    let mut expected = made.clone();
    for change in [
        json!({"usePatch": true}),
        json!({"format": "standard", "addCreatedAtToBody": true}),
        json!({"events": ["CUSTOMER_CREATED"], "maxRetries": 20}),
        json!({"url": "https://other.example/"}),
    ] {
        let changed = bench.patch(&path, &change).await.expect(200);
        for (name, value) in change.as_object().unwrap() {
            expected[name] = value.clone();
        }
        assert_ne!(changed["updatedAt"], made["updatedAt"]);
        expected["updatedAt"] = changed["updatedAt"].clone();
        assert_eq!(changed, expected);
    }
    assert_eq!(bench.get(&path).await.expect(200), expected);
}

#[tokio::test]
async fn deactivating_holds_and_activating_goes_on() {
    let bench = Bench::answering(vec![answered(500, "")]).await;
    let made = register(&bench, &["*"]).await;
    let path = v1(&format!("/endpoints/{}", text(&made, "id")));
    emit(&bench, "a.b").await;
    let waiting = delivery(&bench, &made, |sent| sent["attempts"] == 1).await;
    assert_eq!((&waiting["state"], &waiting["statusCode"]), (&json!("waiting"), &json!(500)));
    assert_is_time(&waiting["nextAttemptAt"]);

    for _ in 0..2 {
        let off = bench.call("POST", &format!("{path}/deactivate"), "").await.expect(200);
        assert_eq!(off["isActive"], false);
        assert!(text(&off, "disabledReason").contains("API"));
        assert_is_time(&off["disabledAt"]);
    }
    assert_eq!(emit(&bench, "a.b").await["deliveries"], 0);
    bench.pass(Duration::from_hours(1));
    let held = delivery(&bench, &made, |_| true).await;
    assert_eq!((&held["state"], &held["nextAttemptAt"]), (&json!("held"), &Value::Null));
    assert!(text(&held, "heldReason").contains("disabled through the API"));

    for _ in 0..2 {
        let on = bench.call("POST", &format!("{path}/activate"), "").await.expect(200);
        assert_eq!((&on["isActive"], &on["disabledReason"]), (&json!(true), &Value::Null));
    }
    let sent = delivery(&bench, &made, |sent| sent["success"] == true).await;
    assert_eq!((&sent["state"], &sent["attempts"]), (&json!("concluded"), &json!(2)));
}

#[tokio::test]
async fn a_deleted_endpoint_is_gone_but_its_deliveries_can_be_looked_at() {
    let bench = Bench::answering(vec![no_answer("connect: refused")]).await;
    let made = register(&bench, &["*"]).await;
    let path = v1(&format!("/endpoints/{}", text(&made, "id")));
    emit(&bench, "a.b").await;
    let waiting = delivery(&bench, &made, |sent| sent["attempts"] == 1).await;
    bench.call("DELETE", &path, "").await.expect(204);
    for method in ["GET", "DELETE"] {
        let (status, code, _) = bench.call(method, &path, "").await.error();
        assert_eq!((status, code.as_str()), (404, "endpoint_not_found"), "{method}");
    }
    assert_eq!(bench.get(&format!("{path}/deliveries")).await.error().0, 404);
    assert_eq!(bench.get(&v1("/endpoints")).await.expect(200)["items"], json!([]));

    let path = v1(&format!("/deliveries/{}", text(&waiting, "id")));
    let failed = bench.until(&path, |sent| sent["state"] == "failed").await;
    assert!(text(&failed, "failedReason").contains("deleted"));
    assert_eq!(bench.call("POST", &format!("{path}/replay"), "").await.error().0, 404);
}

#[tokio::test]
async fn a_delivery_is_commercios_and_shows_every_attempt() {
    let bench = Bench::answering(vec![
        no_answer("timeout: 15 s"),
        answered(500, "no"),
        answered(200, "ok"),
    ])
    .await;
    let made = register(&bench, &["*"]).await;
    let event = emit(&bench, "ORDER_CREATED").await;
    for attempt in 1..3 {
        delivery(&bench, &made, |sent| sent["attempts"] == attempt).await;
        bench.pass(Duration::from_hours(1));
    }
    let sent = delivery(&bench, &made, |sent| sent["success"] == true).await;
    assert_eq!(fields(&sent), DELIVERY_FIELDS);
    assert_eq!((&sent["event"], &sent["payload"]), (&json!("ORDER_CREATED"), &json!({"id": 7})));
    assert_eq!((&sent["webhookId"], &sent["eventId"]), (&made["id"], &event["id"]));
    assert_eq!((&sent["statusCode"], &sent["attempts"]), (&json!(200), &json!(3)));

    let path = v1(&format!("/deliveries/{}", text(&sent, "id")));
    let details = bench.get(&path).await.expect(200);
    let history = details["history"].as_array().unwrap();
    let names = [
        "durationMs",
        "error",
        "number",
        "probe",
        "requestHeaders",
        "responseBody",
        "responseHeaders",
        "startedAt",
        "statusCode",
        "timing",
        "url",
    ];
    assert_eq!(fields(&history[0]), names);
    let outcomes = history.iter().map(|one| json!([one["number"], one["statusCode"]]));
    assert_eq!(outcomes.collect::<Value>(), json!([[1, null], [2, 500], [3, 200]]));
    assert_eq!(history[0]["error"], "timeout: 15 s");
    assert_eq!(history[1]["responseBody"], "no");
    assert_eq!(history[2]["requestHeaders"]["webhook-id"], event["id"]);
    let mut summary = details.clone();
    summary.as_object_mut().unwrap().remove("history");
    assert_eq!(summary, sent);
}

#[tokio::test]
async fn before_its_first_attempt_a_delivery_has_no_status() {
    let bench = Bench::new().await;
    bench.network.fall_silent();
    let made = register(&bench, &["*"]).await;
    emit(&bench, "a.b").await;
    let sent = delivery(&bench, &made, |_| true).await;
    for name in ["statusCode", "lastAttemptAt", "nextAttemptAt", "replayOf"] {
        assert_eq!(sent[name], Value::Null, "{name}");
    }
    assert_eq!((&sent["attempts"], &sent["success"]), (&json!(0), &json!(false)));
}

#[tokio::test]
async fn a_replay_is_a_new_delivery_of_the_same_event() {
    let bench = Bench::new().await;
    let made = register(&bench, &["*"]).await;
    emit(&bench, "a.b").await;
    let old = delivery(&bench, &made, |sent| sent["success"] == true).await;
    let path = v1(&format!("/deliveries/{}", text(&old, "id")));
    let new = bench.call("POST", &format!("{path}/replay"), "").await.expect(202);
    assert_eq!((&new["replayOf"], &new["eventId"]), (&old["id"], &old["eventId"]));
    assert_ne!(new["id"], old["id"]);
    delivery(&bench, &made, |sent| sent["id"] == new["id"] && sent["success"] == true).await;
    let ids: Vec<_> =
        bench.network.sent().iter().map(|r| r.headers["webhook-id"].clone()).collect();
    assert_eq!(ids, [text(&old, "eventId"), text(&old, "eventId")]);
    let mut details = bench.get(&path).await.expect(200);
    details.as_object_mut().unwrap().remove("history");
    assert_eq!(details, old);
}

#[tokio::test]
async fn lists_go_on_from_where_the_page_before_ended() {
    let bench = Bench::new().await;
    let made = register(&bench, &["*"]).await;
    for _ in 0..5 {
        register(&bench, &["x"]).await;
        emit(&bench, "a.b").await;
    }
    let deliveries = format!("/endpoints/{}/deliveries", text(&made, "id"));
    for (path, count) in [(v1("/endpoints"), 6), (v1(&deliveries), 5)] {
        let whole = bench.get(&path).await.expect(200);
        assert_eq!(fields(&whole), ["items", "next"]);
        assert_eq!(whole["next"], Value::Null);
        let id = |item: &Value| text(item, "id").to_owned();
        let all: Vec<_> = whole["items"].as_array().unwrap().iter().map(id).collect();
        assert!(all.len() == count && all.is_sorted_by(|a, b| a > b), "{all:?}");

        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = bench.get(&format!("{path}?limit=2{next}")).await.expect(200);
            seen.extend(page["items"].as_array().unwrap().iter().map(id));
            let Some(after) = page["next"].as_str() else { break };
            next = format!("&after={after}");
        }
        assert_eq!(seen, all);
        let past = bench.get(&format!("{path}?after={}", all[count - 1])).await.expect(200);
        assert_eq!(past, json!({"items": [], "next": null}));
    }
}

#[tokio::test]
async fn a_company_exists_from_the_first_write_that_names_it() {
    let bench = Bench::new().await;
    let (status, code, _) = bench.get(&v1("")).await.error();
    assert_eq!((status, code.as_str()), (404, "company_not_found"));
    emit(&bench, "a.b").await;
    let made = bench.get(&v1("")).await.expect(200);
    assert_eq!(fields(&made), ["createdAt", "id", "name", "updatedAt"]);
    assert_eq!((&made["id"], &made["name"]), (&json!(COMPANY), &json!("")));
    bench.pass(Duration::from_secs(1));
    for name in ["Acme Ünlimited 🎉", ""] {
        let body = json!({"name": name}).to_string();
        let named = bench.call("PUT", &v1(""), body).await.expect(200);
        assert_eq!((&named["name"], &named["createdAt"]), (&json!(name), &made["createdAt"]));
        assert_eq!(bench.get(&v1("")).await.expect(200), named);
    }
}

#[tokio::test]
async fn while_the_server_drains_nothing_new_is_taken_and_the_rest_can_be_read() {
    let bench = Bench::new().await;
    let made = register(&bench, &["*"]).await;
    emit(&bench, "a.b").await;
    let old = delivery(&bench, &made, |sent| sent["success"] == true).await;
    bench.get("/readyz").await.expect(200);
    bench.engine.drain();
    let replay = v1(&format!("/deliveries/{}/replay", text(&old, "id")));
    for (method, path) in [("POST", &*v1("/events")), ("POST", &replay), ("GET", "/readyz")] {
        let reply = bench.call(method, path, json!({"type": "a", "data": 1}).to_string()).await;
        assert_eq!((reply.error().0, &*reply.error().1), (503, "draining"), "{path}");
        assert!(reply.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    bench.get("/healthz").await.expect(200);
    bench.get(&v1("/endpoints")).await.expect(200);
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503_that_says_so() {
    let bench = Bench::new().await;
    bench.engine.stop(std::future::ready(())).await;
    for path in [v1("/endpoints"), support::w3block("")] {
        let reply = bench.get(&path).await;
        assert_eq!((reply.error().0, &*reply.error().1), (503, "store_unavailable"));
        assert!(!reply.header("retry-after").is_empty());
    }
}

#[tokio::test]
async fn another_companys_things_are_as_if_they_did_not_exist() {
    let bench = Bench::new().await;
    let made = register(&bench, &["*"]).await;
    emit(&bench, "a.b").await;
    let sent = delivery(&bench, &made, |_| true).await;
    let token = bench.token(OTHER, "admin");
    for path in [
        format!("endpoints/{}", text(&made, "id")),
        format!("endpoints/{}/deliveries", text(&made, "id")),
        format!("deliveries/{}", text(&sent, "id")),
    ] {
        let theirs = format!("/v1/companies/{OTHER}/{path}");
        let reply = bench.call_as(Some(&token), "GET", &theirs, "").await;
        let nobody = theirs.replace(text(&made, "id"), NOBODY).replace(text(&sent, "id"), NOBODY);
        let unknown = bench.call_as(Some(&token), "GET", &nobody, "").await;
        assert_eq!((reply.error().0, reply.error().1), (404, unknown.error().1), "{path}");
    }
    let token = bench.token(OTHER, "superAdmin");
    let path = v1(&format!("/endpoints/{}", text(&made, "id")));
    bench.call_as(Some(&token), "GET", &path, "").await.expect(200);
}

#[tokio::test]
async fn metrics_count_and_say_how_old_the_oldest_due_delivery_is() {
    let bench = Bench::new().await;
    register(&bench, &["*"]).await;
    emit(&bench, "a.b").await;
    let reply = bench.call_as(None, "GET", "/metrics", "").await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
    let text = reply.text();
    for line in ["fanfare_events_accepted_total 1", "fanfare_oldest_due_seconds ", "# EOF"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("whsec_"));
}

/// A replay, once it has ended.
async fn ended(bench: &Bench, replay: &Value) -> Value {
    let path = v1(&format!("/replays/{}", text(replay, "id")));
    bench.until(&path, |replay| replay["state"] == "finished").await
}

#[tokio::test]
async fn what_failed_is_replayed_once_and_marked() {
    let bench = Bench::answering(vec![answered(500, "no")]).await;
    let body = json!({"url": URL, "events": ["*"], "maxRetries": 0});
    let made = bench.post(&v1("/endpoints"), &body).await.expect(201);
    emit(&bench, "order.created").await;
    let old = delivery(&bench, &made, |sent| sent["state"] == "failed").await;
    let selection = json!({"failedSince": "2025-07-05T00:00:00.000Z", "type": "order.*",
        "endpointId": made["id"]});
    let mut dry_run = selection.clone();
    dry_run["dryRun"] = json!(true);
    let count = bench.post(&v1("/replays"), &dry_run).await.expect(200);
    assert_eq!(count, json!({"count": 1, "skipped": 0, "capped": false}));

    let replay = bench.post(&v1("/replays"), &selection).await.expect(202);
    assert_eq!(replay["selection"], selection);
    assert_eq!((&replay["state"], &replay["perSecond"]), (&json!("running"), &Value::Null));
    let again = bench.post(&v1("/replays"), &selection).await.expect(202);
    assert_eq!(again["id"], replay["id"]);
    let replay = ended(&bench, &replay).await;
    let numbers = [&replay["found"], &replay["made"], &replay["skipped"]];
    assert_eq!(numbers, [&json!(1), &json!(1), &json!(0)]);
    assert_is_time(&replay["finishedAt"]);
    let new = delivery(&bench, &made, |sent| sent["success"] == true).await;
    assert_eq!((&new["replayOf"], &new["replayId"]), (&old["id"], &replay["id"]));
    let count = bench.post(&v1("/replays"), &dry_run).await.expect(200);
    assert_eq!(count["count"], 0);
    let path = v1(&format!("/replays/{}/cancel", text(&replay, "id")));
    assert_eq!(bench.call("POST", &path, "").await.expect(200), replay, "it had ended");
}

#[tokio::test]
async fn an_endpoint_registered_later_is_told_and_replays_are_listed() {
    let bench = Bench::new().await;
    emit(&bench, "order.created").await;
    let made = register(&bench, &["order.*"]).await;
    let selection = json!({"type": "*", "from": "2025-07-05T00:00:00Z", "endpointId": made["id"],
        "perSecond": 5});
    let first = bench.post(&v1("/replays"), &selection).await.expect(202);
    ended(&bench, &first).await;
    let told = delivery(&bench, &made, |sent| sent["success"] == true).await;
    assert_eq!((&told["replayOf"], &told["replayId"]), (&Value::Null, &first["id"]));
    let second = json!({"deliveries": [told["id"], NOBODY, told["id"]]});
    let second = bench.post(&v1("/replays"), &second).await.expect(202);
    let second = ended(&bench, &second).await;
    assert_eq!(second["selection"], json!({"deliveries": [told["id"], NOBODY]}));
    assert_eq!((&second["made"], &second["skipped"]), (&json!(1), &json!(1)));
    let page = bench.get(&v1("/replays?limit=1")).await.expect(200);
    assert_eq!((&page["items"], &page["next"]), (&json!([second]), &second["id"]));
    let after = format!("/replays?after={}", text(&second, "id"));
    let page = bench.get(&v1(&after)).await.expect(200);
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&first["id"], &Value::Null));
}

#[tokio::test]
async fn a_replays_key_is_for_one_call() {
    let bench = Bench::new().await;
    let call = async |body: Value| {
        let request = Request::post(v1("/replays"))
            .header("authorization", format!("Bearer {}", bench.token(COMPANY, "admin")))
            .header("idempotency-key", "k");
        bench.send(request.body(body.to_string().into()).unwrap()).await
    };
    let body = json!({"failedSince": "2025-07-05T00:00:00Z"});
    let first = call(body.clone()).await.expect(202);
    bench.pass(Duration::from_hours(1));
    assert_eq!(call(body).await.expect(202)["id"], first["id"]);
    let (status, code, _) = call(json!({"deliveries": [NOBODY]})).await.error();
    assert_eq!((status, code.as_str()), (409, "idempotency_key_conflict"));
}

#[tokio::test]
async fn a_replay_that_cannot_be_says_what_is_wrong() {
    let bench = Bench::new().await;
    let time = "2025-07-05T00:00:00Z";
    let many = vec![NOBODY; 1001];
    for (body, named) in [
        (json!({}), "failedSince"),
        (json!({"deliveries": [NOBODY], "from": time}), "one of"),
        (json!({"deliveries": []}), "deliveries: must name 1 to 1000"),
        (json!({"deliveries": many}), "deliveries: must name 1 to 1000"),
        (json!({"deliveries": ["7"]}), "deliveries[0]: must be a UUID"),
        (json!({"deliveries": [NOBODY], "type": "*"}), "type: does not go with `deliveries`"),
        (json!({"failedSince": "yesterday"}), "failedSince: must be a time such as"),
        (json!({"failedSince": time, "to": time}), "to: does not go with `failedSince`"),
        (json!({"from": time}), "type: is required"),
        (json!({"type": "*", "from": time, "to": time}), "to: must be later"),
        (json!({"failedSince": time, "perSecond": 0}), "perSecond: must be a whole number"),
        (json!({"failedSince": time, "since": time}), "since: is not a field here"),
    ] {
        let (status, _, message) = bench.post(&v1("/replays"), &body).await.error();
        assert!(status == 400 && message.contains(named), "{body}: {message}");
    }
    let unknown = json!({"failedSince": time, "endpointId": NOBODY});
    let (status, code, _) = bench.post(&v1("/replays"), &unknown).await.error();
    assert_eq!((status, code.as_str()), (404, "endpoint_not_found"));
}

#[tokio::test]
async fn a_batch_is_accepted_whole_and_in_its_order() {
    let bench = Bench::new().await;
    register(&bench, &["a.*"]).await;
    let events = json!({"events": [
        {"type": "a.b", "data": {"n": 1.10}, "id": NOBODY, "orderingKey": "k"},
        {"type": "c", "data": null, "deliverAt": "2000-01-01T00:00:00Z"},
        {"type": "ORDER_CREATED", "data": [], "expiresAt": "2999-01-01T00:00:00Z"},
    ]});
    let accepted = bench.post(&v1("/events/batch"), &events).await.expect(202);
    let items = accepted["items"].as_array().unwrap();
    let types: Vec<_> = items.iter().map(|item| (&item["type"], &item["deliveries"])).collect();
    let (one, none) = (json!(1), json!(0));
    let expected = [(&json!("a.b"), &one), (&json!("c"), &none), (&json!("order.created"), &none)];
    assert_eq!(types, expected);
    assert_eq!((fields(&accepted), &items[0]["id"]), (vec!["items"], &json!(NOBODY)));
    assert_eq!(fields(&items[1]), ["createdAt", "deliveries", "id", "type"]);
    let again = bench.post(&v1("/events/batch"), &json!({"events": [events["events"][0]]})).await;
    assert_eq!(again.expect(202)["items"][0], items[0]);
}

#[tokio::test]
async fn what_waits_is_cancelled_over_the_interface() {
    let bench = Bench::new().await;
    let made = register(&bench, &["*"]).await;
    let tomorrow = json!({"type": "a", "data": 1, "deliverAt": "2025-07-06T00:00:00Z"});
    let event = bench.post(&v1("/events"), &tomorrow).await.expect(202);
    let waits = delivery(&bench, &made, |sent| sent["state"] == "waiting").await;
    assert_eq!(waits["nextAttemptAt"], "2025-07-06T00:00:00.000Z");
    let path = v1(&format!("/events/{}/cancel", text(&event, "id")));
    let came = bench.post(&path, &json!({})).await.expect(200);
    assert_eq!(came, json!({"cancelled": 1, "inFlight": 0}));
    let came = bench.post(&path, &json!({})).await.expect(200);
    assert_eq!(came, json!({"cancelled": 0, "inFlight": 0}));
    let path = v1(&format!("/deliveries/{}/cancel", text(&waits, "id")));
    let (status, code, _) = bench.post(&path, &json!({})).await.error();
    assert_eq!((status, code.as_str()), (409, "delivery_final"));
    let path = v1(&format!("/deliveries/{}", text(&waits, "id")));
    let ended = bench.get(&path).await.expect(200);
    assert_eq!((&ended["state"], &ended["failedReason"]), (&json!("failed"), &json!("cancelled")));
    let unknown = bench.post(&v1(&format!("/events/{NOBODY}/cancel")), &json!({})).await.error();
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "event_not_found"));

    bench.post(&v1("/events"), &tomorrow).await.expect(202);
    let waits = delivery(&bench, &made, |sent| sent["state"] == "waiting").await;
    let path = v1(&format!("/deliveries/{}/cancel", text(&waits, "id")));
    let ended = bench.post(&path, &json!({})).await.expect(200);
    assert_eq!((&ended["state"], &ended["sequence"]), (&json!("failed"), &json!(2)));
}
