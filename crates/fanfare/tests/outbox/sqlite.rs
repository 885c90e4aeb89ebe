use std::ops::Deref;
use std::path::PathBuf;

use fanfare::store::SQLITE_OUTBOX;
use fanfare_testkit::wait::{PATIENCE, within};
use rusqlite::{Connection, params};

use crate::shop::{PAYLOAD, PAYLOAD_MAX, Shop, sqlite_url, too_deep};

/// A shop that keeps its orders, and its outbox, in a SQLite file of its own.
struct Bench {
    shop: Shop,
    path: PathBuf,
}

impl Deref for Bench {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl Bench {
    async fn open(journal: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        make(&path, journal);
        let shop = Shop::embedded(dir, vec![sqlite_url(&path)]).await;
        Bench { shop, path }
    }

    fn connect(&self) -> Connection {
        connect(&self.path)
    }

    /// Says an event and returns its id.
    fn say(&self, host: &Connection, data: &str) -> String {
        self.try_say(host, data, "null, null").unwrap()
    }

    /// The same with an idempotency and an ordering key, as SQL.
    fn try_say(&self, host: &Connection, data: &str, keys: &str) -> rusqlite::Result<String> {
        let insert = format!(
            "insert into fanfare_outbox (company, type, data, idempotency_key, ordering_key)
             values (?1, 'ORDER_CREATED', ?2, {keys}) returning id"
        );
        host.query_row(&insert, params![self.company.to_string(), data], |row| row.get(0))
    }

