//! Everything that a batch of emits leaves behind, column by column for `unnest`.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};
use uuid::Uuid;

use crate::model::{Event, PARKED_MS, Timestamp};
use crate::store::postgres::accept::{Born, Outcome};
use crate::store::postgres::error::corrupt;
use crate::store::postgres::nodes::{PUT_WAKES, WakeRows, Wakes};
use crate::store::postgres::rows::{get, integer};
use crate::store::postgres::supersede::Newest;
use crate::store::postgres::transaction::Transaction;
use crate::store::{Emit, Result, Word};

// In the order of keys wherever others may want the same rows, so that nobody waits in a ring.
const COMPANIES: &str = "
    insert into companies (company_id, name, created_at, updated_at)
    select company_id, '', at, at from unnest($1::uuid[], $2::bigint[]) as c (company_id, at)
    on conflict do nothing";

const EVENTS: &str = "
    insert into events (company_id, id, type, payload, created_at, deliveries, ordering_key,
                        deliver_at, expires_at, operational)
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::bytea[], $5::bigint[], $6::int[],
                         $7::text[], $8::bigint[], $9::bigint[], $10::bool[])";

const NAMES: &str = "
    insert into known (company_id, name, event_id, digest, created_at, deliveries)
    select * from unnest($1::uuid[], $2::bytea[], $3::uuid[], $4::bytea[], $5::bigint[],
                         $6::int[])";

/// Sent behind the counts, which hold the lanes and know how far their numbers are.
const DELIVERIES: &str = "
    insert into deliveries (company_id, id, endpoint_id, event_id, shape, due_at, updated_at,
                            claimed, fence, state, attempts, sequence, expires_at)
    select d.company_id, d.id, d.endpoint_id, event_id, shape, due_at, at, claimed, claimed::int,
           0, 0, c.sequence - d.behind, expires_at
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[],
                $7::bigint[], $8::bool[], $9::bigint[], $10::bigint[])
         as d (company_id, id, endpoint_id, event_id, shape, due_at, at, claimed, behind,
               expires_at)
    join counts c on c.company_id = d.company_id and c.endpoint_id = d.endpoint_id";

/// Those with keys: parked where another one waits under the same order key, of this batch
/// (`follows`) or from before.
const KEYED: &str = "
    insert into deliveries (company_id, id, endpoint_id, event_id, shape, due_at, updated_at,
                            claimed, fence, state, attempts, sequence, expires_at, order_key,
                            coalesce_key)
    select d.company_id, d.id, d.endpoint_id, event_id, shape,
           case when p.parked then start + 4503599627370496 else due_at end, at,
           claimed and not p.parked, (claimed and not p.parked)::int, 0, 0,
           c.sequence - d.behind, expires_at, order_key, coalesce_key
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[],
                $7::bigint[], $8::bool[], $9::bigint[], $10::bigint[], $11::text[], $12::text[],
                $13::bigint[], $14::bool[])
         as d (company_id, id, endpoint_id, event_id, shape, due_at, at, claimed, behind,
               expires_at, order_key, coalesce_key, start, follows)
    join counts c on c.company_id = d.company_id and c.endpoint_id = d.endpoint_id
    cross join lateral (
        select d.follows or exists (
            select from deliveries o
            where o.company_id = d.company_id and o.endpoint_id = d.endpoint_id
              and o.order_key = d.order_key and o.state = 0) as parked) p
    returning id, claimed, due_at";

const COUNTS: &str = "
    insert into counts (company_id, endpoint_id, waiting, concluded, failed, sequence)
    select company_id, endpoint_id, waiting, 0, 0, waiting
    from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as c (company_id, endpoint_id, waiting)
    on conflict (company_id, endpoint_id)
    do update set waiting = counts.waiting + excluded.waiting,
        sequence = counts.sequence + excluded.sequence
    returning company_id, endpoint_id, sequence";

/// The rows to insert.
pub(super) struct Rows<'a> {
    /// What the owners of other nodes' lanes are told with it.
    pub(super) wakes: Wakes,
    companies: BTreeMap<Uuid, i64>,
    events: Events<'a>,
    names: Names<'a>,
    deliveries: Deliveries,
    keyed: Deliveries,
    keys: Keys,
    newest: Newest,
    counts: BTreeMap<Lane, i64>,
    /// The lanes of all deliveries and their places there in this batch, in the order they were
    /// born in.
    places: Vec<(Lane, i64)>,
    /// The lanes' order keys under which something comes in this batch.
    followed: HashSet<(Lane, String)>,
}

