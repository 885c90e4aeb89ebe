//! What a replay sends again, and the deliveries it makes.
//!
//! What is decided on is locked by a statement before the one that reads it, so that two replays
//! never repeat the same delivery.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::model::{
    CompanyId, DeliveryId, Endpoint, EndpointId, Event, EventId, EventType, ReplayId, Selection,
    Subscription, Timestamp,
};
use crate::store::Result;
use crate::store::postgres::rows::{self, delivery_columns, endpoint_columns, event_columns, get};
use crate::store::postgres::transaction::Transaction;
use crate::store::repeats::{
    Candidate, Job, LOOKED_MAX, Look, Newest, Place, Repeat, events_in, failed_since, hearing,
    judge, lately, of_type, part_of, tell,
};

const FAILED: &str = "
    select id, updated_at from deliveries
    where company_id = $1 and state = 2 and id > $2 and id < $3 order by id limit $4";

const LOCK_DELIVERIES: &str = "
    select from deliveries where company_id = $1 and id = any($2)
    order by id for no key update";

const CANDIDATES: &str = "
    select d.id, d.event_id, d.endpoint_id, d.shape, v.type, v.payload <> '' as payload_there,
           exists (select from endpoints e
                   where e.company_id = d.company_id and e.id = d.endpoint_id
                     and e.deleted_at is null) as endpoint_there,
           v.expires_at,
           d.superseded_by is not null or coalesce(d.reason, '') = 'cancelled' as on_purpose,
           exists (select from deliveries r
                   where r.company_id = d.company_id and r.replay_of = d.id) as repeated,
           exists (select from deliveries r
                   where r.company_id = d.company_id and r.replay_of = d.id
                     and (r.state = 0 or r.id >= $3)) as lately
    from unnest($2::uuid[]) with ordinality as q (id, n)
    join deliveries d on d.company_id = $1 and d.id = q.id
    join events v on v.company_id = d.company_id and v.id = d.event_id
    order by q.n";

const LATEST: &str = concat!(
    "select ",
    delivery_columns!(),
    " from deliveries d
    where d.company_id = $1 and d.replay_of = $2 and (d.state = 0 or d.id >= $3)
    order by d.id desc limit 1"
);

const ENDPOINTS: &str = concat!(
    "select ",
    endpoint_columns!(),
    " from endpoints e
    where e.company_id = $1 and e.id = coalesce($2, e.id) and e.deleted_at is null order by e.id"
);

const EVENTS: &str = "
    select created_at, id, type from events
    where company_id = $1 and payload <> '' and (created_at, id) > ($2, $3) and created_at < $4
    order by created_at, id limit $5";

const LOAD: &str = concat!(
    "select ",
    event_columns!(),
    " from events v where v.company_id = $1 and v.id = any($2) order by v.created_at, v.id"
);

const LOCK_EVENTS: &str = "
    select from events where company_id = $1 and id = any($2) order by id for no key update";

const NEWEST: &str = "
    select d.* from unnest($2::uuid[], $3::uuid[]) as q (event_id, endpoint_id)
    cross join lateral (
        select d.id, d.event_id, d.endpoint_id, d.state from deliveries d
        where d.company_id = $1 and d.event_id = q.event_id and d.endpoint_id = q.endpoint_id
        order by d.id desc limit 1) d";

/// The counts hold the lanes, in the order of keys, and know how far their numbers are.
const COUNT: &str = "
    insert into counts (company_id, endpoint_id, waiting, concluded, failed, sequence)
    select $1, endpoint_id, count(*), 0, 0, count(*)
    from unnest($2::uuid[]) as q (endpoint_id) group by endpoint_id order by endpoint_id
    on conflict (company_id, endpoint_id)
    do update set waiting = counts.waiting + excluded.waiting,
        sequence = counts.sequence + excluded.sequence";

/// Sent behind the counts, so that it sees what waits in the lanes by then: parked where another one
/// waits under the same order key.
const ADD: &str = concat!(
    "with new as materialized (
        select q.*, v.expires_at,
               case e.ordering when 'key' then v.ordering_key when 'strict' then '' end
                   as order_key,
               row_number() over (partition by q.endpoint_id order by q.n desc) - 1 as behind
        from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::uuid[])
             with ordinality as q (id, endpoint_id, event_id, shape, due_at, replay_of, n)
        join events v on v.company_id = $1 and v.id = q.event_id
        join endpoints e on e.company_id = $1 and e.id = q.endpoint_id),
    placed as materialized (
        select new.*, order_key is not null and (
                   row_number() over (partition by endpoint_id, order_key order by n) > 1
                   or exists (select from deliveries_waiting w
                              where w.company_id = $1 and w.endpoint_id = new.endpoint_id
                                and w.order_key = new.order_key)) as parked
        from new),
    made as (
        insert into deliveries_waiting (company_id, id, endpoint_id, event_id, shape, due_at,
                                updated_at, replay_of, replay_id, claimed, fence, state, attempts, sequence,
                                expires_at, order_key)
        select $1, p.id, p.endpoint_id, event_id, shape,
               case when parked then due_at + 4503599627370496 else due_at end, $8, replay_of, $9,
               false, 0, 0, 0, c.sequence - behind, expires_at, order_key
        from placed p
        join counts c on c.company_id = $1 and c.endpoint_id = p.endpoint_id
        returning *)
    select ",
    delivery_columns!(),
    " from made d"
);

