//! The keys of a server: given as settings, or made on the first start and kept in the data
//! directory.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare::keys::{read, read_or_make};

use crate::failure::{Failure, Result};
use crate::settings::Settings;

/// What a server signs tokens and seals secrets with.
pub(crate) struct Keys {
    /// Signs tokens: the bytes of the setting's text.
    pub jwt_secret: String,
    /// Seals signing secrets.
    pub encryption_key: [u8; 32],
}

impl Keys {
    /// Random keys that are kept nowhere.
    pub(crate) fn throw_away() -> Result<Keys> {
        Ok(Keys { jwt_secret: STANDARD.encode(random()?), encryption_key: random()? })
    }

    /// The server's keys. Those that are neither given nor there yet are made, and are on disk
    /// when this returns.
    pub(crate) fn load_or_make(settings: &Settings) -> Result<Keys> {
        if settings.jwt_secret.is_none() || settings.encryption_key.is_none() {
            make_data_dir(&settings.data_dir)?;
        }
        refuse_to_replace_lost_key(settings)?;
        let jwt_secret = match &settings.jwt_secret {
            Some(given) => given.clone(),
            None => STANDARD.encode(*read_or_make(&jwt_secret_file(settings))?),
        };
        let encryption_key = match settings.encryption_key {
            Some(given) => given,
            None => *read_or_make(&encryption_key_file(settings))?,
        };
        Ok(Keys { jwt_secret, encryption_key })
    }
}

/// A new key would not open what an embedded store has sealed with the one that is gone, and would
/// look as if it were that one.
fn refuse_to_replace_lost_key(settings: &Settings) -> Result {
    let file = encryption_key_file(settings);
    let store = settings.database_url.strip_prefix("sqlite:").map(Path::new);
    if settings.encryption_key.is_some() || file.exists() || !store.is_some_and(Path::exists) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the store is there, but its key {} is not: put the file back, or set \
         FANFARE_ENCRYPTION_KEY",
        file.display()
    )))
}

/// The key of a server's tokens, to make some for it.
pub(crate) fn jwt_secret(settings: &Settings) -> Result<String> {
    if let Some(given) = &settings.jwt_secret {
        return Ok(given.clone());
    }
    let file = jwt_secret_file(settings);
    // In the form of the file, so that its text can be given as the setting.
    read(&file)?.map(|key| STANDARD.encode(*key)).ok_or_else(|| {
        Failure::Failed(format!(
            "there is no key for tokens at {}; start `fanfare serve` there once, or say where its \
             files are with --data-dir or what its key is with FANFARE_JWT_SECRET",
            file.display()
        ))
    })
}

/// The key that seals a server's secrets, if it is known here.
pub(crate) fn encryption_key(settings: &Settings) -> Result<Option<[u8; 32]>> {
    if settings.encryption_key.is_some() {
        return Ok(settings.encryption_key);
    }
    Ok(read(&encryption_key_file(settings))?.map(|key| *key))
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

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
    Ok(bytes)
}
