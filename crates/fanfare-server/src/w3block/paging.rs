//! Pages of a list: what is asked for in the query, and `meta` and `links` of the answer.

use axum::extract::FromRequestParts;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use fanfare::model::{Order, Window};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use super::dto::number;
use crate::app::App;
use crate::error::{ApiError, Result};

/// Items on a page when the query says nothing.
const LIMIT_DEFAULT: u64 = 10;
/// The most items on a page.
const LIMIT_MAX: u64 = 100;
/// The longest search, in characters: that of a URL.
const SEARCH_CHARS_MAX: usize = 2048;
/// The most items before a page: what every store can count to.
const SKIP_MAX: u64 = i64::MAX as u64;

/// A page that is asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Listing {
    #[param(schema_with = page)]
    page: u64,
    #[param(schema_with = limit)]
    limit: u64,
    /// Literal text, in any case of letters: part of the URL for configurations; part of event type
    /// or URL, or an exact id, for sent webhooks.
    #[param(max_length = 2048, required = false)]
    pub(super) search: Option<String>,
    /// `createdAt` (default) or `updatedAt`; for configurations also `webhookUrl`, `maxRetries`,
    /// `disabled`; for sent webhooks also `status`, `errors`.
    sort_by: Option<String>,
    /// `DESC` by default.
    #[param(value_type = Option<OrderByEnum>)]
    order_by: Order,
    #[param(ignore)]
    address: String,
    #[param(ignore)]
    others: Vec<(String, String)>,
}

/// Which way a list is sorted.
#[derive(Debug, ToSchema)]
#[expect(dead_code, clippy::upper_case_acronyms, reason = "described here, read by name below")]
pub(crate) enum OrderByEnum {
    ASC,
    DESC,
}

/// Which page this is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaginationMetaDto {
    /// Items on this page.
    #[schema(schema_with = count)]
    item_count: u64,
    /// Items on all pages.
    #[schema(schema_with = count, required = false)]
    total_items: u64,
    #[schema(schema_with = count)]
    items_per_page: u64,
    #[schema(schema_with = count, required = false)]
    total_pages: u64,
    #[schema(schema_with = count)]
    current_page: u64,
}

/// Where the other pages are; empty where there is no such page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PaginationLinksDto {
    #[schema(required = false, example = "http://example.com?page=1")]
    first: String,
    #[schema(required = false, example = "http://example.com?page=1")]
    prev: String,
    #[schema(required = false, example = "http://example.com?page=2")]
    next: String,
    #[schema(required = false, example = "http://example.com?page=3")]
    last: String,
}

impl Listing {
    /// Which part of the list.
    pub(super) fn window(&self) -> Window {
        let skip = (self.page - 1).saturating_mul(self.limit);
        Window { skip, limit: u32::try_from(self.limit).unwrap_or(u32::MAX) }
    }

    /// Which way.
    pub(super) fn order(&self) -> Order {
        self.order_by
    }

