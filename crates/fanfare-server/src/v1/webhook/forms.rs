//! Endpoints as they are registered and changed.

use std::sync::Arc;
use std::time::Duration;

use fanfare::Engine;
use fanfare::engine::{
    COALESCE_DEFAULT, COALESCE_MAX, IN_FLIGHT_MAX, NewEndpoint, OwnChange, RATE_MAX,
    RETRIES_DEFAULT, SUBSCRIPTIONS_MAX,
};
use fanfare::model::filter::Filter;
use fanfare::model::{
    Address, EndpointChange, Flow, Format, Ordering, OwnHeaders, OwnTls, Shape, Subscription,
};
use fanfare::sign::Secret;
use utoipa::ToSchema;

use super::schema;
use crate::error::Result;
use crate::form::Form;

/// The spellings of `coalesce`.
pub(super) const COALESCE: [&str; 2] = ["none", "key"];

/// The fields that a registration and a change have in common, for people.
const FIELDS: &str = "url, events, filter, maxRetries, format, usePatch, \
                      updateWithSystemHeaders, addCreatedAtToBody, addAsymmetricSignature, \
                      rateLimit, maxInFlight, ordering, coalesce, coalesceWindowMs, operational, \
                      headers, tls";

/// An endpoint to register.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase",
    example = json!({"url": "https://example.com/hooks", "events": ["ORDER_CREATED", "payment.*"]}))]
#[expect(dead_code, reason = "described here; `new` reads it into the engine's own form")]
pub(crate) struct NewWebhook {
    /// An absolute `https` URL, with a host, without user information or fragment.
    #[schema(value_type = String, max_length = 2048, example = "https://example.com/hooks")]
    url: Address,
    #[schema(schema_with = schema::events)]
    events: Vec<Subscription>,
    /// `whsec_` and the base64 of 24 to 64 bytes; generated when it is not given.
    #[schema(value_type = Option<String>, write_only,
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA=")]
    secret: Option<Secret>,
    #[schema(schema_with = schema::filter)]
    filter: Option<Filter>,
    #[schema(schema_with = schema::max_retries)]
    max_retries: Option<u32>,
    #[schema(schema_with = schema::format)]
    format: Option<Format>,
    /// PATCH instead of POST; false by default.
    use_patch: Option<bool>,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`; false by default.
    update_with_system_headers: Option<bool>,
    /// Add the event's `createdAt` to a body that is an object; false by default.
    add_created_at_to_body: Option<bool>,
    /// Also sign with an Ed25519 key of the endpoint's own (`v1a`); false by default.
    add_asymmetric_signature: Option<bool>,
    #[schema(schema_with = schema::rate_limit)]
    rate_limit: Option<u32>,
    #[schema(schema_with = schema::max_in_flight)]
    max_in_flight: Option<u32>,
    #[schema(schema_with = schema::ordering)]
    ordering: Option<Ordering>,
    #[schema(schema_with = schema::coalesce)]
    coalesce: Option<String>,
    #[schema(schema_with = schema::coalesce_window)]
    coalesce_window_ms: Option<u32>,
    /// Hear of `endpoint.failing`, `endpoint.disabled`, `endpoint.recovered` and
    /// `delivery.exhausted` of the company's other endpoints, as far as `events` lists them, and of
    /// nothing else; false by default.
    operational: Option<bool>,
    #[schema(schema_with = schema::headers)]
    headers: Option<OwnHeaders>,
    #[schema(schema_with = schema::tls)]
    tls: Option<OwnTls>,
}

/// What to change of an endpoint; what is not given stays as it is. Where null has a meaning of its
/// own, it lifts the limit or the filter; elsewhere it counts as not given.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"events": ["order.*"], "maxRetries": 8}))]
#[expect(dead_code, reason = "described here; `change` reads it into the engine's own form")]
pub(crate) struct WebhookChange {
    /// An absolute `https` URL, with a host, without user information or fragment.
    #[schema(value_type = Option<String>, max_length = 2048,
        example = "https://example.com/hooks")]
    url: Option<Address>,
    #[schema(schema_with = schema::events)]
    events: Option<Vec<Subscription>>,
    #[schema(schema_with = schema::filter)]
    filter: Option<Filter>,
    #[schema(schema_with = schema::any_retries)]
    max_retries: Option<u32>,
    #[schema(schema_with = schema::any_format)]
    format: Option<Format>,
    /// PATCH instead of POST.
    use_patch: Option<bool>,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`.
    update_with_system_headers: Option<bool>,
    /// Add the event's `createdAt` to a body that is an object.
    add_created_at_to_body: Option<bool>,
    /// Also sign with an Ed25519 key of the endpoint's own (`v1a`). `false` forgets the key at once.
    add_asymmetric_signature: Option<bool>,
    #[schema(schema_with = schema::rate_limit)]
    rate_limit: Option<u32>,
    #[schema(schema_with = schema::max_in_flight)]
    max_in_flight: Option<u32>,
    #[schema(schema_with = schema::any_ordering)]
    ordering: Option<Ordering>,
    #[schema(schema_with = schema::any_coalesce)]
    coalesce: Option<String>,
    #[schema(schema_with = schema::coalesce_window)]
    coalesce_window_ms: Option<u32>,
    /// Hear of what befalls the company's other endpoints, and of nothing else.
    operational: Option<bool>,
    #[schema(schema_with = schema::headers)]
    headers: Option<OwnHeaders>,
    #[schema(schema_with = schema::tls)]
    tls: Option<OwnTls>,
}

