//! Leases, and how shards change hands.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Changing, NO_EPOCH, Seat};
use crate::metrics::Stopwatch;
use crate::model::{SHARDS, Shards, Timestamp};
use crate::store::postgres::Database;
use crate::store::postgres::pool::Object;
use crate::store::postgres::rows::get;
use crate::store::postgres::transaction::Transaction;
use crate::store::{Card, Node, Result, Tenure};

/// Holds the node's row until the end of the transaction, if it is a member. It does not keep its
/// lease from being renewed, only its shards from being taken away.
pub(in crate::store::postgres) const MEMBER: &str =
    "select 1 from nodes where id = $1 for key share";

const RENEW: &str = "
    update nodes set lease_until = clock_timestamp() + lease, leaving = $2, seals_with = $3
    where id = $1
    returning (extract(epoch from clock_timestamp()) * 1000)::bigint as now";

const JOIN: &str = "
    insert into nodes (id, name, version, seals_with, lease, leaving, lease_until)
    values ($1, $2, $3, $4, make_interval(secs => $5), $6,
            clock_timestamp() + make_interval(secs => $5))
    returning (extract(epoch from clock_timestamp()) * 1000)::bigint as now";

/// Whoever is in the middle of a transaction is left until the next time: a stuck one is ended by
/// the server (`idle_in_transaction_session_timeout`).
const EVICT: &str = "
    delete from nodes where id in (
        select id from nodes where lease_until < clock_timestamp() and id <> $1
        order by id for update skip locked)";

const FREE_ORPHANS: &str = "
    update shards s set node = null, epoch = epoch + 1
    where node is not null and not exists (select from nodes n where n.id = s.node)";

const SEATS: &str = "
    select n.id, n.leaving, n.name, host(n.address) as address from nodes n
    order by n.joined_at, n.id";

const MINE: &str = "select shard, epoch from shards where node = $1 order by shard";

const TAKE: &str = "
    update shards s set node = $1, epoch = epoch + 1
    from (select shard from shards where node is null order by shard limit $2
          for update skip locked) f
    where s.shard = f.shard
    returning s.shard";

/// What was claimed by the one before. Only leases that have not run out: whatever is due already
/// needs no voiding.
const VOID: &str = "
    with recursive lane as (
        (select company_id, endpoint_id from deliveries_waiting
         order by company_id, endpoint_id, due_at, id limit 1)
        union all
        select next.* from lane cross join lateral (
            select company_id, endpoint_id from deliveries_waiting
            where (company_id, endpoint_id) > (lane.company_id, lane.endpoint_id)
            order by company_id, endpoint_id, due_at, id limit 1) next)
    update deliveries_waiting d set claimed = false, due_at = $2
    from lane l cross join lateral (
        select c.company_id, c.id from deliveries_waiting c
        where c.company_id = l.company_id and c.endpoint_id = l.endpoint_id
          and c.due_at > $2 and c.due_at < 4503599627370496 and c.claimed
        order by c.due_at, c.id offset 0) c
    where get_byte(uuid_send(l.endpoint_id), 15) & 63 = any($1::int[])
      and d.company_id = any (array[c.company_id]) and d.id = c.id and d.claimed";

/// Alone with the node's row: whoever claims with it has come to an end, or begins later.
const ALONE: &str = "select 1 from nodes where id = $1 for update";

const GIVE: &str = "
    update shards set node = null, epoch = epoch + 1 where node = $1 and shard = any($2::smallint[])";

const LEAVE: &str = "delete from nodes where id = $1";

const NODES: &str = "
    select n.id, n.name, n.version, n.seals_with, extract(epoch from n.lease)::float8 as lease,
           (extract(epoch from n.joined_at) * 1000)::bigint as joined_at, n.leaving,
           greatest(0, extract(epoch from n.lease_until - clock_timestamp()))::float8 as lease_left,
           array(select shard from shards s where s.node = n.id) as shards
    from nodes n order by n.joined_at, n.id";

