//! Test helpers. Never a dependency of what is shipped.

pub mod contract;
pub mod road;
