//! Keeping house.

use async_trait::async_trait;
use deadpool_postgres::Object;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::model::{CompanyId, DeliveryId, EndpointId, SealedSecret, Timestamp, expired};
use crate::store::postgres::ending::Doomed;
use crate::store::postgres::rows::{get, unsigned};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::{Postgres, check};
use crate::store::{Ended, Result, Upkeep};

/// A write like any other: it needs a primary, room for its log, and a commit.
/// A write of no consequence, to see whether one is possible.
const TOUCH: &str = "
    insert into kept (name, value) values ('ready', $1)
    on conflict (name) do update set value = excluded.value";

const KEEP: &str = "insert into kept (name, value) values ($1, $2) on conflict do nothing";
const KEPT: &str = "select value = $2 as same from kept where name = $1";

/// Ids tell when they were made, so old ones are those below one of that time. Companies one by
/// one, because every index begins with them; what is held longer than history is kept is walked
/// over.
const EXPIRE_DELIVERIES: &str = "
    with old as materialized (
        select d.company_id, d.id from companies c
        cross join lateral (
            select d.company_id, d.id from deliveries d
            where d.company_id = c.company_id and d.id < $1 and d.state <> 0
            order by d.id limit $2 for update skip locked) d
        limit $2),
    gone as (
        delete from deliveries d using old
        where d.company_id = old.company_id and d.id = old.id
        returning d.company_id, d.id, d.endpoint_id, d.event_id, d.state),
    history as (
        delete from attempts a using gone g
        where a.company_id = g.company_id and a.delivery_id = g.id
        returning 1),
    tally as (
        insert into counts (company_id, endpoint_id, waiting, concluded, failed)
        select company_id, endpoint_id, 0, -count(*) filter (where state = 1),
               -count(*) filter (where state = 2)
        from gone group by company_id, endpoint_id order by company_id, endpoint_id
        on conflict (company_id, endpoint_id) do update
        set concluded = counts.concluded + excluded.concluded,
            failed = counts.failed + excluded.failed)
    select g.company_id, g.event_id, (select count(*) from history) as attempts from gone g";

/// A statement of its own, which sees what replays have added meanwhile.
const EXPIRE_EVENTS: &str = "
    with gone as (
        delete from events v
        using (select distinct * from unnest($1::uuid[], $2::uuid[])) as g (company_id, id)
        where v.company_id = g.company_id and v.id = g.id
          and not exists (select from deliveries d
                          where d.company_id = v.company_id and d.event_id = v.id)
        returning 1)
    select count(*) as rows from gone";

const EXPIRE_UNHEARD: &str = "
    with old as materialized (
        select v.company_id, v.id from companies c
        cross join lateral (
            select v.company_id, v.id from events v
            where v.company_id = c.company_id and v.deliveries = 0 and v.created_at < $1
            order by v.created_at limit $2) v
        limit $2),
    gone as (
        delete from events v using old where v.company_id = old.company_id and v.id = old.id
        returning 1)
    select count(*) as rows from gone";

const EXPIRE_ENDPOINTS: &str = "
    with gone as (
        delete from endpoints e
        where e.deleted_at < $1
          and not exists (select from deliveries d
                          where d.company_id = e.company_id and d.endpoint_id = e.id)
        returning e.company_id, e.id),
    tally as (
        delete from counts c using gone g
        where c.company_id = g.company_id and c.endpoint_id = g.id)
    select count(*) as rows from gone";

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
    select company_id, id, secret from endpoints where $1::uuid is null or id > $1
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

    async fn expire(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let client = Transaction::on(self.database.writer().await?);
        let limit = i64::from(limit);
        client.batch_execute("begin").await?;
        let of_deliveries = client.prepare_cached(EXPIRE_DELIVERIES).await?;
        let gone =
            client.query(&of_deliveries, &[&DeliveryId::first_at(before).uuid(), &limit]).await?;
        let companies: Vec<Uuid> =
            gone.iter().map(|row| get(row, "company_id")).collect::<Result<_>>()?;
        let events: Vec<Uuid> =
            gone.iter().map(|row| get(row, "event_id")).collect::<Result<_>>()?;
        let of_events = client.prepare_cached(EXPIRE_EVENTS).await?;
        let of_unheard = client.prepare_cached(EXPIRE_UNHEARD).await?;
        let of_endpoints = client.prepare_cached(EXPIRE_ENDPOINTS).await?;
        let (events, unheard, endpoints, ()) = tokio::try_join!(
            biased;
            async { client.query_one(&of_events, &[&companies, &events]).await },
            async { client.query_one(&of_unheard, &[&before.0, &limit]).await },
            async { client.query_one(&of_endpoints, &[&before.0]).await },
            client.batch_execute("commit"),
        )?;
        client.ended();
        let attempts: i64 = gone.first().map_or(Ok(0), |row| get(row, "attempts"))?;
        let deliveries = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        let rest = rows_of(&events)? + rows_of(&unheard)? + rows_of(&endpoints)?;
        Ok(deliveries + attempts.unsigned_abs() + rest)
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
    ) -> Result<Vec<(CompanyId, EndpointId, SealedSecret)>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(SECRETS).await?;
        let after = after.map(EndpointId::uuid);
        let rows = client.query(&statement, &[&after, &i64::from(limit)]).await?;
        rows.iter().map(read_secret).collect()
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

async fn end(doomed: Doomed, client: Object, now: Timestamp) -> Result<Ended> {
    if doomed.is_empty() {
        return Ok(Ended::default());
    }
    doomed.end(Transaction::on(client), now).await
}

fn name_of(row: &Row) -> Result<(Uuid, Uuid)> {
    Ok((get(row, "company_id")?, get(row, "id")?))
}

fn rows_of(row: &Row) -> Result<u64> {
    let rows: i64 = get(row, "rows")?;
    Ok(rows.unsigned_abs())
}

fn read_secret(row: &Row) -> Result<(CompanyId, EndpointId, SealedSecret)> {
    Ok((
        CompanyId::from_uuid(get(row, "company_id")?),
        EndpointId::from_uuid(get(row, "id")?),
        SealedSecret(get(row, "secret")?),
    ))
}
