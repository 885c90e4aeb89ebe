//! An authority of a test's own, and servers that it vouches for.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::OnceCell;
use tokio_rustls::TlsAcceptor;

use super::Tls;

/// A certificate with its key.
pub(in crate::send) type Certificate = (CertificateDer<'static>, KeyPair);

pub(in crate::send) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(in crate::send) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A client's side that trusts it and nobody else.
    pub(in crate::send) fn trusted(&self) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Tls { roots: OnceCell::new_with(Some(Arc::new(roots))), connector: OnceCell::new() }
    }

    pub(in crate::send) fn issue(&self, name: &str, until_year: i32) -> Certificate {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }

    /// A server's side that presents this certificate and speaks both protocols.
    pub(in crate::send) fn acceptor(certificate: Certificate) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(Self::server(&[b"h2", b"http/1.1"], certificate)))
    }

    /// The same with other protocols, and open to more changes.
    pub(in crate::send) fn server(protocols: &[&[u8]], (cert, key): Certificate) -> ServerConfig {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    }
}
