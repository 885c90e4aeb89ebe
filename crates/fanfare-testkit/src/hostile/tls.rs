//! Where TLS is expected: certificates for those that speak it, and those that do not.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::{Hears, Hostile, Then};

/// They hear the beginning of a handshake and answer with something else.
pub const BEFORE_TLS: &[Hostile] = &[
    answers("tls: stalls", Vec::new, Then::Hold),
    answers("tls: closes", Vec::new, Then::Close),
    answers("tls: resets", Vec::new, Then::Reset),
    answers("tls: plain text", || b"HTTP/1.1 400 No\r\n\r\n".to_vec(), Then::Close),
    answers("tls: zeros", Vec::new, Then::Repeat(|| vec![0])),
    answers("tls: a record too large", || vec![0x16, 3, 3, 0xff, 0xff], FLOOD),
    answers("tls: a message too large", || vec![0x16, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff], FLOOD),
    answers("tls: drips", || vec![0x16, 3, 3, 0, 200], Then::Drip(&[2])),
    answers("tls: alerts without end", Vec::new, Then::Repeat(|| vec![0x15, 3, 3, 0, 2, 1, 90])),
    answers("tls: cipher changes", Vec::new, Then::Repeat(|| vec![0x14, 3, 3, 0, 1, 1])),
];

const FLOOD: Then = Then::Repeat(|| vec![0]);

const fn answers(name: &'static str, says: fn() -> Vec<u8>, then: Then) -> Hostile {
    Hostile { name, hears: Hears::Something, says, then }
}

/// An authority that nobody knows unless told.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    pub fn new() -> Option<Authority> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().ok()?).ok().map(Authority)
    }

    /// Its certificate, for whoever is to trust it.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(self.0.der());
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    /// A server on this machine that it vouches for and that speaks HTTP/2 only.
    pub fn h2_acceptor(&self) -> Option<TlsAcceptor> {
        let key = KeyPair::generate().ok()?;
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).ok()?;
        let certificate = params.signed_by(&key, &self.0).ok()?.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).ok()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .ok()?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(TlsAcceptor::from(Arc::new(config)))
    }
}
