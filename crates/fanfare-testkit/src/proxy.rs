//! A network that fails: between a server and its database.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use url::Url;

use crate::client::connect;
use crate::dice::Dice;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// They work.
    Whole,
    /// They end, and no new one lasts.
    Cut,
    /// Nothing arrives any more, and nobody says so.
    Silent,
}

/// The end of a transaction, as it is asked for.
const COMMIT: &[u8] = b"commit\0";

/// A way to a PostgreSQL server, without TLS. It ends with the test's runtime.
pub struct Proxy {
    address: SocketAddr,
    wires: Arc<Wires>,
}

struct Wires {
    network: watch::Sender<Network>,
    /// Whether commits are on their way for as long as it stays so.
    holding: watch::Sender<bool>,
    /// Of a hundred commits, how many replies are lost.
    losing: watch::Sender<usize>,
    lost: watch::Sender<u64>,
    dice: Mutex<Dice>,
}

impl Proxy {
    /// A proxy in front of this server.
    pub async fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("no free port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let wires = Arc::new(Wires {
            network: watch::Sender::new(Network::Whole),
            holding: watch::Sender::new(false),
            losing: watch::Sender::new(0),
            lost: watch::Sender::new(0),
            dice: Mutex::new(Dice::new(20_240_705)),
        });
        tokio::spawn(accept(listener, server, Arc::clone(&wires)));
        Proxy { address, wires }
    }

    /// A proxy in front of the server that the URL names, and the same URL by way of it.
    pub async fn leading_to(url: &str) -> (Proxy, String) {
        let mut url: Url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        let at = (url.host_str().unwrap_or("127.0.0.1").to_owned(), url.port().unwrap_or(5432));
        let server = lookup_host(at).await.ok().and_then(|mut found| found.next());
        let proxy = Proxy::before(server.unwrap_or_else(|| panic!("{url} names no server"))).await;
        let set = url.set_host(Some(&proxy.address.ip().to_string()));
        let set = set.is_ok() && url.set_port(Some(proxy.address.port())).is_ok();
        assert!(set, "{url} cannot be led another way");
        url.query_pairs_mut().append_pair("sslmode", "disable");
        (proxy, url.into())
    }

    /// Where clients find the server.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres?sslmode=disable", self.address)
    }

    /// From here on commits, and what is sent together with them, stay on their way; or arrive, late,
    /// though nobody waits for them any more.
    pub fn holds_commits(&self, holds: bool) {
        self.wires.holding.send_replace(holds);
    }

    /// Changes what becomes of connections, those that are open too.
    pub fn is(&self, network: Network) {
        self.wires.network.send_replace(network);
    }

    /// Of a hundred transactions that the server commits, has the replies of so many never arrive:
    /// the connection ends instead.
    pub fn loses_replies(&self, percent: usize) {
        self.wires.losing.send_replace(percent);
    }

    /// How many replies were lost.
    pub fn lost(&self) -> u64 {
        *self.wires.lost.borrow()
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, wires: Arc<Wires>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(relay(client, server, Arc::clone(&wires)));
    }
}

async fn relay(client: TcpStream, server: SocketAddr, wires: Arc<Wires>) {
    let _ = client.set_nodelay(true);
    if *wires.network.borrow() == Network::Cut {
        return;
    }
    let Ok(server) = connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut network = wires.network.subscribe();
    // Whichever ends, ends the other: both sockets are closed.
    tokio::select! {
        () = ask(from_client, to_server, &wires) => {}
        () = answer(from_server, to_client, &wires) => {}
        _ = network.wait_for(|network| *network == Network::Cut) => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, wires: &Wires) {
    let (mut network, mut holding) = (wires.network.subscribe(), wires.holding.subscribe());
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        whole(&mut network).await;
        if bytes[..count].windows(COMMIT.len()).any(|part| part == COMMIT) {
            let _ = holding.wait_for(|holding| !holding).await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// Passes on whole messages until a reply is to be lost.
async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, wires: &Wires) {
    let mut network = wires.network.subscribe();
    let (mut bytes, mut in_transaction) = (Vec::with_capacity(64 * 1024), false);
    while let Ok(1..) = from.read_buf(&mut bytes).await {
        whole(&mut network).await;
        let mut end = 0;
        while let Some(message) = message(&bytes[end..]) {
            if commits(message, in_transaction) && wires.loses_this() {
                // What came before is passed on: only this reply is lost.
                let _ = to.write_all(&bytes[..end]).await;
                return;
            }
            if let [b'Z', .., status] = message {
                in_transaction = *status != b'I';
            }
            end += message.len();
        }
        if to.write_all(&bytes[..end]).await.is_err() {
            return;
        }
        bytes.drain(..end);
    }
}

/// The first message of the server's, when it is there in full: a letter, and its length with those
/// four bytes.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let [_, a, b, c, d, ..] = bytes else { return None };
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
    bytes.get(..1 + length)
}

/// Is this the reply to a transaction's end, be it one of a single statement?
fn commits(message: &[u8], in_transaction: bool) -> bool {
    let [b'C', _, _, _, _, tag @ ..] = message else { return false };
    let single = ["BEGIN", "SET", "SHOW"].iter().all(|word| !tag.starts_with(word.as_bytes()));
    tag.starts_with(b"COMMIT") || (!in_transaction && single)
}

async fn whole(network: &mut watch::Receiver<Network>) {
    let _ = network.wait_for(|network| *network != Network::Silent).await;
}

impl Wires {
    fn loses_this(&self) -> bool {
        let losing = *self.losing.borrow();
        let drawn = self.dice.lock().unwrap_or_else(PoisonError::into_inner).below(100);
        let lost = drawn < losing;
        if lost {
            self.lost.send_modify(|lost| *lost += 1);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_of_a_commit_is_known() {
        let complete = |tag: &str| {
            let length = u32::try_from(4 + tag.len() + 1).unwrap().to_be_bytes();
            [b"C", &length[..], tag.as_bytes(), b"\0"].concat()
        };
        for (tag, in_transaction, known) in [
            ("COMMIT", true, true),
            ("BEGIN", false, false),
            ("INSERT 0 1", true, false),
            ("SELECT 3", false, true),
            ("SELECT 3", true, false),
        ] {
            let bytes = complete(tag);
            assert_eq!(message(&bytes), Some(&bytes[..]));
            assert_eq!(message(&bytes[..7]), None);
            assert_eq!(commits(&bytes, in_transaction), known, "{tag}");
        }
    }
}
