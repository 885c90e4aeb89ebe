//! Requests over HTTP/1.1 and HTTP/2 on connections that are used again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use tokio::time::timeout;
use url::{Position, Url};

use crate::metrics::Stopwatch;
use crate::send::answer::{BODY_BYTES_MAX, End, Progress, Stage};
use crate::send::connect::Connector;
use crate::send::failure::Failure;
use crate::send::guard::GuardPolicy;
use crate::send::link::{Broken, Link};
use crate::send::pool::{Key, Pool};
use crate::send::sweep::Sweeper;
use crate::send::{Request, Sent, Transport};

/// The transport for the real network: guarded, pooled, one deadline for each attempt. It follows
/// no redirects, keeps no cookies, unpacks no bodies, and looks at no proxy settings of the
/// environment.
pub struct HttpTransport {
    connector: Connector,
    pool: Arc<Pool>,
    sweeper: Sweeper,
    timeout: Duration,
    body_bytes_max: usize,
}

impl HttpTransport {
    /// A transport that reaches what `policy` allows and gives each attempt `timeout`, from name
    /// resolution to the last byte; within that, 5 s to connect, 5 s for TLS, 5 s for the body. Opens nothing and reads nothing until it is first used.
    pub fn new(policy: GuardPolicy, timeout: Duration) -> Self {
        HttpTransport {
            connector: Connector::new(policy),
            pool: Arc::new(Pool::new()),
            sweeper: Sweeper::default(),
            timeout,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }

    /// The same over a connector that is given.
    #[cfg(test)]
    pub(super) fn over(connector: Connector, timeout: Duration) -> Self {
        HttpTransport { connector, ..HttpTransport::new(GuardPolicy::default(), timeout) }
    }

    /// Reads bodies up to this length instead of 64 KiB.
    #[must_use]
    pub fn reading(self, body_bytes_max: usize) -> Self {
        HttpTransport { body_bytes_max, ..self }
    }

    async fn attempt(&self, request: Request, progress: &mut Progress) -> Result<(), Failure> {
        let addresses = self.connector.locate(&request.url, &mut progress.timing).await?;
        let (company, own) = (request.company, request.identity.clone());
        let identity = own.as_ref().map(|own| own.fingerprint);
        let authority = authority(&request.url)?;
        let (url, request) = on_wire(request, authority.clone())?;
        let https = url.scheme() == "https";
        let key = |peer| Key { company, https, authority: authority.clone(), peer, identity };
        let kept = addresses.iter().find_map(|peer| {
            let key = key(*peer);
            self.pool.take(&key).map(|link| (key, link))
        });
        if let Some((key, link)) = kept {
            match self.exchange(key, link, request.clone(), progress).await {
                // It was closed while it lay idle. The receiver heard nothing, so it is asked anew.
                Err(Broken { unheard: true, .. }) => progress.stage = Stage::Opening,
                done => return done.map_err(|broken| broken.failure),
            }
        }
        let opening = self.connector.open(&url, addresses, own.as_ref(), &mut progress.timing);
        let (wire, peer) = opening.await?;
        let ended = wire.ended();
        let link = Link::new(wire).await;
        let link = link.map_err(|failure| ended.get().cloned().unwrap_or(failure))?;
        let done = self.exchange(key(peer), link, request, progress).await;
        done.map_err(|broken| ended.get().cloned().unwrap_or(broken.failure))
    }

    async fn exchange(
        &self,
        key: Key,
        mut link: Box<Link>,
        request: http::Request<Bytes>,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        progress.stage = Stage::Asking;
        let since = Stopwatch::start();
        let (head, body) = link.send(request, progress.body_bytes_max).await?;
        progress.head(&head, since);
        if progress.body(&mut link, body).await {
            self.pool.keep(key, link);
            self.sweeper.wake(&self.pool);
        }
        Ok(())
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request) -> Sent {
        let mut progress = Progress::new(self.body_bytes_max);
        let end = match timeout(self.timeout, self.attempt(request, &mut progress)).await {
            Ok(done) => done.map_err(End::Failed),
            Err(_) => Err(End::Deadline(self.timeout)),
        };
        progress.sent(end)
    }
}

/// Where the request goes, and its form on the wire: `host` is added, the length is the
/// connection's own business.
fn on_wire(
    request: Request,
    authority: HeaderValue,
) -> Result<(Url, http::Request<Bytes>), Failure> {
    let mut sent = http::Request::new(request.body);
    *sent.method_mut() = request.method;
    *sent.uri_mut() = target(&request.url)?;
    *sent.headers_mut() = request.headers;
    sent.headers_mut().remove(CONTENT_LENGTH);
    sent.headers_mut().remove(TRANSFER_ENCODING);
    sent.headers_mut().insert(HOST, authority);
    Ok((request.url, sent))
}

/// Host, and port where it is not the scheme's own.
fn authority(url: &Url) -> Result<HeaderValue, Failure> {
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    HeaderValue::from_str(authority).map_err(|_| unsendable())
}

fn target(url: &Url) -> Result<Uri, Failure> {
    let target = &url[Position::BeforePath..Position::AfterQuery];
    target.parse::<PathAndQuery>().map(Uri::from).map_err(|_| unsendable())
}

fn unsendable() -> Failure {
    Failure::Protocol("the URL has no form that HTTP can carry".into())
}

#[cfg(test)]
mod http2;
#[cfg(test)]
mod tests {
    use fanfare_testkit::authority::Authority;
    use http::{HeaderMap, Method};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::model::{CompanyId, Outcome};
    use crate::send::tls::Tls;

