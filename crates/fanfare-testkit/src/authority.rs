//! An authority of a test's own, what it vouches for, and servers that show it.

#![allow(clippy::unwrap_used, reason = "a test that has no certificates cannot go on")]

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Vouches for whom it is told to.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM and as DER.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate, as PEM.
    pub certificate: String,
    /// Its key (PKCS #8), as PEM.
    pub key: String,
    /// The certificate, as DER.
    pub certificate_der: Vec<u8>,
    /// Its key (PKCS #8), as DER.
    pub key_der: Vec<u8>,
}

impl Authority {
    /// An authority of this name, with a key of its own.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its own certificate, as PEM.
    pub fn certificate(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Its own certificate, as DER.
    pub fn certificate_der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for a server or a client of this name, valid from 2000 until the year begins.
    pub fn issue(&self, name: &str, until_year: i32) -> Issued {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate_der = params.signed_by(&key, &self.0).unwrap().der().to_vec();
        let key_der = key.serialize_der();
        Issued {
            certificate: pem("CERTIFICATE", &certificate_der),
            key: pem("PRIVATE KEY", &key_der),
            certificate_der,
            key_der,
        }
    }
}

impl Issued {
    /// A server's side of TLS that shows this certificate and speaks both versions of HTTP.
    pub fn acceptor(self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.server(&["h2", "http/1.1"])))
    }

    /// The same with these protocols, and open to more changes.
    pub fn server(self, protocols: &[&str]) -> ServerConfig {
        let chain = vec![CertificateDer::from(self.certificate_der)];
        let key = PrivateKeyDer::try_from(self.key_der).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// Bytes as PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
