//! Keys that programs call with.

use axum::extract::State;
use axum::http::StatusCode;
use fanfare::engine::{ApiKeyText, KEY_NAME_MAX, NewApiKey};
use fanfare::model::{self, ApiKeyId, Scope, Timestamp};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::cursor::Cursor;
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::form::Form;
use crate::openapi::ACCESS;

/// The path parameter that names the key.
const ID: &str = "apiKeyId";

/// A key to make.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", as = NewApiKey,
    example = json!({"name": "the till in Lisbon", "scope": "emit"}))]
#[expect(dead_code, reason = "described here; `read` reads it into the engine's own form")]
pub(crate) struct ApiKeyToMake {
    /// For people; no control characters.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        example = "the till in Lisbon"
    )]
    name: String,
    #[schema(schema_with = scope)]
    scope: Scope,
    /// From when on it works no more; never, when it is not given. In the future.
    #[schema(format = "date-time", example = "2099-12-31T00:00:00.000Z")]
    expires_at: Option<String>,
}

/// A key that programs call with.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKey {
    #[schema(format = "uuid")]
    id: String,
    /// The key itself: shown in the answer to its creation and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    key: Option<Key>,
    name: String,
    #[schema(schema_with = scope)]
    scope: &'static str,
    /// The last characters of the key.
    #[schema(example = "x4_Q")]
    hint: String,
    #[schema(format = "date-time")]
    created_at: String,
    /// From when on it works no more; null for never.
    #[schema(format = "date-time", required = true)]
    expires_at: Option<String>,
    /// When it was used last, give or take a minute; null before the first time.
    #[schema(format = "date-time", required = true)]
    last_used_at: Option<String>,
    /// When it was revoked; null while it is not.
    #[schema(format = "date-time", required = true)]
    revoked_at: Option<String>,
}

/// A key in full, which `Debug` does not show.
#[derive(Debug)]
struct Key(ApiKeyText);

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKeyList {
    items: Vec<ApiKey>,
    /// What to give as `after` for the next page; null on the last one.
    #[schema(format = "uuid", required = true)]
    next: Option<String>,
}

/// Makes an API key
///
/// A program sends it as `Authorization: Bearer …` or in the header `x-w3block-api-key`. Keep it
/// well: only its hash is kept here.
#[utoipa::path(post, path = "/v1/companies/{companyId}/api-keys", operation_id = "createApiKey",
    tag = ACCESS, request_body = ApiKeyToMake,
    responses((status = 201, description = "The key, shown this once.", body = ApiKey)))]
pub(crate) async fn create(
    State(app): State<App>,
    access: Authorized,
    form: Form,
) -> Result<Json<ApiKey>> {
    let new = read(form)?;
    let (key, text) = access.engine(&app).create_api_key(access.company, new).await?;
    Ok(Json(StatusCode::CREATED, ApiKey::of(&key, Some(text))))
}

/// Lists the API keys of a company
///
/// The newest first, without the keys themselves. Those that were revoked or have expired are
/// listed for as long as history is kept.
#[utoipa::path(get, path = "/v1/companies/{companyId}/api-keys", operation_id = "listApiKeys",
    tag = ACCESS, params(Cursor),
    responses((status = 200, description = "A page of keys.", body = ApiKeyList)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    cursor: Cursor,
) -> Result<Json<ApiKeyList>> {
    let before = cursor.after.map(ApiKeyId::from_uuid);
    let found = app.engine().api_keys_before(access.company, before, cursor.wanted()).await?;
    let (found, next) = cursor.cut(found, |key| key.id.to_string());
    Ok(Json::ok(ApiKeyList {
        items: found.iter().map(|key| ApiKey::of(key, None)).collect(),
        next,
    }))
}

/// Revokes an API key
///
/// It works no more from here on. Can be repeated.
#[utoipa::path(delete, path = "/v1/companies/{companyId}/api-keys/{apiKeyId}",
    operation_id = "revokeApiKey", tag = ACCESS,
    responses((status = 204, description = "It works no more.")))]
pub(crate) async fn revoke(State(app): State<App>, access: Authorized) -> Result<StatusCode> {
    access.engine(&app).revoke_api_key(access.company, access.api_key(ID)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(mut form: Form) -> Result<NewApiKey> {
    form.require("name");
    form.require("scope");
    let name = form.text("name");
    if name.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > KEY_NAME_MAX) {
        form.wrong("name", format!("must have 1 to {KEY_NAME_MAX} characters"));
    }
    let scope = form.read("scope", str::parse::<Scope>);
    let expires_at = form.read("expiresAt", str::parse::<Timestamp>);
    form.refuse_the_rest("name, scope, expiresAt");
    let read = name.zip(scope);
    form.finish(read.map(|(name, scope)| NewApiKey { name, scope, expires_at }))
}

impl ApiKey {
    fn of(key: &model::ApiKey, text: Option<ApiKeyText>) -> Self {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        ApiKey {
            id: key.id.to_string(),
            key: text.map(Key),
            name: key.name.clone(),
            scope: key.scope.as_str(),
            hint: key.hint.clone(),
            created_at: key.created_at.to_string(),
            expires_at: time(key.expires_at),
            last_used_at: time(key.used_at),
            revoked_at: time(key.revoked_at),
        }
    }
}

fn scope() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "`emit`: emit events, and nothing else. `read`: see everything but secrets, which are \
             shown as `***`, API keys and the audit log. `admin`: whatever an administrator of the \
             company may.",
        ))
        .enum_values(Some(Scope::ALL.map(|(_, name)| name)))
        .build()
}
