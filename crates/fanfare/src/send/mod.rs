//! The network, the second of the engine's three edges.

mod answer;
mod body;
mod connect;
mod failure;
pub mod guard;
mod http;
mod identity;
mod link;
mod meter;
mod own;
mod pool;
mod proxy;
mod request;
mod resolve;
mod socket;
mod sweep;
mod timed;
mod tls;
mod wire;

use std::fmt;
use std::sync::Arc;

use ::http::{HeaderMap, Method};
use async_trait::async_trait;
use bytes::Bytes;
use url::Url;

use crate::model::{CompanyId, Outcome, Timing};

use self::failure::Failure;
pub use self::http::HttpTransport;
pub use body::body;
pub use guard::{GuardPolicy, Peers, Refusal};
pub use identity::{Identity, OWN_TLS_BYTES_MAX, tidied};
pub use own::{Own, own_headers};
pub use proxy::EgressProxy;
pub use request::{request, shown};

/// One request, ready to go.
#[derive(Clone)]
pub struct Request {
    /// On whose behalf: connections are not shared among companies.
    pub company: CompanyId,
    /// POST or PATCH for deliveries, GET for key sets.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers, without `host` and `content-length`.
    pub headers: HeaderMap,
    /// The body, byte for byte what was signed.
    pub body: Bytes,
    /// Certificates of the endpoint's own; `None` for those of the machine.
    pub identity: Option<Arc<Identity>>,
}

impl fmt::Debug for Request {
    /// Without the values of its headers, where tokens are, and without its body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        let (method, host) = (&self.method, self.url.host_str().unwrap_or_default());
        write!(
            f,
            "{method} {host} for {} with {names:?} and {} bytes",
            self.company,
            self.body.len()
        )
    }
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What it came to.
    pub outcome: Outcome,
    /// Where its time went; the queue before it is not the network's to know.
    pub timing: Timing,
    /// The rule of the guard that ended it, for the operator. The outcome says so too.
    pub refusal: Option<Refusal>,
}

impl From<Outcome> for Sent {
    /// An outcome that nobody timed.
    fn from(outcome: Outcome) -> Self {
        Sent { outcome, timing: Timing::default(), refusal: None }
    }
}

impl From<Refusal> for Sent {
    /// What was refused before anything was sent.
    fn from(refusal: Refusal) -> Self {
        let reason = Failure::Refused(refusal).to_string();
        Sent { refusal: Some(refusal), ..Outcome::NoAnswer { reason }.into() }
    }
}

/// Sends one request. Never fails: not getting through is an [`Outcome`] too.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends `request` within the transport's own limits of time and size. Redirects are not
    /// followed.
    async fn send(&self, request: Request) -> Sent;
}
