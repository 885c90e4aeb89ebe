//! TLS 1.2 and 1.3, verified against the roots that the machine trusts, or the endpoint's own.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use crate::send::Identity;
use crate::send::failure::{Failure, describe};
use crate::send::socket::Socket;
use crate::send::wire::H2;

/// The sessions that a connector of one endpoint remembers: it goes to one host.
const OWN_SESSIONS: usize = 4;

/// The client's side of TLS. The roots are read when they are first needed, so that a process
/// that never needs them does not keep them.
#[derive(Default)]
pub(super) struct Tls {
    roots: OnceCell<Arc<RootCertStore>>,
    connector: OnceCell<TlsConnector>,
}

impl Tls {
    /// One that trusts an authority of a test's own, and nobody else.
    #[cfg(test)]
    pub(super) fn trusting(authority: &fanfare_testkit::authority::Authority) -> Self {
        let mut roots = RootCertStore::empty();
        assert!(roots.add(authority.certificate_der().into()).is_ok());
        Tls { roots: OnceCell::new_with(Some(Arc::new(roots))), connector: OnceCell::new() }
    }

    /// A TLS session with `host` over `socket`, with certificates of its own or without.
    pub(super) async fn wrap(
        &self,
        host: &Host<&str>,
        socket: Socket,
        own: Option<&Identity>,
    ) -> Result<TlsStream<Socket>, Failure> {
        let name = match *host {
            Host::Domain(domain) => ServerName::try_from(domain.to_owned())
                .map_err(|_| Failure::Tls(Cow::Borrowed("bad_name: no certificate can hold it")))?,
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(address)),
        };
        let connector = match own {
            Some(own) => own.connector.get_or_try_init(|| self.own_connector(own)).await?,
            None => self.connector.get_or_try_init(|| self.common_connector()).await?,
        };
        let session = connector.connect(name, socket).await;
        session.map_err(|error| Failure::Tls(reason(&error, shows_certificate(own))))
    }

    async fn common_connector(&self) -> Result<TlsConnector, Failure> {
        Ok(TlsConnector::from(Arc::new(config(self.roots().await?, None)?)))
    }

    async fn own_connector(&self, own: &Identity) -> Result<TlsConnector, Failure> {
        let roots = match &own.roots {
            Some(roots) => Arc::clone(roots),
            None => self.roots().await?,
        };
        let mut config = config(roots, Some(own))?;
        config.resumption = Resumption::in_memory_sessions(OWN_SESSIONS);
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn roots(&self) -> Result<Arc<RootCertStore>, Failure> {
        self.roots.get_or_try_init(native).await.cloned()
    }
}

async fn native() -> Result<Arc<RootCertStore>, Failure> {
    let broken = || Failure::Tls(Cow::Borrowed("no_roots: this machine trusts no certificates"));
    // Reading a few hundred certificates takes milliseconds and touches the disk.
    let roots = tokio::task::spawn_blocking(native_roots).await.map_err(|_| broken())?;
    if roots.is_empty() { Err(broken()) } else { Ok(Arc::new(roots)) }
}

fn native_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn config(roots: Arc<RootCertStore>, own: Option<&Identity>) -> Result<ClientConfig, Failure> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Failure::Tls(Cow::Owned(error.to_string())))?
        .with_root_certificates(roots);
    let mut config = match own.and_then(|own| own.client.clone()) {
        Some(client) => config.with_client_cert_resolver(client),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn shows_certificate(own: Option<&Identity>) -> bool {
    own.is_some_and(|own| own.client.is_some())
}

/// Why a session ended that was made, if it was TLS that ended it. With TLS 1.3 the endpoint judges
/// our certificate, or that there is none, when the session is made on our side already.
pub(super) fn ended(error: &io::Error, own: Option<&Identity>) -> Option<Failure> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::AlertReceived(alert) = inner else { return None };
    Some(Failure::Tls(alert_reason(*alert, shows_certificate(own))))
}

/// A stable word and a sentence for the owner of the endpoint.
fn reason(error: &io::Error, shows_certificate: bool) -> Cow<'static, str> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => Cow::Borrowed(certificate_reason(why)),
        Some(rustls::Error::AlertReceived(alert)) => alert_reason(*alert, shows_certificate),
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

fn alert_reason(alert: AlertDescription, shows_certificate: bool) -> Cow<'static, str> {
    use AlertDescription as A;
    let name = alert.as_str().unwrap_or("unknown");
    let judges_certificate = matches!(
        alert,
        A::CertificateRequired
            | A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
    );
    Cow::Owned(match (judges_certificate, shows_certificate) {
        (true, true) => format!(
            "client_certificate_refused: the endpoint did not accept our certificate (`{name}`)"
        ),
        (true, false) => format!(
            "client_certificate_required: the endpoint asks for a certificate of ours and there is \
             none; set tls.clientCertificate and tls.clientKey (`{name}`)"
        ),
        _ => format!("alert: the endpoint ended the session with `{name}`"),
    })
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

    use super::*;
    use fanfare_testkit::authority::{Authority, Issued};

    /// What comes of a handshake with a server that presents this certificate.
    async fn shake(authority: &Authority, certificate: Issued) -> String {
        let acceptor = certificate.acceptor();
        let serve = async move |socket| drop(acceptor.accept(socket).await);
        talk(&Tls::trusting(authority), serve).await
    }

    async fn talk(tls: &Tls, serve: impl AsyncFnOnce(TcpStream)) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = async {
            let socket = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
            let host = Host::Domain("shop.example");
            match tls.wrap(&host, Socket::new(socket), None).await {
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
        let tls = Tls::trusting(&Authority::new("ours"));
        let plain = async |mut socket: TcpStream| {
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        };
        assert!(talk(&tls, plain).await.starts_with("tls: not_tls: "));
        let cut = talk(&tls, async |socket| drop(socket)).await;
        assert!(cut.starts_with("tls: handshake_cut: connection "), "{cut}");
    }
}
