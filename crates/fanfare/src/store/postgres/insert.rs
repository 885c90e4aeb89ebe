//! Everything that a batch of emits leaves behind, column by column for `unnest`.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};
use uuid::Uuid;

use crate::model::Event;
use crate::store::Result;
use crate::store::postgres::accept::{Born, Decision, Emitted};
use crate::store::postgres::error::corrupt;
use crate::store::postgres::rows::{get, integer};
use crate::store::postgres::transaction::Transaction;

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

const KEYS: &str = "
    insert into idempotency (company_id, key, event_id)
    select * from unnest($1::uuid[], $2::bytea[], $3::uuid[])";

/// Sent behind the counts, which hold the lanes and know how far their numbers are.
const DELIVERIES: &str = "
    insert into deliveries (company_id, id, endpoint_id, event_id, shape, due_at, updated_at,
                            claimed, fence, state, attempts, sequence)
    select d.company_id, d.id, d.endpoint_id, event_id, shape, due_at, at, claimed, claimed::int,
           0, 0, c.sequence - d.behind
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[],
                $7::bigint[], $8::bool[], $9::bigint[])
         as d (company_id, id, endpoint_id, event_id, shape, due_at, at, claimed, behind)
    join counts c on c.company_id = d.company_id and c.endpoint_id = d.endpoint_id";

const COUNTS: &str = "
    insert into counts (company_id, endpoint_id, waiting, concluded, failed, sequence)
    select company_id, endpoint_id, waiting, 0, 0, waiting
    from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as c (company_id, endpoint_id, waiting)
    on conflict (company_id, endpoint_id)
    do update set waiting = counts.waiting + excluded.waiting,
        sequence = counts.sequence + excluded.sequence
    returning company_id, endpoint_id, sequence";

/// The rows to insert.
#[derive(Default)]
pub(super) struct Rows<'a> {
    companies: BTreeMap<Uuid, i64>,
    events: Events<'a>,
    keys: Keys<'a>,
    deliveries: Deliveries,
    counts: BTreeMap<(Uuid, Uuid), i64>,
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
struct Keys<'a> {
    company: Vec<Uuid>,
    key: Vec<&'a [u8]>,
    event: Vec<Uuid>,
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
    /// How many of the same lane come after it in this batch.
    behind: Vec<i64>,
}

impl<'a> Rows<'a> {
    /// The rows of those that are to be stored.
    pub(super) fn of(emits: &'a [Emitted], decisions: &[Decision]) -> Result<Self> {
        let mut rows = Rows::default();
        for (emit, decision) in emits.iter().zip(decisions) {
            let Decision::Store(born) = decision else { continue };
            rows.add_event(emit, born.len())?;
            for delivery in born {
                rows.add_delivery(&emit.event, delivery);
            }
        }
        rows.look_behind();
        Ok(rows)
    }

    fn add_event(&mut self, emit: &'a Emitted, deliveries: usize) -> Result<()> {
        let event = &*emit.event;
        let (company, id) = (event.company.uuid(), event.id.uuid());
        self.companies.entry(company).or_insert(event.created_at.0);
        self.events.company.push(company);
        self.events.id.push(id);
        self.events.event_type.push(event.event_type.as_str());
        self.events.payload.push(&event.payload);
        self.events.created_at.push(event.created_at.0);
        self.events.deliveries.push(integer(u32::try_from(deliveries).unwrap_or(u32::MAX))?);
        self.events.ordering_key.push(event.ordering_key.as_deref());
        self.events.deliver_at.push(event.deliver_at.map(|at| at.0));
        self.events.expires_at.push(event.expires_at.map(|at| at.0));
        self.events.operational.push(event.operational);
        if let Some(key) = &emit.key {
            self.keys.company.push(company);
            self.keys.key.push(key.as_bytes());
            self.keys.event.push(id);
        }
        Ok(())
    }

