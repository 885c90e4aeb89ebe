//! A store in a schema, as one side of a move.

use std::error::Error;

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::store::postgres::alone::Alone;
use crate::store::postgres::connect::{Address, Connection};
use crate::store::postgres::error::corrupt;
use crate::store::postgres::migrate;
use crate::store::postgres::rows::text;
use crate::store::transfer::{
    Column, Kind, Role, Row, SLICE_BYTES, SLICE_ROWS, Side, Table, Value,
};
use crate::store::{Result, StoreError};

/// The cluster and the database, so that other names of the same server are seen through.
const NAME: &str = "
    select format('%s of cluster %s', current_database(), system_identifier)
    from pg_control_system()";

const IS_THERE: &str = "select to_regclass($1) is not null";
const KEPT: &str = "select value from kept where name = $1";
const KEEP: &str = "
    insert into kept (name, value) values ($1, $2)
    on conflict (name) do update set value = excluded.value";
const FORGET: &str = "delete from kept where name = $1";
/// A table is counted as a whole, for which a walk along an index is the long way.
const COUNT_WHOLE: &str = "set enable_seqscan = on";
const WALK: &str = "set enable_seqscan = off";

/// A schema that nobody else uses.
pub(in crate::store) struct Schema {
    connection: Connection,
    alone: Alone,
}

/// The schema's database and name, whichever way the URL is written.
pub(in crate::store) async fn name(url: &str) -> Result<String> {
    let address = Address::parse(url)?;
    let database: String = address.connect().await?.query_one(NAME, &[]).await?.try_get(0)?;
    Ok(format!("postgres: schema {} in {database}", address.schema()))
}

impl Schema {
    /// Connects, and keeps everybody else out.
    pub(in crate::store) async fn open(url: &str, role: Role) -> Result<Self> {
        let address = Address::parse(url)?;
        let connection = address.connect().await?;
        match role {
            Role::Source => migrate::verify(&connection, address.schema()).await?,
            Role::Target => migrate::apply(&connection, address.schema()).await?,
        }
        let alone = Alone::take(&address, role).await?;
        Ok(Schema { connection, alone })
    }
}

#[async_trait]
impl Side for Schema {
    async fn count(&self, table: &'static Table) -> Result<u64> {
        let count = format!("select count(*) from {} where {}", table.name, table.only);
        self.connection.batch_execute(COUNT_WHOLE).await?;
        let count: i64 = self.connection.query_one(&count, &[]).await?.try_get(0)?;
        self.connection.batch_execute(WALK).await?;
        Ok(count.unsigned_abs())
    }

    async fn last(&self, table: &'static Table) -> Result<Option<Row>> {
        let key = table.key();
        let last = format!(
            "select {} from {} where {} order by {} limit 1",
            names(key),
            table.name,
            table.only,
            order(key).replace(',', " desc,") + " desc",
        );
        let row = self.connection.query_opt(&last, &[]).await?;
        row.map(|row| read(&row, key)).transpose()
    }

