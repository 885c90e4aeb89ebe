//! An endpoint in commercio's form, with what goes beyond it.

use fanfare::Engine;
use fanfare::engine::{NewEndpoint, RETRIES_DEFAULT, RETRIES_MAX, SUBSCRIPTIONS_MAX};
use fanfare::model::Address;
use fanfare::model::{Endpoint, EndpointChange, Format, Shape, Subscription};
use fanfare::sign::Secret;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, Type};

use crate::error::Result;
use crate::form::Form;

/// Where a company wants its events posted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Webhook {
    #[schema(format = "uuid")]
    id: String,
    #[schema(example = "https://example.com/hooks")]
    url: String,
    /// Signs what is sent (Standard Webhooks).
    secret: String,
    /// What it listens to: types, everything below a prefix (`order.*`), or everything (`*`).
    #[schema(example = json!(["ORDER_CREATED", "payment.*"]))]
    events: Vec<String>,
    /// Whether it receives anything.
    is_active: bool,
    #[schema(format = "date-time")]
    created_at: String,
    #[schema(format = "date-time")]
    updated_at: String,
    #[schema(schema_with = format)]
    format: &'static str,
    #[schema(schema_with = max_retries)]
    max_retries: u32,
    /// PATCH instead of POST.
    use_patch: bool,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`.
    update_with_system_headers: bool,
    /// Add the event's `createdAt` to a body that is an object.
    add_created_at_to_body: bool,
    /// Since when it receives nothing; null while it is active.
    #[schema(format = "date-time", required = true)]
    disabled_at: Option<String>,
    /// Why it receives nothing; null while it is active.
    #[schema(required = true)]
    disabled_reason: Option<String>,
}

/// A page of endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    pub(super) items: Vec<Webhook>,
    /// What to give as `after` for the next page; null on the last one.
    #[schema(format = "uuid", required = true)]
    pub(super) next: Option<String>,
}

/// An endpoint to register.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase",
    example = json!({"url": "https://example.com/hooks", "events": ["ORDER_CREATED", "payment.*"]}))]
pub(crate) struct NewWebhook {
    /// An absolute `https` URL, with a host, without user information or fragment.
    #[schema(value_type = String, max_length = 2048, example = "https://example.com/hooks")]
    url: Address,
    #[schema(schema_with = events)]
    events: Vec<Subscription>,
    /// `whsec_` and the base64 of 24 to 64 bytes; generated when it is not given.
    #[schema(value_type = Option<String>, write_only,
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA=")]
    secret: Option<Secret>,
    #[schema(schema_with = max_retries)]
    max_retries: Option<u32>,
    #[schema(schema_with = format)]
    format: Option<Format>,
    /// PATCH instead of POST; false by default.
    use_patch: Option<bool>,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`; false by default.
    update_with_system_headers: Option<bool>,
    /// Add the event's `createdAt` to a body that is an object; false by default.
    add_created_at_to_body: Option<bool>,
}

