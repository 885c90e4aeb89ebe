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
use crate::store::{self, Outbox};

/// How an engine is set up.
#[derive(Clone)]
pub struct Options {
    /// `sqlite:PATH` or `postgres://…`.
    pub database_url: String,
    /// Databases, named in the same way, in which a platform says events inside its own
    /// transactions: `docs/emit-in-a-transaction.md`. A PostgreSQL store has such a place of its own
    /// in any case.
    pub outbox_urls: Vec<String>,
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
            outbox_urls: Vec::new(),
            encryption_keys: encryption_keys.into(),
            guard: GuardPolicy::default(),
            node: "library".to_owned(),
            rules: Rules::default(),
        }
    }
}

/// Has the guard refuse the sockets that the engine itself uses: its databases' and its proxy's, as
/// their names resolve now. Where one does not, whoever connects to it will say so.
async fn add_own_sockets(options: &mut Options) {
    let databases = [&options.database_url].into_iter().chain(&options.outbox_urls);
    for (host, port) in databases.flat_map(|url| store::hosts(url)) {
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

/// The store's own outbox, and those that are named.
fn outboxes(options: &Options) -> Result<Vec<Arc<dyn Outbox>>> {
    let own = store::own_outbox(&options.database_url)?;
    let others = options.outbox_urls.iter().filter(|url| **url != options.database_url);
    let mut outboxes: Vec<_> = own.into_iter().collect();
    for url in others {
        outboxes.push(store::open_outbox(url)?);
    }
    Ok(outboxes)
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            // They may hold passwords.
            .field("database_url", &"***")
            .field("outbox_urls", &self.outbox_urls.iter().map(|_| "***").collect::<Vec<_>>())
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
        let outboxes = outboxes(&options)?;
        let timeout = options.rules.request_timeout;
        let transport = HttpTransport::new(options.guard.clone(), timeout);
        let engine = Engine::new(Parts {
            clock: Arc::new(FollowingClock::default()),
            transport: Arc::new(transport),
            store,
            outboxes,
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
