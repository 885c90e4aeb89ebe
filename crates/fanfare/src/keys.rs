//! Keys, and the files they are kept in: readable by their owner alone, whole or not there.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::seal::Seal;

/// A key of 32 bytes. Wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

/// What secrets are sealed with at rest.
#[derive(Debug, Clone)]
pub struct EncryptionKeys {
    /// Seals and opens.
    pub present: Key,
    /// Opens what is still sealed with the key before it.
    pub previous: Option<Key>,
    /// The file of the present key, where it may be replaced by a new one; the key before it then
    /// lies beside it, in [`previous_file`].
    pub file: Option<PathBuf>,
}

impl Key {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Setup`] when the system has no randomness.
    pub fn random() -> Result<Key> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())
            .map_err(|error| Error::Setup(format!("no randomness: {error}")))?;
        Ok(Key(key))
    }

    /// Reads a key written as base64.
    pub fn parse(text: &str) -> Option<Key> {
        let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
        let mut key = Zeroizing::new([0; 32]);
        if bytes.len() != key.len() {
            return None;
        }
        key.copy_from_slice(&bytes);
        Some(Key(key))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its base64.
    pub fn reveal(&self) -> Zeroizing<String> {
        // Room for all of it, so that no shorter copy is left behind unwiped.
        let mut text = Zeroizing::new(String::with_capacity(2 * self.0.len()));
        STANDARD.encode_string(self.0.as_slice(), &mut text);
        text
    }
}

impl From<[u8; 32]> for Key {
    fn from(bytes: [u8; 32]) -> Self {
        Key(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl EncryptionKeys {
    /// The keys in a file and beside it, if there are any.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let Some(present) = read(path)? else { return Ok(None) };
        let previous = read(&previous_file(path))?;
        Ok(Some(EncryptionKeys { present, previous, file: Some(path.to_owned()) }))
    }

    /// The same, making the file when there is none.
    ///
    /// # Errors
    /// As [`read_or_make`].
    pub fn read_or_make(path: &Path) -> Result<Self> {
        let present = read_or_make(path)?;
        let previous = read(&previous_file(path))?;
        Ok(EncryptionKeys { present, previous, file: Some(path.to_owned()) })
    }

    /// A seal with them.
    pub fn seal(&self) -> Seal {
        let seal = Seal::new(self.present.bytes());
        self.previous.iter().fold(seal, |seal, older| seal.opening(older.bytes()))
    }
}

impl<K: Into<Key>> From<K> for EncryptionKeys {
    /// One key, given by somebody who keeps it.
    fn from(key: K) -> Self {
        EncryptionKeys { present: key.into(), previous: None, file: None }
    }
}

/// Where the key before the one in `path` lies: in `….previous`.
pub fn previous_file(path: &Path) -> PathBuf {
    beside(path, "previous")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Reads the key in the file `path`, making both with mode 0600 when there is none. A new key is on
/// disk, name included, before it is returned.
///
/// # Errors
/// [`Error::Setup`] when the file cannot be read or made, holds no key, or others may read it.
pub fn read_or_make(path: &Path) -> Result<Key> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    make(path, &Key::random()?).map_err(|error| unmade(path, &error))?;
    // Of two first starts at once one makes the key and both read it.
    read(path)?.ok_or_else(|| wrong(path, "has gone"))
}

/// Reads the key in the file `path`, if there is one.
///
/// # Errors
/// [`Error::Setup`] when the file cannot be read, holds no key, or others may read it.
pub fn read(path: &Path) -> Result<Option<Key>> {
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            return Err(wrong(path, "may be read by others; set its mode to 0600"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(path, &format!("cannot be read: {error}"))),
    }
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| wrong(path, &format!("cannot be read: {error}")))?;
    let key = Key::parse(text.trim());
    key.map(Some).ok_or_else(|| wrong(path, "does not hold the base64 of 32 bytes"))
}

/// Puts a new key in the place of the one in the file `path`, and that one beside it. A crash at
/// any moment leaves the old key in `path`, or both in their places. `in_use` knows the key in use:
/// what was cut short is not done a second time, which would lose that key.
///
/// # Errors
/// [`Error::Setup`] when a file cannot be read or written, or the key in use is in neither.
pub fn replace(path: &Path, in_use: impl Fn(&Key) -> bool) -> Result<Key> {
    let present = read(path)?.ok_or_else(|| wrong(path, "has gone"))?;
    let previous_path = previous_file(path);
    if !in_use(&present) {
        let previous = read(&previous_path)?.filter(in_use);
        return previous.map(|_| present).ok_or_else(|| {
            wrong(path, "is not the key that is in use: put that one back, or start again")
        });
    }
    let key = Key::random()?;
    for (file, key) in [(&*previous_path, &present), (path, &key)] {
        put(file, key).map_err(|error| unmade(file, &error))?;
    }
    Ok(key)
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::Setup(format!("the key file {} {why}", path.display()))
}

fn unmade(path: &Path, error: &std::io::Error) -> Error {
    wrong(path, &format!("cannot be made: {error}"))
}

/// Makes a key file. It appears whole or not at all, and never over another one: a start that is
/// cut short leaves nothing that the next one stumbles over.
fn make(path: &Path, key: &Key) -> std::io::Result<()> {
    // Two first starts at once must not share it.
    let draft = draft(path, &std::process::id().to_string(), key)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(draft)?;
    if let Err(error) = linked
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    sync_name(path)
}

/// Makes a key file, also in the place of another one.
fn put(path: &Path, key: &Key) -> std::io::Result<()> {
    // Always under this name, so that what a crash leaves behind is gone with the next one.
    fs::rename(draft(path, "new", key)?, path)?;
    sync_name(path)
}

/// A key on disk, under a name of its own.
fn draft(path: &Path, ending: &str, key: &Key) -> std::io::Result<PathBuf> {
    let draft = beside(path, ending);
    if let Err(error) = fs::remove_file(&draft)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(key.reveal().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    Ok(draft)
}

fn sync_name(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn is(key: &Key) -> impl Fn(&Key) -> bool {
        let bytes = *key.bytes();
        move |other| *other.bytes() == bytes
    }

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = read_or_make(&path).unwrap();
        assert_eq!(read_or_make(&path).unwrap().bytes(), key.bytes());
        assert_eq!(mode(&path), 0o600);

        for wider in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wider)).unwrap();
            assert!(read_or_make(&path).unwrap_err().to_string().contains("0600"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not a key").unwrap();
        assert!(read_or_make(&path).unwrap_err().to_string().contains("base64 of 32 bytes"));
    }

    #[test]
    fn a_replaced_key_lies_beside_the_new_one_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let old = read_or_make(&path).unwrap();
        let new = replace(&path, is(&old)).unwrap();
        let keys = EncryptionKeys::read(&path).unwrap().unwrap();
        assert_eq!(keys.present.bytes(), new.bytes());
        assert_eq!(keys.previous.unwrap().bytes(), old.bytes());
        assert_eq!((mode(&path), mode(&previous_file(&path))), (0o600, 0o600));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_replacement_that_was_cut_short_is_taken_up_and_loses_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let old = read_or_make(&path).unwrap();
        // Cut between the two files.
        put(&previous_file(&path), &old).unwrap();
        let new = replace(&path, is(&old)).unwrap();
        // Cut before anybody used the new key.
        assert_eq!(replace(&path, is(&old)).unwrap().bytes(), new.bytes());
        let beside = read(&previous_file(&path)).unwrap().unwrap();
        assert_eq!(beside.bytes(), old.bytes());

        let foreign = replace(&path, |_| false).unwrap_err().to_string();
        assert!(foreign.contains("not the key that is in use"), "{foreign}");
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = EncryptionKeys::from([7; 32]);
        let shown = format!("{:?} {keys:?}", keys.present);
        assert!(shown.contains("***") && !shown.contains('7'), "{shown}");
    }
}