/// Renews the lease, or joins; then brings the shards nearer to an even share.
pub(super) async fn renew(
    database: &Database,
    changing: &mut Changing,
    (card, now): (&Card, Timestamp),
) -> Result<Tenure> {
    let before = database.membership.seat();
    let asked = Stopwatch::start();
    let renewed = match before.node {
        Some(node) => keep(database, node, card).await?,
        None => None,
    };
    let (node, store_time) = match before.node.zip(renewed) {
        Some(kept) => kept,
        None => {
            // A former life's claims must not count for this one.
            database.membership.set(Seat::default());
            changing.since_joined = None;
            // Whoever has renewed before was a member.
            changing.anew = changing.since_renewed.is_some();
            let joined = join(database, card).await?;
            // It is one from here on, whatever fails behind it: its lease would keep others waiting.
            database.membership.set(Seat { node: Some(joined.0), ..Seat::default() });
            joined
        }
    };
    let gap = changing.since_renewed.replace(asked).map_or(Duration::ZERO, |last| last.elapsed());
    if changing.since_joined.is_none() || gap > card.lease {
        changing.since_joined = Some(asked);
    }
    // After an outage of the database, others get the time to renew theirs too.
    let may_evict = changing.since_joined.is_some_and(|since| since.elapsed() >= card.lease);
    let share = divide(database, node, may_evict, now).await?;
    database.membership.set(share.seat);
    if share.evicted > 0 {
        tracing::warn!(nodes = share.evicted, "the lease of other nodes has run out");
    }
    Ok(Tenure {
        held: share.seat.held,
        taken: share.taken,
        owed: share.owed,
        anew: std::mem::take(&mut changing.anew),
        nodes: share.nodes,
        peers: share.peers,
        store_time: Some(Timestamp(store_time)),
        lease: Some(card.lease),
    })
}

async fn keep(database: &Database, node: Uuid, card: &Card) -> Result<Option<i64>> {
    let client = database.writer().await?;
    let statement = client.prepare_cached(RENEW).await?;
    let row = client.query_opt(&statement, &[&node, &card.leaving, &card.seals_with]).await?;
    row.map(|row| get(&row, "now")).transpose()
}

async fn join(database: &Database, card: &Card) -> Result<(Uuid, i64)> {
    let node = Uuid::new_v4();
    let client = database.writer().await?;
    let Card { name, version, seals_with, lease, leaving } = card;
    let secs = lease.as_secs_f64();
    let row = client.query_one(JOIN, &[&node, name, version, seals_with, &secs, leaving]).await?;
    // Others may have more than their share now.
    database.bell.ring_for_shards(&client).await?;
    Ok((node, get(&row, "now")?))
}

/// How the shards are divided now, as far as this node is concerned.
struct Share {
    seat: Seat,
    taken: Shards,
    owed: Shards,
    nodes: u32,
    peers: Vec<SocketAddr>,
    evicted: u64,
}

async fn divide(database: &Database, node: Uuid, may_evict: bool, now: Timestamp) -> Result<Share> {
    // What a dead node had claimed may be much.
    let client = Transaction::on(database.housekeeper().await?);
    client.batch_execute("begin").await?;
    client.query(MEMBER, &[&node]).await?;
    let evicted = if may_evict { client.execute(EVICT, &[&node]).await? } else { 0 };
    let freed = client.execute(FREE_ORPHANS, &[]).await?;
    let seats = client.query(SEATS, &[]).await?;
    let before = read_mine(&client.query(MINE, &[&node]).await?)?;
    let (due, have) = (due(&seats, node)?, before.held.len());
    let taken = take(&client, (node, due.saturating_sub(have)), now).await?;
    let held = match taken.is_empty() {
        true => before,
        false => read_mine(&client.query(MINE, &[&node]).await?)?,
    };
    if freed > u64::from(taken.len()) {
        database.bell.ring_for_shards(&client).await?;
    }
    client.batch_execute("commit").await?;
    client.ended();
    let too_many = usize::try_from(have.saturating_sub(due)).unwrap_or_default();
    let mine: Vec<u8> = held.held.iter().collect();
    let owed = mine.into_iter().rev().take(too_many).collect();
    let nodes = u32::try_from(seats.len()).unwrap_or(u32::MAX);
    let seat = Seat { node: Some(node), ..held };
    Ok(Share { seat, taken, owed, nodes, peers: peers(&seats, node)?, evicted })
}

/// Takes so many of the shards that are nobody's, if there are so many, and voids what is claimed in
/// them.
async fn take(client: &Object, (node, room): (Uuid, u32), now: Timestamp) -> Result<Shards> {
    if room == 0 {
        return Ok(Shards::NONE);
    }
    let taken = read_shards(&client.query(TAKE, &[&node, &i64::from(room)]).await?)?;
    if !taken.is_empty() {
        let shards: Vec<i32> = taken.iter().map(i32::from).collect();
        client.execute(VOID, &[&shards, &now.0]).await?;
    }
    Ok(taken)
}

/// How many shards a node is due: an even share among those that stay.
fn due(seats: &[Row], node: Uuid) -> Result<u32> {
    let mut staying: Vec<Uuid> = Vec::with_capacity(seats.len());
    for seat in seats {
        if !get::<bool>(seat, "leaving")? {
            staying.push(get(seat, "id")?);
        }
    }
    let Some(rank) = staying.iter().position(|other| *other == node) else { return Ok(0) };
    Ok(even_share(rank, staying.len()))
}

