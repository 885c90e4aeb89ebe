//! Typed ids: UUIDs of version 7, so that the order of ids is the order of making.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::model::Timestamp;

/// Bits of a version 7 id behind its milliseconds that count up within one millisecond
/// (RFC 9562, section 6.2, method 1).
const COUNTER_BITS: u32 = 12;

macro_rules! id {
    ($name:ident, $what:literal) => {
        #[doc = concat!("Names ", $what, ".")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, larger than every id this process made before.
            pub fn new(now: Timestamp) -> Self {
                Self(mint(now))
            }

            /// The id with these bytes.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The smallest id that can be made at this moment.
            pub fn first_at(moment: Timestamp) -> Self {
                let millis = u64::try_from(moment.0).unwrap_or(0);
                Self(Uuid::from_u64_pair(millis << 16, 0))
            }

            /// The id as a UUID.
            pub fn uuid(self) -> Uuid {
                self.0
            }

            /// When the id was made: the milliseconds that version 7 begins with.
            pub fn made_at(self) -> Timestamp {
                let (high, _) = self.0.as_u64_pair();
                Timestamp(i64::try_from(high >> 16).unwrap_or(i64::MAX))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Reads the hyphenated form and no other, so that one thing has one spelling.
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                uuid::fmt::Hyphenated::from_str(text).map(|id| Self(id.into_uuid()))
            }
        }
    };
}

id!(CompanyId, "a company: a tenant");
id!(EndpointId, "an endpoint");
id!(EventId, "an event");
id!(DeliveryId, "a delivery");
id!(ReplayId, "a replay of many deliveries");
id!(ApiKeyId, "an API key");
id!(AuditId, "an entry of the audit log");

/// Milliseconds and counter of the newest id, so that ids of one process never step back, even
/// when its clock does. One for the process, like the clock itself.
static NEWEST: AtomicU64 = AtomicU64::new(0);

fn mint(now: Timestamp) -> Uuid {
    let floor = u64::try_from(now.0).unwrap_or(0) << COUNTER_BITS;
    let step = |newest: u64| Some(floor.max(newest + 1));
    let before = NEWEST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    let packed = before.map_or(floor, |newest| floor.max(newest + 1));
    let random = Uuid::new_v4().as_u64_pair().1;
    let (millis, counter) = (packed >> COUNTER_BITS, packed & ((1 << COUNTER_BITS) - 1));
    Uuid::from_u64_pair(millis << 16 | 0x7000 | counter, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_within_a_millisecond_and_when_the_clock_steps_back() {
        let at = Timestamp(4_000_000_000_000);
        let ids: Vec<EventId> =
            (0..10_000).map(|n| EventId::new(Timestamp(at.0 - n % 2))).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].uuid().get_version_num(), 7);
        assert_eq!(ids[0].uuid().get_variant(), uuid::Variant::RFC4122);
        assert!(ids[0].made_at() >= at);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = EventId::new(Timestamp(0));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", &id.uuid().simple().to_string(), &format!("{{{id}}}"), "x'--"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
