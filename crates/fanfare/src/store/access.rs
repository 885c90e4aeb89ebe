//! Who may call, and who did what: the part of the contract that is about API keys and the audit
//! log.

use async_trait::async_trait;

use crate::model::{Act, ApiKey, ApiKeyId, AuditId, CompanyId, Entry, KeyHash, Timestamp};
use crate::store::Result;
use uuid::Uuid;

/// Keys that programs call with.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Keeps a key, and its company when that is new.
    async fn add_api_key(&self, key: &ApiKey, act: &Act) -> Result<()>;

    /// The key of a company that hashes to this, whether or not it works.
    async fn api_key(&self, company: CompanyId, hash: &KeyHash) -> Result<Option<ApiKey>>;

    /// A company's keys with ids below `before`, newest first, those included that work no more.
    async fn api_keys_before(
        &self,
        company: CompanyId,
        before: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>>;

    /// Revokes a key. One that was revoked stays as it is. Returns whether it is there.
    async fn revoke_api_key(&self, company: CompanyId, id: ApiKeyId, act: &Act) -> Result<bool>;

    /// Notes that a key was used at `now`, unless it was used later.
    async fn note_use(&self, company: CompanyId, id: ApiKeyId, now: Timestamp) -> Result<()>;

    /// Removes up to `limit` keys that were revoked or had expired before `before`. Returns how
    /// many.
    async fn forget_api_keys(&self, before: Timestamp, limit: u32) -> Result<u64>;
}

/// Who changed what.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Up to `limit` entries of a company with ids below `before`, the newest first; where a
    /// subject is named, those about it alone.
    async fn entries_before(
        &self,
        company: CompanyId,
        subject: Option<Uuid>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<Entry>>;

    /// Removes up to `limit` entries of what was done before `before`. Returns how many.
    async fn forget_entries(&self, before: Timestamp, limit: u32) -> Result<u64>;
}
