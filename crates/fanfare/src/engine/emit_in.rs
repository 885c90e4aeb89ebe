//! Saying an event inside a transaction of the caller's own.

use tokio_postgres::GenericClient;

use crate::engine::{Engine, NewEvent, check_json};
use crate::error::{Error, Result};
use crate::model::{CompanyId, EventId};
use crate::store::postgres;

impl Engine {
    /// Says an event as part of the transaction that is open on `client`: it is accepted, in the
    /// background, once that is committed, and was never said if it is not. The transaction must be
    /// in the database of a PostgreSQL store, or else in the first PostgreSQL database of
    /// [`Options::outbox_urls`](crate::Options::outbox_urls).
    ///
    /// What the engine has to refuse is refused here, before the transaction knows of it. Its
    /// conflicts with other events are seen only later; then the row stays in the outbox, with the
    /// reason.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::TooLarge`]; [`Error::Setup`] where the database has no outbox
    /// that the transaction may use. The transaction can then only be rolled back.
    pub async fn emit_in(
        &self,
        client: &impl GenericClient,
        company: CompanyId,
        new: NewEvent,
    ) -> Result<EventId> {
        let world = &self.world;
        let statement = world.emit_statement.as_deref().ok_or_else(|| {
            Error::Setup("there is no outbox on PostgreSQL: name one in outbox_urls".to_owned())
        })?;
        if new.id.is_some() {
            let reason = "is chosen by the database; an idempotency key tells a repeat";
            return Err(Error::invalid("id", reason));
        }
        check_json(&new.payload)?;
        let now = world.clock.now();
        new.check(&world.rules, now)?;
        let key = new.idempotency_key.clone();
        let event = new.into_emit(company, None, now).event;
        Ok(postgres::emit_in(client, statement, (&event, key.as_deref())).await?)
    }
}
