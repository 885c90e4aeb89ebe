//! A schema of one's own on the PostgreSQL that runs beside the bench, and what that takes.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};
use uuid::Uuid;

use crate::report::Report;
use crate::server::Server;

/// Names the PostgreSQL to measure on: a URL whose user may do anything there.
const URL: &str = "FANFARE_BENCH_POSTGRES";
const ABSENT: &str = "left out: FANFARE_BENCH_POSTGRES names none (`cargo xtask bench` starts one)";
const SHARDS: i64 = 64;
/// How long nodes may take to divide the shards among themselves, and how often is looked.
const DIVIDED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A schema of one's own. Dropped, it is gone.
pub(crate) struct Database {
    /// Where servers find it.
    url: String,
    pub(crate) schema: String,
    /// One thread, which runs only while something is asked.
    runtime: Runtime,
    client: Client,
}

/// What PostgreSQL has used up, over everything in it.
pub(crate) struct Usage {
    /// Processor time of all its processes, where they are this machine's.
    cpu: Option<Duration>,
    wal_bytes: f64,
    /// Tables with their indexes, in this schema.
    table_bytes: f64,
    /// Known a few seconds late, like `syncs`.
    commits: f64,
    /// Flushes of the log. None where this version does not tell.
    syncs: Option<f64>,
}

impl Database {
    /// A new one. Where there is no PostgreSQL to measure on, the report says so.
    pub(crate) fn make(report: &mut Report, name: &str) -> Option<Self> {
        let Ok(server) = std::env::var(URL) else {
            report.absent(name, ABSENT);
            return None;
        };
        let schema = format!("bench_{}", Uuid::new_v4().simple());
        let url = format!("{server}?options=-csearch_path%3D{schema}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(connect(&url));
        let database = Database { url, schema, runtime, client };
        database.run(&format!("create schema {}", database.schema));
        Some(database)
    }

    /// Starts a server on it.
    pub(crate) fn serve(&self, settings: &[&str]) -> Server {
        Server::start_with(&self.with(settings))
    }

    /// Starts this many nodes on it, and waits until each has its share of the shards.
    pub(crate) fn serve_with(&self, nodes: usize) -> Vec<Server> {
        let mut servers = vec![self.serve(&[])];
        for _ in 1..nodes {
            servers.push(servers[0].start_beside(&self.with(&[])));
        }
        if nodes > 1 {
            self.wait_until_divided(nodes);
        }
        servers
    }

    /// These settings, and where the database is.
    pub(crate) fn with<'a>(&'a self, settings: &[&'a str]) -> Vec<&'a str> {
        [&["--database-url", &self.url], settings].concat()
    }

    /// Until each node leases as many of the shards as the others, or one more.
    fn wait_until_divided(&self, nodes: usize) {
        let start = Instant::now();
        let least = SHARDS / nodes as i64;
        while self.shares().iter().filter(|share| **share >= least).count() < nodes {
            assert!(
                start.elapsed() < DIVIDED_WITHIN,
                "the nodes do not share: {:?}",
                self.shares()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// How many shards each node leases.
    fn shares(&self) -> Vec<i64> {
        let sql = "select count(*) from shards where node is not null group by node";
        self.query(sql, &[]).iter().map(|row| row.get(0)).collect()
    }

    /// Another connection, on a runtime of the caller's.
    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// Waits for something of the connection returned by `connect`, on this thread.
    pub(crate) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// Runs statements.
    pub(crate) fn run(&self, sql: &str) {
        self.wait(self.client.batch_execute(sql)).unwrap();
    }

    pub(crate) fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.wait(self.client.query(sql, values)).unwrap()
    }

    pub(crate) fn usage(&self) -> Usage {
        let sql = "
            select (pg_current_wal_insert_lsn() - '0/0')::float8,
                   (select xact_commit::float8 from pg_stat_database
                    where datname = current_database()),
                   (select (to_jsonb(w) ->> 'wal_sync')::float8 from pg_stat_wal w),
                   pg_backend_pid(),
                   (select coalesce(sum(pg_total_relation_size(oid)), 0)::float8 from pg_class
                    where relkind = 'r' and relnamespace = current_schema()::regnamespace)";
        let row = &self.query(sql, &[])[0];
        Usage {
            cpu: cpu_around(row.get(3)),
            wal_bytes: row.get(0),
            table_bytes: row.get(4),
            commits: row.get(1),
            syncs: row.get(2),
        }
    }
}

impl Usage {
    /// Notes what was used since another time, for each of so many deliveries.
    pub(crate) fn note_since(&self, before: &Usage, deliveries: f64, report: &mut Report) {
        if let (Some(now), Some(then)) = (self.cpu, before.cpu) {
            let each = (now - then).as_secs_f64() * 1e6 / deliveries;
            report.note("  CPU of PostgreSQL for a delivery", each, "µs");
        }
        let bytes = (self.wal_bytes - before.wal_bytes) / deliveries;
        report.note("  WAL for a delivery", bytes, "B");
        let bytes = (self.table_bytes - before.table_bytes) / deliveries;
        report.note("  disk for a delivery", bytes, "B");
        let commits = (self.commits - before.commits) * 1000.0 / deliveries;
        report.note("  commits for 1,000 deliveries", commits, "");
        if let (Some(now), Some(then)) = (self.syncs, before.syncs) {
            report.note(
                "  WAL flushes for 1,000 deliveries",
                (now - then) * 1000.0 / deliveries,
                "",
            );
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("drop schema if exists {} cascade", self.schema);
        // Whatever is wrong with it was told already, or goes with the whole server.
        let _ = self.runtime.block_on(self.client.batch_execute(&sql));
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Processor time of a server of which one backend is known: its own, that of the processes it has
/// now, and that of those that have ended.
fn cpu_around(backend: i32) -> Option<Duration> {
    let (name, of_backend) = stat(&backend.to_string())?;
    // A process of that number here may be somebody else's while the server is on another machine.
    if name != "postgres" {
        return None;
    }
    let parent = of_backend.first()?;
    let (_, of_parent) = stat(&parent.to_string())?;
    let mut ticks: u64 = of_parent.get(10..14)?.iter().sum();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some((_, of_child)) = stat(&entry.file_name().to_string_lossy()) else { continue };
        if of_child.first() == Some(parent) {
            ticks += of_child.get(10..12)?.iter().sum::<u64>();
        }
    }
    Some(Duration::from_millis(ticks * 10))
}

/// The name of a process and its numbers in `/proc`, from that of its parent on.
fn stat(pid: &str) -> Option<(String, Vec<u64>)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, fields) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let numbers = fields.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0));
    Some((name.to_owned(), numbers.collect()))
}
