//! Keeping house.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::{
    CompanyId, DeliveryId, EndpointId, LaneKey, Purpose, Sealed, Timestamp, expired,
};
use crate::store::rows::SEALED;
use crate::store::sqlite::ending::{Doomed, Held, end};
use crate::store::sqlite::{Sqlite, Tx, check, retention};
use crate::store::{Ended, Place, Resealed, Result, StoreError, Swept, Upkeep};

const KEEP: &str = "insert into kept (name, value) values (?1, ?2) on conflict do nothing";
const KEPT: &str = "select value from kept where name = ?1";
const KEEP_INSTEAD: &str = "update kept set value = ?3 where name = ?1 and value = ?2";
/// A write of no consequence, to see whether one is possible. Of zeros, SQLite would keep the pages
/// that are there.
const TOUCH: &str = "
    insert into kept (name, value) values ('ready', randomblob(?1))
    on conflict do update set value = excluded.value";

const SECRETS: &str = "
    select company_id, id, secret, previous_secret, headers, tls from endpoints where id > ?1
    order by id limit ?2";

const BURIED: &str = "
    select d.company_id, d.id from endpoints e indexed by endpoints_deleted
    cross join deliveries d indexed by deliveries_due
        on d.company_id = e.company_id and d.endpoint_id = e.id and d.state = 0
    where e.deleted_at is not null limit ?1";

const LAPSED: &str = "
    select d.company_id, d.id, d.attempts, d.expires_at
    from companies c cross join deliveries d indexed by deliveries_lapsing
        on d.company_id = c.company_id
    where d.state = 0 and d.expires_at <= ?1 and d.claimed = 0 limit ?2";

const FORGOTTEN: &str = "
    select k.company_id, k.name from companies c cross join known k indexed by known_by_age
        on k.company_id = c.company_id
    where k.created_at < ?1 limit ?2";

const FORGET: &str = "delete from known where company_id = ?1 and name = ?2";

#[async_trait]
impl Upkeep for Sqlite {
    async fn ready(&self, bytes: usize) -> Result<()> {
        self.write(move |tx| tx.execute(TOUCH, [bytes]).map(|_| ())).await
    }

    async fn agree(&self, name: &str, value: &[u8]) -> Result<bool> {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.write(move |tx| {
            tx.execute(KEEP, params![name, value])?;
            let kept: Vec<u8> = tx.query_row(KEPT, [&name], |row| row.get(0))?;
            Ok(kept == value)
        })
        .await
    }

    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.read(move |db| db.query_row(KEPT, [&name], |row| row.get(0)).optional()).await
    }

    async fn keep_instead(&self, name: &str, before: &[u8], value: &[u8]) -> Result<bool> {
        let (name, before, value) = (name.to_owned(), before.to_vec(), value.to_vec());
        self.write(move |tx| Ok(tx.execute(KEEP_INSTEAD, params![name, before, value])? == 1)).await
    }

    /// It is not kept in days.
    async fn turn(&self, _now: Timestamp, _before: Timestamp) -> Result<bool> {
        Ok(false)
    }

    async fn expire(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept> {
        // Looked for on a reader's time, removed in one short transaction.
        let found = self.read(move |db| retention::old(db, before, from, limit)).await?;
        let next = found.next;
        if found.is_empty() {
            return Ok(Swept { rows: 0, next });
        }
        let rows = self.do_chore(move |tx| retention::remove(tx, &found)).await?;
        Ok(Swept { rows, next })
    }

    async fn strip(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept> {
        let found = self.read(move |db| retention::sendable(db, before, from, limit)).await?;
        let next = found.next;
        if found.events.is_empty() {
            return Ok(Swept { rows: 0, next });
        }
        let rows = self.do_chore(move |tx| retention::empty(tx, &found.events)).await?;
        Ok(Swept { rows, next })
    }

    async fn reclaim(&self) -> Result<bool> {
        if !self.read(retention::has_much_free_space).await? {
            return Ok(false);
        }
        self.do_chore(|tx| retention::shrink(tx)).await?;
        Ok(true)
    }

    async fn bury(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let found = self.read(move |db| buried(db, limit)).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| Ok(end_all(tx, &found, now)?.deliveries.len() as u64)).await
    }

    async fn lapse(&self, now: Timestamp, limit: u32) -> Result<Ended> {
        let found = self.read(move |db| lapsed(db, now, limit)).await?;
        if found.is_empty() {
            return Ok(Ended::default());
        }
        self.write(move |tx| end_all(tx, &found, now)).await
    }

    async fn forget(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let found = self.read(move |db| forgotten(db, before, limit)).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| {
            for (company, name) in &found {
                tx.prepare_cached(FORGET)?.execute(params![company, name])?;
            }
            Ok(found.len() as u64)
        })
        .await
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.read(check::broken).await
    }

    async fn secrets(
        &self,
        after: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<(LaneKey, Purpose, Sealed)>> {
        let after = after.map_or(Uuid::nil(), EndpointId::uuid);
        self.read(move |db| {
            let mut statement = db.prepare_cached(SECRETS)?;
            let mut rows = statement.query(params![after, limit])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let company = CompanyId::from_uuid(row.get("company_id")?);
                let lane = LaneKey { company, endpoint: EndpointId::from_uuid(row.get("id")?) };
                for (column, purpose) in SEALED {
                    let sealed: Option<Vec<u8>> = row.get(*column)?;
                    all.extend(sealed.map(|sealed| (lane, *purpose, Sealed(sealed))));
                }
            }
            Ok(all)
        })
        .await
    }

    async fn reseal(&self, anew: &[Resealed]) -> Result<u64> {
        let anew = anew.to_vec();
        self.write(move |tx| {
            let mut replaced = 0;
            for one in &anew {
                replaced += reseal(tx, one)?;
            }
            Ok(replaced)
        })
        .await
    }

    async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        let reason = lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // The writer has ended well: nothing can be lost any more.
            None => std::future::pending().await,
        }
    }

    /// It is never away, and no answer of its own writer is lost.
    async fn back(&self) {
        std::future::pending::<()>().await;
    }

    async fn close(&self) {
        self.readers.permits.close();
        let Some(writer) = self.writer.clone() else { return };
        let closed = tokio::task::spawn_blocking(move || writer.close()).await;
        if let Err(error) = closed.map_err(|panic| StoreError::Broken(panic.to_string())) {
            tracing::error!(%error, "the store could not be closed");
        }
    }
}

