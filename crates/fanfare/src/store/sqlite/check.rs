//! The proof of the store's invariants.

use rusqlite::Connection;

/// What must never be found, and the query that finds it: up to ten ids.
const NEVER: &[(&str, &str)] = &[
    (
        "a delivery in a state that does not exist",
        "
        select id from deliveries where state not in (0, 1, 2)",
    ),
    (
        "a waiting delivery whose endpoint does not exist",
        "
        select id from deliveries d where state = 0 and not exists (
            select 1 from endpoints e where e.company_id = d.company_id and e.id = d.endpoint_id)",
    ),
    (
        "a waiting delivery without a next time",
        "
        select id from deliveries where state = 0 and due_at <= 0",
    ),
    (
        "a disabled endpoint without a reason",
        "
        select id from endpoints where disabled_at is not null
            and coalesce(disabled_reason, '') = ''",
    ),
    (
        "an endpoint with an older secret that signs for ever, or the end of none",
        "
        select id from endpoints where (previous_secret is null) <> (previous_until is null)",
    ),
    (
        "a failed delivery without a reason",
        "
        select id from deliveries where state = 2 and coalesce(reason, '') = ''",
    ),
    (
        "a concluded delivery without an attempt that was answered with a 2xx",
        "
        select id from deliveries d where state = 1 and not exists (
            select 1 from attempts a where a.company_id = d.company_id and a.delivery_id = d.id
                and a.status between 200 and 299)",
    ),
    (
        "a final delivery that is still claimed",
        "
        select id from deliveries where state <> 0 and claimed <> 0",
    ),
    (
        "a delivery without its event",
        "
        select id from deliveries d where not exists (
            select 1 from events v where v.company_id = d.company_id and v.id = d.event_id)",
    ),
    (
        "a delivery with fewer attempts in its history than it counts",
        "
        select id from deliveries d where attempts > (
            select count(*) from attempts a
            where a.company_id = d.company_id and a.delivery_id = d.id)",
    ),
    (
        "a delivery with fewer probes in its history than it counts",
        "
        select id from deliveries d where probes > (
            select count(*) from attempts a
            where a.company_id = d.company_id and a.delivery_id = d.id and a.probe)",
    ),
    (
        "a delivery with more attempts than claims",
        "
        select id from deliveries where attempts > fence",
    ),
    (
        "an attempt without its delivery",
        "
        select delivery_id from attempts a where not exists (
            select 1 from deliveries d where d.company_id = a.company_id and d.id = a.delivery_id)",
    ),
    (
        "an event with more deliveries than it was accepted with",
        "
        select id from events v where deliveries < (
            select count(*) from deliveries d indexed by deliveries_by_event
                where d.company_id = v.company_id
                and d.event_id = v.id and d.replay_of is null
                and d.replay_id is null)",
    ),
    (
        "a delivery that repeats one of another event or endpoint",
        "
        select d.id from deliveries d
        join deliveries o on o.company_id = d.company_id and o.id = d.replay_of
        where d.replay_of is not null
            and (o.event_id <> d.event_id or o.endpoint_id <> d.endpoint_id)",
    ),
    (
        "a replay that made more than it counts, or than it found",
        "
        select r.id from replays r left join (
            select company_id, replay_id, count(*) as made from deliveries
            where replay_id is not null group by company_id, replay_id) d
        on d.company_id = r.company_id and d.replay_id = r.id
        where coalesce(d.made, 0) > r.made or r.made > r.found",
    ),
    (
        "a parked delivery with nothing before it under its key",
        "
        select id from deliveries d where state = 0 and due_at >= 1 << 52 and not exists (
            select 1 from deliveries e indexed by deliveries_ordered
            where e.company_id = d.company_id and e.endpoint_id = d.endpoint_id
                and e.order_key = d.order_key and e.state = 0 and e.sequence < d.sequence)",
    ),
    (
        "a delivery that may go before another one under its key",
        "
        select id from deliveries d
        where state = 0 and order_key is not null and due_at < 1 << 52 and exists (
            select 1 from deliveries e indexed by deliveries_ordered
            where e.company_id = d.company_id and e.endpoint_id = d.endpoint_id
                and e.order_key = d.order_key and e.state = 0 and e.sequence < d.sequence)",
    ),
    (
        "an API key whose scope does not exist",
        "
        select id from api_keys where scope not in ('emit', 'read', 'admin')",
    ),
    (
        "something of a company that does not exist",
        "
        select id from endpoints where company_id not in (select company_id from companies)
        union all
        select id from events where company_id not in (select company_id from companies)
        union all
        select id from api_keys where company_id not in (select company_id from companies)
        union all
        select id from audit where company_id not in (select company_id from companies)",
    ),
    (
        "an endpoint whose counts do not agree with its deliveries",
        "
        select endpoint_id from (
            select company_id, endpoint_id, sum(state = 0) as waiting, sum(state = 1) as concluded,
                sum(state = 2) as failed
            from deliveries group by company_id, endpoint_id
            union all
            select company_id, endpoint_id, -waiting, -concluded, -failed from counts)
        group by company_id, endpoint_id
        having sum(waiting) <> 0 or sum(concluded) <> 0 or sum(failed) <> 0",
    ),
];

/// A line for each invariant that is broken, on one snapshot.
pub(super) fn broken(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let db = db.unchecked_transaction()?;
    let damage: String = db.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
    let mut broken = Vec::new();
    if damage != "ok" {
        broken.push(format!("the file is damaged: {damage}"));
    }
    for (what, query) in NEVER {
        let mut statement = db.prepare(&format!("select * from ({query}) limit 10"))?;
        let found = statement.query_map([], |row| row.get::<_, uuid::Uuid>(0))?;
        for id in found {
            broken.push(format!("{what}: {}", id?));
        }
    }
    Ok(broken)
}
