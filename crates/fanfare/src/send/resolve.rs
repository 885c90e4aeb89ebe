//! Names to addresses.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::send::failure::Failure;

/// How long a name may take.
const RESOLVE_MAX: Duration = Duration::from_secs(3);
/// How long one question to a name server may take. It is asked twice, within [`RESOLVE_MAX`].
const QUESTION_MAX: Duration = Duration::from_secs(1);
/// How long an answer may be remembered, whatever it says itself: a receiver that moves, or a
/// name that was just made, is found soon.
const REMEMBERED_MAX: Duration = Duration::from_secs(300);
const ABSENCE_REMEMBERED_MAX: Duration = Duration::from_secs(10);

/// The machine's resolver, made when a name is first asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    resolver: OnceCell<TokioResolver>,
}

impl Names {
    /// Every address of `domain`, which is taken as fully qualified: no search list is tried.
    pub(super) async fn addresses(&self, domain: &str) -> Result<Vec<IpAddr>, Failure> {
        let mut name = Name::from_ascii(domain).map_err(|_| Failure::Dns("not a name"))?;
        name.set_fqdn(true);
        let resolver = self.resolver.get_or_try_init(|| async { resolver() }).await;
        let resolver = resolver.map_err(|_| Failure::Dns("this machine has no resolver"))?;
        let found = match timeout(RESOLVE_MAX, resolver.lookup_ip(name)).await {
            Ok(Ok(found)) => found.iter().collect(),
            Ok(Err(error)) => return Err(Failure::Dns(describe(&error))),
            Err(_) => return Err(Failure::Dns("no answer within 3 s")),
        };
        Ok(found)
    }
}

fn resolver() -> Result<TokioResolver, NetError> {
    // Without name servers there are still the names of the hosts file.
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        TokioResolver::builder_with_config(
            ResolverConfig::default(),
            TokioRuntimeProvider::default(),
        )
    });
    limit(builder.options_mut());
    builder.build()
}

fn limit(options: &mut ResolverOpts) {
    options.timeout = QUESTION_MAX;
    options.attempts = 1;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.positive_max_ttl = Some(REMEMBERED_MAX);
    options.negative_max_ttl = Some(ABSENCE_REMEMBERED_MAX);
}

fn describe(error: &NetError) -> &'static str {
    match error {
        error if error.is_nx_domain() => "no such name",
        error if error.is_no_records_found() => "the name has no address",
        NetError::Timeout => "the name servers did not answer",
        NetError::NoConnections | NetError::Io(_) => "the name servers cannot be reached",
        _ => "the name could not be resolved",
    }
}
