//! Who changed what, when and from where.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{AuditId, CompanyId, Endpoint, EndpointChange, LaneKey, SecretPart, Timestamp};

/// Who acts. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What kind of caller it is.
    pub kind: ActorKind,
    /// The token's `sub`, or the id of the key; `None` where there is none.
    pub subject: Option<String>,
    /// The roles by which it may act, or the scope of the key.
    pub roles: Vec<String>,
    /// The other end of the connection. What stands behind a proxy has the address of the proxy.
    pub address: Option<IpAddr>,
}

/// What kind of caller acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// Somebody with a token.
    Token,
    /// A program with an API key.
    Key,
    /// The program that embeds the engine.
    Library,
    /// The engine itself.
    System,
}

impl ActorKind {
    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorKind::Token => "token",
            ActorKind::Key => "key",
            ActorKind::Library => "library",
            ActorKind::System => "system",
        }
    }
}

impl Actor {
    /// Somebody of whom nothing else is known.
    pub fn of(kind: ActorKind) -> Actor {
        Actor { kind, subject: None, roles: Vec::new(), address: None }
    }
}

/// That somebody does something now.
#[derive(Debug, Clone)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Arc<Actor>,
}

impl Act {
    /// The engine does it by itself.
    pub fn of_system(at: Timestamp) -> Act {
        Act { at, by: Arc::new(Actor::of(ActorKind::System)) }
    }

    /// What is noted of it: what was done to what.
    pub fn entry(&self, company: CompanyId, action: Action, subject: Uuid) -> Entry {
        let (id, at, by) = (AuditId::new(self.at), self.at, Arc::clone(&self.by));
        Entry { id, company, at, by, action, subject, fields: Vec::new() }
    }

    /// What is noted when the engine or somebody disables an endpoint.
    pub fn disabling(&self, lane: LaneKey) -> Entry {
        let entry = self.entry(lane.company, Action::DisableEndpoint, lane.endpoint.uuid());
        Entry { fields: vec![IS_ACTIVE.to_owned()], ..entry }
    }

    /// What is noted of a change of an endpoint; `None` when nothing changed that people decide on.
    pub fn change(
        &self,
        before: &Endpoint,
        after: &Endpoint,
        change: &EndpointChange,
    ) -> Option<Entry> {
        let part = change.secrets.as_ref().map(|secrets| secrets.part).unwrap_or_default();
        let fields = changed(before, after, part);
        let action = match (fields.contains(&IS_ACTIVE), &after.disabled) {
            (true, Some(_)) => Action::DisableEndpoint,
            (true, None) => Action::EnableEndpoint,
            _ if fields.contains(&SECRET) => Action::RotateSecret,
            _ if fields.is_empty() => return None,
            _ => Action::ChangeEndpoint,
        };
        let entry = self.entry(after.company, action, after.id.uuid());
        Some(Entry { fields: fields.into_iter().map(str::to_owned).collect(), ..entry })
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: AuditId,
    /// Of whose things.
    pub company: CompanyId,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it.
    pub by: Arc<Actor>,
    /// What was done.
    pub action: Action,
    /// To what: the id of an endpoint, a key, a delivery, an event, a replay or the company.
    pub subject: Uuid,
    /// What of it was changed, by the names of the API; never what it was changed to.
    pub fields: Vec<String>,
}

/// What may be done that is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The company got a name.
    NameCompany,
    /// An endpoint was registered.
    RegisterEndpoint,
    /// It was changed otherwise than by what follows.
    ChangeEndpoint,
    /// It hears again.
    EnableEndpoint,
    /// It hears no more.
    DisableEndpoint,
    /// It was deleted.
    DeleteEndpoint,
    /// It signs with another secret.
    RotateSecret,
    /// An API key was made.
    CreateKey,
    /// It was revoked.
    RevokeKey,
    /// A delivery was sent again.
    ReplayDelivery,
    /// A delivery that waited was ended.
    CancelDelivery,
    /// The deliveries of an event that waited were ended.
    CancelEvent,
    /// A replay of many was started.
    StartReplay,
    /// It was ended before it was through.
    CancelReplay,
}

impl Action {
    /// Every action with its spelling.
    pub const ALL: [(Action, &'static str); 14] = [
        (Action::NameCompany, "company.name"),
        (Action::RegisterEndpoint, "endpoint.register"),
        (Action::ChangeEndpoint, "endpoint.change"),
        (Action::EnableEndpoint, "endpoint.enable"),
        (Action::DisableEndpoint, "endpoint.disable"),
        (Action::DeleteEndpoint, "endpoint.delete"),
        (Action::RotateSecret, "endpoint.rotate_secret"),
        (Action::CreateKey, "api_key.create"),
        (Action::RevokeKey, "api_key.revoke"),
        (Action::ReplayDelivery, "delivery.replay"),
        (Action::CancelDelivery, "delivery.cancel"),
        (Action::CancelEvent, "event.cancel"),
        (Action::StartReplay, "replay.start"),
        (Action::CancelReplay, "replay.cancel"),
    ];

    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(action, _)| *action == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(action, _)| *action).ok_or_else(|| format!("there is no action `{text}`"))
    }
}

/// The name of the field that tells whether an endpoint hears.
const IS_ACTIVE: &str = "isActive";
const SECRET: &str = "secret";

/// The fields in which an endpoint was changed. How it does is not decided by people.
fn changed(before: &Endpoint, after: &Endpoint, part: SecretPart) -> Vec<&'static str> {
    let (shape, flow) = ((before.shape, after.shape), (before.flow, after.flow));
    let keys = match part {
        SecretPart::Secret => SECRET,
        SecretPart::SigningKey => "addAsymmetricSignature",
    };
    let fields = [
        ("url", before.url != after.url),
        ("events", before.events != after.events),
        ("filter", before.filter != after.filter),
        ("format", shape.0.format != shape.1.format),
        ("usePatch", shape.0.use_patch != shape.1.use_patch),
        ("updateWithSystemHeaders", shape.0.system_headers != shape.1.system_headers),
        ("addCreatedAtToBody", shape.0.add_created_at != shape.1.add_created_at),
        ("maxRetries", before.max_retries != after.max_retries),
        ("rateLimit", flow.0.rate_limit != flow.1.rate_limit),
        ("maxInFlight", flow.0.max_in_flight != flow.1.max_in_flight),
        ("ordering", flow.0.ordering != flow.1.ordering),
        ("coalesce", flow.0.coalesce != flow.1.coalesce),
        ("operational", before.operational != after.operational),
        ("headers", before.headers != after.headers),
        ("tls", before.tls != after.tls),
        (keys, before.secret != after.secret),
        (IS_ACTIVE, before.disabled.is_some() != after.disabled.is_some()),
    ];
    fields.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}
