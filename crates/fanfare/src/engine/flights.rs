//! Which deliveries are on the wire now, for whoever asks where one is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{DeliveryId, Timestamp};

/// Deliveries whose requests are on the wire, and since when.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<DeliveryId, Timestamp>>);

/// One of them, until dropped.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    delivery: DeliveryId,
}

impl Flights {
    pub(super) fn begin(&self, delivery: DeliveryId, at: Timestamp) -> Flight<'_> {
        self.lock().insert(delivery, at);
        Flight { flights: self, delivery }
    }

    /// Since when a delivery is on the wire.
    pub(super) fn since(&self, delivery: DeliveryId) -> Option<Timestamp> {
        self.lock().get(&delivery).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeliveryId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.delivery);
    }
}
