//! What must hold for any input. Each function panics where it does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use fanfare::Timestamp;
use fanfare::model::filter::{Document, Filter};
use fanfare::model::{Answer, Headers, OwnHeaders};
use fanfare::policy::retry;
use fanfare::send::{GuardPolicy, own_headers};

/// A URL that the guard accepts means the same to another parser, stays accepted in the form in
/// which it is kept, and names no address that is somebody's own.
pub fn url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for policy in policies() {
        let Ok(url) = policy.parse_url(text) else { continue };
        let kept = policy.parse_url(url.as_str());
        assert_eq!(kept.as_ref(), Ok(&url), "{text:?} is refused in the form in which it is kept");
        let Ok(other) = url.as_str().parse::<hyper::Uri>() else {
            panic!("{text:?} is a URL to one parser only");
        };
        assert_eq!(other.host(), url.host_str(), "{text:?}");
        assert_eq!(other.port_u16(), url.port(), "{text:?}");
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
        match url.host() {
            Some(url::Host::Ipv4(address)) => assert!(is_anyones(address.into()), "{text:?}"),
            Some(url::Host::Ipv6(address)) => assert!(is_anyones(address.into()), "{text:?}"),
            Some(url::Host::Domain(name)) => {
                assert!(name.contains('.') && !name.ends_with('.'), "{text:?}");
                let last = name.rsplit('.').next().unwrap_or_default();
                let hex = last.strip_prefix("0x").unwrap_or("no");
                let number = last.bytes().all(|byte| byte.is_ascii_digit())
                    || hex.bytes().all(|byte| byte.is_ascii_hexdigit());
                assert!(!number, "{text:?} is an address to some");
            }
            None => panic!("{text:?} has no host"),
        }
    }
}

/// An address that the guard lets pass is anyone's by a second, coarser reckoning; and a policy
/// that opens all networks still opens no way to a cloud's metadata.
pub fn address(input: &[u8]) {
    let (address, port): (IpAddr, &[u8]) = match input {
        [4, a, b, c, d, port @ ..] => (Ipv4Addr::new(*a, *b, *c, *d).into(), port),
        [6, rest @ ..] => {
            let Some((octets, port)) = rest.split_first_chunk::<16>() else { return };
            (Ipv6Addr::from(*octets).into(), port)
        }
        _ => return,
    };
    let port = port.first_chunk::<2>().map_or(443, |port| u16::from_be_bytes(*port));
    if GuardPolicy::default().judge(address, port).is_ok() {
        assert!(is_anyones(address), "{address} passes");
    }
    let metadata =
        [[169, 254, 169, 254], [168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]];
    let is_metadata = match address {
        IpAddr::V4(address) => metadata.contains(&address.octets()),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    if is_metadata {
        assert!(open().judge(address, port).is_err(), "{address} passes where all is open");
    }
}

/// A filter reads what it has written, and says why exactly when it does not match. The input is a
/// filter, a zero byte, and a payload.
pub fn filter(input: &[u8]) {
    let Some(zero) = input.iter().position(|byte| *byte == 0) else { return };
    let Ok(text) = std::str::from_utf8(&input[..zero]) else { return };
    let Ok(filter) = Filter::parse(text) else { return };
    let Ok(again) = Filter::parse(filter.as_str()) else { panic!("{text} is refused when kept") };
    assert_eq!(filter, again);
    let payload = &input[zero + 1..];
    let read = Document::parse(payload);
    let valid = serde_json::from_slice::<&serde_json::value::RawValue>(payload).is_ok();
    assert!(read.is_some() || !valid || payload.len() > 1024, "a payload that is JSON is not read");
    let Some(payload) = read else { return };
    let (matches, why) = (filter.matches(&payload), filter.explain(&payload));
    assert_eq!(matches, why.is_none(), "{text}: {why:?}");
}

/// Headers that an endpoint may have are tokens and printable text, are none of those that frame or
/// sign a request, can be sent, and are shown without their values. The input is names and values,
/// a zero byte between any two.
pub fn headers(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parts: Vec<&str> = text.split('\0').collect();
    let pairs = parts.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let Ok(headers) = OwnHeaders::read(pairs) else { return };
    let Ok(sent) = own_headers(&headers) else { panic!("{text:?} is taken and cannot be sent") };
    assert_eq!(sent.len(), headers.iter().count(), "{text:?}");
    for (name, value) in headers.iter() {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(name.bytes().all(token) && name == name.to_ascii_lowercase(), "{name:?}");
        let ours = ["host", "connection", "transfer-encoding", "te", "upgrade", "user-agent"];
        let framing = ["content-", "webhook-", "proxy-"];
        let reserved = ours.contains(&name) || framing.iter().any(|start| name.starts_with(start));
        assert!(!reserved, "{name} is ours");
        assert!(value.bytes().all(|byte| (b' '..0x7f).contains(&byte) || byte == b'\t'));
        assert!(!value.is_empty() && value.trim() == value, "{value:?}");
    }
    assert!(headers.masked().iter().all(|(_, value)| value == "***"), "{text:?}");
    assert_eq!(OwnHeaders::from_text(&headers.to_text()), Ok(headers), "{text:?}");
}

/// Whatever is asked, nobody waits longer than a day.
pub fn retry_after(input: &[u8]) {
    let value = String::from_utf8_lossy(input).into_owned();
    let headers: Headers = [("retry-after".to_owned(), value)].into_iter().collect();
    let answer = Answer { status: 503, headers, body: Bytes::new(), flaw: None };
    for now in [0, 1, 1_700_000_000_000, i64::MAX].map(Timestamp) {
        let asked = retry::retry_after(&answer, now);
        assert!(asked.is_none_or(|asked| asked <= Duration::from_secs(24 * 60 * 60)), "{asked:?}");
    }
}

fn policies() -> [GuardPolicy; 2] {
    [GuardPolicy::default(), GuardPolicy { allow_http: true, ..GuardPolicy::default() }]
}

fn open() -> GuardPolicy {
    let networks = ["0.0.0.0/0", "::/0"].into_iter().flat_map(str::parse).collect();
    GuardPolicy { allow_http: true, allow_networks: networks, ..GuardPolicy::default() }
}

/// A second opinion, which shares no table with the guard.
fn is_anyones(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && b & 0xc0 == 64)
                || (a == 198 && b & 0xfe == 18)
                || (a, b, c) == (192, 0, 0)
                || address.octets() == [168, 63, 129, 16])
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            let assigned = a == 0x2001 && (b < 0x200 || b == 0xdb8);
            a & 0xe000 == 0x2000 && !assigned && a != 0x2002 && (a, b & 0xf000) != (0x3fff, 0)
        }
    }
}
