//! TLS 1.2 and 1.3, verified against the roots that the machine trusts.

#[cfg(test)]
pub(super) mod authority;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use crate::send::failure::{Failure, describe};
use crate::send::socket::Socket;
use crate::send::wire::H2;

/// The client's side of TLS. The roots are read when they are first needed, so that a process
/// that never needs them does not keep them.
#[derive(Default)]
pub(super) struct Tls {
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    /// A TLS session with `host` over `socket`.
    pub(super) async fn wrap(
        &self,
        host: &Host<&str>,
        socket: Socket,
    ) -> Result<TlsStream<Socket>, Failure> {
        let name = match *host {
            Host::Domain(domain) => ServerName::try_from(domain.to_owned())
                .map_err(|_| Failure::Tls(Cow::Borrowed("bad_name: no certificate can hold it")))?,
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(address)),
        };
        let connector = self.connector.get_or_try_init(native).await?;
        connector.connect(name, socket).await.map_err(|error| Failure::Tls(reason(&error)))
    }
}

async fn native() -> Result<TlsConnector, Failure> {
    let broken = || Failure::Tls(Cow::Borrowed("no_roots: this machine trusts no certificates"));
    // Reading a few hundred certificates takes milliseconds and touches the disk.
    let roots = tokio::task::spawn_blocking(native_roots).await.map_err(|_| broken())?;
    if roots.is_empty() { Err(broken()) } else { connector(roots) }
}

fn native_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, Failure> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Failure::Tls(Cow::Owned(error.to_string())))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A stable word and a sentence for the owner of the endpoint.
fn reason(error: &io::Error) -> Cow<'static, str> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => Cow::Borrowed(certificate_reason(why)),
        Some(rustls::Error::AlertReceived(alert)) => alert_reason(*alert),
        Some(rustls::Error::InvalidMessage(_)) => {
            Cow::Borrowed("not_tls: the endpoint does not speak TLS at this port")
        }
        Some(rustls::Error::PeerIncompatible(_)) => {
            Cow::Borrowed("incompatible: the endpoint offers neither TLS 1.2 nor TLS 1.3 as we do")
        }
        Some(_) => Cow::Borrowed("handshake_failed: the endpoint broke the rules of TLS"),
        None => Cow::Owned(format!("handshake_cut: {}", describe(error))),
    }
}

fn alert_reason(alert: AlertDescription) -> Cow<'static, str> {
    let name = alert.as_str().unwrap_or("unknown");
    Cow::Owned(format!("alert: the endpoint ended the handshake with `{name}`"))
}

fn certificate_reason(why: &CertificateError) -> &'static str {
    use CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } => {
            "certificate_expired: the endpoint's certificate has expired"
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "certificate_not_yet_valid: the endpoint's certificate is not valid yet"
        }
        E::UnknownIssuer => {
            "unknown_issuer: the endpoint's certificate comes from no trusted authority, or the \
             endpoint does not send the certificates in between"
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "name_mismatch: the endpoint's certificate is for another name"
        }
        E::Revoked => "certificate_revoked: the endpoint's certificate was revoked",
        E::BadSignature => "bad_signature: the endpoint's certificate is not signed as it says",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "wrong_purpose: the endpoint's certificate is not one of a server"
        }
        E::BadEncoding => "bad_certificate: the endpoint's certificate cannot be read",
        _ => "bad_certificate: the endpoint's certificate was not accepted",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::authority::{Authority, Certificate};
    use super::*;

    /// What comes of a handshake with a server that presents this certificate.
    async fn shake(authority: &Authority, certificate: Certificate) -> String {
        let acceptor = Authority::acceptor(certificate);
        let serve = async move |socket| drop(acceptor.accept(socket).await);
        talk(&authority.trusted(), serve).await
    }

    async fn talk(tls: &Tls, serve: impl AsyncFnOnce(TcpStream)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let socket = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
            match tls.wrap(&Host::Domain("shop.example"), Socket::new(socket)).await {
                Ok(session) => {
                    let protocol = session.get_ref().1.alpn_protocol().unwrap_or_default();
                    String::from_utf8_lossy(protocol).into_owned()
                }
                Err(failure) => failure.to_string(),
            }
        };
        let server = async { serve(listener.accept().await.unwrap().0).await };
        tokio::join!(client, server).0
    }

    #[tokio::test]
    async fn a_certificate_is_accepted_or_the_exact_reason_given() {
        let authority = Authority::new("ours");
        for (certificate, said) in [
            (authority.issue("shop.example", 2999), "h2"),
            (authority.issue("shop.example", 2001), "tls: certificate_expired: "),
            (authority.issue("other.example", 2999), "tls: name_mismatch: "),
            (Authority::new("theirs").issue("shop.example", 2999), "tls: unknown_issuer: "),
        ] {
            let came = shake(&authority, certificate).await;
            assert!(came.starts_with(said), "{came}");
        }
    }

    #[tokio::test]
    async fn a_server_without_tls_or_without_patience_is_told_apart() {
        let tls = Authority::new("ours").trusted();
        let plain = async |mut socket: TcpStream| {
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        };
        assert!(talk(&tls, plain).await.starts_with("tls: not_tls: "));
        let cut = talk(&tls, async |socket| drop(socket)).await;
        assert!(cut.starts_with("tls: handshake_cut: connection "), "{cut}");
    }
}