/// Deliveries to make, column by column for [`ADD`].
#[derive(Default)]
pub(super) struct Additions {
    id: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    event: Vec<Uuid>,
    shape: Vec<String>,
    due_at: Vec<i64>,
    replay_of: Vec<Option<Uuid>>,
}

impl Additions {
    pub(super) fn push(&mut self, repeat: &Repeat, due_at: Timestamp, now: Timestamp) {
        self.id.push(DeliveryId::new(now).uuid());
        self.endpoint.push(repeat.endpoint.uuid());
        self.event.push(repeat.event.uuid());
        self.shape.push(repeat.shape.encode());
        self.due_at.push(due_at.0);
        self.replay_of.push(repeat.old.map(DeliveryId::uuid));
    }

    /// Makes them, and returns their rows.
    pub(super) async fn add(
        &self,
        transaction: &Transaction,
        (company, replay): (CompanyId, Option<ReplayId>),
        now: Timestamp,
    ) -> Result<Vec<Row>> {
        let Additions { id, endpoint, event, shape, due_at, replay_of } = self;
        let (company, replay) = (company.uuid(), replay.map(ReplayId::uuid));
        if id.is_empty() {
            return Ok(Vec::new());
        }
        let columns: [&(dyn ToSql + Sync); 9] =
            [&company, id, endpoint, event, shape, due_at, replay_of, &now.0, &replay];
        let count = transaction.prepare_cached(COUNT).await?;
        transaction.execute(&count, &[&company, endpoint]).await?;
        let add = transaction.prepare_cached(ADD).await?;
        Ok(transaction.query(&add, &columns).await?)
    }
}

/// Looks for what a replay selects, within a transaction.
pub(super) struct Looking<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) company: CompanyId,
    pub(super) now: Timestamp,
    /// Whether what is found will be sent again; only then others must be kept from it.
    pub(super) locks: bool,
}

