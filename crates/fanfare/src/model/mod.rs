//! The nouns. Plain data: no I/O, no clock, no database types.

mod delivery;
mod endpoint;
mod event;
mod event_type;
mod headers;
mod id;
mod page;
mod time;

pub use delivery::{
    Answer, Attempt, Claim, Delivery, DeliveryState, Outcome, PARKED_MS, Record, Timing, Verdict,
    expired,
};
pub use endpoint::{
    Address, Company, Disabled, Endpoint, EndpointChange, Flow, Format, Health, LaneKey, Listeners,
    Ordering, PreviousSecret, SealedSecret, Shape,
};
pub use event::Event;
pub use event_type::{CATALOGUE, EventType, Known, Subscription};
pub use headers::Headers;
pub use id::{CompanyId, DeliveryId, EndpointId, EventId};
pub use page::{
    DeliveryList, DeliverySort, EndpointList, EndpointSort, History, Order, Page, Window,
};
pub use time::Timestamp;
