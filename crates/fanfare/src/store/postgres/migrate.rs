//! The schema, one step after the other.

use tokio_postgres::Client;

use crate::store::{Result, StoreError};

/// Every step, in order. To change a table, add a file.
const MIGRATIONS: &[(i32, &str)] = &[
    (1, include_str!("../../../../../migrations/postgres/0001_init.sql")),
    (2, include_str!("../../../../../migrations/postgres/0002_flow.sql")),
    (3, include_str!("../../../../../migrations/postgres/0003_guard.sql")),
    (5, include_str!("../../../../../migrations/postgres/0005_nodes.sql")),
];

/// The first step after which several processes may have the store open.
const SHARED: i32 = 5;
/// What a process of a version before that holds as long as it runs.
const ALONE: &str = "select pg_try_advisory_xact_lock(hashtextextended($1, 20240705))";

const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended($1, 20240706))";
/// Asked first, because `create schema if not exists` needs a right that its use does not.
const SCHEMA_IS_THERE: &str = "select exists (select from pg_namespace where nspname = $1)";
const CREATE_SCHEMA: &str = "select format('create schema if not exists %I', $1::text)";
const TABLE: &str = "create table if not exists migrations (number integer primary key)";
const IS_THERE: &str = "select to_regclass(format('%I.migrations', $1::text)) is not null";
/// The last step that was done, and the first one that versions must know to work with the store. A
/// step that older versions can live with names none; the column itself came with step 5.
const NEWEST: &str = "
    select coalesce(max(number), 0) as newest,
           coalesce(max((to_jsonb(migrations) ->> 'oldest')::int), 0) as oldest
    from migrations";
const DONE: &str = "insert into migrations (number) values ($1)";

/// Brings the schema up to date, in one transaction. When it fails, the connection must be dropped.
pub(super) async fn apply(client: &Client, schema: &str) -> Result<()> {
    client.batch_execute("begin").await?;
    client.execute(LOCK, &[&schema]).await?;
    if !client.query_one(SCHEMA_IS_THERE, &[&schema]).await?.try_get(0)? {
        let create: String = client.query_one(CREATE_SCHEMA, &[&schema]).await?.try_get(0)?;
        client.batch_execute(&create).await?;
    }
    client.batch_execute(TABLE).await?;
    let newest = newest(client).await?;
    if (1..SHARED).contains(&newest) && !client.query_one(ALONE, &[&schema]).await?.try_get(0)? {
        return Err(StoreError::Taken(format!(
            "a process of an older version uses this database (schema {schema}): stop it first"
        )));
    }
    for (number, sql) in MIGRATIONS.iter().filter(|(number, _)| *number > newest) {
        client.batch_execute(sql).await?;
        client.execute(DONE, &[number]).await?;
    }
    Ok(client.batch_execute("commit").await?)
}

/// Refuses a schema that is not there or of another version.
pub(super) async fn verify(client: &Client, schema: &str) -> Result<()> {
    if !client.query_one(IS_THERE, &[&schema]).await?.try_get(0)? {
        return Err(StoreError::Broken(format!("there is none in the schema {schema}")));
    }
    let newest = newest(client).await?;
    if newest < known() {
        return Err(StoreError::Broken(format!(
            "it is of an older version (migration {newest} of {}): start the server once",
            known()
        )));
    }
    Ok(())
}

/// The last step that was done, if this version can work with what it made.
async fn newest(client: &Client) -> Result<i32> {
    let row = client.query_one(NEWEST, &[]).await?;
    let (newest, oldest): (i32, i32) = (row.try_get("newest")?, row.try_get("oldest")?);
    if oldest <= known() {
        return Ok(newest);
    }
    Err(StoreError::Broken(format!(
        "it was made by a newer version (migration {newest}; this version knows {}): use that \
         version or a newer one",
        known()
    )))
}

fn known() -> i32 {
    MIGRATIONS.last().map_or(0, |(number, _)| *number)
}
