//! Names to addresses. What a name server can make us do, keep or wait for is bounded here.

mod known;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::send::failure::Failure;
use known::Known;

/// How long a name may take.
const RESOLVE_MAX: Duration = Duration::from_secs(3);
/// How long one question to a name server may take. It is asked twice, within [`RESOLVE_MAX`].
const QUESTION_MAX: Duration = Duration::from_secs(1);
/// How long an answer may be remembered, whatever it says itself: a receiver that moves, or a
/// name that was just made, is found soon.
const REMEMBERED_MAX: Duration = Duration::from_secs(300);
const ABSENCE_REMEMBERED_MAX: Duration = Duration::from_secs(10);
/// How many addresses a name may have. All of them are judged; a few are tried.
const ADDRESSES_MAX: usize = 64;
/// How many aliases may lie between a name and its addresses. The resolver itself follows no more
/// than seven that come one at a time; here those count that come together.
const ALIASES_MAX: usize = 8;

/// The machine's resolver, made when a name is first asked for.
#[derive(Default)]
pub(super) struct Names {
    resolver: OnceCell<TokioResolver>,
    known: Known,
}

impl Names {
    /// Every address of `domain`, which is taken as fully qualified: no search list is tried.
    pub(super) async fn addresses(&self, domain: &str) -> Result<Arc<[IpAddr]>, Failure> {
        if let Some(known) = self.known.of(domain) {
            return known;
        }
        let mut name = Name::from_ascii(domain).map_err(|_| Failure::Dns("not a name"))?;
        name.set_fqdn(true);
        let resolver = self.resolver.get_or_try_init(|| async { resolver() }).await;
        let resolver = resolver.map_err(|_| Failure::Dns("this machine has no resolver"))?;
        let found = timeout(RESOLVE_MAX, resolver.lookup_ip(name)).await;
        let found = found.map_err(|_| Failure::Dns("no answer within 3 s"))?;
        let (answer, remembered) = match found {
            Ok(found) => (read(&found), ttl(&found)),
            Err(error) => (Err(Failure::Dns(describe(&error))), absence_ttl(&error)),
        };
        self.known.keep(domain, &answer, remembered);
        answer
    }
}

/// The addresses in an answer, if it is not a monstrous one.
fn read(found: &LookupIp) -> Result<Arc<[IpAddr]>, Failure> {
    let records = found.as_lookup().answers();
    let aliases = records.iter().filter(|record| record.record_type() == RecordType::CNAME);
    // Both families have the same aliases, as a rule.
    let aliases: BTreeSet<&Name> = aliases.map(|record| &record.name).collect();
    if aliases.len() > ALIASES_MAX {
        return Err(Failure::Dns("the name is an alias of more than 8 aliases"));
    }
    if found.iter().nth(ADDRESSES_MAX).is_some() {
        return Err(Failure::Dns("the name has more than 64 addresses"));
    }
    // In the order of the answer, by which name servers spread their load.
    Ok(found.iter().collect())
}

/// How long an answer holds: as long as its shortest-lived part.
fn ttl(found: &LookupIp) -> Duration {
    let seconds = found.as_lookup().answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(seconds.unwrap_or(0).into()).min(REMEMBERED_MAX)
}

/// How long to believe that there is nothing. What was a failure on the way is asked anew.
fn absence_ttl(error: &NetError) -> Duration {
    let seconds = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none.negative_ttl.unwrap_or(0),
        _ => 0,
    };
    Duration::from_secs(seconds.into()).min(ABSENCE_REMEMBERED_MAX)
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
    // Whole messages of up to 64 KiB would be kept; what is needed of them is kept here.
    options.cache_size = 0;
    // Aliases are counted.
    options.preserve_intermediates = true;
    // TCP is for answers that are too long for UDP.
    options.try_tcp_on_error = false;
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
