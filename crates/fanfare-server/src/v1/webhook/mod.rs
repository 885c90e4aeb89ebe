//! An endpoint in commercio's form, with what goes beyond it.

mod forms;
pub(super) mod schema;

use std::collections::BTreeMap;

use fanfare::Engine;
use fanfare::model::filter::Filter;
use fanfare::model::{Endpoint, MASK, OwnHeaders, OwnTls, Timestamp};
use fanfare::sign::SigningKey;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::access::Authorized;
use crate::answer::Shown;
use crate::error::{ApiError, Result};

pub(crate) use forms::{NewWebhook, WebhookChange};
pub(super) use forms::{change, new};

/// Where a company wants its events posted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Webhook {
    #[schema(format = "uuid")]
    id: String,
    #[schema(example = "https://example.com/hooks")]
    url: String,
    /// Signs what is sent (Standard Webhooks). While a rotation is under way, the new one. An API
    /// key of scope `read` is shown `***`.
    #[schema(value_type = String)]
    secret: Shown,
    /// What it listens to: types, everything below a prefix (`order.*`), or everything (`*`).
    #[schema(example = json!(["ORDER_CREATED", "payment.*"]))]
    events: Vec<String>,
    /// Which of those events, by their payloads; null for all of them.
    #[schema(schema_with = schema::filter)]
    filter: Option<Box<RawValue>>,
    /// Whether it receives anything.
    is_active: bool,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    updated_at: String,
    #[schema(schema_with = schema::format)]
    format: &'static str,
    #[schema(schema_with = schema::max_retries)]
    max_retries: u32,
    /// PATCH instead of POST.
    use_patch: bool,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`.
    update_with_system_headers: bool,
    /// Add the event's `createdAt` to a body that is an object.
    add_created_at_to_body: bool,
    /// Also sign with an Ed25519 key of the endpoint's own (`v1a`).
    add_asymmetric_signature: bool,
    /// What verifies those signatures: `whpk_` and base64; null without them.
    #[schema(required = true)]
    public_key: Option<String>,
    #[schema(schema_with = schema::rate_limit)]
    rate_limit: Option<u32>,
    #[schema(schema_with = schema::max_in_flight)]
    max_in_flight: Option<u32>,
    #[schema(schema_with = schema::ordering)]
    ordering: &'static str,
    #[schema(schema_with = schema::coalesce)]
    coalesce: &'static str,
    /// How long a delivery waits for a newer one, in milliseconds; null while `coalesce` is `none`.
    #[schema(required = true)]
    coalesce_window_ms: Option<u64>,
    /// Whether it hears of `endpoint.failing`, `endpoint.disabled`, `endpoint.recovered` and
    /// `delivery.exhausted` of the company's other endpoints, and of nothing else.
    operational: bool,
    /// Headers that go with every request, their values masked.
    #[schema(schema_with = schema::headers)]
    headers: BTreeMap<String, String>,
    /// Certificates of its own, the key masked; null without them.
    #[schema(schema_with = schema::tls)]
    tls: Option<Tls>,
    /// Since when it receives nothing; null while it is active.
    #[schema(format = "date-time", required = true)]
    disabled_at: Option<String>,
    /// Why it receives nothing; null while it is active.
    #[schema(required = true)]
    disabled_reason: Option<String>,
    /// Since when every attempt has failed, so that only probes are sent; null while it is well.
    #[schema(format = "date-time", required = true)]
    failing_since: Option<String>,
    /// Until when it asked to be left alone (`Retry-After`); null when it did not.
    #[schema(format = "date-time", required = true)]
    held_until: Option<String>,
    /// The rotation of the secret that is under way; null when none is.
    #[schema(required = true)]
    secret_rotation: Option<SecretRotation>,
}

/// Certificates of an endpoint's own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tls {
    ca_certificate: Option<String>,
    client_certificate: Option<String>,
    client_key: Option<&'static str>,
}

/// A rotation that is under way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretRotation {
    /// Until when the secret before this one signs too.
    #[schema(format = "date-time")]
    previous_until: String,
}

/// A page of endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    pub(super) items: Vec<Webhook>,
    /// What to give as `after` for the next page; null on the last one.
    #[schema(format = "uuid", required = true)]
    pub(super) next: Option<String>,
}

impl Webhook {
    /// The same as this caller may see it.
    pub(super) fn for_eyes_of(self, access: &Authorized) -> Self {
        if access.may_see_secrets() { self } else { Webhook { secret: Shown::Masked, ..self } }
    }

    pub(super) fn of(engine: &Engine, endpoint: &Endpoint) -> Result<Self> {
        let signers = engine.signers(endpoint)?;
        let public_key = signers.current.signing.as_ref().map(SigningKey::public);
        let (shape, flow) = (endpoint.shape, endpoint.flow);
        let disabled = endpoint.disabled.as_ref();
        let previous = endpoint.signing_previous(engine.clock().now());
        let time = |at: Timestamp| at.to_string();
        Ok(Webhook {
            id: endpoint.id.to_string(),
            url: endpoint.url.to_string(),
            secret: Shown::InFull(signers.current.secret.clone()),
            events: endpoint.events.iter().map(|event| event.constant().to_owned()).collect(),
            filter: endpoint.filter.as_deref().map(json).transpose()?,
            is_active: disabled.is_none(),
            created_at: time(endpoint.created_at),
            updated_at: time(endpoint.updated_at),
            format: shape.format.as_str(),
            max_retries: endpoint.max_retries,
            use_patch: shape.use_patch,
            update_with_system_headers: shape.system_headers,
            add_created_at_to_body: shape.add_created_at,
            add_asymmetric_signature: public_key.is_some(),
            public_key: public_key.map(|key| key.to_string()),
            rate_limit: flow.rate_limit,
            max_in_flight: flow.max_in_flight,
            ordering: flow.ordering.as_str(),
            coalesce: if flow.coalesce.is_some() { "key" } else { "none" },
            coalesce_window_ms: flow.coalesce.map(forms::millis),
            operational: endpoint.operational,
            headers: pairs(&engine.own_headers(endpoint)?),
            tls: Tls::of(engine.own_tls(endpoint)?),
            disabled_at: disabled.map(|disabled| time(disabled.at)),
            disabled_reason: disabled.map(|disabled| disabled.reason.clone()),
            failing_since: endpoint.health.failing_since.map(time),
            held_until: endpoint.health.held_until.map(time),
            secret_rotation: previous
                .map(|previous| SecretRotation { previous_until: time(previous.until) }),
        })
    }
}

impl Tls {
    fn of(tls: OwnTls) -> Option<Self> {
        let client_key = tls.client_key.as_ref().map(|_| MASK);
        (!tls.is_empty()).then_some(Tls {
            client_key,
            ca_certificate: tls.ca_certificate,
            client_certificate: tls.client_certificate,
        })
    }
}

fn pairs(masked: &OwnHeaders) -> BTreeMap<String, String> {
    masked.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn json(filter: &Filter) -> Result<Box<RawValue>> {
    RawValue::from_string(filter.as_str().to_owned()).map_err(ApiError::internal)
}
