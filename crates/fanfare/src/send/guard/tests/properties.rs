use proptest::prelude::*;

use super::super::*;

/// What the standard library knows of public addresses, as a second opinion.
fn surely_not_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || v4.is_unspecified()
                || a == 0
                || a >= 240
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.to_ipv4().is_some()
                || v6.segments()[0] & 0xe000 != 0x2000
        }
    }
}

fn hostile_text() -> impl Strategy<Value = String> {
    let part = |parts: &'static [&'static str]| proptest::sample::select(parts);
    let scheme = part(&["http", "https", "HTTP", "ftp", "", "http:", "https:/"]);
    let user = part(&["", "", "", "a@", "a:b@", "@", "8.8.8.8@"]);
    let host = prop_oneof![
        any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from(bits).to_string()),
        any::<u32>().prop_map(|bits| bits.to_string()),
        any::<u32>().prop_map(|bits| format!("{bits:#x}")),
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| format!("{a:#o}.{b}.{c}.{d}").replace('o', "")),
        any::<u128>().prop_map(|bits| format!("[{}]", std::net::Ipv6Addr::from(bits))),
        any::<u32>().prop_map(|bits| format!("[::ffff:{}]", std::net::Ipv4Addr::from(bits))),
        any::<u32>().prop_map(|bits| format!("[64:ff9b::{}]", std::net::Ipv4Addr::from(bits))),
        part(&["localhost", "a.b", "127.1", "１２７.1", "%31.1", "[::1]", "x.local", "a..b"])
            .prop_map(str::to_owned),
        "\\PC{0,12}",
    ];
    let tail =
        part(&["", "/", ":80/", ":6379", ".", "./", "#", "/#a", "?b", ":99999", ":-1", "\t"]);
    (scheme, user, host, tail).prop_map(|(s, u, h, t)| format!("{s}://{u}{h}{t}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_that_is_not_public_is_ever_accepted(
        text in prop_oneof![hostile_text(), "\\PC{0,40}", any::<String>()],
    ) {
        let policy = GuardPolicy { allow_http: true, ..GuardPolicy::default() };
        if let Ok(url) = policy.parse_url(&text) {
            let address = match url.host() {
                Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
                Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
                Some(Host::Domain(domain)) => {
                    prop_assert!(domain.contains('.') && !domain.ends_with('.'), "{}", text);
                    None
                }
                None => return Err(TestCaseError::fail(text)),
            };
            prop_assert!(!address.is_some_and(surely_not_public), "{}", text);
            prop_assert_eq!(policy.parse_url(url.as_str()), Ok(url), "{}", text);
        }
    }

    #[test]
    fn no_address_that_is_not_public_is_judged_fit(v4 in any::<u32>(), v6 in any::<u128>(), port in any::<u16>()) {
        let policy = GuardPolicy::default();
        for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into()), IpAddr::V6((v6 >> 3 | 1 << 125).into())] {
            if policy.judge(address, port).is_ok() {
                prop_assert!(!surely_not_public(address), "{}", address);
            }
        }
    }

    #[test]
    fn entries_never_panic(text in "\\PC{0,30}", near in "[0-9a-f:./*\\[\\]]{0,24}") {
        for text in [text, near] {
            let _ = text.parse::<AllowedNetwork>();
            let _ = text.parse::<AllowedHost>();
        }
    }
}
