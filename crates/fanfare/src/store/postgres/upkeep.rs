//! Keeping house.

use async_trait::async_trait;
use deadpool_postgres::Object;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::model::{CompanyId, EndpointId, LaneKey, Purpose, Sealed, Timestamp, expired};
use crate::store::postgres::ending::Doomed;
use crate::store::postgres::rows::{get, unsigned};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::{Postgres, check, nodes, retention};
use crate::store::rows::SEALED;
use crate::store::{Ended, Place, Resealed, Result, Swept, Upkeep};

/// A write like any other: it needs a primary, room for its log, and a commit.
/// A write of no consequence, to see whether one is possible.
const TOUCH: &str = "
    insert into kept (name, value) values ('ready', $1)
    on conflict (name) do update set value = excluded.value";

const KEEP: &str = "insert into kept (name, value) values ($1, $2) on conflict do nothing";
const KEPT: &str = "select value from kept where name = $1";
const KEEP_INSTEAD: &str = "update kept set value = $3 where name = $1 and value = $2";

const BURIED: &str = "
    select d.company_id, d.id from endpoints e
    cross join lateral (
        select d.company_id, d.id from deliveries d
        where d.company_id = e.company_id and d.endpoint_id = e.id and d.state = 0
        order by d.due_at, d.id limit $1) d
    where e.deleted_at is not null
    limit $1";

const LAPSED: &str = "
    select d.* from companies c
    cross join lateral (
        select d.company_id, d.id, d.attempts, d.expires_at from deliveries d
        where d.company_id = c.company_id and d.expires_at <= $1 and d.state = 0
          and d.expires_at is not null and not d.claimed
        limit $2) d
    limit $2";

const FORGET: &str = "
    with old as materialized (
        select k.company_id, k.name from companies c
        cross join lateral (
            select k.company_id, k.name from known k
            where k.company_id = c.company_id and k.created_at < $1 limit $2) k
        limit $2)
    delete from known k using old where k.company_id = old.company_id and k.name = old.name";

const SECRETS: &str = "
    select company_id, id, secret, previous_secret, headers, tls from endpoints
    where $1::uuid is null or id > $1
    order by id limit $2";

#[async_trait]
impl Upkeep for Postgres {
    async fn ready(&self, bytes: usize) -> Result<()> {
        let client = self.database.writer().await?;
        let statement = client.prepare_cached(TOUCH).await?;
        client.execute(&statement, &[&vec![0_u8; bytes]]).await?;
        Ok(())
    }

