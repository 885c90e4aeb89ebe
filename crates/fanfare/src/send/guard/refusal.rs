//! Why something may not be reached.

use std::fmt;

/// A rule of the guard, broken. Never holds an address: who may not reach one must not learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The URL has more than 2,048 characters.
    TooLong,
    /// The URL holds a control, white-space, zero-width character or a backslash.
    Character,
    /// The text is not an absolute URL.
    Malformed,
    /// The scheme is neither `https` nor `http`.
    Scheme,
    /// `http`, which is not allowed here.
    PlainHttp,
    /// The URL has a user name or password.
    UserInfo,
    /// The URL has a fragment.
    Fragment,
    /// The URL has no host.
    NoHost,
    /// The host is not written in its plain form: an address in disguise.
    DisguisedHost,
    /// The host's name ends in a dot.
    TrailingDot,
    /// The host's name has one label only.
    SingleLabel,
    /// The host's name is one of a local network.
    LocalName,
    /// The port is one of another protocol.
    Port(u16),
    /// The address is not public.
    NotPublic,
    /// The address is one of IPv6 that carries one of IPv4.
    EmbeddedAddress,
    /// The address answers with a cloud machine's credentials.
    Metadata,
    /// The address and port are those of this server, its peers, its database or its proxy.
    OwnSocket,
}

impl Refusal {
    /// The rule's name, which never changes.
    pub fn rule(&self) -> &'static str {
        match self {
            Refusal::TooLong => "url_too_long",
            Refusal::Character => "url_character",
            Refusal::Malformed => "url_malformed",
            Refusal::Scheme => "scheme",
            Refusal::PlainHttp => "plain_http",
            Refusal::UserInfo => "user_info",
            Refusal::Fragment => "fragment",
            Refusal::NoHost => "no_host",
            Refusal::DisguisedHost => "disguised_host",
            Refusal::TrailingDot => "trailing_dot",
            Refusal::SingleLabel => "single_label",
            Refusal::LocalName => "local_name",
            Refusal::Port(_) => "port",
            Refusal::NotPublic => "address_not_public",
            Refusal::EmbeddedAddress => "address_embedded",
            Refusal::Metadata => "address_metadata",
            Refusal::OwnSocket => "own_socket",
        }
    }

    /// What would allow it; `None` when nothing does.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Refusal::PlainHttp => Some("FANFARE_ALLOW_HTTP allows it"),
            Refusal::SingleLabel | Refusal::LocalName => {
                Some("FANFARE_ALLOW_HOSTS can allow this name")
            }
            Refusal::Port(_) => Some(
                "FANFARE_ALLOW_HOSTS or FANFARE_ALLOW_NETWORKS can allow it with an entry that \
                 ends in `:port`",
            ),
            Refusal::NotPublic => Some("FANFARE_ALLOW_NETWORKS can allow its network"),
            Refusal::EmbeddedAddress => {
                Some("FANFARE_NAT64_PREFIX has a NAT64 address judged by the IPv4 address in it")
            }
            Refusal::Metadata => {
                Some("FANFARE_ALLOW_NETWORKS allows it only where it is named as a /32 or /128")
            }
            _ => None,
        }
    }

    fn sentence(&self) -> &'static str {
        match self {
            Refusal::TooLong => "the URL has more than 2048 characters",
            Refusal::Character => {
                "the URL holds a control, space, zero-width character or a backslash"
            }
            Refusal::Malformed => "this is not an absolute URL such as https://example.com/hook",
            Refusal::Scheme => "the URL must begin with https://, or http:// where that is allowed",
            Refusal::PlainHttp => "the URL must begin with https://, not http://",
            Refusal::UserInfo => "the URL must not hold a user name or password",
            Refusal::Fragment => "the URL must not hold a fragment (#…)",
            Refusal::NoHost => "the URL has no host",
            Refusal::DisguisedHost => "the host must be written in its plain form",
            Refusal::TrailingDot => "the host must not end in a dot",
            Refusal::SingleLabel => "the host must be a full name with a dot in it",
            Refusal::LocalName => "the host is a name of a local network",
            Refusal::Port(_) => "this port belongs to another protocol than HTTP",
            Refusal::NotPublic => "the host's address is not a public one",
            Refusal::EmbeddedAddress => {
                "the host's IPv6 address carries an IPv4 address, which must be written itself"
            }
            Refusal::Metadata => "the host's address is one of cloud metadata",
            Refusal::OwnSocket => {
                "the host's address and port are those of this server or of what it runs on"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule(), self.sentence())?;
        if let Refusal::Port(port) = self {
            write!(f, " ({port})")?;
        }
        self.remedy().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl std::error::Error for Refusal {}
