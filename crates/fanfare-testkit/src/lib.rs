//! Test helpers. Never a dependency of what is shipped.

#![allow(clippy::panic, reason = "what a test needs and does not get ends the test")]

pub mod client;
pub mod contract;
pub mod postgres;
pub mod process;
pub mod producers;
pub mod receiver;
pub mod road;
pub mod wait;
