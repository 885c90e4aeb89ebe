//! The secret that sender and receiver share.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
        // Room for all of it, so that no shorter copy is left behind unwiped.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 2 * bytes.len()));
        text.push_str(PREFIX);
        STANDARD.encode_string(bytes, &mut text);
        Secret { text, bytes: Zeroizing::new(bytes.to_vec()) }
    }

    /// The secret in full, `whsec_` included.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The bytes behind `whsec_`.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_by_debug_and_malformed_ones_are_refused() {
        let secret = Secret::from_bytes(&[7; 32]);
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.reveal().parse::<Secret>().unwrap().reveal(), secret.reveal());
        let with_another = format!("{} {}", secret.reveal(), secret.reveal());
        for bad in
            ["", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", &secret.reveal()[6..], &with_another]
        {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
    }
}
