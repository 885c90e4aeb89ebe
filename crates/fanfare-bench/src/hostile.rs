//! Receivers that do harm, on a thread of their own.

use std::net::SocketAddr;

use fanfare_testkit::hostile::{Hostile, Receiver};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// What a dead endpoint may be like.
pub(crate) const DEAD: [&str; 5] =
    ["never accepts", SILENT, "drips its body", "endless body", "vast length"];
/// Accepts and never says a word.
pub(crate) const SILENT: &str = "never answers";

/// Hostile receivers. They end when this is dropped.
pub(crate) struct Hosts {
    runtime: Runtime,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Hosts { runtime: builder.worker_threads(1).enable_all().build().unwrap() }
    }

    /// Starts one more, of those in the clear. Returns where it listens.
    pub(crate) fn listen(&self, name: &str) -> SocketAddr {
        self.start(Hostile::named(name).unwrap(), None)
    }

    /// Starts one of any kind.
    pub(crate) fn start(&self, hostile: &'static Hostile, tls: Option<TlsAcceptor>) -> SocketAddr {
        self.runtime.block_on(Receiver::start(hostile, tls)).unwrap().address
    }
}
