use super::*;

mod properties;

fn open() -> GuardPolicy {
    GuardPolicy {
        allow_http: true,
        allow_networks: ["10.0.0.0/8", "127.0.0.0/8:6379", "[::1]/128:8080", "169.254.0.0/16"]
            .map(|entry| entry.parse().unwrap())
            .to_vec(),
        allow_hosts: ["shop", "*.corp.local", "cache:6379"]
            .map(|entry| entry.parse().unwrap())
            .to_vec(),
        ..GuardPolicy::default()
    }
}

fn refused(policy: &GuardPolicy, text: &str) -> &'static str {
    match policy.parse_url(text) {
        Ok(_) => "",
        Err(refusal) => refusal.rule(),
    }
}

#[test]
fn public_https_is_accepted_as_it_was_written() {
    let policy = GuardPolicy::default();
    for text in [
        "https://example.com/hook",
        "https://EXAMPLE.com:8443/a?b=c%20d",
        "HTTPS://example.com",
        "https://example.com:443/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://a_b.example.com/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]:8443/",
        "https://127.0.0.1.nip.io/", // resolves to what is then judged
    ] {
        assert_eq!(refused(&policy, text), "", "{text}");
    }
    assert_eq!(policy.parse_url("https://a.io").unwrap().as_str(), "https://a.io/");
}

#[test]
fn hostile_urls_are_refused_each_by_its_rule() {
    let policy = GuardPolicy { allow_http: true, ..GuardPolicy::default() };
    for (rule, texts) in HOSTILE {
        for text in *texts {
            assert_eq!(refused(&policy, text), *rule, "{text:?}");
        }
    }
}

