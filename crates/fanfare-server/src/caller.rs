//! Who calls: by a token or by an API key, and from where.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use fanfare::engine::ApiKeyText;
use fanfare::model::{Actor, ActorKind, ApiKey, CompanyId, Scope};

use crate::app::App;
use crate::auth::{AuthError, Bearer, bearer};
use crate::error::Result;

/// Where W3Block's clients put an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-w3block-api-key");
/// W3Block's other way to call, which is none here.
const ID_AND_SECRET: [HeaderName; 2] =
    [HeaderName::from_static("x-w3block-id"), HeaderName::from_static("x-w3block-secret")];

/// The other end of the connection that a request came by, as an extension of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Somebody who is known.
#[derive(Debug)]
pub(crate) enum Identity {
    /// By a token.
    Token(Bearer),
    /// By an API key.
    Key(Arc<ApiKey>),
}

impl Identity {
    /// Who sent this request.
    pub(crate) async fn of(parts: &Parts, app: &App) -> Result<Identity> {
        let authorization = one(parts, &AUTHORIZATION)?;
        let key = match (authorization, one(parts, &API_KEY)?) {
            (Some(_), Some(_)) => return Err(AuthError::Several.into()),
            (None, None) if ID_AND_SECRET.iter().any(|name| parts.headers.contains_key(name)) => {
                return Err(AuthError::IdAndSecret.into());
            }
            (None, Some(key)) => key.to_str().map_err(|_| AuthError::Key)?,
            (authorization, None) => {
                let authorization = authorization.map(HeaderValue::as_bytes);
                let text = bearer(authorization)?;
                if !ApiKeyText::resembles(text) {
                    return Ok(Identity::Token(app.auth().check(authorization).await?));
                }
                text
            }
        };
        let found = app.engine().check_api_key(key).await?;
        Ok(Identity::Key(found.ok_or(AuthError::Key)?))
    }

    /// May this caller act for `company`? If not, the answer is 403.
    pub(crate) fn may_reach(&self, company: CompanyId) -> bool {
        match self {
            Identity::Token(bearer) => bearer.caller.may_reach(company),
            Identity::Key(key) => key.company == company,
        }
    }

    /// May this caller act for the server as a whole?
    pub(crate) fn is_super_admin(&self) -> bool {
        matches!(self, Identity::Token(bearer) if bearer.caller.super_admin)
    }

    /// What this caller may do there.
    pub(crate) fn scope(&self) -> Scope {
        match self {
            // Only roles that administer get this far.
            Identity::Token(_) => Scope::Admin,
            Identity::Key(key) => key.scope,
        }
    }

    /// As the audit log names it, at this address.
    pub(crate) fn actor(&self, address: Option<IpAddr>) -> Actor {
        match self {
            Identity::Token(bearer) => Actor { address, ..(*bearer.actor).clone() },
            Identity::Key(key) => Actor {
                kind: ActorKind::Key,
                subject: Some(key.id.to_string()),
                roles: vec![key.scope.as_str().to_owned()],
                address,
            },
        }
    }
}

fn one<'a>(parts: &'a Parts, name: &HeaderName) -> Result<Option<&'a HeaderValue>> {
    let mut given = parts.headers.get_all(name).iter();
    let first = given.next();
    match given.next() {
        Some(_) if *name == AUTHORIZATION => {
            Err(AuthError::Malformed("Send one `Authorization` header.").into())
        }
        Some(_) => Err(AuthError::Several.into()),
        None => Ok(first),
    }
}
