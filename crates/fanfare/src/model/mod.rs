//! The nouns. Plain data: no I/O, no clock, no database types.

mod api_key;
mod audit;
mod delivery;
mod endpoint;
mod event;
mod event_type;
pub mod filter;
mod flaw;
mod headers;
mod hearing;
mod id;
mod own_headers;
mod own_tls;
mod page;
mod replay;
mod sealed;
mod shards;
mod time;

pub use api_key::{ApiKey, KeyHash, Scope};
pub use audit::{Act, Action, Actor, ActorKind, Entry};
pub use delivery::{
    Answer, Attempt, Claim, Delivery, DeliveryState, Outcome, PARKED_MS, Record, Timing, Verdict,
    expired,
};
pub use endpoint::{
    Address, Company, Disabled, Endpoint, EndpointChange, Flow, Format, Health, LaneKey, Listeners,
    Ordering, Shape,
};
pub use event::Event;
pub use event_type::{CATALOGUE, EventType, Known, Notice, Subscription};
pub use flaw::Flaw;
pub use headers::Headers;
pub use hearing::{Told, WhyNot};
pub use id::{ApiKeyId, AuditId, CompanyId, DeliveryId, EndpointId, EventId, ReplayId};
pub use own_headers::{
    MASK, OWN_HEADER_NAME_MAX, OWN_HEADER_VALUE_MAX, OWN_HEADERS_BYTES_MAX, OWN_HEADERS_MAX,
    OwnHeaders,
};
pub use own_tls::OwnTls;
pub use page::{
    DeliveryList, DeliverySort, EndpointList, EndpointSort, History, Journey, Order, Page,
    Registered, Window,
};
pub use replay::{Replay, Selection};
pub use sealed::{PreviousSecret, Purpose, Sealed, SecretChange, SecretPart};
pub use shards::{SHARDS, Shards};
pub use time::Timestamp;
