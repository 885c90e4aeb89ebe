//! Signatures. One function for each scheme; each takes exactly the bytes that go on the wire.

mod ed25519;
mod keys;
mod secret;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub use ed25519::{PublicKey, SigningKey};
pub use keys::{Keys, Signers};
pub use secret::Secret;

/// The Standard Webhooks scheme: `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`, keyed
/// with the bytes behind `whsec_`.
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
pub fn standard(secret: &Secret, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp_secs}.");
    format!("v1,{}", STANDARD.encode(hmac_sha256(secret.bytes(), &[head.as_bytes(), body])))
}

/// The Standard Webhooks scheme for those who must not share a secret: `v1a,` and the base64 Ed25519
/// signature of the same `id.timestamp.body`.
pub fn asymmetric(key: &SigningKey, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
    let message = [format!("{id}.{timestamp_secs}.").as_bytes(), body].concat();
    format!("v1a,{}", STANDARD.encode(key.sign(&message)))
}

/// W3Block's scheme: lower-case hex of the HMAC-SHA256 of the body, keyed with the UTF-8 bytes of
/// the signature key as it is shown.
pub fn w3block(secret: &Secret, body: &[u8]) -> String {
    let mac = hmac_sha256(secret.reveal().as_bytes(), &[body]);
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

/// The same for the `v1a` signatures of the header.
pub fn verify_asymmetric(
    key: PublicKey,
    id: &str,
    timestamp_secs: i64,
    body: &[u8],
    header: &str,
) -> bool {
    let message = [format!("{id}.{timestamp_secs}.").as_bytes(), body].concat();
    let signatures = header.split(' ').filter_map(|given| given.strip_prefix("v1a,"));
    signatures
        .filter_map(|encoded| STANDARD.decode(encoded).ok())
        .any(|signature| key.verifies(&message, &signature))
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
    fn an_asymmetric_signature_belongs_to_one_message_and_one_key() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let signature = asymmetric(&key, "msg_1", 1_614_265_330, b"{}");
        let header = format!("v1,AAAA {signature}");
        let verify = |key: &SigningKey, id, at, body, header: &str| {
            verify_asymmetric(key.public(), id, at, body, header)
        };
        assert!(verify(&key, "msg_1", 1_614_265_330, b"{}", &header));
        assert!(!verify(&key, "msg_2", 1_614_265_330, b"{}", &header));
        assert!(!verify(&key, "msg_1", 1_614_265_331, b"{}", &header));
        assert!(!verify(&key, "msg_1", 1_614_265_330, b"[]", &header));
        assert!(!verify(&key, "msg_1", 1_614_265_330, b"{}", &header.replace("v1a", "v1")));
        let other = SigningKey::from_seed(&[8; 32]).unwrap();
        assert!(!verify(&other, "msg_1", 1_614_265_330, b"{}", &header));
    }
}
