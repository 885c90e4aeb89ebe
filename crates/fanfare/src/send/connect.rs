//! From a URL to an open connection, past the guard. The only place that opens a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use url::{Host, Url};

use crate::model::Timing;
use crate::send::Identity;
use crate::send::failure::{Failure, describe};
use crate::send::guard::{GuardPolicy, Refusal};
use crate::send::proxy::{self, EgressProxy};
use crate::send::resolve::Names;
use crate::send::socket::Socket;
use crate::send::timed::timed;
use crate::send::tls::Tls;
use crate::send::wire::Wire;

/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;
/// How long a connection to any of them may take, and then TLS.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const TLS_MAX: Duration = Duration::from_secs(5);
/// How long one address is tried alone before the next is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// What takes its time, for people.
pub(super) const RESOLVING: &str = "resolving the name";
pub(super) const CONNECTING: &str = "connecting";
pub(super) const SHAKING: &str = "the TLS handshake";

/// Opens connections within a policy.
#[derive(Default)]
pub(super) struct Connector {
    policy: GuardPolicy,
    names: Names,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(policy: GuardPolicy) -> Self {
        Connector { policy, ..Connector::default() }
    }

    /// The same with roots that are given.
    #[cfg(test)]
    pub(super) fn trusting(policy: GuardPolicy, tls: Tls) -> Self {
        Connector { policy, tls, ..Connector::default() }
    }

    /// The same with name servers that are given.
    #[cfg(test)]
    pub(super) fn asking(policy: GuardPolicy, names: Names) -> Self {
        Connector { policy, names, ..Connector::default() }
    }

    /// May this URL be asked at all? For every attempt: it may have been stored under
    /// another policy, or by another hand.
    fn judge(&self, url: &Url) -> Result<(), Refusal> {
        self.policy.judge_url(url)
    }

    /// Where the host of `url` is: every address may be connected to, the best first.
    pub(super) async fn locate(
        &self,
        url: &Url,
        took: &mut Timing,
    ) -> Result<Vec<SocketAddr>, Failure> {
        self.judge(url)?;
        let host = url.host().ok_or(Refusal::NoHost)?;
        let port = url.port_or_known_default().ok_or(Refusal::Scheme)?;
        match host {
            Host::Ipv4(address) => Ok(self.admit(address.into(), port)?),
            Host::Ipv6(address) => Ok(self.admit(address.into(), port)?),
            Host::Domain(domain) => {
                let found = timed(&mut took.dns, self.names.addresses(domain)).await?;
                admit_all(&self.policy, domain, port, &found)
            }
        }
    }

    /// A new connection to the first of the located `addresses` that answers, ready for a request,
    /// and which of them it is. With certificates of its own it is made by TLS or not at all.
    pub(super) async fn open(
        &self,
        url: &Url,
        addresses: Vec<SocketAddr>,
        own: Option<&Arc<Identity>>,
        took: &mut Timing,
    ) -> Result<(Wire, SocketAddr), Failure> {
        if own.is_some() && url.scheme() != "https" {
            return Err(Failure::Tls("not_https: certificates are for https URLs alone".into()));
        }
        let connecting = timed(&mut took.connect, self.first_to_connect(addresses));
        let (socket, peer) = within(CONNECT_MAX, CONNECTING, connecting).await?;
        let socket = Socket::new(socket);
        if url.scheme() == "https" {
            let host = url.host().ok_or(Refusal::NoHost)?;
            let wrapping = self.tls.wrap(&host, socket, own.map(Arc::as_ref));
            let shaking = timed(&mut took.tls, wrapping);
            let session = within(TLS_MAX, SHAKING, shaking).await?;
            return Ok((Wire::tls(session, own.cloned()), peer));
        }
        Ok((Wire::plain(socket), peer))
    }

    /// Tries the addresses in order, the next one when one fails or lets us wait. Whoever is late
    /// is dropped, and so is everything when the caller is.
    async fn first_to_connect(
        &self,
        addresses: Vec<SocketAddr>,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        let dial = |address| dial(address, self.policy.egress_proxy.clone());
        if let [only] = addresses[..] {
            return dial(only).await;
        }
        let mut waiting = addresses.into_iter();
        let mut tries = JoinSet::new();
        let mut why = Failure::Connect("connection failed");
        loop {
            if let Some(address) = waiting.next() {
                tries.spawn(dial(address));
            }
            let next = if waiting.len() == 0 {
                tries.join_next().await
            } else {
                match timeout(STAGGER, tries.join_next()).await {
                    Ok(next) => next,
                    Err(_) => continue,
                }
            };
            match next.map(flatten) {
                Some(Ok(socket)) => return Ok(socket),
                Some(Err(failure)) => why = failure,
                None => return Err(why),
            }
        }
    }

    fn admit(&self, address: IpAddr, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        self.policy.judge(address, port)?;
        Ok(vec![SocketAddr::new(address, port)])
    }
}

