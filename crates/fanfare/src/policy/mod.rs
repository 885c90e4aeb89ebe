//! Decisions. Pure functions of their arguments: no I/O, no clock, no randomness.

pub mod lanes;
pub mod retry;
