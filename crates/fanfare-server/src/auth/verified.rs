//! Tokens that were believed before. The same few come with every request of a client.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use sha2::{Digest, Sha256};

use super::token::Claims;

/// Tokens of one generation; two are kept, so 1,024 in all.
const GENERATION_MAX: usize = 512;

/// What stands for a token: its SHA-256, so that tokens are not kept and looking one up tells
/// nothing by the time it takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(token: &str) -> Fingerprint {
        Fingerprint(Sha256::digest(token.as_bytes()).into())
    }
}

/// The claims of tokens whose signatures held. It belongs to one key set and goes with it.
#[derive(Default)]
pub(super) struct Verified(RwLock<Generations>);

/// When the young are many they become the old, and the old are forgotten.
#[derive(Default)]
struct Generations {
    young: HashMap<Fingerprint, Claims>,
    old: HashMap<Fingerprint, Claims>,
}

impl Verified {
    /// The claims of a token, if it is among the newest.
    pub(super) fn get(&self, token: &Fingerprint) -> Option<Claims> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.young.get(token).or_else(|| known.old.get(token)).cloned()
    }

    /// Remembers a token.
    pub(super) fn insert(&self, token: Fingerprint, claims: Claims) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= GENERATION_MAX {
            known.old = std::mem::take(&mut known.young);
        }
        known.young.insert(token, claims);
    }
}

#[cfg(test)]
mod tests {
    use fanfare::model::Timestamp;

    use super::*;

    #[test]
    fn the_newest_tokens_are_known_and_the_oldest_forgotten() {
        let verified = Verified::default();
        let name = |number: i64| Fingerprint::of(&number.to_string());
        for number in 0..5_000 {
            verified.insert(name(number), Claims::until(Timestamp(number)));
            let known = verified.0.read().unwrap();
            assert!(known.young.len() + known.old.len() <= 2 * GENERATION_MAX);
        }
        assert!((4_500..5_000).all(|number| verified.get(&name(number)).is_some()));
        assert!((0..3_900).all(|number| verified.get(&name(number)).is_none()));
    }
}
