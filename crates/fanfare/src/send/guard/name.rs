//! Which names and ports are plainly not a public web server's.

use crate::send::guard::Refusal;

/// Names that end in these are of a local network or of none: special by
/// <https://www.iana.org/assignments/special-use-domain-names>, kept for networks of one's own by
/// ICANN, or in such wide use there that the root will never have them.
const LOCAL: [&str; 13] = [
    "alt",
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
];

/// The longest name and the longest part of one (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Is `domain` made of what names of hosts are made of? The rules for URLs also let `}` and the like
/// pass, which other parsers end a host at.
pub(super) fn is_plain(domain: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    labels.len() <= NAME_BYTES_MAX
        && labels
            .split('.')
            .all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(plain))
}

/// Is `domain`, in lower case, the name of a host that anyone could reach?
pub(super) fn judge(domain: &str) -> Result<(), Refusal> {
    if domain.ends_with('.') {
        return Err(Refusal::TrailingDot);
    }
    if LOCAL.iter().any(|local| is_or_ends_in(domain, local)) {
        return Err(Refusal::LocalName);
    }
    if domain.contains('.') { Ok(()) } else { Err(Refusal::SingleLabel) }
}

fn is_or_ends_in(domain: &str, suffix: &str) -> bool {
    domain.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Does `port` belong to another protocol, which a request could be made to speak?
pub(super) fn barred(port: u16) -> bool {
    BARRED.binary_search(&port).is_ok()
}

/// The ports that browsers refuse (<https://fetch.spec.whatwg.org/#port-blocking>) and those of
/// databases, caches, brokers, remote control and cluster machinery. Sorted.
const BARRED: [u16; 180] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427,
    445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 623, 636,
    873, 989, 990, 993, 995, 1080, 1099, 1433, 1434, 1521, 1719, 1720, 1723, 1883, 2049, 2181,
    2375, 2376, 2377, 2379, 2380, 2888, 3128, 3260, 3268, 3269, 3306, 3389, 3659, 3888, 4001, 4045,
    4190, 4222, 4243, 4369, 4646, 4647, 4648, 5060, 5061, 5432, 5433, 5601, 5671, 5672, 5900, 5984,
    5985, 5986, 6000, 6379, 6380, 6432, 6443, 6566, 6650, 6665, 6666, 6667, 6668, 6669, 6679, 6697,
    7001, 7199, 7473, 7474, 7687, 7946, 8009, 8086, 8089, 8125, 8200, 8201, 8300, 8301, 8302, 8500,
    8501, 8502, 8503, 8529, 8600, 9042, 9092, 9093, 9094, 9160, 9200, 9229, 9300, 9600, 10080,
    10248, 10249, 10250, 10255, 10256, 10257, 10259, 11210, 11211, 15672, 25672, 26257, 26379,
    27017, 27018, 27019, 27020, 28015, 33060, 50070, 61613, 61614, 61616,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_are_sorted_and_hold_what_everyone_expects() {
        assert!(BARRED.is_sorted());
        for port in [0, 22, 25, 445, 2375, 2379, 3306, 5432, 6379, 6443, 6667, 8500, 9200, 10250]
            .into_iter()
            .chain([10080, 11211, 27017])
        {
            assert!(barred(port), "{port}");
        }
        for port in [80, 443, 3000, 8000, 8080, 8123, 8443, 9000] {
            assert!(!barred(port), "{port}");
        }
    }

    #[test]
    fn local_names_are_known_by_whole_labels() {
        for (name, refusal) in [
            ("shop", Refusal::SingleLabel),
            ("localhost", Refusal::LocalName),
            ("a.localhost", Refusal::LocalName),
            ("printer.local", Refusal::LocalName),
            ("metadata.google.internal", Refusal::LocalName),
            ("router.lan", Refusal::LocalName),
            ("nas.home.arpa", Refusal::LocalName),
            ("abc.onion", Refusal::LocalName),
            ("wiki.corp", Refusal::LocalName),
            ("host.localdomain", Refusal::LocalName),
            ("example.com.", Refusal::TrailingDot),
            ("localhost.", Refusal::TrailingDot),
        ] {
            assert_eq!(judge(name), Err(refusal), "{name}");
        }
        for name in ["example.com", "notlocal.example", "thelan.dev", "local.example", "1-arpa.io"]
        {
            assert_eq!(judge(name), Ok(()), "{name}");
        }
    }
}
