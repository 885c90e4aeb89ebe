//! The outbox in PostgreSQL: the store's own, or the same table in a database of the platform's.
//!
//! Statements are complete in themselves, with schema and types, so that they need neither a
//! `search_path` nor anything prepared. One connection serves for everything; where it breaks, the
//! next read makes another one.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, Notify};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, GenericClient, error::SqlState};

use crate::model::{CompanyId, Event, EventId, Timestamp};
use crate::store::outbox::{Outbox, POSTGRES_OUTBOX, Portion, Row, Said, Waiting};
use crate::store::postgres::connect::{Address, Connection, hosts};
use crate::store::{Result, StoreError};

/// Where the function rings; which schema's it was stands in the notification.
const CHANNEL: &str = "fanfare_outbox";
const LISTEN: &str = "listen fanfare_outbox";

const IS_THERE: &str = "
    select to_regclass(format('%I.outbox', $1)) is not null
       and to_regprocedure(format('%I.emit(uuid,text,json,text,text,timestamptz,timestamptz)', $1))
           is not null";
/// So that two nodes do not make it at once.
const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended($1, 20240708))";
const SCHEMA_IS_THERE: &str = "select exists (select from pg_namespace where nspname = $1)";

/// `$1` rows at most; `$2` bytes of one row's data, `$3` of all of them.
const READ: &str = "
    select number, id, company_id, type, bytes, case when bytes <= $2 then data end,
           idempotency_key, ordering_key, deliver_at, expires_at
    from (select *, octet_length(data) as bytes,
                 sum(least(octet_length(data), $2)) over (order by number) as total
          from {schema}.outbox where refused is null order by number limit $1) as waiting
    where total <= $3 + least(bytes, $2)
    order by number";
const SETTLE: &str = "
    with gone as (
        delete from {schema}.outbox o using unnest($1, $2) as g (number, id)
        where o.number = g.number and o.id = g.id)
    update {schema}.outbox o set refused = r.reason
    from unnest($3, $4, $5) as r (number, id, reason)
    where o.number = r.number and o.id = r.id";
const EMIT: &str = "
    select {schema}.emit($1, $2, $3::text::json, $4, $5,
                         'epoch'::timestamptz + $6 * interval '1 millisecond',
                         'epoch'::timestamptz + $7 * interval '1 millisecond')";

/// An outbox in a schema of a PostgreSQL database.
pub(in crate::store) struct Table {
    address: Address,
    name: String,
    /// As it is written in statements.
    schema: String,
    connection: Mutex<Option<Connection>>,
    rung: Arc<Notify>,
}

impl Table {
    /// The outbox in the schema that `url` names.
    pub(in crate::store) fn new(url: &str) -> Result<Table> {
        let address = Address::parse(url)?;
        let host = hosts(url).into_iter().next();
        let host =
            host.map_or_else(|| "this machine".to_owned(), |(host, port)| format!("{host}:{port}"));
        Ok(Table {
            name: format!("PostgreSQL at {host}, schema {}", address.schema()),
            schema: format!("\"{}\"", address.schema().replace('"', "\"\"")),
            address,
            connection: Mutex::default(),
            rung: Arc::default(),
        })
    }

    fn sql(&self, statement: &str) -> String {
        statement.replace("{schema}", &self.schema)
    }

    /// A connection on which notifications ring.
    async fn connect(&self) -> Result<Connection> {
        let (rung, schema) = (Arc::clone(&self.rung), self.address.schema().to_owned());
        let connection = self.address.connect_hearing(move |said| {
            if said.channel() == CHANNEL && said.payload() == schema {
                rung.notify_one();
            }
        });
        let connection = connection.await?;
        self.make_where_missing(&connection).await?;
        // Without it there is still the poll.
        if let Err(error) = connection.batch_execute(LISTEN).await {
            tracing::debug!(outbox = self.name, %error, "it cannot be listened to");
        }
        Ok(connection)
    }

    async fn make_where_missing(&self, client: &Client) -> Result<()> {
        let schema = self.address.schema();
        let there = match told(client, IS_THERE, schema).await {
            Ok(false) => self.make(client).await,
            other => other.map(drop),
        };
        there.map_err(|error| match error.code() {
            Some(&(SqlState::INSUFFICIENT_PRIVILEGE | SqlState::READ_ONLY_SQL_TRANSACTION)) => {
                StoreError::Taken(format!(
                    "there is no outbox that may be used, and none may be made: have an \
                     administrator run what `fanfare outbox-sql postgres --schema {schema}` prints"
                ))
            }
            _ => error.into(),
        })
    }

