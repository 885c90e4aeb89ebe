//! How fast endpoints are sent to.

use std::time::Duration;

use fanfare::Timestamp;
use fanfare::engine::NewEndpoint;
use fanfare::model::{Endpoint, Flow};

use super::outages::outage;
use super::{Bench, Reply, START};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// An endpoint with these wishes.
async fn with_flow(bench: &Bench, flow: Flow) -> Endpoint {
    let url = "https://shop.example/hooks".parse().unwrap();
    let new = NewEndpoint::new(url, vec!["*".parse().unwrap()]);
    let new = NewEndpoint { flow, max_retries: 0, ..new };
    bench.engine().register(bench.company, new).await.unwrap()
}

/// The most that were sent in any second from then on.
fn most_in_a_second(bench: &Bench, from: Timestamp) -> usize {
    let sent = bench.network.sent();
    let sent: Vec<Timestamp> = sent.iter().map(|sent| sent.at).filter(|at| *at >= from).collect();
    let within =
        |at: &Timestamp| sent.iter().filter(|o| *at <= **o && o.since(*at) < SECOND).count();
    sent.iter().map(within).max().unwrap_or(0)
}

/// `429` and `503` with a time speak for the endpoint: nothing at all is sent there until then.
pub async fn retry_after_holds_the_whole_endpoint(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let other = bench.endpoint_at(bench.company, "https://other.example/").await;
    bench.network.answers([Reply::RetryAfter(429, "120".to_owned())]);
    bench.emit().await;
    bench.rest().await;
    let first = bench.network.sent()[0].url().to_owned();
    let (held, free) = if first == shop.url.as_str() { (shop, other) } else { (other, shop) };
    bench.emit_many(bench.company, 30).await;
    assert_eq!(bench.tally(&held).await, [31, 0, 0]);
    assert_eq!(bench.tally(&free).await, [0, 31, 0]);
    let until = START.plus(MINUTE * 2);
    assert_eq!(bench.present(&held).await.health.held_until, Some(until));
    assert_eq!(bench.engine().lane(held.id).held_until, Some(until));

    bench.pass_slowly(MINUTE * 2 - SECOND, SECOND).await;
    bench.restart().await;
    assert_eq!(bench.tally(&held).await, [31, 0, 0], "over a restart too");
    bench.pass_slowly(SECOND * 2, SECOND / 50).await;
    assert!(most_in_a_second(bench, START.plus(MINUTE)) <= 5, "it begins slowly");
    bench.pass_slowly(SECOND * 10, SECOND / 50).await;
    assert_eq!(bench.tally(&held).await, [0, 31, 0]);
    assert_eq!(bench.present(&held).await.health.held_until, None);
}

/// Never more in a second than asked for, and not much less.
pub async fn no_second_sees_more_than_the_rate_limit(bench: &mut Bench) {
    let flow = Flow { rate_limit: Some(10), ..Flow::default() };
    let shop = with_flow(bench, flow).await;
    bench.emit_many(bench.company, 40).await;
    bench.rest().await;
    assert_eq!(bench.network.count(), 1);
    let paced_until = bench.engine().lane(shop.id).paced_until;
    assert_eq!(paced_until, Some(START.plus(Duration::from_millis(99))));
    bench.pass_slowly(SECOND * 2, SECOND / 100).await;
    let claimed = bench.deliveries(&shop).await.iter().filter(|found| found.claimed).count();
    assert!(claimed <= 20, "{claimed} have left the store");
    bench.pass_slowly(SECOND * 2 + SECOND / 10, SECOND / 100).await;
    assert_eq!(bench.tally(&shop).await, [0, 40, 0]);
    assert_eq!(most_in_a_second(bench, START), 10);
}

/// An endpoint that comes back is sent to slowly, then faster, and never above its pace.
pub async fn a_backlog_drains_slowly_at_first_and_never_above_the_pace(bench: &mut Bench) {
    let flow = Flow { rate_limit: Some(25), ..Flow::default() };
    let shop = with_flow(bench, flow).await;
    bench.network.always(Reply::Status(500));
    for at_once in [5, 5] {
        bench.emit_many(bench.company, at_once).await;
        bench.pass_slowly(MINUTE, SECOND / 4).await;
    }
    assert_eq!(bench.present(&shop).await.health.failing_since, Some(START));
    bench.emit_many(bench.company, 200).await;
    bench.rest().await;
    bench.network.always(Reply::Status(200));
    while bench.present(&shop).await.health.failing_since.is_some() {
        bench.pass(SECOND / 50).await;
    }
    let back = bench.network.sent().last().unwrap().at;
    bench.pass_slowly(SECOND * 20, SECOND / 50).await;
    assert_eq!(bench.tally(&shop).await, [0, 200, 10]);
    let sent = bench.network.sent();
    let within = |secs: u32| {
        sent.iter().filter(move |sent| {
            sent.at >= back.plus(SECOND * secs) && sent.at < back.plus(SECOND * (secs + 1))
        })
    };
    let by_second: Vec<usize> = (0..6).map(|secs| within(secs).count()).collect();
    assert!(by_second[0] <= 6 && by_second[1] <= 11 && by_second[2] <= 21, "{by_second:?}");
    assert!(by_second[5] >= 24, "{by_second:?}");
    assert!(most_in_a_second(bench, back) <= 25);
}

/// What an endpoint says goes before what the engine would do.
pub async fn no_more_are_in_flight_than_the_endpoint_says(bench: &mut Bench) {
    let flow = Flow { max_in_flight: Some(3), ..Flow::default() };
    let shop = with_flow(bench, flow).await;
    bench.emit_many(bench.company, 20).await;
    bench.rest().await;
    bench.network.always(Reply::Hang);
    bench.emit_many(bench.company, 20).await;
    for _ in 0..4 {
        bench.rest().await;
        assert!(bench.network.hanging() <= 3);
        bench.network.let_go(&Reply::Status(200));
    }
    bench.network.always(Reply::Status(200));
    bench.rest().await;
    bench.network.let_go(&Reply::Status(200));
    assert_eq!(bench.tally(&shop).await, [0, 40, 0]);
}

/// An outage of one endpoint changes nothing for the others.
pub async fn an_outage_of_one_endpoint_slows_no_other(bench: &mut Bench) {
    let well = bench.endpoint_at(bench.company, "https://well.example/").await;
    let shop = bench.endpoint_of(fanfare::CompanyId::new(START), 0).await;
    outage(bench, &shop).await;
    bench.network.always(Reply::Status(200));
    bench.emit_many(bench.company, 500).await;
    assert_eq!(bench.tally(&well).await, [0, 500, 0]);
}
