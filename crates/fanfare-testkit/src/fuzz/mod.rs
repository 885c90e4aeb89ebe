//! Input that nobody would write: the corpora below `fuzz/corpus/` and what can be made of them.
//! The same functions run here on the stable compiler and, for hours, under cargo-fuzz.

mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

pub use targets::{address, filter, headers, retry_after, url};

use crate::dice::Dice;
use crate::full;

/// The longest input that is made.
const BYTES_MAX: usize = 4096;

/// Plays a corpus, then so many inputs made of it, and fifty times as many in a full run. What a
/// function panics at is printed, so that it can be put into the corpus.
///
/// # Panics
///
/// When `target` does, or when there is no such corpus.
pub fn play(corpus: &str, times: usize, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(corpus);
    let Ok(files) = fs::read_dir(&folder) else { panic!("{} is not there", folder.display()) };
    let mut seeds: Vec<_> = files.flatten().map(|file| file.path()).collect();
    seeds.sort();
    let seeds: Vec<Vec<u8>> = seeds.iter().flat_map(fs::read).collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    for seed in &seeds {
        give(&target, seed);
    }
    let mut dice = Dice::new(seeds.len() as u64);
    for _ in 0..if full() { times * 50 } else { times } {
        give(&target, &bred(&mut dice, &seeds));
    }
}

fn give(target: &impl Fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        #[allow(clippy::print_stderr, reason = "a test says what it failed at")]
        {
            eprintln!("the input was b\"{}\"", input.escape_ascii());
        }
        resume_unwind(panic);
    }
}

/// A child of the corpus: pieces of one or two seeds, a few bytes changed.
fn bred(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut child = pick(dice, seeds).clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(child.len() + 1);
        let until = at + dice.below(child.len() - at + 1).min(8);
        match dice.below(7) {
            0 => drop(child.drain(at..until)),
            1 => child.insert(at, u8::try_from(dice.below(256)).unwrap_or_default()),
            2 => drop(child.splice(at..at, pick(dice, TELLING).bytes())),
            3 => {
                if let Some(byte) = child.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            4 => {
                let again = child[at..until].to_vec();
                drop(child.splice(at..at, again));
            }
            5 => {
                let other = pick(dice, seeds);
                let (from, length) = (dice.below(other.len() + 1), dice.below(16));
                drop(child.splice(at..until, other[from..].iter().take(length).copied()));
            }
            _ => {
                let other = pick(dice, seeds);
                child.truncate(at);
                child.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
        }
    }
    child.truncate(BYTES_MAX);
    child
}

/// What means something to one parser or another.
#[rustfmt::skip]
const TELLING: &[&str] = &[
    "\0", "\t", "\r\n", "\n", " ", "\"", "#", "%00", "&", "'", "*", "+", ",", "-", ".", "..", "/", "0", "0x7f",
    "1e999", "18446744073709551616", ":", ";", "=", "?", "@", "[", "\\", "\\u0000", "\\ud800", "]", "_", "`",
    "{", "{\"$gte\":1}", "\"$or\":[{}]", "|", "}", "~", "\u{7f}", "\u{feff}", "é", "%6c", "xn--", "127.0.0.1",
    "https://127.0.0.1/", "[::1]", "null", "true", "alg", "none", "HS256", "roles", "superAdmin", "Bearer ",
];

fn pick<'a, T>(dice: &mut Dice, from: &'a [T]) -> &'a T {
    &from[dice.below(from.len())]
}
