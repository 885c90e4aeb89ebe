//! The store on PostgreSQL: one node and several.

mod database;
mod history;
mod latency;
mod load;
mod snapshot;
mod wake;

pub(crate) use history::ten_million_deliveries;
pub(crate) use latency::at_200_a_second;
pub(crate) use load::{over_http, two_nodes};
pub(crate) use snapshot::held_open;
pub(crate) use wake::from_a_commit;
