//! Keeping every other process away for as long as a move takes.
//!
//! The right is a connection of its own, whose locks end with it: the one that a process of an older
//! version, or another move, would need; that of the nodes, so that none joins or renews; and, at
//! the source, locks that let others read, and nobody write.

use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::store::postgres::connect::{Address, Connection};
use crate::store::transfer::{Role, TABLES};
use crate::store::{Result, StoreError};

/// How long a lock is waited for: that of a process that was killed ends when the server has
/// noticed. Afterwards nothing more is said for as long as the move takes.
const PATIENCE: &str = "set lock_timeout = '3s'; set idle_in_transaction_session_timeout = 0";
const LOCK: &str = "select pg_advisory_lock(hashtextextended($1, 20240705))";
const LIVING: &str = "
    select id, name, (extract(epoch from lease_until) * 1000)::bigint as until from nodes
    where lease_until > clock_timestamp() order by id";
const WAIT: &str = "select pg_sleep(0.5)";
const UNLOCK: &str = "select pg_advisory_unlock_all()";

/// The right to be alone with a store. Dropped means given back.
pub(super) struct Alone(Mutex<Option<Connection>>);

impl Alone {
    /// Waits until the leases of nodes that were killed have run out, and takes the right.
    ///
    /// # Errors
    /// [`StoreError::Taken`] while a server or another move uses the store.
    pub(super) async fn take(address: &Address, role: Role) -> Result<Self> {
        let schema = address.schema();
        let connection = address.connect().await?;
        connection.batch_execute(PATIENCE).await?;
        taken(connection.query(LOCK, &[&schema]).await, schema)?;
        wait_for_the_dead(&connection, schema).await?;
        taken(connection.batch_execute(&lock_tables(role)).await, schema)?;
        // One may have joined at the last moment.
        if let Some(node) = connection.query(LIVING, &[]).await?.first() {
            return Err(used_by(node, schema)?);
        }
        Ok(Alone(Mutex::new(Some(connection))))
    }

    /// Makes sure that the right is still held.
    pub(super) async fn hold(&self) -> Result<()> {
        match &*self.0.lock().await {
            Some(connection) if !connection.is_closed() => Ok(()),
            _ => Err(StoreError::Away("the connection that keeps others out was lost".to_owned())),
        }
    }

    /// Lets others in.
    pub(super) async fn release(&self) {
        let Some(connection) = self.0.lock().await.take() else { return };
        // If it cannot be said any more, the end of the connection says it.
        drop(connection.batch_execute("rollback").await);
        drop(connection.query(UNLOCK, &[]).await);
    }
}

/// Returns once no node has a lease. One that renews it is alive.
async fn wait_for_the_dead(connection: &Connection, schema: &str) -> Result<()> {
    let mut before: Option<Vec<(Uuid, i64)>> = None;
    loop {
        let living = connection.query(LIVING, &[]).await?;
        let mut leases = Vec::new();
        for node in &living {
            let lease = (node.try_get("id")?, node.try_get("until")?);
            if before.as_ref().is_some_and(|before| !before.contains(&lease)) {
                return Err(used_by(node, schema)?);
            }
            leases.push(lease);
        }
        if leases.is_empty() {
            return Ok(());
        }
        before = Some(leases);
        connection.query(WAIT, &[]).await?;
    }
}

/// Nobody joins, and, at the source, nobody writes.
fn lock_tables(role: Role) -> String {
    let tables = TABLES.iter().map(|table| table.name);
    let tables: Vec<_> = match role {
        Role::Source => ["nodes"].into_iter().chain(tables).collect(),
        Role::Target => vec!["nodes"],
    };
    format!("begin; lock table {} in share mode", tables.join(", "))
}

fn taken<T>(locked: std::result::Result<T, tokio_postgres::Error>, schema: &str) -> Result<T> {
    locked.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => StoreError::Taken(format!(
            "another process uses this database (schema {schema}): stop it first"
        )),
        _ => error.into(),
    })
}

fn used_by(node: &Row, schema: &str) -> Result<StoreError> {
    let name: &str = node.try_get("name")?;
    Ok(StoreError::Taken(format!(
        "another process, the server {name}, uses this database (schema {schema}): stop it first"
    )))
}
