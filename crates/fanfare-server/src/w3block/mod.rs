//! W3Block's interface, field by field as its own description has it (contract, section 3).
//!
//! A *webhooks configuration* is an endpoint that hears of everything; a *webhook* is a delivery.
//! An endpoint registered through `/v1` is a configuration here as well.

pub(crate) mod configurations;
mod dto;
mod paging;
pub(crate) mod webhooks;

pub(crate) use paging::OrderByEnum;
