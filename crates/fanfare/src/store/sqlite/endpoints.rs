//! Companies, and who listens.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::model::{
    Act, Action, Company, CompanyId, Disabled, Endpoint, EndpointChange, EndpointId, EndpointList,
    EndpointSort, Entry, EventId, LaneKey, Order, Page, Registered, Timestamp,
};
use crate::store::rows::{write_millis, write_subscriptions};
use crate::store::sqlite::rows::{self, ENDPOINT};
use crate::store::sqlite::{Sqlite, Tx, audit};
use crate::store::{Endpoints, Result};

const MAKE_COMPANY: &str = "
    insert into companies (company_id, name, created_at, updated_at) values (?1, '', ?2, ?2)
    on conflict do nothing";

const NAME_COMPANY: &str = "
    update companies set name = ?2, updated_at = ?3 where company_id = ?1 and name <> ?2";

const COMPANY: &str = "
    select name, created_at, updated_at from companies where company_id = ?1";

/// A new endpoint, or what an old one is from here on.
const PUT: &str = "
    insert into endpoints (company_id, id, url, secret, previous_secret, previous_until, events,
        shape, max_retries, rate_limit, max_in_flight, ordering, coalesce_ms, operational,
        disabled_at, disabled_reason, failing_since, held_until, created_at, updated_at, filter,
        headers, tls)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
        ?20, ?21, ?22, ?23)
    on conflict do update set url = excluded.url, secret = excluded.secret,
        previous_secret = excluded.previous_secret, previous_until = excluded.previous_until,
        events = excluded.events, shape = excluded.shape, max_retries = excluded.max_retries,
        rate_limit = excluded.rate_limit, max_in_flight = excluded.max_in_flight,
        ordering = excluded.ordering, coalesce_ms = excluded.coalesce_ms,
        operational = excluded.operational, disabled_at = excluded.disabled_at,
        disabled_reason = excluded.disabled_reason, failing_since = excluded.failing_since,
        held_until = excluded.held_until, updated_at = excluded.updated_at,
        filter = excluded.filter, headers = excluded.headers, tls = excluded.tls";

const DISABLE: &str = "
    update endpoints set disabled_at = ?3, disabled_reason = ?4, updated_at = ?3
    where company_id = ?1 and id = ?2 and disabled_at is null";

const DELETE: &str = "
    update endpoints set deleted_at = ?3, disabled_at = coalesce(disabled_at, ?3),
        disabled_reason = coalesce(disabled_reason, 'deleted'), updated_at = ?3
    where company_id = ?1 and id = ?2 and deleted_at is null";

const UNHEARD: &str = "
    from endpoints where company_id = ?1 and deleted_at is null and id not in (
        select endpoint_id from deliveries indexed by deliveries_by_event
        where company_id = ?1 and event_id = ?2)";

#[async_trait]
impl Endpoints for Sqlite {
    async fn company(&self, id: CompanyId) -> Result<Option<Company>> {
        self.read(move |db| found_company(db, id)).await
    }

