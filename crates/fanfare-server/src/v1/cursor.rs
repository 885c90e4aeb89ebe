//! Lists that go on from where the page before ended: what is new in the meantime moves nothing.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::access::read_id;
use crate::app::App;
use crate::error::{ApiError, Result};

/// Items on a page when the query says nothing.
const LIMIT_DEFAULT: u32 = 20;
/// The most items on a page.
const LIMIT_MAX: u32 = 100;

/// A page that is asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Cursor {
    /// Items on the page.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<u32>,
    /// Where to go on: `next` of the page before. Without it, the newest come first.
    #[param(value_type = String, required = false, format = "uuid")]
    pub(super) after: Option<Uuid>,
}

impl Cursor {
    /// How many to ask the store for: one more than is shown tells whether there is a next page.
    pub(super) fn wanted(&self) -> u32 {
        self.shown() + 1
    }

    fn shown(&self) -> u32 {
        self.limit.unwrap_or(LIMIT_DEFAULT)
    }

    /// The items of this page, and where the next one begins.
    pub(super) fn cut<T>(
        &self,
        mut found: Vec<T>,
        id: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let limit = usize::try_from(self.shown()).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let next = if more { found.last().map(id) } else { None };
        (found, next)
    }

    fn read(query: &str) -> Result<Self> {
        let (mut limit, mut after) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let twice = match name.as_ref() {
                "limit" => limit.replace(read_limit(&value)?).is_some(),
                "after" => after.replace(read_id("after", &value)?).is_some(),
                _ => false,
            };
            if twice {
                return Err(ApiError::invalid_field(&name, "must not be given twice"));
            }
        }
        Ok(Cursor { limit, after })
    }
}

impl FromRequestParts<App> for Cursor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Cursor::read(parts.uri.query().unwrap_or_default())
    }
}

fn read_limit(text: &str) -> Result<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| {
        ApiError::invalid_field("limit", format!("must be a whole number from 1 to {LIMIT_MAX}"))
    })
}
