use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;
use zeroize::Zeroizing;

/// Whose tokens are believed.
#[derive(Clone)]
pub struct AuthSettings {
    /// The key of HS256 tokens (`FANFARE_JWT_SECRET`). Never empty; 32 bytes or more are wise.
    pub secret: Zeroizing<Vec<u8>>,
    /// Where the keys of RS256, ES256 and `EdDSA` tokens come from (`FANFARE_JWKS`). Without it
    /// only HS256 is accepted.
    pub jwks: Option<JwksSource>,
    /// What `iss` must be, in every token (`FANFARE_JWT_ISSUER`).
    pub issuer: Option<String>,
    /// What `aud` must be or have, in every token (`FANFARE_JWT_AUDIENCE`).
    pub audience: Option<String>,
}

impl fmt::Debug for AuthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthSettings")
            .field("secret", &"***")
            .field("jwks", &self.jwks)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish()
    }
}

/// Where a JSON Web Key Set (RFC 7517) is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, read again when its modification time or length changes.
    File(PathBuf),
    /// An https URL, fetched every five minutes and when a token names a key it did not have.
    Url(Url),
}

impl FromStr for JwksSource {
    type Err = SettingError;

    /// Reads what `FANFARE_JWKS` says: `https://…`, or else the path of a file.
    fn from_str(text: &str) -> Result<Self, SettingError> {
        if !text.contains("://") {
            return Ok(JwksSource::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| jwks(format!("not a URL: {error}")))?;
        Ok(JwksSource::Url(must_be_https(url)?))
    }
}

impl JwksSource {
    /// Refuses what [`JwksSource::from_str`] would have refused.
    pub(super) fn checked(self) -> Result<Self, SettingError> {
        match self {
            JwksSource::Url(url) => Ok(JwksSource::Url(must_be_https(url)?)),
            file @ JwksSource::File(_) => Ok(file),
        }
    }
}

fn must_be_https(url: Url) -> Result<Url, SettingError> {
    if url.scheme() == "https" {
        return Ok(url);
    }
    Err(jwks("keys are fetched over https only; anything else is taken for a file's path".into()))
}

/// A setting with which the server does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The setting, by the name of its environment variable.
    pub setting: &'static str,
    /// What is wrong with it, for the operator.
    pub reason: String,
}

pub(super) fn jwks(reason: String) -> SettingError {
    SettingError { setting: "FANFARE_JWKS", reason }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.reason)
    }
}

impl Error for SettingError {}
