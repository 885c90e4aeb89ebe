//! Is what arrived really from Fanfare? What every receiver should ask.

use fanfare::model::Timestamp;
use fanfare::sign::{self, Secret};

use crate::receiver::Arrival;

/// How old or how far ahead a signature may be: what Standard Webhooks' own libraries allow.
const TOLERANCE_SECS: u64 = 5 * 60;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Signed with one of the secrets, just now.
    Verified,
    /// Not to be believed, and why.
    NotVerified(String),
    /// There was no secret to verify it with.
    NoSecret,
}

/// Verifies the Standard Webhooks signature of a request, and W3Block's beside it where there is
/// one.
pub(crate) fn verify(arrival: &Arrival, secrets: &[Secret], now: Timestamp) -> Finding {
    if secrets.is_empty() {
        return Finding::NoSecret;
    }
    match judge(arrival, secrets, now) {
        Ok(()) => Finding::Verified,
        Err(reason) => Finding::NotVerified(reason),
    }
}

fn judge(arrival: &Arrival, secrets: &[Secret], now: Timestamp) -> Result<(), String> {
    let header = |name: &str| arrival.header(name).ok_or_else(|| format!("no header {name}"));
    let signature = header("webhook-signature")?;
    let id = header("webhook-id")?;
    let timestamp = header("webhook-timestamp")?;
    let signed_at: i64 =
        timestamp.parse().map_err(|_| "webhook-timestamp is not a number of seconds".to_owned())?;
    let apart_secs = now.as_secs().abs_diff(signed_at);
    if apart_secs > TOLERANCE_SECS {
        return Err(format!("webhook-timestamp is {apart_secs} s off, more than 5 minutes"));
    }
    let signed = |secret: &&Secret| sign::verify(secret, id, signed_at, &arrival.body, signature);
    let Some(secret) = secrets.iter().find(signed) else {
        return Err("webhook-signature does not fit the secret and this body".to_owned());
    };
    match arrival.header("x-w3block-commerce-signature") {
        Some(given) if given != sign::w3block(secret, &arrival.body) => {
            Err("x-w3block-commerce-signature does not fit the secret and this body".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_751_680_331_613);

    fn arrival(secret: &Secret, signed_at: i64) -> Arrival {
        let body = br#"{"a":1.10}"#;
        let standard = sign::standard(secret, "id", signed_at, body);
        Arrival::for_test(
            &[
                ("webhook-id", "id"),
                ("webhook-timestamp", &signed_at.to_string()),
                ("webhook-signature", &standard),
                ("x-w3block-commerce-signature", &sign::w3block(secret, body)),
            ],
            body,
        )
    }

    #[test]
    fn a_request_is_verified_with_its_secret_within_five_minutes() {
        let (ours, other) = (Secret::from_bytes(&[1; 32]), Secret::from_bytes(&[2; 32]));
        let now = NOW.as_secs();
        let verify = |arrival: &Arrival, secrets: &[&Secret]| {
            let secrets: Vec<Secret> = secrets.iter().copied().cloned().collect();
            verify(arrival, &secrets, NOW)
        };
        for signed_at in [now, now - 300, now + 300] {
            let arrival = arrival(&ours, signed_at);
            assert_eq!(verify(&arrival, &[&other, &ours]), Finding::Verified);
        }
        for signed_at in [now - 301, now + 301] {
            let arrival = arrival(&ours, signed_at);
            assert!(matches!(verify(&arrival, &[&ours]), Finding::NotVerified(_)));
        }
        assert_eq!(verify(&arrival(&ours, now), &[]), Finding::NoSecret);
        assert!(matches!(verify(&arrival(&ours, now), &[&other]), Finding::NotVerified(_)));
    }

    #[test]
    fn what_is_missing_or_altered_is_named() {
        let secret = Secret::from_bytes(&[1; 32]);
        let secrets = [secret.clone()];
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut arrival = arrival(&secret, NOW.as_secs());
            arrival.headers.remove(name);
            let Finding::NotVerified(why) = verify(&arrival, &secrets, NOW) else { panic!() };
            assert!(why.contains(name), "{why}");
        }
        let name = "x-w3block-commerce-signature";
        let mut altered = arrival(&secret, NOW.as_secs());
        altered.headers.insert(name, "00".parse().unwrap());
        let Finding::NotVerified(why) = verify(&altered, &secrets, NOW) else { panic!() };
        assert!(why.contains(name), "{why}");
    }
}
