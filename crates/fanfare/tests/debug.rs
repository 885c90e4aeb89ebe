//! What holds a secret does not show it to those who print it.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;

use bytes::Bytes;
use fanfare::engine::{NewEndpoint, Rotation};
use fanfare::keys::{EncryptionKeys, Key};
use fanfare::model::{LaneKey, PreviousSecret, Purpose, SecretChange, SecretPart};
use fanfare::seal::Seal;
use fanfare::send::Request;
use fanfare::sign::{Keys, Secret, Signers, SigningKey};
use fanfare::{CompanyId, EndpointId, Options, Timestamp};

#[test]
fn a_secret_is_never_printed() {
    let bytes = [0xA7; 32];
    let secret = Secret::from_bytes(&bytes);
    let signing = SigningKey::from_seed(&bytes).unwrap();
    let keys = Keys::with(secret.clone(), true).unwrap();
    let whole = keys.reveal().unwrap();
    let keys = Arc::new(keys);
    let seal = Seal::new(&bytes).opening(&bytes);
    let now = Timestamp(1);
    let lane = LaneKey { company: CompanyId::new(now), endpoint: EndpointId::new(now) };
    let sealed = seal.seal(lane, Purpose::Secret, &whole).unwrap();
    let previous = PreviousSecret { secret: sealed.clone(), until: now };
    let change = SecretChange {
        instead_of: sealed.clone(),
        secret: sealed.clone(),
        part: SecretPart::Secret,
        previous: Some(previous.clone()),
    };
    let mut new = NewEndpoint::new("https://shop.example".parse().unwrap(), Vec::new());
    new.secret = Some(secret.clone());
    let encryption = EncryptionKeys { previous: Some(Key::from(bytes)), ..bytes.into() };
    let database = "postgres://u:a7a7a7-password@db/shop";
    let request = Request {
        company: lane.company,
        method: http::Method::POST,
        url: "https://shop.example/".parse().unwrap(),
        headers: [(http::header::AUTHORIZATION, secret.reveal().parse().unwrap())]
            .into_iter()
            .collect(),
        body: Bytes::copy_from_slice(whole.as_bytes()),
        identity: None,
    };

    let printed = [
        format!("{secret:?} {signing:?} {keys:?} {seal:?} {sealed:?} {previous:?} {change:?}"),
        format!("{:?}", Signers { current: Arc::clone(&keys), previous: Some(keys) }),
        format!("{:?} {encryption:#?}", Key::from(bytes)),
        format!("{:#?}", Options::new(database, encryption.clone())),
        format!("{new:#?} {request:?} {request:#?}"),
        format!("{:?}", Rotation { secret: Some(secret.clone()), ..Rotation::default() }),
    ];
    let spelled = [
        &secret.reveal()[6..16],
        &signing.reveal().unwrap()[5..15],
        &whole[whole.len() - 20..],
        "167",
        "A7",
        "a7",
        "0xa7",
    ];
    for text in printed {
        assert!(text.contains("***") || text.contains("authorization"), "{text}");
        for form in spelled {
            // The ids of companies and endpoints are hexadecimal too.
            let text = text.replace(&lane.company.to_string(), "");
            assert!(!text.contains(form), "{form} is in {text}");
        }
    }
}
