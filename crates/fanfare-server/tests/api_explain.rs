//! Where an event is, as a program that speaks HTTP sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use fanfare::model::{EndpointChange, Health};
use serde_json::{Value, json};
use support::{Bench, COMPANY, NOBODY, NOW, OTHER, answered, fields, no_answer, text, v1, w3block};

async fn register(bench: &Bench, body: &Value) -> Value {
    bench.post(&v1("/endpoints"), body).await.expect(201)
}

async fn shop(bench: &Bench) -> Value {
    register(bench, &json!({"url": "https://shop.example/hooks", "events": ["order.*"]})).await
}

async fn emit(bench: &Bench) -> String {
    let event = json!({"type": "order.created", "data": {"id": 7}});
    let path = bench.post(&v1("/events"), &event).await.expect(202);
    v1(&format!("/events/{}", text(&path, "id")))
}

/// The first delivery of an event, once it is as it should be.
async fn delivery(bench: &Bench, event: &str, ready: impl Fn(&Value) -> bool) -> Value {
    let first = |told: &Value| told["endpoints"][0]["deliveries"][0].clone();
    first(&bench.until(event, |told| ready(&first(told))).await)
}

/// Changes how an endpoint does, which no operation does.
async fn set_health(bench: &Bench, endpoint: &Value, health: Health) {
    let change = EndpointChange { health: Some(health), ..EndpointChange::default() };
    let id = text(endpoint, "id").parse().unwrap();
    bench.engine.change_endpoint(COMPANY.parse().unwrap(), id, change).await.unwrap();
}

#[tokio::test]
async fn one_call_tells_everything_that_became_of_an_event() {
    let bench = Bench::answering(vec![no_answer("timeout: 15 s"), answered(200, "thanks")]).await;
    let format = json!({"url": "https://a.example/", "events": ["*"], "format": "standard"});
    let made = register(&bench, &format).await;
    let other =
        register(&bench, &json!({"url": "https://b.example/", "events": ["payment.*"]})).await;
    let event = emit(&bench).await;
    delivery(&bench, &event, |sent| sent["waitingFor"] == "dueTime").await;
    bench.pass(Duration::from_hours(1));
    delivery(&bench, &event, |sent| sent["state"] == "concluded").await;

    let told = bench.get(&event).await.expect(200);
    let names = [
        "createdAt",
        "deliverAt",
        "endpoints",
        "expiresAt",
        "id",
        "next",
        "operational",
        "orderingKey",
        "othersNotMatched",
        "payload",
        "type",
    ];
    assert_eq!(fields(&told), names);
    assert_eq!((&told["type"], &told["payload"]), (&json!("order.created"), &json!({"id": 7})));
    let [heard, unheard] = &told["endpoints"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&heard["id"], &heard["matched"]), (&made["id"], &json!(true)));
    assert_eq!((&unheard["id"], &unheard["matched"]), (&other["id"], &json!(false)));
    assert_eq!(unheard["reason"], "not subscribed to order.created, only to payment.*");
    assert_eq!((&heard["reason"], &unheard["deliveries"]), (&Value::Null, &json!([])));

    let sent = &heard["deliveries"][0];
    assert_eq!((&sent["waitingFor"], &sent["nextAt"]), (&Value::Null, &Value::Null));
    assert!(text(sent, "says").starts_with("was delivered at "), "{sent}");
    assert_eq!((&sent["sequence"], &sent["method"]), (&json!(1), &json!("POST")));
    assert_eq!((&sent["body"]["type"], &sent["body"]["data"]), (&told["type"], &told["payload"]));
    let [first, second] = &sent["attempts"].as_array().unwrap()[..] else { panic!("{sent}") };
    assert_eq!((&first["error"], &first["statusCode"]), (&json!("timeout: 15 s"), &Value::Null));
    assert_eq!((&second["responseBody"], &second["probe"]), (&json!("thanks"), &json!(false)));
    assert_eq!(second["requestHeaders"]["webhook-id"], told["id"]);
    let names = ["connectMs", "dnsMs", "firstByteMs", "queueMs", "tlsMs", "totalMs"];
    assert_eq!(fields(&second["timing"]), names);
    assert_eq!(first["timing"]["queueMs"], 0.0);
    assert!(second["timing"]["queueMs"].as_f64().unwrap() > 1_000_000.0, "{second}");
}

