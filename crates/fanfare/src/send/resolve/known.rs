//! What was learned of names, for as long as it holds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::send::failure::Failure;

/// How many names are remembered. With their addresses they take a few megabytes at most.
const NAMES_MAX: usize = 4096;

type Answer = Result<Arc<[IpAddr]>, Failure>;

/// Answers by name, each until its time is over.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<Box<str>, (Instant, Answer)>>);

impl Known {
    /// What is known of a name.
    pub(super) fn of(&self, domain: &str) -> Option<Answer> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = known.get(domain)?;
        (Instant::now() < *until).then(|| answer.clone())
    }

    /// Remembers an answer for so long.
    pub(super) fn keep(&self, domain: &str, answer: &Answer, ttl: Duration) {
        if ttl.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= NAMES_MAX {
            // To forget only costs questions; to choose what would cost more.
            known.clear();
        }
        known.insert(domain.into(), (now + ttl, answer.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_known_until_its_time_is_over() {
        let known = Known::default();
        let answer: Answer = Ok([IpAddr::from([8, 8, 8, 8])].into());
        known.keep("a.example", &answer, Duration::from_secs(5));
        known.keep("b.example", &answer, Duration::ZERO);
        assert_eq!((known.of("a.example"), known.of("b.example")), (Some(answer), None));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(known.of("a.example"), None);
    }

    #[test]
    fn no_more_than_so_many_names_are_known() {
        let known = Known::default();
        let answer: Answer = Err(Failure::Dns("no such name"));
        for number in 0..NAMES_MAX * 2 + 1 {
            known.keep(&format!("{number}.example"), &answer, Duration::from_secs(9));
            assert!(known.0.lock().unwrap().len() <= NAMES_MAX);
        }
        assert!(known.of(&format!("{}.example", NAMES_MAX * 2)).is_some());
    }
}
