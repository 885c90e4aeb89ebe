//! What an endpoint keeps to itself.

use std::fmt;

use crate::model::Timestamp;

/// A secret of an endpoint as it is kept: encrypted, and bound to its endpoint and its purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a sealed text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signing.
    Secret,
    /// Headers that go with every request.
    Headers,
    /// The authority and the certificate of connections.
    Tls,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Secret => "signing secret",
            Purpose::Headers => "headers",
            Purpose::Tls => "certificates",
        })
    }
}

/// Another secret for an endpoint.
#[derive(Debug, Clone)]
pub struct SecretChange {
    /// The secret that it replaces. The whole change has no effect when another one has come in
    /// between: of two that rotate at once, one must hear that it was too late.
    pub instead_of: Sealed,
    /// The secret.
    pub secret: Sealed,
    /// The one before it, while that signs too.
    pub previous: Option<PreviousSecret>,
    /// Which part of it is another one.
    pub part: SecretPart,
}

/// A part of what an endpoint signs with: all of it is sealed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretPart {
    /// The secret.
    #[default]
    Secret,
    /// The key beside it, which is there or not.
    SigningKey,
}

/// A secret that was replaced and signs beside the new one for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The secret, sealed.
    pub secret: Sealed,
    /// Until when it signs.
    pub until: Timestamp,
}
