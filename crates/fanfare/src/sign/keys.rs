//! What an endpoint's requests are signed with.

use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Secret, SigningKey, asymmetric, standard, w3block};

/// The keys of an endpoint: a secret that its receiver knows, and a key of its own if its receiver
/// asked for one.
#[derive(Debug)]
pub struct Keys {
    /// Signs `v1`.
    pub secret: Secret,
    /// Signs `v1a`.
    pub signing: Option<SigningKey>,
}

impl Keys {
    /// This secret, and a new key beside it when one is wanted.
    pub fn with(secret: Secret, asymmetric: bool) -> Result<Self, String> {
        let signing = if asymmetric { Some(SigningKey::generate()?) } else { None };
        Ok(Keys { secret, signing })
    }

    /// Both as one text, `whsec_…` or `whsec_… whsk_…`, to be sealed.
    pub fn reveal(&self) -> Result<Zeroizing<String>, String> {
        let secret = self.secret.reveal();
        Ok(Zeroizing::new(match &self.signing {
            Some(key) => [secret, " ", &key.reveal()?].concat(),
            None => secret.to_owned(),
        }))
    }

    fn sign(&self, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
        let symmetric = standard(&self.secret, id, timestamp_secs, body);
        match &self.signing {
            Some(key) => format!("{symmetric} {}", asymmetric(key, id, timestamp_secs, body)),
            None => symmetric,
        }
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (secret, signing) = match text.split_once(' ') {
            Some((secret, signing)) => (secret, Some(signing.parse()?)),
            None => (text, None),
        };
        Ok(Keys { secret: secret.parse()?, signing })
    }
}

/// The keys that sign at one moment.
#[derive(Debug, Clone)]
pub struct Signers {
    /// The present ones.
    pub current: Arc<Keys>,
    /// Those before them, as long as they sign too.
    pub previous: Option<Arc<Keys>>,
}

impl Signers {
    /// The value of `webhook-signature`: those of the present keys first.
    pub fn standard(&self, id: &str, timestamp_secs: i64, body: &[u8]) -> String {
        let signature = self.current.sign(id, timestamp_secs, body);
        match &self.previous {
            Some(keys) => format!("{signature} {}", keys.sign(id, timestamp_secs, body)),
            None => signature,
        }
    }

    /// The value of `x-w3block-commerce-signature`.
    pub fn w3block(&self, body: &[u8]) -> String {
        w3block(self.w3block_secret(), body)
    }

    /// The secret behind that header. It has room for one signature, so the old secret keeps it
    /// until it signs no more.
    pub fn w3block_secret(&self) -> &Secret {
        &self.previous.as_ref().unwrap_or(&self.current).secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        for asymmetric in [false, true] {
            let keys = Keys::with(Secret::from_bytes(&[7; 32]), asymmetric).unwrap();
            let read: Keys = keys.reveal().unwrap().parse().unwrap();
            assert_eq!(read.secret.reveal(), keys.secret.reveal());
            let public = |keys: &Keys| keys.signing.as_ref().map(SigningKey::public);
            assert_eq!(public(&read), public(&keys));
            assert_eq!(read.signing.is_some(), asymmetric);
        }
        let secret = Secret::from_bytes(&[7; 32]);
        for bad in [format!("{} ", secret.reveal()), format!("{} whsk_x", secret.reveal())] {
            assert!(bad.parse::<Keys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_new_keys_sign_first_and_w3block_hears_of_the_old_secret() {
        let old = Arc::new(Keys::with(Secret::from_bytes(&[1; 32]), true).unwrap());
        let new = Arc::new(Keys::with(Secret::from_bytes(&[2; 32]), false).unwrap());
        let both = Signers { current: Arc::clone(&new), previous: Some(Arc::clone(&old)) };
        let header = both.standard("id", 1, b"{}");
        let schemes: Vec<&str> =
            header.split(' ').map(|one| one.split(',').next().unwrap()).collect();
        assert_eq!(schemes, ["v1", "v1", "v1a"]);
        assert!(header.starts_with(&standard(&new.secret, "id", 1, b"{}")));
        assert!(header.contains(&standard(&old.secret, "id", 1, b"{}")));
        assert_eq!(both.w3block(b"{}"), w3block(&old.secret, b"{}"));
        let after = Signers { current: Arc::clone(&new), previous: None };
        assert_eq!(after.standard("id", 1, b"{}"), standard(&new.secret, "id", 1, b"{}"));
        assert_eq!(after.w3block(b"{}"), w3block(&new.secret, b"{}"));
    }
}
