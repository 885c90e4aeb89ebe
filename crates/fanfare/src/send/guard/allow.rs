//! What an operator opens although it is not public.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};
use url::Host;

/// An entry of `FANFARE_ALLOW_NETWORKS`: `10.0.0.0/8`, `10.0.0.0/8:8080`, `::1/128` or
/// `[::1]/128:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllowedNetwork {
    network: IpNet,
    port: Option<u16>,
}

impl AllowedNetwork {
    /// Does the entry open `address` at `port`?
    pub(super) fn opens(&self, address: IpAddr, port: u16) -> bool {
        self.network.contains(&address) && self.port.is_none_or(|only| only == port)
    }

    /// Does the entry name a single address?
    pub(super) fn is_one_address(&self) -> bool {
        self.network.prefix_len() == self.network.max_prefix_len()
    }

    /// Does the entry name this port, and so lift the rules for ports?
    pub(super) fn names_port(&self, port: u16) -> bool {
        self.port == Some(port)
    }
}

/// The IPv4-mapped block: entries in it would open nothing.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

impl FromStr for AllowedNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a network such as 10.0.0.0/8 or [::1]/128:8080");
        let (address, rest) = text.split_once('/').ok_or_else(form)?;
        let (length, port) = split_port(rest)?;
        let address: IpAddr = match address.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.and_then(|v6| v6.parse::<Ipv6Addr>().ok()).map(IpAddr::V6),
            None => address.parse().ok(),
        }
        .ok_or_else(form)?;
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(form());
        }
        let length = length.parse().map_err(|_| form())?;
        let network = IpNet::new(address, length).map_err(|_| form())?;
        if network.addr() != network.network() {
            return Err(format!("`{text}` has bits behind its prefix; write {}", network.trunc()));
        }
        if matches!(network, IpNet::V6(v6) if MAPPED.contains(&v6)) {
            return Err(format!("`{text}` is a network of IPv4; write it as one"));
        }
        Ok(AllowedNetwork { network, port })
    }
}

/// An entry of `FANFARE_ALLOW_HOSTS`: `shop`, `*.corp.local`, `shop:8080`. A star stands for one
/// label or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    name: String,
    below: bool,
    port: Option<u16>,
}

impl AllowedHost {
    /// Does the entry open the name `domain`, in lower case, at `port`?
    pub(super) fn opens(&self, domain: &str, port: u16) -> bool {
        let named = if self.below {
            domain
                .strip_suffix(self.name.as_str())
                .is_some_and(|rest| rest.strip_suffix('.').is_some_and(|labels| !labels.is_empty()))
        } else {
            domain == self.name
        };
        named && self.port.is_none_or(|only| only == port)
    }

    /// Does the entry name this port, and so lift the rules for ports?
    pub(super) fn names_port(&self, port: u16) -> bool {
        self.port == Some(port)
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a name such as shop, *.corp.local or shop:8080");
        let (name, port) = split_port(text)?;
        let (below, name) = name.strip_prefix("*.").map_or((false, name), |suffix| (true, suffix));
        // The parser of URLs, so that an entry has the spelling in which it will be asked for.
        let Ok(Host::Domain(name)) = Host::parse(name) else { return Err(form()) };
        if name.contains('*') || name.split('.').any(str::is_empty) {
            return Err(form());
        }
        Ok(AllowedHost { name, below, port })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let Some((rest, port)) = text.split_once(':') else { return Ok((text, None)) };
    match port.parse() {
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((rest, Some(number)))
        }
        _ => Err(format!("`{port}` is not a port from 1 to 65535")),
    }
}