    async fn agree(&self, name: &str, value: &[u8]) -> Result<bool> {
        let client = self.database.writer().await?;
        client.execute(KEEP, &[&name, &value]).await?;
        let kept: Vec<u8> = get(&client.query_one(KEPT, &[&name]).await?, "value")?;
        Ok(kept == value)
    }

    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let client = self.database.reader().await?;
        let kept = client.query_opt(KEPT, &[&name]).await?;
        kept.map(|row| get(&row, "value")).transpose()
    }

    async fn keep_instead(&self, name: &str, before: &[u8], value: &[u8]) -> Result<bool> {
        let client = self.database.writer().await?;
        Ok(client.execute(KEEP_INSTEAD, &[&name, &before, &value]).await? == 1)
    }

    async fn expire(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept> {
        retention::expire(&self.database, before, from, limit).await
    }

    async fn strip(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept> {
        retention::strip(&self.database, before, from, limit).await
    }

    /// The server's own vacuum does it.
    async fn reclaim(&self) -> Result<bool> {
        Ok(false)
    }

    async fn bury(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let client = self.database.writer().await?;
        let statement = client.prepare_cached(BURIED).await?;
        let mut doomed = Doomed::default();
        for row in client.query(&statement, &[&i64::from(limit)]).await? {
            doomed.add_anyhow(name_of(&row)?, "the endpoint was deleted".to_owned());
        }
        Ok(end(doomed, client, now).await?.deliveries.len() as u64)
    }

    async fn lapse(&self, now: Timestamp, limit: u32) -> Result<Ended> {
        let client = self.database.writer().await?;
        let statement = client.prepare_cached(LAPSED).await?;
        let mut doomed = Doomed::default();
        for row in client.query(&statement, &[&now.0, &i64::from(limit)]).await? {
            let attempts = unsigned(get(&row, "attempts")?, "number of attempts")?;
            let reason = expired(attempts, Timestamp(get(&row, "expires_at")?));
            doomed.add(name_of(&row)?, None, reason);
        }
        end(doomed, client, now).await
    }

    async fn forget(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let client = self.database.writer().await?;
        let statement = client.prepare_cached(FORGET).await?;
        Ok(client.execute(&statement, &[&before.0, &i64::from(limit)]).await?)
    }

    async fn check(&self) -> Result<Vec<String>> {
        check::check(self.database.reader().await?).await
    }

    async fn secrets(
        &self,
        after: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<(LaneKey, Purpose, Sealed)>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(SECRETS).await?;
        let after = after.map(EndpointId::uuid);
        let rows = client.query(&statement, &[&after, &i64::from(limit)]).await?;
        let mut all = Vec::new();
        for row in &rows {
            let company = CompanyId::from_uuid(get(row, "company_id")?);
            let lane = LaneKey { company, endpoint: EndpointId::from_uuid(get(row, "id")?) };
            for (column, purpose) in SEALED {
                let sealed: Option<Vec<u8>> = get(row, column)?;
                all.extend(sealed.map(|sealed| (lane, *purpose, Sealed(sealed))));
            }
        }
        Ok(all)
    }

    async fn reseal(&self, anew: &[Resealed]) -> Result<u64> {
        let client = Transaction::on(self.database.writer().await?);
        client.batch_execute("begin").await?;
        let mut replaced = 0;
        for (column, purpose) in SEALED {
            replaced += reseal(&client, column, anew, *purpose).await?;
        }
        client.batch_execute("commit").await?;
        client.ended();
        Ok(replaced)
    }

    /// The server ends itself when its disk loses a write, and recovers from its log: to us it is
    /// away, and what it had answered is there again.
    async fn lost(&self) -> String {
        std::future::pending().await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.workers.close();
        self.workers.wait().await;
        if let Err(error) = nodes::leave(&self.database).await {
            tracing::warn!(%error, "the other nodes could not be told; this node's lease will run out");
        }
        self.database.pool.close();
    }
}

async fn reseal(client: &Object, column: &str, anew: &[Resealed], purpose: Purpose) -> Result<u64> {
    let anew: Vec<_> = anew.iter().filter(|one| one.purpose == purpose).collect();
    let companies: Vec<Uuid> = anew.iter().map(|one| one.lane.company.uuid()).collect();
    let endpoints: Vec<Uuid> = anew.iter().map(|one| one.lane.endpoint.uuid()).collect();
    let before: Vec<&[u8]> = anew.iter().map(|one| &one.before.0[..]).collect();
    let sealed: Vec<&[u8]> = anew.iter().map(|one| &one.sealed.0[..]).collect();
    let sql = format!(
        "update endpoints e set {column} = n.sealed
         from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[])
             as n (company_id, id, before, sealed)
         where e.company_id = n.company_id and e.id = n.id and e.{column} = n.before"
    );
    let statement = client.prepare_cached(&sql).await?;
    Ok(client.execute(&statement, &[&companies, &endpoints, &before, &sealed]).await?)
}

async fn end(doomed: Doomed, client: Object, now: Timestamp) -> Result<Ended> {
    if doomed.is_empty() {
        return Ok(Ended::default());
    }
    doomed.end(Transaction::on(client), now).await
}

fn name_of(row: &Row) -> Result<(Uuid, Uuid)> {
    Ok((get(row, "company_id")?, get(row, "id")?))
}

pub(super) fn rows_of(row: &Row) -> Result<u64> {
    let rows: i64 = get(row, "rows")?;
    Ok(rows.unsigned_abs())
}
