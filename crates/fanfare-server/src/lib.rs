//! The HTTP face of the Fanfare engine: who may call, what they may ask for, and how it is answered.

#![forbid(unsafe_code)]

mod access;
mod answer;
mod app;
mod attempt;
pub mod auth;
mod caller;
mod docs;
mod error;
mod form;
// Not shipped: only the tests have it, and cargo-fuzz.
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod openapi;
mod rate;
mod seen;
mod serve;
mod standing;
mod v1;
mod w3block;

pub use app::{App, router};
pub use openapi::openapi;
pub use rate::Rate;
pub use serve::{Doors, serve};
