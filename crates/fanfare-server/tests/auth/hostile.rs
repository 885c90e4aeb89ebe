//! Tokens that were made to deceive.

use serde_json::{Value, json};

use crate::fixtures::{
    Bench, EC, ED, NOW, Pair, RSA, SECRET, admin, admin_but, base64, hmac_signed, hs256, message,
};

async fn with_all() -> Bench {
    Bench::with_keys(&[RSA.jwk("rsa"), EC.jwk("ec"), ED.jwk("ed")]).await
}

fn pairs() -> [(&'static Pair, &'static str); 3] {
    [(&RSA, "rsa"), (&EC, "ec"), (&ED, "ed")]
}

/// A token of these texts, signed with the secret.
fn raw(header: &str, claims: &str) -> String {
    use aws_lc_rs::hmac;
    let message = format!("{}.{}", base64(header), base64(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", base64(tag))
}

fn claims() -> String {
    admin().to_string()
}

#[tokio::test]
async fn no_spelling_of_none_is_an_algorithm() {
    let bench = with_all().await;
    for bits in 0..16 {
        let spelt: String = "none"
            .chars()
            .enumerate()
            .map(|(at, c)| if bits >> at & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect();
        for alg in [spelt.clone(), format!(" {spelt}"), format!("{spelt}\0"), format!("{spelt}\n")]
        {
            for kid in [json!(null), json!("rsa"), json!("")] {
                let message = message(&json!({"alg": alg, "kid": kid}), &admin());
                for signature in ["", "AA", "null", &base64([0; 32])] {
                    let code = bench.code(&format!("{message}.{signature}")).await;
                    assert_eq!(code, "token_algorithm", "{alg:?} {signature}");
                }
            }
        }
    }
}

#[tokio::test]
async fn signatures_of_nothing_prove_nothing() {
    let bench = with_all().await;
    for (pair, kid) in pairs() {
        let proper = pair.token(kid);
        let (message, signature) = proper.rsplit_once('.').unwrap();
        for (byte, length) in [0, 1, 0xff].into_iter().flat_map(|byte| {
            [0, 1, 32, 63, 64, 65, 128, 255, 256, 257].map(|length| (byte, length))
        }) {
            let token = format!("{message}.{}", base64(vec![byte; length]));
            assert_eq!(bench.code(&token).await, "token_signature", "{kid} {length} times {byte}");
        }
        // The signature of one key says nothing about another one.
        for (other, _) in pairs() {
            let token = format!("{message}.{}", other.token(kid).rsplit_once('.').unwrap().1);
            let same = other.algorithm() == pair.algorithm();
            assert!(same || bench.code(&token).await == "token_signature", "{kid}");
        }
        assert_eq!(bench.code(&format!("{message}.{signature}")).await, "ok");
    }
}

#[tokio::test]
async fn base64_has_one_spelling() {
    let bench = with_all().await;
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= \t\n.";
    let tokens = [hs256(&admin()), RSA.token("rsa"), EC.token("ec"), ED.token("ed")];
    for token in tokens {
        assert_eq!(bench.code(&token).await, "ok");
        let parts: Vec<&str> = token.split('.').collect();
        for at in 0..3 {
            for last in alphabet.chars() {
                let mut changed: Vec<String> = parts.iter().map(|part| (*part).into()).collect();
                changed[at].pop();
                changed[at].push(last);
                let changed = changed.join(".");
                // White space around the token belongs to the header.
                let same = changed.trim() == token;
                assert!(same || bench.code(&changed).await != "ok", "{at} {last:?}");
            }
            for (from, to) in [("-", "+"), ("_", "/"), ("", "="), ("", "=="), ("", "%3D")] {
                let mut changed: Vec<String> = parts.iter().map(|part| (*part).into()).collect();
                changed[at] = if from.is_empty() {
                    format!("{}{to}", changed[at])
                } else {
                    changed[at].replace(from, to)
                };
                let changed = changed.join(".");
                assert!(changed == token || bench.code(&changed).await != "ok", "{at} {to}");
            }
        }
    }
}

#[tokio::test]
async fn white_space_inside_a_token_is_not_passed_over() {
    let bench = Bench::plain();
    let token = hs256(&admin());
    let (head, tail) = token.split_at(token.len() / 2);
    for space in [" ", "\t", "\n", "\r\n", "\u{b}", "\u{a0}", "\0"] {
        for wrong in [
            format!("{head}{space}{tail}"),
            token.replacen('.', &format!(".{space}"), 1),
            token.replacen('.', &format!("{space}."), 1),
        ] {
            assert_ne!(bench.code(&wrong).await, "ok", "{space:?}");
        }
    }
}

#[tokio::test]
async fn times_of_any_other_type_are_refused() {
    let bench = with_all().await;
    let now = NOW.as_secs();
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!((now + 60).to_string()),
            json!(""),
            json!("Infinity"),
            json!(true),
            json!([]),
            json!([now]),
            json!({}),
            json!({"$gt": 0}),
        ] {
            let changed = admin_but(&json!({name: value}));
            assert_eq!(bench.code(&hs256(&changed)).await, "token_malformed", "{name} {value}");
            let token = EC.signed(&json!({"alg": "ES256", "kid": "ec"}), &changed);
            assert_eq!(bench.code(&token).await, "token_malformed", "{name} {value}");
        }
        for text in ["null", "1e999", "-1e999", "NaN", "0x7fffffff", "01", "+1", "1_000", ""] {
            let rest = format!(r#""roles":["admin"],"exp":{}"#, now + 60);
            let rest = if name == "exp" { r#""roles":["admin"]"#.into() } else { rest };
            let token = raw(r#"{"alg":"HS256"}"#, &format!(r#"{{"{name}":{text},{rest}}}"#));
            assert_eq!(bench.code(&token).await, "token_malformed", "{name} {text}");
        }
    }
    // `iat` decides nothing: clocks differ, and a token is as long valid as `exp` says.
    for iat in [json!(now + 9999), json!(-1), json!(0.5), json!(1e300), json!(u64::MAX)] {
        assert_eq!(bench.code(&hs256(&admin_but(&json!({"iat": iat})))).await, "ok", "{iat}");
    }
    for nbf in [json!(-1), json!(-1e300), json!(i64::MIN), json!(0.1)] {
        assert_eq!(bench.code(&hs256(&admin_but(&json!({"nbf": nbf})))).await, "ok", "{nbf}");
    }
}

#[tokio::test]
async fn a_name_that_is_given_twice_is_refused_however_it_is_spelt() {
    let bench = Bench::plain();
    let exp = NOW.as_secs() + 60;
    let good = format!(r#""exp":{exp},"roles":["admin"]"#);
    for claims in [
        format!(r#"{{{good},"exp":{exp}}}"#),
        format!(r#"{{{good},"\u0065xp":1}}"#),
        format!(r#"{{"roles":["viewer"],{good}}}"#),
        format!(r#"{{{good},"tenantId":null,"tenantId":null}}"#),
        format!(r#"{{{good},"nbf":0,"nbf":0}}"#),
        format!(r#"{{{good},"iss":"a","iss":"b"}}"#),
    ] {
        let token = raw(r#"{"alg":"HS256"}"#, &claims);
        assert_eq!(bench.code(&token).await, "token_malformed", "{claims}");
    }
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
    ] {
        assert_eq!(bench.code(&raw(header, &claims())).await, "token_malformed", "{header}");
    }
    // Names differ in their case.
    let cased = format!(r#"{{"EXP":1,"Roles":["viewer"],{good}}}"#);
    assert_eq!(bench.code(&raw(r#"{"alg":"HS256"}"#, &cased)).await, "ok");
    assert_eq!(bench.code(&raw(r#"{"ALG":"HS256"}"#, &claims())).await, "token_malformed");
}

#[tokio::test]
async fn what_a_header_says_must_be_understood_is_not() {
    let bench = with_all().await;
    for crit in
        [json!([]), json!(null), json!(["exp"]), json!("b64"), json!({}), json!(false), json!(0)]
    {
        let header = json!({"alg": "HS256", "crit": crit});
        let code = bench.code(&hmac_signed(&header, &admin(), SECRET)).await;
        assert_eq!(code, "token_malformed", "{crit}");
        let header = json!({"alg": "RS256", "kid": "rsa", "crit": crit});
        assert_eq!(bench.code(&RSA.signed(&header, &admin())).await, "token_malformed", "{crit}");
    }
}

#[tokio::test]
async fn where_a_token_says_its_key_is_nobody_looks() {
    let bench = with_all().await;
    let stranger = Pair::ec();
    for brought in [
        json!({"jku": "https://evil.example/keys"}),
        json!({"jku": "file:///etc/passwd"}),
        json!({"x5u": "http://169.254.169.254/"}),
        json!({"x5c": ["MIIB"], "x5t": "AA", "x5t#S256": "AA"}),
        json!({"jwk": stranger.jwk("ec")}),
        json!({"jwk": {"kty": "oct", "k": base64(SECRET)}}),
        json!({"jku": [1], "jwk": 7, "x5c": {}}),
        json!({"iss": "https://evil.example", "p2c": 1_000_000_000, "zip": "DEF"}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "ec"});
        for (name, value) in brought.as_object().unwrap() {
            header[name] = value.clone();
        }
        let token = stranger.signed(&header, &admin());
        assert_eq!(bench.code(&token).await, "token_signature", "{brought}");
        assert_eq!(bench.code(&EC.signed(&header, &admin())).await, "ok", "{brought}");
    }
    assert_eq!(bench.provider.fetches(), 1, "the configured key set");
}

#[tokio::test]
async fn a_token_of_any_size_costs_no_more_than_its_limit() {
    let bench = with_all().await;
    let of = |size: usize| hs256(&admin_but(&json!({"x": "y".repeat(size)})));
    let fits = (0..8 * 1024).rev().map(of).find(|token| token.len() <= 8 * 1024).unwrap();
    assert_eq!(bench.code(&fits).await, "ok");
    let beyond = (0..9 * 1024).map(of).find(|token| token.len() > 8 * 1024).unwrap();
    assert_eq!(bench.code(&beyond).await, "token_malformed");
    let kid = "k".repeat(4 << 20);
    assert_eq!(bench.code(&EC.token(&kid)).await, "token_malformed");
    for wrong in ["a".repeat(16 << 20), ".".repeat(1 << 20), "a.".repeat(1 << 20)] {
        assert_eq!(bench.code(&wrong).await, "token_malformed");
    }
    assert_eq!(bench.provider.fetches(), 1);
}

#[tokio::test]
async fn a_name_of_a_key_is_a_name_and_nothing_else() {
    // A key set may name its keys as it likes.
    for kid in ["../../etc/passwd", "' or 1=1 --", "https://evil.example/", "\u{0}", "{}", "%00"] {
        let bench = Bench::with_keys(&[EC.jwk(kid)]).await;
        assert_eq!(bench.code(&EC.token(kid)).await, "ok", "{kid:?}");
        assert_eq!(bench.code(&Pair::ec().token(kid)).await, "token_signature", "{kid:?}");
    }
    let mut nameless = EC.jwk("");
    nameless.as_object_mut().unwrap().remove("kid");
    let bench = Bench::with_keys(&[nameless]).await;
    assert_eq!(bench.code(&EC.token("")).await, "token_key");
    for kid in [Value::Null, json!("")] {
        let token = EC.signed(&json!({"alg": "ES256", "kid": kid}), &admin());
        let code = if kid.is_null() { "ok" } else { "token_key" };
        assert_eq!(bench.code(&token).await, code, "{kid}");
    }
}
