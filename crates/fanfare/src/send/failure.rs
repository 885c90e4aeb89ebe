//! Why no answer came. What is shown of it names no address that a name resolved to.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::send::guard::Refusal;

/// An attempt that ended before an answer began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The guard said no.
    Refused(Refusal),
    /// The name did not resolve.
    Dns(&'static str),
    /// No connection to any of its addresses.
    Connect(&'static str),
    /// No TLS session.
    Tls(Cow<'static, str>),
    /// What came was not an HTTP answer.
    Protocol(Cow<'static, str>),
    /// An answer that costs more than one may.
    Budget(&'static str),
    /// What took longer than it may, and how long that is.
    Timeout(&'static str, Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(refusal) => write!(f, "refused: {refusal}"),
            Failure::Dns(why) => write!(f, "dns: {why}"),
            Failure::Connect(why) => write!(f, "connect: {why}"),
            Failure::Tls(why) => write!(f, "tls: {why}"),
            Failure::Protocol(why) => write!(f, "protocol: {why}"),
            Failure::Budget(what) => write!(f, "budget: {what}"),
            Failure::Timeout(what, most) => write!(f, "timeout: {what} took over {most:?}"),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

/// What went wrong with a socket, in words that hold no address.
pub(super) fn describe(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "connection closed",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable => "network unreachable",
        io::ErrorKind::TimedOut => "the network gave up waiting",
        // Sockets do not judge what they carry; TLS does.
        io::ErrorKind::InvalidData => "TLS broken",
        io::ErrorKind::AddrNotAvailable => "no local port is free",
        _ => "connection failed",
    }
}
