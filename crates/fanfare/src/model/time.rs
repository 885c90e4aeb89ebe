use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Milliseconds since the Unix epoch. Stored as an integer, shown as
/// `2025-07-05T01:52:11.613Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment plus `delay`, saturating.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Timestamp {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(delay_ms))
    }

    /// This moment minus `span`, saturating.
    #[must_use]
    pub fn minus(self, span: Duration) -> Timestamp {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(span_ms))
    }

    /// How much later this is than `earlier`; nothing when it is not later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since the epoch.
    pub fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Past year 9999 there is no such form; the nearest that has one is shown.
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        write!(f, "{moment:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = String;

    /// Reads a moment of RFC 3339, to the millisecond.
    fn from_str(text: &str) -> Result<Self, String> {
        let moment = text.parse::<jiff::Timestamp>();
        let moment = moment.map_err(|_| "must be a time such as 2025-07-05T01:52:11.613Z")?;
        Ok(Timestamp(moment.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_any_offset() {
        for text in ["2025-07-05T01:52:11.613Z", "2025-07-04T22:52:11.613-03:00"] {
            assert_eq!(text.parse(), Ok(Timestamp(1_751_680_331_613)));
        }
        for text in ["", "tomorrow", "2025-07-05", "2025-07-05T01:52:11", "1751680331613"] {
            assert!(text.parse::<Timestamp>().unwrap_err().contains("such as"), "{text}");
        }
    }

    #[test]
    fn a_moment_is_shown_in_utc_with_three_digits() {
        assert_eq!(Timestamp(1_751_680_331_613).to_string(), "2025-07-05T01:52:11.613Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
