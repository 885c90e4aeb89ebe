//! Fuzzing with cargo-fuzz, where that is there.

use std::fs;
use std::process::Command;

use crate::process::{Result, probe, root, run};

/// How long a target runs when nothing else is said, in seconds.
const SECONDS: &str = "60";

/// Runs one target, or one after the other. `options` is an optional name and `--seconds N`.
pub(crate) fn run_targets(options: &[&str]) -> Result {
    let (name, seconds) = match *options {
        [] => (None, SECONDS),
        [name] => (Some(name), SECONDS),
        ["--seconds", seconds] => (None, seconds),
        [name, "--seconds", seconds] => (Some(name), seconds),
        _ => return Err("fuzz takes the name of a target and `--seconds N`".into()),
    };
    let known = targets()?;
    if let Some(name) = name
        && !known.iter().any(|target| target == name)
    {
        return Err(format!("there is no target `{name}`; there are {}", known.join(", ")));
    }
    if probe(nightly().args(["fuzz", "--version"])).is_none() {
        return Err("cargo-fuzz or a nightly compiler is not installed, so nothing was run; \
            `cargo install --locked cargo-fuzz` and `rustup toolchain install nightly` bring them. \
            `cargo xtask test` plays the same functions on the stable compiler"
            .into());
    }
    known.iter().filter(|target| name.is_none_or(|name| name == *target)).try_for_each(|target| {
        println!("== {target}");
        fuzz(target, seconds)
    })
}

/// New inputs go below the build's folder: the corpus holds what people chose to keep.
fn fuzz(target: &str, seconds: &str) -> Result {
    let found = root().join("fuzz/target/found").join(target);
    fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    let seeds = root().join("fuzz/corpus").join(target);
    let limit = format!("-max_total_time={seconds}");
    run(nightly().args(["fuzz", "run", target]).arg(found).arg(seeds).args(["--", &limit]))
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stem = |file: fs::DirEntry| Some(file.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.flatten().filter_map(stem).collect();
    names.sort();
    Ok(names)
}

/// Not the cargo that started this: sanitizers need the nightly one.
fn nightly() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("+nightly").current_dir(root()).env_remove("RUSTUP_TOOLCHAIN");
    cargo
}