const HOSTILE: &[(&str, &[&str])] = &[
    (
        "url_character",
        &[
            "https://exam\tple.com",
            "https://example.com/\n",
            " https://example.com",
            "https://example.com\\@127.0.0.1/",
            "https://example.com/\0",
            "https://exam\u{200b}ple.com",
            "https://exam\u{ad}ple.com",
            "https://example.com/\u{202e}",
            "https://example.com/\u{3000}",
            "https://example.com/\u{feff}",
            "https://example.com/\u{85}",
        ],
    ),
    (
        "url_malformed",
        &[
            "",
            "example.com",
            "//example.com",
            "/x",
            "https:example.com",
            "https://256.1.1.1/",
            "https://[::1",
            "https://[::1%25eth0]/",
            "https://a.io:99999/",
            "https://exampl}e.com/", // a name to `url`, the end of one to others
            "https://a..example.com/",
            "https://.example.com/",
            "https://a123456789b123456789c123456789d123456789e123456789f123456789g123.example/",
        ],
    ),
    (
        "scheme",
        &[
            "ftp://example.com",
            "file:///etc/passwd",
            "gopher://example.com",
            "data:x",
            "unix:/run/x",
        ],
    ),
    (
        "no_host",
        &["https://", "https:///example.com", "https:////127.0.0.1/", "https://?x", "https://#x"],
    ),
    (
        "user_info",
        &[
            "https://me@example.com",
            "https://me:pw@example.com",
            "https://@example.com",
            "https://example.com@127.0.0.1/",
        ],
    ),
    ("fragment", &["https://example.com/#x", "https://example.com#"]),
    (
        "disguised_host",
        &[
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://127.0.0.1./",
            "http://127.0.0.01/",
            "http://%31%32%37.0.0.1/",
            "http://127%2e0.0.1/",
            "http://１２７.0.0.1/",
            "http://①②⑦.0.0.1/",
            "http://127。0。0。1/",
            "http://example。com/",
            "http://ｅxample.com/",
            "http://ex%61mple.com/",
            "http://0/",
            "http://8.8.2056/",
        ],
    ),
    ("single_label", &["http://shop/", "http://metadata/", "http://wiki:8080/"]),
    (
        "local_name",
        &[
            "http://localhost/",
            "http://LOCALHOST/",
            "http://x.localhost/",
            "http://printer.local/",
            "http://metadata.google.internal/",
            "http://router.lan/",
            "http://nas.home.arpa/",
            "http://abc.onion/",
            "http://intranet:8080/",
            "http://wiki.corp/",
        ],
    ),
    ("trailing_dot", &["http://localhost./", "http://example.com./"]),
    (
        "port",
        &[
            "http://example.com:22/",
            "http://example.com:25/",
            "http://example.com:0/",
            "http://example.com:6379/",
            "http://8.8.8.8:5432/",
            "http://example.com:10250/",
            "http://example.com:0006379/",
        ],
    ),
    (
        "address_not_public",
        &[
            "http://0.0.0.0/",
            "http://127.0.0.1/",
            "http://127.255.255.254:8080/",
            "http://10.0.0.1/",
            "http://100.64.0.1/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.0.1/",
            "http://169.254.1.1/",
            "http://192.0.0.8/",
            "http://192.0.2.1/",
            "http://192.31.196.1/",
            "http://192.52.193.1/",
            "http://192.88.99.1/",
            "http://192.175.48.1/",
            "http://198.18.0.1/",
            "http://198.19.255.255/",
            "http://198.51.100.1/",
            "http://203.0.113.1/",
            "http://224.0.0.1/",
            "http://239.255.255.250/",
            "http://240.0.0.1/",
            "http://255.255.255.255/",
            "http://[::]/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[fdff::1]/",
            "http://[ff02::1]/",
            "http://[100::1]/",
            "http://[2001:20::1]/",
            "http://[2001:1ff::1]/",
            "http://[2001:db8::1]/",
            "http://[3fff:fff::1]/",
            "http://[4000::1]/",
            "http://[5f00::1]/",
        ],
    ),
    (
        "address_embedded",
        &[
            "http://[::ffff:8.8.8.8]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[::ffff:0:127.0.0.1]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001::1]/",
            "http://[2606:4700::5efe:10.0.0.1]/",
            "http://[2606:4700::200:5efe:a00:1]/",
        ],
    ),
    (
        "address_metadata",
        &[
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.170.2/",
            "http://168.63.129.16/",
            "http://100.100.100.200/",
            "http://192.0.0.192/",
            "http://[fd00:ec2::254]/",
            "http://[fd20:ce::254]/",
        ],
    ),
];

#[test]
fn http_needs_its_setting_and_the_refusal_says_which() {
    let refusal = GuardPolicy::default().parse_url("http://example.com").unwrap_err();
    assert_eq!(refusal, Refusal::PlainHttp);
    assert!(refusal.to_string().contains("FANFARE_ALLOW_HTTP"), "{refusal}");
    assert!(open().parse_url("http://example.com").is_ok());
}

#[test]
fn refusals_name_rule_and_setting_and_no_address() {
    let policy = GuardPolicy::default();
    for (text, rule, setting) in [
        ("https://10.1.2.3/", "address_not_public", "FANFARE_ALLOW_NETWORKS"),
        ("https://169.254.169.254/", "address_metadata", "FANFARE_ALLOW_NETWORKS"),
        ("https://shop/", "single_label", "FANFARE_ALLOW_HOSTS"),
        ("https://example.com:22/", "port", "FANFARE_ALLOW_HOSTS"),
    ] {
        let shown = policy.parse_url(text).unwrap_err().to_string();
        assert!(shown.starts_with(rule) && shown.contains(setting), "{shown}");
        assert!(!shown.contains("10.1") && !shown.contains("254"), "{shown}");
    }
}

#[test]
fn a_url_has_at_most_2048_characters_also_once_it_is_encoded() {
    let policy = GuardPolicy::default();
    let url = |n: usize, c: &str| format!("https://example.com/{}", c.repeat(n));
    assert_eq!(refused(&policy, &url(2028, "a")), "");
    assert_eq!(refused(&policy, &url(2029, "a")), "url_too_long");
    assert_eq!(refused(&policy, &url(1000, "ü")), "url_too_long");
}

