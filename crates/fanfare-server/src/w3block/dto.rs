//! The forms of W3Block's description, by its names.

use std::collections::BTreeMap;

use fanfare::model::{Company, Endpoint};
use fanfare::sign::Secret;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use super::paging::{PaginationLinksDto, PaginationMetaDto};
use crate::access::Authorized;
use crate::answer::Shown;

/// A company.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CompanyEntityDto {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "date-time", required = false)]
    created_at: String,
    #[schema(format = "date-time", required = false)]
    updated_at: String,
    /// Empty until it is set.
    #[schema(required = false)]
    name: String,
}

/// What to make a configuration of, or to change it to.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct CreateOrUpdateWebhooksConfigurationDto {
    /// An absolute `https` URL, with a host, without user information or fragment.
    #[schema(value_type = String, max_length = 2048, example = "https://w3block.io/webhooks/test")]
    pub(super) webhook_url: fanfare::model::Address,
    #[schema(schema_with = retries)]
    pub(super) max_retries: Option<u32>,
}

/// Where a company wants its events posted.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhooksConfigurationEntityDto {
    #[schema(format = "uuid")]
    id: String,
    #[schema(format = "date-time", required = false)]
    created_at: String,
    #[schema(format = "date-time", required = false)]
    updated_at: String,
    #[schema(format = "uuid")]
    company_id: String,
    #[schema(required = false)]
    company: CompanyEntityDto,
    #[schema(example = "https://mydomain.hook.me")]
    webhook_url: String,
    /// The key of the header `x-w3block-commerce-signature`.
    #[schema(value_type = String)]
    signature_key: Shown,
    #[schema(schema_with = retries, required = false)]
    max_retries: u32,
    #[schema(default = false)]
    disabled: bool,
}

/// A page of configurations.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhooksConfigurationEntityPaginatedDto {
    pub(super) items: Vec<WebhooksConfigurationEntityDto>,
    pub(super) meta: PaginationMetaDto,
    #[schema(required = false)]
    pub(super) links: PaginationLinksDto,
}

/// One event on its way to a configuration.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookEntityDto {
    #[schema(format = "uuid")]
    pub(super) id: String,
    #[schema(format = "date-time", required = false)]
    pub(super) created_at: String,
    #[schema(format = "date-time", required = false)]
    pub(super) updated_at: String,
    #[schema(format = "uuid")]
    pub(super) company_id: String,
    #[schema(required = false)]
    pub(super) company: CompanyEntityDto,
    #[schema(format = "uuid", required = false)]
    pub(super) configuration_id: String,
    #[schema(required = false)]
    pub(super) configuration: WebhooksConfigurationEntityDto,
    pub(super) status: WebhookStatusEnum,
    #[schema(schema_with = errors)]
    pub(super) errors: u32,
    pub(super) data: WebhookDataDto,
    #[schema(schema_with = last_result, required = false)]
    pub(super) last_result: Option<LastResult>,
    #[schema(default = false)]
    pub(super) use_patch: bool,
    #[schema(default = false)]
    pub(super) update_with_system_headers: bool,
    #[schema(default = false)]
    pub(super) add_created_at_to_body: bool,
}

/// A page of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookEntityPaginatedDto {
    pub(super) items: Vec<WebhookEntityDto>,
    pub(super) meta: PaginationMetaDto,
    #[schema(required = false)]
    pub(super) links: PaginationLinksDto,
}

/// Waiting, in flight or held; a 2xx was received; given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(example = "concluded")]
pub(crate) enum WebhookStatusEnum {
    Sending,
    Concluded,
    Failed,
}

/// The last request as it was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDataDto {
    #[schema(example = "https://mydomain.hook.me")]
    pub(super) url: String,
    #[schema(schema_with = sent_headers, required = false)]
    pub(super) headers: BTreeMap<String, String>,
    #[schema(schema_with = any_body, required = false)]
    pub(super) body: Box<RawValue>,
}

/// What an attempt came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastResult {
    pub(super) status_code: Option<u16>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
    pub(super) error: Option<String>,
    pub(super) duration_ms: u64,
    pub(super) at: String,
    pub(super) attempt: u32,
    pub(super) next_attempt_at: Option<String>,
}

impl CompanyEntityDto {
    pub(super) fn of(company: &Company) -> Self {
        CompanyEntityDto {
            id: company.id.to_string(),
            created_at: company.created_at.to_string(),
            updated_at: company.updated_at.to_string(),
            name: company.name.clone(),
        }
    }
}

impl WebhooksConfigurationEntityDto {
    /// The same as this caller may see it.
    pub(super) fn for_eyes_of(mut self, access: &Authorized) -> Self {
        if !access.may_see_secrets() {
            self.signature_key = Shown::Masked;
        }
        self
    }

    pub(super) fn of(endpoint: &Endpoint, secret: &Secret, company: CompanyEntityDto) -> Self {
        WebhooksConfigurationEntityDto {
            id: endpoint.id.to_string(),
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
            company_id: endpoint.company.to_string(),
            company,
            webhook_url: endpoint.url.to_string(),
            signature_key: Shown::InFull(secret.clone()),
            max_retries: endpoint.max_retries,
            disabled: endpoint.disabled.is_some(),
        }
    }
}

/// W3Block describes every number as a `number`.
pub(super) fn number(example: u32) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Number).examples([example])
}

fn retries() -> Object {
    number(5)
        .description(Some("Retries after the first attempt: a whole number."))
        .default(Some(5.into()))
        .minimum(Some(0))
        .maximum(Some(20))
        .multiple_of(Some(1))
        .build()
}

fn errors() -> Object {
    number(0).default(Some(0.into())).description(Some("Failed attempts.")).build()
}

fn sent_headers() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Empty before the first attempt; credentials are masked."))
        .examples([serde_json::json!({"Authorization": "*******"})])
        .build()
}

fn any_body() -> Object {
    let types = [Type::Object, Type::Array, Type::String, Type::Number, Type::Boolean, Type::Null];
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter(types))
        .description(Some(
            "As it is sent: an object, unless an endpoint made through `/v1` asks for the payload \
             itself and that is something else.",
        ))
        .examples([serde_json::json!({
            "type": "purchase", "productId": "00000000-000000-00000-000"
        })])
        .build()
}

fn last_result() -> Object {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let maybe = |kind| ObjectBuilder::new().schema_type(SchemaType::from_iter([kind, Type::Null]));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(
            "What the last attempt came to, or why there will be none; null before the first \
             attempt.",
        ))
        .property("statusCode", maybe(Type::Number).description(Some("null: no answer")))
        .property("headers", ObjectBuilder::new().schema_type(Type::Object))
        .property("body", text().description(Some("the first 16 KiB, as text")))
        .property("error", maybe(Type::String))
        .property("durationMs", ObjectBuilder::new().schema_type(Type::Number))
        .property("at", text())
        .property("attempt", ObjectBuilder::new().schema_type(Type::Number))
        .property("nextAttemptAt", maybe(Type::String))
        .examples([serde_json::Value::Null])
        .build()
}
