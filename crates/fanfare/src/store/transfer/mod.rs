//! Moving a whole store into another one, of the same kind or not.
//!
//! Both are kept from everybody else meanwhile. Each table is read in the order of its keys and
//! written in slices, each one transaction. So a move that was cut short goes on behind the last
//! row that the target has of a table, and loses and doubles nothing. A mark keeps servers away
//! from the target until both stores were read again, each by itself, and came to the same sums.

mod tables;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;

use async_trait::async_trait;
use tokio::try_join;

use crate::store::{Result, Store, StoreError, sqlite, unknown_url};
use tables::DRAINED;
pub(in crate::store) use tables::{Column, Embedded, Kind, TABLES, Table};
use value::Sum;
pub(in crate::store) use value::{Row, Value};

#[cfg(feature = "postgres")]
use crate::store::{is_postgres, postgres};

/// Under this name a target keeps which store it is being filled from.
pub(in crate::store) const MARK: &str = "unfinished move";
/// Rows read and written at once, at most.
pub(in crate::store) const SLICE_ROWS: usize = 4_000;
/// Bytes read and written at once: no row is read behind as many.
pub(in crate::store) const SLICE_BYTES: usize = 8 * 1024 * 1024;

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// With which table.
    pub table: &'static str,
    /// Rows of all tables that are done, those of an earlier run included.
    pub rows: u64,
    /// Rows of all tables.
    pub of: u64,
}

/// What a move does, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reads from the source and writes to the target.
    Copying,
    /// Reads both again.
    Comparing,
}

/// What a table came to, at the source as at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The table.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// The SHA-256 of all its rows, in the order of their keys and in a form that does not depend
    /// on the kind of store, in hexadecimal digits.
    pub checksum: String,
}

/// Copies everything from the store `from` into the store `to`, making that when it is not there,
/// and proves that both have the same. Cut short, it goes on where it was when it is called again;
/// until it has ended well, [`open`](super::open) refuses the target. The source stays as it is.
///
/// # Errors
/// [`StoreError::Taken`] when another process uses one of them, both are the same, the source is
/// not there or of another version, or the target has something that this move did not put there;
/// [`StoreError::Broken`] when they differ in the end, because one was changed between two runs.
pub async fn transfer(
    from: &str,
    to: &str,
    tell: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<Proven>> {
    let (source_name, target_name) = (name(from).await.map_err(of(SOURCE))?, name(to).await);
    if source_name == target_name.map_err(of(TARGET))? {
        return Err(StoreError::Taken(format!(
            "the source and the target are the same store, {source_name}"
        )));
    }
    let source = open(from, Role::Source).await.map_err(of(SOURCE))?;
    refuse_unready(source.as_ref()).await?;
    let target = open(to, Role::Target).await.map_err(of(TARGET))?;
    mark(target.as_ref(), &source_name).await?;
    let pair = Pair { source: source.as_ref(), target: target.as_ref() };
    pair.copy(tell).await?;
    let proven = pair.compare(tell).await?;
    // Who emits inside transactions of their own may have gone on.
    refuse_undrained(source.as_ref()).await?;
    target.keep(MARK, None).await.map_err(of(TARGET))?;
    source.close().await;
    target.close().await;
    Ok(proven)
}

/// Refuses a store that a move has begun to fill.
pub(in crate::store) async fn refuse_unfinished(store: &dyn Store) -> Result<()> {
    let Some(source) = store.kept(MARK).await? else { return Ok(()) };
    let source = String::from_utf8_lossy(&source);
    Err(StoreError::Taken(format!(
        "this store is the target of a move from {source} that has not been finished: run the \
         same `fanfare move` again, which goes on where it was, or remove this store (its file, or \
         its schema)"
    )))
}

/// One of the two stores of a move, which nobody else uses as long as this is not closed.
#[async_trait]
pub(in crate::store) trait Side: Send + Sync {
    /// How many rows a table has.
    async fn count(&self, table: &'static Table) -> Result<u64>;

    /// The highest key in a table.
    async fn last(&self, table: &'static Table) -> Result<Option<Row>>;

    /// The rows with keys above `after`, in the order of keys: up to [`SLICE_ROWS`], and about
    /// [`SLICE_BYTES`]. None only behind the last row.
    async fn read(&self, table: &'static Table, after: Option<&Row>) -> Result<Vec<Row>>;

    /// Adds rows, all of them or none.
    async fn write(&self, table: &'static Table, rows: Vec<Row>) -> Result<()>;

    /// Is there nothing in this table of which `only` is so, or no such table?
    async fn is_empty(&self, table: &'static str, only: &'static str) -> Result<bool>;

    /// What is kept under a name.
    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Keeps a value under a name, or forgets it.
    async fn keep(&self, name: &str, value: Option<&[u8]>) -> Result<()>;

    /// Lets others use the store.
    async fn close(&self);
}

/// What a store is in a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Role {
    /// It must be there, and is only read.
    Source,
    /// It is made when it is missing.
    Target,
}

const SOURCE: &str = "the source";
const TARGET: &str = "the target";

/// Which store a URL names, whichever way it is written. Without secrets.
async fn name(url: &str) -> Result<String> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return sqlite::transfer::name(Path::new(path));
    }
    #[cfg(feature = "postgres")]
    if is_postgres(url) {
        return postgres::transfer::name(url).await;
    }
    Err(unknown_url(url))
}

async fn open(url: &str, role: Role) -> Result<Box<dyn Side>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Box::new(sqlite::transfer::File::open(Path::new(path), role).await?));
    }
    #[cfg(feature = "postgres")]
    if is_postgres(url) {
        return Ok(Box::new(postgres::transfer::Schema::open(url, role).await?));
    }
    Err(unknown_url(url))
}