type Lane = (Uuid, Uuid);

/// What was inserted.
pub(super) struct Stored {
    /// Sequence numbers in the order in which deliveries were born.
    sequences: std::vec::IntoIter<u64>,
    /// Of those with keys, whether they are claimed, and when they are due.
    keyed: HashMap<Uuid, (bool, i64)>,
    /// When something falls due in a lane because others were superseded there.
    freed: HashMap<Uuid, i64>,
}

impl Stored {
    /// The sequence number of the next delivery, and whether it is claimed.
    pub(super) fn next(&mut self, born: &Born) -> (u64, bool) {
        let sequence = self.sequences.next().unwrap_or_default();
        let keyed = self.keyed.get(&born.id.uuid());
        (sequence, keyed.map_or(born.claimed.is_some(), |(claimed, _)| *claimed))
    }

    /// When something that is not claimed falls due by it.
    pub(super) fn due(&self, born: &Born) -> Option<Timestamp> {
        if born.birth.is_free() {
            return born.claimed.is_none().then_some(born.birth.start);
        }
        let own = self.keyed.get(&born.id.uuid()).filter(|(claimed, _)| !claimed);
        let own = own.map(|(_, due_at)| *due_at).filter(|due_at| *due_at < PARKED_MS);
        let superseding = born.birth.coalesce_key.is_some();
        let freed = self.freed.get(&born.endpoint.id.uuid()).copied().filter(|_| superseding);
        own.into_iter().chain(freed).min().map(Timestamp)
    }
}

#[derive(Default)]
struct Events<'a> {
    company: Vec<Uuid>,
    id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    payload: Vec<&'a [u8]>,
    created_at: Vec<i64>,
    deliveries: Vec<i32>,
    ordering_key: Vec<Option<&'a str>>,
    deliver_at: Vec<Option<i64>>,
    expires_at: Vec<Option<i64>>,
    operational: Vec<bool>,
}

#[derive(Default)]
struct Names<'a> {
    company: Vec<Uuid>,
    name: Vec<&'a [u8]>,
    event: Vec<Uuid>,
    digest: Vec<&'a [u8]>,
    created_at: Vec<i64>,
    deliveries: Vec<i32>,
}

#[derive(Default)]
struct Deliveries {
    company: Vec<Uuid>,
    id: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    event: Vec<Uuid>,
    shape: Vec<String>,
    due_at: Vec<i64>,
    at: Vec<i64>,
    claimed: Vec<bool>,
    /// Their places in their lanes, and then how many come after them there in this batch.
    behind: Vec<i64>,
    expires_at: Vec<Option<i64>>,
}

/// What deliveries with keys have beyond others.
#[derive(Default)]
struct Keys {
    order: Vec<Option<String>>,
    coalesce: Vec<Option<String>>,
    start: Vec<i64>,
    follows: Vec<bool>,
}

impl<'a> Rows<'a> {
    /// The rows of those that are to be stored.
    pub(super) fn of(emits: &'a [Emit], outcomes: &[Outcome], wakes: Wakes) -> Result<Self> {
        let mut rows = Rows {
            wakes,
            companies: BTreeMap::new(),
            events: Events::default(),
            names: Names::default(),
            deliveries: Deliveries::default(),
            keyed: Deliveries::default(),
            keys: Keys::default(),
            newest: Newest::default(),
            counts: BTreeMap::new(),
            places: Vec::new(),
            followed: HashSet::new(),
        };
        for (emit, outcome) in emits.iter().zip(outcomes) {
            let Outcome::Store(born) = outcome else { continue };
            rows.add_event(emit, born.len())?;
            for delivery in born {
                rows.add_delivery(&emit.event, delivery);
            }
        }
        for rows_of in [&mut rows.deliveries, &mut rows.keyed] {
            rows_of.look_behind(&rows.counts);
        }
        Ok(rows)
    }

