//! What can happen. To add a commerce event, add one line to the catalogue below.

use std::fmt;
use std::str::FromStr;

/// The longest event type, in characters.
const LENGTH_MAX: usize = 128;

/// A dotted name such as `order.created`.
///
/// Companies may emit any well-formed name; the catalogue is what is documented and has a second
/// spelling, `ORDER_CREATED`, in commercio's forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(String);

/// A documented event type.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// commercio's spelling.
    pub constant: &'static str,
    /// The dotted spelling, which is the one that is stored.
    pub name: &'static str,
    /// When it is emitted.
    pub meaning: &'static str,
}

const fn known(constant: &'static str, name: &'static str, meaning: &'static str) -> Known {
    Known { constant, name, meaning }
}

/// Every documented event type.
pub const CATALOGUE: &[Known] = &[
    known("ORDER_CREATED", "order.created", "A buyer placed an order."),
    known("ORDER_STATUS_CHANGED", "order.status_changed", "An order moved to another status."),
    known("PRODUCT_CREATED", "product.created", "A product was added to the catalogue."),
    known("PRODUCT_UPDATED", "product.updated", "A product was changed."),
    known("INVENTORY_LOW", "inventory.low", "Stock fell to its reorder level."),
    known("PAYMENT_RECEIVED", "payment.received", "A payment was captured."),
    known("SHIPMENT_DELIVERED", "shipment.delivered", "A shipment reached its recipient."),
    known("CUSTOMER_CREATED", "customer.created", "A customer signed up."),
];

/// What operational endpoints hear of. To add one, add one line to [`Notice::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Every attempt of an endpoint has failed for a while.
    Failing,
    /// An endpoint that was failing is back.
    Recovered,
    /// An endpoint was disabled without anybody asking for it.
    Disabled,
    /// A delivery was given up after its retries.
    Exhausted,
}

impl Notice {
    /// Every notice with its event type and when it is told.
    pub const ALL: [(Notice, &'static str, &'static str); 4] = [
        (Notice::Failing, "endpoint.failing", "Every attempt to reach an endpoint fails."),
        (Notice::Recovered, "endpoint.recovered", "An endpoint that was failing is back."),
        (Notice::Disabled, "endpoint.disabled", "An endpoint answered 410, or failed for days."),
        (Notice::Exhausted, "delivery.exhausted", "A delivery was given up after its retries."),
    ];

    /// Its event type.
    pub fn event_type(self) -> EventType {
        let named = Self::ALL.iter().find(|(notice, ..)| *notice == self);
        EventType(named.map_or("", |(_, name, _)| name).to_owned())
    }
}

impl EventType {
    /// The stored spelling: dotted for the documented ones.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The spelling of commercio's forms: `ORDER_CREATED` for a documented type, the name itself
    /// for any other.
    pub fn constant(&self) -> &str {
        constant_of(&self.0)
    }

    /// Every subscription that hears of this type: `a.b.c`, `a.b.*`, `a.*` and `*`.
    pub fn patterns(&self) -> impl Iterator<Item = String> + '_ {
        let dots = self.0.match_indices('.').map(|(at, _)| format!("{}.*", &self.0[..at]));
        [self.0.clone(), Subscription::EVERYTHING.to_owned()].into_iter().chain(dots)
    }
}

impl FromStr for EventType {
    type Err = String;

    /// Reads either spelling.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(known) = CATALOGUE.iter().find(|known| known.constant == text) {
            return Ok(EventType(known.name.to_owned()));
        }
        if text.len() > LENGTH_MAX {
            return Err(format!("an event type has at most {LENGTH_MAX} characters"));
        }
        let named = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !text.split('.').all(named) {
            return Err("an event type is made of parts of [A-Za-z0-9_] joined by dots, such as \
                 `order.created`"
                .to_owned());
        }
        Ok(EventType(text.to_owned()))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an endpoint listens to: one event type, everything below a prefix (`order.*`, any depth),
/// or everything (`*`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subscription(String);

impl Subscription {
    /// The subscription to every event, spelled.
    pub const EVERYTHING: &'static str = "*";

    /// The subscription to every event.
    pub fn everything() -> Self {
        Subscription(Self::EVERYTHING.to_owned())
    }

    /// The stored spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The spelling of commercio's forms.
    pub fn constant(&self) -> &str {
        constant_of(&self.0)
    }

    /// Does it hear of events of this type?
    pub fn hears(&self, event_type: &EventType) -> bool {
        let beginning = self.0.strip_suffix('*');
        self.0 == event_type.0 || beginning.is_some_and(|text| event_type.0.starts_with(text))
    }
}

impl FromStr for Subscription {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::EVERYTHING {
            return Ok(Self::everything());
        }
        if let Some(prefix) = text.strip_suffix(".*") {
            let prefix: EventType = prefix.parse()?;
            return Ok(Subscription(format!("{prefix}.*")));
        }
        text.parse::<EventType>().map(|event_type| Subscription(event_type.0))
    }
}

fn constant_of(name: &str) -> &str {
    CATALOGUE.iter().find(|known| known.name == name).map_or(name, |known| known.constant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_type_is_read_from_both_spellings_and_shown_in_both() {
        for known in CATALOGUE {
            let event_type: EventType = known.name.parse().unwrap();
            assert_eq!(known.constant.parse(), Ok(event_type.clone()));
            assert_eq!((event_type.as_str(), event_type.constant()), (known.name, known.constant));
        }
    }

    #[test]
    fn every_notice_is_an_event_type() {
        for (notice, name, _) in Notice::ALL {
            assert_eq!(name.parse(), Ok(notice.event_type()));
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "a".repeat(LENGTH_MAX + 1);
        for bad in ["", ".", "order.", ".order", "order created", "a..b", "naïve", "a.*", &long] {
            assert!(bad.parse::<EventType>().is_err(), "{bad:?}");
        }
        for bad in ["", ".*", "a*", "*.a", "**", "a.*.*"] {
            assert!(bad.parse::<Subscription>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_type_is_heard_by_its_own_name_by_every_prefix_and_by_everything() {
        let event_type: EventType = "a.b.c".parse().unwrap();
        let mut patterns: Vec<_> = event_type.patterns().collect();
        patterns.sort();
        assert_eq!(patterns, ["*", "a.*", "a.b.*", "a.b.c"]);
        let hears = |text: &str| text.parse::<Subscription>().unwrap().hears(&event_type);
        assert!(patterns.iter().all(|pattern| hears(pattern)));
        assert!(!["a", "a.b", "a.b.c.*", "a.b.c.d", "b.*", "a.bb.*"].into_iter().any(hears));
    }
}
