//! The sockets of our own: no delivery may reach them, whatever else is allowed.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};

/// Where the other nodes listen. They come and go; all clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Peers(Arc<RwLock<Vec<SocketAddr>>>);

impl Peers {
    /// From here on it is these.
    pub fn set(&self, sockets: Vec<SocketAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = sockets;
    }

    pub(super) fn listen_at(&self, address: IpAddr, port: u16) -> bool {
        listens_at(&self.0.read().unwrap_or_else(PoisonError::into_inner), address, port)
    }
}

/// Does one of the sockets in `own` listen at `address` and `port`? One that listens on every
/// address of this machine does so at each of them.
pub(super) fn listens_at(own: &[SocketAddr], address: IpAddr, port: u16) -> bool {
    let address = reached(address);
    own.iter().filter(|socket| socket.port() == port).any(|socket| {
        let listens = socket.ip().to_canonical();
        if listens.is_unspecified() { is_local(address) } else { listens == address }
    })
}

/// Where a connection to `address` ends: the unspecified addresses stand for this machine.
fn reached(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        named => named,
    }
}

/// Is this an address of this machine? Asked of the kernel each time, which costs microseconds:
/// addresses come and go. Asked only where the port is ours too, which is rare.
fn is_local(address: IpAddr) -> bool {
    // A system may let processes bind to addresses that it does not have (`ip_nonlocal_bind`).
    // Only there the routes are asked; they alone would miss second addresses of one network.
    address.is_loopback() || (binds(address) && (!binds(never_ours(address)) || routes_to(address)))
}

/// Whatever goes wrong otherwise, an address counts as local: that only refuses more.
fn binds(address: IpAddr) -> bool {
    !UdpSocket::bind((address, 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// An address for documentation, of the same family.
fn never_ours(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Does what goes to `address` stay on this machine? Then it also comes from there, or from the
/// loopback. Nothing is sent to find out.
fn routes_to(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address || source.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listens(own: &str, address: &str, port: u16) -> bool {
        listens_at(&[own.parse().unwrap()], address.parse().unwrap(), port)
    }

    #[test]
    fn a_socket_is_known_by_its_address_and_its_port() {
        assert!(listens("10.0.0.5:8080", "10.0.0.5", 8080));
        assert!(!listens("10.0.0.5:8080", "10.0.0.5", 8081));
        assert!(!listens("10.0.0.5:8080", "10.0.0.6", 8080));
        assert!(listens("[fd00::1]:8080", "fd00::1", 8080));
        assert!(listens("[::ffff:10.0.0.5]:8080", "10.0.0.5", 8080));
        assert!(listens("127.0.0.1:8080", "0.0.0.0", 8080));
        assert!(listens("[::1]:8080", "::", 8080));
    }

    #[test]
    fn one_that_listens_everywhere_is_known_by_every_address_of_this_machine() {
        for own in ["0.0.0.0:8080", "[::]:8080"] {
            for address in ["127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"] {
                assert!(listens(own, address, 8080), "{own} {address}");
                assert!(!listens(own, address, 80), "{own} {address}");
            }
            for address in ["192.0.2.7", "8.8.8.8", "2001:db8::7"] {
                assert!(!listens(own, address, 8080), "{own} {address}");
            }
        }
    }

    #[test]
    fn routes_tell_this_machine_from_others() {
        assert!(routes_to(Ipv4Addr::new(127, 8, 8, 8).into()));
        assert!(!routes_to(Ipv4Addr::new(192, 0, 2, 7).into()));
    }
}