    fn add_event(&mut self, emit: &'a Emit, deliveries: usize) -> Result<()> {
        let event = &*emit.event;
        let (company, id) = (event.company.uuid(), event.id.uuid());
        let deliveries = integer(u32::try_from(deliveries).unwrap_or(u32::MAX))?;
        self.companies.entry(company).or_insert(event.created_at.0);
        self.events.company.push(company);
        self.events.id.push(id);
        self.events.event_type.push(event.event_type.as_str());
        self.events.payload.push(&event.payload);
        self.events.created_at.push(event.created_at.0);
        self.events.deliveries.push(deliveries);
        self.events.ordering_key.push(event.ordering_key.as_deref());
        self.events.deliver_at.push(event.deliver_at.map(|at| at.0));
        self.events.expires_at.push(event.expires_at.map(|at| at.0));
        self.events.operational.push(event.operational);
        for name in &emit.names {
            self.names.company.push(company);
            self.names.name.push(name.text.as_bytes());
            self.names.event.push(id);
            self.names.digest.push(&name.digest);
            self.names.created_at.push(event.created_at.0);
            self.names.deliveries.push(deliveries);
        }
        Ok(())
    }

    fn add_delivery(&mut self, event: &Event, born: &Born) {
        let lane = (event.company.uuid(), born.endpoint.id.uuid());
        let count = self.counts.entry(lane).or_default();
        let place = *count;
        *count += 1;
        self.places.push((lane, place));
        // What is superseded by it may have been due earlier.
        let coalesces = born.birth.coalesce_key.is_some();
        let due = if coalesces { event.created_at } else { born.birth.start };
        self.wakes.add(born.endpoint.lane(), Word::Due(due));
        if born.birth.is_free() {
            self.deliveries.add(event, born, place);
            return;
        }
        self.keyed.add(event, born, place);
        let (order, coalesce) = (&born.birth.order_key, &born.birth.coalesce_key);
        let first = order.as_ref().is_none_or(|key| self.followed.insert((lane, key.clone())));
        self.keys.follows.push(!first);
        self.keys.order.push(order.clone());
        self.keys.coalesce.push(coalesce.clone());
        self.keys.start.push(born.birth.start.0);
        if let Some(key) = coalesce {
            self.newest.add(event, lane, (key, born.id));
        }
    }

    /// The sequence numbers of the deliveries in their order, by the last one of each lane.
    fn sequences(&self, last: &[Row]) -> Result<Vec<u64>> {
        let mut lanes: HashMap<Lane, i64> = HashMap::new();
        for row in last {
            let lane = (get(row, "company_id")?, get(row, "endpoint_id")?);
            lanes.insert(lane, get(row, "sequence")?);
        }
        let numbers = self.places.iter().map(|(lane, place)| {
            let last = lanes.get(lane).copied().unwrap_or_default();
            let behind = self.counts.get(lane).copied().unwrap_or_default() - 1 - place;
            u64::try_from(last - behind).map_err(|_| corrupt("sequence"))
        });
        numbers.collect()
    }

    /// Sends everything and the commit at once. If one statement fails, the commit is a rollback;
    /// `biased` makes the first error the one that is told, and nothing be sent behind a statement
    /// that could not be. Only where something may be superseded, the commit is sent later.
    pub(super) async fn insert_and_commit(&self, transaction: &Transaction) -> Result<Stored> {
        let companies: (Vec<Uuid>, Vec<i64>) = self.companies.iter().map(|(a, b)| (*a, *b)).unzip();
        let of_counts = transaction.prepare_cached(COUNTS).await?;
        let of_companies = transaction.prepare_cached(COMPANIES).await?;
        let of_events = transaction.prepare_cached(EVENTS).await?;
        let of_names = transaction.prepare_cached(NAMES).await?;
        let of_deliveries = transaction.prepare_cached(DELIVERIES).await?;
        let of_keyed = transaction.prepare_cached(KEYED).await?;
        let of_wakes = transaction.prepare_cached(PUT_WAKES).await?;
        let wakes = WakeRows::of(&self.wakes);
        let (lanes, waiting): (Vec<Lane>, Vec<i64>) =
            self.counts.iter().map(|(lane, waiting)| (*lane, *waiting)).unzip();
        let (lane_company, lane_endpoint): (Vec<Uuid>, Vec<Uuid>) = lanes.into_iter().unzip();
        let lanes: [&(dyn ToSql + Sync); 3] = [&lane_company, &lane_endpoint, &waiting];
        let (_, _, _, last, _, keyed, _, ()) = tokio::try_join!(
            biased;
            run(transaction, &of_companies, vec![&companies.0, &companies.1]),
            run(transaction, &of_events, self.events.columns()),
            run_if(!self.names.name.is_empty(), transaction, &of_names, self.names.columns()),
            transaction.query(&of_counts, &lanes),
            run(transaction, &of_deliveries, self.deliveries.columns()),
            self.insert_keyed(transaction, &of_keyed),
            run_if(!self.wakes.is_empty(), transaction, &of_wakes, wakes.columns()),
            commit_if(self.newest.is_empty(), transaction),
        )?;
        let freed = self.newest.supersede(transaction).await?;
        commit_if(!self.newest.is_empty(), transaction).await?;
        let keyed = keyed
            .iter()
            .map(|row| Ok((get(row, "id")?, (get(row, "claimed")?, get(row, "due_at")?))));
        Ok(Stored {
            sequences: self.sequences(&last)?.into_iter(),
            keyed: keyed.collect::<Result<_>>()?,
            freed,
        })
    }

