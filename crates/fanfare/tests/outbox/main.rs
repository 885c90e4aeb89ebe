//! Events said inside a platform's own transactions, in PostgreSQL and in SQLite. Needs
//! `FANFARE_TEST_POSTGRES`, as the store's own tests do.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod postgres;
mod shop;
mod sqlite;
