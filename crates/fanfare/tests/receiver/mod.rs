//! A receiver that does as it is told, byte for byte, and what is sent to it.

#![allow(dead_code, reason = "each test file needs a part of it")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare::model::{Answer, CompanyId, Outcome};
use fanfare::send::guard::GuardPolicy;
use fanfare::send::{HttpTransport, Request, Transport};
use http::{HeaderMap, Method};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// What a contented receiver says.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Listens on a port of its own until dropped, and counts.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    asked: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    changed: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// A connection, and the number of requests read from it or any other of its receiver.
pub(crate) struct Socket {
    stream: TcpStream,
    asked: Arc<AtomicUsize>,
    changed: Arc<Notify>,
}

impl Socket {
    /// The connection alone; what is read from it is not counted.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl std::ops::Deref for Socket {
    type Target = TcpStream;
    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl std::ops::DerefMut for Socket {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl Receiver {
    /// Does `play` with each connection and its number, from 1, and then closes it.
    pub(crate) async fn playing<F, Fut>(play: F) -> Self
    where
        F: Fn(Socket, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let [asked, accepted, closed]: [Arc<AtomicUsize>; 3] = Default::default();
        let changed = Arc::new(Notify::new());
        let counts = (asked.clone(), accepted.clone(), closed.clone(), changed.clone());
        let task = tokio::spawn(async move {
            let (asked, accepted, closed, changed) = counts;
            let mut playing = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let socket = Socket { stream, asked: asked.clone(), changed: changed.clone() };
                let played = play(socket, number);
                let (closed, changed) = (closed.clone(), changed.clone());
                playing.spawn(async move {
                    played.await;
                    closed.fetch_add(1, Ordering::SeqCst);
                    changed.notify_waiters();
                });
            }
        });
        Receiver { port, asked, accepted, closed, changed, _task: AbortOnDropHandle::new(task) }
    }

    /// Says `answer` to every request.
    pub(crate) async fn answering(answer: &'static [u8]) -> Self {
        Self::playing(move |mut socket, _| async move {
            while read_request(&mut socket).await.is_some() {
                if socket.write_all(answer).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Answers each request with itself.
    pub(crate) async fn echoing() -> Self {
        Self::playing(|mut socket, _| async move {
            while let Some(request) = read_request(&mut socket).await {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.len());
                socket.write_all(&[head.as_bytes(), &request].concat()).await.unwrap();
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns once this many requests were read.
    pub(crate) async fn until_asked(&self, count: usize) {
        self.until(&self.asked, count).await;
    }

    /// Returns once this many connections are done with.
    pub(crate) async fn until_closed(&self, count: usize) {
        self.until(&self.closed, count).await;
    }

    async fn until(&self, counter: &AtomicUsize, count: usize) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if counter.load(Ordering::SeqCst) >= count {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("it never happened");
    }
}

/// One whole request, or nothing when the sender went away.
pub(crate) async fn read_request(socket: &mut Socket) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if request.len() >= end + 4 + length.map_or(0, |length| length.parse().unwrap()) {
                socket.asked.fetch_add(1, Ordering::SeqCst);
                socket.changed.notify_waiters();
                return Some(request);
            }
        }
        if socket.stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}

/// Lets a little time pass for the other side.
#[expect(clippy::disallowed_methods, reason = "a receiver's slowness is what is tested")]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A receiver that speaks TLS with a certificate of its own making.
pub(crate) async fn self_signed() -> Receiver {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Receiver::playing(move |socket, _| {
        let acceptor = acceptor.clone();
        async move {
            let Socket { stream, asked, .. } = socket;
            if let Ok(mut session) = acceptor.accept(stream).await
                && session.read_u8().await.is_ok()
            {
                asked.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

/// Long enough for everything that is going to happen.
pub(crate) const PATIENT: Duration = Duration::from_secs(10);
/// For what is not.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

pub(crate) fn policy(ports: &[u16]) -> GuardPolicy {
    let networks = ports.iter().map(|port| format!("127.0.0.0/8:{port}").parse().unwrap());
    GuardPolicy { allow_http: true, allow_networks: networks.collect(), ..GuardPolicy::default() }
}

pub(crate) fn transport(receiver: &Receiver, timeout: Duration) -> HttpTransport {
    HttpTransport::new(policy(&[receiver.port]), timeout)
}

pub(crate) fn request(url: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    Request {
        company: CompanyId::from_uuid(uuid::Uuid::nil()),
        method: Method::POST,
        url: Url::parse(url).unwrap(),
        headers,
        body: Bytes::from_static(b"{\"n\":1}"),
        identity: None,
    }
}

pub(crate) async fn send(transport: &HttpTransport, receiver: &Receiver) -> Outcome {
    transport.send(request(&receiver.url("/hook"))).await.outcome
}

pub(crate) fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered(answer) => answer,
        Outcome::NoAnswer { reason } => panic!("no answer: {reason}"),
    }
}

pub(crate) fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::NoAnswer { reason } => reason,
        Outcome::Answered(answer) => panic!("an answer: {answer:?}"),
    }
}
