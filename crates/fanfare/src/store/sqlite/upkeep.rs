//! Keeping house.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::{CompanyId, DeliveryId, EndpointId, LaneKey, SealedSecret, Timestamp, expired};
use crate::store::sqlite::ending::{Doomed, Held, end};
use crate::store::sqlite::queue::found_delivery;
use crate::store::sqlite::{Sqlite, Tx, check};
use crate::store::{Ended, Result, StoreError, Upkeep};

const KEEP: &str = "insert into kept (name, value) values (?1, ?2) on conflict do nothing";
const KEPT: &str = "select value from kept where name = ?1";
/// A write of no consequence, to see whether one is possible. Of zeros, SQLite would keep the pages
/// that are there.
const TOUCH: &str = "
    insert into kept (name, value) values ('ready', randomblob(?1))
    on conflict do update set value = excluded.value";

const SECRETS: &str = "
    select company_id, id, secret from endpoints where id > ?1 order by id limit ?2";

const BURIED: &str = "
    select d.company_id, d.id from deliveries d
    join endpoints e on e.company_id = d.company_id and e.id = d.endpoint_id
    where d.state = 0 and e.deleted_at is not null limit ?1";

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

const NEXT_ENDPOINT: &str = "
    select company_id, endpoint_id from counts where (company_id, endpoint_id) > (?1, ?2)
    order by company_id, endpoint_id limit 1";

const EXPIRED: &str = "
    select id from deliveries indexed by deliveries_by_endpoint
    where company_id = ?1 and endpoint_id = ?2 and id < ?3 and state <> 0 order by id limit ?4";

const UNHEARD: &str = "
    select company_id, id from events indexed by events_unheard
    where deliveries = 0 and created_at < ?1 limit ?2";

const DROP_ATTEMPTS: &str = "delete from attempts where company_id = ?1 and delivery_id = ?2";
const DROP_DELIVERY: &str = "delete from deliveries where company_id = ?1 and id = ?2";
const HAS_DELIVERIES: &str = "
    select exists (select 1 from deliveries where company_id = ?1 and event_id = ?2)";
const DROP_EVENT: &str = "delete from events where company_id = ?1 and id = ?2";

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

    async fn agrees(&self, name: &str, value: &[u8]) -> Result<bool> {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.read(move |db| {
            let kept: Option<Vec<u8>> = db.query_row(KEPT, [&name], |row| row.get(0)).optional()?;
            Ok(kept.is_none_or(|kept| kept == value))
        })
        .await
    }

    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64> {
        // Looked for on a reader's time, removed in one short transaction.
        let found = self.read(move |db| old(db, before, limit)).await?;
        let unheard = self.read(move |db| unheard(db, before, limit)).await?;
        if found.is_empty() && unheard.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| {
            let mut removed = 0;
            for (company, id) in &found {
                removed += u64::from(drop_delivery(tx, *company, *id)?);
            }
            for (company, event) in &unheard {
                drop_event(tx, *company, *event)?;
                removed += 1;
            }
            Ok(removed)
        })
        .await
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
    ) -> Result<Vec<(CompanyId, EndpointId, SealedSecret)>> {
        let after = after.map_or(Uuid::nil(), EndpointId::uuid);
        self.read(move |db| {
            let mut statement = db.prepare_cached(SECRETS)?;
            let secrets = statement.query_map(params![after, limit], |row| {
                let company = CompanyId::from_uuid(row.get(0)?);
                let endpoint = EndpointId::from_uuid(row.get(1)?);
                Ok((company, endpoint, SealedSecret(row.get(2)?)))
            })?;
            secrets.collect()
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

    async fn close(&self) {
        self.readers.permits.close();
        let Some(writer) = self.writer.clone() else { return };
        let closed = tokio::task::spawn_blocking(move || writer.close()).await;
        if let Err(error) = closed.map_err(|panic| StoreError::Broken(panic.to_string())) {
            tracing::error!(%error, "the store could not be closed");
        }
    }
}

fn old(
    db: &Connection,
    before: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<(CompanyId, DeliveryId)>> {
    let cutoff = DeliveryId::first_at(before).uuid();
    let mut found = Vec::new();
    let mut after = (Uuid::nil(), Uuid::nil());
    let mut next = db.prepare_cached(NEXT_ENDPOINT)?;
    let mut expired = db.prepare_cached(EXPIRED)?;
    while found.len() < limit as usize {
        let lane = next.query_row([after.0, after.1], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((company, endpoint)) = lane.optional()? else { break };
        after = (company, endpoint);
        let left = limit as usize - found.len();
        let ids = expired.query_map(params![company, endpoint, cutoff, left], |row| {
            Ok((CompanyId::from_uuid(company), DeliveryId::from_uuid(row.get(0)?)))
        })?;
        for id in ids {
            found.push(id?);
        }
    }
    Ok(found)
}

fn unheard(db: &Connection, before: Timestamp, limit: u32) -> rusqlite::Result<Vec<(Uuid, Uuid)>> {
    let mut statement = db.prepare_cached(UNHEARD)?;
    let events =
        statement.query_map(params![before.0, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
    events.collect()
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

/// Removes a final delivery, and its event when that has no other. Returns whether it was there.
fn drop_delivery(tx: &mut Tx<'_>, company: CompanyId, id: DeliveryId) -> rusqlite::Result<bool> {
    let Some(delivery) = found_delivery(tx, company, id)? else { return Ok(false) };
    let (company_id, event) = (company.uuid(), delivery.event.uuid());
    tx.prepare_cached(DROP_ATTEMPTS)?.execute([company_id, id.uuid()])?;
    tx.prepare_cached(DROP_DELIVERY)?.execute([company_id, id.uuid()])?;
    tx.count_out(LaneKey { company, endpoint: delivery.endpoint }, delivery.state);
    let mut others = tx.prepare_cached(HAS_DELIVERIES)?;
    let others: bool = others.query_row([company_id, event], |row| row.get(0))?;
    if !others {
        drop_event(tx, company_id, event)?;
    }
    Ok(true)
}

fn drop_event(tx: &Tx<'_>, company: Uuid, event: Uuid) -> rusqlite::Result<()> {
    tx.prepare_cached(DROP_EVENT)?.execute([company, event])?;
    Ok(())
}
