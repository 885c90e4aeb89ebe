//! Keys that programs call with.

use std::fmt;
use std::str::FromStr;

use crate::model::{ApiKeyId, CompanyId, Timestamp};

/// A key that a program calls with, as far as it is kept: not the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name.
    pub id: ApiKeyId,
    /// For whom it acts.
    pub company: CompanyId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the key. A key has 32 random bytes, so nobody finds it by trying: there is no
    /// need of a hash that is slow on purpose.
    pub hash: KeyHash,
    /// Its last characters, so that people know it again.
    pub hint: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it works no more; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, give or take a minute; `None` before the first time.
    pub used_at: Option<Timestamp>,
    /// When it was revoked; `None` while it works.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Does it work at `now`?
    pub fn works_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a key hashes to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Emit events, and nothing else.
    Emit,
    /// See everything but secrets, keys and the audit log.
    Read,
    /// Whatever an administrator of the company may.
    Admin,
}

impl Scope {
    /// Every scope with its spelling.
    pub const ALL: [(Scope, &'static str); 3] =
        [(Scope::Emit, "emit"), (Scope::Read, "read"), (Scope::Admin, "admin")];

    /// Its spelling.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(scope, _)| *scope == self).map_or("admin", |(_, name)| name)
    }

    /// May a caller of this scope do what needs the other one?
    pub fn allows(self, needed: Scope) -> bool {
        self == Scope::Admin || self == needed
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(scope, _)| *scope).ok_or_else(|| "must be one of: emit, read, admin".to_owned())
    }
}
