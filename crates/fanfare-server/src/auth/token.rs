//! What a token says. Nothing of its claims is looked at before its signature holds.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare::model::{Actor, ActorKind, CompanyId, Timestamp};
use jsonwebtoken::Algorithm;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{AuthError, Bearer, Caller};

/// The role that reaches every company.
pub(super) const SUPER_ADMIN: &str = "superAdmin";
/// The roles that administer (contract, section 2).
pub(super) const ROLES: [&str; 4] = ["administrator", "admin", SUPER_ADMIN, "integration"];
/// How far the clocks of issuer and server may be apart (contract, section 2).
const LEEWAY: Duration = Duration::from_secs(60);
/// The longest token that is looked at: what common servers allow a whole header.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// As much of a token's `sub` as is noted of those who change something.
const SUBJECT_CHARS_MAX: usize = 256;

const NOT_THREE_PARTS: AuthError =
    AuthError::Malformed("The token is not three base64url parts joined by dots.");
const TOO_LONG: AuthError = AuthError::Malformed("The token is longer than 8 KiB.");
const BAD_HEADER: AuthError = AuthError::Malformed("The token's header cannot be read.");
const CRITICAL: AuthError =
    AuthError::Malformed("The token's header has `crit`, which this server does not know.");
const BAD_CLAIMS: AuthError = AuthError::Malformed("The token's claims cannot be read.");
const NO_EXP: AuthError = AuthError::Malformed("The token needs `exp`, a number of seconds.");
const BAD_NBF: AuthError = AuthError::Malformed("The token's `nbf` must be a number of seconds.");
const BAD_IAT: AuthError = AuthError::Malformed("The token's `iat` must be a number of seconds.");
const BAD_ROLES: AuthError = AuthError::Malformed("The token's `roles` must be a list of strings.");
const BAD_TENANT: AuthError = AuthError::Malformed("The token's `tenantId` must be a UUID.");

/// The token of an `Authorization` header. The scheme's case does not matter (RFC 9110, 11.1).
pub(crate) fn bearer(authorization: Option<&[u8]>) -> Result<&str, AuthError> {
    let header = authorization.ok_or(AuthError::Missing)?.trim_ascii();
    let Some((scheme, token)) = header.split_at_checked("Bearer ".len()) else {
        return Err(AuthError::Missing);
    };
    let token = token.trim_ascii_start();
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || token.is_empty() {
        return Err(AuthError::Missing);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TOO_LONG);
    }
    str::from_utf8(token).map_err(|_| NOT_THREE_PARTS)
}

/// A token taken apart, not yet believed.
pub(super) struct Token<'a> {
    /// What it says it is signed with: a claim to hold against the key, never a choice.
    pub algorithm: Algorithm,
    /// The key it says it is signed with.
    pub kid: Option<String>,
    /// Its signature, in base64url.
    pub signature: &'a str,
    /// What the signature is over: header, dot, claims.
    pub message: &'a str,
    claims: &'a str,
}

impl<'a> Token<'a> {
    /// Takes a token apart and reads its header.
    pub(super) fn parse(text: &'a str) -> Result<Token<'a>, AuthError> {
        let (message, signature) = text.rsplit_once('.').ok_or(NOT_THREE_PARTS)?;
        let (header, claims) = message.split_once('.').ok_or(NOT_THREE_PARTS)?;
        if claims.contains('.') {
            return Err(NOT_THREE_PARTS);
        }
        let header: Header = object(header).ok_or(BAD_HEADER)?;
        // Extensions that must be understood, and none is (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(CRITICAL);
        }
        let algorithm = algorithm(&header.alg).ok_or(AuthError::Algorithm)?;
        Ok(Token { algorithm, kid: header.kid, signature, message, claims })
    }

    /// Its claims, as far as they do not depend on the time. For tokens whose signature holds.
    pub(super) fn claims(&self, expected: &Expected) -> Result<Claims, AuthError> {
        let claims: RawClaims = object(self.claims).ok_or(BAD_CLAIMS)?;
        let expires_at = claims.exp.as_ref().and_then(moment).ok_or(NO_EXP)?;
        let begins_at = optional_moment(claims.nbf.as_ref(), BAD_NBF)?;
        optional_moment(claims.iat.as_ref(), BAD_IAT)?;
        expected.check(&claims)?;
        let roles = strings(claims.roles.as_ref().ok_or(AuthError::Role)?).ok_or(BAD_ROLES)?;
        if !roles.iter().any(|role| ROLES.contains(role)) {
            return Err(AuthError::Role);
        }
        let caller = Caller { super_admin: roles.contains(&SUPER_ADMIN), tenant: tenant(&claims)? };
        let bearer = Bearer { caller, actor: Arc::new(actor(&claims, &roles)) };
        Ok(Claims { bearer, expires_at, begins_at })
    }
}

