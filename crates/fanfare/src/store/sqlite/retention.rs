//! What is old goes, a little at a time.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::{CompanyId, DeliveryId, DeliveryState, LaneKey, Timestamp};
use crate::store::Place;
use crate::store::sqlite::Tx;
use crate::store::sqlite::queue::found_delivery;

const NEXT_COMPANY: &str = "
    select company_id from companies where company_id > ?1 order by company_id limit 1";

/// By the order of ids, which is that of time. Held ones in between are passed, so a step looks at
/// a bounded number of rows.
const OLD: &str = "
    select id, state from deliveries
    where company_id = ?1 and id > ?2 and id < ?3 order by id limit ?4";

const UNHEARD: &str = "
    select id from events v indexed by events_unheard
    where company_id = ?1 and deliveries = 0 and created_at < ?2 and not exists (
        select 1 from deliveries d where d.company_id = v.company_id and d.event_id = v.id)
    order by created_at limit ?3";

const FORSAKEN: &str = "
    select id from endpoints e where company_id = ?1 and deleted_at < ?2 and not exists (
        select 1 from deliveries d
        where d.company_id = e.company_id and d.endpoint_id = e.id) limit ?3";

const SENDABLE: &str = "
    select id, created_at from events indexed by events_sendable
    where company_id = ?1 and payload <> x'' and created_at < ?2
        and (created_at, id) > (?3, ?4) order by created_at, id limit ?5";

const CREATED_AT: &str = "select created_at from events where company_id = ?1 and id = ?2";

const EMPTY: &str = "
    update events set payload = x'' where company_id = ?1 and id = ?2 and not exists (
        select 1 from deliveries d indexed by deliveries_by_event
        where d.company_id = ?1 and d.event_id = ?2 and d.state = 0)";

const DROP_ATTEMPTS: &str = "delete from attempts where company_id = ?1 and delivery_id = ?2";
const DROP_DELIVERY: &str = "delete from deliveries where company_id = ?1 and id = ?2";
const DROP_EVENT: &str = "
    delete from events where company_id = ?1 and id = ?2 and not exists (
        select 1 from deliveries where company_id = ?1 and event_id = ?2)";
const DROP_ENDPOINT: &str = "
    delete from endpoints where company_id = ?1 and id = ?2 and deleted_at is not null
        and not exists (select 1 from deliveries where company_id = ?1 and endpoint_id = ?2)";
const DROP_COUNTS: &str = "delete from counts where company_id = ?1 and endpoint_id = ?2";

/// Rows that one step looks at, whether they can go or not.
const LOOKED_AT: u32 = 1000;
/// Companies that one step looks at.
const COMPANIES: usize = 256;
/// Pages given back in one step.
const PAGES: u32 = 32;
/// Free pages worth giving back: 8 MiB.
const FREE_PAGES_MIN: u64 = 2048;
/// Of this many pages, one may be free: they are soon used again.
const PAGES_PER_FREE: u64 = 8;

/// What one step found.
#[derive(Default)]
pub(super) struct Found {
    deliveries: Vec<(CompanyId, DeliveryId)>,
    /// Events that nobody heard.
    pub(super) events: Vec<(Uuid, Uuid)>,
    endpoints: Vec<(Uuid, Uuid)>,
    pub(super) next: Option<Place>,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.events.is_empty() && self.endpoints.is_empty()
    }

    fn len(&self) -> usize {
        self.deliveries.len() + self.events.len() + self.endpoints.len()
    }
}

/// A walk from company to company: `step` looks into one from an id on, and says from which id to
/// go on in it, or that it is done.
fn walk(
    db: &Connection,
    from: Option<Place>,
    limit: u32,
    mut step: impl FnMut(&mut Found, CompanyId, Uuid, usize) -> rusqlite::Result<Option<Uuid>>,
) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    let mut next_company = db.prepare_cached(NEXT_COMPANY)?;
    let mut place = from;
    for _ in 0..COMPANIES {
        let room = (limit as usize).saturating_sub(found.len());
        let (company, id) = match place {
            Some(Place { company, id }) if !id.is_max() => (company.uuid(), id),
            done => {
                let after = done.map_or(Uuid::nil(), |place| place.company.uuid());
                let next = next_company.query_row([after], |row| row.get(0)).optional()?;
                let Some(company) = next else { return Ok(found) };
                (company, Uuid::nil())
            }
        };
        let company = CompanyId::from_uuid(company);
        let id = if room == 0 { Some(id) } else { step(&mut found, company, id, room)? };
        // The largest id says that the company is done.
        place = Some(Place { company, id: id.unwrap_or(Uuid::max()) });
        if room == 0 {
            break;
        }
    }
    found.next = place;
    Ok(found)
}

