//! Signatures. One function for each scheme; each takes exactly the bytes that go on the wire.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a Standard Webhooks secret begins with.
const PREFIX: &str = "whsec_";
/// Bounds of a secret's bytes, from the Standard Webhooks specification.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// A signing secret in the form `whsec_` + base64. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret {
    text: Zeroizing<String>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// The secret with these bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let text = Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(bytes)));
        Secret { text, bytes: Zeroizing::new(bytes.to_vec()) }
    }

    /// The secret in full, `whsec_` included.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("a secret is `{PREFIX}` and the base64 of {BYTES_MIN} to {BYTES_MAX} bytes");
        let encoded = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| wrong())?);
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return Err(wrong());
        }
        Ok(Secret { text: Zeroizing::new(text.to_owned()), bytes })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The Standard Webhooks scheme: `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`, keyed
/// with the bytes behind `whsec_`.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
pub fn standard(secret: &Secret, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp_secs}.");
    format!("v1,{}", STANDARD.encode(hmac_sha256(&secret.bytes, &[head.as_bytes(), body])))
}

/// W3Block's scheme: lower-case hex of the HMAC-SHA256 of the body, keyed with the UTF-8 bytes of
/// the signature key as it is shown.
pub fn w3block(secret: &Secret, body: &[u8]) -> String {
    let mac = hmac_sha256(secret.text.as_bytes(), &[body]);
    mac.iter().fold(String::with_capacity(64), |mut hex, byte| {
        hex.push(char::from(HEX[usize::from(byte >> 4)]));
        hex.push(char::from(HEX[usize::from(byte & 15)]));
        hex
    })
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Does any signature of a `webhook-signature` header belong to this message? Compares in constant
/// time. Whoever calls this also checks that the timestamp is recent.
pub fn verify(secret: &Secret, id: &str, timestamp_secs: i64, body: &[u8], header: &str) -> bool {
    let expected = standard(secret, id, timestamp_secs, body);
    header.split(' ').any(|given| given.as_bytes().ct_eq(expected.as_bytes()).into())
}

fn hmac_sha256(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length, so this arm is for the type checker only.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_vector_svix_publishes() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let (id, at, body) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let signature = standard(&secret, id, at, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(verify(&secret, id, at, body, &format!("v1,AAAA {signature}")));
        assert!(!verify(&secret, id, at + 1, body, &signature));
        assert!(!verify(&secret, id, at, b"{}", &signature));
        assert!(!verify(&secret, id, at, body, ""));
    }

    #[test]
    fn agrees_with_the_hmac_vector_of_rfc_4231() {
        let mac = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }

    #[test]
    fn a_secret_is_never_shown_by_debug_and_malformed_ones_are_refused() {
        let secret = Secret::from_bytes(&[7; 32]);
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.reveal().parse::<Secret>().unwrap().reveal(), secret.reveal());
        for bad in ["", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", &secret.reveal()[6..]] {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
    }
}
