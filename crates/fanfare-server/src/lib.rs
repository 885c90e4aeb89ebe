//! The HTTP face of the Fanfare engine: who may call, what they may ask for, and how it is answered.

pub mod auth;
