//! What operational endpoints hear.

use std::time::Duration;

use fanfare::engine::NewEndpoint;
use fanfare::model::DeliveryState::Failed;
use fanfare::model::Endpoint;
use fanfare::sign::verify;
use serde_json::Value;

use super::outages::outage;
use super::{Bench, Call, Moment, Reply, Sent};

const WATCH: &str = "https://watch.example/";

/// An operational endpoint of the company.
async fn watcher(bench: &Bench, events: &[&str]) -> Endpoint {
    let events = events.iter().map(|name| name.parse().unwrap()).collect();
    let new = NewEndpoint::new(WATCH.parse().unwrap(), events);
    let new = NewEndpoint { operational: true, max_retries: 0, ..new };
    bench.engine().register(bench.company, new).await.unwrap()
}

fn heard(bench: &Bench) -> Vec<(String, Value, Sent)> {
    let sent = bench.network.sent().into_iter().filter(|sent| sent.url() == WATCH);
    let read = |sent: Sent| {
        let body = serde_json::from_slice(&sent.request.body).unwrap();
        (sent.header("webhook-event"), body, sent)
    };
    sent.map(read).collect()
}

fn shops_answer(bench: &Bench, status: u16) {
    bench.network.otherwise(move |sent| match sent.url() {
        WATCH => Reply::Status(200),
        _ => Reply::Status(status),
    });
}

/// In order, signed, with what there is to know; and nobody else hears of it.
pub async fn operational_endpoints_hear_of_an_outage_and_its_end(bench: &mut Bench) {
    let watch = watcher(bench, &["endpoint.*"]).await;
    let shop = bench.endpoint_of(bench.company, 0).await;
    outage(bench, &shop).await;
    shops_answer(bench, 500);
    bench.emit().await;
    bench.pass(Duration::from_mins(1)).await;
    shops_answer(bench, 200);
    bench.pass(Duration::from_mins(1)).await;
    let heard = heard(bench);
    let types: Vec<&str> = heard.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(types.last(), Some(&"endpoint.recovered"), "{types:?}");
    assert!(types.contains(&"endpoint.failing"), "{types:?}");
    let secret = bench.engine().secret(&watch).unwrap();
    for (_, body, sent) in &heard {
        assert_eq!(body["endpointId"], shop.id.to_string());
        assert_eq!(body["url"], shop.url.as_str());
        assert_eq!(body["failingSince"], "2023-11-14T22:13:20.000Z");
        assert!(body["at"].is_string());
        let at = sent.header("webhook-timestamp").parse().unwrap();
        let signature = sent.header("webhook-signature");
        assert!(verify(&secret, &sent.webhook_id(), at, &sent.request.body, &signature));
    }
    assert_eq!(bench.deliveries(&shop).await.len(), 11, "and nothing operational");
}

/// A delivery that is given up is named.
pub async fn operational_endpoints_hear_of_deliveries_that_are_given_up(bench: &mut Bench) {
    watcher(bench, &["delivery.exhausted"]).await;
    let shop = bench.endpoint_of(bench.company, 0).await;
    shops_answer(bench, 503);
    let event = bench.emit().await;
    bench.rest().await;
    let heard = heard(bench);
    assert_eq!(heard.len(), 1);
    let (name, body, _) = &heard[0];
    assert_eq!(name, "delivery.exhausted");
    assert_eq!(body["endpointId"], shop.id.to_string());
    assert_eq!(body["deliveryId"], bench.only(&shop).await.id.to_string());
    assert_eq!(
        (&body["eventId"], &body["eventType"]),
        (&event.to_string().into(), &"order.created".into())
    );
    assert_eq!(
        (&body["attempts"], &body["reason"]),
        (&1.into(), &"answered 503; no retries left".into())
    );
}

/// Nobody asked for it, so somebody is told.
pub async fn operational_endpoints_hear_of_disabled_endpoints(bench: &mut Bench) {
    watcher(bench, &["*"]).await;
    let shop = bench.endpoint().await;
    shops_answer(bench, 410);
    bench.emit().await;
    bench.rest().await;
    let heard = heard(bench);
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].0, "endpoint.disabled");
    assert_eq!(heard[0].1["endpointId"], shop.id.to_string());
    assert_eq!(heard[0].1["reason"], "the endpoint answered 410 Gone");
    bench.enable(&shop).await;
    bench.disable(&shop).await;
    bench.rest().await;
    assert_eq!(bench.network.count(), 2, "who disables it by hand knows");
}

/// Told in the transaction of what it tells of: a crash loses nothing.
pub async fn what_operational_endpoints_are_to_hear_outlives_a_crash(bench: &mut Bench) {
    let watch = watcher(bench, &["*"]).await;
    bench.endpoint_of(bench.company, 0).await;
    shops_answer(bench, 500);
    bench.store().hold(Moment::After(Call::Record));
    bench.emit().await;
    bench.rest().await;
    bench.crash().await;
    assert_eq!(heard(bench).len(), 1);
    assert_eq!(bench.tally(&watch).await, [0, 1, 0]);
}

/// Word of their own troubles would never end.
pub async fn troubles_of_operational_endpoints_are_not_told(bench: &mut Bench) {
    let watch = watcher(bench, &["*"]).await;
    let shop = bench.endpoint_of(bench.company, 0).await;
    bench.network.always(Reply::Status(500));
    bench.emit().await;
    bench.rest().await;
    assert_eq!(bench.network.count(), 2);
    for endpoint in [&watch, &shop] {
        assert_eq!(bench.standing(endpoint).await, (Failed, 1));
    }
}
