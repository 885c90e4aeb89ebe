//! A webhook delivery engine you can embed.

pub mod clock;
pub mod metrics;
pub mod model;
pub mod send;
pub mod sign;
pub mod store;
