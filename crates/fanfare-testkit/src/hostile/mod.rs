//! Receivers that do harm. What they do is data: what they say to a request, and what then.

mod frames;
mod http1;
mod http2;
mod tls;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::wait::{PATIENCE, reached, within};

pub use http1::PLAIN;
pub use http2::HTTP2;
pub use tls::BEFORE_TLS;

/// How long one that drips waits between two drops.
const BETWEEN_DROPS: Duration = Duration::from_millis(100);
/// Small, so that what it could say is what the sender took.
const SEND_BUFFER_BYTES: u32 = 16 * 1024;
/// Connections that fill a backlog of one; what more there is waits for ever.
const BACKLOG_FILLERS: usize = 4;
const FILLED_IN: Duration = Duration::from_millis(200);

/// What a receiver does to whoever posts to it.
#[derive(Debug)]
pub struct Hostile {
    /// What it is called in tests and reports.
    pub name: &'static str,
    /// What it waits for before it says anything.
    hears: Hears,
    says: fn() -> Vec<u8>,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hears {
    /// It never even accepts.
    Never,
    Nothing,
    /// Whatever comes first.
    Something,
    /// A whole request over HTTP/1.1.
    Request,
    /// The head of a request over HTTP/2.
    Head,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    /// Closes the connection.
    Close,
    /// Resets it.
    Reset,
    /// Waits for the next request and does the same.
    Again,
    /// Says no more, and waits until the sender hangs up.
    Hold,
    /// Says this as fast as it is taken, until the sender hangs up.
    Repeat(fn() -> Vec<u8>),
    /// The same, slowly.
    Drip(&'static [u8]),
}

/// A hostile receiver on a free port of this machine. It ends with its runtime.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    desk: Arc<Desk>,
}

/// What its connections share.
struct Desk {
    hostile: &'static Hostile,
    tls: Option<TlsAcceptor>,
    wrote: AtomicU64,
    accepted: watch::Sender<u64>,
    ended: watch::Sender<u64>,
}

/// A connection, in the clear or within TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Hostile {
    /// One of them by its name.
    pub fn named(name: &str) -> Option<&'static Hostile> {
        PLAIN.iter().chain(HTTP2).chain(BEFORE_TLS).find(|hostile| hostile.name == name)
    }
}

impl Receiver {
    /// Starts one, behind TLS where an acceptor is given.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn start(
        hostile: &'static Hostile,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Receiver> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(if hostile.hears == Hears::Never { 1 } else { 1024 })?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            hostile,
            tls,
            wrote: AtomicU64::new(0),
            accepted: watch::Sender::new(0),
            ended: watch::Sender::new(0),
        });
        if hostile.hears == Hears::Never {
            hold_full(listener).await?;
        } else {
            tokio::spawn(accept(listener, Arc::clone(&desk)));
        }
        Ok(Receiver { address, desk })
    }

    /// How much it could say, in bytes.
    pub fn wrote(&self) -> u64 {
        self.desk.wrote.load(Ordering::Relaxed)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> u64 {
        *self.desk.accepted.borrow()
    }

    /// Waits until all of them are over.
    pub async fn until_left_alone(&self) {
        let over = reached(&self.desk.ended, self.connections());
        within(PATIENCE, &format!("{} is not left alone", self.desk.hostile.name), over).await;
    }
}

/// Fills the backlog and keeps it so.
#[expect(clippy::disallowed_methods, reason = "a test reaches itself")]
async fn hold_full(listener: TcpListener) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut held = Vec::new();
    for _ in 0..BACKLOG_FILLERS {
        if let Ok(filler) = tokio::time::timeout(FILLED_IN, TcpStream::connect(address)).await {
            held.push(filler?);
        }
    }
    assert!(held.len() < BACKLOG_FILLERS, "the backlog is not full");
    tokio::spawn(async move {
        let _kept = (listener, held);
        std::future::pending::<()>().await;
    });
    Ok(())
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        desk.accepted.send_modify(|accepted| *accepted += 1);
        let desk = Arc::clone(&desk);
        tokio::spawn(async move {
            // That the sender hangs up is what one expects.
            let _ = desk.receive(socket).await;
            desk.ended.send_modify(|ended| *ended += 1);
        });
    }
}

impl Desk {
    async fn receive(&self, socket: TcpStream) -> io::Result<()> {
        if matches!(self.hostile.then, Then::Reset) {
            socket.set_zero_linger()?;
        }
        match &self.tls {
            Some(tls) => self.play(&mut tls.accept(socket).await?).await,
            None => self.play(&mut { socket }).await,
        }
    }

    async fn play(&self, stream: &mut impl Stream) -> io::Result<()> {
        let mut heard = Vec::new();
        loop {
            hear(self.hostile.hears, stream, &mut heard).await?;
            self.say(stream, &(self.hostile.says)()).await?;
            match self.hostile.then {
                Then::Again => {}
                Then::Close => return stream.shutdown().await,
                Then::Reset => return Ok(()),
                Then::Hold => return hold(stream).await,
                Then::Repeat(piece) => return self.repeat(stream, &piece()).await,
                Then::Drip(drop) => return self.drip(stream, drop).await,
            }
        }
    }

    async fn say(&self, stream: &mut impl Stream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wrote = stream.write(bytes).await?;
            self.wrote.fetch_add(wrote as u64, Ordering::Relaxed);
            bytes = &bytes[wrote..];
        }
        stream.flush().await
    }

    async fn repeat(&self, stream: &mut impl Stream, piece: &[u8]) -> io::Result<()> {
        let several = piece.repeat(SEND_BUFFER_BYTES as usize / piece.len().max(1) + 1);
        loop {
            self.say(stream, &several).await?;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "its slowness is its harm")]
    async fn drip(&self, stream: &mut impl Stream, drop: &[u8]) -> io::Result<()> {
        loop {
            self.say(stream, drop).await?;
            tokio::time::sleep(BETWEEN_DROPS).await;
        }
    }
}

/// Reads until what is waited for has come; what came beyond it stays in `heard`.
async fn hear(hears: Hears, stream: &mut impl Stream, heard: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let end = match hears {
            Hears::Never | Hears::Nothing => Some(0),
            Hears::Something => (!heard.is_empty()).then_some(heard.len()),
            Hears::Request => http1::request_end(heard),
            Hears::Head => frames::head_end(heard),
        };
        if let Some(end) = end {
            heard.drain(..end);
            return Ok(());
        }
        if stream.read_buf(heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn hold(stream: &mut impl Stream) -> io::Result<()> {
    let mut ignored = [0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
