//! Another key for everything that is sealed, while the engine runs.
//!
//! In this order, so that a crash at any moment leaves a store and keys that fit together: the files
//! hold both keys, the store knows that it needs both, everything new is sealed with the new one,
//! everything old is sealed anew, the store forgets the old key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::finish::finish;
use crate::engine::manage::internal;
use crate::engine::{Engine, World};
use crate::error::{Error, Result};
use crate::keys::{self, Key};
use crate::model::EndpointId;
use crate::seal::{KEPT_AS, Seal, UnknownKey};
use crate::store::Resealed;

/// The setting of the key before the present one.
pub const PREVIOUS_KEY: &str = "FANFARE_ENCRYPTION_KEY_PREVIOUS";

/// Endpoints whose secrets are sealed anew in one transaction.
const SLICE: u32 = 32;
/// Transactions of one step.
const SLICES: u32 = 16;

/// What a step of a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// Whether everything is sealed with the present key now. If not, there is more to do.
    pub done: bool,
    /// Whether this step made a new key.
    pub new_key: bool,
    /// How many secrets this step sealed anew.
    pub resealed: u64,
    /// How many no key opens, so that they stay as they are. Known once it is done.
    pub unreadable: u64,
    /// Where the key before lies, if it was kept in a file. It opens copies of the store that were
    /// made before.
    pub previous_file: Option<PathBuf>,
}

/// A walk through all that is sealed, again and again until there is nothing to be done.
pub(super) struct Walk {
    after: Option<EndpointId>,
    /// Whether the next walk may be the last one: this one had nothing to do, and it is not the
    /// first, which may have been overtaken by whoever stored something with the older key.
    clean: bool,
    /// What no key opens.
    unreadable: u64,
}

impl Engine {
    /// Makes sure that nothing in the store is sealed with another key than these, and has it
    /// remember them by their check values. [`Engine::open`] does it.
    ///
    /// # Errors
    /// [`Error::WrongKey`], [`Error::KeyStillNeeded`].
    pub async fn agree_on_encryption_keys(&self) -> Result<()> {
        let (store, seal) = (self.store(), self.world.seal.present());
        loop {
            let Some(kept) = store.kept(KEPT_AS).await? else {
                if store.agree(KEPT_AS, &seal.settled()).await? {
                    return Ok(());
                }
                continue;
            };
            let agreed = seal.agreed(&kept).map_err(|unknown| match unknown {
                UnknownKey::Present => Error::WrongKey { setting: KEPT_AS.to_owned() },
                UnknownKey::Previous => Error::KeyStillNeeded { setting: PREVIOUS_KEY },
            })?;
            if agreed.len() > seal.settled().len() {
                tracing::warn!(
                    "a part of the store may be sealed with an older key; `fanfare rotate-key` \
                     seals it with the present one"
                );
            }
            if agreed == kept || store.keep_instead(KEPT_AS, &kept, &agreed).await? {
                return Ok(());
            }
        }
    }

    /// Seals with the present key what is sealed with an older one. Where there is no such thing
    /// and the key is a file, puts a new key in its place first. Does a part of it, to be called
    /// again until it is done; meanwhile everything goes on, and a crash costs nothing.
    ///
    /// # Errors
    /// [`Error::NothingToRotate`] when everything is sealed with the present key, which was given
    /// by somebody who keeps it; [`Error::Setup`] when the key's file cannot be replaced.
    pub async fn rotate_key(&self) -> Result<KeyRotation> {
        finish(&self.world, Arc::clone(&self.world).rotate_key()).await
    }
}

impl World {
    async fn rotate_key(self: Arc<Self>) -> Result<KeyRotation> {
        let mut rotation = self.seal.rotation.lock().await;
        let new_key = rotation.is_none() && !self.is_rotating().await?;
        if new_key {
            self.begin_with_new_key().await?;
        }
        let walk = rotation.get_or_insert(Walk { after: None, clean: false, unreadable: 0 });
        let mut step = KeyRotation {
            done: false,
            new_key,
            resealed: 0,
            unreadable: 0,
            previous_file: self.seal.key_file.as_deref().map(keys::previous_file),
        };
        for _ in 0..SLICES {
            if walk.after.is_none() {
                self.seal.settle().await;
            }
            if self.slice(walk, &mut step).await? {
                self.forget_older_keys().await?;
                *rotation = None;
                step.done = true;
                break;
            }
        }
        tracing::info!(resealed = step.resealed, done = step.done, "the encryption key is rotated");
        Ok(step)
    }

