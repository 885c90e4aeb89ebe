//! The calls that are about API keys and the audit log, each tapped.

use async_trait::async_trait;
use fanfare::model::{Act, ApiKey, ApiKeyId, AuditId, Entry, KeyHash};
use fanfare::store::{ApiKeys, Audit, Result};
use fanfare::{CompanyId, Timestamp};
use uuid::Uuid;

use super::tapped::{Call, Tapped};

#[async_trait]
impl ApiKeys for Tapped {
    async fn add_api_key(&self, key: &ApiKey, act: &Act) -> Result<()> {
        self.call(Call::Write, |store| async move { store.add_api_key(key, act).await }).await
    }

    async fn api_key(&self, company: CompanyId, hash: &KeyHash) -> Result<Option<ApiKey>> {
        self.call(Call::Read, |store| async move { store.api_key(company, hash).await }).await
    }

    async fn api_keys_before(
        &self,
        company: CompanyId,
        before: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>> {
        self.call(
            Call::Read,
            |store| async move { store.api_keys_before(company, before, limit).await },
        )
        .await
    }

    async fn revoke_api_key(&self, company: CompanyId, id: ApiKeyId, act: &Act) -> Result<bool> {
        self.call(Call::Write, |store| async move { store.revoke_api_key(company, id, act).await })
            .await
    }

    async fn note_use(&self, company: CompanyId, id: ApiKeyId, now: Timestamp) -> Result<()> {
        self.call(Call::Write, |store| async move { store.note_use(company, id, now).await }).await
    }

    async fn forget_api_keys(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.call(Call::Write, |store| async move { store.forget_api_keys(before, limit).await })
            .await
    }
}

#[async_trait]
impl Audit for Tapped {
    async fn entries_before(
        &self,
        company: CompanyId,
        subject: Option<Uuid>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<Entry>> {
        self.call(Call::Read, |store| async move {
            store.entries_before(company, subject, before, limit).await
        })
        .await
    }

    async fn forget_entries(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.call(Call::Write, |store| async move { store.forget_entries(before, limit).await })
            .await
    }
}
