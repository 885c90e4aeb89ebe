//! Secrets at rest: XChaCha20-Poly1305, bound to the row they belong to.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{CompanyId, EndpointId, SealedSecret};

/// The layout: this byte, the key's id, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Seals and opens secrets with one key.
#[derive(Clone)]
pub struct Seal {
    cipher: XChaCha20Poly1305,
    key_id: [u8; KEY_ID_LEN],
}

impl Seal {
    /// A seal with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&fingerprint(key, "key id")[..KEY_ID_LEN]);
        Seal { cipher: XChaCha20Poly1305::new(&Key::from(*key)), key_id }
    }

    /// Encrypts a secret for one endpoint.
    pub fn seal(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        secret: &str,
    ) -> Result<SealedSecret, String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| format!("no randomness: {error}"))?;
        let row = row_name(company, endpoint);
        let payload = Payload { msg: secret.as_bytes(), aad: &row };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| "a secret could not be sealed".to_owned())?;
        Ok(SealedSecret([&[VERSION], &self.key_id[..], &nonce, &sealed].concat()))
    }

    /// Decrypts the secret of one endpoint.
    pub fn open(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        sealed: &SealedSecret,
    ) -> Result<Zeroizing<String>, String> {
        let broken = |why: &str| format!("the secret of endpoint {endpoint} {why}");
        let Some((head, ciphertext)) = sealed.0.split_at_checked(HEAD_LEN) else {
            return Err(broken("is cut short"));
        };
        let (version, head) = head.split_at(1);
        let (key_id, nonce) = head.split_at(KEY_ID_LEN);
        if version != [VERSION] {
            return Err(broken("is sealed in a way that this version does not know"));
        }
        if key_id != self.key_id {
            return Err(broken("is sealed with another key than FANFARE_ENCRYPTION_KEY"));
        }
        let nonce = <[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| broken("is cut short"))?;
        let row = row_name(company, endpoint);
        let payload = Payload { msg: ciphertext, aad: &row };
        let opened = self.cipher.decrypt(&XNonce::from(nonce), payload);
        let opened = opened.map_err(|_| broken("does not open: it was altered or moved"))?;
        String::from_utf8(opened).map(Zeroizing::new).map_err(|_| broken("is not text"))
    }
}

/// What is kept of a key so that another one is noticed: says nothing about the key itself.
pub fn fingerprint(key: &[u8], purpose: &str) -> [u8; 32] {
    // HMAC takes a key of any length, so this arm is for the type checker only.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    mac.update(b"fanfare ");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().into()
}

fn row_name(company: CompanyId, endpoint: EndpointId) -> Vec<u8> {
    let (company, endpoint) = (company.uuid(), endpoint.uuid());
    [b"endpoint secret", &company.as_bytes()[..], endpoint.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_secret_opens_only_with_its_key_in_its_row_and_unaltered() {
        let (company, endpoint) = (CompanyId::new(Timestamp(1)), EndpointId::new(Timestamp(1)));
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.seal(company, endpoint, "whsec_x").unwrap();
        assert_eq!(*seal.open(company, endpoint, &sealed).unwrap(), "whsec_x");

        let elsewhere = EndpointId::new(Timestamp(2));
        assert!(seal.open(company, elsewhere, &sealed).is_err());
        let other = Seal::new(&[2; 32]).open(company, endpoint, &sealed).unwrap_err();
        assert!(other.contains("FANFARE_ENCRYPTION_KEY"), "{other}");
        for at in 0..sealed.0.len() {
            let mut altered = sealed.clone();
            altered.0[at] ^= 1;
            assert!(seal.open(company, endpoint, &altered).is_err(), "byte {at}");
            let cut = SealedSecret(sealed.0[..at].to_vec());
            assert!(seal.open(company, endpoint, &cut).is_err(), "cut at {at}");
        }
    }
}
