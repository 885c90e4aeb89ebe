//! Sending again what was sent before.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::model::{
    Act, Action, CompanyId, Delivery, DeliveryId, EndpointId, LaneKey, Replay, ReplayId, Timestamp,
};
use crate::store::postgres::repeats::{Additions, Looking};
use crate::store::postgres::rows::{self, get, integer, replay_columns};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::{Postgres, audit};
use crate::store::repeats::{
    Candidate, Job, LOOKED_MAX, Look, Pacer, Place, digest, lately, write_selection,
};
use crate::store::{Advanced, NewReplay, ReplayCount, Replays, Result, Slice, Started, Unfinished};

pub(super) const MAKE_COMPANY: &str = "
    insert into companies (company_id, name, created_at, updated_at) values ($1, '', $2, $2)
    on conflict do nothing";

/// One call of a company at a time, so that the second click sees the first.
const LOCK_COMPANY: &str = "select from companies where company_id = $1 for no key update";

const OF_KEY: &str = concat!(
    "select ",
    replay_columns!(),
    ", digest = $3 as same from replays where company_id = $1 and key = $2"
);

const OF_DIGEST: &str = concat!(
    "select ",
    replay_columns!(),
    ", true as same from replays
    where company_id = $1 and digest = $2 and not cancelled
      and (finished_at is null or created_at >= $3)
    order by id desc limit 1"
);

const KEEP: &str = concat!(
    "insert into replays (company_id, id, selection, digest, key, per_second, next_due_us, found,
                          made, place_at, place_id, created_at)
    values ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, $9, $10)
    returning ",
    replay_columns!()
);

/// An update that changes nothing, because it must keep [`super::upkeep`] from removing events that
/// are about to have deliveries again: that takes the table for itself.
const TAKE: &str = concat!(
    "update replays set found = found where company_id = $1 and id = $2 and finished_at is null
    returning place_at, place_id, next_due_us, ",
    replay_columns!()
);

const ADVANCE: &str = "
    update replays set found = found + $3, made = made + $4, place_at = $5, place_id = $6,
        next_due_us = $7, finished_at = $8
    where company_id = $1 and id = $2";

const CANCEL: &str = "
    update replays set cancelled = true, finished_at = $3
    where company_id = $1 and id = $2 and finished_at is null";

const FOUND: &str =
    concat!("select ", replay_columns!(), " from replays where company_id = $1 and id = $2");

const BEFORE: &str = concat!(
    "select ",
    replay_columns!(),
    " from replays where company_id = $1 and ($2::uuid is null or id < $2)
    order by id desc limit $3"
);

const UNFINISHED: &str = "
    select company_id, id, per_second, next_due_us from replays
    where finished_at is null and (company_id, id) > ($1, $2) order by company_id, id limit $3";

const FORGET: &str = "
    delete from replays r using (select company_id, id from replays where finished_at < $1 limit $2)
        as old
    where r.company_id = old.company_id and r.id = old.id";

#[async_trait]
impl Replays for Postgres {
    async fn replay(
        &self,
        company: CompanyId,
        id: DeliveryId,
        act: &Act,
    ) -> Result<Option<Delivery>> {
        let transaction = Transaction::on(self.database.writer().await?);
        transaction.batch_execute("begin").await?;
        let again = replay(&transaction, company, id, act).await?;
        transaction.batch_execute("commit").await?;
        transaction.ended();
        Ok(again)
    }

    async fn start_replay(&self, new: &NewReplay, act: &Act) -> Result<Started> {
        let transaction = Transaction::on(self.database.writer().await?);
        transaction.batch_execute("begin").await?;
        let started = start(&transaction, new).await?;
        if let Started::New(_) = &started {
            let entry = act.entry(new.company, Action::StartReplay, new.id.uuid());
            audit::note(&transaction, &entry).await?;
        }
        transaction.batch_execute("commit").await?;
        transaction.ended();
        Ok(started)
    }

    async fn count_replay(&self, new: &NewReplay, most: u32) -> Result<ReplayCount> {
        let transaction = Transaction::on(self.database.reader().await?);
        transaction.batch_execute("begin isolation level repeatable read read only").await?;
        let looking =
            Looking { transaction: &transaction, company: new.company, now: new.at, locks: false };
        let count = count(&looking, &Job::of(new), most).await?;
        transaction.batch_execute("commit").await?;
        transaction.ended();
        Ok(count)
    }

