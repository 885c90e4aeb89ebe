//! Real keys, tokens signed by hand so that they may also be wrong, and an identity provider that
//! answers as told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fanfare::clock::{Clock, ManualClock};
use fanfare::model::{Answer, CompanyId, Outcome, Timestamp};
use fanfare::send::{Request, Sent, Transport};
use fanfare_server::auth::{Auth, AuthError, AuthSettings, Caller, JwksSource, SettingError};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub(crate) const NOW: Timestamp = Timestamp(1_751_680_331_000);
pub(crate) const SECRET: &[u8] = b"a secret of thirty-two bytes, ok";
pub(crate) const COMPANY: &str = "0197d8a2-52bd-7000-8000-000000000001";

pub(crate) fn company() -> CompanyId {
    COMPANY.parse().unwrap()
}

/// The claims of an admin for an hour.
pub(crate) fn admin() -> Value {
    json!({"exp": NOW.as_secs() + 3600, "roles": ["admin"], "tenantId": COMPANY})
}

/// An admin's claims with some of them replaced, or taken out by `null`.
pub(crate) fn admin_but(changes: &Value) -> Value {
    let mut claims = admin();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims, joined as they are signed.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string()), base64(claims.to_string()))
}

/// A token with any header, signed with HMAC-SHA256 whatever the header says.
pub(crate) fn hmac_signed(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64(tag))
}

pub(crate) fn hs256(claims: &Value) -> String {
    hmac_signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

/// A key pair of an identity provider.
pub(crate) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(crate) static RSA: LazyLock<Pair> =
    LazyLock::new(|| Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
pub(crate) static EC: LazyLock<Pair> = LazyLock::new(Pair::ec);
pub(crate) static ED: LazyLock<Pair> =
    LazyLock::new(|| Pair::Ed(Ed25519KeyPair::generate().unwrap()));

impl Pair {
    pub(crate) fn ec() -> Pair {
        Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// The public key as a JWK with a `kid`.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match self {
            Pair::Rsa(pair) => {
                let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": base64(parts.n), "e": base64(parts.e)})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key())})
            }
        };
        jwk["kid"] = json!(kid);
        jwk
    }

    /// The forms in which people hand public keys around: what a confused verifier might take for
    /// an HMAC key.
    pub(crate) fn public_forms(&self) -> Vec<Vec<u8>> {
        let (raw, der): (Vec<u8>, PublicKeyX509Der<'_>) = match self {
            Pair::Rsa(pair) => {
                (pair.public_key().as_ref().to_vec(), pair.public_key().as_der().unwrap())
            }
            Pair::Ec(pair) => {
                (pair.public_key().as_ref().to_vec(), pair.public_key().as_der().unwrap())
            }
            Pair::Ed(pair) => {
                (pair.public_key().as_ref().to_vec(), pair.public_key().as_der().unwrap())
            }
        };
        let base64 = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
        let jwk = self.jwk("it");
        let part = jwk["n"].as_str().or_else(|| jwk["x"].as_str()).unwrap();
        let decoded = URL_SAFE_NO_PAD.decode(part).unwrap();
        let trimmed = pem.trim_end().as_bytes().to_vec();
        let text = jwk.to_string().into_bytes();
        vec![raw, der.as_ref().to_vec(), pem.into_bytes(), trimmed, part.into(), decoded, text]
    }

    /// A token with any header, signed as this key signs whatever the header says.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = match self {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => {
                pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", base64(signature))
    }

    /// A proper token of an admin.
    pub(crate) fn token(&self, kid: &str) -> String {
        self.signed(&json!({"alg": self.algorithm(), "kid": kid}), &admin())
    }
}

pub(crate) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// A network with one identity provider in it.
pub(crate) struct Provider {
    answer: Mutex<Outcome>,
    requests: Mutex<Vec<Request>>,
    /// Answers wait for a permit each.
    pub(crate) gate: Semaphore,
}

impl Provider {
    pub(crate) fn answers(&self, status: u16, body: impl Into<Bytes>, flaw: Option<&str>) {
        let flaw = flaw.map(str::to_owned);
        let answer = Answer { status, headers: Default::default(), body: body.into(), flaw };
        *self.answer.lock().unwrap() = Outcome::Answered(answer);
    }

    pub(crate) fn has_keys(&self, keys: &[Value]) {
        self.answers(200, key_set(keys), None);
    }

    pub(crate) fn is_away(&self) {
        let reason = "connect: nobody there".to_owned();
        *self.answer.lock().unwrap() = Outcome::NoAnswer { reason };
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn fetches(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[async_trait]
impl Transport for Provider {
    async fn send(&self, request: Request) -> Sent {
        self.requests.lock().unwrap().push(request);
        self.gate.acquire().await.unwrap().forget();
        self.answer.lock().unwrap().clone().into()
    }
}

/// A server's authentication with a clock and an identity provider in hand.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) auth: Arc<Auth>,
}

impl Bench {
    pub(crate) fn with(settings: AuthSettings) -> Result<Bench, SettingError> {
        let clock = Arc::new(ManualClock::at(NOW));
        let provider = Arc::new(Provider {
            answer: Mutex::new(Outcome::NoAnswer { reason: String::new() }),
            requests: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let auth = Auth::new(settings, Arc::clone(&clock) as Arc<dyn Clock>, provider.clone())?;
        Ok(Bench { clock, provider, auth: Arc::new(auth) })
    }

    /// Takes HS256 and nothing else.
    pub(crate) fn plain() -> Bench {
        Bench::with(settings(None)).unwrap()
    }

    pub(crate) fn with_url() -> Bench {
        let url = "https://id.example/keys.json".parse().unwrap();
        Bench::with(settings(Some(url))).unwrap()
    }

    pub(crate) fn with_file(path: PathBuf) -> Result<Bench, SettingError> {
        Bench::with(settings(Some(JwksSource::File(path))))
    }

    /// With a URL whose keys have been fetched, and long enough ago for another fetch.
    pub(crate) async fn with_keys(keys: &[Value]) -> Bench {
        let bench = Bench::with_url();
        bench.provider.has_keys(keys);
        bench.auth.refresh().await;
        bench
    }

    pub(crate) async fn header(&self, authorization: &[u8]) -> Result<Caller, AuthError> {
        self.auth.check(Some(authorization)).await.map(|bearer| bearer.caller)
    }

    /// The code of the refusal of a token, or `ok`.
    pub(crate) async fn code(&self, token: &str) -> &'static str {
        let decided = self.header(format!("Bearer {token}").as_bytes()).await;
        decided.map_or_else(AuthError::code, |_| "ok")
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub(crate) fn settings(jwks: Option<JwksSource>) -> AuthSettings {
    AuthSettings { secret: SECRET.to_vec().into(), jwks, issuer: None, audience: None }
}

/// Lets every task run until it waits.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Counts what would have been logged, by level.
#[derive(Default, Clone)]
pub(crate) struct Logged(Arc<Mutex<HashMap<tracing::Level, usize>>>);

impl Logged {
    pub(crate) fn warnings(&self) -> usize {
        self.0.lock().unwrap().get(&tracing::Level::WARN).copied().unwrap_or(0)
    }
}

impl tracing::Subscriber for Logged {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target().starts_with("fanfare") {
            *self.0.lock().unwrap().entry(*event.metadata().level()).or_default() += 1;
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
