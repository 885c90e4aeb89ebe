//! What a caller asks when emitting: within which limits, and whether it is the same as before.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::engine::Rules;
use crate::error::{Error, Result};
use crate::model::{CompanyId, Event, EventId, EventType, Timestamp};
use crate::store::{Emit, Name};

/// Something that happened, as the caller tells it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What kind of thing.
    pub event_type: EventType,
    /// Any JSON value, at most 128 levels deep.
    pub payload: Bytes,
    /// The caller's own id for it, unique in the company, so that telling twice is telling once.
    pub id: Option<EventId>,
    /// The caller's key for the same purpose.
    pub idempotency_key: Option<String>,
    /// What it is about: endpoints that ask for it get the events of one key one after the other.
    pub ordering_key: Option<String>,
    /// Not to be sent before.
    pub deliver_at: Option<Timestamp>,
    /// Not to be sent from here on.
    pub expires_at: Option<Timestamp>,
}

impl NewEvent {
    /// An event without any wishes.
    pub fn new(event_type: EventType, payload: Bytes) -> Self {
        NewEvent {
            event_type,
            payload,
            id: None,
            idempotency_key: None,
            ordering_key: None,
            deliver_at: None,
            expires_at: None,
        }
    }
}

/// How deep arrays and objects of a payload may nest.
pub const DEPTH_MAX: usize = 128;
/// How long an idempotency key may be, in bytes.
pub const IDEMPOTENCY_KEY_MAX: usize = 256;
/// How long an ordering key may be, in characters.
pub const ORDERING_KEY_CHARS_MAX: usize = 256;
/// How far ahead an event may be scheduled.
pub const DELIVER_AT_MAX: Duration = Duration::from_hours(366 * 24);
/// How many events one call may emit.
pub const EVENTS_MAX: usize = 1000;
/// How large their payloads may be together, in bytes.
pub const EVENTS_BYTES_MAX: usize = 8 << 20;

impl NewEvent {
    /// Refuses what can never be accepted. Whether it has expired is told by the store: a repeat is
    /// answered as before, however late it comes.
    pub(super) fn check(&self, rules: &Rules, now: Timestamp) -> Result<()> {
        if self.payload.len() > rules.max_payload {
            return Err(Error::TooLarge { size: self.payload.len(), max: rules.max_payload });
        }
        if too_deep(&self.payload) {
            return Err(Error::invalid("data", format!("nests deeper than {DEPTH_MAX} levels")));
        }
        check_key(self.idempotency_key.as_deref())?;
        if let Some(key) = &self.ordering_key {
            check_ordering_key(key).map_err(|reason| Error::invalid("orderingKey", reason))?;
        }
        if self.deliver_at.is_some_and(|at| at > now.plus(DELIVER_AT_MAX)) {
            return Err(Error::invalid("deliverAt", "must be at most 366 days from now"));
        }
        let never_sent = self.deliver_at.zip(self.expires_at).is_some_and(|(at, end)| at >= end);
        if never_sent {
            return Err(Error::invalid("expiresAt", "must be after deliverAt"));
        }
        Ok(())
    }

    /// Of all that is asked, so that the same can be told from another.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |field: Option<&[u8]>| {
            // With its length, so that no two lists of fields look the same.
            hash.update(field.map_or(u64::MAX, |field| field.len() as u64).to_le_bytes());
            hash.update(field.unwrap_or_default());
        };
        let time = |at: Option<Timestamp>| at.map(|at| at.0.to_le_bytes());
        add(Some(self.event_type.as_str().as_bytes()));
        add(Some(&self.payload));
        add(self.ordering_key.as_deref().map(str::as_bytes));
        add(time(self.deliver_at).as_ref().map(<[u8; 8]>::as_slice));
        add(time(self.expires_at).as_ref().map(<[u8; 8]>::as_slice));
        add(self.id.map(|id| *id.uuid().as_bytes()).as_ref().map(<[u8; 16]>::as_slice));
        hash.finalize().into()
    }

    /// The emit of it; `name` is what it is known by beside its id.
    pub(super) fn into_emit(self, company: CompanyId, name: Option<Name>, now: Timestamp) -> Emit {
        let by_id = self.id.map(|id| Name { text: format!("id:{id}"), digest: self.digest() });
        let event = Event {
            id: self.id.unwrap_or_else(|| EventId::new(now)),
            company,
            event_type: self.event_type,
            payload: self.payload,
            created_at: now,
            ordering_key: self.ordering_key,
            deliver_at: self.deliver_at,
            expires_at: self.expires_at,
            operational: false,
        };
        let names = name.into_iter().chain(by_id).collect();
        Emit { id_given: self.id.is_some(), names, ..Emit::new(event) }
    }
}

