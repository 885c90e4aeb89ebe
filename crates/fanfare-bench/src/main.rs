//! What Fanfare costs: durable end-to-end rates as a share of what a bare client reaches against
//! the same receiver in the same run, latencies, what an idle server takes, what hostile receivers
//! cost, and what one bad receiver or one loud company does to the others.
//!
//! `fanfare-bench [--full | --quick] [--only NAME]`; prints a table and writes it to
//! `target/bench.json`. What begins with `pg-` is measured on the PostgreSQL that
//! `FANFARE_BENCH_POSTGRES` names, and left out without it.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports to people")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot go on panics, and it measures by the machine's clock"
)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod attack;
mod ceiling;
mod client;
mod embedded;
mod fleet;
mod half_dead;
mod hanging;
mod harm;
mod history;
mod hostile;
mod idle;
mod latency;
mod load;
mod loud;
mod memory;
mod ordered;
mod paced;
mod postgres;
mod receiver;
mod report;
mod retention;
mod server;
mod times;

use std::process::ExitCode;

use report::Report;

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 1024;
/// Connections that post at the same time.
const CONNECTIONS: usize = 64;

/// What can be asked for with `--only`, in the order in which it is measured.
const SCENARIOS: [(&str, Scenario); 20] = [
    ("ceiling", |report, _| report.note("a bare client, no store", ceiling::measure(), "/s")),
    ("one", |report, length| load::over_http(report, 1, length.pick(2_000, 60_000, 60_000), 0.30)),
    ("twenty", |report, length| load::over_http(report, 20, length.pick(200, 6_000, 6_000), 0.50)),
    ("library", |report, length| embedded::emit(report, length.pick(2_000, 80_000, 80_000), 0.45)),
    ("latency", |report, _| latency::at_200_a_second(report)),
    ("idle", |report, _| idle::measure(report)),
    ("hanging", hanging::one_of_a_hundred),
    ("half-dead", half_dead::half_of_a_hundred),
    ("hostile", harm::of_hostile_receivers),
    ("loud", loud::one_of_two_companies),
    ("ordered", ordered::by_key),
    (HISTORY, history::a_million_deliveries),
    (RETENTION, retention::a_million_deliveries),
    ("pg-one", |report, length| {
        postgres::over_http(report, 1, length.pick(2_000, 40_000, 40_000), 0.12);
    }),
    ("pg-twenty", |report, length| {
        postgres::over_http(report, 20, length.pick(200, 4_000, 4_000), 0.30);
    }),
    ("pg-nodes", postgres::two_nodes),
    ("pg-latency", postgres::at_200_a_second),
    ("pg-wake", postgres::from_a_commit),
    ("pg-snapshot", postgres::held_open),
    (PG_HISTORY, postgres::ten_million_deliveries),
];
const HISTORY: &str = "history";
const RETENTION: &str = "retention";
const PG_HISTORY: &str = "pg-history";
/// These plant millions of deliveries first, which takes minutes.
const FULL_ONLY: [&str; 3] = [HISTORY, RETENTION, PG_HISTORY];

/// Measures one thing and reports it.
type Scenario = fn(&mut Report, Length);

/// How long is measured.
#[derive(Clone, Copy, PartialEq)]
enum Length {
    /// Just long enough to see that every scenario runs; the figures mean nothing.
    Quick,
    Usual,
    /// All of it within 90 minutes.
    Full,
}

impl Length {
    fn pick(self, quick: u64, usual: u64, full: u64) -> u64 {
        match self {
            Length::Quick => quick,
            Length::Usual => usual,
            Length::Full => full,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let [attack::ARGUMENT, url] = words[..] {
        attack::suffer(url);
        return ExitCode::SUCCESS;
    }
    let Some((length, only)) = read(&words) else {
        let names = SCENARIOS.map(|(name, _)| name).join(", ");
        eprintln!("Usage: fanfare-bench [--full | --quick] [--only NAME]\nNames: {names}");
        eprintln!("With --full or --quick only: {}", FULL_ONLY.join(", "));
        return ExitCode::from(2);
    };
    let mut report = Report::default();
    for (name, scenario) in SCENARIOS {
        let long = length == Length::Usual && FULL_ONLY.contains(&name);
        if only.map_or(!long, |only| only == name) {
            scenario(&mut report, length);
        }
    }
    report.finish();
    ExitCode::SUCCESS
}

/// The arguments, if all of them are known. What takes long is refused without `--full`.
fn read<'a>(words: &[&'a str]) -> Option<(Length, Option<&'a str>)> {
    let (mut length, mut only) = (Length::Usual, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--full" => length = Length::Full,
            "--quick" => length = Length::Quick,
            "--only" => only = Some(*words.next()?),
            _ => return None,
        }
    }
    let known = |only| SCENARIOS.iter().any(|(name, _)| *name == only);
    let long = |only| length == Length::Usual && FULL_ONLY.contains(&only);
    only.is_none_or(|only| known(only) && !long(only)).then_some((length, only))
}

/// A payload like an order, of about [`PAYLOAD_BYTES`].
fn payload() -> String {
    let line = r#"{"sku":"TEA-0042","name":"Darjeeling first flush","quantity":3,"price":"19.90"}"#;
    let lines = vec![line; PAYLOAD_BYTES.saturating_sub(120) / (line.len() + 1)].join(",");
    let order = format!(r#"{{"id":"0197d0a5","total":"238.80","currency":"EUR","lines":[{lines}]"#);
    let rest = PAYLOAD_BYTES.saturating_sub(order.len() + 12);
    format!(r#"{order},"note":"{}"}}"#, "n".repeat(rest))
}

/// A runtime like the server's: one worker for each core.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