    fn add_delivery(&mut self, event: &Event, born: &Born) {
        let (company, endpoint) = (event.company.uuid(), born.endpoint.id.uuid());
        *self.counts.entry((company, endpoint)).or_default() += 1;
        let rows = &mut self.deliveries;
        rows.company.push(company);
        rows.id.push(born.id.uuid());
        rows.endpoint.push(endpoint);
        rows.event.push(event.id.uuid());
        rows.shape.push(born.endpoint.shape.encode());
        rows.due_at.push(born.claimed.unwrap_or(event.created_at).0);
        rows.at.push(event.created_at.0);
        rows.claimed.push(born.claimed.is_some());
    }

    fn look_behind(&mut self) {
        let mut left = self.counts.clone();
        let rows = &mut self.deliveries;
        for lane in rows.company.iter().copied().zip(rows.endpoint.iter().copied()) {
            let behind = left.entry(lane).or_default();
            *behind -= 1;
            rows.behind.push(*behind);
        }
    }

    /// The sequence numbers of the deliveries in their order, by the last one of each lane.
    fn sequences(&self, last: &[Row]) -> Result<Vec<u64>> {
        let mut lanes: HashMap<(Uuid, Uuid), i64> = HashMap::new();
        for row in last {
            let lane = (get(row, "company_id")?, get(row, "endpoint_id")?);
            lanes.insert(lane, get(row, "sequence")?);
        }
        let rows = &self.deliveries;
        let keys = rows.company.iter().copied().zip(rows.endpoint.iter().copied());
        let numbers = keys.zip(&rows.behind).map(|(lane, behind)| {
            let last = lanes.get(&lane).copied().unwrap_or_default();
            u64::try_from(last - behind).map_err(|_| corrupt("sequence"))
        });
        numbers.collect()
    }

    /// Sends everything and the commit at once, and returns the deliveries' sequence numbers. If one statement fails, the commit is a rollback;
    /// `biased` makes the first error the one that is told, and nothing be sent behind a statement
    /// that could not be.
    pub(super) async fn insert_and_commit(&self, transaction: &Transaction) -> Result<Vec<u64>> {
        let (events, keys, deliveries) = (&self.events, &self.keys, &self.deliveries);
        let companies: (Vec<Uuid>, Vec<i64>) = self.companies.iter().map(|(a, b)| (*a, *b)).unzip();
        let of_counts = transaction.prepare_cached(COUNTS).await?;
        let of_companies = transaction.prepare_cached(COMPANIES).await?;
        let of_events = transaction.prepare_cached(EVENTS).await?;
        let of_keys = transaction.prepare_cached(KEYS).await?;
        let of_deliveries = transaction.prepare_cached(DELIVERIES).await?;
        let (lanes, waiting): (Vec<(Uuid, Uuid)>, Vec<i64>) =
            self.counts.iter().map(|(lane, waiting)| (*lane, *waiting)).unzip();
        let (lane_company, lane_endpoint): (Vec<Uuid>, Vec<Uuid>) = lanes.into_iter().unzip();
        let lanes: [&(dyn ToSql + Sync); 3] = [&lane_company, &lane_endpoint, &waiting];
        let (_, _, _, last, _, _) = tokio::try_join!(
            biased;
            run(transaction, &of_companies, vec![&companies.0, &companies.1]),
            run(transaction, &of_events, events.columns()),
            run(transaction, &of_keys, vec![&keys.company, &keys.key, &keys.event]),
            transaction.query(&of_counts, &lanes),
            run(transaction, &of_deliveries, deliveries.columns()),
            async { transaction.batch_execute("commit").await.map(|()| 0) },
        )?;
        self.sequences(&last)
    }
}

async fn run(
    transaction: &Transaction,
    statement: &Statement,
    values: Vec<&(dyn ToSql + Sync)>,
) -> std::result::Result<u64, Error> {
    transaction.execute(statement, &values).await
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

impl Deliveries {
    /// In the order of [`DELIVERIES`].
    fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        let Deliveries { company, id, endpoint, event, shape, due_at, at, claimed, behind } = self;
        vec![company, id, endpoint, event, shape, due_at, at, claimed, behind]
    }
}
