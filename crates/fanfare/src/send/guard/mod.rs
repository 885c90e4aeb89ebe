//! Who may be reached. Every outgoing request passes here twice: its URL when it is stored and at
//! every attempt, and the address itself right before the connection is made.
//!
//! A URL is parsed once, by `url`; nothing else ever reads it. What a name resolves to is judged
//! where it is connected to, so there is no moment between judgement and use.

mod address;
mod allow;
mod name;
mod nat64;
mod own;
mod refusal;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use url::{Host, ParseError, Url};

use self::address::Kind;
pub use self::allow::{AllowedHost, AllowedNetwork};
use self::nat64::Behind;
pub use self::nat64::Nat64Prefix;
pub use self::own::Peers;
pub use self::refusal::Refusal;
use crate::send::proxy::EgressProxy;

/// The longest URL, in characters.
const URL_CHARS_MAX: usize = 2048;

/// What may be reached beyond public https, by default nothing, and how. It never changes while a
/// transport lives, so a connection that was kept is always one that may still be used.
#[derive(Debug, Clone, Default)]
pub struct GuardPolicy {
    /// Accept `http://`.
    pub allow_http: bool,
    /// Networks that may be reached although they are not public.
    pub allow_networks: Vec<AllowedNetwork>,
    /// Names that the rules for names refuse otherwise. Their addresses are still judged.
    pub allow_hosts: Vec<AllowedHost>,
    /// Where this server itself and its database listen. Never reached, not even inside an allowed
    /// network. An unspecified address stands for every address of this machine.
    pub own_sockets: Vec<SocketAddr>,
    /// Where the other nodes on the same store listen: never reached either.
    pub peers: Peers,
    /// The prefix behind which the network translates to IPv4. Without it, an address that has the
    /// form of one is refused where the form is a standard one, and IPv6 like any other where not.
    pub nat64_prefix: Option<Nat64Prefix>,
    /// Through which proxy connections are made; directly when there is none. What is reached
    /// through it is judged all the same.
    pub egress_proxy: Option<EgressProxy>,
}

impl GuardPolicy {
    /// Reads a URL that someone typed. A host written as an address is judged here already; what
    /// a name resolves to is judged at each connection.
    pub fn parse_url(&self, text: &str) -> Result<Url, Refusal> {
        if text.chars().count() > URL_CHARS_MAX {
            return Err(Refusal::TooLong);
        }
        if text.chars().any(is_unwelcome) {
            return Err(Refusal::Character);
        }
        let url = Url::parse(text).map_err(|error| match error {
            ParseError::EmptyHost => Refusal::NoHost,
            _ => Refusal::Malformed,
        })?;
        self.judge_scheme(&url)?;
        judge_spelling(text, &url)?;
        self.judge_url(&url)?;
        Ok(url)
    }

    /// Judges a URL that was read from `text` before, perhaps under another policy, or by nobody
    /// who judged.
    pub fn judge_stored(&self, text: &str, url: &Url) -> Result<(), Refusal> {
        // What is written as the parser writes it has nothing in it that the parser took out.
        if text == url.as_str() { self.judge_url(url) } else { self.parse_url(text).map(drop) }
    }

