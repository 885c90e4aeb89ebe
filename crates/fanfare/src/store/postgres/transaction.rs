//! A transaction whose statements are sent without waiting for each other's answers.

use std::ops::Deref;

use crate::store::postgres::pool::Object;

/// Begins a transaction that does not wait for the disk at its end: nothing of it may be told before
/// the disk is known to have it ([`super::Database::durable`]), or it may be lost without harm.
pub(super) const BEGIN_AHEAD: &str = "begin; set local synchronous_commit = off";

/// A connection with an open transaction. Dropped before its end, also by a caller who went away,
/// the connection is closed instead of given back, and the server rolls back.
pub(super) struct Transaction {
    client: Option<Object>,
}

impl Transaction {
    /// Wraps a connection on which `begin` is about to be sent.
    pub(super) fn on(client: Object) -> Self {
        Transaction { client: Some(client) }
    }

    /// Gives the connection back, once `commit` or `rollback` was answered.
    pub(super) fn ended(mut self) {
        drop(self.client.take());
    }
}

impl Deref for Transaction {
    type Target = Object;

    #[expect(clippy::expect_used, reason = "only `ended` takes it, and consumes the transaction")]
    fn deref(&self) -> &Object {
        self.client.as_ref().expect("an open transaction")
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client.close();
        }
    }
}
