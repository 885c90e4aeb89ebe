//! What follows from results for endpoints, and who hears of it: behind the results, in the same
//! transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::model::{
    Act, CompanyId, Disabled, EndpointId, Health, LaneKey, Record, Shards, Timestamp, Verdict,
};
use crate::store::postgres::accept::{Born, Outcome, bear, look_for_listeners};
use crate::store::postgres::audit;
use crate::store::postgres::insert::Rows;
use crate::store::postgres::nodes::{Seat, Wakes};
use crate::store::postgres::pool::Object;
use crate::store::postgres::record::{self, Keyed};
use crate::store::postgres::rows::{get, text};
use crate::store::postgres::transaction::{BEGIN_AHEAD, Transaction};
use crate::store::{Admission, Emit, Recorded, Result};

/// What was said of an address says nothing of another one.
const HEALTH: &str = "
    update endpoints e
    set failing_since = h.failing_since, held_until = h.held_until,
        updated_at = greatest(e.updated_at, h.at)
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
        as h (company_id, id, url, failing_since, held_until, at)
    where e.company_id = h.company_id and e.id = h.id and e.url = h.url";

const DISABLE: &str = "
    update endpoints e
    set disabled_at = g.at, disabled_reason = g.reason, updated_at = g.at
    from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[])
        as g (company_id, id, at, reason)
    where e.company_id = g.company_id and e.id = g.id
      and e.disabled_at is null and e.deleted_at is null
    returning e.company_id, e.id, e.disabled_at";

/// Does anything follow beyond the delivery?
pub(super) fn follows(record: &Record) -> bool {
    record.health.is_some() || disabled(record).is_some() || !record.notices.is_empty()
}

/// Applies results of which some have more to follow.
pub(super) async fn apply(
    transaction: Transaction,
    (records, seat): (&[Record], Seat),
    keyed: &Keyed,
) -> Result<Vec<Recorded>> {
    let ((), mut recorded) = tokio::try_join!(
        biased;
        async { Ok(transaction.batch_execute(BEGIN_AHEAD).await?) },
        record::apply(&transaction, records, seat),
    )?;
    record::add_late(&transaction, (records, &recorded)).await?;
    let freed = keyed.let_next_go(&transaction).await?;
    for (recorded, record) in recorded.iter_mut().zip(records).filter(|(made, _)| made.applied) {
        let lane = record.claim.endpoint.lane();
        recorded.woken.extend(freed.contains(&lane).then_some(lane));
    }
    let counts: Vec<(usize, &Record)> = recorded
        .iter()
        .zip(records)
        .enumerate()
        .filter_map(|(n, (recorded, record))| recorded.applied.then_some((n, record)))
        .collect();
    keep_health(&transaction, counts.iter().map(|(_, record)| *record)).await?;
    disable(&transaction, counts.iter().map(|(_, record)| *record)).await?;
    for (number, lane) in accept_notices(&transaction, &counts).await? {
        if let Some(recorded) = recorded.get_mut(number) {
            recorded.woken.push(lane);
        }
    }
    transaction.ended();
    Ok(recorded)
}

type Name = (Uuid, Uuid);

/// How each endpoint does, by the newest that was said of it.
async fn keep_health(client: &Object, records: impl Iterator<Item = &Record>) -> Result<()> {
    let mut newest: BTreeMap<Name, (&str, Health, Timestamp)> = BTreeMap::new();
    for record in records {
        let endpoint = &record.claim.endpoint;
        if let Some(health) = record.health {
            let name = (endpoint.company.uuid(), endpoint.id.uuid());
            newest.insert(name, (endpoint.url.as_str(), health, record.at));
        }
    }
    if newest.is_empty() {
        return Ok(());
    }
    let (companies, ids): (Vec<Uuid>, Vec<Uuid>) = newest.keys().copied().unzip();
    let urls: Vec<&str> = newest.values().map(|(url, ..)| *url).collect();
    let of = |time: fn(&Health) -> Option<Timestamp>| -> Vec<Option<i64>> {
        newest.values().map(|(_, health, _)| time(health).map(|at| at.0)).collect()
    };
    let failing_since = of(|health| health.failing_since);
    let held_until = of(|health| health.held_until);
    let at: Vec<i64> = newest.values().map(|(.., at)| at.0).collect();
    let statement = client.prepare_cached(HEALTH).await?;
    client
        .execute(&statement, &[&companies, &ids, &urls, &failing_since, &held_until, &at])
        .await?;
    Ok(())
}

/// What disables the endpoint, if anything does.
fn disabled(record: &Record) -> Option<Cow<'_, Disabled>> {
    let gone = || (record.verdict == Verdict::Gone).then(|| Cow::Owned(Disabled::gone(record.at)));
    record.disabled.as_ref().map(Cow::Borrowed).or_else(gone)
}

/// Disables endpoints that are enabled, and notes it as the engine's own act.
async fn disable(client: &Object, records: impl Iterator<Item = &Record>) -> Result<()> {
    let mut given_up: BTreeMap<Name, Cow<'_, Disabled>> = BTreeMap::new();
    for record in records {
        let endpoint = &record.claim.endpoint;
        if let Some(disabled) = disabled(record) {
            let name = (endpoint.company.uuid(), endpoint.id.uuid());
            given_up.entry(name).or_insert(disabled);
        }
    }
    if given_up.is_empty() {
        return Ok(());
    }
    let (companies, ids): (Vec<Uuid>, Vec<Uuid>) = given_up.keys().copied().unzip();
    let at: Vec<i64> = given_up.values().map(|disabled| disabled.at.0).collect();
    let reasons: Vec<_> = given_up.values().map(|disabled| text(&disabled.reason)).collect();
    let statement = client.prepare_cached(DISABLE).await?;
    for row in client.query(&statement, &[&companies, &ids, &at, &reasons]).await? {
        let company = CompanyId::from_uuid(get(&row, "company_id")?);
        let lane = LaneKey { company, endpoint: EndpointId::from_uuid(get(&row, "id")?) };
        let act = Act::of_system(Timestamp(get(&row, "disabled_at")?));
        audit::note(client, &act.disabling(lane)).await?;
    }
    Ok(())
}

/// Stores the notices that somebody hears, and commits. Returns the lanes they went to, each with
/// the number of its record.
async fn accept_notices(
    transaction: &Transaction,
    records: &[(usize, &Record)],
) -> Result<Vec<(usize, LaneKey)>> {
    let (mut numbers, mut told) = (Vec::new(), Vec::new());
    for (number, record) in records {
        for notice in &record.notices {
            numbers.push(*number);
            let event = Arc::new(notice.clone());
            told.push(Emit::of(event));
        }
    }
    let mut woken = Vec::new();
    let mut heard = Vec::new();
    let mut outcomes = Vec::new();
    if !told.is_empty() {
        let listening = look_for_listeners(transaction, &told).await?;
        let admission = Admission { lease: Duration::ZERO, may_claim: Arc::new(|_| false) };
        for (number, emit) in numbers.into_iter().zip(told) {
            let born: Vec<Born> = bear(&emit, &listening, (&admission, Shards::NONE));
            if born.is_empty() {
                continue;
            }
            woken.extend(born.iter().map(|born| (number, born.endpoint.lane())));
            heard.push(emit);
            outcomes.push(Outcome::Store(born));
        }
    }
    // Whoever has their lanes is told by the engine, behind the commit.
    let told = Wakes::foreign_to(Shards::ALL);
    Rows::of(&heard, &outcomes, told)?.insert_and_commit(transaction).await?;
    Ok(woken)
}