    /// Waits until nothing is left but what is refused, and returns the reasons.
    async fn settled(&self, host: &Connection) -> Vec<String> {
        let settled = async {
            loop {
                let select = "select refused from fanfare_outbox order by number";
                let mut select = host.prepare_cached(select).unwrap();
                let left = select.query_map([], |row| row.get(0)).unwrap();
                let left: Vec<Option<String>> = left.map(Result::unwrap).collect();
                if left.iter().all(Option::is_some) {
                    return left.into_iter().flatten().collect();
                }
                tokio::task::yield_now().await;
            }
        };
        within(PATIENCE, "an outbox in which nothing waits", settled).await
    }
}

fn connect(path: &std::path::Path) -> Connection {
    let host = Connection::open(path).unwrap();
    host.busy_timeout(PATIENCE).unwrap();
    host
}

fn make(path: &std::path::Path, journal: &str) {
    let host = connect(path);
    host.execute_batch(&format!("pragma journal_mode = {journal}; create table orders (id)"))
        .unwrap();
    host.execute_batch(SQLITE_OUTBOX).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_arrives_once_and_byte_for_byte_and_nothing_else() {
    for journal in ["wal", "delete"] {
        let bench = Bench::open(journal).await;
        let host = bench.connect();
        host.execute_batch("begin; insert into orders values (1)").unwrap();
        bench.say(&host, "\"undone\"");
        host.execute_batch("rollback; begin; insert into orders values (2)").unwrap();
        let id = bench.say(&host, PAYLOAD);
        host.execute_batch("commit").unwrap();
        let arrival = bench.hears(PAYLOAD).await;
        assert_eq!(arrival.id(), id);
        assert_eq!(arrival.header("webhook-event"), "ORDER_CREATED");
        assert!(bench.settled(&host).await.is_empty());
        bench.say(&host, "\"later\"");
        bench.hears("\"later\"").await;
        assert_eq!(bench.heard(), [PAYLOAD, "\"later\""]);
        bench.shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_the_host_blocks_neither_it_nor_the_server() {
    let bench = Bench::open("wal").await;
    let host = bench.connect();
    host.execute_batch("begin immediate").unwrap();
    bench.say(&host, "\"slow\"");
    bench.webhooks.emit("ORDER_CREATED", &"by the API").await.unwrap();
    bench.hears("\"by the API\"").await;
    bench.say(&host, "\"slow, too\"");
    host.execute_batch("commit").unwrap();
    // In whatever order they come.
    bench.hears("\"slow\"").await;
    bench.hears("\"slow, too\"").await;
    assert!(bench.settled(&host).await.is_empty());
    assert_eq!(bench.heard().len(), 3);
    bench.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_transaction_says_stays_in_order_however_much_it_is() {
    let bench = Bench::open("wal").await;
    let host = bench.connect();
    host.execute_batch("begin").unwrap();
    for number in 1..=1100 {
        bench.try_say(&host, &number.to_string(), "null, 'walk'").unwrap();
    }
    host.execute_batch("commit").unwrap();
    bench.hears("1100").await;
    let expected: Vec<String> = (1..=1100).map(|n| n.to_string()).collect();
    assert_eq!(bench.heard(), expected);
    bench.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_judged_at_once_is_refused_at_once() {
    let bench = Bench::open("wal").await;
    let host = bench.connect();
    let company = bench.company.to_string();
    for (values, field) in [
        ("'me', 'a', '1', null, null, null, null", "company: must"),
        ("?1, 'a..b', '1', null, null, null, null", "type: must"),
        ("?1, 'a b', '1', null, null, null, null", "type: must"),
        ("?1, 'a', '{', null, null, null, null", "data: must"),
        ("?1, 'a', x'31', null, null, null, null", "data: must"),
        ("?1, 'a', null, null, null, null, null", "NOT NULL"),
        ("?1, 'a', '1', '', null, null, null", "idempotency_key: must"),
        ("?1, 'a', '1', null, '', null, null", "ordering_key: must"),
        ("?1, 'a', '1', null, null, 'tomorrow', null", "deliver_at: must"),
        ("?1, 'a', '1', null, null, null, '2090-01-01'", "expires_at: must"),
        (
            "?1, 'a', '1', null, null, '2090-01-01T00:00:00Z', '2089-01-01T00:00:00Z'",
            "expires_at: must",
        ),
    ] {
        let insert = format!(
            "insert into fanfare_outbox (company, type, data, idempotency_key, ordering_key,
                 deliver_at, expires_at) select {values} where ?1 is not null"
        );
        let error = host.execute(&insert, [&company]).unwrap_err().to_string();
        assert!(error.contains(field), "{values}: {error}");
    }
    bench.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_accepted_stays_with_its_reason_and_blocks_nothing() {
    let bench = Bench::open("wal").await;
    let host = bench.connect();
    host.execute_batch("begin").unwrap();
    bench.say(&host, &format!("\"{}\"", "x".repeat(PAYLOAD_MAX)));
    bench.say(&host, &too_deep());
    bench.try_say(&host, "\"one\"", "'k', null").unwrap();
    bench.try_say(&host, "\"one\"", "'k', null").unwrap();
    bench.try_say(&host, "\"another\"", "'k', null").unwrap();
    bench.try_say(&host, "\"another\"", "null, char(7)").unwrap();
    // What the table's own checks would not let through.
    host.execute_batch("pragma ignore_check_constraints = on").unwrap();
    let id = bench.say(&host, "{");
    host.execute("update fanfare_outbox set id = x'ff' where id = ?1", [&id]).unwrap();
    bench.say(&host, "{");
    bench.say(&host, "\"last\"");
    host.execute_batch("commit").unwrap();
    bench.hears("\"last\"").await;
    let reasons = bench.settled(&host).await;
    let expected = [
        "FANFARE_MAX_PAYLOAD",
        "data: nests deeper",
        "idempotency_key was used before",
        "ordering_key: must",
        "id: must be a UUID",
        "data: is not JSON",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason}");
    }
    bench.hears("\"one\"").await;
    assert_eq!(bench.heard().len(), 2);
    bench.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_times_mean_what_they_mean_to_the_api() {
    let bench = Bench::open("wal").await;
    let host = bench.connect();
    let id = bench.try_say(&host, "1", "'order 7', 'buyer 3'").unwrap().parse().unwrap();
    bench.hears("1").await;
    let event = bench.event(id).await;
    assert_eq!(event.ordering_key.as_deref(), Some("buyer 3"));
    let insert = "
        insert into fanfare_outbox (company, type, data, deliver_at, expires_at)
        values (?1, 'a', '2', strftime('%Y-%m-%dT%H:%M:%S.123Z', 'now', '+1 day'),
                strftime('%Y-%m-%dT%H:%M:%S.456Z', 'now', '+2 days')) returning id";
    let id: String = host.query_row(insert, [bench.company.to_string()], |row| row.get(0)).unwrap();
    assert!(bench.settled(&host).await.is_empty());
    let event = bench.event(id.parse().unwrap()).await;
    let millis = |at: Option<fanfare::Timestamp>| at.unwrap().0 % 1000;
    assert_eq!((millis(event.deliver_at), millis(event.expires_at)), (123, 456));
    bench.shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_at_the_start_is_drained_once_it_is_there_and_never_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let shop = Shop::embedded(dir, vec![sqlite_url(&path)]).await;
    let bench = Bench { shop, path };
    bench.away(1).await;
    assert!(!bench.path.exists());
    make(&bench.path, "delete");
    bench.say(&bench.connect(), "\"at last\"");
    bench.hears("\"at last\"").await;
    bench.away(0).await;

    // Another one in its place is another file.
    let other = bench.dir.path().join("other.db");
    make(&other, "delete");
    bench.say(&connect(&other), "\"from the other\"");
    std::fs::rename(&other, &bench.path).unwrap();
    bench.hears("\"from the other\"").await;
    bench.shop.close().await;
}
