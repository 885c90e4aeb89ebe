//! The invariants. Each is a query for what breaks it.

use crate::store::Result;
use crate::store::postgres::pool::Object;
use crate::store::postgres::rows::get;
use crate::store::postgres::transaction::Transaction;

/// How many lines a broken invariant gets.
const LINES_MAX: usize = 20;

/// One snapshot, nothing written, and a planner that may read whole tables.
const BEGIN: &str = "
    begin isolation level repeatable read read only;
    set local enable_seqscan = on; set local enable_bitmapscan = on;
    set local enable_hashjoin = on; set local enable_mergejoin = on; set local lock_timeout = 0";

/// What is wrong, and whose `name` that is.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "waits without a next time",
        "select 'delivery ' || id as name from deliveries where state = 0 and due_at is null",
    ),
    (
        "is final but claimed",
        "select 'delivery ' || id as name from deliveries where state <> 0 and claimed",
    ),
    (
        "is claimed but has no claim's number",
        "select 'delivery ' || id as name from deliveries where claimed and fence < 1",
    ),
    (
        "failed without a reason",
        "select 'delivery ' || id as name from deliveries
         where state = 2 and coalesce(reason, '') = ''",
    ),
    (
        "concluded without an attempt",
        "select 'delivery ' || id as name from deliveries where state = 1 and attempts < 1",
    ),
    (
        "waits and has ended",
        "select 'delivery ' || w.id as name from deliveries_waiting w
         join deliveries_final d on d.company_id = w.company_id and d.id = w.id",
    ),
    (
        "has no event",
        "select 'delivery ' || d.id as name from deliveries d
         where not exists (select from events v
                           where v.company_id = d.company_id and v.id = d.event_id)",
    ),
    (
        "has no endpoint",
        "select 'delivery ' || d.id as name from deliveries d
         where not exists (select from endpoints e
                           where e.company_id = d.company_id and e.id = d.endpoint_id)",
    ),
    (
        "counts other attempts than its history has",
        "select 'delivery ' || d.id as name from deliveries d
         left join (select company_id, delivery_id, count(*) as counted, max(number) as newest
                    from attempts where counted group by company_id, delivery_id) a
           on a.company_id = d.company_id and a.delivery_id = d.id
         where d.attempts <> coalesce(a.counted, 0) or d.attempts < coalesce(a.newest, 0)",
    ),
    (
        "counts other probes than its history has",
        "select 'delivery ' || d.id as name from deliveries d
         left join (select company_id, delivery_id, count(*) as counted
                    from attempts where counted and probe group by company_id, delivery_id) a
           on a.company_id = d.company_id and a.delivery_id = d.id
         where d.probes <> coalesce(a.counted, 0)",
    ),
    (
        "has an attempt under a claim that was never made",
        "select 'delivery ' || d.id as name from attempts a
         join deliveries d on d.company_id = a.company_id and d.id = a.delivery_id
         where a.fence > d.fence",
    ),
    (
        "is tried but not there",
        "select distinct 'delivery ' || a.delivery_id as name from attempts a
         where not exists (select from deliveries d
                           where d.company_id = a.company_id and d.id = a.delivery_id)",
    ),
    (
        "has other deliveries than its counts say",
        "select 'endpoint ' || endpoint_id as name
         from (select company_id, endpoint_id, count(*) filter (where state = 0) as waiting,
                      count(*) filter (where state = 1) as concluded,
                      count(*) filter (where state = 2) as failed
               from deliveries group by company_id, endpoint_id) d
         full join (select c.company_id, c.endpoint_id, c.waiting,
                           c.concluded - coalesce(g.concluded, 0) as concluded,
                           c.failed - coalesce(g.failed, 0) as failed
                    from counts c left join dropped_counts g using (company_id, endpoint_id)) c
             using (company_id, endpoint_id)
         where (coalesce(d.waiting, 0), coalesce(d.concluded, 0), coalesce(d.failed, 0))
             is distinct from
               (coalesce(c.waiting, 0), coalesce(c.concluded, 0), coalesce(c.failed, 0))",
    ),
    (
        "has more deliveries than it was answered to have, or none of those it had",
        "select 'event ' || v.id as name from events v
         left join (select company_id, event_id, count(*) as any,
                           count(*) filter (where replay_of is null and replay_id is null)
                               as first
                    from deliveries group by company_id, event_id) d
           on d.company_id = v.company_id and d.event_id = v.id
         where coalesce(d.first, 0) > v.deliveries
            or (d.any is null and v.deliveries > 0
                and not exists (select from dropped_deliveries g
                                where g.company_id = v.company_id and g.event_id = v.id))",
    ),
    (
        "repeats one of another event or endpoint",
        "select 'delivery ' || d.id as name from deliveries d
         join deliveries o on o.company_id = d.company_id and o.id = d.replay_of
         where (o.event_id, o.endpoint_id) <> (d.event_id, d.endpoint_id)",
    ),
    (
        "made more than it counts, or than it found",
        "select 'replay ' || r.id as name from replays r
         left join (select company_id, replay_id, count(*) as made from deliveries
                    where replay_id is not null group by company_id, replay_id) d
           on d.company_id = r.company_id and d.replay_id = r.id
         where coalesce(d.made, 0) > r.made or r.made > r.found",
    ),
    (
        "is parked with nothing before it under its key",
        "select 'delivery ' || d.id as name from deliveries d
         where d.state = 0 and d.due_at >= 4503599627370496
           and not exists (select from deliveries e
                           where e.company_id = d.company_id and e.endpoint_id = d.endpoint_id
                             and e.order_key = d.order_key and e.state = 0
                             and e.sequence < d.sequence)",
    ),
    (
        "may go before another one under its key",
        "select 'delivery ' || d.id as name from deliveries d
         where d.state = 0 and d.due_at < 4503599627370496
           and exists (select from deliveries e
                       where e.company_id = d.company_id and e.endpoint_id = d.endpoint_id
                         and e.order_key = d.order_key and e.state = 0
                         and e.sequence < d.sequence)",
    ),
    (
        "is disabled without a reason",
        "select 'endpoint ' || id as name from endpoints
         where (disabled_at is null) <> (disabled_reason is null)",
    ),
    (
        "has an older secret that signs for ever, or the end of none",
        "select 'endpoint ' || id as name from endpoints
         where (previous_secret is null) <> (previous_until is null)",
    ),
    (
        "has a scope that does not exist",
        "select 'API key ' || id as name from api_keys where scope not in ('emit', 'read', 'admin')",
    ),
    (
        "owns something but is not there",
        "select 'company ' || company_id as name
         from (select company_id from endpoints union select company_id from events
               union select company_id from api_keys union select company_id from audit) o
         where not exists (select from companies c where c.company_id = o.company_id)",
    ),
];

/// A line for each thing that breaks an invariant.
pub(super) async fn check(client: Object) -> Result<Vec<String>> {
    let client = Transaction::on(client);
    client.batch_execute(BEGIN).await?;
    let mut broken = Vec::new();
    for (what, query) in INVARIANTS {
        let found = client.query(&format!("{query} limit {}", LINES_MAX + 1), &[]).await?;
        for row in found.iter().take(LINES_MAX) {
            let name: &str = get(row, "name")?;
            broken.push(format!("{name} {what}"));
        }
        if found.len() > LINES_MAX {
            broken.push(format!("… and more that {what}"));
        }
    }
    client.batch_execute("rollback").await?;
    client.ended();
    Ok(broken)
}
