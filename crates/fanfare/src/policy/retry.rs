//! What to do with a delivery after an attempt.

use std::time::Duration;

use crate::model::{Answer, Outcome, Timestamp, Verdict, expired};

/// The longest an endpoint's `Retry-After` may push an attempt out.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// How long to wait between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait before attempt 2, attempt 3, and so on; the last one repeats. Not empty.
    pub delays: Vec<Duration>,
}

impl Default for RetryPolicy {
    /// Five retries over a day and a half: a deploy, an outage, a night and a day.
    fn default() -> Self {
        let secs = [30, 5 * 60, 60 * 60, 8 * 60 * 60, 27 * 60 * 60];
        RetryPolicy { delays: secs.map(Duration::from_secs).to_vec() }
    }
}

impl RetryPolicy {
    fn delay(&self, retries_made: u32) -> Duration {
        let at = usize::try_from(retries_made).unwrap_or(usize::MAX);
        self.delays.get(at).or(self.delays.last()).copied().unwrap_or_default()
    }
}

/// Judges attempt number `attempt` (1 for the first) of a delivery to an endpoint that allows
/// `max_retries`; it ended at `now`. `jitter` is a number in `0.0..1.0` drawn by the caller.
pub fn judge(
    policy: &RetryPolicy,
    (attempt, max_retries): (u32, u32),
    outcome: &Outcome,
    now: Timestamp,
    jitter: f64,
) -> Verdict {
    let asked = match outcome {
        Outcome::Answered(Answer { status: 200..=299, .. }) => return Verdict::Concluded,
        Outcome::Answered(Answer { status: 410, .. }) => return Verdict::Gone,
        Outcome::Answered(answer) => retry_after(answer, now),
        Outcome::NoAnswer { .. } => None,
    };
    let retries_made = attempt.saturating_sub(1);
    if retries_made >= max_retries {
        return Verdict::Failed(format!("{}; no retries left", describe(outcome)));
    }
    // Up to a tenth later, never earlier, so that a burst of failures does not return as a burst.
    let delay = policy.delay(retries_made).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 10.0);
    Verdict::RetryAt(now.plus(delay.max(asked.unwrap_or_default())))
}

/// Judges a probe: a failure uses up no retry, and the delivery waits for the next probe.
pub fn judge_probe(outcome: &Outcome, now: Timestamp) -> Verdict {
    match outcome {
        Outcome::Answered(Answer { status: 200..=299, .. }) => Verdict::Concluded,
        Outcome::Answered(Answer { status: 410, .. }) => Verdict::Gone,
        _ => Verdict::RetryAt(now),
    }
}

/// Until when an endpoint asks to be left alone: `429` and `503` with a `Retry-After` speak for the
/// whole endpoint, not for one delivery.
pub fn hold(outcome: &Outcome, now: Timestamp) -> Option<Timestamp> {
    let Outcome::Answered(answer @ Answer { status: 429 | 503, .. }) = outcome else { return None };
    let asked = retry_after(answer, now)?;
    (!asked.is_zero()).then(|| now.plus(asked))
}

/// A verdict after so many attempts, once the event's end is looked at: a retry that would come too
/// late for it is not made.
pub fn in_time(verdict: Verdict, attempts: u32, expires_at: Option<Timestamp>) -> Verdict {
    match (verdict, expires_at) {
        (Verdict::RetryAt(due), Some(end)) if due >= end => Verdict::Failed(expired(attempts, end)),
        (verdict, _) => verdict,
    }
}

/// What was wrong with an outcome, in a few words; for a 2xx, its status.
pub fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(answer) => format!("answered {}", answer.status),
        Outcome::NoAnswer { reason } => reason.clone(),
    }
}

