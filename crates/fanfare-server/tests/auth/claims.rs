use std::time::Duration;

use fanfare::model::CompanyId;
use fanfare_server::auth::{AuthSettings, Caller, Grant, JwksSource, MintError, mint};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{
    Bench, COMPANY, NOW, SECRET, admin, admin_but, base64, company, hmac_signed, hs256, message,
    settings,
};

fn grant() -> Grant<'static> {
    Grant {
        secret: SECRET,
        company: company(),
        role: "admin",
        ttl: Duration::from_secs(3600),
        issuer: None,
        audience: None,
    }
}

#[tokio::test]
async fn a_minted_token_reaches_its_company_and_a_super_admins_every_one() {
    let bench = Bench::plain();
    let other = CompanyId::new(NOW);
    for (role, reaches_others) in
        [("administrator", false), ("admin", false), ("integration", false), ("superAdmin", true)]
    {
        let token = mint(&Grant { role, ..grant() }, NOW).unwrap();
        let caller = bench.header(format!("Bearer {token}").as_bytes()).await.unwrap();
        assert_eq!(caller, Caller { super_admin: reaches_others, tenant: Some(company()) });
        assert!(caller.may_reach(company()), "{role}");
        assert_eq!(caller.may_reach(other), reaches_others, "{role}");
    }
}

#[test]
fn a_token_without_a_tenant_reaches_nobody_unless_it_is_a_super_admins() {
    let nobody = Caller { super_admin: false, tenant: None };
    let everybody = Caller { super_admin: true, tenant: None };
    assert!(!nobody.may_reach(company()));
    assert!(everybody.may_reach(company()));
}

#[test]
fn a_token_that_would_not_be_believed_is_not_minted() {
    let refused = |grant: Grant<'_>| mint(&grant, NOW).unwrap_err();
    assert_eq!(refused(Grant { secret: b"", ..grant() }), MintError::NoSecret);
    for role in ["", "viewer", "Admin", "superadmin", "admin "] {
        assert_eq!(refused(Grant { role, ..grant() }), MintError::UnknownRole, "{role}");
    }
    assert_eq!(refused(Grant { ttl: Duration::from_millis(999), ..grant() }), MintError::TooShort);
    assert!(mint(&Grant { ttl: Duration::MAX, ..grant() }, NOW).is_ok());
    assert!(!format!("{:?}", grant()).contains("secret"));
}

#[tokio::test]
async fn the_header_must_be_a_bearer_token() {
    let bench = Bench::plain();
    let token = hs256(&admin());
    let long = "a".repeat(9000);
    let cases: [(&[u8], &str); 22] = [
        (b"", "token_missing"),
        (b"Bearer", "token_missing"),
        (b"Bearer    ", "token_missing"),
        (b"Basic YWRtaW46YWRtaW4=", "token_missing"),
        (token.as_bytes(), "token_missing"),
        (&format!("Bearer{token}").into_bytes(), "token_missing"),
        (&format!("Bearer\t{token}").into_bytes(), "token_missing"),
        (&format!("Bearer {token}").into_bytes(), "ok"),
        (&format!("bearer {token}").into_bytes(), "ok"),
        (&format!("BEARER   {token}  ").into_bytes(), "ok"),
        (&format!("Bearer {token}, Bearer {token}").into_bytes(), "token_malformed"),
        (b"Bearer x", "token_malformed"),
        (b"Bearer .", "token_malformed"),
        (b"Bearer ..", "token_malformed"),
        (b"Bearer ...", "token_malformed"),
        (b"Bearer a.b.c", "token_malformed"),
        (b"Bearer \xff\xfe.\x00.\x80", "token_malformed"),
        ("Bearer é.é.é".as_bytes(), "token_malformed"),
        (&format!("Bearer {token}.").into_bytes(), "token_malformed"),
        (&format!("Bearer {token}.{token}").into_bytes(), "token_malformed"),
        (&format!("Bearer {token}=").into_bytes(), "token_signature"),
        (&format!("Bearer {long}").into_bytes(), "token_malformed"),
    ];
    for (header, expected) in cases {
        let code = bench.header(header).await.map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(code, expected, "{}", String::from_utf8_lossy(header));
    }
    assert_eq!(bench.auth.check(None).await.unwrap_err().code(), "token_missing");
}

