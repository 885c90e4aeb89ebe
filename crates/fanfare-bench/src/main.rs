//! What Fanfare costs: durable end-to-end rates as a share of what a bare client reaches against
//! the same receiver in the same run, latencies, and what an idle server takes.
//!
//! `fanfare-bench [--full] [--only NAME]`; prints a table and writes it to `target/bench.json`.

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

mod ceiling;
mod client;
mod embedded;
mod history;
mod idle;
mod latency;
mod load;
mod receiver;
mod report;
mod server;

use report::Report;

/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 1024;
/// Connections that post at the same time.
const CONNECTIONS: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let full = arguments.iter().any(|argument| argument == "--full");
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.and_then(|at| arguments.get(at + 1)).map(String::as_str);
    let wanted = |name: &str| only.is_none_or(|only| only == name);

    let mut report = Report::default();
    let ceiling = ceiling::measure();
    report.rate("ceiling: a bare client, no store", ceiling, None);
    if wanted("one") {
        load::over_http(&mut report, 1, 60_000, 0.30);
    }
    if wanted("twenty") {
        load::over_http(&mut report, 20, 6_000, 0.50);
    }
    if wanted("library") {
        embedded::emit(&mut report, 80_000, 0.45);
    }
    if wanted("latency") {
        latency::at_200_a_second(&mut report);
    }
    if wanted("idle") {
        idle::measure(&mut report);
    }
    if full && wanted("history") {
        history::a_million_deliveries(&mut report);
    }
    report.finish();
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
