//! The key of an endpoint's own: whoever knows its public half can verify, and nobody else sign.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a private and a public key begin with, from the Standard Webhooks specification.
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
const SEED_LEN: usize = 32;
const PUBLIC_LEN: usize = 32;

/// An Ed25519 key pair. Wiped from memory when dropped.
pub struct SigningKey(Ed25519KeyPair);

/// The half of a [`SigningKey`] that may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; PUBLIC_LEN]);

impl SigningKey {
    /// A new key.
    pub fn generate() -> Result<Self, String> {
        Ed25519KeyPair::generate().map(SigningKey).map_err(|_| "no key can be made".to_owned())
    }

    /// The key with this seed (RFC 8032's "secret key").
    pub fn from_seed(seed: &[u8; SEED_LEN]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(SigningKey).map_err(|_| "the seed makes no key".to_owned())
    }

    /// The key in full: `whsk_` and the base64 of the seed and the public key, one after the other.
    pub fn reveal(&self) -> Result<Zeroizing<String>, String> {
        let seed = self.0.seed().and_then(|seed| seed.as_be_bytes());
        let seed = seed.map_err(|_| "the seed of a key cannot be read".to_owned())?;
        let mut both = Zeroizing::new([0; SEED_LEN + PUBLIC_LEN]);
        both[..SEED_LEN].copy_from_slice(seed.as_ref());
        both[SEED_LEN..].copy_from_slice(self.0.public_key().as_ref());
        // Room for all of it, so that no shorter copy is left behind unwiped.
        let mut text = Zeroizing::new(String::with_capacity(2 * both.len()));
        text.push_str(PRIVATE_PREFIX);
        STANDARD.encode_string(both.as_slice(), &mut text);
        Ok(text)
    }

    /// Its other half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; PUBLIC_LEN];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The signature of a message, 64 bytes.
    pub(super) fn sign(&self, message: &[u8]) -> impl AsRef<[u8]> + use<> {
        self.0.sign(message)
    }
}

impl FromStr for SigningKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("a private key is `{PRIVATE_PREFIX}` and the base64 of seed and public key");
        let encoded = text.strip_prefix(PRIVATE_PREFIX).ok_or_else(wrong)?;
        let both = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| wrong())?);
        let (seed, public) = both.split_at_checked(SEED_LEN).ok_or_else(wrong)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
        pair.map(SigningKey).map_err(|_| wrong())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PublicKey {
    /// Its 32 bytes in base64url without padding, as `x` of a JWK has them (RFC 8037).
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// A name made of the key itself: the SHA-256 thumbprint of its JWK (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.base64url());
        URL_SAFE_NO_PAD.encode(Sha256::digest(jwk))
    }

    /// Is this the signature of this message?
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// `whpk_` and base64.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a public key is `{PUBLIC_PREFIX}` and the base64 of 32 bytes");
        let encoded = text.strip_prefix(PUBLIC_PREFIX).ok_or_else(wrong)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
        bytes.try_into().map(PublicKey).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1: seed, public key, message, signature.
    const VECTORS: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e\
             39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f\
             3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67\
             f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn agrees_with_the_vectors_of_rfc_8032() {
        for [seed, public, message, signature] in VECTORS {
            let key = SigningKey::from_seed(&bytes(seed).try_into().unwrap()).unwrap();
            assert_eq!(key.public().0.to_vec(), bytes(public));
            assert_eq!(key.sign(&bytes(message)).as_ref(), bytes(signature));
            assert!(key.public().verifies(&bytes(message), &bytes(signature)));
            assert!(!key.public().verifies(b"another", &bytes(signature)));
        }
    }

    #[test]
    fn agrees_with_the_thumbprint_of_rfc_8037() {
        let [_, public, ..] = VECTORS[0];
        let key = PublicKey(bytes(public).try_into().unwrap());
        assert_eq!(key.base64url(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_never_shown_by_debug() {
        let key = SigningKey::generate().unwrap();
        let text = key.reveal().unwrap();
        assert_eq!(text.parse::<SigningKey>().unwrap().public(), key.public());
        assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), key.public());
        assert_eq!(format!("{key:?}"), "***");
        let other = SigningKey::generate().unwrap().reveal().unwrap();
        let mixed = format!("{}{}", &text[..40], &other[40..]);
        for bad in ["", "whsk_", "whsk_!!", "whsk_c2hvcnQ=", &text[5..], &mixed] {
            assert!(bad.parse::<SigningKey>().is_err(), "{bad}");
        }
    }
}