impl Looking<'_> {
    /// What comes at a place of a replay.
    pub(super) async fn look(&self, job: &Job, place: Place, most: u32) -> Result<Look> {
        let (ids, place, end) = match &job.selection {
            Selection::Deliveries(list) => {
                let (ids, behind) = part_of(list, place, most);
                let end = usize::try_from(behind.at).is_ok_and(|at| at >= list.len());
                (ids, behind, end)
            }
            Selection::Failed { since, .. } => self.failed(job, *since, (place, most)).await?,
            Selection::Events { types, to, .. } => {
                let before = to.unwrap_or(Timestamp(job.created_at.0 + 1));
                return self.events(job, (types, before), (place, most)).await;
            }
        };
        let candidates = self.candidates(&ids).await?;
        let unknown = (ids.len() - candidates.len()) as u64;
        let (repeats, found) = judge(candidates, &job.selection, self.now);
        Ok(Look { repeats, found: found + unknown, place, end })
    }

    /// The repeat of a delivery that makes another one needless for now.
    pub(super) async fn latest(&self, old: DeliveryId) -> Result<Option<Row>> {
        let since = DeliveryId::first_at(lately(self.now)).uuid();
        let latest = self.transaction.prepare_cached(LATEST).await?;
        Ok(self
            .transaction
            .query_opt(&latest, &[&self.company.uuid(), &old.uuid(), &since])
            .await?)
    }

    /// Deliveries as far as it matters for sending them again.
    pub(super) async fn candidates(&self, ids: &[DeliveryId]) -> Result<Vec<Candidate>> {
        let (company, transaction) = (self.company.uuid(), self.transaction);
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        if self.locks {
            let lock = transaction.prepare_cached(LOCK_DELIVERIES).await?;
            transaction.execute(&lock, &[&company, &ids]).await?;
        }
        let since = DeliveryId::first_at(lately(self.now)).uuid();
        let candidates = transaction.prepare_cached(CANDIDATES).await?;
        let rows = transaction.query(&candidates, &[&company, &ids, &since]).await?;
        rows.iter().map(read_candidate).collect()
    }

    async fn failed(
        &self,
        job: &Job,
        since: Timestamp,
        (place, most): (Place, u32),
    ) -> Result<(Vec<DeliveryId>, Place, bool)> {
        let failed = self.transaction.prepare_cached(FAILED).await?;
        let (company, before) = (self.company.uuid(), job.id.uuid());
        let rows = self
            .transaction
            .query(&failed, &[&company, &place.id, &before, &i64::from(LOOKED_MAX)])
            .await?;
        let read = |row: &Row| -> Result<(DeliveryId, Timestamp)> {
            Ok((DeliveryId::from_uuid(get(row, "id")?), Timestamp(get(row, "updated_at")?)))
        };
        let looked = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        let all = looked.len() < LOOKED_MAX as usize;
        Ok(failed_since(&looked, since, place, (most, all)))
    }

    async fn events(
        &self,
        job: &Job,
        (types, before): (&Subscription, Timestamp),
        (place, most): (Place, u32),
    ) -> Result<Look> {
        let endpoints = self.endpoints(job).await?;
        let looked = self.in_range(before, place).await?;
        let all = looked.len() < LOOKED_MAX as usize;
        let most = events_in(most, endpoints.len());
        let (ids, place, end) = of_type(&looked, types, place, (most, all));
        let events = self.load(&ids).await?;
        let pairs: Vec<(&Event, &Endpoint)> = events
            .iter()
            .flat_map(|event| hearing(&endpoints, event).map(move |endpoint| (event, endpoint)))
            .collect();
        let newest = self.newest(&pairs).await?;
        let found = pairs.len() as u64;
        let told = pairs.into_iter().filter_map(|(event, endpoint)| {
            tell((event, endpoint), newest.get(&(event.id, endpoint.id)).copied(), self.now)
        });
        Ok(Look { repeats: told.collect(), found, place, end })
    }

    async fn endpoints(&self, job: &Job) -> Result<Vec<Endpoint>> {
        let only = job.selection.endpoint().map(EndpointId::uuid);
        let endpoints = self.transaction.prepare_cached(ENDPOINTS).await?;
        let rows = self.transaction.query(&endpoints, &[&self.company.uuid(), &only]).await?;
        rows.iter().map(rows::endpoint).collect()
    }

    async fn in_range(
        &self,
        before: Timestamp,
        place: Place,
    ) -> Result<Vec<(Place, EventId, EventType)>> {
        let events = self.transaction.prepare_cached(EVENTS).await?;
        let (company, limit) = (self.company.uuid(), i64::from(LOOKED_MAX));
        let rows = self
            .transaction
            .query(&events, &[&company, &place.at, &place.id, &before.0, &limit])
            .await?;
        let read = |row: &Row| {
            let (id, event_type): (Uuid, &str) = (get(row, "id")?, get(row, "type")?);
            let place = Place { at: get(row, "created_at")?, id };
            Ok((place, EventId::from_uuid(id), rows::event_type(event_type)?))
        };
        rows.iter().map(read).collect()
    }

    async fn load(&self, ids: &[EventId]) -> Result<Vec<Event>> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        if self.locks {
            let lock = self.transaction.prepare_cached(LOCK_EVENTS).await?;
            self.transaction.execute(&lock, &[&self.company.uuid(), &ids]).await?;
        }
        let load = self.transaction.prepare_cached(LOAD).await?;
        let rows = self.transaction.query(&load, &[&self.company.uuid(), &ids]).await?;
        rows.iter().map(rows::event).collect()
    }

    async fn newest(
        &self,
        pairs: &[(&Event, &Endpoint)],
    ) -> Result<HashMap<(EventId, EndpointId), Newest>> {
        let events: Vec<Uuid> = pairs.iter().map(|(event, _)| event.id.uuid()).collect();
        let endpoints: Vec<Uuid> = pairs.iter().map(|(_, endpoint)| endpoint.id.uuid()).collect();
        let newest = self.transaction.prepare_cached(NEWEST).await?;
        let rows =
            self.transaction.query(&newest, &[&self.company.uuid(), &events, &endpoints]).await?;
        let read = |row: &Row| {
            let event = EventId::from_uuid(get(row, "event_id")?);
            let endpoint = EndpointId::from_uuid(get(row, "endpoint_id")?);
            let state = rows::read_state(get(row, "state")?)?;
            Ok(((event, endpoint), (DeliveryId::from_uuid(get(row, "id")?), state)))
        };
        rows.iter().map(read).collect()
    }
}

fn read_candidate(row: &Row) -> Result<Candidate> {
    let expires_at: Option<i64> = get(row, "expires_at")?;
    Ok(Candidate {
        repeat: Repeat {
            old: Some(DeliveryId::from_uuid(get(row, "id")?)),
            event: EventId::from_uuid(get(row, "event_id")?),
            endpoint: EndpointId::from_uuid(get(row, "endpoint_id")?),
            shape: rows::shape(row, "shape")?,
        },
        event_type: rows::event_type(get(row, "type")?)?,
        payload_there: get(row, "payload_there")?,
        endpoint_there: get(row, "endpoint_there")?,
        expires_at: expires_at.map(Timestamp),
        on_purpose: get(row, "on_purpose")?,
        repeated: get(row, "repeated")?,
        lately: get(row, "lately")?,
    })
}
