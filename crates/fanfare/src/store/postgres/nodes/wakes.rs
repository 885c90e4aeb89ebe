//! What one node tells the owner of a lane: rows that the owner takes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::metrics::Stopwatch;
use crate::model::{CompanyId, DeliveryId, EndpointId, LaneKey, Shards, Timestamp};
use crate::store::postgres::Database;
use crate::store::postgres::pool::Object;
use crate::store::postgres::rows::get;
use crate::store::postgres::transaction::{BEGIN_AHEAD, Transaction};
use crate::store::{Result, Word};

pub(in crate::store::postgres) const PUT_WAKES: &str = "
    insert into wakes (shard, company_id, endpoint_id, word, due_at, delivery_id)
    select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::smallint[], $5::bigint[],
                         $6::uuid[])";

/// In the order in which they were told.
const TAKE: &str = "
    with taken as (
        delete from wakes where number > $1 and shard = any($2::smallint[])
        returning number, company_id, endpoint_id, word, due_at, delivery_id)
    select * from taken order by number";

/// Numbers are given before a row can be seen, so rows may come late. None of ours comes later than
/// this; and should one, the next look at all lanes makes up for it.
const LATE: Duration = Duration::from_secs(60);

/// How far has been read: dead rows before that are not passed again.
#[derive(Default)]
pub(super) struct ReadTo {
    from: i64,
    /// The highest numbers that were seen, and when.
    seen: VecDeque<(Stopwatch, i64)>,
}

/// What is to be told to owners of lanes that are not this node's.
pub(in crate::store::postgres) struct Wakes {
    own: Shards,
    due: BTreeMap<LaneKey, Timestamp>,
    rest: Vec<(LaneKey, Word)>,
}

impl Wakes {
    /// Nothing yet; what is told of these shards is left out.
    pub(in crate::store::postgres) fn foreign_to(own: Shards) -> Wakes {
        Wakes { own, due: BTreeMap::new(), rest: Vec::new() }
    }

    /// Of one lane, the earliest time is enough.
    pub(in crate::store::postgres) fn add(&mut self, lane: LaneKey, word: Word) {
        if self.own.has(shard_of(lane, word)) {
            return;
        }
        match word {
            Word::Due(at) => {
                let due = self.due.entry(lane).or_insert(at);
                *due = at.min(*due);
            }
            other => self.rest.push((lane, other)),
        }
    }

    pub(in crate::store::postgres) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.rest.is_empty()
    }

    /// Whom it concerns.
    pub(in crate::store::postgres) fn shards(&self) -> Shards {
        self.words().map(|(lane, word)| shard_of(lane, word)).collect()
    }

    fn words(&self) -> impl Iterator<Item = (LaneKey, Word)> {
        let due = self.due.iter().map(|(lane, at)| (*lane, Word::Due(*at)));
        due.chain(self.rest.iter().copied())
    }
}

/// What is a company's is in the company's shard.
fn shard_of(lane: LaneKey, word: Word) -> u8 {
    match word {
        Word::Replay => Shards::of(lane.company.uuid()),
        _ => Shards::of(lane.endpoint.uuid()),
    }
}

/// Words, column by column.
#[derive(Default)]
pub(in crate::store::postgres) struct WakeRows {
    shard: Vec<i16>,
    company: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    word: Vec<i16>,
    due_at: Vec<Option<i64>>,
    delivery: Vec<Option<Uuid>>,
}

impl WakeRows {
    pub(in crate::store::postgres) fn of(wakes: &Wakes) -> WakeRows {
        let mut rows = WakeRows::default();
        for (lane, word) in wakes.words() {
            let (kind, due_at, delivery) = match word {
                Word::Due(at) => (0, Some(at.0), None),
                Word::Changed { anew: false } => (1, None, None),
                Word::Changed { anew: true } => (2, None, None),
                Word::Cancel(delivery) => (3, None, Some(delivery.uuid())),
                Word::Replay => (4, None, None),
            };
            rows.shard.push(i16::from(shard_of(lane, word)));
            rows.company.push(lane.company.uuid());
            rows.endpoint.push(lane.endpoint.uuid());
            rows.word.push(kind);
            rows.due_at.push(due_at);
            rows.delivery.push(delivery);
        }
        rows
    }

    /// In the order of [`PUT_WAKES`].
    pub(in crate::store::postgres) fn columns(&self) -> Vec<&(dyn ToSql + Sync)> {
        let WakeRows { shard, company, endpoint, word, due_at, delivery } = self;
        vec![shard, company, endpoint, word, due_at, delivery]
    }
}

/// Stores words.
pub(in crate::store::postgres) async fn put_wakes(client: &Object, wakes: &Wakes) -> Result<()> {
    let statement = client.prepare_cached(PUT_WAKES).await?;
    client.execute(&statement, &WakeRows::of(wakes).columns()).await?;
    Ok(())
}

/// Takes what others told of the shards that are held. A crash may bring it back, which does no harm,
/// so that nobody waits for the disk.
pub(super) async fn take(database: &Database, read: &mut ReadTo) -> Result<Vec<(LaneKey, Word)>> {
    let held = database.membership.seat().held;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let shards: Vec<i16> = held.iter().map(i16::from).collect();
    let client = Transaction::on(database.writer().await?);
    let take = client.prepare_cached(TAKE).await?;
    let of_take: [&(dyn ToSql + Sync); 2] = [&read.from, &shards];
    let ((), rows, ()) = tokio::try_join!(
        biased;
        client.batch_execute(BEGIN_AHEAD),
        client.query(&take, &of_take),
        client.batch_execute("commit"),
    )?;
    client.ended();
    let mut words = Vec::with_capacity(rows.len());
    for row in &rows {
        words.extend(read_word(row)?);
    }
    if let Some(last) = rows.last() {
        read.note(get(last, "number")?);
    }
    Ok(words)
}

fn read_word(row: &Row) -> Result<Option<(LaneKey, Word)>> {
    let company = CompanyId::from_uuid(get(row, "company_id")?);
    let lane = LaneKey { company, endpoint: EndpointId::from_uuid(get(row, "endpoint_id")?) };
    let (due, delivery): (Option<i64>, Option<Uuid>) =
        (get(row, "due_at")?, get(row, "delivery_id")?);
    let word = match get::<i16>(row, "word")? {
        0 => due.map(|at| Word::Due(Timestamp(at))),
        1 => Some(Word::Changed { anew: false }),
        2 => Some(Word::Changed { anew: true }),
        3 => delivery.map(|id| Word::Cancel(DeliveryId::from_uuid(id))),
        4 => Some(Word::Replay),
        // Of a newer version: the look at all lanes makes up for it.
        _ => None,
    };
    Ok(word.map(|word| (lane, word)))
}

impl ReadTo {
    fn note(&mut self, number: i64) {
        let newest = self.seen.back();
        if newest.is_none_or(|(when, _)| when.elapsed() > LATE / 10) {
            self.seen.push_back((Stopwatch::start(), number));
        }
        while let Some(&(_, number)) = self.seen.front().filter(|(when, _)| when.elapsed() > LATE) {
            self.from = self.from.max(number);
            self.seen.pop_front();
        }
    }
}
