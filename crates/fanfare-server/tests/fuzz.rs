//! The fuzz functions on the stable compiler: over their seeds, and over what is made of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "a full run tells its counts")]

use std::fs;
use std::path::Path;

use fanfare_server::fuzz;
use fanfare_testkit::dice::Dice;

/// What is often between right and wrong.
const WORDS: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    ".",
    "null",
    "true",
    "-",
    "0",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{feff}",
    "é",
    "{\"$gte\":1}",
    "\"$or\":[{}]",
    "18446744073709551616",
    " ",
    "\n",
    "=",
    "alg",
    "none",
    "HS256",
    "roles",
    "superAdmin",
    "Bearer ",
    "*",
    "..",
    "https://127.0.0.1/",
    "%00",
];

#[test]
fn no_text_is_taken_for_a_token() {
    run("jwt", 5_000, 1_000_000, fuzz::jwt);
}

#[test]
fn no_claims_let_in_who_may_not() {
    run("claims", 5_000, 1_000_000, fuzz::claims);
}

#[test]
fn no_body_breaks_the_server() {
    run("bodies", 3_000, 200_000, fuzz::bodies);
}

/// Runs a function over its seeds and so many inputs made of them.
fn run(name: &str, short: usize, whole: usize, target: fn(&[u8])) {
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| target(seed));
    let rounds = if fanfare_testkit::full() { whole } else { short };
    let mut dice = Dice::new(rounds as u64);
    for _ in 0..rounds {
        target(&mutated(&seeds, &mut dice));
    }
    println!("{name}: {} seeds, {rounds} inputs made of them", seeds.len());
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 5, "{} has few seeds", folder.display());
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A seed with some changes.
fn mutated(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(6) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            2 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            3 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            4 if at < bytes.len() => {
                let end = at + 1 + dice.below((bytes.len() - at).min(16));
                bytes.drain(at..end.min(bytes.len()));
            }
            _ => {
                let word = WORDS[dice.below(WORDS.len())].bytes();
                bytes.splice(at..at, word);
            }
        }
    }
    bytes
}
