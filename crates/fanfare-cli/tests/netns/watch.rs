//! Listeners on every address of the namespace.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fanfare_testkit::wait::{PATIENCE, within};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch::Sender;
use tokio_util::task::AbortOnDropHandle;

/// Addresses that are connected to directly, to show that they are reachable and watched.
const ADDRESSES: &[&str] = &[
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "240.0.0.1",
    "8.8.8.8",
    "::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "2001:db8::1",
    "100::1",
    "::ffff:10.0.0.1",
    "2606:4700::5efe:10.0.0.1",
];

pub(crate) struct Watch {
    ports: Vec<u16>,
    seen: Sender<Vec<SocketAddr>>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Watch {
    /// Listens on these ports of every address, and notes which one a connection was made to.
    pub(crate) async fn on(ports: &[u16]) -> Watch {
        let seen = Sender::new(Vec::new());
        let mut tasks = Vec::new();
        for port in ports {
            // Both families.
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).await;
            let listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
            let seen = seen.clone();
            tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let to = socket.local_addr().expect("it is connected");
                    let to = SocketAddr::new(to.ip().to_canonical(), to.port());
                    seen.send_modify(|seen| seen.push(to));
                }
            })));
        }
        Watch { ports: ports.to_vec(), seen, _tasks: tasks }
    }

    /// Every connection so far, by where it went.
    pub(crate) fn seen(&self) -> Vec<SocketAddr> {
        self.seen.borrow().clone()
    }

    /// Connects to many addresses at one port, and to one address at every port.
    pub(crate) async fn connect_everywhere(&self) -> Vec<SocketAddr> {
        let many = ADDRESSES.iter().map(|text| (text.parse().expect("an address"), 443));
        let every = self.ports.iter().map(|port| (IpAddr::from([127, 0, 0, 1]), *port));
        let mut connected = Vec::new();
        for (address, port) in many.chain(every) {
            let to = SocketAddr::new(address, port);
            let socket = match address {
                IpAddr::V4(_) => TcpSocket::new_v4(),
                IpAddr::V6(_) => TcpSocket::new_v6(),
            };
            let socket = socket.expect("a socket").connect(to).await;
            socket.unwrap_or_else(|error| panic!("{to} is not watched: {error}"));
            connected.push(SocketAddr::new(address.to_canonical(), port));
        }
        connected
    }

    /// Waits until at least these were seen.
    pub(crate) async fn until_seen(&self, wanted: &[SocketAddr]) {
        for to in wanted {
            self.until_count(*to, 1).await;
        }
    }

    /// How often this was connected to.
    pub(crate) fn count(&self, to: SocketAddr) -> usize {
        count(&self.seen.borrow(), to)
    }

    /// Waits until this was connected to so often.
    pub(crate) async fn until_count(&self, to: SocketAddr, wanted: usize) {
        let mut seen = self.seen.subscribe();
        let enough = seen.wait_for(|seen| count(seen, to) >= wanted);
        let enough = within(PATIENCE, &format!("a connection to {to}"), enough).await;
        drop(enough.expect("the watch goes on"));
    }
}

fn count(seen: &[SocketAddr], to: SocketAddr) -> usize {
    seen.iter().filter(|seen| **seen == to).count()
}