    async fn insert_keyed(
        &self,
        transaction: &Transaction,
        statement: &Statement,
    ) -> std::result::Result<Vec<Row>, Error> {
        if self.keyed.id.is_empty() {
            return Ok(Vec::new());
        }
        let Keys { order, coalesce, start, follows } = &self.keys;
        let mut columns = self.keyed.columns();
        let keys: [&(dyn ToSql + Sync); 4] = [order, coalesce, start, follows];
        columns.extend(keys);
        transaction.query(statement, &columns).await
    }
}

async fn run(
    transaction: &Transaction,
    statement: &Statement,
    values: Vec<&(dyn ToSql + Sync)>,
) -> std::result::Result<u64, Error> {
    transaction.execute(statement, &values).await
}

async fn run_if(
    wanted: bool,
    transaction: &Transaction,
    statement: &Statement,
    values: Vec<&(dyn ToSql + Sync)>,
) -> std::result::Result<u64, Error> {
    if wanted { transaction.execute(statement, &values).await } else { Ok(0) }
}

async fn commit_if(wanted: bool, transaction: &Transaction) -> std::result::Result<(), Error> {
    if wanted { transaction.batch_execute("commit").await } else { Ok(()) }
}

impl Events<'_> {
    /// In the order of [`EVENTS`].
    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Events { company, id, event_type, payload, created_at, deliveries, .. } = self;
        let Events { ordering_key, deliver_at, expires_at, operational, .. } = self;
        vec![
            company,
            id,
            event_type,
            payload,
            created_at,
            deliveries,
            ordering_key,
            deliver_at,
            expires_at,
            operational,
        ]
    }
}

impl Names<'_> {
    /// In the order of [`NAMES`].
    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Names { company, name, event, digest, created_at, deliveries } = self;
        vec![company, name, event, digest, created_at, deliveries]
    }
}

impl Deliveries {
    fn add(&mut self, event: &Event, born: &Born, place: i64) {
        self.company.push(event.company.uuid());
        self.id.push(born.id.uuid());
        self.endpoint.push(born.endpoint.id.uuid());
        self.event.push(event.id.uuid());
        self.shape.push(born.endpoint.shape.encode());
        self.due_at.push(born.claimed.unwrap_or(born.birth.start).0);
        self.at.push(event.created_at.0);
        self.claimed.push(born.claimed.is_some());
        self.behind.push(place);
        self.expires_at.push(event.expires_at.map(|at| at.0));
    }

    fn look_behind(&mut self, counts: &BTreeMap<Lane, i64>) {
        let lanes = self.company.iter().copied().zip(self.endpoint.iter().copied());
        for (lane, behind) in lanes.zip(&mut self.behind) {
            *behind = counts.get(&lane).copied().unwrap_or_default() - 1 - *behind;
        }
    }

    /// In the order of [`DELIVERIES`].
    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Deliveries { company, id, endpoint, event, shape, due_at, .. } = self;
        let Deliveries { at, claimed, behind, expires_at, .. } = self;
        vec![company, id, endpoint, event, shape, due_at, at, claimed, behind, expires_at]
    }
}
