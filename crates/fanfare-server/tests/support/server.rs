//! The server behind a real socket.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_server::Doors;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Bench;

pub(crate) struct Server {
    pub(crate) bench: Bench,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::behind(Doors::default()).await
    }

    pub(crate) async fn behind(doors: Doors) -> Server {
        let bench = Bench::new().await;
        Server::of(bench, doors).await
    }

    pub(crate) async fn of(bench: Bench, doors: Doors) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = bench.router.clone();
        let serving = tokio::spawn(fanfare_server::serve(listener, router, doors, stop.clone()));
        Server { bench, address, stop, serving }
    }

    #[expect(clippy::disallowed_methods, reason = "a client of the server, not a delivery")]
    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn ends(self) {
        tokio::time::timeout(Duration::from_secs(5), self.serving).await.unwrap().unwrap();
    }
}

/// Who speaks to it, in bytes.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next answer, head and body.
    pub(crate) async fn answer(&mut self) -> String {
        let mut text = String::new();
        loop {
            if let Some(end) = text.find("\r\n\r\n") {
                let head = text[..end].to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap_or("0");
                let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
                if text.len() >= end + 4 + length {
                    return text;
                }
            }
            let mut bytes = [0; 4096];
            let read = self.0.read(&mut bytes).await.unwrap();
            assert!(read > 0, "closed after {text:?}");
            text.push_str(str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    /// Writes one byte after the other, with some time between, until the other side closes.
    pub(crate) async fn drips(&mut self) -> String {
        let (mut reading, mut writing) = self.0.split();
        let drip = async {
            let mut beats = tokio::time::interval(Duration::from_millis(5));
            loop {
                beats.tick().await;
                if writing.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            _ = reading.read_to_end(&mut answer) => {}
            () = drip => {}
        }
        String::from_utf8(answer).unwrap()
    }

    /// Waits for the other side to close.
    pub(crate) async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}
