//! Which addresses are public. Pure tables, from IANA's special-purpose registries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// What an address is to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anyone's.
    Public,
    /// Private, local, reserved, multicast: not anyone's.
    Special,
    /// IPv6 that some translator or tunnel turns into IPv4.
    Embedded,
    /// Where clouds hand out a machine's credentials.
    Metadata,
}

/// What `address` is.
pub(super) fn kind(address: IpAddr) -> Kind {
    if METADATA.contains(&address) {
        return Kind::Metadata;
    }
    match address {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

/// Addresses of cloud metadata and of the cloud's own services, some of which look public.
const METADATA: [IpAddr; 12] = [
    v4(169, 254, 169, 254), // AWS, Google, Azure, OpenStack and most others
    v4(169, 254, 170, 2),   // AWS, containers
    v4(169, 254, 170, 23),  // AWS, pods
    v4(169, 254, 0, 23),    // Tencent
    v4(169, 254, 42, 42),   // Scaleway
    v4(168, 63, 129, 16),   // Azure's wire server
    v4(100, 100, 100, 200), // Alibaba
    v4(192, 0, 0, 192),     // Oracle
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]), // AWS
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]), // AWS, pods
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]), // Google
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]), // Scaleway
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]))
}

const fn net4(a: u8, b: u8, c: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), length)
}

const fn net6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>, whole, and what lies above
/// 224.0.0.0: multicast and class E.
const SPECIAL_V4: [Ipv4Net; 18] = [
    net4(0, 0, 0, 8),
    net4(10, 0, 0, 8),
    net4(100, 64, 0, 10),
    net4(127, 0, 0, 8),
    net4(169, 254, 0, 16),
    net4(172, 16, 0, 12),
    net4(192, 0, 0, 24),
    net4(192, 0, 2, 24),
    net4(192, 31, 196, 24),
    net4(192, 52, 193, 24),
    net4(192, 88, 99, 24),
    net4(192, 168, 0, 16),
    net4(192, 175, 48, 24),
    net4(198, 18, 0, 15),
    net4(198, 51, 100, 24),
    net4(203, 0, 113, 24),
    net4(224, 0, 0, 4),
    net4(240, 0, 0, 4),
];

fn kind_v4(address: Ipv4Addr) -> Kind {
    if SPECIAL_V4.iter().any(|net| net.contains(&address)) { Kind::Special } else { Kind::Public }
}

/// The one block from which public addresses are given out, and what is taken out of it.
const GLOBAL_V6: Ipv6Net = net6(0x2000, 0, 0, 3);
const SPECIAL_V6: [Ipv6Net; 4] = [
    net6(0x2001, 0, 0, 23),     // protocol assignments, Teredo among them
    net6(0x2001, 0xdb8, 0, 32), // documentation
    net6(0x2002, 0, 0, 16),     // 6to4
    net6(0x3fff, 0, 0, 20),     // documentation
];

/// Prefixes behind which an IPv4 address follows.
const EMBEDDING: [Ipv6Net; 7] = [
    net6(0, 0, 0, 96), // IPv4-compatible
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), // IPv4-mapped
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), // SIIT
    net6(0x64, 0xff9b, 0, 96), // NAT64
    net6(0x64, 0xff9b, 1, 48), // NAT64, local use
    net6(0x2001, 0, 0, 32), // Teredo
    net6(0x2002, 0, 0, 16), // 6to4
];

fn kind_v6(address: Ipv6Addr) -> Kind {
    // `::` and `::1` have the form of IPv4-compatible addresses but are themselves.
    if address.is_unspecified() || address.is_loopback() {
        return Kind::Special;
    }
    if is_isatap(address) || EMBEDDING.iter().any(|net| net.contains(&address)) {
        return Kind::Embedded;
    }
    let special = SPECIAL_V6.iter().any(|net| net.contains(&address));
    if GLOBAL_V6.contains(&address) && !special { Kind::Public } else { Kind::Special }
}

/// RFC 5214: any prefix, then `0:5efe` or `200:5efe`, then an IPv4 address.
fn is_isatap(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    segments[4] & !0x0200 == 0 && segments[5] == 0x5efe
}