    /// May something in the store be sealed with an older key?
    async fn is_rotating(&self) -> Result<bool> {
        let kept = self.store.kept(KEPT_AS).await?.unwrap_or_default();
        Ok(kept.len() > self.seal.present().settled().len())
    }

    async fn begin_with_new_key(&self) -> Result<()> {
        let Some(file) = self.seal.key_file.clone() else { return Err(Error::NothingToRotate) };
        if self.store.nodes().await?.iter().any(|node| !node.this) {
            return Err(Error::Setup(
                "several nodes share this store, and a new key file would be known to one of them \
                 alone: give all of them the new key in FANFARE_ENCRYPTION_KEY and the present one \
                 in FANFARE_ENCRYPTION_KEY_PREVIOUS, and rotate then"
                    .to_owned(),
            ));
        }
        let seal = self.seal.present();
        let in_use = Arc::clone(&seal);
        let replaced = tokio::task::spawn_blocking(move || replaced(&file, &in_use)).await;
        let key = replaced.map_err(|panic| internal(panic.to_string()))??;
        let renewed = seal.renewed(key.bytes());
        let both = renewed.agreed(&seal.settled());
        let both = both.map_err(|_| internal("the keys do not fit together".to_owned()))?;
        let agreed = self.store.agree(KEPT_AS, &seal.settled()).await?;
        if !agreed || !self.store.keep_instead(KEPT_AS, &seal.settled(), &both).await? {
            return Err(internal("the store was used with another key meanwhile".to_owned()));
        }
        self.seal.renew(renewed);
        Ok(())
    }

    /// Seals a slice anew and goes on. Returns whether there is nothing left to be done at all.
    async fn slice(&self, walk: &mut Walk, step: &mut KeyRotation) -> Result<bool> {
        let seal = self.seal.present();
        let secrets = self.store.secrets(walk.after, SLICE).await?;
        let Some((last, ..)) = secrets.last() else {
            let done = walk.clean;
            step.unreadable = if done { walk.unreadable } else { 0 };
            *walk = Walk { after: None, clean: true, unreadable: 0 };
            return Ok(done);
        };
        walk.after = Some(last.endpoint);
        let mut anew = Vec::new();
        for (lane, purpose, before) in secrets {
            if seal.is_present(&before) {
                continue;
            }
            match seal.open(lane, purpose, &before) {
                Ok(text) => {
                    let sealed = seal.seal(lane, purpose, &text).map_err(internal)?;
                    anew.push(Resealed { lane, purpose, before, sealed });
                }
                Err(reason) => {
                    tracing::error!("{reason}; it stays as it is");
                    walk.unreadable += 1;
                }
            }
        }
        if !anew.is_empty() {
            walk.clean = false;
            step.resealed += self.store.reseal(&anew).await?;
        }
        Ok(false)
    }

    async fn forget_older_keys(&self) -> Result<()> {
        let seals_with = self.seal.present().settled();
        for node in self.store.nodes().await? {
            if !node.this && node.card.seals_with != seals_with {
                return Err(Error::Setup(format!(
                    "the node {} still seals with another key: restart it with the same keys as \
                     this one, and rotate then",
                    node.card.name
                )));
            }
        }
        let kept = self.store.kept(KEPT_AS).await?.unwrap_or_default();
        let settled = self.seal.present().settled();
        self.store.keep_instead(KEPT_AS, &kept, &settled).await?;
        Ok(())
    }
}

/// A new key in the place of the one in the file.
fn replaced(file: &Path, seal: &Seal) -> Result<Key> {
    keys::replace(file, |key| seal.seals_with(key.bytes()))
}
