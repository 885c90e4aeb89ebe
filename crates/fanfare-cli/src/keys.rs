//! The keys of a server: given as settings, or made on the first start and kept in the data
//! directory.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fanfare::keys::{EncryptionKeys, Key, read, read_or_make};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::settings::Settings;

/// What a server signs tokens and seals secrets with.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Signs tokens.
    pub jwt: JwtSecret,
    /// Seal secrets.
    pub encryption: EncryptionKeys,
}

/// The key of tokens: the bytes of the setting's text. Wiped from memory when dropped, and never
/// shown.
#[derive(Clone)]
pub(crate) struct JwtSecret(Zeroizing<String>);

impl JwtSecret {
    /// The text, as the setting has it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.as_bytes().to_vec())
    }
}

impl From<Zeroizing<String>> for JwtSecret {
    fn from(text: Zeroizing<String>) -> Self {
        JwtSecret(text)
    }
}

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Keys {
    /// Random keys that are kept nowhere.
    pub(crate) fn throw_away() -> Result<Keys> {
        Ok(Keys { jwt: Key::random()?.reveal().into(), encryption: Key::random()?.into() })
    }

    /// The server's keys. Those that are neither given nor there yet are made, and are on disk
    /// when this returns.
    pub(crate) fn load_or_make(settings: &Settings) -> Result<Keys> {
        if settings.jwt_secret.is_none() || settings.encryption_key.is_none() {
            make_data_dir(&settings.data_dir)?;
        }
        refuse_to_replace_lost_key(settings)?;
        let jwt = match &settings.jwt_secret {
            Some(given) => given.clone(),
            None => read_or_make(&jwt_secret_file(settings))?.reveal().into(),
        };
        let encryption = match given(settings) {
            Some(given) => given,
            None => with_given_previous(
                settings,
                EncryptionKeys::read_or_make(&encryption_key_file(settings))?,
            ),
        };
        Ok(Keys { jwt, encryption })
    }
}

/// The keys that settings give.
fn given(settings: &Settings) -> Option<EncryptionKeys> {
    let present = settings.encryption_key.clone()?;
    let previous = settings.encryption_key_previous.clone();
    Some(EncryptionKeys { present, previous, file: None })
}

/// What lies in a file may have been sealed with a key that was given before.
fn with_given_previous(settings: &Settings, keys: EncryptionKeys) -> EncryptionKeys {
    let previous = settings.encryption_key_previous.clone().or(keys.previous);
    EncryptionKeys { previous, ..keys }
}

/// A new key would not open what an embedded store has sealed with the one that is gone, and would
/// look as if it were that one.
fn refuse_to_replace_lost_key(settings: &Settings) -> Result {
    let file = encryption_key_file(settings);
    let store = settings.database_url.path();
    // With the one before it, it can be replaced.
    let given = settings.encryption_key.is_some() || settings.encryption_key_previous.is_some();
    if given || file.exists() || !store.is_some_and(Path::exists) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the store is there, but its key {} is not: put the file back, or set \
         FANFARE_ENCRYPTION_KEY",
        file.display()
    )))
}

/// The key of a server's tokens, to make some for it.
pub(crate) fn jwt_secret(settings: &Settings) -> Result<JwtSecret> {
    if let Some(given) = &settings.jwt_secret {
        return Ok(given.clone());
    }
    let file = jwt_secret_file(settings);
    // In the form of the file, so that its text can be given as the setting.
    read(&file)?.map(|key| key.reveal().into()).ok_or_else(|| {
        Failure::Failed(format!(
            "there is no key for tokens at {}; start `fanfare serve` there once, or say where its \
             files are with --data-dir or what its key is with FANFARE_JWT_SECRET",
            file.display()
        ))
    })
}

/// The keys that seal a server's secrets, if they are known here.
pub(crate) fn encryption_keys(settings: &Settings) -> Result<Option<EncryptionKeys>> {
    if let Some(given) = given(settings) {
        return Ok(Some(given));
    }
    let found = EncryptionKeys::read(&encryption_key_file(settings))?;
    Ok(found.map(|keys| with_given_previous(settings, keys)))
}

/// Makes the data directory, for its owner's eyes only. One that is there stays as it is.
pub(crate) fn make_data_dir(dir: &Path) -> Result {
    let made = || {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Its name is on disk before anything in it counts.
        File::open(dir.join(".."))?.sync_all()
    };
    made().map_err(|error| {
        Failure::Failed(format!("the directory {} cannot be made: {error}", dir.display()))
    })
}

fn jwt_secret_file(settings: &Settings) -> PathBuf {
    settings.data_dir.join("jwt-secret")
}

fn encryption_key_file(settings: &Settings) -> PathBuf {
    settings.data_dir.join("encryption-key")
}
