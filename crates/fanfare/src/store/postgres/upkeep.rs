//! Keeping house.

use async_trait::async_trait;
use tokio_postgres::Row;

use crate::model::{CompanyId, EndpointId, SealedSecret, Timestamp};
use crate::store::postgres::rows::get;
use crate::store::postgres::{Postgres, check, retention};
use crate::store::{Place, Result, Swept, Upkeep};

/// A write like any other: it needs a primary, room for its log, and a commit.
/// A write of no consequence, to see whether one is possible.
const TOUCH: &str = "
    insert into kept (name, value) values ('ready', $1)
    on conflict (name) do update set value = excluded.value";

const KEEP: &str = "insert into kept (name, value) values ($1, $2) on conflict do nothing";
const KEPT: &str = "select value = $2 as same from kept where name = $1";

const BURY: &str = "
    with doomed as materialized (
        select d.company_id, d.id from endpoints e
        cross join lateral (
            select d.company_id, d.id from deliveries d
            where d.company_id = e.company_id and d.endpoint_id = e.id and d.state = 0
            order by d.due_at, d.id limit $2 for update skip locked) d
        where e.deleted_at is not null
        limit $2),
    buried as (
        update deliveries d
        set state = 2, claimed = false, updated_at = $1, reason = 'the endpoint was deleted'
        from doomed where d.company_id = doomed.company_id and d.id = doomed.id
        returning d.company_id, d.endpoint_id),
    tally as (
        insert into counts (company_id, endpoint_id, waiting, concluded, failed)
        select company_id, endpoint_id, -count(*), 0, count(*)
        from buried group by company_id, endpoint_id order by company_id, endpoint_id
        on conflict (company_id, endpoint_id) do update
        set waiting = counts.waiting + excluded.waiting, failed = counts.failed + excluded.failed)
    select count(*) as rows from buried";

const SECRETS: &str = "
    select company_id, id, secret, previous_secret from endpoints
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
        get(&client.query_one(KEPT, &[&name, &value]).await?, "same")
    }

    async fn agrees(&self, name: &str, value: &[u8]) -> Result<bool> {
        let client = self.database.reader().await?;
        let kept = client.query_opt(KEPT, &[&name, &value]).await?;
        kept.map_or(Ok(true), |row| get(&row, "same"))
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
        let statement = client.prepare_cached(BURY).await?;
        rows_of(&client.query_one(&statement, &[&now.0, &i64::from(limit)]).await?)
    }

    async fn check(&self) -> Result<Vec<String>> {
        check::check(self.database.reader().await?).await
    }

    async fn secrets(
        &self,
        after: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<(CompanyId, EndpointId, SealedSecret)>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(SECRETS).await?;
        let after = after.map(EndpointId::uuid);
        let rows = client.query(&statement, &[&after, &i64::from(limit)]).await?;
        let mut all = Vec::new();
        for row in &rows {
            let company = CompanyId::from_uuid(get(row, "company_id")?);
            let endpoint = EndpointId::from_uuid(get(row, "id")?);
            let both: [Option<Vec<u8>>; 2] = [get(row, "secret")?, get(row, "previous_secret")?];
            let kept = both.into_iter().flatten().map(SealedSecret);
            all.extend(kept.map(|sealed| (company, endpoint, sealed)));
        }
        Ok(all)
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
        self.database.pool.close();
        if let Some(owner) = &self.database.owner {
            owner.release().await;
        }
    }
}

pub(super) fn rows_of(row: &Row) -> Result<u64> {
    let rows: i64 = get(row, "rows")?;
    Ok(rows.unsigned_abs())
}
