//! Lists of ten million sent webhooks, and what it takes to drop a day of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare::clock::{Clock, SystemClock};
use fanfare::{EndpointId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::history::{ask, count, search};
use crate::paced::{Emitted, Load};
use crate::postgres::database::Database;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::{COMPANY, Post, Server, events_of, numbered_payload};
use crate::times::accept_times;
use crate::{Length, runtime};

const DAYS: u64 = 30;
const DAY_MS: i64 = 86_400_000;
/// With this, nothing that is planted has expired; with the other, the first day.
const KEEP: [&str; 2] = ["--retention", "365d"];
const DROP: [&str; 2] = ["--retention", "29d"];
/// Who emits meanwhile; the history is another company's.
const EMITTING: &str = "0197d0a5-7b5d-7c39-8cfa-00000000000b";
const RATE: u32 = 100;
/// How long the node that was killed may keep its lease, and the next one take to see to history.
const DROPPED_WITHIN: Duration = Duration::from_secs(180);

/// The day's partitions, as the store's upkeep makes them ahead.
const PARTITIONS: [(&str, &str); 3] =
    [("deliveries", "deliveries_final"), ("attempts", "attempts"), ("events", "events")];

/// Notes how long after the beginning of its transaction each table is gone.
const NOTE_DROPS: &str = "
    create table {schema}.drops (ms float8 not null);
    create function {schema}.note_drop() returns event_trigger language plpgsql as $$
    begin
        insert into {schema}.drops
        select extract(epoch from clock_timestamp() - transaction_timestamp()) * 1000
        from pg_event_trigger_dropped_objects()
        where object_type = 'table' and schema_name = '{schema}';
    end $$;
    create event trigger {schema} on sql_drop execute function {schema}.note_drop()";

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
    values ($1, $2, 0, $3, 0, $3)
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
    drop_a_day(report, (&database, server), &planted);
}

/// Lets the first day expire while another company emits.
fn drop_a_day(report: &mut Report, (database, server): (&Database, Server), planted: &Planted) {
    let receiver = Receiver::start_noting();
    let heard = json!({ "url": format!("http://{}/hooks", receiver.address), "events": ["*"] });
    runtime().block_on(server.register_for(EMITTING, &heard));
    database.run(&NOTE_DROPS.replace("{schema}", &database.schema));
    let server = server.kill_and_restart(&database.with(&DROP));

    let over = Arc::new(AtomicBool::new(false));
    let load = Load::new(RATE, 2 * DROPPED_WITHIN.as_secs(), post).until(&over);
    let (emitted, left): (Vec<Emitted>, u64) = std::thread::scope(|scope| {
        let emitting = scope.spawn(|| load.run(&server));
        let left = runtime().block_on(wait_until_dropped(&server, planted));
        over.store(true, Ordering::Relaxed);
        (emitting.join().unwrap(), left)
    });
    database.run(&format!("drop event trigger {}", database.schema));
    let name = |what: &str| format!("PostgreSQL, a day of {} dropped: {what}", planted.each);
    report.at_most(&name("too many or few left"), planted.off(left), "", 0.0);
    let gone: Option<f64> = database.query("select max(ms) from drops", &[])[0].get(0);
    match gone {
        Some(gone) => report.at_most(&name("its transaction"), gone, "ms", 100.0),
        None => report.absent(&name("its transaction"), "no table was dropped"),
    }
    report.note(&name("longest accept meanwhile"), accept_times(&emitted, 100), "ms");
}

/// Looks each second. Returns how many deliveries are left in the end.
async fn wait_until_dropped(server: &Server, planted: &Planted) -> u64 {
    let mut client = Client::connect(server.address).await;
    let start = Instant::now();
    loop {
        let left = count(server, &mut client, planted.endpoint).await;
        if planted.off(left) == 0.0 || start.elapsed() > DROPPED_WITHIN {
            return left;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn post(number: u64) -> Post {
    let body = format!(r#"{{"type":"ORDER_CREATED","data":{}}}"#, numbered_payload(number));
    Post { path: events_of(EMITTING), body: body.into() }
}

fn register(server: &Server) -> EndpointId {
    runtime().block_on(async {
        server.register("https://shop.example/hooks").await;
        let mut client = Client::connect(server.address).await;
        let (bearer, path) = (server.bearer(), format!("/v1/companies/{COMPANY}/endpoints"));
        let headers = [("authorization", bearer.as_str())];
        let (_, answer) = client.send("GET", &path, &headers, bytes::Bytes::new()).await;
        let list: Value = serde_json::from_slice(&answer).unwrap();
        list["items"][0]["id"].as_str().unwrap().parse().unwrap()
    })
}

/// What was planted for an endpoint.
struct Planted {
    endpoint: EndpointId,
    /// Deliveries on each day.
    each: u64,
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
            let (start, first) = (today - (DAYS - day) as i64 * DAY_MS, day * each);
            make_day(database, start);
            let filled = |sql: &str| {
                sql.replace("{company}", COMPANY)
                    .replace("{endpoint}", &endpoint.to_string())
                    .replace("{first}", &first.to_string())
                    .replace("{start}", &start.to_string())
                    .replace("{each}", &each.to_string())
            };
            for sql in [EVENTS, DELIVERIES, ATTEMPTS] {
                database.run(&filled(sql));
            }
            let id = "select pg_temp.id($1, 'd00', $2)";
            some.push(database.query(id, &[&start, &(first as i64)])[0].get(0));
        }
        let (company, all): (Uuid, _) = (COMPANY.parse().unwrap(), deliveries as i64);
        database.query(COUNTS, &[&company, &endpoint.uuid(), &all]);
        database.run("vacuum analyze");
        Planted { endpoint, each, some }
    }

    /// How far a number of deliveries is from what is left without the first day.
    fn off(&self, left: u64) -> f64 {
        (self.each * (DAYS - 1)).abs_diff(left) as f64
    }
}

fn make_day(database: &Database, start: i64) {
    let bound = |at: i64| format!("'{at:012x}{}'", "0".repeat(20));
    let (day, end) = (Timestamp(start).to_string().replace('-', ""), start + DAY_MS);
    for (name, parent) in PARTITIONS {
        database.run(&format!(
            "create table {name}_d{} partition of {parent} for values from ({}) to ({})",
            &day[..8],
            bound(start),
            bound(end),
        ));
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
