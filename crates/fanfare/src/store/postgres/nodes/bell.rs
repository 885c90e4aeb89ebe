//! The bell: NOTIFY as a hint that something was told. What it says is in tables; who misses it
//! looks there each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::Shards;
use crate::store::postgres::Database;
use crate::store::postgres::connect::Address;
use crate::store::postgres::pool::Object;
use crate::store::postgres::transaction::BEGIN_AHEAD;
use crate::store::{Result, Ring};

/// How long to wait before listening anew.
const PAUSE: Duration = Duration::from_secs(1);
/// What is said when shards may be free.
const SHARDS: &str = "shards";
const RING: &str = "select pg_notify($1, $2)";

/// Rings for others, and is rung by them.
pub(in crate::store::postgres) struct Bell {
    channel: String,
    /// The shards to ring for.
    wanted: AtomicU64,
    ring: Notify,
    told: AtomicBool,
    shards: AtomicBool,
    rung: Notify,
}

impl Bell {
    /// The bell of everybody who has this schema open.
    pub(in crate::store::postgres) fn new(schema: &str) -> Bell {
        Bell {
            channel: format!("fanfare {schema}"),
            wanted: AtomicU64::new(0),
            ring: Notify::new(),
            told: AtomicBool::new(false),
            shards: AtomicBool::new(false),
            rung: Notify::new(),
        }
    }

    /// Starts to ring and to listen, until `closing`.
    pub(in crate::store::postgres) fn start(
        database: &Arc<Database>,
        address: Address,
        closing: &CancellationToken,
        workers: &TaskTracker,
    ) {
        let (ringing, ended) = (Arc::clone(database), closing.clone());
        workers.spawn(async move { ended.run_until_cancelled(ring(&ringing)).await });
        let (listening, ended) = (Arc::clone(database), closing.clone());
        workers.spawn(async move { ended.run_until_cancelled(listen(&listening, &address)).await });
    }

    /// Rings for whoever has these shards, soon.
    pub(in crate::store::postgres) fn ring(&self, shards: Shards) {
        if !shards.is_empty() {
            self.wanted.fetch_or(shards.bits(), Ordering::AcqRel);
            self.ring.notify_one();
        }
    }

    /// Rings for everybody when the transaction is committed: shards may be free then.
    pub(super) async fn ring_for_shards(&self, client: &Object) -> Result<()> {
        client.execute(RING, &[&self.channel, &SHARDS]).await?;
        Ok(())
    }

    /// Waits until somebody has rung for this node.
    pub(super) async fn rung(&self) -> Ring {
        loop {
            if self.shards.swap(false, Ordering::AcqRel) {
                return Ring::Shards;
            }
            if self.told.swap(false, Ordering::AcqRel) {
                return Ring::Told;
            }
            self.rung.notified().await;
        }
    }

    fn heard(&self, payload: &str, held: Shards) {
        if payload == SHARDS {
            self.shards.store(true, Ordering::Release);
        } else {
            let shards = u64::from_str_radix(payload, 16).map_or(Shards::ALL, Shards::from_bits);
            if shards.common(held).is_empty() {
                return;
            }
            self.told.store(true, Ordering::Release);
        }
        self.rung.notify_one();
    }
}

async fn ring(database: &Database) {
    let bell = &database.bell;
    loop {
        bell.ring.notified().await;
        let shards = bell.wanted.swap(0, Ordering::AcqRel);
        // Only a hint: should it fail, the others look by themselves.
        drop(ring_once(database, &format!("{shards:x}")).await);
    }
}

async fn ring_once(database: &Database, payload: &str) -> Result<()> {
    let client = database.reader().await?;
    let statement = client.prepare_cached(RING).await?;
    tokio::try_join!(
        biased;
        client.batch_execute(BEGIN_AHEAD),
        async { client.execute(&statement, &[&database.bell.channel, &payload]).await },
        client.batch_execute("commit"),
    )?;
    Ok(())
}

async fn listen(database: &Arc<Database>, address: &Address) {
    loop {
        if let Err(error) = listen_once(database, address).await {
            tracing::debug!(%error, "nobody listens to the database's bell for now");
        }
        pause().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "a pause of no consequence before connecting anew")]
async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

/// Listens until the connection breaks.
async fn listen_once(database: &Arc<Database>, address: &Address) -> Result<()> {
    let hearing = Arc::clone(database);
    let mut connection = address
        .connect_hearing(move |said| {
            hearing.bell.heard(said.payload(), hearing.membership.seat().held);
        })
        .await?;
    let bell = &database.bell;
    let channel = bell.channel.replace('"', "\"\"");
    connection.batch_execute(&format!("listen \"{channel}\"")).await?;
    // Something may have been said before.
    bell.told.store(true, Ordering::Release);
    bell.shards.store(true, Ordering::Release);
    bell.rung.notify_one();
    connection.ended().await;
    Ok(())
}
