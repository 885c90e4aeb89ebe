//! Who listens, and how they want to be told.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::model::filter::Filter;
use crate::model::{
    CompanyId, EndpointId, Event, PreviousSecret, Sealed, SecretChange, Subscription, Timestamp,
};

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
    /// As a store has it. What is no URL got there by another hand than ours; it leads nowhere, and
    /// must not keep others from being sent.
    pub(crate) fn stored(text: &str) -> Result<Self, url::ParseError> {
        let url = text.parse().or_else(|_| "invalid:".parse())?;
        Ok(Address { text: text.to_owned(), url })
    }

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
    pub secret: Sealed,
    /// The secret before it, while that signs too.
    pub previous: Option<PreviousSecret>,
    /// Headers that go with every request, sealed; `None` when there are none.
    pub headers: Option<Sealed>,
    /// The authority and the certificate of its own that connections use, sealed; `None` when they
    /// use what the machine trusts, and show nothing.
    pub tls: Option<Sealed>,
    /// What it listens to; never empty.
    pub events: Vec<Subscription>,
    /// Of those events, which; `None` for all of them.
    pub filter: Option<Arc<Filter>>,
    /// How the requests of its next events look.
    pub shape: Shape,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// How fast and in which order.
    pub flow: Flow,
    /// Whether it hears of what befalls the company's other endpoints, and of nothing else.
    pub operational: bool,
    /// Since when and why it receives nothing; `None` while it is enabled.
    pub disabled: Option<Disabled>,
    /// How it does.
    pub health: Health,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How fast and in which order an endpoint is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Requests a second at most; `None` for no limit.
    pub rate_limit: Option<u32>,
    /// Requests in flight at most; `None` for the engine's own limit.
    pub max_in_flight: Option<u32>,
    /// What must arrive one after the other.
    pub ordering: Ordering,
    /// How long deliveries wait for newer ones of their type and key, which supersede them. `None`
    /// when nothing is superseded.
    pub coalesce: Option<Duration>,
}

/// What must arrive one after the other, in the order in which it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// Nothing.
    #[default]
    None,
    /// Events with the same ordering key.
    Key,
    /// Everything.
    Strict,
}

impl Ordering {
    /// Every ordering with its spelling.
    pub const ALL: [(Ordering, &'static str); 3] =
        [(Ordering::None, "none"), (Ordering::Key, "key"), (Ordering::Strict, "strict")];

    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(ordering, _)| *ordering == self).map_or("none", |(_, name)| name)
    }
}

impl FromStr for Ordering {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(ordering, _)| *ordering).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("must be one of: {}", names.join(", "))
        })
    }
}

/// How an endpoint does, as far as it outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Since when every attempt has failed; `None` unless the breaker is open.
    pub failing_since: Option<Timestamp>,
    /// Until when it asked to be left alone (`Retry-After`).
    pub held_until: Option<Timestamp>,
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

    /// The secret before the present one, if it signs too at `now`.
    pub fn signing_previous(&self, now: Timestamp) -> Option<&PreviousSecret> {
        self.previous.as_ref().filter(|previous| now < previous.until)
    }
}

impl Disabled {
    /// The endpoint said that it is gone for good (RFC 9110, section 15.5.11).
    pub fn gone(at: Timestamp) -> Self {
        Disabled { at, reason: "the endpoint answered 410 Gone".to_owned() }
    }

    /// Every attempt has failed for longer than anybody waits.
    pub fn failing(since: Timestamp, at: Timestamp) -> Self {
        Disabled { at, reason: format!("every attempt since {since} has failed") }
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

/// What to change of an endpoint; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    /// Where to post.
    pub url: Option<Address>,
    /// What to listen to.
    pub events: Option<Vec<Subscription>>,
    /// Which of those events; `Some(None)` for all of them.
    pub filter: Option<Option<Arc<Filter>>>,
    /// What the bodies of later events are.
    pub format: Option<Format>,
    /// PATCH instead of POST for later events.
    pub use_patch: Option<bool>,
    /// Send the system headers with later events.
    pub system_headers: Option<bool>,
    /// Add `createdAt` to the bodies of later events.
    pub add_created_at: Option<bool>,
    /// Retries after the first attempt; deliveries that are waiting obey it too.
    pub max_retries: Option<u32>,
    /// Requests a second at most; `Some(None)` lifts the limit.
    pub rate_limit: Option<Option<u32>>,
    /// Requests in flight at most; `Some(None)` lifts the limit.
    pub max_in_flight: Option<Option<u32>>,
    /// What must arrive one after the other, of later events.
    pub ordering: Option<Ordering>,
    /// For how long later events wait to be superseded; `Some(None)` for not at all.
    pub coalesce: Option<Option<Duration>>,
    /// Whether it hears of what befalls the company's other endpoints, and of nothing else.
    pub operational: Option<bool>,
    /// What it signs with from here on.
    pub secrets: Option<SecretChange>,
    /// Headers that go with every request from here on, sealed; `Some(None)` for none.
    pub headers: Option<Option<Sealed>>,
    /// The authority and the certificate that connections use from here on, sealed; `Some(None)`
    /// for those of the machine.
    pub tls: Option<Option<Sealed>>,
    /// The headers and the certificates that parts of these were taken from. The whole change has no
    /// effect when others have come in between.
    pub taken_from: Option<(Option<Sealed>, Option<Sealed>)>,
    /// How it does.
    pub health: Option<Health>,
    /// `Some(None)` enables, `Some(Some(reason))` disables; what already is so stays as it is.
    pub disabled: Option<Option<String>>,
}

impl EndpointChange {
    /// Is the endpoint sent elsewhere from here on, or enabled?
    pub fn begins_anew(&self) -> bool {
        self.url.is_some() || self.disabled == Some(None)
    }