/// Where the other nodes listen: their ports, at the addresses from which they reach the database.
fn peers(seats: &[Row], node: Uuid) -> Result<Vec<SocketAddr>> {
    let mut peers = Vec::new();
    for seat in seats.iter() {
        let (id, name): (Uuid, &str) = (get(seat, "id")?, get(seat, "name")?);
        let address: Option<&str> = get(seat, "address")?;
        if id == node {
            continue;
        }
        peers.extend(name.parse::<SocketAddr>());
        let port = name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let address = address.and_then(|address| address.parse::<IpAddr>().ok());
        peers.extend(address.zip(port).map(SocketAddr::from));
    }
    Ok(peers)
}

/// The first ones get what is left over.
fn even_share(rank: usize, nodes: usize) -> u32 {
    let shards = usize::from(SHARDS);
    let share = shards / nodes.max(1) + usize::from(rank < shards % nodes.max(1));
    u32::try_from(share).unwrap_or_default()
}

fn read_mine(rows: &[Row]) -> Result<Seat> {
    let mut seat = Seat { held: read_shards(rows)?, ..Seat::default() };
    for row in rows {
        let (shard, epoch): (i16, i64) = (get(row, "shard")?, get(row, "epoch")?);
        if let Some(known) = seat.epochs.get_mut(usize::from(shard.unsigned_abs())) {
            *known = epoch.max(NO_EPOCH + 1);
        }
    }
    Ok(seat)
}

fn read_shards(rows: &[Row]) -> Result<Shards> {
    rows.iter().map(|row| Ok(shard(get(row, "shard")?))).collect()
}

fn shard(number: i16) -> u8 {
    u8::try_from(number).unwrap_or(SHARDS)
}

/// Lets go of shards. What is claimed at birth from here on is none of theirs: it is decided while
/// the node's row is held.
pub(super) async fn hand_over(database: &Database, shards: Shards) -> Result<()> {
    let seat = database.membership.seat();
    let Some(node) = seat.node else { return Ok(()) };
    database.membership.set(Seat { held: seat.held.without(shards), ..seat });
    let numbers: Vec<i16> = shards.iter().map(i16::from).collect();
    let client = Transaction::on(database.writer().await?);
    client.batch_execute("begin").await?;
    client.query(ALONE, &[&node]).await?;
    client.execute(GIVE, &[&node, &numbers]).await?;
    database.bell.ring_for_shards(&client).await?;
    client.batch_execute("commit").await?;
    client.ended();
    Ok(())
}

/// Leaves the others at once.
pub(in crate::store::postgres) async fn leave(database: &Database) -> Result<()> {
    let Some(node) = database.membership.seat().node else { return Ok(()) };
    database.membership.set(Seat::default());
    let client = Transaction::on(database.writer().await?);
    client.batch_execute("begin").await?;
    client.execute(LEAVE, &[&node]).await?;
    client.execute(FREE_ORPHANS, &[]).await?;
    database.bell.ring_for_shards(&client).await?;
    client.batch_execute("commit").await?;
    client.ended();
    Ok(())
}

pub(super) async fn nodes(database: &Database) -> Result<Vec<Node>> {
    let this = database.membership.seat().node;
    let client = database.reader().await?;
    let rows = client.query(NODES, &[]).await?;
    let node = |row: &Row| -> Result<Node> {
        let (id, shards): (Uuid, Vec<i16>) = (get(row, "id")?, get(row, "shards")?);
        let span = |column| -> Result<Duration> {
            Ok(Duration::try_from_secs_f64(get(row, column)?).unwrap_or_default())
        };
        Ok(Node {
            id,
            this: this == Some(id),
            card: Card {
                name: get(row, "name")?,
                version: get(row, "version")?,
                seals_with: get(row, "seals_with")?,
                lease: span("lease")?,
                leaving: get(row, "leaving")?,
            },
            joined_at: Timestamp(get(row, "joined_at")?),
            lease_left: span("lease_left")?,
            shards: shards.into_iter().map(shard).collect(),
        })
    };
    rows.iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_leave_nothing_over() {
        for nodes in 1..=70 {
            let shares: Vec<u32> = (0..nodes).map(|rank| even_share(rank, nodes)).collect();
            assert_eq!(shares.iter().sum::<u32>(), 64, "{nodes}");
            assert!(shares[0] - shares[nodes - 1] <= 1, "{shares:?}");
        }
    }
}
