//! Who calls, for which company, and the ids in the path: known before anything else is looked at.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::Method;
use axum::http::request::Parts;
use fanfare::Engine;
use fanfare::model::{ApiKeyId, CompanyId, DeliveryId, EndpointId, EventId, ReplayId, Scope};
use uuid::Uuid;

use crate::app::App;
use crate::caller::{Identity, Peer};
use crate::error::{ApiError, Result};

/// The path parameter that names the company.
const COMPANY: &str = "companyId";

/// A caller who may act for the company in the path.
///
/// The order of refusals: 401 for who calls, 400 for a company's id that is none, 403 for a company
/// out of reach or a key whose scope is not enough, 429 for one that asks too often, 400 for other
/// ids; whatever else the request holds comes after.
#[derive(Debug)]
pub(crate) struct Authorized {
    /// The company in the path.
    pub(crate) company: CompanyId,
    /// Every id in the path.
    ids: Vec<(String, Uuid)>,
    caller: Identity,
    /// The other end of the connection; `None` for a request that came by none.
    address: Option<IpAddr>,
}

impl Authorized {
    /// The engine, for changes: they are noted as this caller's.
    pub(crate) fn engine(&self, app: &App) -> Engine {
        app.engine().acting(Arc::new(self.caller.actor(self.address)))
    }

    /// May the caller be shown what endpoints sign with?
    pub(crate) fn may_see_secrets(&self) -> bool {
        self.caller.scope() == Scope::Admin
    }

    /// The id of an API key in the path.
    pub(crate) fn api_key(&self, name: &str) -> Result<ApiKeyId> {
        self.id(name).map(ApiKeyId::from_uuid)
    }

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
        let caller = Identity::of(parts, app).await?;
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|_| ApiError::invalid_field("path", "must be UTF-8"))?;
        let given = params.iter().find(|(name, _)| *name == COMPANY).map(|(_, text)| text);
        let company = CompanyId::from_uuid(read_id(COMPANY, given.unwrap_or_default())?);
        if !caller.may_reach(company) {
            return Err(ApiError::forbidden());
        }
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let needed = needed(&parts.method, route);
        if !caller.scope().allows(needed) {
            return Err(ApiError::insufficient_scope(needed));
        }
        let address = parts.extensions.get::<Peer>().map(|peer| peer.0);
        app.admit(company)?;
        let ids = params.iter().map(|(name, text)| Ok((name.to_owned(), read_id(name, text)?)));
        Ok(Authorized { company, ids: ids.collect::<Result<_>>()?, caller, address })
    }
}

/// A caller who may act for the server as a whole: a superAdmin.
#[derive(Debug)]
pub(crate) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if Identity::of(parts, app).await?.is_super_admin() {
            return Ok(Operator);
        }
        Err(ApiError::only_super_admin())
    }
}

/// The scope that an operation needs. What is not named here needs the most.
fn needed(method: &Method, route: &str) -> Scope {
    let reads = [Method::GET, Method::HEAD].contains(method);
    match route {
        "/v1/companies/{companyId}/api-keys" | "/v1/companies/{companyId}/audit" => Scope::Admin,
        "/v1/companies/{companyId}/events" | "/v1/companies/{companyId}/events/batch" => {
            Scope::Emit
        }
        "/v1/companies/{companyId}/events/match" => Scope::Read,
        _ if reads => Scope::Read,
        _ => Scope::Admin,
    }
}

/// An id, hyphenated: one thing has one spelling.
pub(crate) fn read_id(name: &str, text: &str) -> Result<Uuid> {
    // Any type of id reads the same way.
    let read = text.parse::<CompanyId>().map(CompanyId::uuid);
    read.map_err(|_| ApiError::invalid_field(name, "must be a UUID"))
}
