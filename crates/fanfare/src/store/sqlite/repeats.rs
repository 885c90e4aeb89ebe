//! What a replay sends again, and the deliveries it makes.

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::model::{
    CompanyId, DeliveryId, Endpoint, EndpointId, EventId, ReplayId, Selection, Subscription,
    Timestamp,
};
use crate::store::repeats::{
    Candidate, Job, LOOKED_MAX, Look, Newest, Place, Repeat, events_in, failed_since, hearing,
    judge, lately, of_type, part_of, tell,
};
use crate::store::sqlite::Tx;
use crate::store::sqlite::accept::{Again, again};
use crate::store::sqlite::endpoints::found_endpoint;
use crate::store::sqlite::queue::event;
use crate::store::sqlite::rows::{self, ENDPOINT};

const FAILED: &str = "
    select id, updated_at from deliveries indexed by deliveries_failed
    where company_id = ?1 and state = 2 and id > ?2 and id < ?3 order by id limit ?4";

const CANDIDATE: &str = "
    select d.id, d.event_id, d.endpoint_id, d.shape, v.type, v.payload <> x'',
        exists (select 1 from endpoints e where e.company_id = d.company_id
            and e.id = d.endpoint_id and e.deleted_at is null),
        v.expires_at,
        d.superseded_by is not null or coalesce(d.reason, '') = 'cancelled',
        exists (select 1 from deliveries r indexed by deliveries_replays
            where r.company_id = d.company_id and r.replay_of = d.id),
        exists (select 1 from deliveries r indexed by deliveries_replays
            where r.company_id = d.company_id and r.replay_of = d.id
                and (r.state = 0 or r.id >= ?3))
    from deliveries d join events v on v.company_id = d.company_id and v.id = d.event_id
    where d.company_id = ?1 and d.id = ?2";

const LATEST: &str = "
    select id from deliveries indexed by deliveries_replays
    where company_id = ?1 and replay_of = ?2 and (state = 0 or id >= ?3)
    order by id desc limit 1";

const EVENTS: &str = "
    select created_at, id, type from events indexed by events_sendable
    where company_id = ?1 and payload <> x'' and (created_at, id) > (?2, ?3) and created_at < ?4
    order by created_at, id limit ?5";

const NEWEST: &str = "
    select id, state from deliveries indexed by deliveries_by_event
    where company_id = ?1 and event_id = ?2 and endpoint_id = ?3 order by id desc limit 1";

/// A repeat with its time and what made it.
pub(super) struct Addition<'a> {
    pub(super) repeat: &'a Repeat,
    pub(super) due_at: Timestamp,
    pub(super) replay: Option<ReplayId>,
}

/// Makes one delivery.
pub(super) fn add(
    tx: &mut Tx<'_>,
    company: CompanyId,
    addition: &Addition<'_>,
    now: Timestamp,
) -> rusqlite::Result<DeliveryId> {
    let Addition { repeat, due_at, replay } = addition;
    let endpoint = found_endpoint(tx, company, repeat.endpoint)?;
    let endpoint = endpoint.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let event = event(tx, company, repeat.event)?;
    let like = Again {
        shape: repeat.shape,
        replay_of: repeat.old,
        replay: *replay,
        made_at: now,
        due_at: *due_at,
    };
    again(tx, (&event, &endpoint), &like)
}

/// The repeat of a delivery that makes another one needless for now.
pub(super) fn latest(
    db: &Connection,
    company: CompanyId,
    old: DeliveryId,
    now: Timestamp,
) -> rusqlite::Result<Option<DeliveryId>> {
    let since = DeliveryId::first_at(lately(now)).uuid();
    let mut latest = db.prepare_cached(LATEST)?;
    latest
        .query_row([company.uuid(), old.uuid(), since], |row| row.get(0).map(DeliveryId::from_uuid))
        .optional()
}

/// A delivery as far as it matters for sending it again.
pub(super) fn candidate(
    db: &Connection,
    company: CompanyId,
    id: DeliveryId,
    now: Timestamp,
) -> rusqlite::Result<Option<Candidate>> {
    let since = DeliveryId::first_at(lately(now)).uuid();
    let mut statement = db.prepare_cached(CANDIDATE)?;
    statement.query_row([company.uuid(), id.uuid(), since], read_candidate).optional()
}

