//! Emits: an event, its deliveries and its key in one transaction, many events at a time.
//!
//! Two round trips: what is known already and who listens; then everything at once
//! ([`super::insert`]). Between them stands [`decide`], which touches nothing.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::metrics::Stopwatch;
use crate::model::filter::Subject;
use crate::model::{
    Claim, CompanyId, DeliveryId, Endpoint, EndpointId, Event, EventId, EventType, Timestamp,
};
use crate::store::postgres::Database;
use crate::store::postgres::batch::Job;
use crate::store::postgres::insert::Rows;
use crate::store::postgres::rows::{self, endpoint_columns, get, unsigned};
use crate::store::postgres::transaction::Transaction;
use crate::store::{Accepted, Admission, Emit, Receipt, Result};

/// What is there under the keys and ids that callers gave. A key says more than an id.
const KNOWN: &str = "
    select a.n, v.id, v.created_at, v.deliveries,
           v.type = a.type and sha256(v.payload) = a.payload_hash
               and v.id = coalesce(a.id, v.id) as same
    from unnest($1::int[], $2::uuid[], $3::uuid[], $4::bytea[], $5::text[], $6::bytea[])
         as a (n, company_id, id, key, type, payload_hash)
    left join idempotency k on k.company_id = a.company_id and k.key = a.key
    join events v on v.company_id = a.company_id and v.id = coalesce(k.event_id, a.id)";

const LISTENERS: &str = concat!(
    "select q.n, ",
    endpoint_columns!(),
    " from unnest($1::int[], $2::uuid[], $3::text[], $4::bool[])
        as q (n, company_id, patterns, operational)
    join endpoints e on e.company_id = q.company_id and e.operational = q.operational
    where e.events && string_to_array(q.patterns, ' ')
      and e.disabled_at is null and e.deleted_at is null
    order by q.n, e.id"
);

/// An emit in a batch.
pub(super) struct Emitted {
    pub(super) event: Arc<Event>,
    pub(super) key: Option<String>,
    id_given: bool,
    admission: Admission,
}

/// What is to be done with one of them.
pub(super) enum Decision {
    Store(Vec<Born>),
    Repeated(Receipt),
    Conflicting(Receipt),
}

/// A delivery to store.
pub(super) struct Born {
    pub(super) id: DeliveryId,
    pub(super) endpoint: Arc<Endpoint>,
    /// Until when it is claimed.
    pub(super) claimed: Option<Timestamp>,
}

/// An event that is there, and whether it is the same as the one that was emitted.
struct Known {
    receipt: Receipt,
    same: bool,
}

/// By what an event can be known.
#[derive(PartialEq, Eq, Hash)]
enum Name {
    Id(EventId),
    Key(String),
}

type KnownOnes = HashMap<usize, Known>;
pub(super) type Listening = HashMap<Kind, Vec<Arc<Endpoint>>>;

/// What decides who hears of an event: whose it is, its type, and whether it is operational.
type Kind = (CompanyId, EventType, bool);

impl Job for Emitted {
    type Answer = Accepted;

    fn bytes(&self) -> usize {
        self.event.payload.len()
    }

    async fn together(database: &Database, emits: &[Self]) -> Result<Vec<Accepted>> {
        let transaction = Transaction::on(database.writer().await?);
        let (known, listening) = look(&transaction, emits).await?;
        let decisions = decide(emits, known, &listening);
        let rows = Rows::of(emits, &decisions)?;
        let clock = Stopwatch::start();
        let mut sequences = rows.insert_and_commit(&transaction).await?.into_iter();
        database.metrics.fsync.observe(clock.elapsed().as_secs_f64());
        transaction.ended();
        let answers = emits.iter().zip(decisions);
        Ok(answers.map(|(emit, decision)| answer(emit, decision, &mut sequences)).collect())
    }
}

