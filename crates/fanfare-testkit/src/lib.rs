//! Test helpers. Never a dependency of what is shipped.

#![forbid(unsafe_code)]
#![allow(clippy::panic, reason = "what a test needs and does not get ends the test")]

pub mod authority;
pub mod client;
pub mod cluster;
pub mod contract;
pub mod dice;
pub mod fuzz;
pub mod hostile;
pub mod names;
pub mod postgres;
pub mod process;
pub mod producers;
pub mod proxy;
pub mod receiver;
pub mod road;
pub mod wait;

/// Does `cargo xtask test --full` run, so that there is time for long counts?
#[allow(clippy::disallowed_methods, reason = "the environment is how xtask tells the tests")]
pub fn full() -> bool {
    std::env::var_os("FANFARE_TEST_FULL").is_some()
}
