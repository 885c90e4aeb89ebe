//! Who changed what, when and from where.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use fanfare::model::{Action, AuditId, Entry};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use uuid::Uuid;

use super::cursor::Cursor;
use crate::access::{Authorized, read_id};
use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::openapi::ACCESS;

/// Which entries are asked for.
#[derive(Debug, Default, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct About {
    /// Only those about this endpoint, key, delivery, event, replay or company.
    #[param(value_type = String, required = false, format = "uuid")]
    subject: Option<Uuid>,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditList {
    items: Vec<AuditEntry>,
    /// What to give as `after` for the next page; null on the last one.
    #[schema(format = "uuid", required = true)]
    next: Option<String>,
}

/// Something that was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditEntry {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "date-time")]
    at: String,
    actor: AuditActor,
    #[schema(schema_with = action)]
    action: &'static str,
    /// The id of what was changed.
    #[schema(format = "uuid")]
    subject: String,
    /// What of it was changed; never what it was changed to.
    #[schema(example = json!(["url", "maxRetries"]))]
    fields: Vec<String>,
}

/// Who changed it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditActor {
    /// `token`, `key`, `library` for the program that embeds the engine, or `system` for the engine
    /// itself.
    #[schema(example = "token")]
    kind: &'static str,
    /// The token's `sub`, or the id of the key; null where there is none.
    #[schema(required = true)]
    subject: Option<String>,
    /// The roles by which it might, or the scope of the key.
    #[schema(example = json!(["admin"]))]
    roles: Vec<String>,
    /// The other end of the connection: where a proxy stands before the server, the proxy's.
    #[schema(required = true, example = "192.0.2.7")]
    address: Option<String>,
}

/// Shows who changed what
///
/// The newest first: changes of the company, its endpoints, secrets and keys, and what was replayed
/// or cancelled, not what was emitted. Kept for 400 days.
#[utoipa::path(get, path = "/v1/companies/{companyId}/audit", operation_id = "listAudit",
    tag = ACCESS, params(Cursor, About),
    responses((status = 200, description = "A page of the audit log.", body = AuditList)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    cursor: Cursor,
    about: About,
) -> Result<Json<AuditList>> {
    let before = cursor.after.map(AuditId::from_uuid);
    let engine = app.engine();
    let found = engine.audit(access.company, about.subject, before, cursor.wanted()).await?;
    let (found, next) = cursor.cut(found, |entry| entry.id.to_string());
    Ok(Json::ok(AuditList { items: found.iter().map(AuditEntry::of).collect(), next }))
}

impl AuditEntry {
    fn of(entry: &Entry) -> Self {
        let by = &entry.by;
        AuditEntry {
            id: entry.id.to_string(),
            at: entry.at.to_string(),
            actor: AuditActor {
                kind: by.kind.as_str(),
                subject: by.subject.clone(),
                roles: by.roles.clone(),
                address: by.address.map(|address| address.to_string()),
            },
            action: entry.action.as_str(),
            subject: entry.subject.to_string(),
            fields: entry.fields.clone(),
        }
    }
}

impl FromRequestParts<App> for About {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let mut about = About::default();
        let query = parts.uri.query().unwrap_or_default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name == "subject" && about.subject.replace(read_id("subject", &value)?).is_some() {
                return Err(ApiError::invalid_field("subject", "must not be given twice"));
            }
        }
        Ok(about)
    }
}

fn action() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What was done."))
        .enum_values(Some(Action::ALL.map(|(_, name)| name)))
        .build()
}
