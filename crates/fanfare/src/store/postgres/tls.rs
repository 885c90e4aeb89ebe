//! TLS to the database, by rustls.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::store::{Result, StoreError};

/// What a URL asks for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Is the server's certificate verified, its name included?
    pub(super) verified: bool,
    /// Authorities to trust instead of those of the system.
    pub(super) root_certificate: Option<String>,
    /// What we show to the server.
    pub(super) certificate: Option<String>,
    /// Its key.
    pub(super) key: Option<String>,
}

/// Makes sessions for connections.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

/// A session about to be made with a server of this name.
pub(super) struct Session(TlsConnector, ServerName<'static>);

/// A connection that is encrypted.
pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl Tls {
    /// Reads what the files hold.
    pub(super) fn new(wanted: &Wanted) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        let config = if wanted.verified {
            config.with_root_certificates(roots(wanted)?)
        } else {
            let anyone = Arc::new(Anyone(provider));
            config.dangerous().with_custom_certificate_verifier(anyone)
        };
        let config = match (&wanted.certificate, &wanted.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| flaw("sslkey", key, &error.to_string()))?;
                let made = config.with_client_auth_cert(chain, key);
                made.map_err(|error| flaw("sslcert", certificate, &error.to_string()))?
            }
            _ => {
                let reason = "FANFARE_DATABASE_URL: sslcert and sslkey go together: name both";
                return Err(StoreError::Taken(reason.to_owned()));
            }
        };
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }
}

fn roots(wanted: &Wanted) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match wanted.root_certificate.as_deref().filter(|file| *file != "system") {
        Some(file) => {
            for certificate in certificates("sslrootcert", file)? {
                let added = roots.add(certificate);
                added.map_err(|error| flaw("sslrootcert", file, &error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let reason = "FANFARE_DATABASE_URL: this machine trusts no certificates: name a file with \
                      sslrootcert";
        return Err(StoreError::Taken(reason.to_owned()));
    }
    Ok(roots)
}

fn certificates(parameter: &str, file: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(Path::new(file)).and_then(Iterator::collect);
    let read: Vec<_> = read.map_err(|error| flaw(parameter, file, &error.to_string()))?;
    if read.is_empty() {
        return Err(flaw(parameter, file, "it holds no certificate (PEM)"));
    }
    Ok(read)
}

fn flaw(parameter: &str, file: &str, reason: &str) -> StoreError {
    StoreError::Taken(format!("FANFARE_DATABASE_URL: {parameter}: {file} cannot be used: {reason}"))
}

/// Takes whatever certificate is shown, as `sslmode=prefer` does everywhere: who listens in learns
/// nothing, who stands in between does.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Session;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Session> {
        // A socket of this machine's file system has no name, and no TLS either.
        let name = if host.is_empty() { "localhost" } else { host };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        Ok(Session(self.0.clone(), name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Session {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let Session(connector, name) = self;
        Box::pin(async move { connector.connect(name, stream).await.map(Encrypted) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    /// A password is bound to the server by its verified certificate, or by nothing.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