#[test]
fn allowed_networks_open_exactly_what_they_name() {
    let policy = open();
    for (address, port, rule) in [
        ("10.1.2.3", 8080, ""),
        ("10.1.2.3", 6379, "port"),
        ("127.0.0.1", 6379, ""),
        ("127.0.0.1", 80, "address_not_public"),
        ("::1", 8080, ""),
        ("::1", 443, "address_not_public"),
        ("169.254.1.1", 80, ""),
        ("169.254.169.254", 80, "address_metadata"),
        ("::ffff:10.1.2.3", 80, "address_embedded"),
        ("192.168.0.1", 80, "address_not_public"),
        ("8.8.8.8", 443, ""),
        ("8.8.8.8", 6379, "port"),
    ] {
        let judged = policy.judge(address.parse().unwrap(), port).map_err(|r| r.rule());
        assert_eq!(judged.err().unwrap_or(""), rule, "{address} {port}");
    }
    let mut exact = policy;
    exact.allow_networks.push("169.254.169.254/32".parse().unwrap());
    assert_eq!(exact.judge("169.254.169.254".parse().unwrap(), 80), Ok(()));
}

#[test]
fn allowed_hosts_open_names_but_not_their_addresses() {
    let policy = open();
    for (text, rule) in [
        ("http://shop/", ""),
        ("http://shop:8080/", ""),
        ("http://shop:5432/", "port"),
        ("http://a.corp.local/", ""),
        ("http://a.b.corp.local/", ""),
        ("http://corp.local/", "local_name"),
        ("http://acorp.local/", "local_name"),
        ("http://cache:6379/", ""),
        ("http://cache/", "single_label"),
        ("http://shop./", "trailing_dot"),
    ] {
        assert_eq!(refused(&policy, text), rule, "{text}");
    }
    let resolved = |domain, address: &str, port| {
        policy.judge_resolved(domain, address.parse().unwrap(), port).map_err(|r| r.rule())
    };
    assert_eq!(resolved("cache", "10.0.0.1", 6379), Ok(()));
    assert_eq!(resolved("cache", "192.168.0.1", 6379), Err("address_not_public"));
    assert_eq!(resolved("example.com", "8.8.8.8", 6379), Err("port"));
}

