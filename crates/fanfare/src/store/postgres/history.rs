//! What people ask about afterwards.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::model::{
    Attempt, CompanyId, DeliveryId, DeliveryList, DeliverySort, EndpointId, Event, EventId,
    History, Journey, LaneKey, Order, Page,
};
use crate::store::postgres::rows::{self, attempt_columns, delivery_columns, event_columns, get};
use crate::store::postgres::transaction::Transaction;
use crate::store::postgres::{Postgres, counted};
use crate::store::{Histories, Result};

/// What [`rows::history`] reads, with [`AROUND`] the deliveries `d`.
const HISTORY: &str =
    concat!(delivery_columns!(), ", ", event_columns!(), ", ", attempt_columns!());

const AROUND: &str = "
    join events v on v.company_id = d.company_id and v.id = d.event_id
    left join lateral (
        select * from attempts a
        where a.company_id = d.company_id and a.delivery_id = d.id
        order by a.fence desc limit 1) a on true";

const ATTEMPTS: &str = concat!(
    "select ",
    attempt_columns!(),
    " from attempts a where a.company_id = $1 and a.delivery_id = $2 order by a.fence"
);

const EVENT: &str =
    concat!("select ", event_columns!(), " from events v where v.company_id = $1 and v.id = $2");

/// A page of an event's deliveries. They are found by their event before they are put in order: the
/// order of ids has an index of its own, which leads past those of every other event.
macro_rules! page_of_event {
    () => {
        "with found as materialized (
            select id from deliveries where company_id = $1 and event_id = $2),
        page as (select id from found where id > $3 order by id limit $4) "
    };
}

const OF_EVENT: &str = concat!(
    page_of_event!(),
    "select ",
    delivery_columns!(),
    " from page join deliveries d on d.company_id = $1 and d.id = page.id order by d.id"
);

const ATTEMPTS_OF_EVENT: &str = concat!(
    page_of_event!(),
    "select a.delivery_id, ",
    attempt_columns!(),
    " from page join attempts a on a.company_id = $1 and a.delivery_id = page.id
    order by a.delivery_id, a.fence"
);

const FIRST_IN_ORDER: &str = "
    select id from deliveries_waiting
    where company_id = $1 and endpoint_id = $2 and order_key = $3
    order by sequence limit 1";

/// All of a list, however it is cut.
const LISTED: &str = "from deliveries d where d.company_id = $1 and d.endpoint_id = $2";

