//! Keys that programs call with.

use async_trait::async_trait;
use tokio_postgres::Row;

use crate::model::{Act, Action, ApiKey, ApiKeyId, CompanyId, KeyHash, Timestamp};
use crate::store::postgres::error::corrupt;
use crate::store::postgres::replays::MAKE_COMPANY;
use crate::store::postgres::rows::{get, optional_time, text};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::{Postgres, audit};
use crate::store::{ApiKeys, Result};

const ADD: &str = "
    insert into api_keys (company_id, id, name, hash, hint, scope, created_at, expires_at, used_at,
                          revoked_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const OF_HASH: &str = "
    select company_id, id, name, hash, hint, scope, created_at, expires_at, used_at, revoked_at
    from api_keys where company_id = $1 and hash = $2";

const BEFORE: &str = "
    select company_id, id, name, hash, hint, scope, created_at, expires_at, used_at, revoked_at
    from api_keys where company_id = $1 and ($2::uuid is null or id < $2)
    order by id desc limit $3";

const REVOKE: &str = "
    update api_keys set revoked_at = $3
    where company_id = $1 and id = $2 and revoked_at is null";

const IS_THERE: &str = "
    select exists (select from api_keys where company_id = $1 and id = $2) as there";

const NOTE_USE: &str = "
    update api_keys set used_at = greatest(used_at, $3) where company_id = $1 and id = $2";

const FORGET: &str = "
    delete from api_keys k using (
        select company_id, id from api_keys where revoked_at < $1 or expires_at < $1 limit $2) old
    where k.company_id = old.company_id and k.id = old.id";

#[async_trait]
impl ApiKeys for Postgres {
    async fn add_api_key(&self, key: &ApiKey, act: &Act) -> Result<()> {
        let transaction = Transaction::on(self.database.writer().await?);
        transaction.batch_execute("begin").await?;
        let make_company = transaction.prepare_cached(MAKE_COMPANY).await?;
        transaction.execute(&make_company, &[&key.company.uuid(), &key.created_at.0]).await?;
        add(&transaction, key).await?;
        let entry = act.entry(key.company, Action::CreateKey, key.id.uuid());
        audit::note(&transaction, &entry).await?;
        transaction.batch_execute("commit").await?;
        transaction.ended();
        Ok(())
    }

    async fn api_key(&self, company: CompanyId, hash: &KeyHash) -> Result<Option<ApiKey>> {
        let client = self.database.reader().await?;
        let of_hash = client.prepare_cached(OF_HASH).await?;
        let row = client.query_opt(&of_hash, &[&company.uuid(), &hash.0.as_slice()]).await?;
        row.as_ref().map(key).transpose()
    }

    async fn api_keys_before(
        &self,
        company: CompanyId,
        before: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>> {
        let client = self.database.reader().await?;
        let list = client.prepare_cached(BEFORE).await?;
        let before = before.map(ApiKeyId::uuid);
        let rows = client.query(&list, &[&company.uuid(), &before, &i64::from(limit)]).await?;
        rows.iter().map(key).collect()
    }

    async fn revoke_api_key(&self, company: CompanyId, id: ApiKeyId, act: &Act) -> Result<bool> {
        let transaction = Transaction::on(self.database.writer().await?);
        transaction.batch_execute("begin").await?;
        let name = (company.uuid(), id.uuid());
        let revoke = transaction.prepare_cached(REVOKE).await?;
        let revoked = transaction.execute(&revoke, &[&name.0, &name.1, &act.at.0]).await? == 1;
        if revoked {
            let entry = act.entry(company, Action::RevokeKey, id.uuid());
            audit::note(&transaction, &entry).await?;
        }
        let there = transaction.prepare_cached(IS_THERE).await?;
        let there = transaction.query_one(&there, &[&name.0, &name.1]).await?;
        transaction.batch_execute("commit").await?;
        transaction.ended();
        get(&there, "there")
    }

    async fn note_use(&self, company: CompanyId, id: ApiKeyId, now: Timestamp) -> Result<()> {
        let client = self.database.writer().await?;
        let note_use = client.prepare_cached(NOTE_USE).await?;
        client.execute(&note_use, &[&company.uuid(), &id.uuid(), &now.0]).await?;
        Ok(())
    }

    async fn forget_api_keys(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let client = self.database.writer().await?;
        let forget = client.prepare_cached(FORGET).await?;
        Ok(client.execute(&forget, &[&before.0, &i64::from(limit)]).await?)
    }
}

async fn add(transaction: &Transaction, key: &ApiKey) -> Result<()> {
    let add = transaction.prepare_cached(ADD).await?;
    transaction
        .execute(
            &add,
            &[
                &key.company.uuid(),
                &key.id.uuid(),
                &text(&key.name),
                &key.hash.0.as_slice(),
                &key.hint,
                &key.scope.as_str(),
                &key.created_at.0,
                &key.expires_at.map(|at| at.0),
                &key.used_at.map(|at| at.0),
                &key.revoked_at.map(|at| at.0),
            ],
        )
        .await?;
    Ok(())
}

fn key(row: &Row) -> Result<ApiKey> {
    let (hash, scope): (&[u8], &str) = (get(row, "hash")?, get(row, "scope")?);
    Ok(ApiKey {
        company: CompanyId::from_uuid(get(row, "company_id")?),
        id: ApiKeyId::from_uuid(get(row, "id")?),
        name: get(row, "name")?,
        hash: KeyHash(hash.try_into().map_err(|_| corrupt("hash"))?),
        hint: get(row, "hint")?,
        scope: scope.parse().map_err(|_| corrupt("scope"))?,
        created_at: Timestamp(get(row, "created_at")?),
        expires_at: optional_time(row, "expires_at")?,
        used_at: optional_time(row, "used_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    })
}
