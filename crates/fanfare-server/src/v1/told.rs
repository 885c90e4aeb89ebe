//! Events as callers tell them: taken apart without copying their payloads.

use std::borrow::Cow;

use bytes::Bytes;
use fanfare::Timestamp;
use fanfare::engine::{EVENTS_MAX, NewEvent, check_ordering_key};
use fanfare::model::{EventId, EventType};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::error::{ApiError, Result};

/// What is wrong with a field.
type Read<T> = std::result::Result<T, String>;

/// An event, not yet looked into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Told<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Option<&'a RawValue>,
    /// `null` is a payload like any other.
    #[serde(borrow, default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    ordering_key: Option<&'a RawValue>,
    #[serde(borrow)]
    deliver_at: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
}

/// Several of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Several<'a> {
    #[serde(borrow)]
    events: Option<&'a RawValue>,
}

/// The event that a body tells.
pub(super) fn one(body: &Bytes) -> Result<NewEvent> {
    let told = object::<Told<'_>>(body)?;
    told.read(body).map_err(ApiError::invalid)
}

/// The events that a body tells.
pub(super) fn several(body: &Bytes) -> Result<Vec<NewEvent>> {
    let count = || ApiError::invalid_field("events", format!("must be 1 to {EVENTS_MAX} events"));
    let list = object::<Several<'_>>(body)?.events.ok_or_else(count)?;
    let list: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|_| count())?;
    if !(1..=EVENTS_MAX).contains(&list.len()) {
        return Err(count());
    }
    let (mut news, mut wrong) = (Vec::with_capacity(list.len()), Vec::new());
    for (at, raw) in list.into_iter().enumerate() {
        match element(raw).map(|told| told.read(body)) {
            Ok(Ok(new)) => news.push(new),
            Ok(Err(reasons)) => {
                wrong.extend(reasons.into_iter().map(|reason| format!("events[{at}].{reason}")));
            }
            Err(reason) => wrong.push(format!("events[{at}]: {reason}")),
        }
    }
    if wrong.is_empty() { Ok(news) } else { Err(ApiError::invalid(wrong)) }
}

/// The object that a body is.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T> {
    // serde would take a list for a struct, too.
    if body.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(ApiError::invalid_field("body", "must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => ApiError::invalid_field("body", error),
        Category::Io | Category::Syntax | Category::Eof => ApiError::malformed_json(error),
    })
}

fn element(raw: &RawValue) -> Read<Told<'_>> {
    if !raw.get().starts_with('{') {
        return Err("must be a JSON object".to_owned());
    }
    serde_json::from_str(raw.get()).map_err(|error| error.to_string())
}

impl Told<'_> {
    /// The event, its payload a slice of the body.
    fn read(&self, body: &Bytes) -> std::result::Result<NewEvent, Vec<String>> {
        let mut wrong = Vec::new();
        let event_type = self
            .event_type
            .map_or_else(|| Err("is required".to_owned()), |raw| text(raw)?.parse::<EventType>());
        let event_type = event_type.map_err(|reason| wrong.push(format!("type: {reason}"))).ok();
        let id = field(("id", self.id), &mut wrong, |text| {
            text.parse::<EventId>().map_err(|_| "must be a UUID".to_owned())
        });
        let ordering_key = field(("orderingKey", self.ordering_key), &mut wrong, |text| {
            check_ordering_key(text).map(|()| text.to_owned())
        });
        let deliver_at = field(("deliverAt", self.deliver_at), &mut wrong, str::parse::<Timestamp>);
        let expires_at = field(("expiresAt", self.expires_at), &mut wrong, str::parse::<Timestamp>);
        if self.data.is_none() {
            wrong.push("data: is required; null counts".to_owned());
        }
        match (event_type, self.data) {
            (Some(event_type), Some(data)) if wrong.is_empty() => {
                let payload = body.slice_ref(data.get().as_bytes());
                let plain = NewEvent::new(event_type, payload);
                Ok(NewEvent { id, ordering_key, deliver_at, expires_at, ..plain })
            }
            _ => Err(wrong),
        }
    }
}

/// A string, read; what is wrong with it is noted.
fn field<T>(
    (name, raw): (&str, Option<&RawValue>),
    wrong: &mut Vec<String>,
    read: impl FnOnce(&str) -> Read<T>,
) -> Option<T> {
    let value = text(raw?).and_then(|text| read(&text));
    value.map_err(|reason| wrong.push(format!("{name}: {reason}"))).ok()
}

pub(super) fn even_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The text of a JSON string. One without escapes is not copied.
pub(super) fn text(raw: &RawValue) -> Read<Cow<'_, str>> {
    let json = raw.get();
    let inner = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(json).map(Cow::Owned).map_err(|error| error.to_string()),
        None => Err("must be a string".to_owned()),
    }
}
