use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Echo, NOW, clock, runtime, secret};
use crate::auth::{Auth, AuthSettings, Caller, JwksSource};

/// A key set whose private keys were thrown away.
const KEYS: &str = include_str!("keys.json");

/// Who decides, and the key that it believes.
struct Door {
    runtime: Runtime,
    auth: Auth,
    key: EncodingKey,
}

/// Takes any bytes for an `Authorization` header: nothing is let in that nobody signed.
pub fn jwt(data: &[u8]) {
    with_door(|door| {
        let decided = door.decide(data);
        assert!(decided.is_none(), "let in: {:?}", String::from_utf8_lossy(data));
        let decided = door.decide(&[b"Bearer ", data].concat());
        assert!(decided.is_none(), "let in: {:?}", String::from_utf8_lossy(data));
    });
}

/// Takes a line for a token's header and the rest for its claims, properly signed: it is let in
/// only with the algorithm of the key, before its end, and with a role.
pub fn claims(data: &[u8]) {
    let (header, claims) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&br#"{"alg":"HS256"}"#[..], data),
    };
    with_door(|door| {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", part(header), part(claims));
        let signature = crypto::sign(message.as_bytes(), &door.key, Algorithm::HS256);
        let signature = signature.expect("a signature");
        let header_line = format!("Bearer {message}.{signature}");
        if let Some(caller) = door.decide(header_line.as_bytes()) {
            check(header, claims, caller);
        }
    });
}

/// Holds what was let in against the contract, read by another way than the server's.
fn check(header: &[u8], claims: &[u8], caller: Caller) {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
    let (header, claims) = (read(header), read(claims));
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none(), "{header}");
    let now = NOW.0 as f64 / 1000.0;
    assert!(claims["exp"].as_f64().expect("a number") > now - 60.0, "{claims}");
    if let Some(nbf) = claims.get("nbf") {
        assert!(nbf.as_f64().expect("a number") <= now + 60.0, "{claims}");
    }
    let roles: Vec<&str> =
        claims["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let administers = ["administrator", "admin", "superAdmin", "integration"];
    assert!(roles.iter().any(|role| administers.contains(role)), "{claims}");
    assert_eq!(caller.super_admin, roles.contains(&"superAdmin"), "{claims}");
    let tenant = caller.tenant.map(|tenant| tenant.to_string());
    let named = claims["tenantId"].as_str().map(str::to_lowercase);
    assert_eq!(tenant, named, "{claims}");
}

impl Door {
    fn new() -> Door {
        let runtime = runtime();
        let secret = secret();
        let key = EncodingKey::from_secret(&secret);
        let url = "https://id.example/keys.json".parse().expect("a URL");
        let jwks = Some(JwksSource::Url(url));
        let settings = AuthSettings { secret: secret.into(), jwks, issuer: None, audience: None };
        let transport = Arc::new(Echo(KEYS));
        let auth = Auth::new(settings, clock(), transport).expect("settings that hold");
        runtime.block_on(auth.refresh());
        Door { runtime, auth, key }
    }

    fn decide(&self, header: &[u8]) -> Option<Caller> {
        let known = self.runtime.block_on(self.auth.check(Some(header)));
        known.ok().map(|bearer| bearer.caller)
    }
}

fn with_door(ask: impl FnOnce(&Door)) {
    thread_local!(static DOOR: Door = Door::new());
    DOOR.with(ask);
}
