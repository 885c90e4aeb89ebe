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
    let wrong = |why: String| Error::Setup(format!("the key file {} {why}", path.display()));
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            return Err(wrong("may be read by others; set its mode to 0600".to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return make(path).map_err(|error| wrong(format!("cannot be made: {error}")));
        }
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
    }
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    parse(text.trim()).ok_or_else(|| wrong("does not hold the base64 of 32 bytes".to_owned()))
}

/// Reads a key written as base64.
pub fn parse(text: &str) -> Option<Key> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    let key: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(key))
}

fn make(path: &Path) -> std::io::Result<Key> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(std::io::Error::other)?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));
    // Exclusively: of two first starts at once, one fails rather than both having a key.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(key)
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
