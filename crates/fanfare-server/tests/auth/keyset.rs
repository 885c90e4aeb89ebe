use serde_json::{Value, json};

use crate::fixtures::{
    Bench, EC, ED, Pair, RSA, SECRET, admin, admin_but, base64, company, hmac_signed, key_set,
};

fn pairs() -> [&'static Pair; 3] {
    [&RSA, &EC, &ED]
}

async fn with_all() -> Bench {
    Bench::with_keys(&[RSA.jwk("rsa"), EC.jwk("ec"), ED.jwk("ed")]).await
}

/// The code of a proper token of this pair when its key set is just this key.
async fn code_with(pair: &Pair, jwk: Value) -> &'static str {
    Bench::with_keys(&[jwk]).await.code(&pair.token("it")).await
}

#[tokio::test]
async fn each_kind_of_key_lets_its_tokens_in_with_and_without_a_name() {
    let bench = with_all().await;
    for (pair, kid) in pairs().into_iter().zip(["rsa", "ec", "ed"]) {
        assert_eq!(bench.code(&pair.token(kid)).await, "ok");
        let nameless = pair.signed(&json!({"alg": pair.algorithm()}), &admin());
        assert_eq!(bench.code(&nameless).await, "ok");
    }
    assert_eq!(bench.code(&crate::fixtures::hs256(&admin())).await, "ok");
    assert_eq!(bench.provider.fetches(), 1);
}