    async fn look(&self, client: &Client, portion: Portion) -> Result<Vec<tokio_postgres::Row>> {
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (rows, data_max) = (i64::from(portion.rows), bytes(portion.data_max));
        let bytes = bytes(portion.bytes);
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&rows, Type::INT8), (&data_max, Type::INT8), (&bytes, Type::INT8)];
        Ok(client.query_typed(&self.sql(READ), &values).await?)
    }

    /// When it fails, the connection must be dropped.
    async fn make(&self, client: &Client) -> std::result::Result<(), tokio_postgres::Error> {
        let schema = self.address.schema();
        client.batch_execute("begin").await?;
        client.query_typed(LOCK, &[(&schema, Type::TEXT)]).await?;
        // Asked first, because its creation needs a right that its use does not.
        if !told(client, SCHEMA_IS_THERE, schema).await? {
            client.batch_execute(&self.sql("create schema {schema}")).await?;
        }
        let make = self.sql("set local search_path = {schema};") + POSTGRES_OUTBOX + "commit";
        client.batch_execute(&make).await
    }
}

#[async_trait]
impl Outbox for Table {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn emit_statement(&self) -> Option<String> {
        Some(self.sql(EMIT))
    }

    async fn read(&self, portion: Portion) -> Result<Vec<Waiting>> {
        let mut connection = self.connection.lock().await;
        let open = match connection.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let rows = self.look(&open, portion).await?;
        // After an error the next read connects anew, and looks again whether the table is there.
        *connection = Some(open);
        rows.iter().map(waiting).collect()
    }

    async fn settle(&self, stored: Vec<Row>, refused: Vec<(Row, String)>) -> Result<()> {
        let connection = self.connection.lock().await;
        let open = connection.as_ref().ok_or_else(|| StoreError::Away("not connected".into()))?;
        let (reasons, refused): (Vec<String>, Vec<Row>) =
            refused.into_iter().map(|(row, reason)| (reason, row)).unzip();
        let (numbers, ids) = keys(&stored)?;
        let (refused_numbers, refused_ids) = keys(&refused)?;
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&numbers, Type::INT8_ARRAY),
            (&ids, Type::UUID_ARRAY),
            (&refused_numbers, Type::INT8_ARRAY),
            (&refused_ids, Type::UUID_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
        ];
        open.execute_typed(&self.sql(SETTLE), &values).await?;
        Ok(())
    }

    async fn hint(&self) {
        self.rung.notified().await;
    }
}

/// Says an event, known by a key of the caller's or by none, in the transaction that is open on
/// `client`.
pub(crate) async fn emit_in(
    client: &impl GenericClient,
    statement: &str,
    (event, key): (&Event, Option<&str>),
) -> Result<EventId> {
    let payload = std::str::from_utf8(&event.payload);
    let payload = payload.map_err(|error| StoreError::Broken(error.to_string()))?;
    let time = |at: Option<Timestamp>| at.map(|at| at.0);
    let (deliver_at, expires_at) = (time(event.deliver_at), time(event.expires_at));
    let values: [(&(dyn ToSql + Sync), Type); 7] = [
        (&event.company.uuid(), Type::UUID),
        (&event.event_type.as_str(), Type::TEXT),
        (&payload, Type::TEXT),
        (&key, Type::TEXT),
        (&event.ordering_key, Type::TEXT),
        (&deliver_at, Type::INT8),
        (&expires_at, Type::INT8),
    ];
    let said = client.query_typed_one(statement, &values).await;
    let said = said.map_err(|error| match StoreError::from(error) {
        StoreError::Broken(reason) => {
            StoreError::Taken(format!("the event cannot be said in this transaction: {reason}"))
        }
        other => other,
    })?;
    Ok(EventId::from_uuid(said.try_get(0)?))
}

async fn told(
    client: &Client,
    question: &str,
    schema: &str,
) -> std::result::Result<bool, tokio_postgres::Error> {
    client.query_typed_one(question, &[(&schema, Type::TEXT)]).await?.try_get(0)
}

fn keys(rows: &[Row]) -> Result<(Vec<i64>, Vec<uuid::Uuid>)> {
    let read = |row: &Row| Ok((row.number, row.id.parse::<uuid::Uuid>()?));
    let keys: std::result::Result<_, uuid::Error> = rows.iter().map(read).collect();
    keys.map_err(|error| StoreError::Broken(error.to_string()))
}

fn waiting(row: &tokio_postgres::Row) -> Result<Waiting> {
    fn get<'a, T: FromSql<'a>>(row: &'a tokio_postgres::Row, column: usize) -> Result<T> {
        Ok(row.try_get(column)?)
    }
    let time = |column| get::<Option<i64>>(row, column).map(|at| at.map(Timestamp));
    let id = EventId::from_uuid(get(row, 1)?);
    let said = Said {
        id,
        company: CompanyId::from_uuid(get(row, 2)?),
        event_type: get(row, 3)?,
        bytes: usize::try_from(get::<i32>(row, 4)?).unwrap_or_default(),
        data: get::<Option<String>>(row, 5)?.map(Bytes::from),
        idempotency_key: get(row, 6)?,
        ordering_key: get(row, 7)?,
        deliver_at: time(8)?,
        expires_at: time(9)?,
    };
    Ok(Waiting { row: Row { number: get(row, 0)?, id: id.to_string() }, said: Ok(said) })
}
