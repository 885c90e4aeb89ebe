//! What follows from a failure.

use std::time::Duration;

use fanfare::model::DeliveryState::{Concluded, Failed, Waiting};
use fanfare::model::{EndpointChange, Outcome};

use super::{Bench, DELAYS, Reply, START, to_url};

const DAY: Duration = Duration::from_hours(24);
const MOMENT: Duration = Duration::from_millis(1);

/// Never earlier than the schedule says, and at most a tenth later.
pub async fn a_failing_endpoint_is_retried_on_schedule_until_it_recovers(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[500, 503, 404, 500, 204]);
    bench.emit().await;
    for (made, delay) in (1..).zip([DELAYS[0], DELAYS[1], DELAYS[2], DELAYS[2]]) {
        assert_eq!(bench.standing(&shop).await, (Waiting, made));
        let due = bench.only(&shop).await.due_at;
        let wait = due.since(bench.network.sent()[made as usize - 1].at);
        assert!(delay <= wait && wait <= delay.mul_f64(1.1), "{wait:?} after attempt {made}");
        bench.pass(wait - MOMENT).await;
        assert_eq!(bench.standing(&shop).await, (Waiting, made));
        bench.pass(MOMENT).await;
    }
    assert_eq!(bench.standing(&shop).await, (Concluded, 5));
    assert_eq!(bench.only(&shop).await.errors(), 4);
    let metrics = bench.engine().metrics();
    assert_eq!((metrics.retried.get(), metrics.delivered.get()), (4, 1));
    bench.every_request_is_recorded(&[shop]).await;
}

/// Not all retries come at the same moment.
pub async fn retries_are_spread(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.statuses(&[500; 20]);
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    let deliveries = bench.deliveries(&shop).await;
    let mut moments: Vec<_> = deliveries.iter().map(|delivery| delivery.due_at).collect();
    moments.sort();
    moments.dedup();
    assert!(moments.len() > 5, "{moments:?}");
    assert!(moments.iter().all(|due| *due >= START.plus(DELAYS[0])));
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!(bench.tally(&shop).await, [0, 20, 0]);
}

/// The reason says what was wrong last.
pub async fn a_delivery_out_of_retries_fails_with_the_reason(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 2).await;
    bench.network.statuses(&[500, 500]);
    bench.network.always(Reply::Silence("timeout: no answer"));
    bench.emit().await;
    for _ in 0..10 {
        bench.pass(DAY).await;
    }
    assert_eq!(bench.standing(&shop).await, (Failed, 3));
    let failed = bench.only(&shop).await;
    assert_eq!(failed.reason.as_deref(), Some("timeout: no answer; no retries left"));
    assert_eq!((failed.errors(), bench.network.count()), (3, 3));
}

/// With no retries the first attempt is the only one.
pub async fn without_retries_the_first_failure_is_the_last(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    bench.network.always(Reply::Status(500));
    bench.emit().await;
    assert_eq!(bench.standing(&shop).await, (Failed, 1));
    bench.pass(DAY).await;
    assert_eq!(bench.network.count(), 1);
}

/// What an endpoint is now counts, not what it was when the event was emitted.
pub async fn later_attempts_use_the_present_url_and_retries(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 0).await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 3).await;
    bench.rest().await;
    assert_eq!(bench.network.hanging(), 2, "and one waits for its turn");
    let url = "https://new.example/hooks";
    let change = EndpointChange { max_retries: Some(1), ..to_url(url) };
    bench.change(&shop, change).await;
    bench.network.always(Reply::Status(500));
    bench.network.let_go(&Reply::Status(200));
    bench.rest().await;
    let sent = bench.network.sent();
    assert!(sent[..2].iter().all(|sent| sent.url() == shop.url.as_str()));
    assert_eq!(sent[2].url(), url);
    assert_eq!(bench.tally(&shop).await, [1, 2, 0]);

    let newest = "https://newest.example/hooks";
    bench.change(&shop, to_url(newest)).await;
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!(bench.network.sent()[3].url(), newest);
    assert_eq!(bench.tally(&shop).await, [0, 2, 1]);
}

/// Seconds or a date; it lengthens a wait, never beyond a day, and never shortens it.
pub async fn retry_after_is_obeyed_in_both_forms_and_capped(bench: &mut Bench) {
    let date = "Tue, 14 Nov 2023 22:23:20 GMT".to_owned(); // Ten minutes after the start.
    let cases = [
        ("120".to_owned(), Duration::from_mins(2)),
        (date, Duration::from_mins(10)),
        ("999999".to_owned(), DAY),
        ("Fri, 31 Dec 9999 23:59:59 GMT".to_owned(), DAY),
    ];
    let mut shops = Vec::new();
    for (asked, wait) in cases {
        let shop = bench.endpoint_of(fanfare::CompanyId::new(START), 1).await;
        bench.network.answers([Reply::RetryAfter(503, asked)]);
        bench.emit_for(shop.company).await;
        assert_eq!(bench.standing(&shop).await, (Waiting, 1));
        assert_eq!(bench.only(&shop).await.due_at, START.plus(wait));
        shops.push(shop);
    }
    let impatient = bench.endpoint().await;
    bench.network.answers([Reply::RetryAfter(429, "1".to_owned())]);
    bench.emit().await;
    bench.rest().await;
    assert!(bench.only(&impatient).await.due_at >= START.plus(DELAYS[0]));

    bench.pass(DAY - MOMENT).await;
    assert_eq!(bench.network.count(), 8);
    bench.pass(MOMENT).await;
    for shop in &shops {
        assert_eq!(bench.standing(shop).await, (Concluded, 2));
    }
}

/// A redirect is an answer that is no 2xx.
pub async fn a_redirect_is_a_failure(bench: &mut Bench) {
    let shop = bench.endpoint_of(bench.company, 1).await;
    bench.network.statuses(&[302, 308]);
    bench.emit().await;
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!(bench.standing(&shop).await, (Failed, 2));
    let failed = bench.only(&shop).await;
    assert_eq!(failed.reason.as_deref(), Some("answered 308; no retries left"));
}

/// The history has every attempt with what came of it.
pub async fn every_attempt_is_in_the_history(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    bench.network.answers([Reply::Silence("dns: no such name"), Reply::Status(418)]);
    bench.emit().await;
    bench.pass(DELAYS[0] * 2).await;
    bench.pass(DELAYS[1] * 2).await;
    let only = bench.only(&shop).await;
    let attempts = bench.engine().attempts(bench.company, only.id).await.unwrap();
    let statuses: Vec<Option<u16>> = attempts
        .iter()
        .map(|attempt| match &attempt.outcome {
            Outcome::Answered(answer) => Some(answer.status),
            Outcome::NoAnswer { reason } => {
                assert_eq!(reason, "dns: no such name");
                None
            }
        })
        .collect();
    assert_eq!(statuses, [None, Some(418), Some(200)]);
    for (attempt, sent) in attempts.iter().zip(bench.network.sent()) {
        assert_eq!((attempt.started_at, attempt.url.as_str()), (sent.at, sent.url()));
        let signature = sent.header("webhook-signature");
        assert_eq!(attempt.headers.get("webhook-signature"), Some(signature.as_str()));
    }
}