#[tokio::test]
async fn claims_of_the_identity_providers_tokens_are_held_to_the_same_rules() {
    let bench = with_all().await;
    let token =
        |changes: Value| EC.signed(&json!({"alg": "ES256", "kid": "ec"}), &admin_but(&changes));
    assert_eq!(bench.code(&token(json!({"exp": 1}))).await, "token_expired");
    assert_eq!(bench.code(&token(json!({"roles": ["viewer"]}))).await, "token_role");
    assert_eq!(bench.code(&token(json!({"tenantId": "x"}))).await, "token_malformed");
    let chief = token(json!({"roles": ["superAdmin"], "tenantId": null}));
    let caller = bench.header(format!("Bearer {chief}").as_bytes()).await.unwrap();
    assert!(caller.super_admin && caller.may_reach(company()));
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_an_hmac_key() {
    let bench = with_all().await;
    for (pair, kid) in pairs().into_iter().zip(["rsa", "ec", "ed"]) {
        for form in pair.public_forms() {
            let header = json!({"alg": "HS256", "kid": kid});
            let token = hmac_signed(&header, &admin(), &form);
            assert_eq!(bench.code(&token).await, "token_signature");
            let header = json!({"alg": pair.algorithm(), "kid": kid});
            let token = hmac_signed(&header, &admin(), &form);
            assert_eq!(bench.code(&token).await, "token_signature");
        }
    }
}

#[tokio::test]
async fn the_key_decides_the_algorithm() {
    let bench = with_all().await;
    for (pair, kid) in pairs().into_iter().zip(["rsa", "ec", "ed"]) {
        for claimed in ["RS256", "ES256", "EdDSA"] {
            let right = claimed == pair.algorithm();
            let named = pair.signed(&json!({"alg": claimed, "kid": kid}), &admin());
            let nameless = pair.signed(&json!({"alg": claimed}), &admin());
            let (code, nameless_code) = (bench.code(&named).await, bench.code(&nameless).await);
            assert_eq!(code, if right { "ok" } else { "token_algorithm" }, "{kid} as {claimed}");
            assert_eq!(nameless_code, if right { "ok" } else { "token_signature" });
        }
        for claimed in ["none", "HS384", "RS384", "RS512", "PS256", "ES384", "ES256K", "Ed25519"] {
            let token = pair.signed(&json!({"alg": claimed, "kid": kid}), &admin());
            assert_eq!(bench.code(&token).await, "token_algorithm", "{kid} as {claimed}");
        }
        let token = pair.signed(&json!({"alg": "HS256", "kid": kid}), &admin());
        assert_eq!(bench.code(&token).await, "token_signature");
        let header = json!({"alg": pair.algorithm(), "kid": kid});
        assert_eq!(bench.code(&hmac_signed(&header, &admin(), SECRET)).await, "token_signature");
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_not_looked_at() {
    let bench = with_all().await;
    let stranger = Pair::ec();
    for header in [
        json!({"alg": "ES256", "jwk": stranger.jwk("ec")}),
        json!({"alg": "ES256", "kid": "ec", "jwk": stranger.jwk("ec")}),
        json!({"alg": "ES256", "kid": "ec", "jku": "https://evil.example/", "x5u": "https://e/"}),
    ] {
        assert_eq!(bench.code(&stranger.signed(&header, &admin())).await, "token_signature");
    }
    assert_eq!(bench.provider.fetches(), 1);
}

#[tokio::test]
async fn a_token_that_names_a_key_is_held_against_that_key_alone() {
    let other = Pair::ec();
    let bench = Bench::with_keys(&[EC.jwk("one"), other.jwk("two")]).await;
    assert_eq!(bench.code(&EC.token("one")).await, "ok");
    assert_eq!(bench.code(&other.token("two")).await, "ok");
    assert_eq!(bench.code(&EC.token("two")).await, "token_signature");
    // Two keys of one name may both sign: some issuers rotate like that.
    let bench = Bench::with_keys(&[EC.jwk("it"), other.jwk("it"), RSA.jwk("it")]).await;
    for pair in [&*EC, &other, &*RSA] {
        assert_eq!(bench.code(&pair.token("it")).await, "ok");
    }
}

#[tokio::test]
async fn hostile_names_of_keys_are_just_unknown() {
    let bench = with_all().await;
    let long = "k".repeat(4000);
    for kid in [
        "",
        " ec",
        "EC",
        "ec\0",
        "../../etc/passwd",
        "' or 1=1 --",
        "${jndi:ldap://e}",
        "é\u{202e}",
        &long,
    ] {
        assert_eq!(bench.code(&EC.token(kid)).await, "token_key", "{kid:.20}");
    }
    for kid in [json!(1), json!(["ec"]), json!({"$ne": 1}), json!(true)] {
        let token = EC.signed(&json!({"alg": "ES256", "kid": kid}), &admin());
        assert_eq!(bench.code(&token).await, "token_malformed", "{kid}");
    }
}

#[tokio::test]
async fn use_operations_and_algorithm_of_a_key_are_respected() {
    let cases = [
        (json!({"use": "sig"}), "ok"),
        (json!({"use": "sig", "key_ops": ["verify"]}), "ok"),
        (json!({"key_ops": ["sign", "verify"]}), "ok"),
        (json!({"use": "enc"}), "token_key"),
        (json!({"use": "SIG"}), "token_key"),
        (json!({"use": 1}), "token_key"),
        (json!({"key_ops": []}), "token_key"),
        (json!({"key_ops": ["sign"]}), "token_key"),
        (json!({"key_ops": ["encrypt", "wrapKey"]}), "token_key"),
        (json!({"key_ops": "verify"}), "token_key"),
        (json!({"alg": "none"}), "token_key"),
        (json!({"alg": "HS256"}), "token_key"),
        (json!({"alg": "RS512"}), "token_key"),
        (json!({"alg": "RSA-OAEP"}), "token_key"),
        (json!({"kid": 7}), "token_key"),
        (json!({"x5c": ["…"], "x5t": 1, "anything": {}}), "ok"),
    ];
    for pair in pairs() {
        for (changes, expected) in &cases {
            let mut jwk = pair.jwk("it");
            for (name, value) in changes.as_object().unwrap() {
                jwk[name] = value.clone();
            }
            assert_eq!(code_with(pair, jwk).await, *expected, "{} {changes}", pair.algorithm());
        }
        let mut jwk = pair.jwk("it");
        jwk["alg"] = json!(pair.algorithm());
        assert_eq!(code_with(pair, jwk).await, "ok");
    }
}

#[tokio::test]
async fn malformed_keys_are_left_out_and_the_others_stay() {
    let (short, long) = (base64([0xff; 128]), base64([0xff; 2048]));
    let mut keys = vec![
        json!(null),
        json!("key"),
        json!([]),
        json!({}),
        json!({"kty": "oct", "kid": "it", "k": base64(SECRET), "alg": "HS256"}),
        json!({"kty": "AKP", "kid": "it", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "RSA", "kid": "it"}),
        json!({"kty": "RSA", "kid": "it", "n": "!", "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "it", "n": short, "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "it", "n": long, "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "it", "n": base64([0xff; 256]), "e": base64([0xff; 256])}),
        json!({"kty": "EC", "kid": "it", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "kid": "it", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "kid": "it", "crv": "P-256", "x": base64([1; 32]), "y": base64([1; 32])}),
        json!({"kty": "OKP", "kid": "it", "crv": "X25519", "x": base64([1; 32])}),
        json!({"kty": "OKP", "kid": "it", "crv": "Ed25519", "x": base64([1; 31])}),
        json!({"kty": "OKP", "kid": "it", "crv": "Ed25519", "x": base64([0; 32])}),
    ];
    keys.extend(pairs().map(|pair| pair.jwk("it")));
    let bench = Bench::with_keys(&keys).await;
    for pair in pairs() {
        assert_eq!(bench.code(&pair.token("it")).await, "ok");
    }
}

#[tokio::test]
async fn rsa_keys_too_small_to_trust_or_too_large_to_afford_are_left_out() {
    for (modulus, exponent) in [(255, 3), (1025, 3), (256, 5), (256, 256)] {
        let (n, e) = (base64(vec![0xff; modulus]), base64(vec![0xff; exponent]));
        let jwk = json!({"kty": "RSA", "kid": "it", "n": n, "e": e});
        assert_eq!(code_with(&RSA, jwk).await, "token_key", "{modulus} {exponent}");
    }
}

#[tokio::test]
async fn a_modulus_with_a_sign_byte_is_understood() {
    let mut jwk = RSA.jwk("it");
    let n = jwk["n"].as_str().unwrap().to_owned();
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, n);
    jwk["n"] = json!(base64([vec![0], decoded.unwrap()].concat()));
    assert_eq!(code_with(&RSA, jwk).await, "ok");
}

#[tokio::test]
async fn a_symmetric_key_in_the_set_signs_nothing() {
    let k = b"a symmetric key that others read";
    let jwk = json!({"kty": "oct", "kid": "it", "k": base64(k), "alg": "HS256"});
    let bench = Bench::with_keys(&[jwk]).await;
    let token = hmac_signed(&json!({"alg": "HS256", "kid": "it"}), &admin(), k);
    assert_eq!(bench.code(&token).await, "token_signature");
}

#[tokio::test]
async fn a_key_set_is_bounded() {
    let many = |count: usize| {
        let mut keys: Vec<Value> = (1..count).map(|n| json!({"kty": "x", "n": n})).collect();
        keys.push(EC.jwk("it"));
        keys
    };
    let bench = Bench::with_keys(&many(64)).await;
    assert_eq!(bench.code(&EC.token("it")).await, "ok");
    let bench = Bench::with_keys(&many(65)).await;
    assert_eq!(bench.code(&EC.token("it")).await, "token_key");
    let mut padded = key_set(&[EC.jwk("it")]);
    padded.resize(64 * 1024, b' ');
    for expected in ["ok", "token_key"] {
        let bench = Bench::with_url();
        bench.provider.answers(200, padded.clone(), None);
        assert_eq!(bench.code(&EC.token("it")).await, expected);
        padded.push(b' ');
    }
}

#[test]
fn a_file_that_is_no_key_set_refuses_to_start_and_names_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let reason = || {
        let error = Bench::with_file(path.clone()).err().unwrap();
        assert_eq!(error.setting, "FANFARE_JWKS");
        assert!(error.to_string().contains("keys.json"), "{error}");
        error.reason
    };
    assert!(reason().contains("No such file"));
    for bad in ["", "{", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": null}"#, "-----BEGIN"] {
        std::fs::write(&path, bad).unwrap();
        assert!(reason().contains("not a JSON object with a list `keys`"), "{bad}");
    }
    std::fs::write(&path, vec![b' '; 10 << 20]).unwrap();
    assert!(reason().contains("larger than 64 KiB"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(reason().contains("not a file"));
}
