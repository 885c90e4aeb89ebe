//! Keys that programs call with: made, listed, revoked and checked.

mod presented;
mod text;

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::engine::finish::finish;
use crate::engine::manage::internal;
use crate::engine::{Engine, World};
use crate::error::{Error, Result};
use crate::model::{Act, ApiKey, ApiKeyId, CompanyId, KeyHash, Scope, Timestamp};

use presented::Known;
pub(super) use presented::Presented;
pub use text::ApiKeyText;

/// The longest name of a key, in characters.
pub const KEY_NAME_MAX: usize = 255;
/// How far what is told of a key's last use may be behind.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// For people: 1 to [`KEY_NAME_MAX`] characters, none of them control.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// From when on it works no more; `None` for never.
    pub expires_at: Option<Timestamp>,
}

impl Engine {
    /// Makes a key. Its text is shown here and never again: only its hash is kept.
    pub async fn create_api_key(
        &self,
        company: CompanyId,
        new: NewApiKey,
    ) -> Result<(ApiKey, ApiKeyText)> {
        let act = self.act();
        check(&new, act.at)?;
        let text = ApiKeyText::generate(company).map_err(internal)?;
        let key = ApiKey {
            id: ApiKeyId::new(act.at),
            company,
            name: new.name,
            hash: text.hash(),
            hint: text.hint().to_owned(),
            scope: new.scope,
            created_at: act.at,
            expires_at: new.expires_at,
            used_at: None,
            revoked_at: None,
        };
        self.world.store.add_api_key(&key, &act).await?;
        Ok((key, text))
    }

    /// A company's keys with ids below `before`, newest first. Those that work no more are listed as
    /// long as history is kept.
    pub async fn api_keys_before(
        &self,
        company: CompanyId,
        before: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKey>> {
        Ok(self.world.store.api_keys_before(company, before, limit).await?)
    }

    /// Revokes a key: once this returns it works no more in this process. Can be repeated.
    pub async fn revoke_api_key(&self, company: CompanyId, id: ApiKeyId) -> Result<()> {
        let revoke = Arc::clone(&self.world).revoke(company, id, self.act());
        finish(&self.world, revoke).await
    }

    /// The key that somebody calls with, if it works; `None` when it is mistyped, unknown, revoked
    /// or has expired. What was found is believed for five seconds.
    pub async fn check_api_key(&self, text: &str) -> Result<Option<Arc<ApiKey>>> {
        let world = &self.world;
        let (hash, now) = (text::hash(text), world.clock.now());
        let known = match world.presented.get(&hash) {
            Some(known) if known.is_fresh(now) => known,
            stale => {
                world.look_up(text, hash, stale.is_some_and(|known| known.key.is_some())).await?
            }
        };
        let Some(key) = known.key.clone().filter(|key| key.works_at(now)) else { return Ok(None) };
        if known.is_to_be_noted(now, USE_NOTED_EVERY) {
            world.note_use(Arc::clone(&key), now);
        }
        Ok(Some(key))
    }
}

fn check(new: &NewApiKey, now: Timestamp) -> Result<()> {
    let length = new.name.chars().count();
    if !(1..=KEY_NAME_MAX).contains(&length) || new.name.chars().any(char::is_control) {
        let reason = format!("must have 1 to {KEY_NAME_MAX} characters, none of them control");
        return Err(Error::invalid("name", reason));
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::invalid("expiresAt", "must be in the future"));
    }
    Ok(())
}

impl World {
    async fn revoke(self: Arc<Self>, company: CompanyId, id: ApiKeyId, act: Act) -> Result<()> {
        let there = self.store.revoke_api_key(company, id, &act).await;
        // Also when it failed: it may have happened.
        self.presented.forget(id);
        if there? { Ok(()) } else { Err(Error::not_found("API key", id)) }
    }

    /// Asks the store. What was never a key waits for its turn, so that a flood of made-up keys
    /// keeps few readers busy; a key that worked does not wait behind it.
    async fn look_up(&self, text: &str, hash: KeyHash, worked: bool) -> Result<Arc<Known>> {
        let Some(company) = text::company(text) else { return Ok(Arc::new(Known::nothing())) };
        let _turn = if worked { None } else { self.presented.turn().await };
        let round = self.presented.round();
        let now = self.clock.now();
        let found = self.store.api_key(company, &hash).await?;
        let found = found.filter(|key| bool::from(key.hash.0.ct_eq(&hash.0)));
        Ok(self.presented.keep(hash, Known::found(found, now), round))
    }

    /// In the background: nobody's request waits for it or fails by it.
    fn note_use(self: &Arc<Self>, key: Arc<ApiKey>, now: Timestamp) {
        let world = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(error) = world.store.note_use(key.company, key.id, now).await {
                tracing::debug!(%error, key = %key.id, "the use of a key was not noted");
            }
        });
    }
}
