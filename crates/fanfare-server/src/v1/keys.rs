//! Secrets, replaced; and the keys that the world may know.

use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use fanfare::engine::{GRACE_DEFAULT, GRACE_MAX, PublishedKey, Rotation};
use fanfare::model::EndpointId;
use fanfare::sign::Secret;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use uuid::Uuid;

use super::endpoints::ID;
use super::webhook::Webhook;
use crate::access::{Authorized, read_id};
use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::form::{Form, MaybeForm};
use crate::openapi::{ENDPOINTS, KEYS};

/// Keys may be kept for a minute: one that was ended at once is not used for much longer.
const KEPT: (HeaderName, HeaderValue) =
    (CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));

/// How to replace a secret. Everything may be left out, and the body too.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"gracePeriod": 86400}))]
#[expect(dead_code, reason = "described here; `read` reads it into the engine's own form")]
pub(crate) struct SecretToRotate {
    /// `whsec_` and the base64 of 24 to 64 bytes; generated when it is not given.
    #[schema(value_type = Option<String>, write_only,
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA=")]
    secret: Option<Secret>,
    #[schema(schema_with = grace_period)]
    grace_period: Option<u32>,
}

/// A page of public keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookKeys {
    /// In the order of their endpoints' ids; of one endpoint, the present key first.
    keys: Vec<WebhookKey>,
    /// What to give as `after` for the next page; null on the last one. A page may be empty and
    /// there may still be a next one.
    #[schema(format = "uuid", required = true)]
    next: Option<String>,
}

/// A public key that verifies `v1a` signatures of one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookKey {
    #[schema(format = "uuid")]
    endpoint_id: String,
    /// `whpk_` and the base64 of its 32 bytes.
    #[schema(example = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")]
    public_key: String,
    /// Its name: the thumbprint of the JWK (RFC 7638).
    kid: String,
    jwk: Jwk,
    /// Until when it signs beside the present key; null for the present one.
    #[schema(format = "date-time", required = true)]
    valid_until: Option<String>,
}

/// The key as RFC 8037 writes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Jwk {
    #[schema(example = "OKP")]
    kty: &'static str,
    #[schema(example = "Ed25519")]
    crv: &'static str,
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    x: String,
}

/// Which keys are asked for.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Only those of this endpoint.
    #[param(value_type = String, required = false, format = "uuid")]
    endpoint: Option<Uuid>,
    /// Where to go on: `next` of the page before.
    #[param(value_type = String, required = false, format = "uuid")]
    after: Option<Uuid>,
}

/// Replaces the secret of an endpoint
///
/// For `gracePeriod` seconds `webhook-signature` carries the signatures of both secrets, the new
/// one's first, and `x-w3block-commerce-signature` that of the old one; then only the new one
/// signs. A key for `v1a` signatures is replaced along with it. With `gracePeriod` 0 only the new
/// one signs from here on, also when a rotation is under way.
#[utoipa::path(post, path = "/v1/companies/{companyId}/endpoints/{endpointId}/secret/rotate",
    operation_id = "rotateSecret", tag = ENDPOINTS, request_body = SecretToRotate,
    responses((status = 200, description = "The endpoint, with its new secret.", body = Webhook)))]
pub(crate) async fn rotate(
    State(app): State<App>,
    access: Authorized,
    MaybeForm(form): MaybeForm,
) -> Result<Json<Webhook>> {
    let (engine, id) = (access.engine(&app), access.endpoint(ID)?);
    let endpoint = engine.rotate_secret(access.company, id, read(form)?).await?;
    Ok(Json::ok(Webhook::of(&engine, &endpoint)?))
}

/// Lists the public keys of endpoints that sign with `v1a`
#[utoipa::path(get, path = "/.well-known/webhook-keys", operation_id = "listWebhookKeys",
    tag = KEYS, params(Wanted),
    responses((status = 200, description = "A page of keys.", body = WebhookKeys)))]
pub(crate) async fn list(
    State(app): State<App>,
    wanted: Wanted,
) -> Result<([(HeaderName, HeaderValue); 1], Json<WebhookKeys>)> {
    let engine = app.engine();
    let (keys, next) = match wanted.endpoint.map(EndpointId::from_uuid) {
        Some(endpoint) => (engine.public_keys_of(endpoint).await?, None),
        None => engine.public_keys(wanted.after.map(EndpointId::from_uuid)).await?,
    };
    let keys = keys.iter().map(WebhookKey::of).collect();
    Ok(([KEPT], Json::ok(WebhookKeys { keys, next: next.map(|next| next.to_string()) })))
}

fn read(mut form: Form) -> Result<Rotation> {
    let secret = form.read("secret", str::parse::<Secret>);
    let most = u32::try_from(GRACE_MAX.as_secs()).unwrap_or(u32::MAX);
    let grace = form.whole("gracePeriod", 0..=most);
    form.refuse_the_rest("secret, gracePeriod");
    let grace = grace.map_or(GRACE_DEFAULT, |secs| Duration::from_secs(secs.into()));
    form.finish(Some(Rotation { secret, grace }))
}

impl WebhookKey {
    fn of(published: &PublishedKey) -> Self {
        let key = published.key;
        WebhookKey {
            endpoint_id: published.endpoint.to_string(),
            public_key: key.to_string(),
            kid: key.thumbprint(),
            jwk: Jwk { kty: "OKP", crv: "Ed25519", x: key.base64url() },
            valid_until: published.until.map(|until| until.to_string()),
        }
    }
}

impl FromRequestParts<App> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let mut wanted = Wanted::default();
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let twice = match name.as_ref() {
                "endpoint" => wanted.endpoint.replace(read_id("endpoint", &value)?).is_some(),
                "after" => wanted.after.replace(read_id("after", &value)?).is_some(),
                _ => false,
            };
            if twice {
                return Err(ApiError::invalid_field(&name, "must not be given twice"));
            }
        }
        Ok(wanted)
    }
}

fn grace_period() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("How long the old secret signs too, in seconds."))
        .minimum(Some(0))
        .maximum(Some(GRACE_MAX.as_secs()))
        .default(Some(GRACE_DEFAULT.as_secs().into()))
        .build()
}
