//! Key files: made once, readable by their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A key of 32 bytes.
pub type Key = Zeroizing<[u8; 32]>;

/// Reads the key in the file `path`, making both with mode 0600 when there is none. A new key is on
/// disk, name included, before it is returned.
///
/// # Errors
/// [`Error::Setup`] when the file cannot be read or made, holds no key, or others may read it.
pub fn read_or_make(path: &Path) -> Result<Key> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    make(path).map_err(|error| wrong(path, &format!("cannot be made: {error}")))?;
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
    let key = parse(text.trim()).ok_or_else(|| wrong(path, "does not hold the base64 of 32 bytes"));
    key.map(Some)
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::Setup(format!("the key file {} {why}", path.display()))
}

/// Reads a key written as base64.
pub fn parse(text: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let key: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(key))
}

/// Makes a key file. It appears whole or not at all, and never over another one: a start that is
/// cut short leaves nothing that the next one stumbles over.
fn make(path: &Path) -> std::io::Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(std::io::Error::other)?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = Path::new(&draft);
    if let Err(error) = fs::remove_file(draft)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(draft, path));
    fs::remove_file(draft)?;
    if let Err(error) = linked
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = read_or_make(&path).unwrap();
        assert_eq!(*read_or_make(&path).unwrap(), *key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_or_make(&path).unwrap_err().to_string().contains("0600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not a key").unwrap();
        assert!(read_or_make(&path).unwrap_err().to_string().contains("base64 of 32 bytes"));
    }
}
