//! The tables are the ones that migrations make.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::tables::{DRAINED, LEFT_OUT, TABLES};
use super::{Embedded, Kind, Table};
use crate::metrics::Metrics;
use crate::store::sqlite::Sqlite;

/// The columns of a store's tables with their types, and the keys, in their order.
#[derive(Default)]
struct Found {
    columns: BTreeMap<String, BTreeMap<String, String>>,
    keys: BTreeMap<String, Vec<String>>,
}

/// Every table, as it is described, is the one that is there; and no other one is.
fn assert_described(found: &Found, described: impl Fn(&Table) -> BTreeMap<String, String>) {
    let drained = DRAINED.iter().map(|(table, _)| *table);
    let left_out: Vec<_> = LEFT_OUT.iter().copied().chain(drained).collect();
    for (table, columns) in &found.columns {
        if left_out.contains(&table.as_str()) {
            continue;
        }
        let known = TABLES.iter().find(|known| known.name == table);
        let known = known.unwrap_or_else(|| {
            panic!("a move would leave the table {table} behind: say so in LEFT_OUT, or move it")
        });
        assert_eq!(*columns, described(known), "the columns of {table}");
    }
    for table in TABLES {
        assert!(found.columns.contains_key(table.name), "there is no {}", table.name);
        // A partitioned table's key ends with what it is divided by.
        let key: Vec<_> = table.key().iter().map(|column| column.name.to_owned()).collect();
        assert!(found.keys[table.name].starts_with(&key), "the key of {}", table.name);
    }
}

#[tokio::test]
async fn every_table_of_sqlite_is_moved_with_every_column_or_left_out_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fanfare.db");
    drop(Sqlite::open(&path, Metrics::default()).await.unwrap());
    let db = Connection::open(&path).unwrap();
    let mut found = Found::default();
    let mut columns = db
        .prepare(
            "select t.name, c.name, lower(c.type), c.pk from pragma_table_list t
             join pragma_table_info(t.name) c
             where t.schema = 'main' and t.type = 'table' and t.name not like 'sqlite\\_%' escape '\\'
             order by t.name, c.pk",
        )
        .unwrap();
    let mut rows = columns.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (table, column): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        if row.get::<_, u32>(3).unwrap() > 0 {
            found.keys.entry(table.clone()).or_default().push(column.clone());
        }
        found.columns.entry(table).or_default().insert(column, row.get(2).unwrap());
    }
    assert_described(&found, |table| {
        let named = table.columns.iter().filter_map(|column| {
            let Embedded::Named(name) = column.embedded else { return None };
            let kind = match column.kind {
                Kind::Id | Kind::Bytes => "blob",
                Kind::Small | Kind::Number | Kind::Large | Kind::Flag => "integer",
                Kind::Text | Kind::Words | Kind::Name => "text",
            };
            Some((name.to_owned(), kind.to_owned()))
        });
        named.collect()
    });
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn every_table_of_postgresql_is_moved_with_every_column_or_left_out_by_name() {
    use crate::store::Upkeep;
    use crate::store::postgres::Postgres;

    let url = fanfare_testkit::postgres::url_of_new_schema();
    Postgres::open(&url, Metrics::default()).await.unwrap().close().await;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut found = Found::default();
    let columns = "
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
          and not c.relispartition and a.attnum > 0 and not a.attisdropped";
    for row in client.query(columns, &[]).await.unwrap() {
        found.columns.entry(row.get(0)).or_default().insert(row.get(1), row.get(2));
    }
    let keys = "
        select c.relname, a.attname
        from pg_index i join pg_class c on c.oid = i.indrelid
        cross join unnest(i.indkey) with ordinality k (attnum, at)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where c.relnamespace = current_schema()::regnamespace and i.indisprimary
          and not c.relispartition order by c.relname, k.at";
    for row in client.query(keys, &[]).await.unwrap() {
        found.keys.entry(row.get(0)).or_default().push(row.get(1));
    }
    assert_described(&found, |table| {
        let typed = table.columns.iter().map(|column| {
            let kind = match column.kind {
                Kind::Id => "uuid",
                Kind::Small => "smallint",
                Kind::Number => "integer",
                Kind::Large => "bigint",
                Kind::Flag => "boolean",
                Kind::Text => "text",
                Kind::Words => "text[]",
                Kind::Bytes | Kind::Name => "bytea",
            };
            (column.name.to_owned(), kind.to_owned())
        });
        typed.collect()
    });
}
