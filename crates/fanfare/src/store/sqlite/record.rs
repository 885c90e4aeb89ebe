//! Results: attempts and what follows from them.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;

use crate::model::{
    Claim, DeliveryId, DeliveryState, Disabled, Event, Health, LaneKey, Record, Timestamp, Verdict,
};
use crate::store::rows::{write_micros, write_outcome};
use crate::store::sqlite::Tx;
use crate::store::sqlite::accept::{accept, give_way, read_listeners};
use crate::store::sqlite::ending::let_next_go;
use crate::store::sqlite::endpoints::disable;
use crate::store::sqlite::queue::{claim_freed, found_delivery};
use crate::store::{Accepted, Admission, Emit, Recorded};

const RECORD: &str = "
    update deliveries set state = ?4, due_at = ?5, claimed = 0, attempts = ?6, reason = ?7,
        updated_at = ?8, probes = probes + ?9
    where company_id = ?1 and id = ?2 and fence = ?3 and claimed = 1 and state = 0";

const ADD_ATTEMPT: &str = "
    insert or ignore into attempts (company_id, delivery_id, fence, number, started_at,
        duration_us, url, request_headers, status, headers, body, flaw, queue_us, dns_us,
        connect_us, tls_us, first_byte_us, probe)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";

// What was said of an address says nothing of another one.
const HEALTH: &str = "
    update endpoints set failing_since = ?4, held_until = ?5, updated_at = max(updated_at, ?6)
    where company_id = ?1 and id = ?2 and url = ?3";

/// Adds an attempt to the history, and applies what follows if the claim still holds.
pub(super) fn apply(tx: &mut Tx<'_>, record: &Record) -> rusqlite::Result<Recorded> {
    let Record { claim, attempt, verdict, at, .. } = record;
    let lane = claim.endpoint.lane();
    let (company, id) = (lane.company.uuid(), claim.delivery.uuid());
    let (state, due_at, reason) = match verdict {
        Verdict::Concluded => (DeliveryState::Concluded, *at, None),
        Verdict::RetryAt(due) => (DeliveryState::Waiting, *due, None),
        Verdict::Failed(reason) => (DeliveryState::Failed, *at, Some(reason.clone())),
        Verdict::Gone => (DeliveryState::Failed, *at, Some(Disabled::gone(*at).reason)),
    };
    let mut update = tx.prepare_cached(RECORD)?;
    let number = attempt.number;
    let applied = update.execute(params![
        company,
        id,
        claim.fence,
        state as u8,
        due_at.0,
        number,
        reason,
        at.0,
        attempt.probe,
    ])? == 1;
    drop(update);
    if applied && state != DeliveryState::Waiting {
        tx.count_out(lane, DeliveryState::Waiting);
        tx.count_in(lane, state);
    }
    // A late result of a delivery that has expired since has no history to go to.
    if applied || found_delivery(tx, lane.company, claim.delivery)?.is_some() {
        add_attempt(tx, record)?;
    }
    let mut woken = if applied { follow(tx, record)? } else { Vec::new() };
    let retried = state == DeliveryState::Waiting;
    let mut next = None;
    if applied && retried && claim.event.ordering_key.is_some() {
        woken.extend(give_way(tx, lane, claim.delivery, *at)?.then_some(lane));
    } else if applied && !retried && claim.ordered {
        let freed = let_next_go(tx, lane.company, claim.delivery, *at)?;
        if let (Some((freed, due)), Some(lease)) = (freed, record.next)
            && due <= *at
        {
            next = claim_next(tx, lane, (freed, *at), lease)?;
        }
        woken.extend((freed.is_some() && next.is_none()).then_some(lane));
    }
    Ok(Recorded { applied, woken, next })
}

/// Claims what has just been let go, for the endpoint as it is now, unless that is disabled.
fn claim_next(
    tx: &mut Tx<'_>,
    lane: LaneKey,
    (id, now): (DeliveryId, Timestamp),
    lease: Duration,
) -> rusqlite::Result<Option<Claim>> {
    let listeners = tx.listeners(lane.company, |db| read_listeners(db, lane.company))?;
    let endpoint = listeners.get(lane.endpoint);
    endpoint.map(|endpoint| claim_freed(tx, endpoint, id, now, lease)).transpose()
}

fn add_attempt(tx: &Tx<'_>, record: &Record) -> rusqlite::Result<()> {
    let Record { claim, attempt, .. } = record;
    let (status, headers, body, flaw) = write_outcome(&attempt.outcome);
    let timing = attempt.timing;
    tx.prepare_cached(ADD_ATTEMPT)?.execute(params![
        claim.endpoint.company.uuid(),
        claim.delivery.uuid(),
        claim.fence,
        attempt.number,
        attempt.started_at.0,
        write_micros(attempt.duration),
        attempt.url,
        attempt.headers.as_text(),
        status,
        headers,
        body,
        flaw,
        timing.queue.map(write_micros),
        timing.dns.map(write_micros),
        timing.connect.map(write_micros),
        timing.tls.map(write_micros),
        timing.first_byte.map(write_micros),
        attempt.probe,
    ])?;
    Ok(())
}

/// What follows for the endpoint, and who hears of it: their lanes.
fn follow(tx: &mut Tx<'_>, record: &Record) -> rusqlite::Result<Vec<LaneKey>> {
    let (lane, at) = (record.claim.endpoint.lane(), record.at);
    if let Some(health) = record.health {
        keep_health(tx, record, health)?;
    }
    if let Some(disabled) = &record.disabled {
        disable(tx, lane, disabled)?;
    } else if record.verdict == Verdict::Gone {
        disable(tx, lane, &Disabled::gone(at))?;
    }
    let mut woken = Vec::new();
    for notice in &record.notices {
        woken.extend(accept_notice(tx, notice)?);
    }
    Ok(woken)
}

fn keep_health(tx: &mut Tx<'_>, record: &Record, health: Health) -> rusqlite::Result<()> {
    let endpoint = &record.claim.endpoint;
    tx.forget_listeners(endpoint.company);
    tx.prepare_cached(HEALTH)?.execute(params![
        endpoint.company.uuid(),
        endpoint.id.uuid(),
        endpoint.url.as_str(),
        health.failing_since.map(|since| since.0),
        health.held_until.map(|until| until.0),
        record.at.0,
    ])?;
    Ok(())
}

/// Stores a notice if anybody hears it. Returns their lanes.
fn accept_notice(tx: &mut Tx<'_>, notice: &Event) -> rusqlite::Result<Vec<LaneKey>> {
    let company = notice.company;
    let listeners = tx.listeners(company, |db| read_listeners(db, company))?;
    if listeners.of(notice).is_empty() {
        return Ok(Vec::new());
    }
    let event = Arc::new(notice.clone());
    let emit = Emit::of(event);
    let admission = Admission { lease: Duration::ZERO, may_claim: Arc::new(|_| false) };
    let Some(Accepted::New { waiting, .. }) = accept(tx, &[emit], &admission)?.pop() else {
        return Ok(Vec::new());
    };
    Ok(waiting.into_iter().map(|(endpoint, _)| LaneKey { company, endpoint }).collect())
}