fn reseal(tx: &mut Tx<'_>, anew: &Resealed) -> rusqlite::Result<u64> {
    let (company, endpoint) = (anew.lane.company.uuid(), anew.lane.endpoint.uuid());
    let columns = SEALED.iter().filter(|(_, purpose)| *purpose == anew.purpose);
    tx.forget_listeners(anew.lane.company);
    let mut replaced = 0;
    for (column, _) in columns {
        let sql = format!(
            "update endpoints set {column} = ?4 where company_id = ?1 and id = ?2 and {column} = ?3"
        );
        let values = params![company, endpoint, anew.before.0, anew.sealed.0];
        replaced += tx.prepare_cached(&sql)?.execute(values)? as u64;
    }
    Ok(replaced)
}

fn buried(db: &Connection, limit: u32) -> rusqlite::Result<Vec<Doomed>> {
    let mut statement = db.prepare_cached(BURIED)?;
    let found = statement.query_map([limit], |row| {
        let company = CompanyId::from_uuid(row.get(0)?);
        let (id, reason) = (DeliveryId::from_uuid(row.get(1)?), "the endpoint was deleted".into());
        Ok(Doomed { company, id, held: Held::Anyhow, reason })
    })?;
    found.collect()
}

fn lapsed(db: &Connection, now: Timestamp, limit: u32) -> rusqlite::Result<Vec<Doomed>> {
    let mut statement = db.prepare_cached(LAPSED)?;
    let found = statement.query_map(params![now.0, limit], |row| {
        let company = CompanyId::from_uuid(row.get(0)?);
        let (id, held) = (DeliveryId::from_uuid(row.get(1)?), Held::Unclaimed);
        let reason = expired(row.get(2)?, Timestamp(row.get(3)?));
        Ok(Doomed { company, id, held, reason })
    })?;
    found.collect()
}

fn end_all(tx: &mut Tx<'_>, doomed: &[Doomed], now: Timestamp) -> rusqlite::Result<Ended> {
    let mut ended = Ended::default();
    for one in doomed {
        end(tx, one, now)?.add_to(&mut ended);
    }
    Ok(ended)
}

fn forgotten(
    db: &Connection,
    before: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<(Uuid, String)>> {
    let mut statement = db.prepare_cached(FORGOTTEN)?;
    let names =
        statement.query_map(params![before.0, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    names.collect()
}
