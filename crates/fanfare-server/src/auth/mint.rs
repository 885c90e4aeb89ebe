use std::error::Error;
use std::fmt;
use std::time::Duration;

use fanfare::model::{CompanyId, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::token::ROLES;

/// What a token that we make ourselves is to say.
#[derive(Clone, Copy)]
pub struct Grant<'a> {
    /// The server's HS256 key.
    pub secret: &'a [u8],
    /// The company it reaches; a superAdmin's reaches the others too.
    pub company: CompanyId,
    /// `administrator`, `admin`, `superAdmin` or `integration`.
    pub role: &'a str,
    /// How long it lasts: a second or more, cut to whole seconds.
    pub ttl: Duration,
    /// Its `iss`: the server's issuer, where one is configured.
    pub issuer: Option<&'a str>,
    /// Its `aud`: the server's audience, where one is configured.
    pub audience: Option<&'a str>,
}

impl fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({} of {} for {:?})", self.role, self.company, self.ttl)
    }
}

/// Makes a token: a JWT signed with HS256.
///
/// # Errors
///
/// When the server would not believe the token: see [`MintError`].
pub fn mint(grant: &Grant<'_>, now: Timestamp) -> Result<String, MintError> {
    if grant.secret.is_empty() {
        return Err(MintError::NoSecret);
    }
    if !ROLES.contains(&grant.role) {
        return Err(MintError::UnknownRole);
    }
    if grant.ttl < Duration::from_secs(1) {
        return Err(MintError::TooShort);
    }
    let claims = Claims {
        exp: now.plus(grant.ttl).as_secs(),
        iat: now.as_secs(),
        roles: [grant.role],
        tenant_id: grant.company.to_string(),
        iss: grant.issuer,
        aud: grant.audience,
    };
    let key = EncodingKey::from_secret(grant.secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .map_err(|_| MintError::Signing)
}

#[derive(Serialize)]
struct Claims<'a> {
    exp: i64,
    iat: i64,
    roles: [&'a str; 1],
    #[serde(rename = "tenantId")]
    tenant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// Why a token was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintError {
    /// The key is empty.
    NoSecret,
    /// The role does not administer.
    UnknownRole,
    /// It would last less than a second.
    TooShort,
    /// The cryptographic library refused.
    Signing,
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MintError::NoSecret => f.write_str("the key of tokens is empty"),
            MintError::UnknownRole => write!(f, "a token's role is one of {}", ROLES.join(", ")),
            MintError::TooShort => f.write_str("a token lasts a second or more"),
            MintError::Signing => f.write_str("the token could not be signed"),
        }
    }
}

impl Error for MintError {}