/// Those of a list whose event's type has the text in it.
const OF_TYPE: &str = "
    from deliveries d where d.company_id = $1 and d.endpoint_id = $2
    and strpos(lower((select v.type from events v
                      where v.company_id = $1 and v.id = d.event_id) collate \"C\"),
               lower($3 collate \"C\")) > 0";

/// Those of a list whose own or event's id it is: an index for each.
const OF_ID: &str = "
    from (select * from deliveries where company_id = $1 and id = $3
          union all
          select * from deliveries where company_id = $1 and event_id = $3 and id <> $3) d
    where d.endpoint_id = $2";

/// The length of a list without counting it.
const TOTAL: &str = "
    select coalesce(sum(rows), 0)::bigint as count
    from (select waiting + concluded + failed as rows from counts
          where company_id = $1 and endpoint_id = $2
          union all
          select -concluded - failed from dropped_counts
          where company_id = $1 and endpoint_id = $2) c";

const URL_MATCHES: &str = "
    select strpos(lower(url collate \"C\"), lower($3 collate \"C\")) > 0 as matches
    from endpoints where company_id = $1 and id = $2";

const ERRORS: &str = "(d.attempts - (d.state = 1 and d.attempts > 0)::int)";

/// What a search comes to once it is known what it can match.
enum Search {
    All,
    Type(String),
    Id(Uuid),
}

#[async_trait]
impl Histories for Postgres {
    async fn delivery(&self, company: CompanyId, id: DeliveryId) -> Result<Option<History>> {
        let client = self.database.reader().await?;
        let one = format!(
            "select {HISTORY} from deliveries d {AROUND} where d.company_id = $1 and d.id = $2"
        );
        let statement = client.prepare_cached(&one).await?;
        let row = client.query_opt(&statement, &[&company.uuid(), &id.uuid()]).await?;
        row.as_ref().map(rows::history).transpose()
    }

    async fn attempts(&self, company: CompanyId, id: DeliveryId) -> Result<Vec<Attempt>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(ATTEMPTS).await?;
        let rows = client.query(&statement, &[&company.uuid(), &id.uuid()]).await?;
        rows.iter().map(rows::attempt).collect()
    }

    async fn event(&self, company: CompanyId, id: EventId) -> Result<Option<Event>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(EVENT).await?;
        let row = client.query_opt(&statement, &[&company.uuid(), &id.uuid()]).await?;
        row.as_ref().map(rows::event).transpose()
    }

    async fn deliveries_of(
        &self,
        company: CompanyId,
        event: EventId,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Journey>> {
        let client = Transaction::on(self.database.reader().await?);
        let deliveries = client.prepare_cached(OF_EVENT).await?;
        let attempts = client.prepare_cached(ATTEMPTS_OF_EVENT).await?;
        let after = after.map_or(Uuid::nil(), DeliveryId::uuid);
        let (company, event, limit) = (company.uuid(), event.uuid(), i64::from(limit));
        let of_page: [&(dyn ToSql + Sync); 4] = [&company, &event, &after, &limit];
        let ((), deliveries, attempts, ()) = tokio::try_join!(
            biased;
            client.batch_execute("begin isolation level repeatable read read only"),
            client.query(&deliveries, &of_page),
            client.query(&attempts, &of_page),
            client.batch_execute("commit"),
        )?;
        client.ended();
        journeys(&deliveries, &attempts)
    }

    async fn first_in_order(&self, lane: LaneKey, order_key: &str) -> Result<Option<DeliveryId>> {
        let client = self.database.reader().await?;
        let statement = client.prepare_cached(FIRST_IN_ORDER).await?;
        let (company, endpoint) = (lane.company.uuid(), lane.endpoint.uuid());
        let order_key = rows::text(order_key);
        let row = client.query_opt(&statement, &[&company, &endpoint, &order_key]).await?;
        row.map(|row| Ok(DeliveryId::from_uuid(get(&row, "id")?))).transpose()
    }

    async fn deliveries(&self, list: &DeliveryList) -> Result<Page<History>> {
        let client = Transaction::on(self.database.reader().await?);
        let Some(search) = understand(&client, list).await? else {
            return Ok(Page { items: Vec::new(), total: 0 });
        };
        page(client, list, &search).await
    }

    async fn deliveries_before(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<History>> {
        let client = self.database.reader().await?;
        let below = if before.is_some() { "and d.id < $3" } else { "and $3::uuid is null" };
        let sql = format!(
            "select {HISTORY} from deliveries d {AROUND}
             where d.company_id = $1 and d.endpoint_id = $2 {below}
             order by d.id desc limit $4"
        );
        let statement = client.prepare_cached(&sql).await?;
        let (company, endpoint) = (company.uuid(), endpoint.uuid());
        let before = before.map(DeliveryId::uuid);
        let rows =
            client.query(&statement, &[&company, &endpoint, &before, &i64::from(limit)]).await?;
        rows.iter().map(rows::history).collect()
    }
}

fn journeys(deliveries: &[Row], attempts: &[Row]) -> Result<Vec<Journey>> {
    let mut made: HashMap<Uuid, Vec<Attempt>> = HashMap::new();
    for row in attempts {
        made.entry(get(row, "delivery_id")?).or_default().push(rows::attempt(row)?);
    }
    let journeys = deliveries.iter().map(|row| {
        let delivery = rows::delivery(row)?;
        let attempts = made.remove(&delivery.id.uuid()).unwrap_or_default();
        Ok(Journey { delivery, attempts })
    });
    journeys.collect()
}

/// `None` when it cannot match anything. The URL is the same for a whole list, so either all of it
/// matches or only types and ids can; and no type looks like an id.
async fn understand(client: &Transaction, list: &DeliveryList) -> Result<Option<Search>> {
    let Some(text) = list.search.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(Some(Search::All));
    };
    if text.contains('\0') {
        return Ok(None);
    }
    let statement = client.prepare_cached(URL_MATCHES).await?;
    let (company, endpoint) = (list.company.uuid(), list.endpoint.uuid());
    let row = client.query_opt(&statement, &[&company, &endpoint, &text]).await?;
    let matches: bool = row.map_or(Ok(false), |row| get(&row, "matches"))?;
    let id = text.to_ascii_lowercase().parse::<DeliveryId>().map(DeliveryId::uuid);
    Ok(Some(match id {
        _ if matches => Search::All,
        Ok(id) => Search::Id(id),
        Err(_) => Search::Type(text.to_owned()),
    }))
}

/// The ids of a page are found first, on the index alone where the order is theirs.
async fn page(client: Transaction, list: &DeliveryList, search: &Search) -> Result<Page<History>> {
    let matching = match search {
        Search::All => LISTED,
        Search::Type(_) => OF_TYPE,
        Search::Id(_) => OF_ID,
    };
    let total = match search {
        Search::All => TOTAL.to_owned(),
        _ => format!("select count(*) {matching}"),
    };
    let (company, endpoint) = (list.company.uuid(), list.endpoint.uuid());
    let mut of_list: Vec<&(dyn ToSql + Sync)> = vec![&company, &endpoint];
    match search {
        Search::All => {}
        Search::Type(text) => of_list.push(text),
        Search::Id(id) => of_list.push(id),
    }
    let (skip, limit) = (counted(list.window.skip), i64::from(list.window.limit));
    let of_page = [of_list.as_slice(), &[&skip, &limit]].concat();
    let (order, last) = (order_by(list.sort, list.order), of_page.len());
    let page = format!(
        "with page as materialized (
             select d.id {matching} order by {order} offset ${} limit ${last})
         select {HISTORY} from page
         join deliveries d on d.company_id = $1 and d.id = page.id {AROUND}
         order by {order}",
        last - 1
    );
    let total = client.prepare_cached(&total).await?;
    let page = client.prepare_cached(&page).await?;
    let ((), total, rows, ()) = tokio::try_join!(
        biased;
        client.batch_execute("begin isolation level repeatable read read only"),
        client.query_one(&total, &of_list),
        client.query(&page, &of_page),
        client.batch_execute("commit"),
    )?;
    client.ended();
    let total: i64 = get(&total, "count")?;
    let items = rows.iter().map(rows::history).collect::<Result<_>>()?;
    Ok(Page { items, total: total.unsigned_abs() })
}

fn order_by(sort: DeliverySort, order: Order) -> String {
    let way = match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    };
    let key = match sort {
        DeliverySort::CreatedAt => return format!("d.id {way}"),
        DeliverySort::UpdatedAt => "d.updated_at",
        DeliverySort::State => "d.state",
        DeliverySort::Errors => ERRORS,
    };
    format!("{key} {way}, d.id {way}")
}
