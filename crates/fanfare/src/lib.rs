//! A webhook delivery engine you can embed.

pub mod clock;
pub mod engine;
mod error;
pub mod metrics;
pub mod model;
mod options;
pub mod policy;
pub mod seal;
pub mod send;
pub mod sign;
pub mod store;

pub use engine::Engine;
pub use error::{Error, Result};
pub use options::Options;
