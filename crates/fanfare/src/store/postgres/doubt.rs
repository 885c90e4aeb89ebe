//! Claims whose answer was lost: whether they were made is unknown, and nobody holds them. They are
//! given back as soon as the database answers, not when their lease ends. And once more when the last
//! moment is over at which the server may still hear of their commit, which was perhaps only late.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Stopwatch;
use crate::model::{DeliveryId, LaneKey, Timestamp};
use crate::store::Result;
use crate::store::postgres::Database;
use crate::store::postgres::connect::IDLE_MAX;

/// Behind it no transaction that its client has left can commit any more: the server has ended it
/// (`idle_in_transaction_session_timeout`).
const LATE_MAX: Duration = IDLE_MAX.saturating_add(Duration::from_secs(1));
/// The pause after a refusal.
const PAUSE: Duration = Duration::from_millis(200);

/// Claimed at birth: these ids were made for this one transaction.
const RELEASE_BORN: &str = "
    update deliveries d set claimed = false, due_at = c.due_at
    from (select * from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as c (company_id, id, due_at)
          order by company_id, id) c
    where d.company_id = c.company_id and d.id = c.id and d.state = 0 and d.fence = 1 and d.claimed";

/// Claimed of lanes: the end of the lease tells the claim from others. What was claimed at birth in
/// the same moment has the same, but was born in it.
const RELEASE_CLAIMED: &str = "
    update deliveries d set claimed = false, due_at = $4
    from (select * from unnest($1::uuid[], $2::uuid[]) as l (company_id, endpoint_id)
          order by company_id, endpoint_id) l
    where d.company_id = l.company_id and d.endpoint_id = l.endpoint_id and d.state = 0
      and d.due_at = $3 and d.claimed and d.id < $5";

/// What may have been claimed.
pub(super) enum Doubt {
    /// Deliveries of events that may have been stored, each with the time when it was due.
    Born(Vec<(Uuid, DeliveryId, Timestamp)>),
    /// Of these lanes, whatever was claimed at `at` until `until`.
    Claimed { lanes: Vec<LaneKey>, at: Timestamp, until: Timestamp },
}

impl Doubt {
    /// What was claimed at birth, if anything was.
    pub(super) fn born(claimed: Vec<(Uuid, DeliveryId, Timestamp)>) -> Option<Doubt> {
        (!claimed.is_empty()).then_some(Doubt::Born(claimed))
    }
}

/// Everything that is in doubt.
#[derive(Default)]
pub(super) struct Doubts {
    open: Mutex<Vec<Doubt>>,
    more: Notify,
}

impl Doubts {
    pub(super) fn add(&self, doubts: impl IntoIterator<Item = Doubt>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).extend(doubts);
        self.more.notify_one();
    }

    fn take(&self) -> Option<Doubt> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// Puts in order what is in doubt, until the store closes.
pub(super) async fn settle(database: Arc<Database>, closing: CancellationToken) {
    let settled = async {
        let mut settled: VecDeque<(Stopwatch, Doubt)> = VecDeque::new();
        loop {
            let next = settled.front().map(|(since, _)| LATE_MAX.saturating_sub(since.elapsed()));
            let more = database.doubts.more.notified();
            // Only whether there is more, or time has passed.
            let _ = timeout(next.unwrap_or(Duration::MAX), more).await;
            while let Some(doubt) = database.doubts.take() {
                settle_one(&database, &doubt).await;
                settled.push_back((Stopwatch::start(), doubt));
            }
            while let Some((_, doubt)) =
                settled.pop_front_if(|(since, _)| since.elapsed() >= LATE_MAX)
            {
                settle_one(&database, &doubt).await;
            }
            // Lanes do not know yet what is due again.
            database.pool.put_in_order();
        }
    };
    closing.run_until_cancelled(settled).await;
}

async fn settle_one(database: &Database, doubt: &Doubt) {
    loop {
        database.pool.wait().await;
        match release(database, doubt).await {
            Ok(()) => return,
            Err(error) if error.passes() => {
                // Only a pause: nobody is waited for.
                let never = std::future::pending::<()>();
                let _ = timeout(PAUSE, never).await;
            }
            Err(error) => {
                tracing::error!(%error, "claims in doubt could not be given back");
                return;
            }
        }
    }
}

async fn release(database: &Database, doubt: &Doubt) -> Result<()> {
    let client = database.writer().await?;
    match doubt {
        Doubt::Born(born) => {
            let companies: Vec<Uuid> = born.iter().map(|(company, ..)| *company).collect();
            let ids: Vec<Uuid> = born.iter().map(|(_, id, _)| id.uuid()).collect();
            let due: Vec<i64> = born.iter().map(|(.., due_at)| due_at.0).collect();
            let statement = client.prepare_cached(RELEASE_BORN).await?;
            client.execute(&statement, &[&companies, &ids, &due]).await?;
        }
        Doubt::Claimed { lanes, at, until } => {
            let companies: Vec<Uuid> = lanes.iter().map(|lane| lane.company.uuid()).collect();
            let endpoints: Vec<Uuid> = lanes.iter().map(|lane| lane.endpoint.uuid()).collect();
            let born_later = DeliveryId::first_at(*at).uuid();
            let statement = client.prepare_cached(RELEASE_CLAIMED).await?;
            let values: [&(dyn ToSql + Sync); 5] =
                [&companies, &endpoints, &until.0, &at.0, &born_later];
            client.execute(&statement, &values).await?;
        }
    }
    Ok(())
}
