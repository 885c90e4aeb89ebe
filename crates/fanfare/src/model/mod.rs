//! The nouns. Plain data: no I/O, no clock, no database types.

mod delivery;
mod endpoint;
mod event;
mod event_type;
mod headers;
mod id;
mod page;
mod time;

pub use delivery::{Answer, Attempt, Claim, Delivery, DeliveryState, Outcome, Record, Verdict};
pub use endpoint::{
    Address, Company, Disabled, Endpoint, EndpointChange, Format, LaneKey, Listeners, SealedSecret,
    Shape,
};
pub use event::Event;
pub use event_type::{CATALOGUE, EventType, Known, Subscription};
pub use headers::Headers;
pub use id::{CompanyId, DeliveryId, EndpointId, EventId};
pub use page::{
    DeliveryList, DeliverySort, EndpointList, EndpointSort, History, Order, Page, Window,
};
pub use time::Timestamp;
