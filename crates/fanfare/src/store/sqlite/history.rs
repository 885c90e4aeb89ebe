//! What people ask about afterwards.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Params, params};
use uuid::Uuid;

use crate::model::{
    Attempt, CompanyId, DeliveryId, DeliveryList, DeliverySort, EndpointId, Event, EventId,
    History, Journey, LaneKey, Order, Page,
};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::endpoints::found_endpoint;
use crate::store::sqlite::queue::{event, found_delivery};
use crate::store::sqlite::rows::{self, ATTEMPT};
use crate::store::{Histories, Result};

const COUNT: &str = "
    select waiting + concluded + failed from counts where company_id = ?1 and endpoint_id = ?2";

const BEFORE: &str = "
    select id from deliveries indexed by deliveries_by_endpoint
    where company_id = ?1 and endpoint_id = ?2 and id < ?3 order by id desc limit ?4";

const OF_EVENT: &str = "
    select id from deliveries indexed by deliveries_by_event
    where company_id = ?1 and event_id = ?2 and id > ?3 order by id limit ?4";

const FIRST_IN_ORDER: &str = "
    select id from deliveries indexed by deliveries_ordered
    where state = 0 and company_id = ?1 and endpoint_id = ?2 and order_key = ?3
    order by sequence limit 1";

#[async_trait]
impl Histories for Sqlite {
    async fn delivery(&self, company: CompanyId, id: DeliveryId) -> Result<Option<History>> {
        self.read(move |db| history(db, company, id)).await
    }

    async fn attempts(&self, company: CompanyId, id: DeliveryId) -> Result<Vec<Attempt>> {
        self.read(move |db| attempts(db, company, id)).await
    }

    async fn event(&self, company: CompanyId, id: EventId) -> Result<Option<Event>> {
        self.read(move |db| event(db, company, id).optional()).await
    }

    async fn deliveries_of(
        &self,
        company: CompanyId,
        event: EventId,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Journey>> {
        self.read(move |db| {
            let db = db.unchecked_transaction()?;
            let after = after.map_or(Uuid::nil(), DeliveryId::uuid);
            let ids = ids(&db, OF_EVENT, params![company.uuid(), event.uuid(), after, limit])?;
            ids.iter().filter_map(|id| journey(&db, company, *id).transpose()).collect()
        })
        .await
    }

    async fn first_in_order(&self, lane: LaneKey, order_key: &str) -> Result<Option<DeliveryId>> {
        let order_key = order_key.to_owned();
        self.read(move |db| {
            let lane = params![lane.company.uuid(), lane.endpoint.uuid(), order_key];
            Ok(ids(db, FIRST_IN_ORDER, lane)?.pop())
        })
        .await
    }

    async fn deliveries(&self, list: &DeliveryList) -> Result<Page<History>> {
        let list = list.clone();
        self.read(move |db| {
            // One snapshot, so that items and total agree.
            let db = db.unchecked_transaction()?;
            page(&db, &list)
        })
        .await
    }

    async fn deliveries_before(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<History>> {
        self.read(move |db| {
            let before = before.map_or(Uuid::max(), DeliveryId::uuid);
            let ids = ids(db, BEFORE, params![company.uuid(), endpoint.uuid(), before, limit])?;
            histories(db, company, &ids)
        })
        .await
    }
}

fn page(db: &Connection, list: &DeliveryList) -> rusqlite::Result<Page<History>> {
    let search = match &list.search {
        Some(text) if !matches_url(db, list, text)? => Some(text.to_ascii_lowercase()),
        _ => None, // What matches the URL matches every delivery to it.
    };
    let order = if list.order == Order::Ascending { "asc" } else { "desc" };
    let key = match list.sort {
        // The order of ids is the order of time.
        DeliverySort::CreatedAt => String::new(),
        DeliverySort::UpdatedAt => format!("updated_at {order}, "),
        DeliverySort::State => format!("state {order}, "),
        DeliverySort::Errors => format!("attempts - (state = 1) {order}, "),
    };
    let (company, endpoint) = (list.company.uuid(), list.endpoint.uuid());
    let limit = list.window.limit;
    let skip = i64::try_from(list.window.skip).unwrap_or(i64::MAX);
    let (ids, total) = match search {
        None => {
            let sql = format!(
                "select id from deliveries indexed by deliveries_by_endpoint
                 where company_id = ?1 and endpoint_id = ?2
                 order by {key} id {order} limit ?3 offset ?4"
            );
            let ids = ids(db, &sql, params![company, endpoint, limit, skip])?;
            let mut count = db.prepare_cached(COUNT)?;
            let total = count.query_row([company, endpoint], |row| row.get(0)).optional()?;
            (ids, total.unwrap_or(0))
        }
        Some(text) => {
            let exact: Option<Uuid> = text.parse().ok();
            let found = "from deliveries d indexed by deliveries_by_endpoint
                where company_id = ?1 and endpoint_id = ?2
                    and (id = ?4 or event_id = ?4 or (
                        select instr(lower(type), ?3) > 0 from events v
                        where v.company_id = d.company_id and v.id = d.event_id))";
            let sql = format!("select id {found} order by {key} id {order} limit ?5 offset ?6");
            let ids = ids(db, &sql, params![company, endpoint, text, exact, limit, skip])?;
            let count = format!("select count(*) {found}");
            let total =
                db.query_row(&count, params![company, endpoint, text, exact], |row| row.get(0))?;
            (ids, total)
        }
    };
    Ok(Page { items: histories(db, list.company, &ids)?, total })
}

fn matches_url(db: &Connection, list: &DeliveryList, text: &str) -> rusqlite::Result<bool> {
    let endpoint = found_endpoint(db, list.company, list.endpoint)?;
    let text = text.to_ascii_lowercase();
    Ok(endpoint.is_some_and(|endpoint| endpoint.url.as_str().to_ascii_lowercase().contains(&text)))
}

fn ids(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<Vec<DeliveryId>> {
    let mut statement = db.prepare_cached(sql)?;
    let ids = statement.query_map(params, |row| Ok(DeliveryId::from_uuid(row.get(0)?)))?;
    ids.collect()
}

fn attempts(db: &Connection, company: CompanyId, id: DeliveryId) -> rusqlite::Result<Vec<Attempt>> {
    let sql = format!(
        "select {ATTEMPT} from attempts where company_id = ?1 and delivery_id = ?2 order by fence"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let attempts = statement.query_map([company.uuid(), id.uuid()], rows::attempt)?;
    attempts.collect()
}

fn journey(
    db: &Connection,
    company: CompanyId,
    id: DeliveryId,
) -> rusqlite::Result<Option<Journey>> {
    let Some(delivery) = found_delivery(db, company, id)? else { return Ok(None) };
    Ok(Some(Journey { delivery, attempts: attempts(db, company, id)? }))
}

fn histories(
    db: &Connection,
    company: CompanyId,
    ids: &[DeliveryId],
) -> rusqlite::Result<Vec<History>> {
    let found = ids.iter().filter_map(|id| history(db, company, *id).transpose());
    found.collect()
}

fn history(
    db: &Connection,
    company: CompanyId,
    id: DeliveryId,
) -> rusqlite::Result<Option<History>> {
    let Some(delivery) = found_delivery(db, company, id)? else { return Ok(None) };
    let sql = format!(
        "select {ATTEMPT} from attempts where company_id = ?1 and delivery_id = ?2
         order by fence desc limit 1"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let last = statement.query_row([company.uuid(), id.uuid()], rows::attempt).optional()?;
    let event = event(db, company, delivery.event)?;
    Ok(Some(History { delivery, event, last }))
}
