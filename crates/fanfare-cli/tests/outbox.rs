//! Exactly what a platform has committed arrives, whatever happens to the server meanwhile: said
//! inside transactions on PostgreSQL, through `psql`, and on SQLite.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is missing"
)]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]
#![allow(clippy::print_stdout, reason = "how often something came twice is worth knowing")]

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::Stdio;

use fanfare_testkit::client::Client;
use fanfare_testkit::dice::Dice;
use fanfare_testkit::full;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::{Arrival, Receiver};
use fanfare_testkit::wait::{PATIENCE, within};
use hyper::Method;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use tokio_postgres::types::Type;

/// Transactions that are open at once.
const WRITERS: usize = 4;

/// How many transactions there are, and how often the server is killed meanwhile.
fn counts() -> (usize, usize) {
    if full() { (10_000, 20) } else { (300, 3) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_half_arrives_from_postgresql() {
    let (url, dir) = (url_of_new_schema(), tempfile::tempdir().unwrap());
    let fanfare = on_postgresql(&dir, &url);
    survive(fanfare, Host::Postgres { url }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_half_arrives_from_another_postgresql() {
    let (url, dir) = (url_of_new_schema(), tempfile::tempdir().unwrap());
    let fanfare = fanfare(&dir).env("FANFARE_OUTBOX_URL", &url);
    survive(fanfare, Host::Postgres { url }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_half_arrives_from_psql() {
    let (url, dir) = (url_of_new_schema(), tempfile::tempdir().unwrap());
    let fanfare = on_postgresql(&dir, &url);
    survive(fanfare, Host::Psql { url }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_half_arrives_from_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.db");
    let fanfare = fanfare(&dir);
    let outbox = fanfare.run(&["outbox-sql", "sqlite"]).await;
    let host = rusqlite::Connection::open(&path).unwrap();
    host.execute_batch("pragma journal_mode = wal").unwrap();
    host.execute_batch(&outbox.stdout).unwrap();
    let fanfare = fanfare.env("FANFARE_OUTBOX_URL", &format!("sqlite:{}", path.display()));
    survive(fanfare, Host::Sqlite { path }).await;
}

fn fanfare(dir: &tempfile::TempDir) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
}

/// With its store there; what a dead process had is given to the next one soon.
fn on_postgresql(dir: &tempfile::TempDir, url: &str) -> Fanfare {
    fanfare(dir).env("FANFARE_DATABASE_URL", url).env("FANFARE_NODE_LEASE", "1s")
}

/// Where transactions take place.
#[derive(Clone)]
enum Host {
    Postgres { url: String },
    Psql { url: String },
    Sqlite { path: PathBuf },
}

/// What a transaction says, and how it ends.
#[derive(Clone)]
struct Transaction {
    texts: Vec<String>,
    commits: bool,
}

/// Kills the server again and again while transactions commit and roll back, and then accounts for
/// every one of them.
async fn survive(fanfare: Fanfare, host: Host) {
    let (transactions, kills) = counts();
    let receiver = Receiver::start().await;
    let mut server = fanfare.serve(&receiver.allowed()).await;
    let shop = fanfare.shop().await;
    register(&server, &shop, &receiver).await;
    host.is_ready().await;
    let mut dice = Dice::new(7);
    let mut ledger = Ledger::default();
    for round in 0..kills {
        let some = ledger.make(transactions.div_ceil(kills), &mut dice);
        let before = receiver.count();
        let saying = tokio::spawn(host.clone().run(shop.company.clone(), some));
        // At another moment each time, sometimes before anything of this round has arrived.
        receiver.wait_for(before + dice.below(40) as u64).await;
        server.process.kill().await;
        receiver.next_life().await;
        server = fanfare.serve(&receiver.allowed()).await;
        ledger.ids.extend(saying.await.expect("transactions"));
        receiver.wait_until(ledger.missing()).await;
        println!("round {round}: {} arrived", receiver.count());
    }
    server.process.terminate().await;
    let ended = server.process.end().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let check = fanfare.run(&["check"]).await;
    assert_eq!(check.code, 0, "{}\n{}", check.stdout, check.stderr);
    ledger.account(&receiver.arrivals());
}

/// Registers the receiver for everything.
async fn register(server: &Server, shop: &Shop, receiver: &Receiver) {
    let body = format!(r#"{{"url":"{}","events":["*"]}}"#, receiver.url());
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let mut client = Client::connect(server.address, &shop.token).await.expect("a connection");
    let (status, endpoint) = client.send(Method::POST, &path, body).await.expect("an answer");
    assert_eq!(status, 201, "{endpoint}");
}

/// Everything that transactions have said.
#[derive(Default)]
struct Ledger {
    committed: HashSet<String>,
    said: usize,
    /// The ids that transactions were told, where they were told any.
    ids: HashMap<String, String>,
}

impl Ledger {
    /// So many transactions, of which about half will roll back.
    fn make(&mut self, count: usize, dice: &mut Dice) -> Vec<Transaction> {
        let mut one = || {
            let commits = dice.below(2) == 0;
            let texts: Vec<String> = (0..1 + dice.below(3))
                .map(|_| {
                    self.said += 1;
                    format!("{{\"n\": {}.10,  \"big\":123456789012345678901234567890 }}", self.said)
                })
                .collect();
            if commits {
                self.committed.extend(texts.iter().cloned());
            }
            Transaction { texts, commits }
        };
        (0..count).map(|_| one()).collect()
    }

    /// Takes what arrives off the list of what was committed, until nothing is missing.
    fn missing(&self) -> impl FnMut(&[Arrival]) -> bool {
        let mut missing = self.committed.clone();
        move |arrivals| {
            for arrival in arrivals {
                missing.remove(text(arrival));
            }
            missing.is_empty()
        }
    }

    /// All that was committed arrived and nothing else did, each under one id, which is the one that
    /// its transaction was told, and more than once only under that.
    fn account(&self, arrivals: &[Arrival]) {
        let mut ids: HashMap<&str, &str> = HashMap::new();
        for arrival in arrivals {
            let text = text(arrival);
            assert!(self.committed.contains(text), "{text} was never committed");
            let id = *ids.entry(text).or_insert(arrival.id());
            assert_eq!(id, arrival.id(), "{text} came under two ids");
            let told = self.ids.get(text);
            assert!(told.is_none_or(|told| told == id), "{text} came as {id}, not as {told:?}");
        }
        assert_eq!(ids.len(), self.committed.len());
        println!(
            "{} events said, {} committed, {} more than once",
            self.said,
            ids.len(),
            arrivals.len() - ids.len()
        );
    }
}

fn text(arrival: &Arrival) -> &str {
    std::str::from_utf8(&arrival.body).expect("a text")
}

impl Host {
    /// Waits until events can be said here: the server makes what is missing.
    async fn is_ready(&self) {
        let (Host::Postgres { url } | Host::Psql { url }) = self else { return };
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let there = format!("select to_regproc('{}.emit') is not null", schema(url));
        let ready =
            async { while !client.query_one(&there, &[]).await.unwrap().get::<_, bool>(0) {} };
        within(PATIENCE, "an outbox that the server makes", ready).await;
    }

    /// Runs transactions, several at once, and returns the ids of what they have said.
    async fn run(self, company: String, mut some: Vec<Transaction>) -> Vec<(String, String)> {
        let share = some.len().div_ceil(WRITERS);
        let mut writers = JoinSet::new();
        while !some.is_empty() {
            let share = some.split_off(some.len().saturating_sub(share));
            let (host, company) = (self.clone(), company.clone());
            writers.spawn(async move {
                match host {
                    Host::Postgres { url } => on_postgres(&url, &company, share).await,
                    Host::Psql { url } => through_psql(&url, &company, share).await,
                    Host::Sqlite { path } => {
                        let on_sqlite = move || on_sqlite(&path, &company, share);
                        tokio::task::spawn_blocking(on_sqlite).await.unwrap()
                    }
                }
            });
        }
        writers.join_all().await.into_iter().flatten().collect()
    }
}

fn schema(url: &str) -> &str {
    url.rsplit_once("%3D").expect("a schema").1
}

async fn on_postgres(url: &str, company: &str, some: Vec<Transaction>) -> Vec<(String, String)> {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let emit = format!("select {}.emit('{company}', 'step', $1::text::json)::text", schema(url));
    let mut ids = Vec::new();
    for Transaction { texts, commits } in some {
        let transaction = client.transaction().await.unwrap();
        for text in texts {
            let said = transaction.query_typed_one(&emit, &[(&text, Type::TEXT)]).await.unwrap();
            ids.push((text, said.get(0)));
        }
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
    }
    ids
}

/// One program for each dozen, as scripts do it.
async fn through_psql(url: &str, company: &str, some: Vec<Transaction>) -> Vec<(String, String)> {
    let mut ids = Vec::new();
    for dozen in some.chunks(12) {
        let mut script = String::new();
        for Transaction { texts, commits } in dozen {
            script.push_str("begin;\n");
            for text in texts {
                let schema = schema(url);
                script.push_str(&format!("select {schema}.emit('{company}', 'step', '{text}');\n"));
            }
            script.push_str(if *commits { "commit;\n" } else { "rollback;\n" });
        }
        let mut psql = tokio::process::Command::new("psql")
            .args([url, "-XAtq", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql, which comes with PostgreSQL's client");
        let mut stdin = psql.stdin.take().expect("its input");
        stdin.write_all(script.as_bytes()).await.unwrap();
        drop(stdin);
        let ended = psql.wait_with_output().await.unwrap();
        assert!(ended.status.success(), "psql ended with {}", ended.status);
        let told = String::from_utf8(ended.stdout).unwrap();
        let texts = dozen.iter().flat_map(|transaction| transaction.texts.iter().cloned());
        ids.extend(texts.zip(told.lines().map(str::to_owned)));
    }
    ids
}

fn on_sqlite(
    path: &std::path::Path,
    company: &str,
    some: Vec<Transaction>,
) -> Vec<(String, String)> {
    let mut host = rusqlite::Connection::open(path).unwrap();
    host.busy_timeout(PATIENCE).unwrap();
    let insert =
        "insert into fanfare_outbox (company, type, data) values (?1, 'step', ?2) returning id";
    let mut ids = Vec::new();
    for Transaction { texts, commits } in some {
        let immediate = rusqlite::TransactionBehavior::Immediate;
        let transaction = host.transaction_with_behavior(immediate).unwrap();
        for text in texts {
            let id = transaction.query_row(insert, [company, &text], |row| row.get(0)).unwrap();
            ids.push((text, id));
        }
        if commits {
            transaction.commit().unwrap();
        } else {
            transaction.rollback().unwrap();
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn several_outboxes_are_named_in_one_setting_and_one_without_rights_blocks_no_other() {
    let (dir, allowed) = (tempfile::tempdir().unwrap(), url_of_new_schema());
    let path = dir.path().join("shop.db");
    let fanfare = fanfare(&dir);
    let host = rusqlite::Connection::open(&path).unwrap();
    host.execute_batch(&fanfare.run(&["outbox-sql", "sqlite"]).await.stdout).unwrap();
    let (client, connection) = tokio_postgres::connect(&allowed, NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = format!("reader_{}", schema(&allowed));
    client.batch_execute(&format!("create role {name} login")).await.unwrap();
    let mut forbidden: url::Url = url_of_new_schema().parse().unwrap();
    forbidden.set_username(&name).unwrap();

    let urls = format!("{forbidden}, sqlite:{},{allowed}", path.display());
    let fanfare = fanfare.env("FANFARE_OUTBOX_URL", &urls);
    let receiver = Receiver::start().await;
    let server = fanfare.serve(&receiver.allowed()).await;
    let shop = fanfare.shop().await;
    register(&server, &shop, &receiver).await;
    let hint = format!("fanfare outbox-sql postgres --schema {}", schema(forbidden.as_str()));
    server.process.logged(&hint).await;
    let say = |text: &str| vec![Transaction { texts: vec![text.to_owned()], commits: true }];
    on_sqlite(&path, &shop.company, say("\"sqlite\""));
    receiver.wait_for(1).await;
    let there = Host::Postgres { url: allowed.clone() };
    there.is_ready().await;
    on_postgres(&allowed, &shop.company, say("\"postgres\"")).await;
    receiver.wait_for(2).await;

    // What an administrator runs then, printed by the command; the comments say what to grant.
    let schema = schema(forbidden.as_str());
    let sql = fanfare.run(&["outbox-sql", "postgres", "--schema", schema]).await;
    client.batch_execute(&sql.stdout).await.unwrap();
    client
        .batch_execute(&format!(
            "grant usage on schema {schema} to {name};
             grant select, update, delete on {schema}.outbox to {name}"
        ))
        .await
        .unwrap();
    let url = allowed.replace(self::schema(&allowed), schema);
    on_postgres(&url, &shop.company, say("\"granted\"")).await;
    receiver.wait_for(3).await;
    let heard: Vec<Vec<u8>> = receiver.arrivals().iter().map(|a| a.body.to_vec()).collect();
    assert_eq!(heard, [&b"\"sqlite\""[..], b"\"postgres\"", b"\"granted\""]);
    server.process.kill().await;
    client.batch_execute(&format!("drop owned by {name}; drop role {name}")).await.unwrap();
}
