//! A store in a file, as one side of a move.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};
use uuid::Uuid;

use crate::store::sqlite::lock::Lock;
use crate::store::sqlite::{
    MIGRATIONS, connect, make_private, migrate, of_another_version, read_only,
};
use crate::store::transfer::{
    Column, Embedded, Kind, Role, Row, SLICE_BYTES, SLICE_ROWS, Side, Table, Value,
};
use crate::store::{Result, StoreError};

/// For writing much in the order of keys: every index but the first is written all over.
const WRITES_MUCH: &str = "pragma cache_size = -131072; pragma wal_autocheckpoint = 8192;";

const IS_THERE: &str = "select 1 from sqlite_schema where type = 'table' and name = ?1";
const KEPT: &str = "select value from kept where name = ?1";
const KEEP: &str = "insert or replace into kept (name, value) values (?1, ?2)";
const FORGET: &str = "delete from kept where name = ?1";

/// A file that nobody else uses.
pub(in crate::store) struct File {
    /// `None` once closed.
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    // Dropped first: the lock is held until the file is at rest.
    connection: Connection,
    _lock: Lock,
}

/// The file's path, whichever way it is written.
pub(in crate::store) fn name(path: &Path) -> Result<String> {
    let whole = path.canonicalize().or_else(|_| {
        // Not there yet.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).canonicalize()?;
        Ok(directory.join(path.file_name().unwrap_or_default()))
    });
    let whole = whole.map_err(|error: std::io::Error| {
        StoreError::Taken(format!("the store at {} cannot be opened: {error}", path.display()))
    });
    whole.map(|whole: PathBuf| format!("sqlite:{}", whole.display()))
}

impl File {
    /// Opens the file and keeps everybody else out.
    pub(in crate::store) async fn open(path: &Path, role: Role) -> Result<Self> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || match role {
            Role::Source => open_source(&path),
            Role::Target => open_target(&path),
        });
        let open = opened.await.map_err(|panic| StoreError::Broken(panic.to_string()))??;
        Ok(File { open: Arc::new(Mutex::new(Some(open))) })
    }

    /// Runs `work` on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let open = Arc::clone(&self.open);
        let ran = tokio::task::spawn_blocking(move || {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let closed = || StoreError::Away("the store is closed".to_owned());
            work(&mut open.as_mut().ok_or_else(closed)?.connection)
        });
        ran.await.map_err(|panic| StoreError::Broken(panic.to_string()))?
    }
}

fn open_source(path: &Path) -> Result<Open> {
    if !path.is_file() {
        return Err(StoreError::Taken(format!("there is no store at {}", path.display())));
    }
    let lock = Lock::take(path)?;
    let connection = connect(path, read_only())?;
    let applied: usize = connection.query_row("pragma user_version", [], |row| row.get(0))?;
    if applied != MIGRATIONS.len() {
        return Err(of_another_version(applied));
    }
    Ok(Open { connection, _lock: lock })
}

fn open_target(path: &Path) -> Result<Open> {
    let lock = Lock::take(path)?;
    make_private(path)?;
    let mut connection = connect(path, OpenFlags::default())?;
    migrate(&mut connection)?;
    connection.execute_batch(WRITES_MUCH)?;
    Ok(Open { connection, _lock: lock })
}

#[async_trait]
impl Side for File {
    async fn count(&self, table: &'static Table) -> Result<u64> {
        let count = format!("select count(*) from {} t where {}", table.name, table.only);
        self.run(move |db| Ok(db.query_row(&count, [], |row| row.get(0))?)).await
    }

    async fn last(&self, table: &'static Table) -> Result<Option<Row>> {
        self.run(move |db| {
            let key = table.key();
            let last = format!(
                "select {} from {} t where {} order by {} limit 1",
                names(key),
                table.name,
                table.only,
                names(key).replace(',', " desc,") + " desc",
            );
            let mut statement = db.prepare(&last)?;
            let mut rows = statement.query([])?;
            rows.next()?.map(|row| read(table, key, row)).transpose()
        })
        .await
    }

    async fn read(&self, table: &'static Table, after: Option<&Row>) -> Result<Vec<Row>> {
        let after = after.cloned();
        self.run(move |db| read_slice(db, table, after.as_ref())).await
    }

    async fn write(&self, table: &'static Table, rows: Vec<Row>) -> Result<()> {
        self.run(move |db| {
            let tx = db.transaction()?;
            let mut insert = tx.prepare_cached(&insert(table))?;
            for row in &rows {
                let values = table.columns.iter().zip(row).filter(|(column, _)| is_kept(column));
                insert
                    .execute(params_from_iter(values.map(|(column, value)| bind(column, value))))?;
            }
            drop(insert);
            Ok(tx.commit()?)
        })
        .await
    }