#[tokio::test]
async fn each_claim_is_held_to_its_rule() {
    let bench = Bench::plain();
    let now = NOW.as_secs();
    let cases = [
        (json!({}), "ok"),
        // Times.
        (json!({"exp": null}), "token_malformed"),
        (json!({"exp": (now + 60).to_string()}), "token_malformed"),
        (json!({"exp": true}), "token_malformed"),
        (json!({"exp": [now + 60]}), "token_malformed"),
        (json!({"exp": {}}), "token_malformed"),
        (json!({"exp": now as f64 + 0.5}), "ok"),
        (json!({"exp": 1e300}), "ok"),
        (json!({"exp": u64::MAX}), "ok"),
        (json!({"exp": i64::MAX}), "ok"),
        (json!({"exp": i64::MIN}), "token_expired"),
        (json!({"exp": -1e300}), "token_expired"),
        (json!({"exp": 0}), "token_expired"),
        (json!({"exp": now - 59}), "ok"),
        (json!({"exp": now - 60}), "token_expired"),
        (json!({"nbf": now + 60}), "ok"),
        (json!({"nbf": now + 61}), "token_not_yet_valid"),
        (json!({"nbf": 1e300}), "token_not_yet_valid"),
        (json!({"nbf": now.to_string()}), "token_malformed"),
        (json!({"nbf": false}), "token_malformed"),
        (json!({"iat": now}), "ok"),
        (json!({"iat": "today"}), "token_malformed"),
        // Roles.
        (json!({"roles": null}), "token_role"),
        (json!({"roles": []}), "token_role"),
        (json!({"roles": ["viewer", "ADMIN", "superadmin", "admin "]}), "token_role"),
        (json!({"roles": ["viewer", "integration"]}), "ok"),
        (json!({"roles": "admin"}), "token_malformed"),
        (json!({"roles": {"admin": true}}), "token_malformed"),
        (json!({"roles": ["admin", 1]}), "token_malformed"),
        // Companies.
        (json!({"tenantId": null}), "ok"),
        (json!({"tenantId": COMPANY.to_uppercase()}), "ok"),
        (json!({"tenantId": COMPANY.replace('-', "")}), "token_malformed"),
        (json!({"tenantId": ""}), "token_malformed"),
        (json!({"tenantId": "acme"}), "token_malformed"),
        (json!({"tenantId": 7}), "token_malformed"),
        (json!({"tenantId": [COMPANY]}), "token_malformed"),
        // What is not configured is not looked at.
        (json!({"iss": 1, "aud": 2, "sub": 3, "more": {"and": ["more"]}}), "ok"),
    ];
    for (changes, expected) in cases {
        assert_eq!(bench.code(&hs256(&admin_but(&changes))).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn claims_that_are_no_plain_object_are_refused() {
    let bench = Bench::plain();
    let exp = NOW.as_secs() + 60;
    let deep = format!(r#"{{"exp":{exp},"roles":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
    let twice = format!(r#"{{"exp":1,"exp":{exp},"roles":["admin"]}}"#);
    let null = format!(r#"{{"exp":{exp},"nbf":null,"roles":["admin"]}}"#);
    let half = format!(r#"{{"exp":{exp},"roles":["admin"],"x":"\ud800"}}"#);
    let array = format!(r#"[{exp},0,0,null,null,["superAdmin"],null]"#);
    for claims in
        ["", "null", "1", "{", "{}x", "[]", &array, &twice, &deep, &null, "\u{feff}{}", &half]
    {
        let message = format!("{}.{}", base64(r#"{"alg":"HS256"}"#), base64(claims));
        let token = sign(&message);
        assert_eq!(bench.code(&token).await, "token_malformed", "{claims:.60}");
    }
}

/// Signs a message as it is.
fn sign(message: &str) -> String {
    use aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    format!("{message}.{}", base64(hmac::sign(&key, message.as_bytes())))
}

#[tokio::test]
async fn the_secret_goes_with_hs256_and_nothing_else() {
    let bench = Bench::plain();
    let cases: [(Value, &str); 20] = [
        (json!({"alg": "HS256", "kid": "whatever"}), "ok"),
        (json!({"alg": "HS256", "jku": "https://evil.example", "jwk": {"kty": "oct"}}), "ok"),
        (json!({"alg": "none"}), "token_algorithm"),
        (json!({"alg": "None"}), "token_algorithm"),
        (json!({"alg": "nOnE"}), "token_algorithm"),
        (json!({"alg": ""}), "token_algorithm"),
        (json!({"alg": "hs256"}), "token_algorithm"),
        (json!({"alg": "HS256 "}), "token_algorithm"),
        (json!({"alg": "HS384"}), "token_algorithm"),
        (json!({"alg": "HS512"}), "token_algorithm"),
        (json!({"alg": "PS256"}), "token_algorithm"),
        (json!({"alg": "RS256"}), "token_algorithm"),
        (json!({"alg": "ES256"}), "token_algorithm"),
        (json!({"alg": "EdDSA"}), "token_algorithm"),
        (json!({"alg": null}), "token_malformed"),
        (json!({"alg": ["HS256"]}), "token_malformed"),
        (json!({"typ": "JWT"}), "token_malformed"),
        (json!({"alg": "HS256", "kid": 1}), "token_malformed"),
        (json!({"alg": "HS256", "crit": ["b64"], "b64": false}), "token_malformed"),
        (json!(["HS256", null, null]), "token_malformed"),
    ];
    for (header, expected) in cases {
        let token = hmac_signed(&header, &admin(), SECRET);
        assert_eq!(bench.code(&token).await, expected, "{header}");
    }
    let unsigned = message(&json!({"alg": "none"}), &admin());
    assert_eq!(bench.code(&format!("{unsigned}.")).await, "token_algorithm");
    let unsigned = message(&json!({"alg": "HS256"}), &admin());
    assert_eq!(bench.code(&format!("{unsigned}.")).await, "token_signature");
    let other = hmac_signed(&json!({"alg": "HS256"}), &admin(), b"");
    assert_eq!(bench.code(&other).await, "token_signature");
    assert_eq!(bench.provider.fetches(), 0);
}

#[tokio::test]
async fn a_token_changed_in_any_character_is_refused() {
    let bench = Bench::plain();
    let token = hs256(&admin());
    assert_eq!(bench.code(&token).await, "ok");
    for at in 0..token.len() {
        for other in [b'A', b'b', b'9', b'.', b'=', b' '] {
            let mut changed = token.clone().into_bytes();
            changed[at] = other;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == token || bench.code(&changed).await != "ok", "{at} {other}");
        }
    }
}

#[tokio::test]
async fn a_token_believed_before_is_still_held_to_the_clock() {
    let bench = Bench::plain();
    let now = NOW.as_secs();
    let token = hs256(&admin_but(&json!({"exp": now + 100, "nbf": now + 90})));
    assert_eq!(bench.code(&token).await, "token_not_yet_valid");
    bench.advance(30);
    assert_eq!(bench.code(&token).await, "ok");
    bench.advance(129);
    assert_eq!(bench.code(&token).await, "ok");
    bench.advance(1);
    assert_eq!(bench.code(&token).await, "token_expired");
}

#[tokio::test]
async fn many_tokens_are_believed_one_after_the_other() {
    let bench = Bench::plain();
    let tokens: Vec<String> = (0..3000)
        .map(|number| hs256(&admin_but(&json!({"jti": number, "tenantId": null}))))
        .collect();
    for token in tokens.iter().chain(&tokens) {
        assert_eq!(bench.code(token).await, "ok");
    }
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_they_are_set() {
    let (issuer, audience) = (Some("https://id.example".into()), Some("fanfare".into()));
    let bench = Bench::with(AuthSettings { issuer, audience, ..settings(None) }).unwrap();
    let cases = [
        (json!({"iss": "https://id.example", "aud": "fanfare"}), "ok"),
        (json!({"iss": "https://id.example", "aud": ["shop", "fanfare"]}), "ok"),
        (json!({"aud": "fanfare"}), "token_issuer"),
        (json!({"iss": "https://id.example/", "aud": "fanfare"}), "token_issuer"),
        (json!({"iss": ["https://id.example"], "aud": "fanfare"}), "token_issuer"),
        (json!({"iss": "https://id.example"}), "token_audience"),
        (json!({"iss": "https://id.example", "aud": "fanfares"}), "token_audience"),
        (json!({"iss": "https://id.example", "aud": []}), "token_audience"),
        (json!({"iss": "https://id.example", "aud": ["fanfare", 1]}), "token_audience"),
        (json!({"iss": "https://id.example", "aud": {"fanfare": 1}}), "token_audience"),
    ];
    for (changes, expected) in cases {
        assert_eq!(bench.code(&hs256(&admin_but(&changes))).await, expected, "{changes}");
    }
    let bare = mint(&grant(), NOW).unwrap();
    assert_eq!(bench.code(&bare).await, "token_issuer");
    let named = Grant { issuer: Some("https://id.example"), audience: Some("fanfare"), ..grant() };
    assert_eq!(bench.code(&mint(&named, NOW).unwrap()).await, "ok");
}

#[test]
fn settings_that_open_the_door_are_refused_and_the_secret_is_never_shown() {
    let refused = |settings: AuthSettings| Bench::with(settings).err().unwrap().setting;
    let empty = AuthSettings { secret: Vec::new().into(), ..settings(None) };
    assert_eq!(refused(empty), "FANFARE_JWT_SECRET");
    let plain = JwksSource::Url("http://id.example/keys".parse().unwrap());
    assert_eq!(refused(settings(Some(plain))), "FANFARE_JWKS");
    for bad in ["http://id.example", "ftp://id.example", "https://", "://"] {
        assert_eq!(bad.parse::<JwksSource>().unwrap_err().setting, "FANFARE_JWKS", "{bad}");
    }
    assert_eq!("keys.json".parse(), Ok(JwksSource::File("keys.json".into())));
    assert!(!format!("{:?}", settings(None)).contains("97"));
}

fn decide(header: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { Bench::plain().header(header).await.is_ok() })
}

proptest! {
    #[test]
    fn no_random_header_passes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!decide(&bytes));
        prop_assert!(!decide(&[b"Bearer ".as_slice(), &bytes].concat()));
    }

    #[test]
    fn no_random_parts_pass(header in ".{0,60}", claims in ".{0,60}", tail in "[A-Za-z0-9_-]{0,60}") {
        let token = format!("Bearer {}.{}.{tail}", base64(header), base64(claims));
        prop_assert!(!decide(token.as_bytes()));
    }

    #[test]
    fn no_signature_but_the_right_one_passes(tag in proptest::collection::vec(any::<u8>(), 0..40)) {
        let message = message(&json!({"alg": "HS256"}), &admin());
        let header = format!("Bearer {message}.{}", base64(tag));
        prop_assert!(!decide(header.as_bytes()));
    }
}
