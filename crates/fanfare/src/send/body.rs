//! Bodies: each a function of the event and the delivery's shape alone, so that every attempt of a
//! delivery has the same bytes. The payload goes in as it came.

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::model::{Event, Format, Shape};

/// The body of every attempt of a delivery with this event and shape.
pub fn body(event: &Event, shape: Shape) -> Bytes {
    let bytes = match shape.format {
        Format::Payload | Format::CloudEventsBinary => event.payload.clone(),
        Format::Standard => standard(event),
        Format::W3block => w3block(event),
        Format::CloudEvents => cloud_events(event),
    };
    // A CloudEvent says it in `time`, and its attributes have lower-case names only.
    if shape.add_created_at && shape.format != Format::CloudEvents {
        with_created_at(&bytes, event)
    } else {
        bytes
    }
}

/// The source attribute of CloudEvents: the company as a URI (CloudEvents 1.0, section "source").
pub(crate) fn cloud_events_source(event: &Event) -> String {
    format!("urn:uuid:{}", event.company)
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>,
/// section "Payload structure".
fn standard(event: &Event) -> Bytes {
    let head =
        format!(r#"{{"type":"{}","timestamp":"{}","data":"#, event.event_type, event.created_at);
    enclose(&head, &event.payload, "}")
}

fn w3block(event: &Event) -> Bytes {
    let tail = format!(r#","event":"{}","timestamp":{}}}"#, event.event_type, event.created_at.0);
    enclose(r#"{"data":"#, &event.payload, &tail)
}

/// CloudEvents 1.0, JSON event format, structured mode.
fn cloud_events(event: &Event) -> Bytes {
    let head = format!(
        r#"{{"specversion":"1.0","id":"{}","source":"{}","type":"{}","time":"{}","datacontenttype":"application/json","data":"#,
        event.id,
        cloud_events_source(event),
        event.event_type,
        event.created_at
    );
    enclose(&head, &event.payload, "}")
}

fn enclose(head: &str, payload: &[u8], tail: &str) -> Bytes {
    Bytes::from([head.as_bytes(), payload, tail.as_bytes()].concat())
}

/// Adds `createdAt` to the end of a body that is an object and has none of its own.
fn with_created_at(body: &Bytes, event: &Event) -> Bytes {
    let Some(members) = members_without_created_at(body) else { return body.clone() };
    let Some(end) = body.iter().rposition(|byte| *byte == b'}') else { return body.clone() };
    let comma = if members == 0 { "" } else { "," };
    let tail = format!(r#"{comma}"createdAt":"{}"}}"#, event.created_at);
    enclose("", &body[..end], &tail)
}

/// How many members an object has; `None` for anything else, and where `createdAt` is one of them.
fn members_without_created_at(json: &[u8]) -> Option<usize> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Option<usize>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut count, mut has_created_at) = (0, false);
            while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                map.next_value::<IgnoredAny>()?;
                has_created_at |= name == "createdAt";
                count += 1;
            }
            Ok((!has_created_at).then_some(count))
        }
    }
    serde_json::Deserializer::from_slice(json).deserialize_map(Members).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CompanyId, EventId, Timestamp};

    fn event(payload: &'static str) -> Event {
        let id = "01980000-0000-7000-8000-000000000001";
        let names = (id.parse::<CompanyId>().unwrap(), id.parse::<EventId>().unwrap());
        let event_type = "ORDER_CREATED".parse().unwrap();
        Event::new(names, event_type, Bytes::from(payload), Timestamp(1_751_680_331_613))
    }

    fn body_of(payload: &'static str, format: Format, add_created_at: bool) -> String {
        let shape = Shape { format, add_created_at, ..Shape::default() };
        String::from_utf8(body(&event(payload), shape).to_vec()).unwrap()
    }

    #[test]
    fn the_payload_stands_in_every_body_as_it_came() {
        let payload = r#"{ "a": 1.10, "a": 12345678901234567890, "é": "\u00e9" }"#;
        for (format, _) in Format::ALL {
            assert!(body_of(payload, format, false).contains(payload), "{format:?}");
        }
        assert_eq!(body_of(payload, Format::Payload, false), payload);
        assert_eq!(body_of(payload, Format::CloudEventsBinary, false), payload);
    }

    #[test]
    fn envelopes_name_the_dotted_type_and_the_time_of_the_event() {
        assert_eq!(
            body_of("{}", Format::W3block, false),
            r#"{"data":{},"event":"order.created","timestamp":1751680331613}"#
        );
        assert_eq!(
            body_of("[1]", Format::Standard, false),
            r#"{"type":"order.created","timestamp":"2025-07-05T01:52:11.613Z","data":[1]}"#
        );
        let cloud: serde_json::Value =
            serde_json::from_str(&body_of("null", Format::CloudEvents, false)).unwrap();
        assert_eq!(cloud["specversion"], "1.0");
        assert_eq!(cloud["type"], "order.created");
        assert_eq!(cloud["source"], "urn:uuid:01980000-0000-7000-8000-000000000001");
        assert_eq!(cloud["data"], serde_json::Value::Null);
    }

    #[test]
    fn created_at_is_added_to_objects_that_have_none() {
        let added = r#""createdAt":"2025-07-05T01:52:11.613Z"}"#;
        assert_eq!(body_of("{}", Format::Payload, true), format!("{{{added}"));
        assert_eq!(
            body_of(r#"{"a":"}"} "#, Format::Payload, true),
            format!(r#"{{"a":"}}",{added}"#)
        );
        for same in ["[]", "null", "\"{}\"", r#"{"createdAt":1}"#, r#"{"created\u0041t":1}"#] {
            assert_eq!(body_of(same, Format::Payload, true), same);
        }
        assert!(body_of("1", Format::W3block, true).ends_with(added));
        let cloud = |add_created_at| body_of("{}", Format::CloudEvents, add_created_at);
        assert_eq!(cloud(true), cloud(false));
    }
}
