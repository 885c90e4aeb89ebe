//! Sending again what was sent before.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use uuid::Uuid;

use crate::model::{
    Act, Action, CompanyId, Delivery, DeliveryId, EndpointId, LaneKey, Replay, ReplayId, Timestamp,
};
use crate::store::repeats::{
    Job, LOOKED_MAX, Look, Pacer, Place, Repeat, digest, lately, write_selection,
};
use crate::store::sqlite::endpoints::make_company;
use crate::store::sqlite::queue::found_delivery;
use crate::store::sqlite::repeats::{Addition, add, candidate, latest, look};
use crate::store::sqlite::rows::{self, REPLAY};
use crate::store::sqlite::{Sqlite, Tx, audit};
use crate::store::{Advanced, NewReplay, ReplayCount, Replays, Result, Slice, Started, Unfinished};

const KEEP: &str = "
    insert into replays (company_id, id, selection, digest, key, per_second, next_due_us, found,
        made, place_at, place_id, created_at)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, ?8, ?9, ?10)";

const OF_KEY: &str = "
    select id, digest from replays where company_id = ?1 and key = ?2";

const OF_DIGEST: &str = "
    select id from replays indexed by replays_by_digest
    where company_id = ?1 and digest = ?2 and cancelled = 0
        and (finished_at is null or created_at >= ?3)
    order by id desc limit 1";

const PLACE: &str = "
    select place_at, place_id, next_due_us from replays
    where company_id = ?1 and id = ?2 and finished_at is null";

const ADVANCE: &str = "
    update replays set found = found + ?3, made = made + ?4, place_at = ?5, place_id = ?6,
        next_due_us = ?7, finished_at = ?8
    where company_id = ?1 and id = ?2";

const CANCEL: &str = "
    update replays set cancelled = 1, finished_at = ?3
    where company_id = ?1 and id = ?2 and finished_at is null";

const UNFINISHED: &str = "
    select company_id, id, per_second, next_due_us from replays indexed by replays_unfinished
    where finished_at is null and (company_id, id) > (?1, ?2) order by company_id, id limit ?3";

const FORGET: &str = "
    delete from replays where (company_id, id) in (
        select company_id, id from replays where finished_at < ?1 limit ?2)";

#[async_trait]
impl Replays for Sqlite {
    async fn replay(
        &self,
        company: CompanyId,
        id: DeliveryId,
        act: &Act,
    ) -> Result<Option<Delivery>> {
        let (now, entry) = (act.at, act.entry(company, Action::ReplayDelivery, id.uuid()));
        self.write(move |tx| {
            let Some(old) = candidate(tx, company, id, now)? else { return Ok(None) };
            if !old.payload_there || !old.endpoint_there {
                return Ok(None);
            }
            let again = match latest(tx, company, id, now)? {
                Some(again) => again,
                None => {
                    let addition = Addition { repeat: &old.repeat, due_at: now, replay: None };
                    let again = add(tx, company, &addition, now)?;
                    audit::note(tx, &entry)?;
                    again
                }
            };
            found_delivery(tx, company, again)
        })
        .await
    }

    async fn start_replay(&self, new: &NewReplay, act: &Act) -> Result<Started> {
        let entry = act.entry(new.company, Action::StartReplay, new.id.uuid());
        let new = new.clone();
        self.write(move |tx| {
            let started = start(tx, &new)?;
            if let Started::New(_) = &started {
                audit::note(tx, &entry)?;
            }
            Ok(started)
        })
        .await
    }

    async fn count_replay(&self, new: &NewReplay, most: u32) -> Result<ReplayCount> {
        let new = new.clone();
        self.read(move |db| {
            let db = db.unchecked_transaction()?;
            count(&db, &new, most)
        })
        .await
    }

    async fn advance_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        slice: Slice,
    ) -> Result<Advanced> {
        self.write(move |tx| advance(tx, company, id, slice)).await
    }

    async fn cancel_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        act: &Act,
    ) -> Result<Option<Replay>> {
        let entry = act.entry(company, Action::CancelReplay, id.uuid());
        self.write(move |tx| {
            let name = (company.uuid(), id.uuid());
            if tx.prepare_cached(CANCEL)?.execute(params![name.0, name.1, entry.at.0])? == 1 {
                audit::note(tx, &entry)?;
            }
            found(tx, company, id)
        })
        .await
    }

    async fn found_replay(&self, company: CompanyId, id: ReplayId) -> Result<Option<Replay>> {
        self.read(move |db| found(db, company, id)).await
    }

    async fn replays_before(
        &self,
        company: CompanyId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Vec<Replay>> {
        let before = before.map_or(Uuid::max(), ReplayId::uuid);
        self.read(move |db| {
            let sql = format!(
                "select {REPLAY} from replays where company_id = ?1 and id < ?2
                 order by id desc limit ?3"
            );
            many(db, &sql, params![company.uuid(), before, limit], rows::replay)
        })
        .await
    }

    async fn unfinished_replays(
        &self,
        after: Option<(CompanyId, ReplayId)>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        // No replay comes before the nil ids.
        let (company, id) =
            after.map_or_else(Default::default, |(company, id)| (company.uuid(), id.uuid()));
        self.read(move |db| many(db, UNFINISHED, params![company, id, limit], read_unfinished))
            .await
    }

    async fn forget_replays(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(move |tx| {
            let gone = tx.prepare_cached(FORGET)?.execute(params![before.0, limit])?;
            Ok(gone as u64)
        })
        .await
    }
}

