//! What endpoints sign with: shown, replaced, and published as far as the world may know it.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::engine::finish::finish;
use crate::engine::manage::{generate_secret, internal};
use crate::engine::{Engine, World};
use crate::error::{Error, Result};
use crate::model::{
    Act, CompanyId, Endpoint, EndpointChange, EndpointId, LaneKey, PreviousSecret, Purpose, Sealed,
    SecretChange, SecretPart, Timestamp,
};
use crate::sign::{Keys, PublicKey, Secret, Signers, SigningKey};

/// How long the old secret signs beside the new one when nothing else is said.
pub const GRACE_DEFAULT: Duration = Duration::from_hours(24);
/// The longest that it may.
pub const GRACE_MAX: Duration = Duration::from_hours(7 * 24);
/// How many endpoints are looked at for a page of public keys.
const LOOKED_AT: u32 = 500;

/// How to replace a secret.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The new secret; generated when there is none.
    pub secret: Option<Secret>,
    /// How long the old one signs too, at most [`GRACE_MAX`]. Zero ends every older one at once.
    pub grace: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Rotation { secret: None, grace: GRACE_DEFAULT }
    }
}

/// A key that receivers verify `v1a` signatures with.
#[derive(Debug, Clone)]
pub struct PublishedKey {
    /// Whose signatures.
    pub endpoint: EndpointId,
    /// The key.
    pub key: PublicKey,
    /// Until when it signs; `None` for the present one.
    pub until: Option<Timestamp>,
}

impl Engine {
    /// The signing secret of an endpoint; while an older one signs too, the new one.
    pub fn secret(&self, endpoint: &Endpoint) -> Result<Secret> {
        Ok(self.signers(endpoint)?.current.secret.clone())
    }

    /// What an endpoint's requests are signed with now.
    pub fn signers(&self, endpoint: &Endpoint) -> Result<Signers> {
        // Past the cache of those that are busy: a list must not push them out of it.
        let open = |sealed| self.world.open_keys(endpoint, sealed).map(Arc::new);
        let previous = endpoint.signing_previous(self.world.clock.now());
        Ok(Signers {
            current: open(&endpoint.secret)?,
            previous: previous.map(|previous| open(&previous.secret)).transpose()?,
        })
    }

    /// Replaces the secret of an endpoint, and its key for `v1a` if it has one. Until the grace is
    /// over requests carry the signatures of both, and W3Block's header that of the old one.
    ///
    /// # Errors
    /// [`Error::RotationUnderWay`] while an older secret signs, unless the grace is zero.
    pub async fn rotate_secret(
        &self,
        company: CompanyId,
        id: EndpointId,
        rotation: Rotation,
    ) -> Result<Endpoint> {
        if rotation.grace > GRACE_MAX {
            let reason = format!("must be 0 to {} seconds", GRACE_MAX.as_secs());
            return Err(Error::invalid("gracePeriod", reason));
        }
        let writing = self.world.seal.writing();
        let rotate = Arc::clone(&self.world).rotate((company, id), rotation, self.act());
        finish(&self.world, writing.until_after(rotate)).await
    }

    /// The public keys of endpoints with ids above `after` that sign with a key of their own, and
    /// the id to go on from. A page may have few keys or none, and there may still be more.
    pub async fn public_keys(
        &self,
        after: Option<EndpointId>,
    ) -> Result<(Vec<PublishedKey>, Option<EndpointId>)> {
        let endpoints = self.world.store.all_endpoints(after, LOOKED_AT).await?;
        let mut keys = Vec::new();
        for endpoint in &endpoints {
            keys.extend(self.keys_of(endpoint)?);
        }
        let full = endpoints.len() == usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
        Ok((keys, endpoints.last().filter(|_| full).map(|last| last.id)))
    }

    /// The public keys of one endpoint, whoever's it is.
    pub async fn public_keys_of(&self, id: EndpointId) -> Result<Vec<PublishedKey>> {
        let below = Uuid::from_u128(id.uuid().as_u128().saturating_sub(1));
        let below = Some(EndpointId::from_uuid(below));
        let next = self.world.store.all_endpoints(below, 1).await?;
        match next.first().filter(|endpoint| endpoint.id == id) {
            Some(endpoint) => self.keys_of(endpoint),
            None => Ok(Vec::new()),
        }
    }

