//! Emits: events, their deliveries and their names in one transaction, many at a time.
//!
//! Two round trips: what is known already and who listens; then everything at once
//! ([`super::insert`]). Between them everything is decided, which touches nothing.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::model::filter::Subject;
use crate::model::{
    Claim, CompanyId, DeliveryId, Endpoint, EndpointId, EventId, EventType, Shards, Timestamp,
};
use crate::store::birth::Birth;
use crate::store::known::{self, Decision, Found};
use crate::store::postgres::Database;
use crate::store::postgres::batch::Job;
use crate::store::postgres::doubt::Doubt;
use crate::store::postgres::insert::{Rows, Stored};
use crate::store::postgres::nodes::{MEMBER, Wakes};
use crate::store::postgres::rows::{self, endpoint_columns, get, unsigned};
use crate::store::postgres::transaction::{BEGIN_AHEAD, Transaction};
use crate::store::{Accepted, Admission, Emit, Receipt, Result, StoreError};

/// What is there under the names that callers gave. What an older version kept has no digest.
const KNOWN: &str = "
    select a.n, k.event_id, k.created_at, k.deliveries,
           k.digest is null or k.digest = a.digest as same
    from unnest($1::int[], $2::uuid[], $3::bytea[], $4::bytea[])
         as a (n, company_id, name, digest)
    join known k on k.company_id = a.company_id and k.name = a.name";

/// What is there under the ids that callers gave: an older version kept those nowhere else.
const TAKEN: &str = "
    select a.n, v.id as event_id, v.created_at, v.deliveries,
           v.type = a.type and sha256(v.payload) = a.payload_hash as same
    from unnest($1::int[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[])
         as a (n, company_id, id, type, payload_hash)
    join events v on v.company_id = a.company_id and v.id = a.id";

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

/// Emits that are stored together or not at all.
pub(super) struct Call {
    emits: Vec<Emit>,
    admission: Admission,
}

/// What is to be done with one emit.
pub(super) enum Outcome {
    Store(Vec<Born>),
    Else(Decision),
}

/// A delivery to store.
pub(super) struct Born {
    pub(super) id: DeliveryId,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) birth: Birth,
    /// Until when it is claimed, unless it has to wait for another one.
    pub(super) claimed: Option<Timestamp>,
}

pub(super) type Listening = HashMap<Kind, Vec<Arc<Endpoint>>>;

/// What decides who hears of an event: whose it is, its type, and whether it is operational.
type Kind = (CompanyId, EventType, bool);

impl Job for Call {
    type Answer = Vec<Accepted>;

    fn bytes(&self) -> usize {
        self.emits.iter().map(|emit| emit.event.payload.len()).sum()
    }

    async fn together(database: &Database, calls: &[Self]) -> Result<Vec<Vec<Accepted>>> {
        let counts: Vec<usize> = calls.iter().map(|call| call.emits.len()).collect();
        let emits: Vec<Emit> = calls.iter().flat_map(|call| &call.emits).cloned().collect();
        let transaction = Transaction::on(database.writer().await?);
        let seat = database.membership.seat();
        let (mut found, listening, member) = look(&transaction, &emits, seat.node()).await?;
        // Asked again: it is decided while the node's row is held.
        let held = if member { database.membership.seat().held } else { Shards::NONE };
        let decisions = known::decide(&emits, &counts, &mut found);
        let admissions = calls.iter().flat_map(|call| call.emits.iter().map(|_| &call.admission));
        let outcomes: Vec<Outcome> = emits
            .iter()
            .zip(admissions)
            .zip(decisions)
            .map(|((emit, admission), decision)| {
                outcome(emit, decision, (&listening, (admission, held)))
            })
            .collect();
        let rows = Rows::of(&emits, &outcomes, Wakes::foreign_to(held))?;
        let stored = rows.insert_and_commit(&transaction).await;
        if stored.as_ref().is_err_and(StoreError::passes) {
            database.doubts.add(claimed_at_birth(&emits, &outcomes));
        }
        let mut stored = stored?;
        transaction.ended();
        database.bell.ring(rows.wakes.shards());
        let mut answers: Vec<Accepted> = Vec::with_capacity(emits.len());
        for (emit, outcome) in emits.iter().zip(outcomes) {
            let answer = answer(emit, outcome, (&mut stored, &emits, &answers));
            answers.push(answer);
        }
        let mut answers = answers.into_iter();
        Ok(counts.iter().map(|count| answers.by_ref().take(*count).collect()).collect())
    }