    async fn is_empty(&self, table: &'static str, only: &'static str) -> Result<bool> {
        self.run(move |db| {
            if db.query_row(IS_THERE, [table], |_| Ok(())).optional()?.is_none() {
                return Ok(true);
            }
            let some = format!("select 1 from {table} where {only} limit 1");
            let found = db.query_row(&some, [], |_| Ok(()));
            Ok(found.optional()?.is_none())
        })
        .await
    }

    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.run(move |db| Ok(db.query_row(KEPT, [name], |row| row.get(0)).optional()?)).await
    }

    async fn keep(&self, name: &str, value: Option<&[u8]>) -> Result<()> {
        let (name, value) = (name.to_owned(), value.map(<[u8]>::to_vec));
        self.run(move |db| {
            match value {
                Some(value) => db.execute(KEEP, (name, value))?,
                None => db.execute(FORGET, [name])?,
            };
            Ok(())
        })
        .await
    }

    async fn close(&self) {
        let open = Arc::clone(&self.open);
        let closed = tokio::task::spawn_blocking(move || {
            drop(open.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        // An error is a panic of SQLite's own; the end of the process closes it too.
        let _ = closed.await;
    }
}

fn read_slice(db: &Connection, table: &Table, after: Option<&Row>) -> Result<Vec<Row>> {
    let key = names(table.key());
    let behind = after.map_or(String::new(), |after| {
        format!("and ({key}) > ({})", vec!["?"; after.len()].join(", "))
    });
    let mut statement = db.prepare_cached(&format!(
        "select {} from {} t where {} {behind} order by {key} limit {SLICE_ROWS}",
        names(table.columns),
        table.name,
        table.only,
    ))?;
    let after = after.map_or(&[][..], Vec::as_slice);
    let after = table.key().iter().zip(after).map(|(column, value)| bind(column, value));
    let mut found = statement.query(params_from_iter(after))?;
    let (mut slice, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let row = read(table, table.columns, row)?;
        bytes += row.iter().map(Value::size).sum::<usize>();
        slice.push(row);
        if bytes >= SLICE_BYTES {
            break;
        }
    }
    Ok(slice)
}

/// What reads the columns.
fn names(columns: &[Column]) -> String {
    let names = columns.iter().map(|column| match column.embedded {
        Embedded::Named(name) => format!("t.{name}"),
        Embedded::Derived(expression) => format!("({expression})"),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn insert(table: &Table) -> String {
    let names = table.columns.iter().filter_map(|column| match column.embedded {
        Embedded::Named(name) => Some(name),
        Embedded::Derived(_) => None,
    });
    let names: Vec<_> = names.collect();
    let places = vec!["?"; names.len()].join(", ");
    format!("insert into {} ({}) values ({places})", table.name, names.join(", "))
}

fn is_kept(column: &Column) -> bool {
    matches!(column.embedded, Embedded::Named(_))
}

fn bind<'a>(column: &Column, value: &'a Value) -> ToSqlOutput<'a> {
    ToSqlOutput::Borrowed(match (value, column.kind) {
        (Value::Null, _) => ValueRef::Null,
        (Value::Number(number), _) => ValueRef::Integer(*number),
        (Value::Id(id), _) => ValueRef::Blob(id.as_bytes()),
        (Value::Text(text), _) => ValueRef::Text(text.as_bytes()),
        (Value::Bytes(bytes), Kind::Name) => ValueRef::Text(bytes),
        (Value::Bytes(bytes), _) => ValueRef::Blob(bytes),
    })
}

fn read(table: &Table, columns: &[Column], row: &rusqlite::Row<'_>) -> Result<Row> {
    let values = columns.iter().enumerate().map(|(at, column)| {
        let unread = || {
            let (table, name) = (table.name, column.name);
            StoreError::Broken(format!("a {name} in the table `{table}` cannot be read"))
        };
        match (row.get_ref(at)?, column.kind) {
            (ValueRef::Null, _) => Ok(Value::Null),
            (ValueRef::Integer(number), _) => Ok(Value::Number(number)),
            (ValueRef::Text(text), Kind::Name) => Ok(Value::Bytes(text.to_vec())),
            (ValueRef::Text(text), _) => {
                str::from_utf8(text).map(|text| Value::Text(text.to_owned())).map_err(|_| unread())
            }
            (ValueRef::Blob(id), Kind::Id) => {
                Uuid::from_slice(id).map(Value::Id).map_err(|_| unread())
            }
            (ValueRef::Blob(bytes), _) => Ok(Value::Bytes(bytes.to_vec())),
            (ValueRef::Real(_), _) => Err(unread()),
        }
    });
    values.collect()
}
