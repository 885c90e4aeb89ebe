//! IPv4 behind a translator of the operator's own network (RFC 6052).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::Ipv6Net;

/// The lengths that a prefix may have (RFC 6052, section 2.2).
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];
/// The octet that stays zero in every form, and is left out of the address.
const RESERVED_OCTET: usize = 8;

/// What `FANFARE_NAT64_PREFIX` says: the IPv6 prefix behind which the network translates to IPv4,
/// such as `64:ff9b::/96`. Addresses behind it are judged as the IPv4 address that they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix(Ipv6Net);

/// What an address is to a translator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Not its business.
    Elsewhere,
    /// It becomes this one.
    Translated(Ipv4Addr),
    /// It has the prefix but not the form.
    Malformed,
}

impl Nat64Prefix {
    /// What becomes of `address`.
    pub(super) fn behind(&self, address: Ipv6Addr) -> Behind {
        if !self.0.contains(&address) {
            return Behind::Elsewhere;
        }
        let octets = address.octets();
        let start = usize::from(self.0.prefix_len() / 8);
        let mut rest = (start..16).filter(|at| *at != RESERVED_OCTET).map(|at| octets[at]);
        let v4: [u8; 4] = std::array::from_fn(|_| rest.next().unwrap_or_default());
        if octets[RESERVED_OCTET] != 0 || rest.any(|octet| octet != 0) {
            return Behind::Malformed;
        }
        Behind::Translated(v4.into())
    }
}

impl FromStr for Nat64Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "`{text}` is not a NAT64 prefix such as 64:ff9b::/96: its length must be 32, 40, \
                 48, 56, 64 or 96"
            )
        };
        let net: Ipv6Net = text.parse().map_err(|_| form())?;
        if !LENGTHS.contains(&net.prefix_len()) {
            return Err(form());
        }
        if net.addr() != net.network() {
            return Err(format!("`{text}` has bits behind its prefix; write {}", net.trunc()));
        }
        // Loopback, mapped and compatible addresses are no translator's.
        if net.addr().segments()[0] == 0 || net.addr().octets()[RESERVED_OCTET] != 0 {
            return Err(form());
        }
        Ok(Nat64Prefix(net))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(prefix: &str, address: &str) -> Behind {
        prefix.parse::<Nat64Prefix>().unwrap().behind(address.parse().unwrap())
    }

    /// The examples of RFC 6052, section 2.4.
    #[test]
    fn addresses_are_found_behind_prefixes_of_every_length() {
        let address = Behind::Translated(Ipv4Addr::new(192, 0, 2, 33));
        for (prefix, translated) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ] {
            assert_eq!(behind(prefix, translated), address, "{prefix}");
        }
        assert_eq!(behind("64:ff9b::/96", "64:ff9b:1::1"), Behind::Elsewhere);
        assert_eq!(behind("2001:db8::/32", "2001:db8:c000:221:100::"), Behind::Malformed);
        assert_eq!(behind("2001:db8::/32", "2001:db8:c000:221::1"), Behind::Malformed);
    }

    #[test]
    fn prefixes_of_other_forms_are_refused() {
        for bad in [
            "",
            "64:ff9b::",
            "64:ff9b::/95",
            "64:ff9b::1/96",
            "10.0.0.0/8",
            "::/96",
            "::ffff:0:0/96",
            "2001:db8:0:0:ff00::/96",
            "64:ff9b::/96:80",
        ] {
            assert!(bad.parse::<Nat64Prefix>().is_err(), "{bad}");
        }
    }
}
