//! Companies, and who listens.

use async_trait::async_trait;
use deadpool_postgres::Object;

use crate::model::{
    Act, Action, Company, CompanyId, Endpoint, EndpointChange, EndpointId, EndpointList,
    EndpointSort, Entry, EventId, LaneKey, Order, Page, Registered, Timestamp,
};
use crate::store::postgres::nodes::{Wakes, put_wakes};
use crate::store::postgres::rows::{self, company_columns, endpoint_columns, get, integer, text};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::{Postgres, audit, counted};
use crate::store::rows::write_millis;
use crate::store::{Endpoints, Result, Word};

const COMPANY: &str =
    concat!("select ", company_columns!(), " from companies where company_id = $1");

const NAME_COMPANY: &str = concat!(
    "insert into companies (company_id, name, created_at, updated_at) values ($1, $2, $3, $3)
    on conflict (company_id) do update set name = excluded.name, updated_at = excluded.updated_at
    where companies.name <> excluded.name
    returning ",
    company_columns!()
);

/// A new endpoint, or what an old one is from here on.
const PUT: &str = "
    with company as (
        insert into companies (company_id, name, created_at, updated_at) values ($1, '', $19, $19)
        on conflict do nothing)
    insert into endpoints (company_id, id, url, secret, previous_secret, previous_until, events,
        shape, max_retries, rate_limit, max_in_flight, ordering, coalesce_ms, operational,
        disabled_at, disabled_reason, failing_since, held_until, created_at, updated_at, filter,
        headers, tls)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
        $20, $21, $22, $23)
    on conflict (company_id, id) do update set url = excluded.url, secret = excluded.secret,
        previous_secret = excluded.previous_secret, previous_until = excluded.previous_until,
        events = excluded.events, shape = excluded.shape, max_retries = excluded.max_retries,
        rate_limit = excluded.rate_limit, max_in_flight = excluded.max_in_flight,
        ordering = excluded.ordering, coalesce_ms = excluded.coalesce_ms,
        operational = excluded.operational, disabled_at = excluded.disabled_at,
        disabled_reason = excluded.disabled_reason, failing_since = excluded.failing_since,
        held_until = excluded.held_until, updated_at = excluded.updated_at,
        filter = excluded.filter, headers = excluded.headers, tls = excluded.tls";

const ONE: &str = concat!(
    "select ",
    endpoint_columns!(),
    " from endpoints e where e.company_id = $1 and e.id = $2 and e.deleted_at is null"
);

const REGISTERED: &str = concat!(
    "select e.deleted_at, ",
    endpoint_columns!(),
    " from endpoints e where e.company_id = $1 and e.id = $2"
);

const UNHEARD: &str = "
    from endpoints e
    where e.company_id = $1 and e.deleted_at is null and e.id not in (
        select d.endpoint_id from deliveries d where d.company_id = $1 and d.event_id = $2)";

const FILTERING: &str = concat!(
    "select ",
    endpoint_columns!(),
    " from endpoints e
    where e.company_id = $1 and e.filter is not null and e.deleted_at is null"
);

const DELETE: &str = "
    update endpoints set deleted_at = $3, updated_at = $3
    where company_id = $1 and id = $2 and deleted_at is null";