fn start(tx: &Tx<'_>, new: &NewReplay) -> rusqlite::Result<Started> {
    let (company, digest) = (new.company.uuid(), digest(new));
    let before: Option<(Uuid, Vec<u8>)> = match &new.key {
        Some(key) => tx
            .prepare_cached(OF_KEY)?
            .query_row(params![company, key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?,
        None => tx
            .prepare_cached(OF_DIGEST)?
            .query_row(params![company, digest, lately(new.at).0], |row| {
                Ok((row.get(0)?, digest.clone()))
            })
            .optional()?,
    };
    let id = match before {
        Some((_, other)) if other != digest => return Ok(Started::Conflict),
        Some((id, _)) => ReplayId::from_uuid(id),
        None => {
            make_company(tx, new.company, new.at)?;
            keep(tx, new, &digest)?;
            new.id
        }
    };
    let replay = found(tx, new.company, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(if id == new.id { Started::New(replay) } else { Started::Repeat(replay) })
}

fn keep(tx: &Tx<'_>, new: &NewReplay, digest: &[u8]) -> rusqlite::Result<()> {
    let place = Job::of(new).start();
    tx.prepare_cached(KEEP)?.execute(params![
        new.company.uuid(),
        new.id.uuid(),
        write_selection(&new.selection),
        digest,
        new.key,
        new.per_second,
        Pacer::new(new.per_second, 0, new.at).next_us,
        place.at,
        place.id,
        new.at.0,
    ])?;
    Ok(())
}

fn count(db: &Connection, new: &NewReplay, most: u32) -> rusqlite::Result<ReplayCount> {
    let job = Job::of(new);
    let (mut place, mut count) = (job.start(), ReplayCount::default());
    for _ in 0..ReplayCount::SLICES_MAX {
        let look = look(db, (new.company, &job), place, (new.at, LOOKED_MAX))?;
        if !count.add(look.found, look.repeats.len(), (look.end, most)) {
            break;
        }
        place = look.place;
    }
    Ok(count)
}

fn advance(
    tx: &mut Tx<'_>,
    company: CompanyId,
    id: ReplayId,
    slice: Slice,
) -> rusqlite::Result<Advanced> {
    let through = Advanced { finished: true, lanes: Vec::new() };
    let Some(replay) = found(tx, company, id)? else { return Ok(through) };
    let place = tx.prepare_cached(PLACE)?.query_row([company.uuid(), id.uuid()], |row| {
        Ok((Place { at: row.get(0)?, id: row.get(1)? }, row.get::<_, i64>(2)?))
    });
    let Some((place, next_us)) = place.optional()? else { return Ok(through) };
    let mut pacer = Pacer::new(replay.per_second, next_us, slice.now);
    let most = pacer.room(slice.until, slice.most);
    if most == 0 {
        return Ok(Advanced::default());
    }
    let job = Job { id, selection: replay.selection, created_at: replay.created_at };
    let look = look(tx, (company, &job), place, (slice.now, most))?;
    let lanes = make(tx, (company, id), &look.repeats, (&mut pacer, slice.now))?;
    note(tx, (company, id), &look, (pacer.next_us, slice.now))?;
    Ok(Advanced { finished: look.end, lanes })
}

/// Makes what a slice found. Returns the lanes, and when the first in each falls due.
fn make(
    tx: &mut Tx<'_>,
    (company, replay): (CompanyId, ReplayId),
    repeats: &[Repeat],
    (pacer, now): (&mut Pacer, Timestamp),
) -> rusqlite::Result<Vec<(LaneKey, Timestamp)>> {
    let mut lanes: BTreeMap<EndpointId, Timestamp> = BTreeMap::new();
    for repeat in repeats {
        let due_at = pacer.next();
        add(tx, company, &Addition { repeat, due_at, replay: Some(replay) }, now)?;
        lanes.entry(repeat.endpoint).or_insert(due_at);
    }
    let lane = |(endpoint, due_at)| (LaneKey { company, endpoint }, due_at);
    Ok(lanes.into_iter().map(lane).collect())
}

fn note(
    tx: &Tx<'_>,
    (company, id): (CompanyId, ReplayId),
    look: &Look,
    (next_us, now): (i64, Timestamp),
) -> rusqlite::Result<()> {
    tx.prepare_cached(ADVANCE)?.execute(params![
        company.uuid(),
        id.uuid(),
        look.found,
        look.repeats.len(),
        look.place.at,
        look.place.id,
        next_us,
        look.end.then_some(now.0),
    ])?;
    Ok(())
}

fn found(db: &Connection, company: CompanyId, id: ReplayId) -> rusqlite::Result<Option<Replay>> {
    let sql = format!("select {REPLAY} from replays where company_id = ?1 and id = ?2");
    db.prepare_cached(&sql)?.query_row([company.uuid(), id.uuid()], rows::replay).optional()
}

fn many<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(params, read)?.collect()
}

fn read_unfinished(row: &Row<'_>) -> rusqlite::Result<Unfinished> {
    let (pace, next_us): (Option<u32>, i64) = (row.get(2)?, row.get(3)?);
    Ok(Unfinished {
        company: CompanyId::from_uuid(row.get(0)?),
        id: ReplayId::from_uuid(row.get(1)?),
        next_due: pace.map(|_| Timestamp(next_us / 1000)),
    })
}