/// Says which of the two stores an error is about.
fn of(side: &'static str) -> impl Fn(StoreError) -> StoreError {
    let said = move |reason: String| {
        // Here the URL comes from a flag.
        format!("{side}: {}", reason.replace("FANFARE_DATABASE_URL", "its URL"))
    };
    move |error| match error {
        StoreError::Full(reason) => StoreError::Full(said(reason)),
        StoreError::Away(reason) => StoreError::Away(said(reason)),
        StoreError::Taken(reason) => StoreError::Taken(said(reason)),
        StoreError::Raced(reason) => StoreError::Raced(said(reason)),
        StoreError::Broken(reason) => StoreError::Broken(said(reason)),
        StoreError::Untrusted(reason) => StoreError::Untrusted(said(reason)),
    }
}

/// Refuses a source that is not whole, or has something that would be left behind.
async fn refuse_unready(source: &dyn Side) -> Result<()> {
    if let Some(earlier) = source.kept(MARK).await.map_err(of(SOURCE))? {
        let earlier = String::from_utf8_lossy(&earlier);
        return Err(StoreError::Taken(format!(
            "{SOURCE} is itself the target of a move from {earlier} that has not been finished: \
             finish that one first"
        )));
    }
    refuse_undrained(source).await
}

/// Refuses a source with something that the engine has still to work off.
async fn refuse_undrained(source: &dyn Side) -> Result<()> {
    for (table, only) in DRAINED {
        if !source.is_empty(table, only).await.map_err(of(SOURCE))? {
            return Err(StoreError::Taken(format!(
                "{SOURCE} has something in its table `{table}` that was not worked off yet: start \
                 the server on it until it was, stop it again, and let nobody emit meanwhile"
            )));
        }
    }
    Ok(())
}

/// Notes at an empty target where it is filled from; one that was marked by the same move stays.
async fn mark(target: &dyn Side, source_name: &str) -> Result<()> {
    let marked = target.kept(MARK).await.map_err(of(TARGET))?;
    if let Some(earlier) = marked {
        if earlier == source_name.as_bytes() {
            return Ok(());
        }
        let earlier = String::from_utf8_lossy(&earlier);
        return Err(StoreError::Taken(format!(
            "{TARGET} holds an unfinished move from {earlier}, not from {source_name}: finish that \
             one, or remove the target (its file, or its schema)"
        )));
    }
    for Table { name: table, only, .. } in TABLES {
        if !target.is_empty(table, only).await.map_err(of(TARGET))? {
            return Err(StoreError::Taken(format!(
                "{TARGET} is not empty, there is something in its table `{table}`: move into a new \
                 file or a new schema, or remove this one if nobody needs it"
            )));
        }
    }
    target.keep(MARK, Some(source_name.as_bytes())).await.map_err(of(TARGET))
}

