//! The keys of a server: given as settings, or made on the first start and kept in the data
//! directory.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::failure::{Failure, Result};
use crate::settings::Settings;

/// What a server signs tokens and seals secrets with.
pub(crate) struct Keys {
    /// Signs tokens: the bytes of the setting's text.
    pub jwt_secret: String,
    /// Seals signing secrets.
    pub encryption_key: [u8; 32],
}

/// The name of the file with the key of tokens.
const JWT_SECRET: &str = "jwt-secret";
/// The name of the file with the key that seals.
const ENCRYPTION_KEY: &str = "encryption-key";
/// The longest key file that makes sense.
const KEY_BYTES_MAX: u64 = 4096;

impl Keys {
    /// Random keys that are kept nowhere.
    pub(crate) fn throw_away() -> Result<Keys> {
        Ok(Keys { jwt_secret: STANDARD.encode(random()?), encryption_key: random()? })
    }

    /// The server's keys. Those that are neither given nor there yet are made, and are on disk
    /// when this returns.
    pub(crate) fn load_or_make(settings: &Settings) -> Result<Keys> {
        let dir = &settings.data_dir;
        let jwt_secret = match &settings.jwt_secret {
            Some(given) => given.clone(),
            None => read_or_make(dir, JWT_SECRET)?,
        };
        let encryption_key = match settings.encryption_key {
            Some(given) => given,
            None => parse_key(dir, &read_or_make(dir, ENCRYPTION_KEY)?)?,
        };
        Ok(Keys { jwt_secret, encryption_key })
    }
}

/// The key of a server's tokens, to make some for it.
pub(crate) fn jwt_secret(settings: &Settings) -> Result<String> {
    if let Some(given) = &settings.jwt_secret {
        return Ok(given.clone());
    }
    let dir = &settings.data_dir;
    read(dir, JWT_SECRET)?.ok_or_else(|| {
        Failure::Failed(format!(
            "there is no key for tokens at {}; start `fanfare serve` there once, or say where its \
             files are with --data-dir or what its key is with FANFARE_JWT_SECRET",
            dir.join(JWT_SECRET).display()
        ))
    })
}

/// The key that seals a server's secrets, if it is known here.
pub(crate) fn encryption_key(settings: &Settings) -> Result<Option<[u8; 32]>> {
    if settings.encryption_key.is_some() {
        return Ok(settings.encryption_key);
    }
    let text = read(&settings.data_dir, ENCRYPTION_KEY)?;
    text.map(|text| parse_key(&settings.data_dir, &text)).transpose()
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

fn read_or_make(dir: &Path, name: &str) -> Result<String> {
    if let Some(key) = read(dir, name)? {
        return Ok(key);
    }
    make_data_dir(dir)?;
    make(dir, name).map_err(|error| {
        Failure::Failed(format!("{} cannot be made: {error}", dir.join(name).display()))
    })?;
    // What stands there now, which is another process's key where that was quicker.
    read(dir, name)?
        .ok_or_else(|| Failure::Failed(format!("{} has gone", dir.join(name).display())))
}

/// Makes a key file. It appears whole or not at all, and never over another one.
fn make(dir: &Path, name: &str) -> std::io::Result<()> {
    let bytes = random().map_err(|failure| std::io::Error::other(failure.message().to_owned()))?;
    let mut draft = tempfile::Builder::new().prefix(".key").tempfile_in(dir)?;
    draft.as_file().set_permissions(Permissions::from_mode(0o600))?;
    writeln!(draft, "{}", STANDARD.encode(bytes))?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(dir.join(name)) {
        Err(kept) if kept.error.kind() != ErrorKind::AlreadyExists => Err(kept.error),
        _ => File::open(dir)?.sync_all(),
    }
}

/// The text of a key file, if there is one.
fn read(dir: &Path, name: &str) -> Result<Option<String>> {
    let path = dir.join(name);
    let refuse = |reason: String| Failure::Failed(format!("{} {reason}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
    };
    let unreadable = |error: std::io::Error| refuse(format!("cannot be read: {error}"));
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let command = format!("chmod 600 {}", path.display());
        return Err(refuse(format!("has mode {mode:o}: others may read the key; `{command}`")));
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let key = text.trim();
    if key.is_empty() {
        return Err(refuse("is empty; put the key back, or remove the file".to_owned()));
    }
    Ok(Some(key.to_owned()))
}

fn parse_key(dir: &Path, text: &str) -> Result<[u8; 32]> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| {
        let path = dir.join(ENCRYPTION_KEY);
        Failure::Failed(format!("{} is not the base64 of 32 bytes", path.display()))
    })
}

fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
    Ok(bytes)
}
