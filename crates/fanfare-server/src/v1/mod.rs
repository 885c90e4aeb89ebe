//! The native interface: commercio's service over REST, and what goes beyond it (contract,
//! sections 4 and 6).

pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod companies;
mod cursor;
pub(crate) mod deliveries;
mod delivery;
mod dto;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod keys;
pub(crate) mod matching;
pub(crate) mod rekey;
mod replay;
pub(crate) mod replays;
mod told;
mod webhook;
