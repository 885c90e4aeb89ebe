//! Connections between two requests.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::model::CompanyId;
use crate::send::link::Link;

/// How long a connection waits for its next request.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How many wait for each key, and in each shard.
const KEY_LINKS_MAX: usize = 192;
const SHARD_LINKS_MAX: usize = 256;
/// Each with a lock of its own, so that senders rarely meet.
const SHARDS: usize = 16;

/// Whose connection to where. Companies do not share any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) company: CompanyId,
    pub(super) https: bool,
    /// Host, and port where it is not the scheme's own.
    pub(super) authority: HeaderValue,
    /// The address that the guard let pass: a name that moves takes no old connection along.
    pub(super) peer: SocketAddr,
    /// The fingerprint of the certificates that it was made with, where they are an endpoint's own.
    pub(super) identity: Option<[u8; 32]>,
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
            if idle.since.elapsed() < IDLE_MAX && idle.link.is_still_fit() {
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::*;
    use crate::send::socket::Socket;
    use crate::send::wire::Wire;

    fn key(name: &'static str) -> Key {
        let company = CompanyId::from_uuid(uuid::Uuid::nil());
        let authority = HeaderValue::from_static(name);
        Key { company, https: false, authority, peer: ([8, 8, 8, 8], 80).into(), identity: None }
    }

    /// A connection, and the other end of it.
    async fn link() -> (Box<Link>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = TcpSocket::new_v4().unwrap().connect(address);
        let (ours, theirs) = tokio::join!(connecting, listener.accept());
        (Link::new(Wire::plain(Socket::new(ours.unwrap()))).await.unwrap(), theirs.unwrap().0)
    }

    fn links(pool: &Pool) -> usize {
        pool.shards.iter().map(|shard| lock(shard).links).sum()
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_its_key_until_it_has_idled_too_long() {
        let pool = Pool::new();
        let (ours, _theirs) = link().await;
        tokio::time::pause();
        pool.keep(key("a.example"), ours);
        assert!(pool.take(&key("b.example")).is_none());
        let ours = pool.take(&key("a.example")).unwrap();
        pool.keep(key("a.example"), ours);
        tokio::time::advance(IDLE_MAX - Duration::from_secs(1)).await;
        assert!(pool.sweep());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!pool.sweep());
        assert_eq!(links(&pool), 0);
    }

    #[tokio::test]
    async fn a_connection_is_not_kept_past_its_life_nor_after_its_other_end_closed() {
        let pool = Pool::new();
        let ((old, _theirs), (mut cut, theirs)) = (link().await, link().await);
        drop(theirs);
        // Until the runtime has heard of it.
        while cut.is_fit() {
            tokio::task::yield_now().await;
        }
        pool.keep(key("a.example"), cut);
        assert!(pool.take(&key("a.example")).is_none());
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(301)).await;
        pool.keep(key("a.example"), old);
        assert!(pool.take(&key("a.example")).is_none());
    }

    #[tokio::test]
    async fn a_key_keeps_so_many_and_a_full_shard_lets_the_oldest_go() {
        let mut shard = Shard::default();
        let mut ends = Vec::new();
        let idle = async |ends: &mut Vec<TcpStream>| {
            let (link, theirs) = link().await;
            ends.push(theirs);
            Idle { link, since: Instant::now() }
        };
        for _ in 0..KEY_LINKS_MAX {
            assert!(shard.keep(key("a.example"), idle(&mut ends).await).is_none());
        }
        assert!(shard.keep(key("a.example"), idle(&mut ends).await).is_some());
        for _ in 0..SHARD_LINKS_MAX - KEY_LINKS_MAX {
            assert!(shard.keep(key("b.example"), idle(&mut ends).await).is_none());
        }
        assert!(shard.keep(key("c.example"), idle(&mut ends).await).is_some());
        assert_eq!(
            (shard.links, shard.idle[&key("a.example")].len()),
            (SHARD_LINKS_MAX, KEY_LINKS_MAX - 1)
        );
        assert!(shard.take(&key("c.example")).is_some());
        assert!(!shard.idle.contains_key(&key("c.example")));
    }
}
