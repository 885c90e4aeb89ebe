//! How many requests in a second: for each key a bucket of allowances that time refills.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use fanfare::clock::Clock;
use fanfare::model::Timestamp;

/// Keys of one generation; two are kept. What is forgotten is a full bucket again, so whoever has
/// more addresses than this has no more allowance than those addresses have anyway.
const GENERATION_MAX: usize = 32 * 1024;
/// The most that can be asked for.
const RATE_MAX: u32 = 1_000_000;
/// An allowance in the parts in which a bucket refills: one part each millisecond at 1/s.
const WHOLE: u64 = 1000;

/// So many requests a second, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl FromStr for Rate {
    type Err = String;

    /// Reads `50` (at once: those of one second) or `50:200`.
    fn from_str(text: &str) -> Result<Rate, String> {
        let whole = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|number| (1..=RATE_MAX).contains(number));
            number.filter(|_| plain)
        };
        let (per_second, burst) = text.split_once(':').unwrap_or((text, text));
        match (whole(per_second), whole(burst)) {
            (Some(per_second), Some(burst)) => Ok(Rate { per_second, burst }),
            _ => Err(format!(
                "`{text}` is not a rate: write requests per second, such as 50, or with how many \
                 at once, such as 50:200; each from 1 to {RATE_MAX}"
            )),
        }
    }
}

/// Holds each key to one rate, in bounded memory.
pub(crate) struct Limiter<K> {
    rate: Rate,
    clock: Arc<dyn Clock>,
    buckets: Mutex<Generations<K>>,
}

/// When the young are many they become the old, and the old are forgotten.
struct Generations<K> {
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
}

impl<K: Eq + Hash + Copy> Limiter<K> {
    pub(crate) fn new(rate: Rate, clock: Arc<dyn Clock>) -> Limiter<K> {
        let buckets = Generations { young: HashMap::new(), old: HashMap::new() };
        Limiter { rate, clock, buckets: Mutex::new(buckets) }
    }

    /// Takes one allowance of this key; if there is none, says after how many seconds there is.
    pub(crate) fn take(&self, key: K) -> Result<(), u32> {
        let now = self.clock.now();
        let mut known = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bucket = known.get(&key).unwrap_or_else(|| Bucket::full(self.rate, now));
        let taken = bucket.take(self.rate, now);
        known.put(key, bucket);
        taken
    }
}

impl<K: Eq + Hash> Generations<K> {
    fn get(&self, key: &K) -> Option<Bucket> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn put(&mut self, key: K, bucket: Bucket) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, bucket);
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// What is in it, in parts of an allowance.
    level: u64,
    at: Timestamp,
}

impl Bucket {
    fn full(rate: Rate, now: Timestamp) -> Bucket {
        Bucket { level: u64::from(rate.burst) * WHOLE, at: now }
    }

    fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), u32> {
        // A clock that was set back refills nothing, and goes on from there.
        let passed_ms = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let come = passed_ms.saturating_mul(u64::from(rate.per_second));
        self.level = self.level.saturating_add(come).min(u64::from(rate.burst) * WHOLE);
        self.at = now;
        if let Some(left) = self.level.checked_sub(WHOLE) {
            self.level = left;
            return Ok(());
        }
        let missing_ms = (WHOLE - self.level).div_ceil(u64::from(rate.per_second));
        Err(u32::try_from(missing_ms.div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

/// What counts as one address: who has one of IPv6 has the other 2^64 of its network, too.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfare::clock::ManualClock;

    use super::*;

    fn limiter(rate: &str) -> (Arc<ManualClock>, Limiter<u32>) {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
        (clock.clone(), Limiter::new(rate.parse().unwrap(), clock))
    }

    #[test]
    fn a_burst_passes_and_then_as_much_as_time_brings() {
        let (clock, limiter) = limiter("2:5");
        let passes = |count: usize| (0..count).filter(|_| limiter.take(1).is_ok()).count();
        assert_eq!(passes(20), 5);
        for _ in 0..10 {
            clock.advance(Duration::from_millis(500));
            assert_eq!(passes(20), 1);
        }
        clock.advance(Duration::from_secs(3600));
        assert_eq!(passes(20), 5);
        assert!(limiter.take(2).is_ok(), "others have their own");
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_passes() {
        for (rate, secs) in [("1:1", 1), ("3:1", 1), ("1000:1", 1), ("1:1000", 1)] {
            let (clock, limiter) = limiter(rate);
            while limiter.take(1).is_ok() {}
            assert_eq!(limiter.take(1), Err(secs), "{rate}");
            clock.advance(Duration::from_secs(secs.into()));
            assert_eq!(limiter.take(1), Ok(()), "{rate}");
        }
    }

    #[test]
    fn asking_too_early_does_not_put_it_off() {
        let (clock, limiter) = limiter("3:1");
        assert!(limiter.take(1).is_ok());
        for _ in 0..333 {
            clock.advance(Duration::from_millis(1));
            assert!(limiter.take(1).is_err());
        }
        clock.advance(Duration::from_millis(1));
        assert!(limiter.take(1).is_ok());
    }

    #[test]
    fn a_crowd_of_keys_takes_bounded_memory_and_the_newest_are_remembered() {
        let (_, limiter) = limiter("1:1");
        for key in 0..200_000 {
            assert!(limiter.take(key).is_ok());
        }
        let known = limiter.buckets.lock().unwrap();
        assert!(known.young.len() + known.old.len() <= 2 * GENERATION_MAX);
        drop(known);
        assert!((180_000..200_000).all(|key| limiter.take(key).is_err()));
    }

    #[test]
    fn an_address_is_one_of_ipv4_or_a_network_of_ipv6() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::"));
    }

    #[test]
    fn a_rate_is_written_with_or_without_its_burst() {
        assert_eq!("50".parse(), Ok(Rate { per_second: 50, burst: 50 }));
        assert_eq!("1:1000000".parse(), Ok(Rate { per_second: 1, burst: 1_000_000 }));
        for bad in ["", "0", "1:0", "1:", ":1", "-1", "+1", "1.5", "1/s", "1:2:3", "1000001"] {
            assert!(bad.parse::<Rate>().unwrap_err().contains("requests per second"), "{bad}");
        }
    }
}
