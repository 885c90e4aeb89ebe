//! Everything that must hold, in one run.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::interop::{self, Interop};
use crate::postgres::Postgres;
use crate::process::{Result, cargo, probe, run, run_quietly};

/// Checks the format and the code, then runs all tests; `full` ones count longer and show what
/// they print.
pub(crate) fn run_all(full: bool) -> Result {
    let mut steps = Steps::default();
    let result = take(&mut steps, full);
    steps.summarise();
    result
}

/// The quick checks come first, and the tests last: their closing lines say how it went.
fn take(steps: &mut Steps, full: bool) -> Result {
    steps.take("format", || {
        component("fmt", "rustfmt")?;
        run(cargo().args(["fmt", "--all", "--check"]))
    })?;
    let interop = steps.take("foreign clients", interop::prepare)?;
    steps.take("lints", || {
        component("clippy", "clippy")?;
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run(cargo().args(clippy))
    })?;
    let postgres = steps.take("PostgreSQL", Postgres::start)?;
    let bench = Bench { postgres: &postgres, interop: &interop, full };
    steps.take("doc tests", || run(bench.cargo().args(["test", "--workspace", "--doc"])))?;
    steps.take("tests", || run(&mut bench.test_runner()))
}

/// What tests find around them.
struct Bench<'a> {
    postgres: &'a Postgres,
    interop: &'a Interop,
    full: bool,
}

impl Bench<'_> {
    fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo
            .env("FANFARE_TEST_POSTGRES", self.postgres.url())
            .env("FANFARE_TEST_POSTGRES_BIN", self.postgres.binaries())
            .env("FANFARE_TEST_NODE_MODULES", &self.interop.node_modules)
            .env("FANFARE_TEST_PYTHON", &self.interop.python);
        if self.full {
            cargo.env("FANFARE_TEST_FULL", "1");
        }
        cargo
    }

    /// cargo-nextest where it is there, `cargo test` where not.
    fn test_runner(&self) -> Command {
        let mut runner = self.cargo();
        if probe(cargo().args(["nextest", "--version"])).is_some() {
            let profile = if self.full { "full" } else { "default" };
            runner.args(["nextest", "run", "--workspace", "--profile", profile]);
        } else {
            runner.args(["test", "--workspace", "--tests", "--no-fail-fast"]);
            if self.full {
                runner.args(["--", "--show-output"]);
            }
        }
        runner
    }
}

/// Makes sure of a component of the toolchain.
fn component(command: &str, name: &str) -> Result {
    if probe(cargo().args([command, "--version"])).is_some() {
        return Ok(());
    }
    println!("installing {name}");
    run_quietly(Command::new("rustup").args(["component", "add", name])).map_err(|reason| {
        format!("`cargo {command}` is missing; please install {name} and start again ({reason})")
    })
}

/// The steps taken so far, and what they took.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration, bool)>,
}

impl Steps {
    fn take<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        self.done.push((name, start.elapsed(), result.is_ok()));
        result.map_err(|reason| format!("{name}: {reason}"))
    }

    fn summarise(&self) {
        println!();
        for (name, duration, good) in &self.done {
            let word = if *good { "ok" } else { "FAILED" };
            println!("{name:<16}{:>7.1} s  {word}", duration.as_secs_f64());
        }
    }
}