    async fn advance_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        slice: Slice,
    ) -> Result<Advanced> {
        let transaction = Transaction::on(self.database.writer().await?);
        transaction.batch_execute("begin").await?;
        let advanced = advance(&transaction, (company, id), slice).await?;
        transaction.batch_execute("commit").await?;
        transaction.ended();
        Ok(advanced)
    }

    async fn cancel_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        act: &Act,
    ) -> Result<Option<Replay>> {
        let transaction = Transaction::on(self.database.writer().await?);
        transaction.batch_execute("begin").await?;
        let cancel = transaction.prepare_cached(CANCEL).await?;
        let name = (company.uuid(), id.uuid());
        if transaction.execute(&cancel, &[&name.0, &name.1, &act.at.0]).await? == 1 {
            let entry = act.entry(company, Action::CancelReplay, id.uuid());
            audit::note(&transaction, &entry).await?;
        }
        transaction.batch_execute("commit").await?;
        transaction.ended();
        self.found_replay(company, id).await
    }

    async fn found_replay(&self, company: CompanyId, id: ReplayId) -> Result<Option<Replay>> {
        let client = self.database.reader().await?;
        let found = client.prepare_cached(FOUND).await?;
        let row = client.query_opt(&found, &[&company.uuid(), &id.uuid()]).await?;
        row.as_ref().map(rows::replay).transpose()
    }

    async fn replays_before(
        &self,
        company: CompanyId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Vec<Replay>> {
        let client = self.database.reader().await?;
        let list = client.prepare_cached(BEFORE).await?;
        let before = before.map(ReplayId::uuid);
        let rows = client.query(&list, &[&company.uuid(), &before, &i64::from(limit)]).await?;
        rows.iter().map(rows::replay).collect()
    }

    async fn unfinished_replays(
        &self,
        after: Option<(CompanyId, ReplayId)>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        // No replay comes before the nil ids.
        let (company, id) =
            after.map_or_else(Default::default, |(company, id)| (company.uuid(), id.uuid()));
        let client = self.database.reader().await?;
        let unfinished = client.prepare_cached(UNFINISHED).await?;
        let rows = client.query(&unfinished, &[&company, &id, &i64::from(limit)]).await?;
        rows.iter().map(read_unfinished).collect()
    }

    async fn forget_replays(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let client = self.database.writer().await?;
        let forget = client.prepare_cached(FORGET).await?;
        Ok(client.execute(&forget, &[&before.0, &i64::from(limit)]).await?)
    }
}

async fn replay(
    transaction: &Transaction,
    company: CompanyId,
    id: DeliveryId,
    act: &Act,
) -> Result<Option<Delivery>> {
    let now = act.at;
    let looking = Looking { transaction, company, now, locks: true };
    let candidates = looking.candidates(&[id]).await?;
    let there =
        |old: &&_| matches!(old, Candidate { payload_there: true, endpoint_there: true, .. });
    let Some(old) = candidates.first().filter(there) else { return Ok(None) };
    if let Some(row) = looking.latest(id).await? {
        return rows::delivery(&row).map(Some);
    }
    let mut addition = Additions::default();
    addition.push(&old.repeat, now, now);
    let made = addition.add(transaction, (company, None), now).await?;
    let entry = act.entry(company, Action::ReplayDelivery, id.uuid());
    audit::note(transaction, &entry).await?;
    made.first().map(rows::delivery).transpose()
}

async fn start(transaction: &Transaction, new: &NewReplay) -> Result<Started> {
    let (company, digest) = (new.company.uuid(), digest(new));
    let make_company = transaction.prepare_cached(MAKE_COMPANY).await?;
    transaction.execute(&make_company, &[&company, &new.at.0]).await?;
    let lock = transaction.prepare_cached(LOCK_COMPANY).await?;
    transaction.execute(&lock, &[&company]).await?;
    let before = match &new.key {
        Some(key) => {
            let of_key = transaction.prepare_cached(OF_KEY).await?;
            transaction.query_opt(&of_key, &[&company, &key.as_bytes(), &digest]).await?
        }
        None => {
            let of_digest = transaction.prepare_cached(OF_DIGEST).await?;
            transaction.query_opt(&of_digest, &[&company, &digest, &lately(new.at).0]).await?
        }
    };
    if let Some(row) = before {
        let same: bool = get(&row, "same")?;
        let answer = |replay| if same { Started::Repeat(replay) } else { Started::Conflict };
        return rows::replay(&row).map(answer);
    }
    keep(transaction, new, &digest).await.map(Started::New)
}