/// A step that must be done in time.
async fn within<T>(
    most: Duration,
    what: &'static str,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(most, step).await.unwrap_or(Err(Failure::Timeout(what, most)))
}

/// What to connect to, given everything a name resolved to. One forbidden address among the
/// answers condemns the name: it is how a name is moved from outside to inside.
fn admit_all(
    policy: &GuardPolicy,
    domain: &str,
    port: u16,
    found: &[IpAddr],
) -> Result<Vec<SocketAddr>, Failure> {
    for address in found {
        policy.judge_resolved(domain, *address, port)?;
    }
    if found.is_empty() {
        return Err(Failure::Dns("the name has no address"));
    }
    // One of each family in turn, so that a family that is not routed costs one wait only.
    let of_family = |v4: bool| found.iter().filter(move |address| address.is_ipv4() == v4);
    let (mut v4, mut v6) = (of_family(true), of_family(false));
    let mut turns: Vec<&IpAddr> = Vec::with_capacity(found.len());
    loop {
        let pair = (v4.next(), v6.next());
        if pair == (None, None) {
            break;
        }
        turns.extend([pair.0, pair.1].into_iter().flatten());
    }
    turns.truncate(ADDRESSES_MAX);
    Ok(turns.into_iter().map(|address| SocketAddr::new(*address, port)).collect())
}

fn flatten<T>(joined: Result<Result<T, Failure>, JoinError>) -> Result<T, Failure> {
    joined.unwrap_or(Err(Failure::Connect("connection failed")))
}

/// Opens a connection to a judged address, by the road that the operator wants.
async fn dial(
    address: SocketAddr,
    proxy: Option<EgressProxy>,
) -> Result<(TcpStream, SocketAddr), Failure> {
    let socket = match proxy {
        None => connect(address).await.map_err(|error| Failure::Connect(describe(&error)))?,
        Some(proxy) => dial_through(&proxy, address).await?,
    };
    Ok((socket, address))
}

async fn dial_through(proxy: &EgressProxy, target: SocketAddr) -> Result<TcpStream, Failure> {
    let proxies = proxy.addresses().await;
    let proxies =
        proxies.map_err(|_| Failure::Connect("the egress proxy's name has no address"))?;
    if proxies.contains(&target) {
        return Err(Refusal::OwnSocket.into());
    }
    for address in proxies.into_iter().take(ADDRESSES_MAX) {
        let Ok(mut socket) = connect(address).await else { continue };
        proxy::tunnel(&mut socket, target).await.map_err(Failure::Connect)?;
        return Ok(socket);
    }
    Err(Failure::Connect("the egress proxy cannot be reached"))
}

#[expect(clippy::disallowed_methods, reason = "this is the one door to the network")]
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    let peer = socket.peer_addr()?;
    if (peer.ip(), peer.port()) != (address.ip(), address.port()) {
        return Err(io::ErrorKind::HostUnreachable.into());
    }
    // A request is written in one go; waiting to fill a segment only adds to its latency.
    socket.set_nodelay(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn one_forbidden_answer_condemns_the_name() {
        let policy = GuardPolicy::default();
        let mixed = addresses(&["8.8.8.8", "2606:4700::1111", "10.0.0.1"]);
        let admitted = admit_all(&policy, "a.example", 443, &mixed);
        assert_eq!(admitted, Err(Failure::Refused(Refusal::NotPublic)));
        let late = [addresses(&["8.8.8.8"; 20]), addresses(&["127.0.0.1"])].concat();
        assert!(admit_all(&policy, "a.example", 443, &late).is_err());
        assert!(matches!(admit_all(&policy, "a.example", 443, &[]), Err(Failure::Dns(_))));
    }

    #[test]
    fn families_take_turns_and_eight_addresses_are_tried() {
        let policy = GuardPolicy::default();
        let found = addresses(&["8.8.8.8", "8.8.4.4", "1.1.1.1", "2606:4700::1", "2606:4700::2"]);
        let admitted = admit_all(&policy, "a.example", 443, &found).unwrap();
        let order: Vec<String> = admitted.iter().map(|a| a.ip().to_string()).collect();
        assert_eq!(order, ["8.8.8.8", "2606:4700::1", "8.8.4.4", "2606:4700::2", "1.1.1.1"]);
        let many = addresses(&["8.8.8.8"; 20]);
        assert_eq!(admit_all(&policy, "a.example", 443, &many).unwrap().len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let closing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = closing.local_addr().unwrap();
        drop(closing);
        let connector = Connector::default();
        let (socket, peer) = connector.first_to_connect(vec![dead, dead, live]).await.unwrap();
        assert_eq!((socket.peer_addr().unwrap(), peer), (live, live));
        let none = connector.first_to_connect(vec![dead, dead]).await.map(drop);
        assert_eq!(none, Err(Failure::Connect("connection refused")));
    }
}