struct Pair<'a> {
    source: &'a dyn Side,
    target: &'a dyn Side,
}

impl Pair<'_> {
    /// Copies what the target does not have yet.
    async fn copy(&self, tell: &mut (dyn FnMut(Progress) + Send)) -> Result<()> {
        let (mut rows, mut of_rows) = (0, 0);
        for table in TABLES {
            of_rows += self.source.count(table).await.map_err(of(SOURCE))?;
            rows += self.target.count(table).await.map_err(of(TARGET))?;
        }
        for table in TABLES {
            let mut told = |count: usize| {
                rows += count as u64;
                tell(Progress { stage: Stage::Copying, table: table.name, rows, of: of_rows });
            };
            self.copy_table(table, &mut told).await?;
        }
        Ok(())
    }

    async fn copy_table(
        &self,
        table: &'static Table,
        told: &mut (dyn FnMut(usize) + Send),
    ) -> Result<()> {
        let after = self.target.last(table).await.map_err(of(TARGET))?;
        let mut slice = self.source.read(table, after.as_ref()).await.map_err(of(SOURCE))?;
        while let Some(last) = slice.last() {
            let (after, count) = (table.key_of(last), slice.len());
            // The next one is read while this one is written.
            let read = async { self.source.read(table, Some(&after)).await.map_err(of(SOURCE)) };
            let write = async { self.target.write(table, slice).await.map_err(of(TARGET)) };
            (slice, ()) = try_join!(read, write)?;
            told(count);
        }
        Ok(())
    }

    /// Reads both stores, each by itself, and refuses them if they do not come to the same.
    async fn compare(&self, tell: &mut (dyn FnMut(Progress) + Send)) -> Result<Vec<Proven>> {
        let (mut rows, mut of_rows) = (0, 0);
        for table in TABLES {
            of_rows += self.source.count(table).await.map_err(of(SOURCE))?;
        }
        let mut proven = Vec::new();
        for table in TABLES {
            let mut told = |count: usize| {
                rows += count as u64;
                tell(Progress { stage: Stage::Comparing, table: table.name, rows, of: of_rows });
            };
            let source = async { sum(self.source, table, &mut told).await.map_err(of(SOURCE)) };
            let target = async { sum(self.target, table, &mut |_| {}).await.map_err(of(TARGET)) };
            let (source, target) = try_join!(source, target)?;
            if source != target {
                return Err(StoreError::Broken(differ(&source, &target)));
            }
            proven.push(source);
        }
        Ok(proven)
    }
}

/// Counts and sums up a table.
async fn sum(
    side: &dyn Side,
    table: &'static Table,
    told: &mut (dyn FnMut(usize) + Send),
) -> Result<Proven> {
    let mut sum = Sum::default();
    let mut slice = side.read(table, None).await?;
    while let Some(last) = slice.last() {
        let after = table.key_of(last);
        slice.iter().for_each(|row| sum.add(row));
        told(slice.len());
        slice = side.read(table, Some(&after)).await?;
    }
    let (rows, checksum) = sum.done();
    Ok(Proven { table: table.name, rows, checksum })
}

fn differ(source: &Proven, target: &Proven) -> String {
    let Proven { table, rows, checksum } = source;
    format!(
        "source and target differ in the table `{table}`: {rows} rows with the checksum \
         {checksum} at the source, {} rows with {} at the target. Something was changed between \
         two runs of the move: remove the target (its file, or its schema) and move again, with \
         the server stopped until the end",
        target.rows, target.checksum
    )
}
