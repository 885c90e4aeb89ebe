//! How values are written. Pure; an error says what would be right.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use fanfare::keys::Key;
use url::Url;
use zeroize::Zeroizing;

/// The longest duration that makes sense anywhere: ten years.
const DURATION_MAX: Duration = Duration::from_hours(24 * 3650);
/// The largest payload that may be allowed.
const PAYLOAD_MAX: u64 = 64 * 1024 * 1024;
/// The most connections that may be allowed.
const CONNECTIONS_MAX: usize = 1_000_000;
/// How long a node's lease may hold: a busy machine must not lose it, and nobody wants to wait long.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `sqlite:PATH` or `postgres://…`. It may hold a password: wiped from memory when dropped, and
/// shown without it.
pub(crate) struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    pub(super) fn new(text: &str) -> DatabaseUrl {
        DatabaseUrl(Zeroizing::new(text.to_owned()))
    }

    /// The whole of it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// The file of an embedded store.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.0.strip_prefix("sqlite:").map(Path::new)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path().is_some() {
            return f.write_str(&self.0);
        }
        let Ok(url) = Url::parse(&self.0) else { return f.write_str("PostgreSQL") };
        let host = url.host_str().unwrap_or("this machine");
        write!(f, "PostgreSQL at {host}{}", url.path())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A whole number with `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("`{text}` is not a duration: write a whole number with ms, s, m, h or d");
    let (number, unit) = number_and_unit(text).ok_or_else(form)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return Err(form()),
    };
    let duration = number.checked_mul(unit_ms).map(Duration::from_millis);
    duration
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| format!("`{text}` is more than ten years"))
}

/// A duration that is not zero.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err(format!("`{text}` must be more than zero")) } else { Ok(duration) }
}

/// Durations separated by commas, at least one.
pub(crate) fn durations(text: &str) -> Result<Vec<Duration>, String> {
    text.split(',').map(|one| duration(one.trim())).collect()
}

/// A whole number with `B`, `KiB` or `MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let form = || format!("`{text}` is not a size: write a whole number with B, KiB or MiB");
    let (number, unit) = number_and_unit(text).ok_or_else(form)?;
    let unit_bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(form()),
    };
    let bytes = number.checked_mul(unit_bytes).filter(|bytes| (1..=PAYLOAD_MAX).contains(bytes));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("`{text}` is not between 1B and 64MiB"))
}

/// `true` or `false`.
pub(crate) fn on_off(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("`{text}` must be true or false"))
}

/// An address with its port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an address with a port, such as 127.0.0.1:8080 or [::]:8080")
    })
}

/// How long a node's lease holds.
pub(crate) fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if LEASES.contains(&lease) {
        return Ok(lease);
    }
    Err(format!("`{text}` is not between 1s and 5m"))
}

/// How many connections there may be.
pub(crate) fn connections(text: &str) -> Result<usize, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| (1..=CONNECTIONS_MAX).contains(number));
    let number = number.filter(|_| plain);
    number.ok_or_else(|| format!("`{text}` is not a whole number from 1 to {CONNECTIONS_MAX}"))
}

/// Entries separated by commas.
pub(crate) fn list<T: FromStr<Err = String>>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(|entry| entry.trim().parse()).collect()
}

/// A key of 32 bytes. The error does not repeat it.
pub(crate) fn key(text: &str) -> Result<Key, String> {
    Key::parse(text.trim()).ok_or_else(|| {
        "must be the base64 of exactly 32 bytes; `openssl rand -base64 32` makes one".to_owned()
    })
}

/// The base of links: http or https, without query or fragment.
pub(crate) fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    url.ok_or_else(|| format!("`{text}` is not a base URL such as https://hooks.example.com"))
}

/// `sqlite:PATH` or `postgres://…`. The error does not repeat it: it may hold a password.
pub(crate) fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    let known = text.strip_prefix("sqlite:").is_some_and(|path| !path.is_empty())
        || text.starts_with("postgres://")
        || text.starts_with("postgresql://");
    if known {
        Ok(DatabaseUrl::new(text))
    } else {
        Err("must be sqlite:PATH or postgres://…".to_owned())
    }
}

/// `text` or `json`.
pub(crate) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` must be text or json")),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("15s", 15_000), ("2m", 120_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "15", "s", "1.5s", "-1s", "+1s", "1 s", "1S", "1h30m", "99999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(durations("1s, 2s"), Ok([1, 2].map(Duration::from_secs).to_vec()));
        assert!(durations("1s,").is_err());
        assert!(some_duration("0ms").is_err());
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        for (text, bytes) in [("1B", 1), ("256KiB", 262_144), ("64MiB", 67_108_864)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "1", "0B", "1KB", "1k", "65MiB", "1.5MiB", "18446744073709551616B"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_values_are_read_strictly() {
        assert!(on_off("yes").is_err());
        assert_eq!(connections("4096"), Ok(4096));
        for bad in ["", "0", "+1", "-1", "1e3", "1000001"] {
            assert!(connections(bad).is_err(), "{bad}");
        }
        assert!(address("8080").is_err() && address("localhost:1").is_err());
        assert!(base_url("https://x.example/a").is_ok());
        for bad in ["x.example", "ftp://x", "https://u@x", "https://x/?q", "https://x/#f"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        for bad in ["", "sqlite:", "mysql://x", "/a.db"] {
            assert!(database_url(bad).is_err(), "{bad}");
        }
        let given = Key::from([7; 32]).reveal();
        assert_eq!(key(&given).unwrap().bytes(), &[7; 32]);
        for bad in ["c2hvcnQ=", "!", &format!("{}B{}", &given[..43], &given[43..])] {
            assert!(!key(bad).unwrap_err().contains(bad), "{bad}");
        }
    }
}
