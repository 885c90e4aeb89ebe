//! Opening an engine on the real clock, network and disk.

use std::fmt;
use std::sync::Arc;

use crate::clock::FollowingClock;
use crate::engine::{Engine, Parts, Rules};
use crate::error::{Error, Result};
use crate::keys::EncryptionKeys;
use crate::metrics::Metrics;
use crate::seal::fingerprint;
use crate::send::{GuardPolicy, HttpTransport};
use crate::store;

/// How an engine is set up.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://…`.
    pub database_url: String,
    /// Seal secrets at rest. The store remembers which keys it was used with, and opens with no
    /// others.
    pub encryption_keys: EncryptionKeys,
    /// What deliveries may reach although it is not public.
    pub guard: GuardPolicy,
    /// What this node is called among others on the same store: `host:port`, or a word.
    pub node: String,
    /// The engine's numbers.
    pub rules: Rules,
}

impl Options {
    /// The defaults on this store: deliveries reach public addresses by https alone.
    pub fn new(database_url: &str, encryption_keys: impl Into<EncryptionKeys>) -> Options {
        Options {
            database_url: database_url.to_owned(),
            encryption_keys: encryption_keys.into(),
            guard: GuardPolicy::default(),
            node: "library".to_owned(),
            rules: Rules::default(),
        }
    }
}

/// Has the guard refuse the sockets that the engine itself uses: its database's and its proxy's, as
/// their names resolve now. Where one does not, whoever connects to it will say so.
async fn add_own_sockets(options: &mut Options) {
    for (host, port) in store::hosts(&options.database_url) {
        if let Ok(found) = tokio::net::lookup_host((host, port)).await {
            options.guard.own_sockets.extend(found);
        }
    }
    if let Some(proxy) = &options.guard.egress_proxy
        && let Ok(found) = proxy.addresses().await
    {
        options.guard.own_sockets.extend(found);
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            // It may hold a password.
            .field("database_url", &"***")
            .field("encryption_keys", &self.encryption_keys)
            .field("guard", &self.guard)
            .field("node", &self.node)
            .field("rules", &self.rules)
            .finish()
    }
}

impl Engine {
    /// Opens the store and makes an engine on it, which [`Engine::start`] then starts.
    ///
    /// # Errors
    /// [`Error::Setup`] when another process has the store, [`Error::WrongKey`] when it was made with
    /// another key, [`Error::KeyStillNeeded`] when something is still sealed with the key before.
    pub async fn open(mut options: Options) -> Result<Engine> {
        let metrics = Metrics::default();
        add_own_sockets(&mut options).await;
        let store = store::open(&options.database_url, metrics.clone()).await?;
        let timeout = options.rules.request_timeout;
        let transport = HttpTransport::new(options.guard.clone(), timeout);
        let engine = Engine::new(Parts {
            clock: Arc::new(FollowingClock::default()),
            transport: Arc::new(transport),
            store,
            seal: options.encryption_keys.seal(),
            key_file: options.encryption_keys.file,
            guard: options.guard,
            metrics,
            node: options.node,
            rules: options.rules,
        });
        engine.agree_on_encryption_keys().await?;
        Ok(engine)
    }

    /// Makes sure that the store has always been used with this key, without keeping the key.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when it was another one.
    pub async fn agree_on_key(&self, setting: &str, key: &[u8]) -> Result<()> {
        if self.store().agree(setting, &fingerprint(key, setting)).await? {
            return Ok(());
        }
        Err(Error::WrongKey { setting: setting.to_owned() })
    }
}