    fn keys_of(&self, endpoint: &Endpoint) -> Result<Vec<PublishedKey>> {
        let signers = self.signers(endpoint)?;
        let until = endpoint.previous.as_ref().map(|previous| previous.until);
        let all = [(Some(&signers.current), None), (signers.previous.as_ref(), until)];
        let published = all.into_iter().filter_map(|(keys, until)| {
            let key = keys?.signing.as_ref().map(SigningKey::public)?;
            Some(PublishedKey { endpoint: endpoint.id, key, until })
        });
        Ok(published.collect())
    }
}

impl World {
    async fn rotate(
        self: Arc<Self>,
        (company, id): (CompanyId, EndpointId),
        rotation: Rotation,
        act: Act,
    ) -> Result<Endpoint> {
        loop {
            let present = self.store.endpoint(company, id).await?;
            let present = present.ok_or_else(|| Error::not_found("endpoint", id))?;
            let secrets = self.rotated(&present, &rotation)?;
            let expected = secrets.secret.clone();
            let change = EndpointChange { secrets: Some(secrets), ..EndpointChange::default() };
            let changed = Arc::clone(&self).change((company, id), change, act.clone()).await?;
            if changed.secret == expected {
                return Ok(changed);
            }
            // Somebody else was quicker: look again at what there is now.
        }
    }

    fn rotated(&self, present: &Endpoint, rotation: &Rotation) -> Result<SecretChange> {
        let now = self.clock.now();
        let grace = rotation.grace;
        if let Some(older) = present.signing_previous(now).filter(|_| !grace.is_zero()) {
            return Err(Error::RotationUnderWay { until: older.until.to_string() });
        }
        let asymmetric = self.open_keys(present, &present.secret)?.signing.is_some();
        let secret = rotation.secret.clone().map_or_else(generate_secret, Ok)?;
        let keys = Keys::with(secret, asymmetric).map_err(internal)?;
        let previous = (!grace.is_zero())
            .then(|| PreviousSecret { secret: present.secret.clone(), until: now.plus(grace) });
        Ok(SecretChange {
            instead_of: present.secret.clone(),
            secret: self.seal_keys(present.company, present.id, &keys)?,
            previous,
            part: SecretPart::Secret,
        })
    }

    /// The change of an endpoint that is to sign with a key of its own, or not; `None` when it
    /// already is so.
    pub(super) fn switched(
        &self,
        present: &Endpoint,
        asymmetric: bool,
    ) -> Result<Option<SecretChange>> {
        let keys = self.open_keys(present, &present.secret)?;
        let older = present.signing_previous(self.clock.now());
        let older_keys = older.map(|older| self.open_keys(present, &older.secret)).transpose()?;
        let older_signs = older_keys.as_ref().is_some_and(|keys| keys.signing.is_some());
        if keys.signing.is_some() == asymmetric && (asymmetric || !older_signs) {
            return Ok(None);
        }
        let (company, id) = (present.company, present.id);
        let keys = Keys::with(keys.secret, asymmetric).map_err(internal)?;
        let previous = match (older, older_keys) {
            (Some(older), Some(keys)) if !asymmetric => {
                let keys = Keys { signing: None, ..keys };
                let secret = self.seal_keys(company, id, &keys)?;
                Some(PreviousSecret { secret, until: older.until })
            }
            (older, _) => older.cloned(),
        };
        let secret = self.seal_keys(company, id, &keys)?;
        let (instead_of, part) = (present.secret.clone(), SecretPart::SigningKey);
        Ok(Some(SecretChange { instead_of, secret, previous, part }))
    }

    /// Seals an endpoint's keys.
    pub(super) fn seal_keys(
        &self,
        company: CompanyId,
        id: EndpointId,
        keys: &Keys,
    ) -> Result<Sealed> {
        let text = keys.reveal().map_err(internal)?;
        let lane = LaneKey { company, endpoint: id };
        self.seal.seal(lane, Purpose::Secret, &text).map_err(internal)
    }

    fn open_keys(&self, endpoint: &Endpoint, sealed: &Sealed) -> Result<Keys> {
        let opened = self.seal.open(endpoint.lane(), Purpose::Secret, sealed);
        opened.and_then(|text| text.parse()).map_err(internal)
    }
}