impl Emitted {
    pub(super) fn new(emit: Emit, admission: &Admission) -> Self {
        Emitted {
            event: Arc::new(emit.event),
            id_given: emit.id_given,
            key: emit.key,
            admission: admission.clone(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        (self.event.company, self.event.event_type.clone(), self.event.operational)
    }

    /// The deliveries it makes.
    pub(super) fn bear(&self, listening: &Listening) -> Vec<Born> {
        let listeners = listening.get(&self.kind()).map_or(&[][..], Vec::as_slice);
        let at = self.event.created_at;
        let until = at.plus(self.admission.lease);
        let payload = Subject::new(&self.event.payload);
        let hearing = listeners.iter().filter(|endpoint| endpoint.wants(&payload));
        let born = hearing.map(|endpoint| Born {
            id: DeliveryId::new(at),
            endpoint: Arc::clone(endpoint),
            claimed: (self.admission.may_claim)(endpoint.id).then_some(until),
        });
        born.collect()
    }

    /// Whether `other` says the same thing under the same name.
    fn repeats(&self, other: &Emitted) -> bool {
        let (event, other) = (&self.event, &other.event);
        event.event_type == other.event_type
            && event.payload == other.payload
            && (!self.id_given || event.id == other.id)
    }

    fn receipt(&self, deliveries: usize) -> Receipt {
        Receipt {
            id: self.event.id,
            created_at: self.event.created_at,
            deliveries: u32::try_from(deliveries).unwrap_or(u32::MAX),
        }
    }
}

/// Begins the transaction and reads what the decisions need.
async fn look(transaction: &Transaction, emits: &[Emitted]) -> Result<(KnownOnes, Listening)> {
    let (_, known, listening) = tokio::try_join!(
        biased;
        async { Ok(transaction.batch_execute("begin").await?) },
        look_for_known(transaction, emits),
        look_for_listeners(transaction, emits.iter().map(Emitted::kind).collect()),
    )?;
    Ok((known, listening))
}

/// Who hears of what.
pub(super) async fn look_for_listeners(
    transaction: &Transaction,
    mut kinds: Vec<Kind>,
) -> Result<Listening> {
    kinds.sort_unstable();
    kinds.dedup();
    let numbers: Vec<i32> = (0..).take(kinds.len()).collect();
    let companies: Vec<Uuid> = kinds.iter().map(|(company, ..)| company.uuid()).collect();
    let patterns: Vec<String> = kinds
        .iter()
        .map(|(_, event_type, _)| event_type.patterns().collect::<Vec<_>>().join(" "))
        .collect();
    let operational: Vec<bool> = kinds.iter().map(|(.., operational)| *operational).collect();
    let listeners = transaction.prepare_cached(LISTENERS).await?;
    let rows =
        transaction.query(&listeners, &[&numbers, &companies, &patterns, &operational]).await?;
    let mut read: HashMap<EndpointId, Arc<Endpoint>> = HashMap::new();
    let mut listening = Listening::new();
    for row in &rows {
        let number: i32 = get(row, "n")?;
        let Some(kind) = kinds.get(number.unsigned_abs() as usize) else { continue };
        let id = EndpointId::from_uuid(get(row, "endpoint_id")?);
        let endpoint = match read.get(&id) {
            Some(endpoint) => Arc::clone(endpoint),
            None => Arc::new(rows::endpoint(row)?),
        };
        read.insert(id, Arc::clone(&endpoint));
        listening.entry(kind.clone()).or_default().push(endpoint);
    }
    Ok(listening)
}

/// Most emits come without a name of the caller's and need not be looked for.
async fn look_for_known(transaction: &Transaction, emits: &[Emitted]) -> Result<KnownOnes> {
    let named: Vec<(usize, &Emitted)> =
        emits.iter().enumerate().filter(|(_, emit)| emit.id_given || emit.key.is_some()).collect();
    if named.is_empty() {
        return Ok(KnownOnes::new());
    }
    let numbers: Vec<i32> = (0..).take(named.len()).collect();
    let events = || named.iter().map(|(_, emit)| &*emit.event);
    let companies: Vec<Uuid> = events().map(|event| event.company.uuid()).collect();
    let ids: Vec<Option<Uuid>> =
        named.iter().map(|(_, emit)| emit.id_given.then(|| emit.event.id.uuid())).collect();
    let keys: Vec<Option<&[u8]>> =
        named.iter().map(|(_, emit)| emit.key.as_ref().map(String::as_bytes)).collect();
    let types: Vec<&str> = events().map(|event| event.event_type.as_str()).collect();
    let hashes: Vec<Vec<u8>> =
        events().map(|event| Sha256::digest(&event.payload).to_vec()).collect();
    let statement = transaction.prepare_cached(KNOWN).await?;
    let rows = transaction
        .query(&statement, &[&numbers, &companies, &ids, &keys, &types, &hashes])
        .await?;
    let mut known = KnownOnes::new();
    for row in &rows {
        let receipt = Receipt {
            id: EventId::from_uuid(get(row, "id")?),
            created_at: Timestamp(get(row, "created_at")?),
            deliveries: unsigned(get(row, "deliveries")?, "number of deliveries")?,
        };
        let number: i32 = get(row, "n")?;
        if let Some((at, _)) = named.get(number.unsigned_abs() as usize) {
            known.insert(*at, Known { receipt, same: get(row, "same")? });
        }
    }
    Ok(known)
}

/// What is to be done with each, in their order: a later one may repeat an earlier one.
fn decide(emits: &[Emitted], mut known: KnownOnes, listening: &Listening) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = Vec::with_capacity(emits.len());
    let mut first: HashMap<(CompanyId, Name), usize> = HashMap::new();
    for (at, emit) in emits.iter().enumerate() {
        let company = emit.event.company;
        let by_key = emit.key.clone().map(|key| (company, Name::Key(key)));
        let by_id = (company, Name::Id(emit.event.id));
        let earlier =
            by_key.as_ref().and_then(|name| first.get(name)).or_else(|| first.get(&by_id));
        let known = known.remove(&at).or_else(|| {
            let Decision::Store(born) = &decisions[*earlier?] else { return None };
            let earlier = &emits[*earlier?];
            Some(Known { receipt: earlier.receipt(born.len()), same: emit.repeats(earlier) })
        });
        decisions.push(match known {
            Some(Known { receipt, same: true }) => Decision::Repeated(receipt),
            Some(Known { receipt, same: false }) => Decision::Conflicting(receipt),
            None => {
                first.extend(by_key.into_iter().chain([by_id]).map(|name| (name, at)));
                Decision::Store(emit.bear(listening))
            }
        });
    }
    decisions
}

/// `sequences` goes on with those of its deliveries.
fn answer(
    emit: &Emitted,
    decision: Decision,
    sequences: &mut impl Iterator<Item = u64>,
) -> Accepted {
    let born = match decision {
        Decision::Repeated(receipt) => return Accepted::Repeat(receipt),
        Decision::Conflicting(receipt) => return Accepted::Conflict(receipt),
        Decision::Store(born) => born,
    };
    let (mut claims, mut waiting) = (Vec::new(), Vec::new());
    for (born, sequence) in born.into_iter().zip(sequences) {
        if born.claimed.is_none() {
            waiting.push(born.endpoint.id);
            continue;
        }
        claims.push(Claim {
            delivery: born.id,
            fence: 1,
            due_at: emit.event.created_at,
            attempts: 0,
            probes: 0,
            sequence,
            shape: born.endpoint.shape,
            event: Arc::clone(&emit.event),
            endpoint: born.endpoint,
        });
    }
    Accepted::New { claims, waiting }
}
