//! Certificates that an endpoint's connections use instead of the machine's.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::{Flaw, MASK};

/// Whom an endpoint's connections trust, and whom they say they are; each as PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OwnTls {
    /// Certificates of authorities, one or more. Only these are trusted then, and not those of the
    /// machine.
    pub ca_certificate: Option<String>,
    /// The certificate that connections show, with those between it and its authority behind it.
    pub client_certificate: Option<String>,
    /// Its key. [`MASK`] means the one that the endpoint has.
    pub client_key: Option<Zeroizing<String>>,
}

/// The form in which it is sealed.
#[derive(Serialize, Deserialize)]
struct Text<'a> {
    ca: Option<Cow<'a, str>>,
    certificate: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
}

impl OwnTls {
    /// Does it hold nothing?
    pub fn is_empty(&self) -> bool {
        *self == OwnTls::default()
    }

    /// Does its key stand for the one that the endpoint has?
    pub fn keeps_key(&self) -> bool {
        self.client_key.as_ref().is_some_and(|key| key.as_str() == MASK)
    }

    /// The same with the key of the `present` one where that is to be kept.
    ///
    /// # Errors
    /// When there is none to keep.
    pub fn over(mut self, present: &OwnTls) -> Result<Self, Flaw> {
        if self.keeps_key() {
            let reason = format!(
                "`{MASK}` stands for the key that the endpoint has, and it has none; give the key"
            );
            let flaw = Flaw { field: "tls.clientKey".to_owned(), reason };
            self.client_key = Some(present.client_key.clone().ok_or(flaw)?);
        }
        Ok(self)
    }

    /// The same for everybody's eyes: certificates are public, the key is not.
    #[must_use]
    pub fn masked(self) -> Self {
        let client_key = self.client_key.map(|_| Zeroizing::new(MASK.to_owned()));
        OwnTls { client_key, ..self }
    }

    /// All of it as one text, to be sealed.
    pub fn to_text(&self) -> Result<Zeroizing<String>, String> {
        let all = [self.ca_certificate.as_deref(), self.client_certificate.as_deref()];
        let [ca, certificate] = all.map(|text| text.map(Cow::Borrowed));
        let key = self.client_key.as_deref().map(|key| Cow::Borrowed(key.as_str()));
        let text = Text { ca, certificate, key };
        // Of more than its final size from the start: a text that grows leaves copies behind.
        let mut json = Zeroizing::new(Vec::with_capacity(2 * self.len() + 64));
        serde_json::to_writer(&mut *json, &text).map_err(|error| error.to_string())?;
        let json = String::from_utf8(std::mem::take(&mut *json));
        json.map(Zeroizing::new).map_err(|error| error.to_string())
    }

    /// Reads what [`OwnTls::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let text: Text<'_> = serde_json::from_str(text)
            .map_err(|_| "the certificates are not in their form".to_owned())?;
        Ok(OwnTls {
            ca_certificate: text.ca.map(Cow::into_owned),
            client_certificate: text.certificate.map(Cow::into_owned),
            client_key: text.key.map(|key| Zeroizing::new(key.into_owned())),
        })
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        let key = self.client_key.as_deref().map(String::as_str);
        let all = [self.ca_certificate.as_deref(), self.client_certificate.as_deref(), key];
        all.into_iter().flatten().map(str::len).sum()
    }
}

impl fmt::Debug for OwnTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTls")
            .field("ca_certificate", &self.ca_certificate)
            .field("client_certificate", &self.client_certificate)
            .field("client_key", &self.client_key.as_ref().map(|_| MASK))
            .finish()
    }
}
