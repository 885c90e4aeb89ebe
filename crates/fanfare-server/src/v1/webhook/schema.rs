//! How the fields of endpoints are described.

use fanfare::engine::{
    COALESCE_DEFAULT, COALESCE_MAX, IN_FLIGHT_MAX, RATE_MAX, RETRIES_DEFAULT, RETRIES_MAX,
    SUBSCRIPTIONS_MAX,
};
use fanfare::model::{Format, MASK, OWN_HEADER_VALUE_MAX, OWN_HEADERS_MAX, Ordering};
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type};

use super::forms::{COALESCE, millis};

/// An authority that vouches for nobody.
const EXAMPLE_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBkDCCATWgAwIBAgIUYY4AnagHUZIWolTkBC1veP8D0XAwCgYIKoZIzj0EAwIw\n\
HDEaMBgGA1UEAwwRRXhhbXBsZSBhdXRob3JpdHkwIBcNMjYxMTIyMDk1MDIwWhgP\n\
Mjk4NTAyMjcwOTUwMjBaMBwxGjAYBgNVBAMMEUV4YW1wbGUgYXV0aG9yaXR5MFkw\n\
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFoic1IVw8/c0jqXDl3ETj9zj6b4+/YQ4\n\
LltY/pAxA0u+kgpkNqc52Ajs7ZizNZLit+sGKqXtIBMMC1aOjJorU6NTMFEwHQYD\n\
VR0OBBYEFPL23owDJ0HOk0pm9aVgtIEaEPKpMB8GA1UdIwQYMBaAFPL23owDJ0HO\n\
k0pm9aVgtIEaEPKpMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIh\n\
ALSgw1NbDe5QN8B8t1TaGetqH1rvQdKpRTuy95kBM1vbAiEAsnZfNMGZ2O0CK1FH\n\
8cSrqwMyWElv01nZdgaL4iHDCCo=\n\
-----END CERTIFICATE-----\n";

fn retries() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("Retries after the first attempt."))
        .minimum(Some(0))
        .maximum(Some(RETRIES_MAX))
        .examples([RETRIES_DEFAULT])
}

pub(super) fn any_retries() -> Object {
    retries().build()
}

pub(super) fn max_retries() -> Object {
    retries().default(Some(RETRIES_DEFAULT.into())).build()
}

pub(super) fn any_format() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "What the body is: the payload itself, `{type, timestamp, data}`, W3Block's \
             `{data, event, timestamp}`, or CloudEvents 1.0 in structured or binary mode.",
        ))
        .enum_values(Some(Format::ALL.map(|(_, name)| name)))
}

pub(super) fn format() -> Object {
    any_format().default(Some(Format::default().as_str().into())).build()
}

pub(super) fn events() -> Array {
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

/// An object or null.
pub(in crate::v1) fn filter() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(
            "Which of the events that it listens to, by their payloads: conditions on paths, all \
             of which must hold. A value means equality; operators are `$eq`, `$ne`, `$gt`, \
             `$gte`, `$lt`, `$lte`, `$in`, `$nin`, `$startsWith`, `$endsWith`, `$exists` and \
             `$not`, and `$and`, `$or`, `$nor` and `$not` join filters. Null lets all through.",
        ))
        .examples([serde_json::json!(
            {"customer.country": {"$in": ["BR", "PT"]}, "total": {"$gte": 100}}
        )])
        .build()
}

/// A whole number from 1, or null for no limit.
fn limit(max: u32, description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .description(Some(description))
        .minimum(Some(1))
        .maximum(Some(max))
        .build()
}

pub(super) fn rate_limit() -> Object {
    limit(RATE_MAX, "Requests a second at most; null for no limit.")
}

pub(super) fn max_in_flight() -> Object {
    limit(IN_FLIGHT_MAX, "Requests in flight at most; null for the server's own limit.")
}

pub(super) fn any_ordering() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "What arrives one after the other, in the order in which it was accepted: nothing, \
             the events of one `orderingKey`, or everything. Holds for later events.",
        ))
        .enum_values(Some(Ordering::ALL.map(|(_, name)| name)))
}

pub(super) fn ordering() -> Object {
    any_ordering().default(Some(Ordering::default().as_str().into())).build()
}

pub(super) fn any_coalesce() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "Whether deliveries wait for newer ones of the same type and `orderingKey`, which are \
             then sent instead of them. Holds for later events.",
        ))
        .enum_values(Some(COALESCE))
}

pub(super) fn coalesce() -> Object {
    any_coalesce().default(Some("none".into())).build()
}

pub(super) fn coalesce_window() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some(
            "How long deliveries wait for newer ones, in milliseconds. Given together with \
             `coalesce: key`.",
        ))
        .minimum(Some(0))
        .maximum(Some(millis(COALESCE_MAX)))
        .default(Some(millis(COALESCE_DEFAULT).into()))
        .build()
}

/// An object of strings, or null.
pub(super) fn headers() -> Object {
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(OWN_HEADER_VALUE_MAX));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(
            "Headers that go with every request, such as `authorization`: at most 20, with names of \
             at most 128 and values of at most 2,048 printable ASCII characters, 8 KiB in all. \
             Values are kept sealed and shown as `***`; given as `***`, a value stays as it is. \
             What frames, signs or routes a request is not to be given: `host`, `connection`, \
             `user-agent`, `date`, `accept-encoding`, `content-*`, `proxy-*`, `webhook-*`, `ce-*`, \
             `x-w3block-*`, `x-forwarded-*` and the like. A change replaces all of them; null or \
             `{}` removes them.",
        ))
        .additional_properties(Some(value))
        .max_properties(Some(OWN_HEADERS_MAX))
        .examples([serde_json::json!({"authorization": "Bearer 1a2b3c"})])
        .build()
}

/// An object, or null.
pub(super) fn tls() -> Object {
    let text = |description: &'static str, example: &'static str| {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some(description))
            .examples([example])
    };
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(
            "Certificates of the endpoint's own, as PEM, 32 KiB in all. Kept sealed. For https URLs \
             alone. A change replaces all of it; null or `{}` removes it.",
        ))
        .property(
            "caCertificate",
            text(
                "Certificates of authorities. Only these are trusted then, and not those of the \
                 machine.",
                EXAMPLE_AUTHORITY,
            ),
        )
        .property(
            "clientCertificate",
            text(
                "What connections show (mTLS), with the certificates in between behind it.",
                EXAMPLE_AUTHORITY,
            ),
        )
        .property(
            "clientKey",
            text(
                "The key of `clientCertificate`, not encrypted. Shown as `***`; given as `***`, it \
                 stays as it is.",
                MASK,
            ),
        )
        .build()
}
