//! The store for when one machine is outgrown.
