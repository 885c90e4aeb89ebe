//! One process owns the store. Its claims, pace and order are in memory, so a second one would
//! send what the first is sending.
//!
//! The right is a session lock on a connection of its own: it ends with the process, however that
//! dies, and with [`Owner::release`].

use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;

use crate::store::postgres::connect::{Address, Connection};
use crate::store::postgres::migrate;
use crate::store::{Result, StoreError};

/// The second number tells this lock from any other use of the schema's name.
const LOCK: &str = "select pg_try_advisory_lock(hashtextextended($1, 20240705)), pg_backend_pid()";
/// How long a start waits for the right: that of a process that was killed ends when the server
/// has noticed.
const PATIENCE: &str = "set lock_timeout = '3s'";
const NO_PATIENCE: &str = "set lock_timeout = 0";
const LOCK_IN_TIME: &str = "select pg_advisory_lock(hashtextextended($1, 20240705))";
const UNLOCK: &str = "select pg_advisory_unlock_all()";
/// A server may take a while to notice that a connection of ours was cut off; what it still holds
/// was held by us.
const END_OUR_LAST: &str = "
    select pg_terminate_backend(pid) from pg_stat_activity
    where pid = $1 and application_name = $2";
const NAME_US: &str = "select set_config('application_name', $1, false)";

/// The right to write.
pub(super) struct Owner {
    address: Address,
    /// Tells our own former connection from everybody else's.
    name: String,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// `None` once released.
    connection: Option<Connection>,
    pid: i32,
}

impl Owner {
    /// Becomes the owner.
    pub(super) async fn take(address: Address) -> Result<Self> {
        let name = format!("fanfare owner {}", uuid::Uuid::new_v4());
        let owner = Owner { address, name, held: Mutex::default() };
        let (connection, locked, pid) = owner.lock().await?;
        if !locked && !owner.lock_in_time(&connection).await? {
            let schema = owner.address.schema();
            return Err(StoreError::Taken(format!(
                "another process uses this database (schema {schema}): stop it first"
            )));
        }
        *owner.held.lock().await = Held { connection: Some(connection), pid };
        Ok(owner)
    }

    /// Creates what is missing in the schema.
    pub(super) async fn prepare(&self) -> Result<()> {
        let held = self.held.lock().await;
        let connection = held.connection.as_ref().ok_or_else(closed)?;
        migrate::apply(connection, self.address.schema()).await
    }

    /// Makes sure that the right is still held, taking it again after a lost connection.
    pub(super) async fn hold(&self) -> Result<()> {
        let mut held = self.held.lock().await;
        let connection = held.connection.as_ref().ok_or_else(closed)?;
        if !connection.is_closed() {
            return Ok(());
        }
        let (connection, locked, pid) = self.lock().await?;
        if !locked {
            // Ours, perhaps, from before the connection broke; then it is free the next time.
            connection.query(END_OUR_LAST, &[&held.pid, &self.name]).await?;
            return Err(StoreError::Away("another connection owns the store".to_owned()));
        }
        *held = Held { connection: Some(connection), pid };
        Ok(())
    }

    /// Gives the store free for another process.
    pub(super) async fn release(&self) {
        let Some(connection) = self.held.lock().await.connection.take() else {
            return;
        };
        // If it cannot be said any more, the end of the connection says it.
        drop(connection.query(UNLOCK, &[]).await);
    }

    /// Waits a while for the right. Returns whether it is ours.
    async fn lock_in_time(&self, connection: &Connection) -> Result<bool> {
        connection.batch_execute(PATIENCE).await?;
        let locked = connection.query(LOCK_IN_TIME, &[&self.address.schema()]).await;
        connection.batch_execute(NO_PATIENCE).await?;
        match locked {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn lock(&self) -> Result<(Connection, bool, i32)> {
        let connection = self.address.connect().await?;
        connection.query(NAME_US, &[&self.name]).await?;
        let row = connection.query_one(LOCK, &[&self.address.schema()]).await?;
        let (locked, pid) = (row.try_get(0)?, row.try_get(1)?);
        Ok((connection, locked, pid))
    }
}

fn closed() -> StoreError {
    StoreError::Away("the store is closed".to_owned())
}
