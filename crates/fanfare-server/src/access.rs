//! Who calls, for which company, and the ids in the path: known before anything else is looked at.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use fanfare::model::{CompanyId, DeliveryId, EndpointId, EventId, ReplayId};
use uuid::Uuid;

use crate::app::App;
use crate::auth::{AuthError, Caller};
use crate::error::{ApiError, Result};

/// The path parameter that names the company.
const COMPANY: &str = "companyId";

/// A caller who may act for the company in the path.
///
/// The order of refusals: 401 for who calls, 400 for a company's id that is none, 403 for a company
/// out of reach, 429 for one that asks too often, 400 for other ids; whatever else the request holds comes after.
#[derive(Debug)]
pub(crate) struct Authorized {
    /// The company in the path.
    pub(crate) company: CompanyId,
    /// Every id in the path.
    ids: Vec<(String, Uuid)>,
}

impl Authorized {
    /// The id of an endpoint in the path.
    pub(crate) fn endpoint(&self, name: &str) -> Result<EndpointId> {
        self.id(name).map(EndpointId::from_uuid)
    }

    /// The id of a delivery in the path.
    pub(crate) fn delivery(&self, name: &str) -> Result<DeliveryId> {
        self.id(name).map(DeliveryId::from_uuid)
    }

    /// The id of an event in the path.
    pub(crate) fn event(&self, name: &str) -> Result<EventId> {
        self.id(name).map(EventId::from_uuid)
    }

    /// The id of a replay in the path.
    pub(crate) fn replay(&self, name: &str) -> Result<ReplayId> {
        self.id(name).map(ReplayId::from_uuid)
    }

    fn id(&self, name: &str) -> Result<Uuid> {
        let found = self.ids.iter().find(|(id_name, _)| id_name == name);
        found.map(|(_, id)| *id).ok_or_else(|| ApiError::internal("a route lacks an id"))
    }
}

impl FromRequestParts<App> for Authorized {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let caller = caller(parts, app).await?;
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|_| ApiError::invalid_field("path", "must be UTF-8"))?;
        let given = params.iter().find(|(name, _)| *name == COMPANY).map(|(_, text)| text);
        let company = CompanyId::from_uuid(read_id(COMPANY, given.unwrap_or_default())?);
        if !caller.may_reach(company) {
            return Err(ApiError::forbidden());
        }
        app.admit(company)?;
        let ids = params.iter().map(|(name, text)| Ok((name.to_owned(), read_id(name, text)?)));
        Ok(Authorized { company, ids: ids.collect::<Result<_>>()? })
    }
}

/// A caller who may act for the server as a whole: a superAdmin.
#[derive(Debug)]
pub(crate) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if caller(parts, app).await?.super_admin {
            return Ok(Operator);
        }
        Err(ApiError::only_super_admin())
    }
}

async fn caller(parts: &Parts, app: &App) -> Result<Caller> {
    let mut given = parts.headers.get_all(AUTHORIZATION).iter();
    let header = given.next();
    if given.next().is_some() {
        return Err(AuthError::Malformed("Send one `Authorization` header.").into());
    }
    Ok(app.auth().check(header.map(|value| value.as_bytes())).await?)
}

/// An id, hyphenated: one thing has one spelling.
pub(crate) fn read_id(name: &str, text: &str) -> Result<Uuid> {
    // Any type of id reads the same way.
    let read = text.parse::<CompanyId>().map(CompanyId::uuid);
    read.map_err(|_| ApiError::invalid_field(name, "must be a UUID"))
}