/// What to change of an endpoint; what is not given stays as it is.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"events": ["order.*"], "maxRetries": 8}))]
pub(crate) struct WebhookChange {
    /// An absolute `https` URL, with a host, without user information or fragment.
    #[schema(value_type = Option<String>, max_length = 2048,
        example = "https://example.com/hooks")]
    url: Option<Address>,
    #[schema(schema_with = events)]
    events: Option<Vec<Subscription>>,
    #[schema(schema_with = retries)]
    max_retries: Option<u32>,
    #[schema(schema_with = any_format)]
    format: Option<Format>,
    /// PATCH instead of POST.
    use_patch: Option<bool>,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`.
    update_with_system_headers: Option<bool>,
    /// Add the event's `createdAt` to a body that is an object.
    add_created_at_to_body: Option<bool>,
}

impl Webhook {
    pub(super) fn of(endpoint: &Endpoint, secret: &Secret) -> Self {
        let disabled = endpoint.disabled.as_ref();
        Webhook {
            id: endpoint.id.to_string(),
            url: endpoint.url.to_string(),
            secret: secret.reveal().to_owned(),
            events: endpoint.events.iter().map(|event| event.constant().to_owned()).collect(),
            is_active: disabled.is_none(),
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
            format: endpoint.shape.format.as_str(),
            max_retries: endpoint.max_retries,
            use_patch: endpoint.shape.use_patch,
            update_with_system_headers: endpoint.shape.system_headers,
            add_created_at_to_body: endpoint.shape.add_created_at,
            disabled_at: disabled.map(|disabled| disabled.at.to_string()),
            disabled_reason: disabled.map(|disabled| disabled.reason.clone()),
        }
    }
}

impl NewWebhook {
    pub(super) fn read(mut form: Form, engine: &Engine) -> Result<Self> {
        form.require("url");
        form.require("events");
        let secret = form.read("secret", str::parse::<Secret>);
        let change = WebhookChange::take(&mut form, engine);
        form.refuse_the_rest(
            "url, events, secret, maxRetries, format, usePatch, updateWithSystemHeaders, \
             addCreatedAtToBody",
        );
        let told = change.url.zip(change.events);
        form.finish(told.map(|(url, events)| NewWebhook {
            url,
            events,
            secret,
            max_retries: change.max_retries,
            format: change.format,
            use_patch: change.use_patch,
            update_with_system_headers: change.update_with_system_headers,
            add_created_at_to_body: change.add_created_at_to_body,
        }))
    }
}

impl From<NewWebhook> for NewEndpoint {
    fn from(new: NewWebhook) -> Self {
        NewEndpoint {
            shape: Shape {
                format: new.format.unwrap_or_default(),
                use_patch: new.use_patch.unwrap_or_default(),
                system_headers: new.update_with_system_headers.unwrap_or_default(),
                add_created_at: new.add_created_at_to_body.unwrap_or_default(),
            },
            max_retries: new.max_retries.unwrap_or(RETRIES_DEFAULT),
            secret: new.secret,
            ..NewEndpoint::new(new.url, new.events)
        }
    }
}

impl WebhookChange {
    pub(super) fn read(mut form: Form, engine: &Engine) -> Result<Self> {
        let change = WebhookChange::take(&mut form, engine);
        form.refuse_the_rest(
            "url, events, maxRetries, format, usePatch, updateWithSystemHeaders, \
             addCreatedAtToBody; activate and deactivate are operations of their own, and the \
             secret does not change",
        );
        form.finish(Some(change))
    }

    fn take(form: &mut Form, engine: &Engine) -> Self {
        let events = form.list("events", str::parse::<Subscription>);
        if events.as_ref().is_some_and(|all| !(1..=SUBSCRIPTIONS_MAX).contains(&all.len())) {
            form.wrong("events", format!("must name 1 to {SUBSCRIPTIONS_MAX} event types"));
        }
        WebhookChange {
            url: form.url("url", engine),
            events,
            max_retries: form.retries("maxRetries"),
            format: form.read("format", str::parse::<Format>),
            use_patch: form.flag("usePatch"),
            update_with_system_headers: form.flag("updateWithSystemHeaders"),
            add_created_at_to_body: form.flag("addCreatedAtToBody"),
        }
    }
}

impl From<WebhookChange> for EndpointChange {
    fn from(change: WebhookChange) -> Self {
        EndpointChange {
            url: change.url,
            events: change.events,
            format: change.format,
            use_patch: change.use_patch,
            system_headers: change.update_with_system_headers,
            add_created_at: change.add_created_at_to_body,
            max_retries: change.max_retries,
            ..EndpointChange::default()
        }
    }
}

fn retries() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("Retries after the first attempt."))
        .minimum(Some(0))
        .maximum(Some(RETRIES_MAX))
        .examples([RETRIES_DEFAULT])
}

fn max_retries() -> Object {
    retries().default(Some(RETRIES_DEFAULT.into())).build()
}

fn any_format() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "What the body is: the payload itself, `{type, timestamp, data}`, W3Block's \
             `{data, event, timestamp}`, or CloudEvents 1.0 in structured or binary mode.",
        ))
        .enum_values(Some(Format::ALL.map(|(_, name)| name)))
}

fn format() -> Object {
    any_format().default(Some(Format::default().as_str().into())).build()
}

fn events() -> Array {
    let subscription = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(128))
        .pattern(Some(r"^([A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(\.\*)?|\*)$"));
    ArrayBuilder::new()
        .items(subscription)
        .description(Some(
            "What to listen to: types, everything below a prefix (`order.*`), or everything (`*`).",
        ))
        .min_items(Some(1))
        .max_items(Some(SUBSCRIPTIONS_MAX))
        .examples([serde_json::json!(["ORDER_CREATED", "payment.*"])])
        .build()
}