/// No search is a search for nothing. The C collation keeps a server's language out of it.
const FOUND: &str = "
    from endpoints e
    where e.company_id = $1 and e.deleted_at is null
      and strpos(lower(e.url collate \"C\"), lower($2 collate \"C\")) > 0";

const BEFORE: &str = concat!(
    "select ",
    endpoint_columns!(),
    " from endpoints e
    where e.company_id = $1 and e.deleted_at is null and ($2::uuid is null or e.id < $2)
    order by e.id desc limit $3"
);

const ALL: &str = concat!(
    "select ",
    endpoint_columns!(),
    " from endpoints e
    where e.deleted_at is null and e.id > coalesce($1, '00000000-0000-0000-0000-000000000000'::uuid)
    order by e.id limit $2"
);

#[async_trait]
impl Endpoints for Postgres {
    async fn company(&self, id: CompanyId) -> Result<Option<Company>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(COMPANY).await?;
        let row = client.query_opt(&statement, &[&id.uuid()]).await?;
        row.as_ref().map(rows::company).transpose()
    }

    async fn name_company(&self, id: CompanyId, name: &str, act: &Act) -> Result<Company> {
        let client = Transaction::on(self.database.writer().await?);
        client.batch_execute("begin").await?;
        let statement = client.prepare_cached(NAME_COMPANY).await?;
        let row = client.query_opt(&statement, &[&id.uuid(), &text(name), &act.at.0]).await?;
        let row = match row {
            Some(row) => {
                let entry = act.entry(id, Action::NameCompany, id.uuid());
                let entry = Entry { fields: vec!["name".to_owned()], ..entry };
                audit::note(&client, &entry).await?;
                row
            }
            None => client.query_one(COMPANY, &[&id.uuid()]).await?,
        };
        client.batch_execute("commit").await?;
        client.ended();
        rows::company(&row)
    }

    async fn add_endpoint(&self, endpoint: &Endpoint, act: &Act) -> Result<()> {
        let client = Transaction::on(self.database.writer().await?);
        client.batch_execute("begin").await?;
        put(&client, endpoint).await?;
        let entry = act.entry(endpoint.company, Action::RegisterEndpoint, endpoint.id.uuid());
        audit::note(&client, &entry).await?;
        client.batch_execute("commit").await?;
        client.ended();
        Ok(())
    }

    async fn change_endpoint(
        &self,
        company: CompanyId,
        id: EndpointId,
        change: &EndpointChange,
        act: &Act,
    ) -> Result<Option<Endpoint>> {
        let client = Transaction::on(self.database.writer().await?);
        // Held until the end, so that two changes at once are one after the other.
        let one = client.prepare_cached(&format!("{ONE} for update")).await?;
        let ((), row) = tokio::try_join!(
            biased;
            client.batch_execute("begin"),
            async { client.query_opt(&one, &[&company.uuid(), &id.uuid()]).await },
        )?;
        let before = row.as_ref().map(rows::endpoint).transpose()?;
        let after = before.as_ref().map(|endpoint| change.applied_to(endpoint, act.at));
        if let Some(endpoint) = after.as_ref().filter(|_| after != before) {
            put(&client, endpoint).await?;
        }
        let changed = before.as_ref().zip(after.as_ref());
        if let Some(entry) = changed.and_then(|(before, after)| act.change(before, after, change)) {
            audit::note(&client, &entry).await?;
        }
        let word = Word::Changed { anew: change.begins_anew() };
        self.commit_and_tell(client, LaneKey { company, endpoint: id }, word).await?;
        Ok(after)
    }

    async fn delete_endpoint(&self, company: CompanyId, id: EndpointId, act: &Act) -> Result<bool> {
        let client = Transaction::on(self.database.writer().await?);
        client.batch_execute("begin").await?;
        let delete = client.prepare_cached(DELETE).await?;
        let deleted =
            client.execute(&delete, &[&company.uuid(), &id.uuid(), &act.at.0]).await? == 1;
        if deleted {
            let entry = act.entry(company, Action::DeleteEndpoint, id.uuid());
            audit::note(&client, &entry).await?;
        }
        let lane = LaneKey { company, endpoint: id };
        self.commit_and_tell(client, lane, Word::Changed { anew: false }).await?;
        Ok(deleted)
    }

    async fn endpoint(&self, company: CompanyId, id: EndpointId) -> Result<Option<Endpoint>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(ONE).await?;
        let row = client.query_opt(&statement, &[&company.uuid(), &id.uuid()]).await?;
        row.as_ref().map(rows::endpoint).transpose()
    }

    async fn registered(&self, company: CompanyId, id: EndpointId) -> Result<Option<Registered>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(REGISTERED).await?;
        let row = client.query_opt(&statement, &[&company.uuid(), &id.uuid()]).await?;
        let Some(row) = row else { return Ok(None) };
        let deleted_at: Option<i64> = get(&row, "deleted_at")?;
        let deleted_at = deleted_at.map(Timestamp);
        Ok(Some(Registered { endpoint: rows::endpoint(&row)?, deleted_at }))
    }

    async fn unheard(
        &self,
        company: CompanyId,
        event: EventId,
        limit: u32,
    ) -> Result<Page<Endpoint>> {
        let client = self.database.reader().await?;
        // One statement, so that items and total agree.
        let sql = format!(
            "select count(*) over () as total, {} {UNHEARD} order by e.id desc limit $3",
            endpoint_columns!()
        );
        let statement = client.prepare_cached(&sql).await?;
        let (company, event, limit) = (company.uuid(), event.uuid(), i64::from(limit));
        let rows = client.query(&statement, &[&company, &event, &limit]).await?;
        let total: i64 = rows.first().map_or(Ok(0), |row| get(row, "total"))?;
        let items = rows.iter().map(rows::endpoint).collect::<Result<_>>()?;
        Ok(Page { items, total: total.unsigned_abs() })
    }

    async fn filtering(&self, company: CompanyId) -> Result<Vec<Endpoint>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(FILTERING).await?;
        let rows = client.query(&statement, &[&company.uuid()]).await?;
        rows.iter().map(rows::endpoint).collect()
    }

    async fn all_endpoints(&self, after: Option<EndpointId>, limit: u32) -> Result<Vec<Endpoint>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(ALL).await?;
        let after = after.map(EndpointId::uuid);
        let rows = client.query(&statement, &[&after, &i64::from(limit)]).await?;
        rows.iter().map(rows::endpoint).collect()
    }

    async fn endpoints(&self, list: &EndpointList) -> Result<Page<Endpoint>> {
        let search = list.search.as_deref().unwrap_or_default();
        if search.contains('\0') {
            return Ok(Page { items: Vec::new(), total: 0 });
        }
        let (columns, order) = (endpoint_columns!(), order_by(list.sort, list.order));
        let page = format!("select {columns} {FOUND} order by {order} offset $3 limit $4");
        let client = Transaction::on(self.database.reader().await?);
        let count = client.prepare_cached(&format!("select count(*) {FOUND}")).await?;
        let page = client.prepare_cached(&page).await?;
        let (company, skip) = (list.company.uuid(), counted(list.window.skip));
        let limit = i64::from(list.window.limit);
        let ((), total, rows, ()) = tokio::try_join!(
            biased;
            client.batch_execute("begin isolation level repeatable read read only"),
            async { client.query_one(&count, &[&company, &search]).await },
            async { client.query(&page, &[&company, &search, &skip, &limit]).await },
            client.batch_execute("commit"),
        )?;
        client.ended();
        let total: i64 = get(&total, "count")?;
        let items = rows.iter().map(rows::endpoint).collect::<Result<_>>()?;
        Ok(Page { items, total: total.unsigned_abs() })
    }

    async fn endpoints_before(
        &self,
        company: CompanyId,
        before: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(BEFORE).await?;
        let before = before.map(EndpointId::uuid);
        let rows = client.query(&statement, &[&company.uuid(), &before, &i64::from(limit)]).await?;
        rows.iter().map(rows::endpoint).collect()
    }
}

