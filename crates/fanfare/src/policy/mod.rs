//! Decisions. Pure functions of their arguments: no I/O, no clock, no randomness.

pub mod breaker;
pub mod lanes;
pub mod pace;
pub mod retry;
pub mod standing;