/// The wait that an answer asks for: seconds or an HTTP date (RFC 9110, section 10.2.3), at most
/// [`RETRY_AFTER_MAX`]. Anything else asks for nothing.
pub fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let value = answer.headers.get("retry-after")?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are still a wish to wait long.
        let secs = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(secs).min(RETRY_AFTER_MAX));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp(0).plus(since_epoch).since(now).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy { delays: vec![Duration::from_secs(5), Duration::from_secs(60)] }
    }

    fn answered(status: u16, retry_after: Option<&str>) -> Outcome {
        let header = |value: &str| ("retry-after".to_owned(), value.to_owned());
        let headers = retry_after.map(header).into_iter().collect();
        Outcome::Answered(Answer { status, headers, body: bytes::Bytes::new(), flaw: None })
    }

    fn judge_status(status: u16, attempt: u32) -> Verdict {
        judge(&policy(), (attempt, 3), &answered(status, None), NOW, 0.0)
    }

    fn in_secs(secs: u64) -> Verdict {
        Verdict::RetryAt(NOW.plus(Duration::from_secs(secs)))
    }

    #[test]
    fn any_2xx_concludes_and_410_ends_the_endpoint() {
        assert_eq!(judge_status(200, 1), Verdict::Concluded);
        assert_eq!(judge_status(299, 9), Verdict::Concluded);
        assert_eq!(judge_status(410, 1), Verdict::Gone);
    }

    #[test]
    fn everything_else_is_a_failure_a_redirect_included() {
        for status in [100, 199, 300, 302, 308, 400, 404, 429, 500, 599] {
            assert_eq!(judge_status(status, 1), in_secs(5), "{status}");
        }
        let silence = Outcome::NoAnswer { reason: "timeout: no answer".into() };
        assert_eq!(judge(&policy(), (1, 3), &silence, NOW, 0.0), in_secs(5));
    }

    #[test]
    fn retries_follow_the_schedule_repeat_its_last_delay_and_then_stop() {
        let verdicts: Vec<Verdict> = (1..=4).map(|attempt| judge_status(500, attempt)).collect();
        let failed = Verdict::Failed("answered 500; no retries left".into());
        assert_eq!(verdicts, [in_secs(5), in_secs(60), in_secs(60), failed]);
        let none = judge(&policy(), (1, 0), &answered(500, None), NOW, 0.0);
        assert!(matches!(none, Verdict::Failed(_)));
    }

    #[test]
    fn a_retry_that_would_come_too_late_is_not_made() {
        let judge = |secs| in_time(in_secs(5), 1, Some(NOW.plus(Duration::from_secs(secs))));
        assert_eq!(judge(6), in_secs(5));
        let Verdict::Failed(reason) = judge(5) else { panic!("{:?}", judge(5)) };
        assert_eq!(reason, "expired at 2023-11-14T22:13:25.000Z, after 1 attempt");
        assert_eq!(in_time(Verdict::Concluded, 1, Some(NOW)), Verdict::Concluded);
        assert_eq!(in_time(in_secs(5), 1, None), in_secs(5));
    }

    #[test]
    fn jitter_lengthens_by_up_to_a_tenth_and_never_shortens() {
        for (jitter, ms) in [(0.0, 5000), (0.5, 5250), (1.0, 5500), (-3.0, 5000), (9.0, 5500)] {
            let verdict = judge(&policy(), (1, 3), &answered(500, None), NOW, jitter);
            assert_eq!(verdict, Verdict::RetryAt(NOW.plus(Duration::from_millis(ms))));
        }
    }

    #[test]
    fn retry_after_can_only_make_the_wait_longer_and_only_up_to_a_day() {
        let day = 24 * 60 * 60;
        for (asked, waited_secs) in [
            ("1", 5),
            ("30", 30),
            ("999999", day),
            ("99999999999999999999999999", day),
            ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
            ("Tue, 14 Nov 2023 22:10:20 GMT", 5),
            ("Fri, 31 Dec 9999 23:59:59 GMT", day),
            ("-30", 5),
            ("30.5", 5),
            ("soon", 5),
            ("", 5),
        ] {
            let verdict = judge(&policy(), (1, 3), &answered(503, Some(asked)), NOW, 0.0);
            assert_eq!(verdict, in_secs(waited_secs), "{asked}");
        }
    }

    #[test]
    fn a_failed_probe_is_due_again_at_once_and_uses_up_no_retry() {
        assert_eq!(judge_probe(&answered(500, Some("90")), NOW), Verdict::RetryAt(NOW));
        assert_eq!(judge_probe(&answered(204, None), NOW), Verdict::Concluded);
        assert_eq!(judge_probe(&answered(410, None), NOW), Verdict::Gone);
        let silence = Outcome::NoAnswer { reason: "timeout: no answer".into() };
        assert_eq!(judge_probe(&silence, NOW), Verdict::RetryAt(NOW));
    }

    #[test]
    fn only_429_and_503_with_a_time_hold_the_endpoint() {
        for (status, asked, held_secs) in [
            (429, Some("30"), Some(30)),
            (503, Some("30"), Some(30)),
            (503, Some("Tue, 14 Nov 2023 22:14:20 GMT"), Some(60)),
            (429, Some("999999"), Some(24 * 60 * 60)),
            (429, Some("0"), None),
            (429, Some("soon"), None),
            (503, None, None),
            (500, Some("30"), None),
            (200, Some("30"), None),
        ] {
            let expected = held_secs.map(|secs| NOW.plus(Duration::from_secs(secs)));
            assert_eq!(hold(&answered(status, asked), NOW), expected, "{status} {asked:?}");
        }
    }

    #[test]
    fn the_default_schedule_spans_more_than_a_day_over_five_retries() {
        let delays = RetryPolicy::default().delays;
        assert_eq!(delays.len(), 5);
        assert!(delays.iter().sum::<Duration>() > Duration::from_hours(24));
    }
}
