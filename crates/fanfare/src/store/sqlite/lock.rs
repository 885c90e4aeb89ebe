//! One process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::store::StoreError;

/// The right to write a store. The system takes it back when the process ends, however it ends.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let unreachable = |error| {
            StoreError::Taken(format!("the store at {} cannot be opened: {error}", path.display()))
        };
        let mut how = OpenOptions::new();
        // Whoever can read it can take it.
        how.create(true).truncate(false).write(true).mode(0o600);
        let opened = how.open(name);
        let file = opened.map_err(unreachable)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Taken(format!(
                "the store at {} is in use by another process; end that one first, or set \
                 FANFARE_DATA_DIR to another directory",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unreachable(error)),
        }
    }
}