    /// Judges a URL that was parsed before, perhaps under another policy.
    pub fn judge_url(&self, url: &Url) -> Result<(), Refusal> {
        self.judge_scheme(url)?;
        if url.as_str().len() > URL_CHARS_MAX {
            return Err(Refusal::TooLong);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        let port = url.port_or_known_default().unwrap_or(0);
        match url.host().ok_or(Refusal::NoHost)? {
            Host::Domain(domain) => self.judge_name(domain, port),
            Host::Ipv4(address) => self.judge(address.into(), port),
            Host::Ipv6(address) => self.judge(address.into(), port),
        }
    }

    /// May this address be connected to?
    pub fn judge(&self, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let address = self.translated(address)?;
        let named = |entry: &AllowedNetwork| entry.names_port(port) && entry.opens(address, port);
        if name::barred(port) && !self.allow_networks.iter().any(named) {
            return Err(Refusal::Port(port));
        }
        self.judge_address(address, port)
    }

    /// May this address, which `domain` resolved to, be connected to?
    pub(super) fn judge_resolved(
        &self,
        domain: &str,
        address: IpAddr,
        port: u16,
    ) -> Result<(), Refusal> {
        let named = |entry: &AllowedHost| entry.names_port(port) && entry.opens(domain, port);
        if self.allow_hosts.iter().any(named) {
            return self.judge_address(self.translated(address)?, port);
        }
        self.judge(address, port)
    }

    /// The address that is reached in the end: behind the network's translator it is another one.
    fn translated(&self, address: IpAddr) -> Result<IpAddr, Refusal> {
        let (Some(prefix), IpAddr::V6(v6)) = (self.nat64_prefix, address) else {
            return Ok(address);
        };
        match prefix.behind(v6) {
            Behind::Elsewhere => Ok(address),
            Behind::Translated(v4) => Ok(v4.into()),
            Behind::Malformed => Err(Refusal::EmbeddedAddress),
        }
    }

    fn judge_scheme(&self, url: &Url) -> Result<(), Refusal> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.allow_http => Ok(()),
            "http" => Err(Refusal::PlainHttp),
            _ => Err(Refusal::Scheme),
        }
    }

    fn judge_name(&self, domain: &str, port: u16) -> Result<(), Refusal> {
        if !name::is_plain(domain) {
            return Err(Refusal::Malformed);
        }
        let opened = |entry: &&AllowedHost| entry.opens(domain, port);
        if !self.allow_hosts.iter().any(|entry| opened(&entry)) {
            name::judge(domain)?;
        }
        // Whether a network's entry lifts the rule for this port is known once the name is
        // resolved; until then it is enough that one might.
        let lifted = self.allow_hosts.iter().filter(opened).any(|entry| entry.names_port(port))
            || self.allow_networks.iter().any(|entry| entry.names_port(port));
        if name::barred(port) && !lifted { Err(Refusal::Port(port)) } else { Ok(()) }
    }

    fn judge_address(&self, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let own = own::listens_at(&self.own_sockets, address, port);
        if own || self.peers.listen_at(address, port) {
            return Err(Refusal::OwnSocket);
        }
        let mut openers = self.allow_networks.iter().filter(|entry| entry.opens(address, port));
        match address::kind(address) {
            Kind::Public => Ok(()),
            Kind::Special => openers.next().map(drop).ok_or(Refusal::NotPublic),
            Kind::Metadata if openers.any(AllowedNetwork::is_one_address) => Ok(()),
            Kind::Metadata => Err(Refusal::Metadata),
            Kind::Embedded => Err(Refusal::EmbeddedAddress),
        }
    }
}

/// Characters that a parser drops or maps, or that a person does not see.
fn is_unwelcome(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || c == '\\'
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' | '\u{e0000}'..='\u{e0fff}')
}

/// Is the host written as the parser understood it? `0x7f.1`, `2130706433`, `①②⑦.0.0.1` and
/// `%6c%6f` are not: whoever writes so hopes that two readers disagree.
fn judge_spelling(text: &str, url: &Url) -> Result<(), Refusal> {
    let (scheme, rest) = text.split_once("://").ok_or(Refusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case(url.scheme()) {
        return Err(Refusal::Malformed);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(Refusal::NoHost);
    }
    if authority.contains('@') {
        return Err(Refusal::UserInfo);
    }
    let host = authority.split(':').next().unwrap_or_default();
    let plain = match url.host() {
        Some(Host::Ipv6(_)) => authority.starts_with('['),
        Some(Host::Ipv4(address)) => host == address.to_string(),
        Some(Host::Domain(domain)) => is_spelling_of(host, domain),
        None => false,
    };
    if plain { Ok(()) } else { Err(Refusal::DisguisedHost) }
}

/// Does `typed` mean `domain` label by label, by case or as an international name only?
fn is_spelling_of(typed: &str, domain: &str) -> bool {
    let same = |(typed, label): (&str, &str)| {
        typed.eq_ignore_ascii_case(label) || (!typed.is_ascii() && label.starts_with("xn--"))
    };
    typed.split('.').count() == domain.split('.').count()
        && typed.split('.').zip(domain.split('.')).all(same)
}
