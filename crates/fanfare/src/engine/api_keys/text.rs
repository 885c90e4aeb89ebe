//! What a key looks like: `fanfare_` and the base64url of the company's id, 32 random bytes and four
//! bytes that check both, so that the lookup begins with the company, and a typing error or a
//! scanner for leaked secrets needs no lookup at all.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::model::{CompanyId, KeyHash};

/// What a key begins with.
const PREFIX: &str = "fanfare_";
const COMPANY_LEN: usize = 16;
const RANDOM_LEN: usize = 32;
const CHECK_LEN: usize = 4;
const BODY_LEN: usize = COMPANY_LEN + RANDOM_LEN;
/// Characters of a key that people know it by.
const HINT_LEN: usize = 4;

/// A key in full. Wiped from memory when dropped.
pub struct ApiKeyText(Zeroizing<String>);

impl ApiKeyText {
    pub(super) fn generate(company: CompanyId) -> Result<Self, String> {
        let mut bytes = Zeroizing::new([0; BODY_LEN + CHECK_LEN]);
        let (body, check) = bytes.split_at_mut(BODY_LEN);
        let (name, random) = body.split_at_mut(COMPANY_LEN);
        name.copy_from_slice(company.uuid().as_bytes());
        getrandom::fill(random).map_err(|error| format!("no randomness: {error}"))?;
        check.copy_from_slice(&checked(body));
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        Ok(ApiKeyText(Zeroizing::new(format!("{PREFIX}{}", encoded.as_str()))))
    }

    /// Does this look like a key, rather than like a token?
    pub fn resembles(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The key in full.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> KeyHash {
        hash(&self.0)
    }

    pub(super) fn hint(&self) -> &str {
        self.0.get(self.0.len().saturating_sub(HINT_LEN)..).unwrap_or_default()
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a key is known by.
pub(super) fn hash(text: &str) -> KeyHash {
    KeyHash(Sha256::digest(text.as_bytes()).into())
}

/// Whose key it is, if it is one by its form.
pub(super) fn company(text: &str) -> Option<CompanyId> {
    let encoded = text.strip_prefix(PREFIX)?;
    let mut bytes = Zeroizing::new([0; BODY_LEN + CHECK_LEN]);
    let length = URL_SAFE_NO_PAD.decode_slice(encoded, bytes.as_mut_slice()).ok()?;
    if length != BODY_LEN + CHECK_LEN {
        return None;
    }
    let (body, check) = bytes.split_at(BODY_LEN);
    if check != checked(body) {
        return None;
    }
    let (name, _) = body.split_first_chunk::<COMPANY_LEN>()?;
    Some(CompanyId::from_uuid(Uuid::from_bytes(*name)))
}

fn checked(body: &[u8]) -> [u8; CHECK_LEN] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn a_key_tells_whose_it_is_and_any_slip_of_the_pen_spoils_it() {
        let whose = CompanyId::new(Timestamp(0));
        let key = ApiKeyText::generate(whose).unwrap();
        let text = key.reveal();
        assert!(ApiKeyText::resembles(text) && text.ends_with(key.hint()), "{}", text.len());
        assert_eq!(company(text), Some(whose));
        assert_eq!(format!("{key:?}"), "***");
        for at in PREFIX.len()..text.len() {
            let mut spoilt = text.as_bytes().to_vec();
            spoilt[at] = if spoilt[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(company(std::str::from_utf8(&spoilt).unwrap()), None, "{at}");
        }
        for bad in ["", "fanfare_", "fanfare", &text[..text.len() - 1], &format!("{text}A")] {
            assert_eq!(company(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_two_keys_are_the_same() {
        let whose = CompanyId::new(Timestamp(0));
        let key = || ApiKeyText::generate(whose).unwrap();
        assert_ne!(key().reveal(), key().reveal());
        assert_ne!(key().hash(), key().hash());
    }
}