fn read_candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        repeat: Repeat {
            old: Some(DeliveryId::from_uuid(row.get(0)?)),
            event: EventId::from_uuid(row.get(1)?),
            endpoint: EndpointId::from_uuid(row.get(2)?),
            shape: rows::shape(row, 3)?,
        },
        event_type: rows::event_type(row, 4)?,
        payload_there: row.get(5)?,
        endpoint_there: row.get(6)?,
        expires_at: rows::optional_time(row, 7)?,
        on_purpose: row.get(8)?,
        repeated: row.get(9)?,
        lately: row.get(10)?,
    })
}

/// What comes at a place of a replay.
pub(super) fn look(
    db: &Connection,
    (company, job): (CompanyId, &Job),
    place: Place,
    (now, most): (Timestamp, u32),
) -> rusqlite::Result<Look> {
    let looking = Looking { db, company, job, now };
    let (ids, place, end) = match &job.selection {
        Selection::Deliveries(list) => {
            let (ids, behind) = part_of(list, place, most);
            let end = usize::try_from(behind.at).is_ok_and(|at| at >= list.len());
            (ids, behind, end)
        }
        Selection::Failed { since, .. } => looking.failed(*since, place, most)?,
        Selection::Events { types, to, .. } => return looking.events(types, *to, place, most),
    };
    let candidates = ids.iter().filter_map(|id| candidate(db, company, *id, now).transpose());
    let candidates = candidates.collect::<rusqlite::Result<Vec<_>>>()?;
    let unknown = (ids.len() - candidates.len()) as u64;
    let (repeats, found) = judge(candidates, &job.selection, now);
    Ok(Look { repeats, found: found + unknown, place, end })
}

struct Looking<'a> {
    db: &'a Connection,
    company: CompanyId,
    job: &'a Job,
    now: Timestamp,
}

impl Looking<'_> {
    fn failed(
        &self,
        since: Timestamp,
        place: Place,
        most: u32,
    ) -> rusqlite::Result<(Vec<DeliveryId>, Place, bool)> {
        let company = self.company.uuid();
        let mut failed = self.db.prepare_cached(FAILED)?;
        let looked: Vec<(DeliveryId, Timestamp)> = failed
            .query_map(params![company, place.id, self.job.id.uuid(), LOOKED_MAX], |row| {
                Ok((DeliveryId::from_uuid(row.get(0)?), Timestamp(row.get(1)?)))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let all = looked.len() < LOOKED_MAX as usize;
        Ok(failed_since(&looked, since, place, (most, all)))
    }

    fn events(
        &self,
        types: &Subscription,
        to: Option<Timestamp>,
        place: Place,
        most: u32,
    ) -> rusqlite::Result<Look> {
        let endpoints = self.endpoints()?;
        let (mut repeats, mut found) = (Vec::new(), 0);
        let before = to.unwrap_or(Timestamp(self.job.created_at.0 + 1));
        let mut events = self.db.prepare_cached(EVENTS)?;
        let looked: Vec<(Place, EventId, crate::model::EventType)> = events
            .query_map(
                params![self.company.uuid(), place.at, place.id, before.0, LOOKED_MAX],
                |row| {
                    let id: Uuid = row.get(1)?;
                    let place = Place { at: row.get(0)?, id };
                    Ok((place, EventId::from_uuid(id), rows::event_type(row, 2)?))
                },
            )?
            .collect::<rusqlite::Result<_>>()?;
        let all = looked.len() < LOOKED_MAX as usize;
        let most = events_in(most, endpoints.len());
        let (ids, place, end) = of_type(&looked, types, place, (most, all));
        for id in ids {
            let event = event(self.db, self.company, id)?;
            for endpoint in hearing(&endpoints, &event) {
                found += 1;
                let newest = self.newest(id, endpoint.id)?;
                repeats.extend(tell((&event, endpoint), newest, self.now));
            }
        }
        Ok(Look { repeats, found, place, end })
    }

    fn endpoints(&self) -> rusqlite::Result<Vec<Endpoint>> {
        let sql = format!(
            "select {ENDPOINT} from endpoints where company_id = ?1 and id = coalesce(?2, id)
                 and deleted_at is null order by id"
        );
        let only = self.job.selection.endpoint().map(EndpointId::uuid);
        let mut statement = self.db.prepare_cached(&sql)?;
        statement.query_map(params![self.company.uuid(), only], rows::endpoint)?.collect()
    }

    fn newest(&self, event: EventId, endpoint: EndpointId) -> rusqlite::Result<Option<Newest>> {
        let key = [self.company.uuid(), event.uuid(), endpoint.uuid()];
        let mut newest = self.db.prepare_cached(NEWEST)?;
        let read = |row: &Row<'_>| Ok((DeliveryId::from_uuid(row.get(0)?), rows::state(row, 1)?));
        newest.query_row(key, read).optional()
    }
}
