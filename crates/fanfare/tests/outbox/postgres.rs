use std::ops::Deref;

use fanfare::engine::NewEvent;
use fanfare::{Error, EventId};
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::wait::{PATIENCE, within};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use crate::shop::{PAYLOAD, PAYLOAD_MAX, Shop, too_deep};

/// A shop whose outbox is in this schema.
struct Bench {
    shop: Shop,
    url: String,
    schema: String,
}

impl Deref for Bench {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl Bench {
    /// The store's own outbox.
    async fn own() -> Bench {
        let url = url_of_new_schema();
        Bench { shop: Shop::open(&url, Vec::new()).await, schema: schema_of(&url), url }
    }

    /// A connection of the platform's.
    async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// Says an event on this connection.
    async fn say(&self, client: &Client, data: &str) -> EventId {
        self.say_with(client, data, "").await
    }

    /// The same with more arguments.
    async fn say_with(&self, client: &Client, data: &str, more: &str) -> EventId {
        let emit = format!(
            "select {}.emit('{}', 'ORDER_CREATED', $1::text::json{more})",
            self.schema, self.company
        );
        let said = client.query_typed_one(&emit, &[(&data, Type::TEXT)]).await.unwrap();
        EventId::from_uuid(said.get(0))
    }

    /// What is left in the outbox, with the reason why it was refused.
    async fn left(&self, client: &Client) -> Vec<(String, Option<String>)> {
        let select = format!("select data, refused from {}.outbox order by number", self.schema);
        let rows = client.query(&select, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Waits until nothing is left but what is refused, and returns that.
    async fn settled(&self, client: &Client) -> Vec<(String, Option<String>)> {
        let settled = async {
            loop {
                let left = self.left(client).await;
                if left.iter().all(|(_, refused)| refused.is_some()) {
                    return left;
                }
            }
        };
        within(PATIENCE, "an outbox in which nothing waits", settled).await
    }

    /// The end of every test.
    async fn close(self) {
        let client = self.connect().await;
        self.shop.close().await;
        client.batch_execute(&format!("drop schema {} cascade", self.schema)).await.unwrap();
    }
}

fn schema_of(url: &str) -> String {
    url.rsplit_once("%3D").unwrap().1.to_owned()
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_arrives_once_and_byte_for_byte() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    client.batch_execute("begin; create table orders (id int)").await.unwrap();
    let id = bench.say(&client, PAYLOAD).await;
    client.batch_execute("commit").await.unwrap();
    let arrival = bench.hears(PAYLOAD).await;
    assert_eq!(arrival.id(), id.to_string());
    assert_eq!(arrival.header("webhook-event"), "ORDER_CREATED");
    assert!(bench.settled(&client).await.is_empty());
    bench.say(&client, "\"later\"").await;
    bench.hears("\"later\"").await;
    assert_eq!(bench.heard(), [PAYLOAD, "\"later\""]);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_was_never_said() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    client.batch_execute("begin").await.unwrap();
    bench.say(&client, "\"undone\"").await;
    client.batch_execute("savepoint here").await.unwrap();
    client.batch_execute("rollback").await.unwrap();
    client.batch_execute("begin").await.unwrap();
    bench.say(&client, "\"kept\"").await;
    client.batch_execute("savepoint here").await.unwrap();
    bench.say(&client, "\"undone, too\"").await;
    client.batch_execute("rollback to savepoint here; commit").await.unwrap();
    bench.hears("\"kept\"").await;
    bench.say(&client, "\"last\"").await;
    bench.hears("\"last\"").await;
    assert_eq!(bench.heard(), ["\"kept\"", "\"last\""]);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_blocks_nothing_and_is_heard_once_it_commits() {
    let bench = Bench::own().await;
    let (slow, other) = (bench.connect().await, bench.connect().await);
    // It reads and writes, so that it holds a snapshot as well as a number.
    slow.batch_execute("begin isolation level repeatable read").await.unwrap();
    bench.say(&slow, "\"slow\"").await;
    for round in 0..20 {
        let text = format!("\"{round}\"");
        other.batch_execute("begin").await.unwrap();
        bench.say(&other, &text).await;
        other.batch_execute("commit").await.unwrap();
        bench.hears(&text).await;
    }
    bench.webhooks.emit("ORDER_CREATED", &"by the API").await.unwrap();
    bench.hears("\"by the API\"").await;
    assert!(bench.settled(&other).await.is_empty());
    let vacuum = format!("vacuum {}.outbox", bench.schema);
    other.batch_execute(&vacuum).await.unwrap();
    slow.batch_execute("commit").await.unwrap();
    bench.hears("\"slow\"").await;
    assert_eq!(bench.heard().len(), 22);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_become_visible_out_of_order_are_all_heard() {
    let bench = Bench::own().await;
    let mut open = Vec::new();
    for number in 0..12 {
        let client = bench.connect().await;
        client.batch_execute("begin").await.unwrap();
        bench.say(&client, &number.to_string()).await;
        open.push((number, client));
    }
    // The last one first, with one in three rolled back.
    for (number, client) in open.into_iter().rev() {
        let kept = number % 3 != 0;
        client.batch_execute(if kept { "commit" } else { "rollback" }).await.unwrap();
        if kept {
            bench.hears(&number.to_string()).await;
        }
    }
    assert_eq!(bench.heard(), ["11", "10", "8", "7", "5", "4", "2", "1"]);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_transaction_says_stays_in_order_however_much_it_is() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    let many = format!(
        "do $$ begin for n in 1..1100 loop
             perform {}.emit('{}', 'step', to_json(n), ordering_key => 'walk');
         end loop; end $$",
        bench.schema, bench.company
    );
    client.batch_execute(&many).await.unwrap();
    bench.hears("1100").await;
    let expected: Vec<String> = (1..=1100).map(|n| n.to_string()).collect();
    assert_eq!(bench.heard(), expected);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_emit_may_do_nothing_else() {
    let bench = Bench::own().await;
    let (owner, teller) = (bench.connect().await, bench.connect().await);
    let (schema, role) = (&bench.schema, format!("teller_{}", bench.schema));
    owner.batch_execute(&format!("create role {role}")).await.unwrap();
    teller.batch_execute(&format!("set session authorization {role}")).await.unwrap();
    let emit = format!("select {schema}.emit('{}', 'a', '1')", bench.company);
    let denied = |error: tokio_postgres::Error| {
        let said = error.as_db_error().unwrap().message().to_owned();
        assert!(said.contains("permission denied"), "{said}");
    };
    denied(teller.query(&emit, &[]).await.unwrap_err());
    owner.batch_execute(&format!("grant usage on schema {schema} to {role}")).await.unwrap();
    denied(teller.query(&emit, &[]).await.unwrap_err());
    let grant = format!("grant execute on function {schema}.emit to {role}");
    owner.batch_execute(&grant).await.unwrap();
    // Nor may it put a table, and with it a trigger, in the place of the outbox.
    teller.batch_execute("create temporary table outbox (id uuid)").await.unwrap();
    teller.batch_execute("set search_path = pg_temp, public").await.unwrap();
    teller.query(&emit, &[]).await.unwrap();
    bench.hears("1").await;
    for forbidden in [
        "select * from {}.outbox",
        "insert into {}.outbox (id) values (null)",
        "update {}.outbox set refused = ''",
        "delete from {}.outbox",
        "truncate {}.outbox",
        "select * from {}.events",
        "select * from {}.endpoints",
        "update {}.deliveries set state = 1",
        "create table {}.more (id int)",
        "create function {}.more() returns int language sql as 'select 1'",
    ] {
        denied(teller.batch_execute(&forbidden.replace("{}", schema)).await.unwrap_err());
    }
    let gone = format!("drop owned by {role}; drop role {role}");
    drop(teller);
    owner.batch_execute(&gone).await.unwrap();
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_judged_at_once_is_refused_at_once() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    let long = "a".repeat(257);
    for (arguments, field) in [
        ("null, 'a', '1'", "company"),
        ("'{}', null, '1'", "type"),
        ("'{}', '', '1'", "type"),
        ("'{}', 'order created', '1'", "type"),
        ("'{}', 'a..b', '1'", "type"),
        (&format!("'{{}}', '{}', '1'", &long[..129]), "type"),
        ("'{}', 'a', null", "data"),
        ("'{}', 'a', '1', ''", "idempotency_key"),
        (&format!("'{{}}', 'a', '1', '{long}'"), "idempotency_key"),
        ("'{}', 'a', '1', ordering_key => ''", "ordering_key"),
        (&format!("'{{}}', 'a', '1', ordering_key => '{long}'"), "ordering_key"),
        ("'{}', 'a', '1', ordering_key => e'a\\u0085b'", "ordering_key"),
        ("'{}', 'a', '1', deliver_at => now() + interval '367 days'", "deliver_at"),
        ("'{}', 'a', '1', deliver_at => 'infinity'", "deliver_at"),
        ("'{}', 'a', '1', expires_at => now()", "expires_at"),
        ("'{}', 'a', '1', expires_at => 'infinity'", "expires_at"),
        (
            "'{}', 'a', '1', deliver_at => now() + interval '2 h', expires_at => now() + interval \
             '1 h'",
            "expires_at",
        ),
    ] {
        let arguments = arguments.replace("{}", &bench.company.to_string());
        let emit = format!("select {}.emit({arguments})", bench.schema);
        let error = client.batch_execute(&emit).await.unwrap_err();
        let said = error.as_db_error().unwrap().message().to_owned();
        assert!(said.starts_with(&format!("{field}: must ")), "{arguments}: {said}");
    }
    let no_json = format!("select {}.emit('{}', 'a', '{{')", bench.schema, bench.company);
    assert!(client.batch_execute(&no_json).await.is_err());
    assert!(bench.left(&client).await.is_empty());
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_accepted_stays_with_its_reason_and_blocks_nothing() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    let large = format!("\"{}\"", "x".repeat(PAYLOAD_MAX));
    client.batch_execute("begin").await.unwrap();
    bench.say(&client, "\"first\"").await;
    bench.say(&client, &large).await;
    bench.say(&client, &too_deep()).await;
    bench.say_with(&client, "\"one\"", ", idempotency_key => 'k'").await;
    bench.say_with(&client, "\"another\"", ", idempotency_key => 'k'").await;
    bench.say(&client, "\"last\"").await;
    client.batch_execute("commit").await.unwrap();
    bench.hears("\"last\"").await;
    let refused = bench.settled(&client).await;
    let reasons = ["FANFARE_MAX_PAYLOAD", "data: nests deeper", "idempotency_key was used before"];
    assert_eq!(refused.len(), reasons.len());
    for ((_, reason), expected) in refused.iter().zip(reasons) {
        assert!(reason.as_ref().unwrap().contains(expected), "{reason:?}");
    }
    bench.taken(3, 3).await;
    // Whoever has put one right has it looked at again.
    let again = format!(
        "update {}.outbox set data = '[]', refused = null where refused like '%deeper%'",
        bench.schema
    );
    client.batch_execute(&again).await.unwrap();
    // In whatever order they come.
    for text in ["\"first\"", "\"one\"", "[]"] {
        bench.hears(text).await;
    }
    assert_eq!(bench.heard().len(), 4);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_times_mean_what_they_mean_to_the_api() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    let key = ", idempotency_key => 'order 7', ordering_key => 'buyer 3'";
    let first = bench.say_with(&client, "{\"n\": 7}", key).await;
    bench.hears("{\"n\": 7}").await;
    // Said again by the platform, and by the API: the same event.
    bench.say_with(&client, "{\"n\": 7}", key).await;
    assert!(bench.settled(&client).await.is_empty());
    let repeat = NewEvent {
        idempotency_key: Some("order 7".to_owned()),
        ordering_key: Some("buyer 3".to_owned()),
        ..NewEvent::new("order.created".parse().unwrap(), "{\"n\": 7}".into())
    };
    assert_eq!(bench.webhooks.emit_with(repeat).await.unwrap().id, first);
    let event = bench.event(first).await;
    assert_eq!(event.ordering_key.as_deref(), Some("buyer 3"));
    let times = ", deliver_at => '2090-01-01T00:00:00Z'";
    assert!(bench.try_say(&client, times).await.is_err(), "that is too far ahead");

    let soon = ", deliver_at => date_trunc('second', now()) + interval '1 day 123 ms', \
                expires_at => date_trunc('second', now()) + interval '2 days 456 ms'";
    let later = bench.say_with(&client, "1", soon).await;
    assert!(bench.settled(&client).await.is_empty());
    let event = bench.event(later).await;
    let millis = |at: Option<fanfare::Timestamp>| at.unwrap().0 % 1000;
    assert_eq!((millis(event.deliver_at), millis(event.expires_at)), (123, 456));
    assert_eq!(bench.heard().len(), 1);
    bench.close().await;
}

impl Bench {
    async fn try_say(&self, client: &Client, more: &str) -> Result<(), tokio_postgres::Error> {
        let emit = format!("select {}.emit('{}', 'a', '1'{more})", self.schema, self.company);
        client.batch_execute(&emit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hint_may_be_left_out() {
    let bench = Bench::own().await;
    let client = bench.connect().await;
    client.batch_execute("set fanfare.notify = off").await.unwrap();
    client.batch_execute("begin").await.unwrap();
    bench.say(&client, "\"in silence\"").await;
    client.batch_execute("commit").await.unwrap();
    bench.hears("\"in silence\"").await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_program_emits_in_its_own_transaction() {
    let bench = Bench::own().await;
    let mut client = bench.connect().await;
    let event = |data: &'static str| {
        let new = NewEvent::new("order.created".parse().unwrap(), data.into());
        NewEvent { ordering_key: Some("k".to_owned()), ..new }
    };
    let transaction = client.transaction().await.unwrap();
    bench.webhooks.emit_in(&transaction, event("\"undone\"")).await.unwrap();
    transaction.rollback().await.unwrap();

    let transaction = client.transaction().await.unwrap();
    let broken = bench.webhooks.emit_in(&transaction, event("{")).await;
    assert!(matches!(broken, Err(Error::Invalid { .. })), "{broken:?}");
    let large = vec![b'1'; PAYLOAD_MAX + 1];
    let large = NewEvent::new("a".parse().unwrap(), large.into());
    let large = bench.webhooks.emit_in(&transaction, large).await;
    assert!(matches!(large, Err(Error::TooLarge { .. })), "{large:?}");
    // Neither has spoilt the transaction.
    let id = bench.webhooks.emit_in(&transaction, event(PAYLOAD)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(bench.hears(PAYLOAD).await.id(), id.to_string());
    assert_eq!(bench.heard(), [PAYLOAD]);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_elsewhere_is_told_what_is_missing() {
    let shop = Shop::embedded(tempfile::tempdir().unwrap(), Vec::new()).await;
    let client = connect(&url_of_new_schema()).await;
    let event = NewEvent::new("a".parse().unwrap(), "1".into());
    let error = shop.webhooks.emit_in(&client, event).await.unwrap_err();
    assert!(error.to_string().contains("outbox_urls"), "{error}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_of_another_database_is_made_and_drained() {
    let url = url_of_new_schema();
    let schema = schema_of(&url);
    let shop = Shop::embedded(tempfile::tempdir().unwrap(), vec![url.clone()]).await;
    let client = connect(&url).await;
    let bench = Bench { shop, url, schema };
    bench.emit_once_it_is_there(&client).await;
    let event = NewEvent::new("a".parse().unwrap(), PAYLOAD.into());
    bench.webhooks.emit_in(&client, event).await.unwrap();
    bench.hears(PAYLOAD).await;
    assert!(bench.settled(&client).await.is_empty());
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_at_the_start_is_drained_once_it_is_there() {
    let own = url_of_new_schema();
    let database = format!("d_{}", schema_of(&own));
    let mut url: url::Url = own.parse().unwrap();
    url.set_path(&database);
    let shop = Shop::open(&own, vec![url.to_string()]).await;
    shop.away(1).await;
    shop.webhooks.emit("a", &"meanwhile").await.unwrap();
    shop.hears("\"meanwhile\"").await;

    let server = connect(&own).await;
    server.batch_execute(&format!("create database {database}")).await.unwrap();
    let client = connect(url.as_str()).await;
    let bench = Bench { shop, url: own.clone(), schema: schema_of(&own) };
    bench.emit_once_it_is_there(&client).await;
    bench.away(0).await;
    // Cut off, it comes back by itself.
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = $1 and application_name = 'fanfare'";
    server.query(cut, &[&database]).await.unwrap();
    bench.say(&client, "\"after the cut\"").await;
    bench.hears("\"after the cut\"").await;
    drop(client);
    bench.close().await;
    server.batch_execute(&format!("drop database {database} with (force)")).await.unwrap();
}

impl Bench {
    /// Waits until the server has made its outbox, and says something there.
    async fn emit_once_it_is_there(&self, client: &Client) {
        let emit = "to_regprocedure(format('%I.emit(uuid,text,json,text,text,timestamptz,\
                    timestamptz)', $1::text))";
        let made = async {
            while !client
                .query_one(&format!("select {emit} is not null"), &[&self.schema])
                .await
                .unwrap()
                .get::<_, bool>(0)
            {}
        };
        within(PATIENCE, "an outbox that the server makes", made).await;
        self.say(client, "\"from elsewhere\"").await;
        self.hears("\"from elsewhere\"").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_drain_one_outbox_at_once_store_everything_once_and_in_order() {
    let url = url_of_new_schema();
    // The store's own outbox, named once more.
    let again = format!("{url}&application_name=again");
    let shop = Shop::open(&url, vec![again]).await;
    let bench = Bench { shop, schema: schema_of(&url), url };
    let client = bench.connect().await;
    for number in 0..300 {
        bench.say_with(&client, &number.to_string(), ", ordering_key => 'one'").await;
    }
    bench.hears("299").await;
    assert!(bench.settled(&client).await.is_empty());
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(bench.heard(), expected);
    bench.close().await;
}
