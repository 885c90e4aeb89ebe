//! The project's chores, started as `cargo xtask …`. Needs nothing but Rust to start.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command of the project's own speaks to the person in front of it"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "chores run on the real clock and in the real environment"
)]

mod fuzz;
mod interop;
mod postgres;
mod process;
mod system;
mod test;

use std::process::ExitCode;

use postgres::Postgres;
use process::{Result, cargo, probe, run};

const USAGE: &str = "\
The chores of Fanfare.

Usage: cargo xtask <CHORE>

  test  [--full]  format check, lints, doc tests and all tests, on both stores
                  (--full: long counts, and what the tests print)
  bench [--full]  builds for release, measures on both stores, prints a table
                  (--full: longer, and also what takes long: 90 minutes and 25 GB of disk;
                  --quick: only shows that everything runs; --only NAME: one thing)
  fuzz  [TARGET] [--seconds N]
                  inputs without end for what reads strangers' words, with cargo-fuzz
                  (a minute for each target; what is found stays below fuzz/artifacts)
  deny            licences, advisories and sources of the dependencies, with cargo-deny
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => test::run_all(false),
        ["test", "--full"] => test::run_all(true),
        ["bench", options @ ..] => bench(options),
        ["fuzz", options @ ..] => fuzz::run_targets(options),
        ["deny"] => deny(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(reason) = result {
        eprintln!("xtask: {reason}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// PostgreSQL runs beside what is measured, on the disk that the embedded stores use too, and as it
/// comes: its commits are durable.
fn bench(options: &[&str]) -> Result {
    run(cargo().args(["build", "--release", "--package", "fanfare-cli"]))?;
    let postgres = Postgres::start()?;
    run(cargo()
        .args(["run", "--release", "--package", "fanfare-bench", "--"])
        .args(options)
        .env("FANFARE_BENCH_POSTGRES", postgres.url()))
}

fn deny() -> Result {
    if probe(cargo().args(["deny", "--version"])).is_none() {
        return Err("cargo-deny is not installed, so nothing was checked; \
            `cargo install --locked cargo-deny` brings it"
            .into());
    }
    run(cargo().args(["deny", "--workspace", "--all-features", "check"]))
}