impl Postgres {
    /// Ends a transaction that changed an endpoint, and lets the owner of its lane know.
    async fn commit_and_tell(&self, client: Transaction, lane: LaneKey, word: Word) -> Result<()> {
        let mut wakes = Wakes::foreign_to(self.database.membership.seat().held);
        wakes.add(lane, word);
        if !wakes.is_empty() {
            put_wakes(&client, &wakes).await?;
        }
        client.batch_execute("commit").await?;
        client.ended();
        self.database.bell.ring(wakes.shards());
        Ok(())
    }
}

async fn put(client: &Object, endpoint: &Endpoint) -> Result<()> {
    let statement = client.prepare_cached(PUT).await?;
    let Endpoint { flow, health, disabled, previous, filter, .. } = endpoint;
    let number = |given: Option<u32>| given.map(integer).transpose();
    client
        .execute(
            &statement,
            &[
                &endpoint.company.uuid(),
                &endpoint.id.uuid(),
                &endpoint.url.as_str(),
                &endpoint.secret.0,
                &previous.as_ref().map(|previous| &previous.secret.0),
                &previous.as_ref().map(|previous| previous.until.0),
                &spellings(endpoint),
                &endpoint.shape.encode(),
                &integer(endpoint.max_retries)?,
                &number(flow.rate_limit)?,
                &number(flow.max_in_flight)?,
                &flow.ordering.as_str(),
                &flow.coalesce.map(write_millis),
                &endpoint.operational,
                &disabled.as_ref().map(|disabled| disabled.at.0),
                &disabled.as_ref().map(|disabled| text(&disabled.reason)),
                &health.failing_since.map(|since| since.0),
                &health.held_until.map(|until| until.0),
                &endpoint.created_at.0,
                &endpoint.updated_at.0,
                &filter.as_ref().map(|filter| filter.as_str()),
                &endpoint.headers.as_ref().map(|sealed| &sealed.0),
                &endpoint.tls.as_ref().map(|sealed| &sealed.0),
            ],
        )
        .await?;
    Ok(())
}

fn spellings(endpoint: &Endpoint) -> Vec<&str> {
    endpoint.events.iter().map(|subscription| subscription.as_str()).collect()
}

fn order_by(sort: EndpointSort, order: Order) -> String {
    let key = match sort {
        EndpointSort::CreatedAt => "e.created_at",
        EndpointSort::UpdatedAt => "e.updated_at",
        EndpointSort::Url => "e.url collate \"C\"",
        EndpointSort::MaxRetries => "e.max_retries",
        EndpointSort::Disabled => "(e.disabled_at is not null)",
    };
    let way = match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    };
    format!("{key} {way}, e.id {way}")
}
