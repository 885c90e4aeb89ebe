//! Receivers that do harm, on a thread of their own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;

/// What a receiver does to whoever posts to it.
#[derive(Clone, Copy)]
pub(crate) enum Harm {
    /// Does not accept, and its backlog is full: a connection is never made.
    NoAccept,
    /// Accepts and never says a word.
    Silence,
    /// Sends a head and then one byte of the body a second.
    Drip,
    /// Sends a head and then zeros until it is cut off.
    Endless,
    /// Answers with a body of 10 MB.
    Big,
}

impl Harm {
    pub(crate) const ALL: [Harm; 5] =
        [Harm::NoAccept, Harm::Silence, Harm::Drip, Harm::Endless, Harm::Big];
}

/// Connections that fill a backlog of one; what more there is waits for ever.
const BACKLOG_FILLERS: usize = 4;
const BIG_BODY_BYTES: usize = 10_000_000;
const PIECE: [u8; 16 * 1024] = [0; 16 * 1024];

/// Hostile receivers. They end when this is dropped.
pub(crate) struct Hostile {
    runtime: Runtime,
}

impl Hostile {
    pub(crate) fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Hostile { runtime: builder.worker_threads(1).enable_all().build().unwrap() }
    }

    /// Starts one more. Returns where it listens.
    pub(crate) fn listen(&self, harm: Harm) -> SocketAddr {
        self.runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let backlog = if matches!(harm, Harm::NoAccept) { 1 } else { 1024 };
            let listener = socket.listen(backlog).unwrap();
            let address = listener.local_addr().unwrap();
            match harm {
                Harm::NoAccept => hold_full(listener).await,
                _ => drop(tokio::spawn(serve(listener, harm))),
            }
            address
        })
    }
}

/// Fills the backlog and keeps it so.
async fn hold_full(listener: TcpListener) {
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..BACKLOG_FILLERS {
        let filler = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address));
        held.extend(filler.await.into_iter().map(Result::unwrap));
    }
    assert!(held.len() < BACKLOG_FILLERS, "the backlog is not full");
    tokio::spawn(async move {
        let _kept = (listener, held);
        std::future::pending::<()>().await;
    });
}

async fn serve(listener: TcpListener, harm: Harm) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            // That the sender hangs up is what one expects.
            let _ = harm_one(socket, harm).await;
        });
    }
}

async fn harm_one(mut socket: TcpStream, harm: Harm) -> std::io::Result<()> {
    let mut request = [0; 4096];
    if socket.read(&mut request).await? == 0 {
        return Ok(());
    }
    match harm {
        Harm::NoAccept | Harm::Silence => {}
        Harm::Drip => drip(&mut socket).await?,
        Harm::Endless => flood(&mut socket, None).await?,
        Harm::Big => flood(&mut socket, Some(BIG_BODY_BYTES)).await?,
    }
    // Until the sender hangs up.
    while socket.read(&mut request).await? > 0 {}
    Ok(())
}

async fn drip(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.write_all(&head(Some(BIG_BODY_BYTES))).await?;
    loop {
        socket.write_all(b"x").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A body of so many bytes, or without an end.
async fn flood(socket: &mut TcpStream, body_bytes: Option<usize>) -> std::io::Result<()> {
    socket.write_all(&head(body_bytes)).await?;
    let mut left = body_bytes.unwrap_or(usize::MAX);
    while left > 0 {
        let piece = &PIECE[..left.min(PIECE.len())];
        socket.write_all(piece).await?;
        left -= piece.len();
    }
    Ok(())
}

fn head(body_bytes: Option<usize>) -> Vec<u8> {
    let length = body_bytes.map_or(String::new(), |bytes| format!("content-length: {bytes}\r\n"));
    format!("HTTP/1.1 200 OK\r\n{length}connection: close\r\n\r\n").into_bytes()
}