/// Reads an endpoint to register.
pub(in crate::v1) fn new(mut form: Form, engine: &Engine) -> Result<NewEndpoint> {
    form.require("url");
    form.require("events");
    let secret = form.read("secret", str::parse::<Secret>);
    let (change, own) = take(&mut form, engine);
    form.refuse_the_rest(&format!("{FIELDS}, secret"));
    let told = change.url.clone().zip(change.events.clone());
    form.finish(told.map(|(url, events)| NewEndpoint {
        filter: change.filter.flatten(),
        shape: Shape {
            format: change.format.unwrap_or_default(),
            use_patch: change.use_patch.unwrap_or_default(),
            system_headers: change.system_headers.unwrap_or_default(),
            add_created_at: change.add_created_at.unwrap_or_default(),
        },
        max_retries: change.max_retries.unwrap_or(RETRIES_DEFAULT),
        flow: Flow {
            rate_limit: change.rate_limit.flatten(),
            max_in_flight: change.max_in_flight.flatten(),
            ordering: change.ordering.unwrap_or_default(),
            coalesce: change.coalesce.flatten(),
        },
        operational: change.operational.unwrap_or_default(),
        secret,
        asymmetric: own.asymmetric.unwrap_or_default(),
        headers: own.headers.unwrap_or_default(),
        tls: own.tls.unwrap_or_default(),
        ..NewEndpoint::new(url, events)
    }))
}

/// Reads a change, and that of what is kept sealed.
pub(in crate::v1) fn change(
    mut form: Form,
    engine: &Engine,
) -> Result<(EndpointChange, OwnChange)> {
    let read = take(&mut form, engine);
    form.refuse_the_rest(&format!(
        "{FIELDS}; activate, deactivate and secret/rotate are operations of their own"
    ));
    form.finish(Some(read))
}

fn take(form: &mut Form, engine: &Engine) -> (EndpointChange, OwnChange) {
    let events = form.list("events", str::parse::<Subscription>);
    if events.as_ref().is_some_and(|all| !(1..=SUBSCRIPTIONS_MAX).contains(&all.len())) {
        form.wrong("events", format!("must name 1 to {SUBSCRIPTIONS_MAX} event types"));
    }
    let change = EndpointChange {
        url: form.url("url", engine),
        events,
        filter: form.or_null("filter", |form| form.filter("filter").map(Arc::new)),
        format: form.read("format", str::parse::<Format>),
        use_patch: form.flag("usePatch"),
        system_headers: form.flag("updateWithSystemHeaders"),
        add_created_at: form.flag("addCreatedAtToBody"),
        max_retries: form.retries("maxRetries"),
        rate_limit: form.or_null("rateLimit", |form| form.whole("rateLimit", 1..=RATE_MAX)),
        max_in_flight: form
            .or_null("maxInFlight", |form| form.whole("maxInFlight", 1..=IN_FLIGHT_MAX)),
        ordering: form.read("ordering", str::parse::<Ordering>),
        coalesce: coalesce(form),
        operational: form.flag("operational"),
        ..EndpointChange::default()
    };
    let own = OwnChange {
        asymmetric: form.flag("addAsymmetricSignature"),
        headers: form
            .or_null("headers", |form| form.headers("headers"))
            .map(Option::unwrap_or_default),
        tls: form.or_null("tls", tls).map(Option::unwrap_or_default),
    };
    (change, own)
}

fn tls(form: &mut Form) -> Option<OwnTls> {
    let mut object = form.open("tls")?;
    let tls = OwnTls {
        ca_certificate: object.text("caCertificate"),
        client_certificate: object.text("clientCertificate"),
        client_key: object.text("clientKey").map(Into::into),
    };
    object.refuse_the_rest("caCertificate, clientCertificate, clientKey");
    form.close("tls", object);
    Some(tls)
}

fn coalesce(form: &mut Form) -> Option<Option<Duration>> {
    let coalesces = form.read("coalesce", |text| match text {
        "none" => Ok(false),
        "key" => Ok(true),
        _ => Err(format!("must be one of: {}", COALESCE.join(", "))),
    });
    let window_max = u32::try_from(millis(COALESCE_MAX)).unwrap_or(u32::MAX);
    let window = form.whole("coalesceWindowMs", 0..=window_max);
    if window.is_some() && coalesces != Some(true) {
        form.wrong("coalesceWindowMs", "has an effect only with `coalesce: key`; give both");
    }
    let window = window.map_or(COALESCE_DEFAULT, |ms| Duration::from_millis(ms.into()));
    coalesces.map(|coalesces| coalesces.then_some(window))
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
