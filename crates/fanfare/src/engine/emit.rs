//! The beginning of the road: validate an event and store it.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::finish::finish;
use crate::engine::{Engine, World, dispatch};
use crate::error::{Error, Result};
use crate::model::{CompanyId, Event, EventId, EventType, LaneKey, Timestamp};
use crate::store::{Accepted, Admission, Emit, Receipt};

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

impl Engine {
    /// Accepts an event. Once this returns, the event and all its deliveries are on disk.
    ///
    /// The payload is trusted to be JSON: whoever has parsed it already need not do so twice.
    /// [`check_json`] is for the others.
    pub async fn emit(&self, company: CompanyId, new: NewEvent) -> Result<Receipt> {
        let world = &self.world;
        world.refuse_while_draining()?;
        check_limits(&new, world.rules.max_payload)?;
        let now = world.clock.now();
        let id_given = new.id.is_some();
        let event = Event {
            id: new.id.unwrap_or_else(|| EventId::new(now)),
            company,
            event_type: new.event_type,
            payload: new.payload,
            created_at: now,
            ordering_key: new.ordering_key,
            deliver_at: new.deliver_at,
            expires_at: new.expires_at,
            operational: false,
        };
        let emit = Emit { event, id_given, key: new.idempotency_key };
        finish(world, Arc::clone(world).accept(emit)).await
    }
}

impl World {
    async fn accept(self: Arc<Self>, emit: Emit) -> Result<Receipt> {
        let (id, company, now) = (emit.event.id, emit.event.company, emit.event.created_at);
        let key_given = emit.key.is_some();
        match self.store.accept(emit, &self.admission()).await? {
            Accepted::New { claims, waiting } => {
                self.metrics.accepted.inc();
                let deliveries = claims.len() + waiting.len();
                let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
                let waiting = waiting.into_iter().map(|endpoint| LaneKey { company, endpoint });
                dispatch::take_in(&self, claims, waiting, now);
                Ok(Receipt { id, created_at: now, deliveries })
            }
            Accepted::Repeat(receipt) => Ok(receipt),
            Accepted::Conflict(_) => {
                let what = if key_given { "Idempotency-Key" } else { "id" };
                Err(Error::Conflict { what })
            }
        }
    }

    fn admission(self: &Arc<Self>) -> Admission {
        let world = Arc::clone(self);
        let may_claim = Arc::new(move |endpoint| {
            world.delivers() && world.lanes().admits(endpoint, world.clock.now())
        });
        Admission { lease: self.lease(), may_claim }
    }
}

fn check_limits(new: &NewEvent, max_payload: usize) -> Result<()> {
    if new.payload.len() > max_payload {
        return Err(Error::TooLarge { size: new.payload.len(), max: max_payload });
    }
    if too_deep(&new.payload) {
        return Err(Error::invalid("data", format!("nests deeper than {DEPTH_MAX} levels")));
    }
    let key_length = new.idempotency_key.as_ref().map_or(1, String::len);
    if !(1..=IDEMPOTENCY_KEY_MAX).contains(&key_length) {
        let reason = format!("must have 1 to {IDEMPOTENCY_KEY_MAX} bytes");
        return Err(Error::invalid("Idempotency-Key", reason));
    }
    Ok(())
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
