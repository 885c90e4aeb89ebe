//! Who listens, and how they want to be told.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

use crate::model::{CompanyId, EndpointId, EventType, Subscription, Timestamp};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// Its name in paths and tokens.
    pub id: CompanyId,
    /// What people call it; empty until set.
    pub name: String,
    /// When it was first named by a successful write.
    pub created_at: Timestamp,
    /// When its name was last set.
    pub updated_at: Timestamp,
}

/// A URL as it was typed, which is how it is shown, and as it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    url: Url,
}

impl Address {
    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As it is used.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl FromStr for Address {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, url::ParseError> {
        Ok(Address { text: text.to_owned(), url: text.parse()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A lane's name: an endpoint and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    /// Whose.
    pub company: CompanyId,
    /// Which.
    pub endpoint: EndpointId,
}

/// Where a company wants its events posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub id: EndpointId,
    /// Whose it is.
    pub company: CompanyId,
    /// Where to post.
    pub url: Address,
    /// The signing secret, sealed.
    pub secret: SealedSecret,
    /// What it listens to; never empty.
    pub events: Vec<Subscription>,
    /// How the requests of its next events look.
    pub shape: Shape,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// Since when and why it receives nothing; `None` while it is enabled.
    pub disabled: Option<Disabled>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Why an endpoint receives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Since when.
    pub at: Timestamp,
    /// For people.
    pub reason: String,
}

impl Endpoint {
    /// The name of its lane.
    pub fn lane(&self) -> LaneKey {
        LaneKey { company: self.company, endpoint: self.id }
    }
}

impl Disabled {
    /// The endpoint said that it is gone for good (RFC 9110, section 15.5.11).
    pub fn gone(at: Timestamp) -> Self {
        Disabled { at, reason: "the endpoint answered 410 Gone".to_owned() }
    }
}

/// How requests look. A delivery keeps the shape it was made with, so that every attempt of it has
/// the same body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// What the body is.
    pub format: Format,
    /// PATCH instead of POST.
    pub use_patch: bool,
    /// Also send `webhook-event`, `webhook-delivery` and `webhook-attempt`.
    pub system_headers: bool,
    /// Add the event's `createdAt` to a body that is an object.
    pub add_created_at: bool,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// The payload itself, the type in the header `webhook-event`.
    #[default]
    Payload,
    /// `{type, timestamp, data}`, as Standard Webhooks recommends.
    Standard,
    /// `{data, event, timestamp}` and the header `x-w3block-commerce-signature`.
    W3block,
    /// A CloudEvents 1.0 envelope as the body (structured mode).
    CloudEvents,
    /// The payload as the body, CloudEvents 1.0 attributes as headers (binary mode).
    CloudEventsBinary,
}

impl Format {
    /// Every format with its spelling.
    pub const ALL: [(Format, &'static str); 5] = [
        (Format::Payload, "payload"),
        (Format::Standard, "standard"),
        (Format::W3block, "w3block"),
        (Format::CloudEvents, "cloudevents"),
        (Format::CloudEventsBinary, "cloudevents-binary"),
    ];

    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(format, _)| *format == self).map_or("payload", |(_, name)| name)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(format, _)| *format).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("must be one of: {}", names.join(", "))
        })
    }
}

impl Shape {
    /// The shape as stored: its format's name, then one letter for each flag that is set.
    pub fn encode(self) -> String {
        let flags = [(self.use_patch, 'p'), (self.system_headers, 's'), (self.add_created_at, 'c')];
        let mut text = format!("{}/", self.format.as_str());
        text.extend(flags.iter().filter(|(set, _)| *set).map(|(_, letter)| letter));
        text
    }

    /// Reads a stored shape.
    pub fn decode(text: &str) -> Option<Shape> {
        let (format, flags) = text.split_once('/')?;
        Some(Shape {
            format: format.parse().ok()?,
            use_patch: flags.contains('p'),
            system_headers: flags.contains('s'),
            add_created_at: flags.contains('c'),
        })
    }
}

/// A signing secret as it is kept: encrypted, and bound to its endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(pub Vec<u8>);

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What to change of an endpoint; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    /// Where to post.
    pub url: Option<Address>,
    /// What to listen to.
    pub events: Option<Vec<Subscription>>,
    /// How the requests of later events look.
    pub shape: Option<Shape>,
    /// Retries after the first attempt; deliveries that are waiting obey it too.
    pub max_retries: Option<u32>,
    /// `Some(None)` enables, `Some(Some(reason))` disables; what already is so stays as it is.
    pub disabled: Option<Option<String>>,
}

impl EndpointChange {
    /// The endpoint after this change, made at `now`; the same when nothing really changed.
    pub fn applied_to(&self, before: &Endpoint, now: Timestamp) -> Endpoint {
        let mut after = before.clone();
        if let Some(url) = &self.url {
            after.url = url.clone();
        }
        if let Some(events) = &self.events {
            after.events = events.clone();
        }
        after.shape = self.shape.unwrap_or(before.shape);
        after.max_retries = self.max_retries.unwrap_or(before.max_retries);
        match &self.disabled {
            Some(Some(reason)) if before.disabled.is_none() => {
                after.disabled = Some(Disabled { at: now, reason: reason.clone() });
            }
            Some(None) => after.disabled = None,
            _ => {}
        }
        if after != *before {
            after.updated_at = now;
        }
        after
    }
}

/// The enabled endpoints of one company, by what they listen to.
#[derive(Debug, Default)]
pub struct Listeners {
    by_pattern: HashMap<String, Vec<Arc<Endpoint>>>,
}

impl Listeners {
    /// Sorts endpoints by what they listen to; the disabled ones are left out.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut by_pattern: HashMap<String, Vec<Arc<Endpoint>>> = HashMap::new();
        for endpoint in endpoints.into_iter().filter(|endpoint| endpoint.disabled.is_none()) {
            let endpoint = Arc::new(endpoint);
            for pattern in &endpoint.events {
                let listening = by_pattern.entry(pattern.as_str().to_owned()).or_default();
                listening.push(Arc::clone(&endpoint));
            }
        }
        Listeners { by_pattern }
    }

    /// Every endpoint that hears of this type, each once, in the order of their ids.
    pub fn of(&self, event_type: &EventType) -> Vec<Arc<Endpoint>> {
        let mut hearing: Vec<Arc<Endpoint>> = event_type
            .patterns()
            .filter_map(|pattern| self.by_pattern.get(&pattern))
            .flatten()
            .cloned()
            .collect();
        hearing.sort_by_key(|endpoint| endpoint.id);
        hearing.dedup_by_key(|endpoint| endpoint.id);
        hearing
    }
}