/// Of all events of a call.
pub(super) fn digest_of_all(news: &[NewEvent]) -> [u8; 32] {
    let mut hash = Sha256::new();
    news.iter().for_each(|new| hash.update(new.digest()));
    hash.finalize().into()
}

/// Refuses a key that is too short or too long.
pub(super) fn check_key(key: Option<&str>) -> Result<()> {
    if key.is_none_or(|key| (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len())) {
        return Ok(());
    }
    let reason = format!("must have 1 to {IDEMPOTENCY_KEY_MAX} bytes");
    Err(Error::invalid("Idempotency-Key", reason))
}

/// Refuses an ordering key that is too short or too long, or cannot be shown.
pub fn check_ordering_key(key: &str) -> std::result::Result<(), String> {
    let fits = (1..=ORDERING_KEY_CHARS_MAX).contains(&key.chars().count());
    if fits && !key.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("must have 1 to {ORDERING_KEY_CHARS_MAX} characters, none of them control"))
}

/// Is this one JSON value, in UTF-8?
pub fn check_json(payload: &[u8]) -> Result<()> {
    serde_json::from_slice::<&serde_json::value::RawValue>(payload)
        .map(|_| ())
        .map_err(|error| Error::invalid("data", format!("is not JSON: {error}")))
}

/// Does this JSON nest deeper than [`DEPTH_MAX`]?
fn too_deep(json: &[u8]) -> bool {
    // Most payloads have fewer brackets than levels allowed, strings included: one quick count.
    let opening = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    opening > DEPTH_MAX && depth(json) > DEPTH_MAX
}

fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_everything_that_is_asked() {
        let plain = || NewEvent::new("a".parse().unwrap(), Bytes::from_static(b"1"));
        let at = Some(Timestamp(7));
        let different = [
            plain(),
            NewEvent { event_type: "b".parse().unwrap(), ..plain() },
            NewEvent { payload: Bytes::from_static(b"1 "), ..plain() },
            NewEvent { id: Some(EventId::first_at(Timestamp(7))), ..plain() },
            NewEvent { ordering_key: Some("1".to_owned()), ..plain() },
            NewEvent { deliver_at: at, ..plain() },
            NewEvent { expires_at: at, ..plain() },
        ];
        let mut digests: Vec<_> = different.iter().map(NewEvent::digest).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), different.len());
        let key = Some("k".to_owned());
        assert_eq!(NewEvent { idempotency_key: key, ..plain() }.digest(), plain().digest());
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(!too_deep(format!("\"{}\"", "[".repeat(1000)).as_bytes()));
        assert!(!too_deep(format!(r#"["\"{}"]"#, "{".repeat(1000)).as_bytes()));
        assert!(!too_deep(format!("[{}1]", "[],".repeat(1000)).as_bytes()));
    }

    #[test]
    fn only_one_json_value_in_utf8_is_json() {
        for good in ["null", " {} ", "1.10", "123456789012345678901234567890", r#"{"a":1,"a":2}"#] {
            assert!(check_json(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [&b""[..], b"{", b"{} {}", b"\xff", b"\"\xff\"", b"nul", b"01", b"'a'"] {
            assert!(check_json(bad).is_err(), "{bad:?}");
        }
    }
}