#[test]
fn entries_that_would_not_mean_what_they_say_are_refused() {
    for good in
        ["10.0.0.0/8", "10.0.0.0/8:8080", "[::1]/128:8080", "::1/128", "fd00::/8", "0.0.0.0/0"]
    {
        assert!(good.parse::<AllowedNetwork>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/8:0",
        "10.0.0.0/8:x",
        "10.0.0.0/+8",
        "10.0.0.0/8:99999",
        "[10.0.0.0]/8",
        "[::1/128",
        "::1]/128",
        "::ffff:10.0.0.0/104",
        "/8",
        "shop/8",
        "10.0.0.0/8:+80",
    ] {
        assert!(bad.parse::<AllowedNetwork>().is_err(), "{bad}");
    }
    for good in ["shop", "*.corp.local", "SHOP:8080", "*.lan:80", "bücher.local"] {
        assert!(good.parse::<AllowedHost>().is_ok(), "{good}");
    }
    for bad in [
        "", "*", "*.", "a.*", "*.*.a", "shop.", "10.0.0.1", "::1", "shop:", "shop:0", "a/b",
        "http://a",
    ] {
        assert!(bad.parse::<AllowedHost>().is_err(), "{bad}");
    }
}

#[test]
fn our_own_sockets_are_refused_even_inside_an_allowed_network() {
    let mut policy = open();
    policy.own_sockets =
        ["10.0.0.5:8080", "[fd00::5]:8080", "8.8.8.8:443"].map(|own| own.parse().unwrap()).to_vec();
    policy.allow_networks.push("0.0.0.0/0:9000".parse().unwrap());
    policy.allow_networks.push("10.0.0.5/32:8080".parse().unwrap());
    for (text, rule) in [
        ("http://10.0.0.5:8080/", "own_socket"),
        ("http://10.0.0.5:8081/", ""),
        ("http://10.0.0.6:8080/", ""),
        ("https://8.8.8.8/", "own_socket"),
        ("https://8.8.8.8:8443/", ""),
        ("http://[fd00::5]:8080/", "own_socket"),
    ] {
        assert_eq!(refused(&policy, text), rule, "{text}");
    }
    let resolved = policy.judge_resolved("shop", "10.0.0.5".parse().unwrap(), 8080);
    assert_eq!(resolved, Err(Refusal::OwnSocket));

    // Listening on every address of this machine, whichever way it is written.
    for own in ["0.0.0.0:9000", "[::]:9000"] {
        policy.own_sockets = vec![own.parse().unwrap()];
        for text in ["http://127.0.0.1:9000/", "http://127.7.7.7:9000/", "http://0.0.0.0:9000/"] {
            assert_eq!(refused(&policy, text), "own_socket", "{own} {text}");
        }
        assert_eq!(refused(&policy, "http://192.0.2.9:9000/"), "", "{own}");
    }
}

#[test]
fn addresses_behind_the_known_nat64_prefix_are_judged_by_what_they_become() {
    let mut policy = open();
    for address in ["64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8"] {
        let judged = policy.judge(address.parse().unwrap(), 443);
        assert_eq!(judged, Err(Refusal::EmbeddedAddress), "{address}");
    }
    policy.nat64_prefix = Some("64:ff9b::/96".parse().unwrap());
    policy.own_sockets = vec!["10.0.0.5:8080".parse().unwrap()];
    for (address, port, rule) in [
        ("64:ff9b::8.8.8.8", 443, ""),
        ("64:ff9b::192.168.0.1", 443, "address_not_public"),
        ("64:ff9b::127.0.0.1", 6379, ""), // as the IPv4 address at this port
        ("64:ff9b::10.1.2.3", 80, ""),
        ("64:ff9b::10.0.0.5", 8080, "own_socket"),
        ("64:ff9b::169.254.169.254", 80, "address_metadata"),
        ("64:ff9b:1::8.8.8.8", 443, "address_embedded"),
        ("::ffff:8.8.8.8", 443, "address_embedded"),
    ] {
        let judged = policy.judge(address.parse().unwrap(), port).map_err(|r| r.rule());
        assert_eq!(judged.err().unwrap_or(""), rule, "{address} {port}");
    }
    // A prefix of one's own looks public until it is named; no network of IPv6 opens what is behind.
    policy.nat64_prefix = Some("2606:4700:64::/96".parse().unwrap());
    policy.allow_networks.push("2606:4700::/32".parse().unwrap());
    for (text, rule) in [
        ("https://[2606:4700:64::192.168.0.1]/", "address_not_public"),
        ("https://[2606:4700:64::8.8.8.8]/", ""),
        ("https://[2606:4700:65::192.168.0.1]/", ""),
    ] {
        assert_eq!(refused(&policy, text), rule, "{text}");
    }
}

#[test]
fn a_stored_url_is_judged_as_strictly_as_one_that_is_typed() {
    let policy = GuardPolicy { allow_http: true, ..GuardPolicy::default() };
    for (rule, texts) in HOSTILE {
        for text in *texts {
            let Ok(url) = Url::parse(text) else { continue };
            let judged = policy.judge_stored(text, &url);
            assert_eq!(judged.err().map(|refusal| refusal.rule()), Some(*rule), "{text:?}");
        }
    }
    for text in ["https://example.com", "https://example.com/", "HTTPS://EXAMPLE.com/a?b"] {
        assert_eq!(policy.judge_stored(text, &Url::parse(text).unwrap()), Ok(()), "{text}");
    }
}
