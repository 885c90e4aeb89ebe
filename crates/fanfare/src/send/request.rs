//! Builds and signs the request of one attempt.

use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use crate::model::{Claim, Event, Format, Headers, MASK, Timestamp};
use crate::send::body::{body, cloud_events_source};
use crate::send::{Own, Request};
use crate::sign::Signers;

const FANFARE: HeaderValue =
    HeaderValue::from_static(concat!("Fanfare/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLOUD_EVENTS_JSON: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_SEQUENCE: HeaderName = HeaderName::from_static("webhook-sequence");
const WEBHOOK_EVENT: HeaderName = HeaderName::from_static("webhook-event");
const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const W3BLOCK_SIGNATURE: HeaderName = HeaderName::from_static("x-w3block-commerce-signature");

/// The request of the next attempt of a delivery, signed at `now`.
pub fn request(claim: &Claim, signers: &Signers, own: &Own, now: Timestamp) -> Request {
    let (event, shape) = (&claim.event, claim.shape);
    let body = body(event, shape);
    let id = event.id.to_string();
    let timestamp_secs = now.as_secs();
    let signature = signers.standard(&id, timestamp_secs, &body);

    let mut headers = HeaderMap::with_capacity(12);
    // Before ours, which stand whatever is among these.
    if let Some(own) = &own.headers {
        headers.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    headers.insert(USER_AGENT, FANFARE);
    let cloud_events = shape.format == Format::CloudEvents;
    headers.insert(CONTENT_TYPE, if cloud_events { CLOUD_EVENTS_JSON } else { JSON });
    headers.insert(WEBHOOK_ID, value(&id));
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp_secs));
    headers.insert(WEBHOOK_SIGNATURE, value(&signature));
    headers.insert(WEBHOOK_SEQUENCE, HeaderValue::from(claim.sequence));
    if shape.format == Format::Payload || shape.system_headers {
        headers.insert(WEBHOOK_EVENT, value(event.event_type.constant()));
    }
    if shape.system_headers {
        headers.insert(WEBHOOK_DELIVERY, value(&claim.delivery.to_string()));
        headers.insert(WEBHOOK_ATTEMPT, HeaderValue::from(claim.attempts + 1));
    }
    match shape.format {
        Format::W3block => {
            headers.insert(W3BLOCK_SIGNATURE, value(&signers.w3block(&body)));
        }
        Format::CloudEventsBinary => add_cloud_events(&mut headers, event, &id),
        _ => {}
    }

    let method = if shape.use_patch { Method::PATCH } else { Method::POST };
    let endpoint = &claim.endpoint;
    let (company, url) = (endpoint.company, endpoint.url.url().clone());
    Request { company, method, url, headers, body, identity: own.identity.clone() }
}

/// Headers as the history shows them: those of the endpoint's own with their values masked.
pub fn shown(headers: &HeaderMap) -> Headers {
    let shown = |value: &HeaderValue| match value.is_sensitive() {
        true => MASK.to_owned(),
        false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    headers.iter().map(|(name, value)| (name.as_str(), shown(value))).collect()
}

/// CloudEvents 1.0, HTTP protocol binding, binary mode.
fn add_cloud_events(headers: &mut HeaderMap, event: &Event, id: &str) {
    let attributes = [
        (HeaderName::from_static("ce-specversion"), HeaderValue::from_static("1.0")),
        (HeaderName::from_static("ce-id"), value(id)),
        (HeaderName::from_static("ce-source"), value(&cloud_events_source(event))),
        (HeaderName::from_static("ce-type"), value(event.event_type.as_str())),
        (HeaderName::from_static("ce-time"), value(&event.created_at.to_string())),
    ];
    headers.extend(attributes);
}

/// A header value of ours: ids, types, times and signatures are all printable ASCII.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