/// The algorithms that some key may have. `none` is not among them.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// What the server's settings ask of every token.
#[derive(Debug)]
pub(super) struct Expected {
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

impl Expected {
    fn check(&self, claims: &RawClaims) -> Result<(), AuthError> {
        let given = |claim: &Option<Value>, wanted: &str| match claim {
            Some(Value::String(one)) => one == wanted,
            Some(several) => strings(several).is_some_and(|several| several.contains(&wanted)),
            None => false,
        };
        if let Some(issuer) = &self.issuer
            && claims.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err(AuthError::Issuer);
        }
        if let Some(audience) = &self.audience
            && !given(&claims.aud, audience)
        {
            return Err(AuthError::Audience);
        }
        Ok(())
    }
}

/// What is kept of a believed token.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    bearer: Bearer,
    expires_at: Timestamp,
    begins_at: Option<Timestamp>,
}

impl Claims {
    #[cfg(test)]
    pub(super) fn until(expires_at: Timestamp) -> Claims {
        let caller = Caller { super_admin: false, tenant: None };
        let bearer = Bearer { caller, actor: Arc::new(Actor::of(ActorKind::Token)) };
        Claims { bearer, expires_at, begins_at: None }
    }

    /// Who calls, if the token is valid at this time.
    pub(super) fn bearer_at(&self, now: Timestamp) -> Result<Bearer, AuthError> {
        if now >= self.expires_at.plus(LEEWAY) {
            return Err(AuthError::Expired);
        }
        if self.begins_at.is_some_and(|begins_at| now.plus(LEEWAY) < begins_at) {
            return Err(AuthError::NotYetValid);
        }
        Ok(self.bearer.clone())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "even_null")]
    crit: Option<Value>,
}

/// Claims before their types are judged, so that each wrong one has its own sentence. A name given
/// twice does not parse.
#[derive(Deserialize)]
struct RawClaims {
    #[serde(default, deserialize_with = "even_null")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "even_null")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "even_null")]
    iat: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
    sub: Option<Value>,
    roles: Option<Value>,
    #[serde(rename = "tenantId")]
    tenant_id: Option<Value>,
}

/// `null` is a value of the wrong type here, not the claim's absence.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A JSON object in base64url. serde would take an array for a struct, too.
fn object<T: DeserializeOwned>(encoded: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    if json.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    // Members that are passed over are not looked into, where half a character would go unseen: a
    // token that other readers refuse is refused here.
    serde_json::from_slice::<Value>(&json).ok()?;
    serde_json::from_slice(&json).ok()
}

fn optional_moment(
    claim: Option<&Value>,
    wrong: AuthError,
) -> Result<Option<Timestamp>, AuthError> {
    claim.map(|claim| moment(claim).ok_or(wrong)).transpose()
}

/// A `NumericDate` (RFC 7519, section 2): seconds since the epoch, with fractions allowed. What is
/// beyond our range is the end of it.
#[expect(clippy::cast_possible_truncation, reason = "a float's cast saturates, as wanted")]
fn moment(claim: &Value) -> Option<Timestamp> {
    let number = claim.as_number()?;
    let whole = number.as_i64().map(|seconds| seconds.saturating_mul(1000));
    whole.or_else(|| number.as_f64().map(|seconds| (seconds * 1000.0) as i64)).map(Timestamp)
}

fn strings(claim: &Value) -> Option<Vec<&str>> {
    claim.as_array()?.iter().map(Value::as_str).collect()
}

/// As the audit log names the caller: by its `sub`, as far as it is a text of reasonable length, and
/// by the roles that administer.
fn actor(claims: &RawClaims, roles: &[&str]) -> Actor {
    let subject = claims.sub.as_ref().and_then(Value::as_str);
    let subject = subject.map(|text| text.chars().take(SUBJECT_CHARS_MAX).collect());
    let administering = ROLES.iter().filter(|role| roles.contains(role));
    let roles = administering.map(|role| (*role).to_owned()).collect();
    Actor { subject, roles, ..Actor::of(ActorKind::Token) }
}

fn tenant(claims: &RawClaims) -> Result<Option<CompanyId>, AuthError> {
    let Some(id) = &claims.tenant_id else { return Ok(None) };
    id.as_str().and_then(|id| id.parse().ok()).map(Some).ok_or(BAD_TENANT)
}