    /// By what: one of these names.
    pub(super) fn sort<S: Copy + Default>(&self, names: &[(&str, S)]) -> Result<S> {
        let Some(asked) = &self.sort_by else { return Ok(S::default()) };
        let found = names.iter().find(|(name, _)| name == asked);
        found.map(|(_, sort)| *sort).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            ApiError::invalid_field("sortBy", format!("must be one of: {}", names.join(", ")))
        })
    }

    /// What the answer says of a page with this many items, of this many in all.
    pub(super) fn answer(
        &self,
        items: usize,
        total: u64,
    ) -> (PaginationMetaDto, PaginationLinksDto) {
        let pages = total.div_ceil(self.limit);
        let meta = PaginationMetaDto {
            item_count: items as u64,
            total_items: total,
            items_per_page: self.limit,
            total_pages: pages,
            current_page: self.page,
        };
        // The first page is always there, even if it is empty; before a page past the end comes
        // the last one.
        let prev = (self.page - 1).min(pages);
        let links = PaginationLinksDto {
            first: self.link(1),
            prev: if prev > 0 { self.link(prev) } else { String::new() },
            next: if self.page < pages { self.link(self.page + 1) } else { String::new() },
            last: if pages > 0 { self.link(pages) } else { String::new() },
        };
        (meta, links)
    }

    fn link(&self, page: u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.others).append_pair("page", &page.to_string());
        format!("{}?{}", self.address, query.finish())
    }

    fn read(query: &str, address: String) -> Result<Self> {
        let pairs = || form_urlencoded::parse(query.as_bytes());
        let mut wrong = Vec::new();
        let mut given = |name: &str| {
            let mut values = pairs().filter(|(given, _)| given == name).map(|(_, value)| value);
            let value = values.next()?;
            if values.next().is_some() {
                wrong.push(format!("{name}: must not be given twice"));
            }
            Some(value.into_owned())
        };
        let (page, limit) = (given("page"), given("limit"));
        let (search, sort_by, order_by) = (given("search"), given("sortBy"), given("orderBy"));
        let limit = whole("limit", limit, LIMIT_DEFAULT, LIMIT_MAX, &mut wrong);
        let page = whole("page", page, 1, SKIP_MAX / limit, &mut wrong);
        let search = search.filter(|search| !search.is_empty());
        if search.as_ref().is_some_and(|search| unsearchable(search)) {
            wrong.push(format!(
                "search: must have at most {SEARCH_CHARS_MAX} characters, none of them NUL"
            ));
        }
        let order_by = match order_by.as_deref() {
            None | Some("DESC") => Order::Descending,
            Some("ASC") => Order::Ascending,
            Some(_) => {
                wrong.push("orderBy: must be ASC or DESC".to_owned());
                Order::default()
            }
        };
        if !wrong.is_empty() {
            return Err(ApiError::invalid(wrong));
        }
        let others = pairs()
            .filter(|(name, _)| name != "page")
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        Ok(Listing { page, limit, search, sort_by, order_by, address, others: others.collect() })
    }
}

impl FromRequestParts<App> for Listing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let base = match app.public_url() {
            Some(url) => url.to_owned(),
            None => format!("http://{}", host(parts)),
        };
        Listing::read(parts.uri.query().unwrap_or_default(), base + parts.uri.path())
    }
}

/// The host that the request names. What a proxy says in other headers anyone can say.
fn host(parts: &Parts) -> String {
    let header = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let named = parts.uri.authority().map(Authority::as_str).or_else(header);
    let sound = named.filter(|host| !host.contains('@') && host.parse::<Authority>().is_ok());
    sound.unwrap_or("localhost").to_owned()
}

fn whole(
    name: &str,
    given: Option<String>,
    default: u64,
    max: u64,
    wrong: &mut Vec<String>,
) -> u64 {
    let Some(given) = given else { return default };
    let digits = given.bytes().all(|byte| byte.is_ascii_digit());
    let number = given.parse().ok().filter(|number| digits && (1..=max).contains(number));
    number.unwrap_or_else(|| {
        wrong.push(format!("{name}: must be a whole number from 1 to {max}"));
        default
    })
}

fn unsearchable(search: &str) -> bool {
    search.contains('\0') || search.chars().count() > SEARCH_CHARS_MAX
}

fn page() -> Object {
    let any = ObjectBuilder::new().schema_type(Type::Number);
    let any = any.description(Some("From 1. A page past the end is empty."));
    any.default(Some(1.into())).minimum(Some(1)).multiple_of(Some(1)).build()
}

fn limit() -> Object {
    let any = ObjectBuilder::new().schema_type(Type::Number);
    let any = any.default(Some(LIMIT_DEFAULT.into())).description(Some("Items on a page."));
    any.minimum(Some(1)).maximum(Some(LIMIT_MAX)).multiple_of(Some(1)).build()
}

fn count() -> Object {
    number(1).build()
}