    fn transport(authority: &Authority) -> HttpTransport {
        let policy = GuardPolicy {
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..GuardPolicy::default()
        };
        let connector = Connector::trusting(policy.clone(), Tls::trusting(authority));
        HttpTransport { connector, ..HttpTransport::new(policy, Duration::from_secs(10)) }
    }

    fn request(port: u16) -> Request {
        Request {
            company: CompanyId::from_uuid(uuid::Uuid::nil()),
            method: Method::POST,
            url: format!("https://127.0.0.1:{port}/").parse().unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            identity: None,
        }
    }

    #[tokio::test]
    async fn a_tls_session_is_timed_when_it_is_made_and_costs_nothing_when_it_is_kept() {
        let authority = Authority::new("ours");
        let server = authority.issue("127.0.0.1", 2999).server(&["http/1.1"]);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut session = BufReader::new(acceptor.accept(socket).await.unwrap());
            let mut line = String::new();
            while session.read_line(&mut line).await.is_ok_and(|length| length > 0) {
                if line == "\r\n" {
                    session.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                    session.flush().await.unwrap();
                }
                line.clear();
            }
        };
        tokio::spawn(serve);
        let transport = transport(&authority);
        let first = transport.send(request(port)).await;
        assert!(matches!(first.outcome, Outcome::Answered(_)), "{first:?}");
        assert_eq!(first.timing.dns, None, "an address needs no resolution");
        assert!(first.timing.connect.is_some() && first.timing.tls.is_some(), "{first:?}");
        assert!(first.timing.first_byte.is_some(), "{first:?}");
        let second = transport.send(request(port)).await.timing;
        assert_eq!((second.dns, second.connect, second.tls), (None, None, None));
        assert!(second.first_byte.is_some());
    }

    /// A server that answers with what fills no budget by itself, a byte in each record of TLS.
    async fn crumble(listener: TcpListener, acceptor: TlsAcceptor) -> usize {
        let (socket, _) = listener.accept().await.unwrap();
        let mut session = acceptor.accept(socket).await.unwrap();
        let mut said = b"HTTP/1.1 200 OK\r\nx-a: ".to_vec();
        let mut bytes = 0;
        while session.write_all(&said).await.is_ok() && session.flush().await.is_ok() {
            bytes += said.len();
            said = vec![b'a'];
        }
        bytes
    }

    #[tokio::test]
    async fn what_tls_adds_counts_too() {
        let authority = Authority::new("ours");
        let server = authority.issue("127.0.0.1", 2999).server(&["http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let crumbs = tokio::spawn(crumble(listener, TlsAcceptor::from(Arc::new(server))));
        let sent = transport(&authority).send(request(port)).await;
        let Outcome::NoAnswer { reason } = sent.outcome else { panic!("{:?}", sent.outcome) };
        assert_eq!(reason, "budget: more than 64 KiB came before the answer");
        // 64 KiB of records of 23 bytes, and what lies in the sockets' buffers.
        let bytes = crumbs.await.unwrap();
        assert!(bytes < 64 * 1024, "{bytes}");
    }
}