async fn keep(transaction: &Transaction, new: &NewReplay, digest: &[u8]) -> Result<Replay> {
    let keep = transaction.prepare_cached(KEEP).await?;
    let place = Job::of(new).start();
    let row = transaction
        .query_one(
            &keep,
            &[
                &new.company.uuid(),
                &new.id.uuid(),
                &write_selection(&new.selection),
                &digest,
                &new.key.as_ref().map(String::as_bytes),
                &new.per_second.map(integer).transpose()?,
                &Pacer::new(new.per_second, 0, new.at).next_us,
                &place.at,
                &place.id,
                &new.at.0,
            ],
        )
        .await?;
    rows::replay(&row)
}

async fn count(looking: &Looking<'_>, job: &Job, most: u32) -> Result<ReplayCount> {
    let (mut place, mut count) = (job.start(), ReplayCount::default());
    for _ in 0..ReplayCount::SLICES_MAX {
        let look = looking.look(job, place, LOOKED_MAX).await?;
        if !count.add(look.found, look.repeats.len(), (look.end, most)) {
            break;
        }
        place = look.place;
    }
    Ok(count)
}

async fn advance(
    transaction: &Transaction,
    (company, id): (CompanyId, ReplayId),
    slice: Slice,
) -> Result<Advanced> {
    let take = transaction.prepare_cached(TAKE).await?;
    let Some(row) = transaction.query_opt(&take, &[&company.uuid(), &id.uuid()]).await? else {
        return Ok(Advanced { finished: true, lanes: Vec::new() });
    };
    let replay = rows::replay(&row)?;
    let place = Place { at: get(&row, "place_at")?, id: get(&row, "place_id")? };
    let mut pacer = Pacer::new(replay.per_second, get(&row, "next_due_us")?, slice.now);
    let most = pacer.room(slice.until, slice.most);
    if most == 0 {
        return Ok(Advanced::default());
    }
    let job = Job { id, selection: replay.selection, created_at: replay.created_at };
    let looking = Looking { transaction, company, now: slice.now, locks: true };
    let look = looking.look(&job, place, most).await?;
    let mut lanes: BTreeMap<EndpointId, Timestamp> = BTreeMap::new();
    let mut additions = Additions::default();
    for repeat in &look.repeats {
        let due_at = pacer.next();
        additions.push(repeat, due_at, slice.now);
        lanes.entry(repeat.endpoint).or_insert(due_at);
    }
    additions.add(transaction, (company, Some(id)), slice.now).await?;
    note(transaction, (company, id), &look, (pacer.next_us, slice.now)).await?;
    let lane = |(endpoint, due_at)| (LaneKey { company, endpoint }, due_at);
    Ok(Advanced { finished: look.end, lanes: lanes.into_iter().map(lane).collect() })
}

async fn note(
    transaction: &Transaction,
    (company, id): (CompanyId, ReplayId),
    look: &Look,
    (next_us, now): (i64, Timestamp),
) -> Result<()> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let found = i64::try_from(look.found).unwrap_or(i64::MAX);
    let finished_at = look.end.then_some(now.0);
    let advance = transaction.prepare_cached(ADVANCE).await?;
    transaction
        .execute(
            &advance,
            &[
                &company.uuid(),
                &id.uuid(),
                &found,
                &number(look.repeats.len()),
                &look.place.at,
                &look.place.id,
                &next_us,
                &finished_at,
            ],
        )
        .await?;
    Ok(())
}

fn read_unfinished(row: &Row) -> Result<Unfinished> {
    let (pace, next_us): (Option<i32>, i64) = (get(row, "per_second")?, get(row, "next_due_us")?);
    let (company, id): (Uuid, Uuid) = (get(row, "company_id")?, get(row, "id")?);
    Ok(Unfinished {
        company: CompanyId::from_uuid(company),
        id: ReplayId::from_uuid(id),
        next_due: pace.map(|_| Timestamp(next_us / 1000)),
    })
}
