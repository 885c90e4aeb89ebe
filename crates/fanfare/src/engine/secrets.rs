//! Keys that were opened lately, so that a busy endpoint's are not decrypted for each delivery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::sealing::Sealing;
use crate::model::{Endpoint, EndpointId, Purpose, Sealed, Timestamp};
use crate::sign::{Keys, Signers};

/// Of how many endpoints they are kept.
const KEPT: usize = 4096;

/// Opened keys, beside what they were opened from: keys that were changed are opened anew.
#[derive(Default)]
pub(super) struct Secrets {
    opened: Mutex<HashMap<EndpointId, Opened>>,
}

struct Opened {
    current: Sealed,
    previous: Option<Sealed>,
    signers: Signers,
}

impl Secrets {
    /// What an endpoint's requests are signed with at `now`.
    pub(super) fn of(
        &self,
        seal: &Sealing,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<Signers, String> {
        let (current, previous) = (&endpoint.secret, endpoint.signing_previous(now));
        let previous = previous.map(|previous| &previous.secret);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.get(&endpoint.id)
            && (&known.current, known.previous.as_ref()) == (current, previous)
        {
            return Ok(known.signers.clone());
        }
        let open = |sealed| -> Result<Arc<Keys>, String> {
            Ok(Arc::new(seal.open(endpoint.lane(), Purpose::Secret, sealed)?.parse()?))
        };
        let signers =
            Signers { current: open(current)?, previous: previous.map(open).transpose()? };
        if opened.len() >= KEPT {
            opened.clear();
        }
        let (current, previous) = (current.clone(), previous.cloned());
        opened.insert(endpoint.id, Opened { current, previous, signers: signers.clone() });
        Ok(signers)
    }
}