    async fn name_company(&self, id: CompanyId, name: &str, act: &Act) -> Result<Company> {
        let name = name.to_owned();
        let entry = act.entry(id, Action::NameCompany, id.uuid());
        let entry = Entry { fields: vec!["name".to_owned()], ..entry };
        self.write(move |tx| {
            let made = make_company(tx, id, entry.at)?;
            let named = tx.execute(NAME_COMPANY, params![id.uuid(), name, entry.at.0])? == 1;
            if made || named {
                audit::note(tx, &entry)?;
            }
            found_company(tx, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
        })
        .await
    }

    async fn add_endpoint(&self, endpoint: &Endpoint, act: &Act) -> Result<()> {
        let entry = act.entry(endpoint.company, Action::RegisterEndpoint, endpoint.id.uuid());
        let endpoint = endpoint.clone();
        self.write(move |tx| {
            make_company(tx, endpoint.company, endpoint.created_at)?;
            put(tx, &endpoint)?;
            audit::note(tx, &entry)
        })
        .await
    }

    async fn change_endpoint(
        &self,
        company: CompanyId,
        id: EndpointId,
        change: &EndpointChange,
        act: &Act,
    ) -> Result<Option<Endpoint>> {
        let (change, act) = (change.clone(), act.clone());
        self.write(move |tx| {
            let Some(before) = found_endpoint(tx, company, id)? else { return Ok(None) };
            let after = change.applied_to(&before, act.at);
            if after != before {
                put(tx, &after)?;
            }
            if let Some(entry) = act.change(&before, &after, &change) {
                audit::note(tx, &entry)?;
            }
            Ok(Some(after))
        })
        .await
    }

    async fn delete_endpoint(&self, company: CompanyId, id: EndpointId, act: &Act) -> Result<bool> {
        let entry = act.entry(company, Action::DeleteEndpoint, id.uuid());
        self.write(move |tx| {
            tx.forget_listeners(company);
            let deleted = tx.execute(DELETE, params![company.uuid(), id.uuid(), entry.at.0])? == 1;
            if deleted {
                audit::note(tx, &entry)?;
            }
            Ok(deleted)
        })
        .await
    }

    async fn endpoint(&self, company: CompanyId, id: EndpointId) -> Result<Option<Endpoint>> {
        self.read(move |db| found_endpoint(db, company, id)).await
    }

    async fn registered(&self, company: CompanyId, id: EndpointId) -> Result<Option<Registered>> {
        self.read(move |db| found_registered(db, company, id)).await
    }

    async fn unheard(
        &self,
        company: CompanyId,
        event: EventId,
        limit: u32,
    ) -> Result<Page<Endpoint>> {
        self.read(move |db| {
            // One snapshot, so that items and total agree.
            unheard(&*db.unchecked_transaction()?, company, event, limit)
        })
        .await
    }

    async fn filtering(&self, company: CompanyId) -> Result<Vec<Endpoint>> {
        self.read(move |db| {
            let sql = format!(
                "select {ENDPOINT} from endpoints
                 where company_id = ?1 and filter is not null and deleted_at is null"
            );
            let mut statement = db.prepare_cached(&sql)?;
            statement.query_map([company.uuid()], rows::endpoint)?.collect()
        })
        .await
    }

    async fn all_endpoints(&self, after: Option<EndpointId>, limit: u32) -> Result<Vec<Endpoint>> {
        self.read(move |db| {
            let sql = format!(
                "select {ENDPOINT} from endpoints where id > ?1 and deleted_at is null
                 order by id limit ?2"
            );
            let after = after.map_or(Uuid::nil(), EndpointId::uuid);
            let mut statement = db.prepare_cached(&sql)?;
            let endpoints = statement.query_map(params![after, limit], rows::endpoint)?;
            endpoints.collect()
        })
        .await
    }

    async fn endpoints(&self, list: &EndpointList) -> Result<Page<Endpoint>> {
        let list = list.clone();
        self.read(move |db| page(db, &list)).await
    }

    async fn endpoints_before(
        &self,
        company: CompanyId,
        before: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>> {
        self.read(move |db| {
            let sql = format!(
                "select {ENDPOINT} from endpoints
                 where company_id = ?1 and id < ?2 and deleted_at is null
                 order by id desc limit ?3"
            );
            let before = before.map_or(Uuid::max(), EndpointId::uuid);
            let mut statement = db.prepare_cached(&sql)?;
            let endpoints =
                statement.query_map(params![company.uuid(), before, limit], rows::endpoint)?;
            endpoints.collect()
        })
        .await
    }
}

/// Returns whether the company is new.
pub(super) fn make_company(
    tx: &Connection,
    id: CompanyId,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    Ok(tx.prepare_cached(MAKE_COMPANY)?.execute(params![id.uuid(), now.0])? == 1)
}

fn found_company(db: &Connection, id: CompanyId) -> rusqlite::Result<Option<Company>> {
    db.prepare_cached(COMPANY)?
        .query_row([id.uuid()], |row| {
            Ok(Company {
                id,
                name: row.get(0)?,
                created_at: Timestamp(row.get(1)?),
                updated_at: Timestamp(row.get(2)?),
            })
        })
        .optional()
}

/// An endpoint that is not deleted.
pub(super) fn found_endpoint(
    db: &Connection,
    company: CompanyId,
    id: EndpointId,
) -> rusqlite::Result<Option<Endpoint>> {
    let sql = format!(
        "select {ENDPOINT} from endpoints where company_id = ?1 and id = ?2 and deleted_at is null"
    );
    db.prepare_cached(&sql)?.query_row([company.uuid(), id.uuid()], rows::endpoint).optional()
}

fn found_registered(
    db: &Connection,
    company: CompanyId,
    id: EndpointId,
) -> rusqlite::Result<Option<Registered>> {
    let sql =
        format!("select {ENDPOINT}, deleted_at from endpoints where company_id = ?1 and id = ?2");
    let read = |row: &rusqlite::Row<'_>| {
        let deleted_at: Option<i64> = row.get("deleted_at")?;
        let deleted_at = deleted_at.map(Timestamp);
        Ok(Registered { endpoint: rows::endpoint(row)?, deleted_at })
    };
    db.prepare_cached(&sql)?.query_row([company.uuid(), id.uuid()], read).optional()
}

fn unheard(
    db: &Connection,
    company: CompanyId,
    event: EventId,
    limit: u32,
) -> rusqlite::Result<Page<Endpoint>> {
    let (company, event) = (company.uuid(), event.uuid());
    let mut count = db.prepare_cached(&format!("select count(*) {UNHEARD}"))?;
    let total = count.query_row([company, event], |row| row.get(0))?;
    let sql = format!("select {ENDPOINT} {UNHEARD} order by id desc limit ?3");
    let mut statement = db.prepare_cached(&sql)?;
    let items = statement.query_map(params![company, event, limit], rows::endpoint)?;
    Ok(Page { items: items.collect::<rusqlite::Result<_>>()?, total })
}

/// Disables an endpoint that is enabled, and notes it as the engine's own act.
pub(super) fn disable(tx: &mut Tx<'_>, lane: LaneKey, disabled: &Disabled) -> rusqlite::Result<()> {
    tx.forget_listeners(lane.company);
    let (company, id) = (lane.company.uuid(), lane.endpoint.uuid());
    if tx.execute(DISABLE, params![company, id, disabled.at.0, disabled.reason])? == 1 {
        audit::note(tx, &Act::of_system(disabled.at).disabling(lane))?;
    }
    Ok(())
}

/// Stores an endpoint as it is from here on.
pub(super) fn put(tx: &mut Tx<'_>, endpoint: &Endpoint) -> rusqlite::Result<()> {
    tx.forget_listeners(endpoint.company);
    let Endpoint { flow, health, disabled, previous, filter, .. } = endpoint;
    tx.execute(
        PUT,
        params![
            endpoint.company.uuid(),
            endpoint.id.uuid(),
            endpoint.url.as_str(),
            endpoint.secret.0,
            previous.as_ref().map(|previous| &previous.secret.0),
            previous.as_ref().map(|previous| previous.until.0),
            write_subscriptions(&endpoint.events),
            endpoint.shape.encode(),
            endpoint.max_retries,
            flow.rate_limit,
            flow.max_in_flight,
            flow.ordering.as_str(),
            flow.coalesce.map(write_millis),
            endpoint.operational,
            disabled.as_ref().map(|disabled| disabled.at.0),
            disabled.as_ref().map(|disabled| &disabled.reason),
            health.failing_since.map(|since| since.0),
            health.held_until.map(|until| until.0),
            endpoint.created_at.0,
            endpoint.updated_at.0,
            filter.as_ref().map(|filter| filter.as_str()),
            endpoint.headers.as_ref().map(|sealed| &sealed.0),
            endpoint.tls.as_ref().map(|sealed| &sealed.0),
        ],
    )?;
    Ok(())
}

fn page(db: &Connection, list: &EndpointList) -> rusqlite::Result<Page<Endpoint>> {
    let key = match list.sort {
        EndpointSort::CreatedAt => "created_at",
        EndpointSort::UpdatedAt => "updated_at",
        EndpointSort::Url => "url",
        EndpointSort::MaxRetries => "max_retries",
        EndpointSort::Disabled => "disabled_at is not null",
    };
    let order = if list.order == Order::Ascending { "asc" } else { "desc" };
    let found = "from endpoints where company_id = ?1 and deleted_at is null
        and (?2 is null or instr(lower(url), ?2) > 0)";
    let company = list.company.uuid();
    let search = list.search.as_ref().map(|text| text.to_ascii_lowercase());
    let total =
        db.query_row(&format!("select count(*) {found}"), params![company, search], |row| {
            row.get(0)
        })?;
    let sql =
        format!("select {ENDPOINT} {found} order by {key} {order}, id {order} limit ?3 offset ?4");
    let window = list.window;
    let skip = i64::try_from(window.skip).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&sql)?;
    let items =
        statement.query_map(params![company, search, window.limit, skip], rows::endpoint)?;
    Ok(Page { items: items.collect::<rusqlite::Result<_>>()?, total })
}
