//! What one kind of hostile receiver costs a sender, measured in a process of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare::model::CompanyId;
use fanfare::send::guard::GuardPolicy;
use fanfare::send::{HttpTransport, Request, Transport};
use hyper::{HeaderMap, Method};
use tokio::task::JoinSet;

use crate::memory::{most_resident_mib, resident_mib};
use crate::server::cpu_of;
use crate::{payload, runtime};

/// With which the process is told what it is for.
pub(crate) const ARGUMENT: &str = "--attack";
/// The time for one attempt.
const DEADLINE: Duration = Duration::from_secs(2);
/// Attempts at the same time.
const ATTEMPTS: u32 = 64;

/// What one attempt costs.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// How much later than its deadline the latest of them ended, in milliseconds.
    pub(crate) late: f64,
    /// Processor time, in milliseconds.
    pub(crate) cpu: f64,
    /// Memory, in MiB.
    pub(crate) memory: f64,
}

/// Attacks a process with a receiver at `url`. It trusts the certificates in `roots`.
pub(crate) fn on(url: &str, roots: &Path) -> Cost {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([ARGUMENT, url]).env("SSL_CERT_FILE", roots).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [late, cpu, memory] = figures[..] else { panic!("{url}: {text}") };
    Cost { late, cpu, memory }
}

/// The process that is attacked: prints what an attempt cost it.
pub(crate) fn suffer(url: &str) {
    let policy = GuardPolicy {
        allow_http: true,
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        ..GuardPolicy::default()
    };
    let transport = Arc::new(HttpTransport::new(policy, DEADLINE));
    let (runtime, pid) = (runtime(), std::process::id());
    // Once for what is needed only once: roots, threads, buffers of the allocator.
    runtime.block_on(attempts(&transport, url, 1));
    let (cpu, memory) = (cpu_of(pid), resident_mib(pid).unwrap());
    let slowest = runtime.block_on(attempts(&transport, url, ATTEMPTS));
    let late = (slowest.as_secs_f64() - DEADLINE.as_secs_f64()).max(0.0) * 1e3;
    let cpu = (cpu_of(pid) - cpu).as_secs_f64() * 1e3 / f64::from(ATTEMPTS);
    let memory = (most_resident_mib(pid).unwrap() - memory) / f64::from(ATTEMPTS);
    println!("{late} {cpu} {memory}");
}

/// How long the slowest of so many took.
async fn attempts(transport: &Arc<HttpTransport>, url: &str, count: u32) -> Duration {
    let mut attempts = JoinSet::new();
    for _ in 0..count {
        let (transport, request) = (Arc::clone(transport), request(url));
        attempts.spawn(async move {
            let start = Instant::now();
            transport.send(request).await;
            start.elapsed()
        });
    }
    attempts.join_all().await.into_iter().max().unwrap_or_default()
}

fn request(url: &str) -> Request {
    Request {
        company: CompanyId::from_uuid(uuid::Uuid::nil()),
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        identity: None,
        body: payload().into(),
    }
}
