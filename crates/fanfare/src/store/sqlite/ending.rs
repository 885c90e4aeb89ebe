//! Deliveries that end unsent, and those that may go because others have ended.

use rusqlite::{OptionalExtension, Row, params};

use crate::model::{
    CompanyId, DeliveryId, DeliveryState, EndpointId, LaneKey, PARKED_MS, Timestamp,
};
use crate::store::Ended;
use crate::store::sqlite::Tx;

/// A fence of 0 is that of no claim; none stands for any.
const END: &str = "
    update deliveries set state = 2, claimed = 0, due_at = ?4, updated_at = ?4, reason = ?5
    where company_id = ?1 and id = ?2 and state = 0
        and (claimed = 0 or fence = coalesce(?3, fence))
    returning endpoint_id, order_key is not null";

/// Only the first of those that wait under a key may be due. If it is parked, whatever it was
/// parked behind has ended.
const LET_NEXT_GO: &str = "
    update deliveries set due_at = max(?3, due_at - ?4)
    where company_id = ?1 and due_at >= ?4 and id = (
        select n.id from deliveries e
        join deliveries n indexed by deliveries_ordered on n.company_id = e.company_id
            and n.endpoint_id = e.endpoint_id and n.order_key = e.order_key and n.state = 0
        where e.company_id = ?1 and e.id = ?2 order by n.sequence limit 1)
    returning id, due_at";

/// A waiting delivery to fail.
pub(super) struct Doomed {
    pub(super) company: CompanyId,
    pub(super) id: DeliveryId,
    pub(super) held: Held,
    pub(super) reason: String,
}

/// Whether it may be claimed.
#[derive(Clone, Copy)]
pub(super) enum Held {
    Unclaimed,
    /// Under this fence at most.
    Under(u64),
    Anyhow,
}

/// What came of it: the delivery and its lane, if it has ended, and whether another one may go.
pub(super) struct End(Option<(DeliveryId, LaneKey)>, bool);

impl End {
    pub(super) fn add_to(self, ended: &mut Ended) {
        let Some((id, lane)) = self.0 else { return };
        ended.deliveries.push(id);
        if self.1 && !ended.woken.contains(&lane) {
            ended.woken.push(lane);
        }
    }
}

/// Fails a waiting delivery and lets the next one under its order key go.
pub(super) fn end(tx: &mut Tx<'_>, doomed: &Doomed, now: Timestamp) -> rusqlite::Result<End> {
    let Doomed { company, id, held, reason } = doomed;
    let fence = match held {
        Held::Unclaimed => Some(0),
        Held::Under(fence) => Some(*fence),
        Held::Anyhow => None,
    };
    let mut statement = tx.prepare_cached(END)?;
    let values = params![company.uuid(), id.uuid(), fence, now.0, reason];
    let found = statement
        .query_row(values, |row| Ok((EndpointId::from_uuid(row.get(0)?), row.get::<_, bool>(1)?)));
    let found = found.optional()?;
    drop(statement);
    let Some((endpoint, ordered)) = found else { return Ok(End(None, false)) };
    let lane = LaneKey { company: *company, endpoint };
    tx.count_out(lane, DeliveryState::Waiting);
    tx.count_in(lane, DeliveryState::Failed);
    let next = if ordered { let_next_go(tx, *company, *id, now)? } else { None };
    Ok(End(Some((*id, lane)), next.is_some()))
}

/// Lets the first of those that wait under the order key of a delivery that has ended go. Returns
/// it and when it is due, unless it was so before or there is none.
pub(super) fn let_next_go(
    tx: &Tx<'_>,
    company: CompanyId,
    ended: DeliveryId,
    now: Timestamp,
) -> rusqlite::Result<Option<(DeliveryId, Timestamp)>> {
    let mut statement = tx.prepare_cached(LET_NEXT_GO)?;
    let values = params![company.uuid(), ended.uuid(), now.0, PARKED_MS];
    let read = |row: &Row<'_>| Ok((DeliveryId::from_uuid(row.get(0)?), Timestamp(row.get(1)?)));
    statement.query_row(values, read).optional()
}