    async fn read(&self, table: &'static Table, after: Option<&Row>) -> Result<Vec<Row>> {
        self.alone.hold().await?;
        let (names, key) = (names(table.columns), order(table.key()));
        let behind = after.map_or(String::new(), |after| {
            let places: Vec<_> = (1..=after.len()).map(|place| format!("${place}")).collect();
            format!("and ({key}) > ({})", places.join(", "))
        });
        // Sizes are known without reading what they are of.
        let select = format!(
            "select {names} from (
                 select {names}, sum({}) over (
                     order by {key} rows between unbounded preceding and 1 preceding) as before
                 from (select {names} from {} where {} {behind}
                       order by {key} limit {SLICE_ROWS}) slice
             ) slice where coalesce(before, 0) < {SLICE_BYTES} order by {key}",
            size(table),
            table.name,
            table.only,
        );
        let after: Vec<_> = after.into_iter().flatten().map(|value| value as _).collect();
        let found = self.connection.query(&select, &after).await?;
        found.iter().map(|row| read(row, table.columns)).collect()
    }

    async fn write(&self, table: &'static Table, rows: Vec<Row>) -> Result<()> {
        self.alone.hold().await?;
        let types: Vec<Type> = table.columns.iter().map(|column| type_of(column.kind)).collect();
        let copy =
            format!("copy {} ({}) from stdin (format binary)", table.name, names(table.columns));
        let writer = BinaryCopyInWriter::new(self.connection.copy_in(&copy).await?, &types);
        pin!(writer);
        for row in &rows {
            let row: Vec<&(dyn ToSql + Sync)> = row.iter().map(|value| value as _).collect();
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    async fn is_empty(&self, table: &'static str, only: &'static str) -> Result<bool> {
        if !self.connection.query_one(IS_THERE, &[&table]).await?.try_get::<_, bool>(0)? {
            return Ok(true);
        }
        let some = format!("select from {table} where {only} limit 1");
        Ok(self.connection.query_opt(&some, &[]).await?.is_none())
    }

    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let row = self.connection.query_opt(KEPT, &[&name]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn keep(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(value) => self.connection.execute(KEEP, &[&name, &value]).await?,
            None => self.connection.execute(FORGET, &[&name]).await?,
        };
        Ok(())
    }

    async fn close(&self) {
        self.alone.release().await;
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// The columns of a key as they are ordered: texts by their bytes, whatever the database's language.
fn order(key: &[Column]) -> String {
    let ordered = key.iter().map(|column| match column.kind {
        Kind::Text => format!("{} collate \"C\"", column.name),
        _ => column.name.to_owned(),
    });
    ordered.collect::<Vec<_>>().join(", ")
}

/// What tells the size of a row, as far as it can be large.
fn size(table: &Table) -> String {
    let large = |column: &&Column| matches!(column.kind, Kind::Text | Kind::Bytes | Kind::Name);
    let sizes = table.columns.iter().filter(large);
    let sizes = sizes.map(|column| format!("coalesce(octet_length({}), 0)", column.name));
    ["0".to_owned()].into_iter().chain(sizes).collect::<Vec<_>>().join(" + ")
}

fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Id => Type::UUID,
        Kind::Small => Type::INT2,
        Kind::Number => Type::INT4,
        Kind::Large => Type::INT8,
        Kind::Flag => Type::BOOL,
        Kind::Text => Type::TEXT,
        Kind::Words => Type::TEXT_ARRAY,
        Kind::Bytes | Kind::Name => Type::BYTEA,
    }
}

fn read(row: &tokio_postgres::Row, columns: &[Column]) -> Result<Row> {
    let values = columns.iter().enumerate().map(|(at, column)| {
        let value: Value = row.try_get(at).map_err(|_| corrupt(column.name))?;
        match (&value, column.kind) {
            // In SQLite it is a text.
            (Value::Bytes(name), Kind::Name) if str::from_utf8(name).is_err() => {
                Err(StoreError::Broken(format!("a stored {} is no text", column.name)))
            }
            _ => Ok(value),
        }
    });
    values.collect()
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *ty {
            Type::UUID => Value::Id(Uuid::from_sql(ty, raw)?),
            Type::INT2 => Value::Number(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Value::Number(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Value::Number(i64::from_sql(ty, raw)?),
            Type::BOOL => Value::Number(bool::from_sql(ty, raw)?.into()),
            Type::TEXT_ARRAY => Value::Text(Vec::<&str>::from_sql(ty, raw)?.join(" ")),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            _ => Value::Text(String::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Value::Null)
    }

    fn accepts(ty: &Type) -> bool {
        let kinds = [Kind::Id, Kind::Small, Kind::Number, Kind::Large, Kind::Flag, Kind::Text];
        let more = [Kind::Words, Kind::Bytes];
        kinds.into_iter().chain(more).any(|kind| type_of(kind) == *ty)
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Number(number) => match *ty {
                Type::INT2 => i16::try_from(*number)?.to_sql(ty, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
                Type::BOOL => (*number != 0).to_sql(ty, out),
                _ => number.to_sql(ty, out),
            },
            Value::Id(id) => id.to_sql(ty, out),
            Value::Text(words) if *ty == Type::TEXT_ARRAY => {
                words.split_whitespace().collect::<Vec<_>>().to_sql(ty, out)
            }
            Value::Text(given) => text(given).to_sql(ty, out),
            Value::Bytes(bytes) => bytes.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        <Value as FromSql<'_>>::accepts(ty)
    }

    to_sql_checked!();
}
