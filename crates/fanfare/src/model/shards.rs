//! Shards: groups of lanes that one node has at a time.

use std::fmt;

use uuid::Uuid;

/// How many there are. A power of two, and for ever the same: it is part of what stores keep.
pub const SHARDS: u8 = 64;

/// A set of shards. What belongs to an endpoint is in the shard of the endpoint's id, what belongs
/// to a company as a whole in that of the company's.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards(u64);

impl Shards {
    /// None of them.
    pub const NONE: Shards = Shards(0);
    /// All of them.
    pub const ALL: Shards = Shards(u64::MAX);

    /// The shard of an id: its last six bits, which are random in every version in use.
    pub fn of(id: Uuid) -> u8 {
        id.as_bytes().last().copied().unwrap_or_default() % SHARDS
    }

    /// The set with these in it.
    pub const fn from_bits(bits: u64) -> Shards {
        Shards(bits)
    }

    /// A bit for each, the lowest for the first.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Is this one among them?
    pub const fn has(self, shard: u8) -> bool {
        shard < SHARDS && self.0 & (1 << shard) != 0
    }

    /// Is the shard of this id among them?
    pub fn has_id(self, id: Uuid) -> bool {
        self.has(Shards::of(id))
    }

    /// With this one.
    #[must_use]
    pub const fn with(self, shard: u8) -> Shards {
        if shard < SHARDS { Shards(self.0 | 1 << shard) } else { self }
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, others: Shards) -> Shards {
        Shards(self.0 | others.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn common(self, others: Shards) -> Shards {
        Shards(self.0 & others.0)
    }

    /// Without those.
    #[must_use]
    pub const fn without(self, others: Shards) -> Shards {
        Shards(self.0 & !others.0)
    }

    /// Is there none?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..SHARDS).filter(move |shard| self.has(*shard))
    }
}

impl FromIterator<u8> for Shards {
    fn from_iter<I: IntoIterator<Item = u8>>(shards: I) -> Self {
        shards.into_iter().fold(Shards::NONE, Shards::with)
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_shard_and_sets_are_sets() {
        assert_eq!(Shards::of(Uuid::nil()), 0);
        assert_eq!(Shards::of(Uuid::max()), SHARDS - 1);
        assert_eq!(Shards::of(Uuid::from_u128(0x41)), 1);
        assert!(Shards::ALL.has_id(Uuid::max()) && !Shards::NONE.has_id(Uuid::nil()));
        let some: Shards = [3, 63, 3, 64, 255].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [3, 63]);
        assert_eq!((some.len(), Shards::ALL.len()), (2, 64));
        let other = Shards::NONE.with(3).with(4);
        assert_eq!(some.union(other).len(), 3);
        assert_eq!(some.common(other), Shards::NONE.with(3));
        assert_eq!(some.without(other), Shards::NONE.with(63));
        assert_eq!(Shards::from_bits(some.bits()), some);
    }
}
