//! Trouble with the database is survived without a restart: nothing that was accepted is lost,
//! nothing comes twice, order is kept, and meanwhile callers are told at once. Each test has
//! PostgreSQL servers of its own.

#![allow(clippy::expect_used, reason = "a test ends where something is missing")]
#![allow(clippy::print_stdout, reason = "how much was refused and lost is worth knowing")]

mod bench;
mod crashes;
mod encryption;
mod refusals;
