//! Secrets at rest: XChaCha20-Poly1305, bound to the place they belong to.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{LaneKey, Purpose, Sealed};

/// The layout: this byte, the key's id, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Under what name a store keeps the check values of the keys that it was used with.
pub const KEPT_AS: &str = "FANFARE_ENCRYPTION_KEY";

/// What is kept of a key so that another one is noticed.
pub type CheckValue = [u8; 32];

/// Seals secrets with one key, and opens what that or an older one has sealed. Keys are wiped from
/// memory when it is dropped.
#[derive(Clone)]
pub struct Seal {
    present: Key,
    older: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    cipher: XChaCha20Poly1305,
    id: [u8; KEY_ID_LEN],
    check: CheckValue,
}

impl Seal {
    /// A seal with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Seal { present: Key::new(key), older: Vec::new() }
    }

    /// The same, which also opens what was sealed with this older key.
    #[must_use]
    pub fn opening(mut self, older: &[u8; 32]) -> Self {
        self.older.push(Key::new(older));
        self
    }

    /// One that seals with this key, and opens what this one opens.
    #[must_use]
    pub fn renewed(&self, key: &[u8; 32]) -> Self {
        let older = [&self.present].into_iter().chain(&self.older).cloned().collect();
        Seal { present: Key::new(key), older }
    }

    /// Is this the key that seals?
    pub fn seals_with(&self, key: &[u8; 32]) -> bool {
        fingerprint(key, KEPT_AS) == self.present.check
    }

    /// Is this sealed with the key that seals?
    pub fn is_present(&self, sealed: &Sealed) -> bool {
        sealed.0.get(1..1 + KEY_ID_LEN) == Some(&self.present.id[..])
    }

    /// What a store is to keep of these keys, once they may be used on it: the check value of the
    /// present one, and that of an older one as long as something may be sealed with it. `kept` is
    /// what it keeps so far.
    ///
    /// # Errors
    /// Something may be sealed with a key that is not among these.
    pub fn agreed(&self, kept: &[u8]) -> Result<Vec<u8>, UnknownKey> {
        let mut agreed = self.present.check.to_vec();
        let (kept, rest) = kept.as_chunks::<32>();
        for (at, check) in kept.iter().enumerate() {
            if *check == self.present.check {
                continue;
            }
            if !self.older.iter().any(|key| key.check == *check) {
                // With the first one everything new was sealed.
                return Err(if at == 0 { UnknownKey::Present } else { UnknownKey::Previous });
            }
            agreed.extend(check);
        }
        if rest.is_empty() { Ok(agreed) } else { Err(UnknownKey::Present) }
    }

    /// What a store is to keep once everything is sealed with the present key.
    pub fn settled(&self) -> CheckValue {
        self.present.check
    }

    /// Encrypts what an endpoint keeps for a purpose. It opens nowhere else.
    pub fn seal(&self, lane: LaneKey, purpose: Purpose, text: &str) -> Result<Sealed, String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| format!("no randomness: {error}"))?;
        let payload = Payload { msg: text.as_bytes(), aad: &place(lane, purpose) };
        let sealed = self.present.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| "a secret could not be sealed".to_owned())?;
        Ok(Sealed([&[VERSION], &self.present.id[..], &nonce, &sealed].concat()))
    }

    /// Decrypts what an endpoint keeps for a purpose.
    pub fn open(
        &self,
        lane: LaneKey,
        purpose: Purpose,
        sealed: &Sealed,
    ) -> Result<Zeroizing<String>, String> {
        let broken = |why: &str| format!("the {purpose} of endpoint {} {why}", lane.endpoint);
        let Some((head, ciphertext)) = sealed.0.split_at_checked(HEAD_LEN) else {
            return Err(broken("cannot be opened: cut short"));
        };
        let (version, head) = head.split_at(1);
        let (key_id, nonce) = head.split_at(KEY_ID_LEN);
        if version != [VERSION] {
            return Err(broken(
                "cannot be opened: sealed in a way that this version does not know",
            ));
        }
        let mut keys = [&self.present].into_iter().chain(&self.older);
        let Some(key) = keys.find(|key| key.id == key_id) else {
            return Err(broken(
                "cannot be opened: sealed with another key than FANFARE_ENCRYPTION_KEY",
            ));
        };
        let nonce = <[u8; NONCE_LEN]>::try_from(nonce)
            .map_err(|_| broken("cannot be opened: cut short"))?;
        let payload = Payload { msg: ciphertext, aad: &place(lane, purpose) };
        let opened = key.cipher.decrypt(&XNonce::from(nonce), payload);
        let opened = opened.map_err(|_| broken("cannot be opened: altered or moved"))?;
        String::from_utf8(opened).map(Zeroizing::new).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            broken("cannot be opened: not text")
        })
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which key of a store is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKey {
    /// The one that everything new was sealed with.
    Present,
    /// The one before it, which is still needed.
    Previous,
}

