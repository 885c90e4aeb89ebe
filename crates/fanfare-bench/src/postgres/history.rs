//! Lists of ten million sent webhooks, and what it takes to forget a day of them.

use std::time::{Duration, Instant};

use fanfare::EndpointId;
use fanfare::clock::{Clock, SystemClock};
use uuid::Uuid;

use crate::client::Client;
use crate::history::{ask, search};
use crate::postgres::database::Database;
use crate::report::Report;
use crate::server::{COMPANY, Server};
use crate::{Length, runtime};

const DAYS: u64 = 30;
const DAY_MS: i64 = 86_400_000;
/// With this, nothing that is planted has expired.
const KEEP: [&str; 2] = ["--retention", "365d"];

/// An id of version 7: when, what kind of thing, and which one.
const ID: &str = "
    create function pg_temp.id(at bigint, kind text, number bigint) returns uuid
    immutable language sql as $$
        select (lpad(to_hex(at), 12, '0') || '7' || kind || '8'
                || lpad(to_hex(number), 15, '0'))::uuid $$";

/// A day's moments: the beginning in ms, how many, and the number of the first.
macro_rules! moments {
    () => {
        "(select n + {first} as n, {start} + n * 86400000 / {each} as at
          from generate_series(0::bigint, {each} - 1) as n) m"
    };
}

const EVENTS: &str = concat!(
    "insert into events (company_id, id, type, payload, created_at, deliveries)
     select '{company}', pg_temp.id(at, 'e00', n), 'order.created',
            '{\"id\":\"0197d0a5\",\"total\":\"238.80\",\"currency\":\"EUR\"}', at, 1
     from ",
    moments!()
);
const DELIVERIES: &str = concat!(
    "insert into deliveries (company_id, id, endpoint_id, event_id, state, claimed, fence, attempts,
                             due_at, updated_at, shape, sequence)
     select '{company}', pg_temp.id(at, 'd00', n), e.id, pg_temp.id(at, 'e00', n), 1, false, 1, 1,
            at + 40, at + 40, e.shape, n + 1
     from endpoints e cross join ",
    moments!(),
    " where e.company_id = '{company}' and e.id = '{endpoint}'"
);
const ATTEMPTS: &str = concat!(
    "insert into attempts (company_id, delivery_id, fence, counted, number, started_at, duration_us,
                           url, headers, status, answer_headers, body)
     select '{company}', pg_temp.id(at, 'd00', n), 1, true, 1, at, 40000,
            'https://shop.example/hooks', 'webhook-id: ' || pg_temp.id(at, 'e00', n), 204,
            'date: Sun, 15 Jun 2025 15:06:40 GMT', ''
     from ",
    moments!()
);
const COUNTS: &str = "
    insert into counts (company_id, endpoint_id, waiting, concluded, failed, sequence)
    values ('{company}', '{endpoint}', 0, {all}, 0, {all})
    on conflict (company_id, endpoint_id) do update
    set concluded = excluded.concluded, sequence = excluded.sequence";

/// Plants a month and asks a server for its first page, for page 1,000 and for one delivery, in
/// W3Block's form.
pub(crate) fn ten_million_deliveries(report: &mut Report, length: Length) {
    let deliveries = length.pick(30_000, 10_000_000, 10_000_000);
    let name = |what: &str| format!("PostgreSQL, a list of {deliveries}: {what}");
    let Some(database) = Database::make(report, &name("page 1")) else { return };
    let server = database.serve(&KEEP);
    let endpoint = register(&server);
    let planted = Planted::plant(&database, endpoint, deliveries);
    runtime().block_on(async {
        let mut client = Client::connect(server.address).await;
        for page in [1, 1000] {
            let took = ask(&server, &mut client, (endpoint, page), deliveries).await;
            report.at_most(&name(&format!("page {page}")), ms(took), "ms", 50.0);
        }
        let took = find(&server, &mut client, &planted).await;
        report.at_most(&name("search by id"), ms(took), "ms", 50.0);
    });
}

fn register(server: &Server) -> EndpointId {
    runtime().block_on(async {
        server.register("https://shop.example/hooks").await;
        let mut client = Client::connect(server.address).await;
        let (bearer, path) = (server.bearer(), format!("/v1/companies/{COMPANY}/endpoints"));
        let headers = [("authorization", bearer.as_str())];
        let (_, answer) = client.send("GET", &path, &headers, bytes::Bytes::new()).await;
        let list: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        list["items"][0]["id"].as_str().unwrap().parse().unwrap()
    })
}

/// What was planted for an endpoint.
struct Planted {
    endpoint: EndpointId,
    /// Of its deliveries, one of each day.
    some: Vec<Uuid>,
}

impl Planted {
    /// Concluded deliveries, spread evenly over the days before today.
    fn plant(database: &Database, endpoint: EndpointId, deliveries: u64) -> Self {
        let today = SystemClock.now().0 / DAY_MS * DAY_MS;
        let (each, mut some) = (deliveries / DAYS, Vec::new());
        database.run(ID);
        for day in 0..DAYS {
            let start = today - (DAYS - day) as i64 * DAY_MS;
            let filled = |sql: &str| {
                sql.replace("{company}", COMPANY)
                    .replace("{endpoint}", &endpoint.to_string())
                    .replace("{first}", &(day * each).to_string())
                    .replace("{start}", &start.to_string())
                    .replace("{each}", &each.to_string())
                    .replace("{all}", &deliveries.to_string())
            };
            for sql in [EVENTS, DELIVERIES, ATTEMPTS] {
                database.run(&filled(sql));
            }
            if day == 0 {
                database.run(&filled(COUNTS));
            }
            let first = "select pg_temp.id($1, 'd00', $2)";
            some.push(database.query(first, &[&start, &((day * each) as i64)])[0].get(0));
        }
        database.run("vacuum analyze");
        Planted { endpoint, some }
    }
}

/// The median over deliveries of every day.
async fn find(server: &Server, client: &mut Client, planted: &Planted) -> Duration {
    let mut times = Vec::new();
    for id in &planted.some {
        let start = Instant::now();
        let query = format!("search={id}");
        let list = search(server, client, (planted.endpoint, &query)).await;
        times.push(start.elapsed());
        assert_eq!(list["items"][0]["id"], id.to_string(), "{list}");
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
