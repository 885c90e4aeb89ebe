//! What was opened lately of what endpoints keep sealed, so that a busy endpoint's is not decrypted
//! for each delivery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::sealing::Sealing;
use crate::model::{Endpoint, EndpointId, OwnHeaders, OwnTls, Purpose, Sealed, Timestamp};
use crate::send::{Identity, Own, own_headers};
use crate::sign::{Keys, Signers};

/// Of how many endpoints it is kept.
const KEPT: usize = 4096;

/// What was opened, beside what it was opened from: what was changed is opened anew.
#[derive(Default)]
pub(super) struct Secrets {
    opened: Mutex<HashMap<EndpointId, (Closed, Opened)>>,
}

/// What a request to an endpoint needs of what that keeps sealed.
#[derive(Clone)]
pub(super) struct Opened {
    /// What it is signed with.
    pub(super) signers: Signers,
    /// What goes with it.
    pub(super) own: Own,
}

#[derive(PartialEq)]
struct Closed {
    current: Sealed,
    previous: Option<Sealed>,
    headers: Option<Sealed>,
    tls: Option<Sealed>,
}

/// What cannot be read, and why.
pub(super) type Unreadable = (Purpose, String);

impl Secrets {
    /// What a request to an endpoint at `now` needs.
    pub(super) fn of(
        &self,
        seal: &Sealing,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<Opened, Unreadable> {
        let previous = endpoint.signing_previous(now).map(|previous| &previous.secret);
        if let Some((closed, opened)) = self.lock().get(&endpoint.id)
            && closed.is_of(endpoint, previous)
        {
            return Ok(opened.clone());
        }
        // Without the lock: a key takes its time to be read.
        let opened = open(seal, endpoint, previous)?;
        let closed = Closed {
            current: endpoint.secret.clone(),
            previous: previous.cloned(),
            headers: endpoint.headers.clone(),
            tls: endpoint.tls.clone(),
        };
        let mut all = self.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(endpoint.id, (closed, opened.clone()));
        Ok(opened)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, (Closed, Opened)>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Closed {
    fn is_of(&self, endpoint: &Endpoint, previous: Option<&Sealed>) -> bool {
        (&self.current, self.previous.as_ref()) == (&endpoint.secret, previous)
            && (&self.headers, &self.tls) == (&endpoint.headers, &endpoint.tls)
    }
}

fn open(
    seal: &Sealing,
    endpoint: &Endpoint,
    previous: Option<&Sealed>,
) -> Result<Opened, Unreadable> {
    let text = |purpose, sealed| seal.open(endpoint.lane(), purpose, sealed);
    let keys = |sealed| -> Result<Arc<Keys>, Unreadable> {
        let keys = text(Purpose::Secret, sealed).and_then(|text| text.parse());
        keys.map(Arc::new).map_err(|why| (Purpose::Secret, why))
    };
    let headers = |sealed| {
        let headers = text(Purpose::Headers, sealed).and_then(|text| OwnHeaders::from_text(&text));
        headers.and_then(|headers| own_headers(&headers)).map_err(|why| (Purpose::Headers, why))
    };
    let identity = |sealed| {
        let tls = text(Purpose::Tls, sealed).and_then(|text| OwnTls::from_text(&text));
        tls.and_then(|tls| Identity::read(&tls).map_err(|flaw| flaw.reason))
            .map_err(|why| (Purpose::Tls, why))
    };
    Ok(Opened {
        signers: Signers {
            current: keys(&endpoint.secret)?,
            previous: previous.map(keys).transpose()?,
        },
        own: Own {
            headers: endpoint.headers.as_ref().map(headers).transpose()?.map(Arc::new),
            identity: endpoint.tls.as_ref().map(identity).transpose()?.map(Arc::new),
        },
    })
}