/// Up to `limit` rows that may go.
pub(super) fn old(
    db: &Connection,
    before: Timestamp,
    from: Option<Place>,
    limit: u32,
) -> rusqlite::Result<Found> {
    walk(db, from, limit, |found, company, id, room| {
        let cutoff = DeliveryId::first_at(before).uuid();
        let mut old = db.prepare_cached(OLD)?;
        let mut rows = old.query(params![company.uuid(), id, cutoff, LOOKED_AT])?;
        let (mut looked_at, mut last) = (0, id);
        while let Some(row) = rows.next()? {
            (looked_at, last) = (looked_at + 1, row.get(0)?);
            if row.get::<_, u8>(1)? != DeliveryState::Waiting as u8 {
                found.deliveries.push((company, DeliveryId::from_uuid(last)));
            }
            if found.deliveries.len() >= room || looked_at == LOOKED_AT {
                return Ok(Some(last));
            }
        }
        found.events.extend(others(db, UNHEARD, company, before, room)?);
        found.endpoints.extend(others(db, FORSAKEN, company, before, room)?);
        Ok((found.len() >= room).then_some(last))
    })
}

fn others(
    db: &Connection,
    sql: &str,
    company: CompanyId,
    before: Timestamp,
    room: usize,
) -> rusqlite::Result<Vec<(Uuid, Uuid)>> {
    let mut statement = db.prepare_cached(sql)?;
    let ids = statement.query_map(params![company.uuid(), before.0, room], |row| row.get(0))?;
    ids.map(|id| Ok((company.uuid(), id?))).collect()
}

/// Up to `limit` events whose payloads are old.
pub(super) fn sendable(
    db: &Connection,
    before: Timestamp,
    from: Option<Place>,
    limit: u32,
) -> rusqlite::Result<Found> {
    walk(db, from, limit, |found, company, id, room| {
        let mut created_at = db.prepare_cached(CREATED_AT)?;
        let since: Option<i64> =
            created_at.query_row([company.uuid(), id], |row| row.get(0)).optional()?;
        let mut sendable = db.prepare_cached(SENDABLE)?;
        let since = since.unwrap_or(i64::MIN);
        let mut rows = sendable.query(params![company.uuid(), before.0, since, id, room])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let id: Uuid = row.get(0)?;
            found.events.push((company.uuid(), id));
            last = Some(id);
        }
        Ok(last.filter(|_| found.events.len() >= room))
    })
}

/// Removes what was found, as far as it may still go. Returns how many rows went.
pub(super) fn remove(tx: &mut Tx<'_>, found: &Found) -> rusqlite::Result<u64> {
    let mut removed = 0;
    for (company, id) in &found.deliveries {
        removed += u64::from(drop_delivery(tx, *company, *id)?);
    }
    for (company, event) in &found.events {
        removed += drop_event(tx, *company, *event)?;
    }
    for key in &found.endpoints {
        let dropped = tx.prepare_cached(DROP_ENDPOINT)?.execute(params![key.0, key.1])?;
        if dropped > 0 {
            tx.prepare_cached(DROP_COUNTS)?.execute(params![key.0, key.1])?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Empties the payloads of events that nothing waits to deliver. Returns how many.
pub(super) fn empty(tx: &Tx<'_>, events: &[(Uuid, Uuid)]) -> rusqlite::Result<u64> {
    let mut emptied = 0;
    let mut empty = tx.prepare_cached(EMPTY)?;
    for (company, event) in events {
        emptied += empty.execute(params![company, event])?;
    }
    Ok(emptied as u64)
}

pub(super) fn has_much_free_space(db: &Connection) -> rusqlite::Result<bool> {
    let free: u64 = db.query_row("pragma freelist_count", [], |row| row.get(0))?;
    let pages: u64 = db.query_row("pragma page_count", [], |row| row.get(0))?;
    Ok(free >= FREE_PAGES_MIN && free > pages / PAGES_PER_FREE)
}

/// Moves some pages from the end of the file into free ones before it; the file becomes shorter
/// with the next checkpoint.
pub(super) fn shrink(tx: &Tx<'_>) -> rusqlite::Result<()> {
    let mut vacuum = tx.prepare(&format!("pragma incremental_vacuum({PAGES})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Removes a final delivery, and its event when that has no other. Returns whether it was there.
fn drop_delivery(tx: &mut Tx<'_>, company: CompanyId, id: DeliveryId) -> rusqlite::Result<bool> {
    let Some(delivery) = found_delivery(tx, company, id)? else { return Ok(false) };
    let (company_id, event) = (company.uuid(), delivery.event.uuid());
    tx.prepare_cached(DROP_ATTEMPTS)?.execute([company_id, id.uuid()])?;
    tx.prepare_cached(DROP_DELIVERY)?.execute([company_id, id.uuid()])?;
    tx.count_out(LaneKey { company, endpoint: delivery.endpoint }, delivery.state);
    drop_event(tx, company_id, event)?;
    Ok(true)
}

/// Removes an event that has no delivery. Returns how many rows went.
fn drop_event(tx: &Tx<'_>, company: Uuid, event: Uuid) -> rusqlite::Result<u64> {
    Ok(tx.prepare_cached(DROP_EVENT)?.execute([company, event])? as u64)
}
