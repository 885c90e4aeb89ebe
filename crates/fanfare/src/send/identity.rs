//! Whom an endpoint's connections trust, and whom they say they are.

use std::fmt;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error as TlsError, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use zeroize::{Zeroize, Zeroizing};

use crate::model::{Flaw, OwnTls};

/// The most that certificates and key may have together, in bytes.
pub const OWN_TLS_BYTES_MAX: usize = 32 * 1024;

/// Fields, as they are named when something is wrong with them.
const CA: &str = "tls.caCertificate";
const CERTIFICATE: &str = "tls.clientCertificate";
const KEY: &str = "tls.clientKey";

/// Certificates of one endpoint, ready for its connections.
pub struct Identity {
    /// Whom to trust alone; `None` for whom the machine trusts.
    pub(super) roots: Option<Arc<RootCertStore>>,
    /// What to show.
    pub(super) client: Option<Arc<dyn ResolvesClientCert>>,
    /// Connections are shared among those with the same one only.
    pub(super) fingerprint: [u8; 32],
    /// Made with the first connection.
    pub(super) connector: OnceCell<TlsConnector>,
}

impl Identity {
    /// Makes the identity that these certificates describe.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(own: &OwnTls) -> Result<Identity, Flaw> {
        let parts = Parts::read(own)?;
        let fingerprint = parts.fingerprint();
        let roots = if parts.authorities.is_empty() { None } else { Some(parts.roots()?) };
        let client = parts.key.map(|key| certified(parts.chain, key)).transpose()?;
        Ok(Identity {
            roots,
            client: client.map(|client| Arc::new(client) as Arc<dyn ResolvesClientCert>),
            fingerprint,
            connector: OnceCell::new(),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The same certificates without anything around them, if they make an identity.
///
/// # Errors
/// What is wrong with them.
pub fn tidied(own: &OwnTls) -> Result<OwnTls, Flaw> {
    Identity::read(own)?;
    let mut parts = Parts::read(own)?;
    let all = |certificates: &[CertificateDer<'static>]| {
        let texts = certificates.iter().map(|certificate| pem("CERTIFICATE", certificate));
        (!certificates.is_empty()).then(|| texts.collect())
    };
    let client_key = parts.key.as_ref().map(|key| match key {
        PrivateKeyDer::Pkcs1(key) => pem("RSA PRIVATE KEY", key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => pem("EC PRIVATE KEY", key.secret_sec1_der()),
        key => pem("PRIVATE KEY", key.secret_der()),
    });
    parts.key.zeroize();
    Ok(OwnTls {
        ca_certificate: all(&parts.authorities),
        client_certificate: all(&parts.chain),
        client_key: client_key.map(Zeroizing::new),
    })
}

/// What the texts hold.
struct Parts {
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: Option<PrivateKeyDer<'static>>,
}

impl Parts {
    fn read(own: &OwnTls) -> Result<Parts, Flaw> {
        if own.len() > OWN_TLS_BYTES_MAX {
            let reason = format!(
                "must have {OWN_TLS_BYTES_MAX} bytes in all at most; leave out \
                                  the certificates that are not needed"
            );
            return Err(flaw("tls", reason));
        }
        match (&own.client_certificate, &own.client_key) {
            (Some(_), None) => return Err(flaw(KEY, "is required with tls.clientCertificate")),
            (None, Some(_)) => return Err(flaw(CERTIFICATE, "is required with tls.clientKey")),
            _ => {}
        }
        let authorities = own.ca_certificate.as_deref().map(|text| certificates(CA, text));
        let chain = own.client_certificate.as_deref().map(|text| certificates(CERTIFICATE, text));
        let (authorities, chain) = (authorities.transpose()?, chain.transpose()?);
        let key = own.client_key.as_deref().map(|text| private_key(text)).transpose()?;
        Ok(Parts {
            authorities: authorities.unwrap_or_default(),
            chain: chain.unwrap_or_default(),
            key,
        })
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, Flaw> {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            let added = roots.add(authority.clone());
            added.map_err(|_| flaw(CA, "holds a certificate that cannot be read"))?;
        }
        Ok(Arc::new(roots))
    }

    /// Of what is public in them: a certificate belongs to one key.
    fn fingerprint(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for certificates in [&self.authorities, &self.chain] {
            digest.update(certificates.len().to_be_bytes());
            for certificate in certificates {
                digest.update(Sha256::digest(certificate));
            }
        }
        digest.finalize().into()
    }
}

/// The certificates of a PEM text, one at least, and nothing else that counts.
fn certificates(field: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    if text.contains("PRIVATE KEY") {
        let reason = format!("holds a private key, and would be shown; that belongs into {KEY}");
        return Err(flaw(field, reason));
    }
    let mut found = Vec::new();
    for (kind, der) in sections(field, text)? {
        let certificate = CertificateDer::from_pem(kind, der);
        let certificate = certificate.ok_or_else(|| flaw(field, "must hold certificates alone"))?;
        ParsedCertificate::try_from(&certificate)
            .map_err(|_| flaw(field, "holds a certificate that cannot be read"))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(flaw(field, "must be PEM: -----BEGIN CERTIFICATE-----, …"));
    }
    Ok(found)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, Flaw> {
    if text.contains("ENCRYPTED") {
        let reason = "is encrypted, and nobody is there to type its passphrase; decrypt it first \
                      (openssl pkey -in key.pem), it is sealed here";
        return Err(flaw(KEY, reason));
    }
    let mut keys =
        sections(KEY, text)?.into_iter().map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    match (keys.next(), keys.next()) {
        (Some(Some(key)), None) => Ok(key),
        _ => Err(flaw(KEY, "must be one private key as PEM: -----BEGIN PRIVATE KEY-----, …")),
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<SingleCertAndKey, Flaw> {
    let made = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    made.map(SingleCertAndKey::from).map_err(|error| match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            flaw(KEY, "is not the key of the first certificate in tls.clientCertificate")
        }
        _ => flaw(KEY, "is no key that TLS can use: RSA of 2,048 bits or more, ECDSA or Ed25519"),
    })
}

fn sections(field: &str, text: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, Flaw> {
    let read: Result<Vec<_>, _> = PemObject::pem_slice_iter(text.as_bytes()).collect();
    read.map_err(|_| flaw(field, "is not whole: a section of the PEM is cut short or altered"))
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = Zeroizing::new(BASE64_STANDARD.encode(der));
    // Of more than its final size from the start: a text that grows leaves copies behind.
    let mut text = String::with_capacity(body.len() * 66 / 64 + 96);
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

fn flaw(field: &str, reason: impl Into<String>) -> Flaw {
    Flaw { field: field.to_owned(), reason: reason.into() }
}