    /// The endpoint after this change, made at `now`; the same when nothing really changed, or when
    /// what the change was made from is not what there is.
    ///
    /// One that is sent elsewhere from here on, or enabled, begins anew: what is known of its
    /// health is forgotten.
    pub fn applied_to(&self, before: &Endpoint, now: Timestamp) -> Endpoint {
        let mut after = before.clone();
        let stale = self.secrets.as_ref().is_some_and(|new| new.instead_of != before.secret)
            || self
                .taken_from
                .as_ref()
                .is_some_and(|(headers, tls)| (headers, tls) != (&before.headers, &before.tls));
        if stale {
            return after;
        }
        set(&mut after.url, &self.url);
        set(&mut after.events, &self.events);
        set(&mut after.filter, &self.filter);
        set(&mut after.shape.format, &self.format);
        set(&mut after.shape.use_patch, &self.use_patch);
        set(&mut after.shape.system_headers, &self.system_headers);
        set(&mut after.shape.add_created_at, &self.add_created_at);
        set(&mut after.max_retries, &self.max_retries);
        set(&mut after.flow.rate_limit, &self.rate_limit);
        set(&mut after.flow.max_in_flight, &self.max_in_flight);
        set(&mut after.flow.ordering, &self.ordering);
        set(&mut after.flow.coalesce, &self.coalesce);
        set(&mut after.operational, &self.operational);
        set(&mut after.headers, &self.headers);
        set(&mut after.tls, &self.tls);
        if let Some(secrets) = &self.secrets {
            after.secret = secrets.secret.clone();
            after.previous.clone_from(&secrets.previous);
        }
        match &self.disabled {
            Some(Some(reason)) if before.disabled.is_none() => {
                after.disabled = Some(Disabled { at: now, reason: reason.clone() });
            }
            Some(None) => after.disabled = None,
            _ => {}
        }
        let enabled = before.disabled.is_some() && after.disabled.is_none();
        if after.url != before.url || enabled {
            after.health = Health::default();
        }
        set(&mut after.health, &self.health);
        if after != *before {
            after.updated_at = now;
            // A secret that signs no more is not kept for longer than need be.
            after.previous.take_if(|previous| previous.until <= now);
        }
        after
    }
}

fn set<T: Clone>(field: &mut T, change: &Option<T>) {
    if let Some(change) = change {
        field.clone_from(change);
    }
}

/// The enabled endpoints of one company, by what they listen to.
#[derive(Debug, Default)]
pub struct Listeners {
    by_pattern: HashMap<String, Vec<Arc<Endpoint>>>,
    by_id: HashMap<EndpointId, Arc<Endpoint>>,
}

impl Listeners {
    /// Sorts endpoints by what they listen to; the disabled ones are left out.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut by_pattern: HashMap<String, Vec<Arc<Endpoint>>> = HashMap::new();
        let mut by_id = HashMap::new();
        for endpoint in endpoints.into_iter().filter(|endpoint| endpoint.disabled.is_none()) {
            let endpoint = Arc::new(endpoint);
            for pattern in &endpoint.events {
                let listening = by_pattern.entry(pattern.as_str().to_owned()).or_default();
                listening.push(Arc::clone(&endpoint));
            }
            by_id.insert(endpoint.id, endpoint);
        }
        Listeners { by_pattern, by_id }
    }

    /// One of them.
    pub fn get(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.by_id.get(&id)
    }

    /// Every endpoint that hears of this event, each once, in the order of their ids. Operational
    /// endpoints hear of operational events and of nothing else; the others never do.
    pub fn of(&self, event: &Event) -> Vec<Arc<Endpoint>> {
        let mut hearing: Vec<Arc<Endpoint>> = event
            .event_type
            .patterns()
            .filter_map(|pattern| self.by_pattern.get(&pattern))
            .flatten()
            .filter(|endpoint| endpoint.operational == event.operational)
            .cloned()
            .collect();
        hearing.sort_by_key(|endpoint| endpoint.id);
        hearing.dedup_by_key(|endpoint| endpoint.id);
        hearing
    }
}
