//! Secrets at rest: XChaCha20-Poly1305, bound to the place they belong to.

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

/// Seals secrets with one key, and opens what that or an older one has sealed.
#[derive(Clone)]
pub struct Seal {
    present: Key,
    older: Option<Key>,
}

#[derive(Clone)]
struct Key {
    cipher: XChaCha20Poly1305,
    id: [u8; KEY_ID_LEN],
}

impl Seal {
    /// A seal with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        Seal { present: Key::new(key), older: None }
    }

    /// The same, which also opens what was sealed with this older key.
    #[must_use]
    pub fn opening(self, older: &[u8; 32]) -> Self {
        Seal { older: Some(Key::new(older)), ..self }
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
        let keys = [Some(&self.present), self.older.as_ref()];
        let Some(key) = keys.into_iter().flatten().find(|key| key.id == key_id) else {
            return Err(broken(
                "cannot be opened: sealed with another key than FANFARE_ENCRYPTION_KEY",
            ));
        };
        let nonce = <[u8; NONCE_LEN]>::try_from(nonce)
            .map_err(|_| broken("cannot be opened: cut short"))?;
        let payload = Payload { msg: ciphertext, aad: &place(lane, purpose) };
        let opened = key.cipher.decrypt(&XNonce::from(nonce), payload);
        let opened = opened.map_err(|_| broken("cannot be opened: altered or moved"))?;
        String::from_utf8(opened)
            .map(Zeroizing::new)
            .map_err(|_| broken("cannot be opened: not text"))
    }
}

impl Key {
    fn new(key: &[u8; 32]) -> Self {
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&fingerprint(key, "key id")[..KEY_ID_LEN]);
        Key { cipher: XChaCha20Poly1305::new(&chacha20poly1305::Key::from(*key)), id }
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
pub fn fingerprint(key: &[u8], purpose: &str) -> [u8; 32] {
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
    }
}