    fn in_doubt(accepted: &Vec<Accepted>) -> Option<Doubt> {
        let claims = accepted.iter().flat_map(|accepted| match accepted {
            Accepted::New { claims, .. } => &claims[..],
            _ => &[],
        });
        let name = |claim: &Claim| (claim.event.company.uuid(), claim.delivery, claim.due_at);
        Doubt::born(claims.map(name).collect())
    }
}

/// What nobody would hold if it were stored and its answer lost.
fn claimed_at_birth(emits: &[Emit], outcomes: &[Outcome]) -> Option<Doubt> {
    let mut claimed = Vec::new();
    for (emit, outcome) in emits.iter().zip(outcomes) {
        let Outcome::Store(born) = outcome else { continue };
        let born = born.iter().filter(|born| born.claimed.is_some());
        let company = emit.event.company.uuid();
        claimed.extend(born.map(|born| (company, born.id, born.birth.start)));
    }
    Doubt::born(claimed)
}

impl Call {
    pub(super) fn new(emits: Vec<Emit>, admission: &Admission) -> Self {
        Call { emits, admission: admission.clone() }
    }
}

/// What decides who hears of an event.
fn kind(emit: &Emit) -> Kind {
    (emit.event.company, emit.event.event_type.clone(), emit.event.operational)
}

fn outcome(
    emit: &Emit,
    decision: Decision,
    (listening, admission): (&Listening, (&Admission, Shards)),
) -> Outcome {
    if !matches!(decision, Decision::Store) {
        return Outcome::Else(decision);
    }
    Outcome::Store(bear(emit, listening, admission))
}

/// The deliveries that an event makes. Claimed is at most what is in a shard that is held.
pub(super) fn bear(
    emit: &Emit,
    listening: &Listening,
    (admission, held): (&Admission, Shards),
) -> Vec<Born> {
    let listeners = listening.get(&kind(emit)).map_or(&[][..], Vec::as_slice);
    let (at, payload) = (emit.event.created_at, Subject::new(&emit.event.payload));
    let hearing = listeners.iter().filter(|endpoint| emit.passes(endpoint, &payload));
    let born = hearing.map(|endpoint| {
        let birth = Birth::of(&emit.event, &endpoint.flow);
        let own = held.has_id(endpoint.id.uuid());
        let claimed = own && birth.start <= at && (admission.may_claim)(endpoint.id);
        Born {
            id: DeliveryId::new(at),
            endpoint: Arc::clone(endpoint),
            birth,
            claimed: claimed.then_some(at.plus(admission.lease)),
        }
    });
    born.collect()
}

/// Begins the transaction, holds the node's row, and reads what the decisions need. Tells also
/// whether the node is a member.
async fn look(
    transaction: &Transaction,
    emits: &[Emit],
    node: Uuid,
) -> Result<(HashMap<usize, Found>, Listening, bool)> {
    let member = transaction.prepare_cached(MEMBER).await?;
    let (_, member, known, taken, listening) = tokio::try_join!(
        biased;
        async { Ok(transaction.batch_execute(BEGIN_AHEAD).await?) },
        async { Ok(transaction.query(&member, &[&node]).await?) },
        look_for_names(transaction, emits),
        look_for_ids(transaction, emits),
        look_for_listeners(transaction, emits),
    )?;
    // A name says more than the event that is there under the same id.
    Ok((taken.into_iter().chain(known).collect(), listening, !member.is_empty()))
}

/// Who hears of what.
pub(super) async fn look_for_listeners(
    transaction: &Transaction,
    emits: &[Emit],
) -> Result<Listening> {
    let mut kinds: Vec<Kind> = emits.iter().map(kind).collect();
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
    read_listening(&rows, &kinds)
}

