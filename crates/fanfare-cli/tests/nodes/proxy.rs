//! A way to the database that can be cut: nothing passes, and nobody is told.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use url::Url;

/// A proxy in front of a database.
pub(crate) struct Proxy {
    /// The database's URL, by this way.
    pub(crate) url: String,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn before(url: &str) -> Proxy {
        let mut through: Url = url.parse().expect("a URL");
        let host = through.host_str().unwrap_or("127.0.0.1").to_owned();
        let port = through.port().unwrap_or(5432);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        through.set_port(Some(address.port())).expect("a port");
        through.set_host(Some("127.0.0.1")).expect("a host");
        let open = watch::Sender::new(true);
        let gate = open.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, (host.clone(), port), gate.clone()));
            }
        });
        Proxy { url: through.to_string(), open }
    }

    /// Nothing passes from here on.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Everything passes again, what was sent meanwhile included.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn carry(near: TcpStream, far: (String, u16), gate: watch::Receiver<bool>) {
    let mut opened = gate.clone();
    if opened.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(far) = connect(far).await else { return };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pass(near_read, far_write, gate.clone()) => {}
        () = pass(far_read, near_write, gate) => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's own way to its database")]
async fn connect(far: (String, u16)) -> std::io::Result<TcpStream> {
    TcpStream::connect(far).await
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut bytes).await else { return };
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
