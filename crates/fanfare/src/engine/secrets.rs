//! Secrets that were opened lately, so that a busy endpoint's is not decrypted for each delivery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Endpoint, EndpointId, SealedSecret};
use crate::seal::Seal;
use crate::sign::Secret;

/// How many are kept.
const KEPT: usize = 4096;

/// Opened secrets, each beside what it was opened from: a secret that was changed is opened anew.
#[derive(Default)]
pub(super) struct Secrets {
    opened: Mutex<HashMap<EndpointId, (SealedSecret, Arc<Secret>)>>,
}

impl Secrets {
    /// The secret of an endpoint.
    pub(super) fn of(&self, seal: &Seal, endpoint: &Endpoint) -> Result<Arc<Secret>, String> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((sealed, secret)) = opened.get(&endpoint.id)
            && *sealed == endpoint.secret
        {
            return Ok(Arc::clone(secret));
        }
        let text = seal.open(endpoint.company, endpoint.id, &endpoint.secret)?;
        let secret: Arc<Secret> = Arc::new(text.parse()?);
        if opened.len() >= KEPT {
            opened.clear();
        }
        opened.insert(endpoint.id, (endpoint.secret.clone(), Arc::clone(&secret)));
        Ok(secret)
    }
}
