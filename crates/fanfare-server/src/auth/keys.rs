//! The keys of a JSON Web Key Set (RFC 7517), and whether one of them signed a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;

use super::AuthError;
use super::token::{self, Token};

/// The largest key set that is read.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// The most keys one may have: a token without `kid` is tried on each.
const KEYS_MAX: usize = 64;
/// Bounds of an RSA modulus: 2048 bits is the least of RFC 7518, 8192 the most that is verified.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// The longest RSA exponent; longer ones only cost time.
const EXPONENT_BYTES_MAX: usize = 4;
/// Bytes of a coordinate on P-256, and of a key on Ed25519.
const COORDINATE_BYTES: usize = 32;

/// The keys that may have signed a token.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

/// A public key, and the one algorithm that goes with it.
struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a key set. Keys for other purposes or of unknown kinds are left out; symmetric ones
    /// too, which have no business in a set that others can read.
    pub(super) fn parse(document: &[u8]) -> Result<KeySet, &'static str> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err("the key set is larger than 64 KiB");
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| "not a JSON object with a list `keys`")?;
        if document.keys.len() > KEYS_MAX {
            return Err("the key set has more than 64 keys");
        }
        let jwks = document.keys.into_iter().filter_map(|jwk| serde_json::from_value(jwk).ok());
        Ok(KeySet(jwks.filter_map(|jwk| Key::from_jwk(&jwk)).collect()))
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Did one of these keys sign this token? A token that names a key is held against keys of
    /// that name alone.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), AuthError> {
        let named: Vec<&Key> =
            self.0.iter().filter(|key| token.kid.is_none() || key.kid == token.kid).collect();
        let mut fitting = named.iter().filter(|key| key.algorithm == token.algorithm).peekable();
        if fitting.peek().is_none() {
            // A key of that name that signs otherwise is at odds with the token. No such name, or
            // no name at all, may be a key that we have not seen yet.
            let at_odds = token.kid.is_some() && !named.is_empty();
            return Err(if at_odds { AuthError::Algorithm } else { AuthError::KeyUnknown });
        }
        if fitting.any(|key| signed(token, &key.key, key.algorithm)) {
            return Ok(());
        }
        Err(AuthError::Signature)
    }
}

/// Is the token's signature that of this key, by the key's algorithm?
pub(super) fn signed(token: &Token<'_>, key: &DecodingKey, algorithm: Algorithm) -> bool {
    crypto::verify(token.signature, token.message.as_bytes(), key, algorithm).unwrap_or(false)
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    fn from_jwk(jwk: &Jwk) -> Option<Key> {
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, rsa(jwk)?),
            ("EC", Some("P-256")) => (Algorithm::ES256, p256(jwk)?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, ed25519(jwk)?),
            _ => return None,
        };
        let verifies = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && jwk.alg.as_deref().is_none_or(|name| token::algorithm(name) == Some(algorithm));
        verifies.then(|| Key { kid: jwk.kid.clone(), algorithm, key })
    }
}

fn rsa(jwk: &Jwk) -> Option<DecodingKey> {
    // Some issuers put a sign byte before the modulus, which RFC 7518 forbids.
    let modulus = without_zeros(bytes(jwk.n.as_ref())?);
    let exponent = without_zeros(bytes(jwk.e.as_ref())?);
    let sound = MODULUS_BYTES.contains(&modulus.len()) && exponent.len() <= EXPONENT_BYTES_MAX;
    sound.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn p256(jwk: &Jwk) -> Option<DecodingKey> {
    let (x, y) = (coordinate(jwk.x.as_ref())?, coordinate(jwk.y.as_ref())?);
    // The uncompressed point of SEC 1, section 2.3.3.
    Some(DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
}

fn ed25519(jwk: &Jwk) -> Option<DecodingKey> {
    Some(DecodingKey::from_ed_der(&coordinate(jwk.x.as_ref())?))
}

fn coordinate(encoded: Option<&String>) -> Option<Vec<u8>> {
    bytes(encoded).filter(|bytes| bytes.len() == COORDINATE_BYTES)
}

fn bytes(encoded: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(encoded?).ok()
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}
