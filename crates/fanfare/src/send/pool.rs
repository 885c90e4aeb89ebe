//! Connections between two requests.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::model::CompanyId;
use crate::send::link::Link;

/// How long a connection waits for its next request.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How many wait for each key, and in each shard.
const KEY_LINKS_MAX: usize = 64;
const SHARD_LINKS_MAX: usize = 128;
/// Each with a lock of its own, so that senders rarely meet.
const SHARDS: usize = 16;

/// Whose connection to where. Companies do not share any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) company: CompanyId,
    pub(super) https: bool,
    /// Host, and port where it is not the scheme's own.
    pub(super) authority: HeaderValue,
}

/// Idle connections. Locks are held to move one in or out, never to look at a socket.
pub(super) struct Pool {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    /// Oldest first; never an empty list.
    idle: HashMap<Key, Vec<Idle>>,
    links: usize,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl Pool {
    pub(super) fn new() -> Self {
        Pool { shards: Default::default(), hasher: RandomState::new() }
    }

    /// The connection that was used last, if it is still fit.
    pub(super) fn take(&self, key: &Key) -> Option<Box<Link>> {
        loop {
            let mut idle = self.shard(key).take(key)?;
            if idle.since.elapsed() < IDLE_MAX && idle.link.is_fit() {
                return Some(idle.link);
            }
        }
    }

    /// Keeps a connection for the next request, if it is fit and there is room.
    pub(super) fn keep(&self, key: Key, mut link: Box<Link>) {
        if !link.is_fit() {
            return;
        }
        let idle = Idle { link, since: Instant::now() };
        // Closing a socket is a system call; it happens after the lock is given back.
        let evicted = self.shard(&key).keep(key, idle);
        drop(evicted);
    }

    /// Closes what has waited too long. Returns whether anything still waits.
    pub(super) fn sweep(&self) -> bool {
        let mut waiting = false;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let old = shard.remove_old();
            waiting |= shard.links > 0;
            drop(shard);
            drop(old);
        }
        waiting
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        // The shard comes from the high bits; the map within it uses another hasher anyway.
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        lock(&self.shards[index])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn take(&mut self, key: &Key) -> Option<Idle> {
        let list = self.idle.get_mut(key)?;
        let newest = list.pop();
        if list.is_empty() {
            self.idle.remove(key);
        }
        self.links -= usize::from(newest.is_some());
        newest
    }

    /// Returns what had to go for it.
    fn keep(&mut self, key: Key, idle: Idle) -> Option<Idle> {
        if self.idle.get(&key).is_some_and(|list| list.len() >= KEY_LINKS_MAX) {
            return Some(idle);
        }
        let evicted = if self.links >= SHARD_LINKS_MAX { self.remove_oldest() } else { None };
        self.idle.entry(key).or_default().push(idle);
        self.links += 1;
        evicted
    }

    fn remove_oldest(&mut self) -> Option<Idle> {
        let first_since = |(_, list): &(&Key, &Vec<Idle>)| list.first().map(|idle| idle.since);
        let key = self.idle.iter().min_by_key(first_since)?.0.clone();
        let list = self.idle.get_mut(&key)?;
        let oldest = list.remove(0);
        if list.is_empty() {
            self.idle.remove(&key);
        }
        self.links -= 1;
        Some(oldest)
    }

    fn remove_old(&mut self) -> Vec<Idle> {
        let mut old = Vec::new();
        self.idle.retain(|_, list| {
            let kept = list.partition_point(|idle| idle.since.elapsed() >= IDLE_MAX);
            old.extend(list.drain(..kept));
            !list.is_empty()
        });
        self.links -= old.len();
        old
    }
}
