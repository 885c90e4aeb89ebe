//! Who may call: bearer tokens, the keys they are signed with, and what their claims allow
//! (contract, section 2).
//!
//! A token's algorithm is decided by the key, never by the token: HS256 goes with the configured
//! secret alone, and each key of the key set with the one algorithm of its kind.

mod error;
mod keys;
mod mint;
mod ring;
mod settings;
mod token;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use fanfare::clock::Clock;
use fanfare::model::{Actor, CompanyId};
use fanfare::send::Transport;
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio_util::sync::CancellationToken;

pub use error::AuthError;
pub use mint::{Grant, MintError, mint};
pub use settings::{AuthSettings, JwksSource, SettingError};
pub(crate) use token::bearer;

use ring::{Known, Ring};
use token::{Expected, Token};
use verified::Fingerprint;

/// The least a key of HS256 should have (RFC 7518, section 3.2).
const SECRET_BYTES_WISE: usize = 32;

/// Decides who calls.
pub struct Auth {
    secret: DecodingKey,
    expected: Expected,
    clock: Arc<dyn Clock>,
    ring: Arc<Ring>,
}

/// Who calls, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Reaches every company.
    pub super_admin: bool,
    /// The company of the token.
    pub tenant: Option<CompanyId>,
}

/// Somebody with a token that is believed.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// What the token allows.
    pub caller: Caller,
    /// Who it is in the audit log, as far as the token says.
    pub actor: Arc<Actor>,
}

impl Caller {
    /// May this caller act for `company`? If not, the answer is 403.
    pub fn may_reach(&self, company: CompanyId) -> bool {
        self.super_admin || self.tenant == Some(company)
    }
}

impl Auth {
    /// Reads the key set when it is a file. One behind a URL is fetched by [`Auth::run`], so that
    /// an identity provider that is away does not prevent the start.
    ///
    /// # Errors
    ///
    /// Names the setting with which the server must not start: an empty secret, a URL that is not
    /// https, a file that cannot be read or is no key set of at most 64 KiB and 64 keys.
    pub fn new(
        settings: AuthSettings,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
    ) -> Result<Auth, SettingError> {
        let AuthSettings { secret, jwks, issuer, audience } = settings;
        if secret.is_empty() {
            let reason = "the key of tokens is empty".into();
            return Err(SettingError { setting: "FANFARE_JWT_SECRET", reason });
        }
        if secret.len() < SECRET_BYTES_WISE {
            tracing::warn!("FANFARE_JWT_SECRET has fewer than 32 bytes: tokens could be forged");
        }
        let jwks = jwks.map(JwksSource::checked).transpose()?;
        let ring = Ring::new(jwks, Arc::clone(&clock), transport).map_err(settings::jwks)?;
        Ok(Auth {
            secret: DecodingKey::from_secret(&secret),
            expected: Expected { issuer, audience },
            clock,
            ring: Arc::new(ring),
        })
    }

    /// Who sent this `Authorization` header.
    ///
    /// Waits for nothing but a look at the key set, and only when the token names a key that is
    /// not in it; such looks are at least 30 s apart (5 s for a file) and shared by all who wait.
    ///
    /// # Errors
    ///
    /// The reason for a 401.
    pub async fn check(&self, authorization: Option<&[u8]>) -> Result<Bearer, AuthError> {
        let token = bearer(authorization)?;
        match self.decide(token) {
            Err(AuthError::KeyUnknown) => {
                self.ring.look_for_unknown_key().await;
                self.decide(token)
            }
            decided => decided,
        }
    }

    /// Looks at the key set's source now and returns when that is done; keeps the present keys if
    /// it fails. Where a look is under way already, waits for that one.
    pub async fn refresh(&self) {
        self.ring.look(Duration::ZERO).await;
    }

    /// Keeps the key set up to date until `stop`: a URL is fetched at once and every five minutes,
    /// a file looked at every five seconds. After the end no key set is looked at any more.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.refresh_for_ever()).await;
        self.ring.close().await;
    }

    async fn refresh_for_ever(&self) {
        let Some(period) = self.ring.period() else { return std::future::pending().await };
        loop {
            self.refresh().await;
            self.clock.sleep_until(self.clock.now().plus(period)).await;
        }
    }

    fn decide(&self, text: &str) -> Result<Bearer, AuthError> {
        let now = self.clock.now();
        let known = self.ring.known();
        let fingerprint = Fingerprint::of(text);
        if let Some(claims) = known.verified.get(&fingerprint) {
            return claims.bearer_at(now);
        }
        let token = Token::parse(text)?;
        self.verify(&token, &known)?;
        let claims = token.claims(&self.expected)?;
        let bearer = claims.bearer_at(now)?;
        known.verified.insert(fingerprint, claims);
        Ok(bearer)
    }

    fn verify(&self, token: &Token<'_>, known: &Known) -> Result<(), AuthError> {
        if token.algorithm != Algorithm::HS256 {
            // Without a key set no other algorithm has a key, and none will come.
            return if self.ring.has_source() {
                known.keys.verify(token)
            } else {
                Err(AuthError::Algorithm)
            };
        }
        if keys::signed(token, &self.secret, Algorithm::HS256) {
            return Ok(());
        }
        Err(AuthError::Signature)
    }
}