#[tokio::test]
async fn a_delivery_says_what_it_waits_for_and_when_it_goes_next() {
    let bench = Bench::answering(vec![answered(500, "")]).await;
    let made = shop(&bench).await;
    let event = emit(&bench).await;
    let due = delivery(&bench, &event, |sent| sent["waitingFor"] == "dueTime").await;
    assert_eq!(due["state"], "waiting");
    assert!(text(&due, "says").contains(text(&due, "nextAt")), "{due}");

    let path = v1(&format!("/deliveries/{}", text(&due, "id")));
    let hook = w3block(&format!("/{}/webhooks/{}", text(&made, "id"), text(&due, "id")));
    let until = NOW.plus(Duration::from_hours(2));
    set_health(&bench, &made, Health { held_until: Some(until), ..Health::default() }).await;
    let held = delivery(&bench, &event, |sent| sent["waitingFor"] == "hold").await;
    assert_eq!((&held["state"], &held["nextAt"]), (&json!("held"), &json!(until.to_string())));
    let native = bench.get(&path).await.expect(200);
    assert_eq!((&native["state"], &native["heldReason"]), (&json!("held"), &held["says"]));
    assert_eq!(native["nextAttemptAt"], until.to_string());
    let theirs = bench.get(&hook).await.expect(200);
    assert_eq!(theirs["status"], "sending");
    assert_eq!(theirs["lastResult"]["nextAttemptAt"], until.to_string());

    set_health(&bench, &made, Health { failing_since: Some(NOW), ..Health::default() }).await;
    let failing = delivery(&bench, &event, |sent| sent["waitingFor"] == "breaker").await;
    assert!(text(&failing, "says").contains(&format!("has failed since {NOW}")), "{failing}");
    assert_eq!(bench.get(&path).await.expect(200)["heldReason"], failing["says"]);
    assert_eq!(bench.get(&hook).await.expect(200)["status"], "sending");

    let off = v1(&format!("/endpoints/{}/deactivate", text(&made, "id")));
    bench.call("POST", &off, "").await.expect(200);
    let off = delivery(&bench, &event, |sent| sent["waitingFor"] == "disabled").await;
    assert_eq!((&off["state"], &off["nextAt"]), (&json!("held"), &Value::Null));
    let told = bench.get(&event).await.expect(200);
    assert_eq!(told["endpoints"][0]["isActive"], false);
}

#[tokio::test]
async fn what_is_on_the_wire_is_in_flight() {
    let bench = Bench::new().await;
    bench.network.fall_silent();
    shop(&bench).await;
    let event = emit(&bench).await;
    let sent = delivery(&bench, &event, |sent| sent["waitingFor"] == "inFlight").await;
    assert_eq!((&sent["state"], &sent["attempts"]), (&json!("waiting"), &json!([])));
    assert!(text(&sent, "says").starts_with("is being sent since "), "{sent}");
}

#[tokio::test]
async fn more_deliveries_than_a_page_holds_go_on_from_where_it_ended() {
    let bench = Bench::new().await;
    for _ in 0..5 {
        shop(&bench).await;
    }
    let event = emit(&bench).await;
    let (mut seen, mut next) = (0, String::new());
    loop {
        let page = bench.get(&format!("{event}?limit=2{next}")).await.expect(200);
        seen += page["endpoints"].as_array().unwrap().len();
        let Some(after) = page["next"].as_str() else { break };
        next = format!("&after={after}");
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn an_event_that_is_not_there_or_of_another_company_is_not_found() {
    let bench = Bench::new().await;
    shop(&bench).await;
    let event = emit(&bench).await;
    let nobody = bench.get(&v1(&format!("/events/{NOBODY}"))).await.error();
    assert_eq!((nobody.0, nobody.1.as_str()), (404, "event_not_found"));
    let theirs = event.replace(COMPANY, OTHER);
    let reply = bench.call_as(Some(&bench.token(OTHER, "admin")), "GET", &theirs, "").await;
    assert_eq!((reply.error().0, reply.error().1), (404, nobody.1));
    assert_eq!(bench.get(&v1("/events/x")).await.error().0, 400);
}
