//! Keys that programs call with.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use crate::model::{Act, Action, ApiKey, ApiKeyId, CompanyId, KeyHash, Timestamp};
use crate::store::sqlite::endpoints::make_company;
use crate::store::sqlite::rows::{damaged, optional_time};
use crate::store::sqlite::{Sqlite, audit};
use crate::store::{ApiKeys, Result};

const ADD: &str = "
    insert into api_keys (company_id, id, name, hash, hint, scope, created_at, expires_at, used_at,
        revoked_at)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const OF_HASH: &str = "
    select company_id, id, name, hash, hint, scope, created_at, expires_at, used_at, revoked_at
    from api_keys indexed by api_keys_by_hash where company_id = ?1 and hash = ?2";

const BEFORE: &str = "
    select company_id, id, name, hash, hint, scope, created_at, expires_at, used_at, revoked_at
    from api_keys where company_id = ?1 and id < ?2 order by id desc limit ?3";

const REVOKE: &str = "
    update api_keys set revoked_at = ?3
    where company_id = ?1 and id = ?2 and revoked_at is null";

const IS_THERE: &str = "
    select exists (select 1 from api_keys where company_id = ?1 and id = ?2)";

const NOTE_USE: &str = "
    update api_keys set used_at = max(coalesce(used_at, ?3), ?3)
    where company_id = ?1 and id = ?2";

const FORGET: &str = "
    delete from api_keys where (company_id, id) in (
        select company_id, id from api_keys where revoked_at < ?1 or expires_at < ?1 limit ?2)";

#[async_trait]
impl ApiKeys for Sqlite {
    async fn add_api_key(&self, key: &ApiKey, act: &Act) -> Result<()> {
        let entry = act.entry(key.company, Action::CreateKey, key.id.uuid());
        let key = key.clone();
        self.write(move |tx| {
            make_company(tx, key.company, key.created_at)?;
            tx.prepare_cached(ADD)?.execute(params![
                key.company.uuid(),
                key.id.uuid(),
                key.name,
                key.hash.0,
                key.hint,
                key.scope.as_str(),
                key.created_at.0,
                key.expires_at.map(|at| at.0),
                key.used_at.map(|at| at.0),
                key.revoked_at.map(|at| at.0),
            ])?;
            audit::note(tx, &entry)
        })
        .await
    }

    async fn api_key(&self, company: CompanyId, hash: &KeyHash) -> Result<Option<ApiKey>> {
        let hash = hash.0;
        self.read(move |db| {
            let mut of_hash = db.prepare_cached(OF_HASH)?;
            of_hash.query_row(params![company.uuid(), hash], key).optional()
        })
        .await
    }

    async fn api_keys_before(
        &self,
        company: CompanyId,
        before: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>> {
        let before = before.map_or(Uuid::max(), ApiKeyId::uuid);
        self.read(move |db| {
            let mut keys = db.prepare_cached(BEFORE)?;
            keys.query_map(params![company.uuid(), before, limit], key)?.collect()
        })
        .await
    }

    async fn revoke_api_key(&self, company: CompanyId, id: ApiKeyId, act: &Act) -> Result<bool> {
        let entry = act.entry(company, Action::RevokeKey, id.uuid());
        self.write(move |tx| {
            let name = [company.uuid(), id.uuid()];
            if tx.execute(REVOKE, params![name[0], name[1], entry.at.0])? == 1 {
                audit::note(tx, &entry)?;
                return Ok(true);
            }
            tx.query_row(IS_THERE, name, |row| row.get(0))
        })
        .await
    }

    async fn note_use(&self, company: CompanyId, id: ApiKeyId, now: Timestamp) -> Result<()> {
        self.write(move |tx| {
            tx.prepare_cached(NOTE_USE)?.execute(params![company.uuid(), id.uuid(), now.0])?;
            Ok(())
        })
        .await
    }

    async fn forget_api_keys(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(move |tx| {
            Ok(tx.prepare_cached(FORGET)?.execute(params![before.0, limit])? as u64)
        })
        .await
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        company: CompanyId::from_uuid(row.get(0)?),
        id: ApiKeyId::from_uuid(row.get(1)?),
        name: row.get(2)?,
        hash: KeyHash(row.get(3)?),
        hint: row.get(4)?,
        scope: row.get_ref(5)?.as_str()?.parse().map_err(|_| damaged("scope"))?,
        created_at: Timestamp(row.get(6)?),
        expires_at: optional_time(row, 7)?,
        used_at: optional_time(row, 8)?,
        revoked_at: optional_time(row, 9)?,
    })
}