impl Key {
    fn new(key: &[u8; 32]) -> Self {
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&fingerprint(key, "key id")[..KEY_ID_LEN]);
        let check = fingerprint(key, KEPT_AS);
        // By reference, so that no copy is left behind unwiped.
        Key { cipher: XChaCha20Poly1305::new(key.into()), id, check }
    }
}

/// What the cipher binds a text to.
fn place(lane: LaneKey, purpose: Purpose) -> Vec<u8> {
    let (company, endpoint) = (lane.company.uuid(), lane.endpoint.uuid());
    let purpose: &[u8] = match purpose {
        Purpose::Secret => b"endpoint secret",
        Purpose::Headers => b"endpoint headers",
        Purpose::Tls => b"endpoint tls",
    };
    [purpose, &company.as_bytes()[..], endpoint.as_bytes()].concat()
}

/// What is kept of a key so that another one is noticed: says nothing about the key itself.
pub fn fingerprint(key: &[u8], purpose: &str) -> CheckValue {
    // HMAC takes a key of any length, so this arm is for the type checker only.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    mac.update(b"fanfare ");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CompanyId, EndpointId, Timestamp};

    fn lane(at: i64) -> LaneKey {
        let at = Timestamp(at);
        LaneKey { company: CompanyId::new(at), endpoint: EndpointId::new(at) }
    }

    #[test]
    fn a_secret_opens_only_with_its_key_in_its_place_and_unaltered() {
        let home = lane(1);
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.seal(home, Purpose::Secret, "whsec_x").unwrap();
        assert_eq!(*seal.open(home, Purpose::Secret, &sealed).unwrap(), "whsec_x");

        assert!(seal.open(lane(2), Purpose::Secret, &sealed).is_err());
        assert!(seal.open(home, Purpose::Headers, &sealed).is_err());
        let other = Seal::new(&[2; 32]).open(home, Purpose::Secret, &sealed).unwrap_err();
        assert!(other.contains("FANFARE_ENCRYPTION_KEY"), "{other}");
        for at in 0..sealed.0.len() {
            let mut altered = sealed.clone();
            altered.0[at] ^= 1;
            assert!(seal.open(home, Purpose::Secret, &altered).is_err(), "byte {at}");
            let cut = Sealed(sealed.0[..at].to_vec());
            assert!(seal.open(home, Purpose::Secret, &cut).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_older_key_opens_and_the_present_one_seals() {
        let home = lane(1);
        let old = Seal::new(&[1; 32]).seal(home, Purpose::Tls, "old").unwrap();
        let both = Seal::new(&[2; 32]).opening(&[1; 32]);
        assert_eq!(*both.open(home, Purpose::Tls, &old).unwrap(), "old");
        let new = both.seal(home, Purpose::Tls, "new").unwrap();
        assert_eq!(*Seal::new(&[2; 32]).open(home, Purpose::Tls, &new).unwrap(), "new");
        assert!(Seal::new(&[1; 32]).open(home, Purpose::Tls, &new).is_err());
        assert!(both.is_present(&new) && !both.is_present(&old));

        let third = both.renewed(&[3; 32]);
        assert_eq!(*third.open(home, Purpose::Tls, &old).unwrap(), "old");
        assert_eq!(*third.open(home, Purpose::Tls, &new).unwrap(), "new");
        assert!(third.seals_with(&[3; 32]) && !third.seals_with(&[2; 32]));
        assert_eq!(format!("{third:?}"), "***");
    }

    #[test]
    fn a_store_is_used_only_with_every_key_that_it_needs() {
        let one = Seal::new(&[1; 32]);
        let both = Seal::new(&[2; 32]).opening(&[1; 32]);
        let of = |keys: &[[u8; 32]]| -> Vec<u8> {
            keys.iter().flat_map(|key| fingerprint(key, KEPT_AS)).collect()
        };
        let (k1, k2, k3) = ([1; 32], [2; 32], [3; 32]);
        // In the order of a rotation.
        assert_eq!(one.agreed(&of(&[k1])), Ok(of(&[k1])));
        assert_eq!(both.agreed(&of(&[k1])), Ok(of(&[k2, k1])));
        assert_eq!(both.agreed(&of(&[k2, k1])), Ok(of(&[k2, k1])));
        assert_eq!(both.settled().to_vec(), of(&[k2]));
        assert_eq!(both.agreed(&of(&[k2])), Ok(of(&[k2])));
        // And back.
        let back = Seal::new(&[1; 32]).opening(&[2; 32]);
        assert_eq!(back.agreed(&of(&[k2, k1])), Ok(of(&[k1, k2])));
        // Never with less.
        assert_eq!(one.agreed(&of(&[k2, k1])), Err(UnknownKey::Present));
        assert_eq!(Seal::new(&[2; 32]).agreed(&of(&[k2, k1])), Err(UnknownKey::Previous));
        assert_eq!(both.agreed(&of(&[k3])), Err(UnknownKey::Present));
        assert_eq!(both.agreed(&of(&[k2])[..31]), Err(UnknownKey::Present));
    }
}
