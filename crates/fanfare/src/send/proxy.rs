//! The road through an egress proxy: a tunnel (RFC 9110, section 9.3.6) to an address that the
//! guard has judged. The proxy is asked for that address, never for a name, so that it cannot
//! resolve to another one; TLS runs inside, so that it sees nothing.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use url::{Host, Url};

/// The longest answer of a proxy.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// What `FANFARE_EGRESS_PROXY` says: `http://proxy:3128`. It comes from the operator, so it is not
/// judged; as a target of deliveries it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressProxy {
    host: Arc<str>,
    port: u16,
}

impl EgressProxy {
    /// Where it is, as this machine resolves names.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((&*self.host, self.port)).await?.collect())
    }
}

impl FromStr for EgressProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Not repeated: it may hold a password.
        let form = || {
            "must be http://host:port; credentials, paths and other schemes are not supported"
                .to_owned()
        };
        let url = Url::parse(text).map_err(|_| form())?;
        let bare = url.scheme() == "http"
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        let (Some(host), Some(port), true) = (url.host(), url.port_or_known_default(), bare) else {
            return Err(form());
        };
        let host = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Ok(EgressProxy { host: host.into(), port })
    }
}

/// Asks the proxy at the other end of `socket` for a tunnel to `target`.
pub(super) async fn tunnel(socket: &mut TcpStream, target: SocketAddr) -> Result<(), &'static str> {
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    let broken = |_: io::Error| "the egress proxy closed the connection";
    socket.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::with_capacity(256);
    loop {
        let room = (ANSWER_BYTES_MAX - answer.len()) as u64;
        if (&mut *socket).take(room).read_buf(&mut answer).await.map_err(broken)? == 0 {
            let full = answer.len() == ANSWER_BYTES_MAX;
            return Err(if full { NO_PROXY } else { "the egress proxy closed the connection" });
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            judge(&answer)?;
            // Whoever is behind the tunnel has not been spoken to, and so has nothing to say yet.
            return if end + 4 == answer.len() { Ok(()) } else { Err(NO_PROXY) };
        }
    }
}

const NO_PROXY: &str = "the egress proxy did not answer as a proxy does";

/// Does an answer with this head grant the tunnel?
fn judge(answer: &[u8]) -> Result<(), &'static str> {
    let status = match answer.strip_prefix(b"HTTP/1.") {
        Some([_, b' ', status @ ..]) => {
            status.get(..3).and_then(|status| str::from_utf8(status).ok())
        }
        _ => None,
    };
    match status.and_then(|status| status.parse().ok()) {
        Some(200..=299_u16) => Ok(()),
        Some(407) => Err("the egress proxy asks for credentials, which are not supported"),
        Some(502..=504) => Err("the egress proxy could not reach the endpoint"),
        Some(300..=599) => Err("the egress proxy refused the connection"),
        _ => Err(NO_PROXY),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("http://proxy:3128", "proxy", 3128),
            ("http://10.0.0.9:8888/", "10.0.0.9", 8888),
            ("http://[fd00::9]:3128", "fd00::9", 3128),
            ("http://proxy", "proxy", 80),
        ] {
            assert_eq!(text.parse(), Ok(EgressProxy { host: host.into(), port }));
        }
        for bad in
            ["", "proxy:3128", "https://proxy:3128", "socks5://proxy:1", "http://me:pw@proxy:1"]
        {
            let refused = bad.parse::<EgressProxy>().unwrap_err();
            assert!(refused.contains("http://host:port") && !refused.contains("pw"), "{refused}");
        }
        assert!("http://proxy:3128/path".parse::<EgressProxy>().is_err());
    }

    /// What comes of asking a proxy that says this.
    async fn asked(answer: &[u8]) -> (Result<(), &'static str>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
            }
            // Whoever has read enough goes away.
            let _ = socket.write_all(answer).await;
            String::from_utf8(request).unwrap()
        };
        let client = async {
            let mut socket = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
            tunnel(&mut socket, "203.0.113.9:443".parse().unwrap()).await
        };
        tokio::join!(client, proxy)
    }

    #[tokio::test]
    async fn the_proxy_is_asked_for_the_address_and_its_answer_is_understood() {
        let (granted, request) =
            asked(b"HTTP/1.1 200 Connection established\r\na: b\r\n\r\n").await;
        assert_eq!(granted, Ok(()));
        assert_eq!(request, "CONNECT 203.0.113.9:443 HTTP/1.1\r\nhost: 203.0.113.9:443\r\n\r\n");
        let endless = [&b"HTTP/1.1 200 OK\r\na: "[..], &[b'x'; 9000]].concat();
        for (answer, reason) in [
            (&b"HTTP/1.1 403 Forbidden\r\n\r\n"[..], "the egress proxy refused the connection"),
            (b"HTTP/1.0 407 No\r\n\r\n", "the egress proxy asks for credentials"),
            (b"HTTP/1.1 502 Bad\r\n\r\n", "the egress proxy could not reach the endpoint"),
            (b"HTTP/1.1 20\r\n\r\n", NO_PROXY),
            (b"SSH-2.0-x\r\n\r\n", NO_PROXY),
            (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", NO_PROXY),
            (b"HTTP/1.1 200 OK\r\n", "the egress proxy closed the connection"),
            (&endless, NO_PROXY),
        ] {
            let (said, _) = asked(answer).await;
            assert!(said.unwrap_err().starts_with(reason), "{said:?}");
        }
    }
}