fn read_listening(rows: &[Row], kinds: &[Kind]) -> Result<Listening> {
    let mut read: HashMap<EndpointId, Arc<Endpoint>> = HashMap::new();
    let mut listening = Listening::new();
    for row in rows {
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

/// What is there under the first known name of each emit. Most come without one.
async fn look_for_names(
    transaction: &Transaction,
    emits: &[Emit],
) -> Result<HashMap<usize, Found>> {
    let mut found = HashMap::new();
    let named = || {
        let named = emits.iter().enumerate();
        named.flat_map(|(at, emit)| emit.names.iter().map(move |name| (at, emit, name)))
    };
    if named().next().is_none() {
        return Ok(found);
    }
    let numbers: Vec<i32> = (0..).take(named().count()).collect();
    let companies: Vec<Uuid> = named().map(|(_, emit, _)| emit.event.company.uuid()).collect();
    let names: Vec<&[u8]> = named().map(|(_, _, name)| name.text.as_bytes()).collect();
    let digests: Vec<&[u8]> = named().map(|(_, _, name)| &name.digest[..]).collect();
    let statement = transaction.prepare_cached(KNOWN).await?;
    let rows = transaction.query(&statement, &[&numbers, &companies, &names, &digests]).await?;
    let mut by_number = by_number(&rows)?;
    for (number, (at, _, name)) in (0..).zip(named()) {
        if let Some(row) = by_number.remove(&number)
            && !found.contains_key(&at)
        {
            found.insert(at, read_found(row, name.text.clone())?);
        }
    }
    Ok(found)
}

/// The events that are there under the ids that callers gave.
async fn look_for_ids(transaction: &Transaction, emits: &[Emit]) -> Result<HashMap<usize, Found>> {
    let given: Vec<(usize, &Emit)> =
        emits.iter().enumerate().filter(|(_, emit)| emit.id_given).collect();
    let mut found = HashMap::new();
    if given.is_empty() {
        return Ok(found);
    }
    let numbers: Vec<i32> = (0..).take(given.len()).collect();
    let events = || given.iter().map(|(_, emit)| &*emit.event);
    let companies: Vec<Uuid> = events().map(|event| event.company.uuid()).collect();
    let ids: Vec<Uuid> = events().map(|event| event.id.uuid()).collect();
    let types: Vec<&str> = events().map(|event| event.event_type.as_str()).collect();
    let hashes: Vec<Vec<u8>> =
        events().map(|event| Sha256::digest(&event.payload).to_vec()).collect();
    let statement = transaction.prepare_cached(TAKEN).await?;
    let rows =
        transaction.query(&statement, &[&numbers, &companies, &ids, &types, &hashes]).await?;
    let mut by_number = by_number(&rows)?;
    for (number, (at, emit)) in (0..).zip(given) {
        if let Some(row) = by_number.remove(&number) {
            found.insert(at, read_found(row, known::by_id(emit))?);
        }
    }
    Ok(found)
}

fn by_number(rows: &[Row]) -> Result<HashMap<i32, &Row>> {
    rows.iter().map(|row| Ok((get(row, "n")?, row))).collect()
}

fn read_found(row: &Row, name: String) -> Result<Found> {
    let receipt = Receipt {
        id: EventId::from_uuid(get(row, "event_id")?),
        created_at: Timestamp(get(row, "created_at")?),
        deliveries: unsigned(get(row, "deliveries")?, "number of deliveries")?,
    };
    Ok(Found { name, receipt, same: get(row, "same")? })
}

/// `stored` goes on with those of its deliveries; `emits` and `answers` are those before it.
fn answer(
    emit: &Emit,
    outcome: Outcome,
    (stored, emits, answers): (&mut Stored, &[Emit], &[Accepted]),
) -> Accepted {
    let born = match outcome {
        Outcome::Store(born) => born,
        Outcome::Else(Decision::Again(first)) => {
            return known::again(emits.get(first).zip(answers.get(first)));
        }
        Outcome::Else(Decision::Repeat(receipt)) => return Accepted::Repeat(receipt),
        Outcome::Else(Decision::Conflict(name)) => return Accepted::Conflict(name),
        Outcome::Else(Decision::Withhold | Decision::Store) => return Accepted::Withheld,
    };
    let deliveries = u32::try_from(born.len()).unwrap_or(u32::MAX);
    let (mut claims, mut waiting) = (Vec::new(), Vec::new());
    for born in born {
        let (sequence, claimed) = stored.next(&born);
        waiting.extend(stored.due(&born).map(|due| (born.endpoint.id, due)));
        if !claimed {
            continue;
        }
        claims.push(Claim {
            delivery: born.id,
            fence: 1,
            due_at: born.birth.start,
            attempts: 0,
            probes: 0,
            sequence,
            ordered: born.birth.order_key.is_some(),
            shape: born.endpoint.shape,
            event: Arc::clone(&emit.event),
            endpoint: born.endpoint,
        });
    }
    Accepted::New { claims, waiting, deliveries }
}
