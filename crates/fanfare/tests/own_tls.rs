//! Certificates of an endpoint's own, on real sockets against servers that ask for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong in a test's own hands ends the test"
)]

mod receiver;

use std::sync::Arc;

use fanfare::engine::NewEndpoint;
use fanfare::model::{OwnHeaders, OwnTls};
use fanfare::send::{HttpTransport, Identity, Request, Transport};
use fanfare::{CompanyId, Delivery, Fanfare, Options, Timestamp, Update, Webhooks};
use fanfare_testkit::authority::{Authority, Issued};
use receiver::{OK, PATIENT, Receiver, answer, policy, reason, request};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

/// Whom a server lets in.
enum Asks<'a> {
    Nothing,
    ForOneOf(&'a Authority),
}

/// A server that shows this certificate and answers every request with 200.
async fn server(
    shows: &Issued,
    asks: Asks<'_>,
    version: &'static SupportedProtocolVersion,
) -> Receiver {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_protocol_versions(&[version]).unwrap();
    let config = match asks {
        Asks::Nothing => config.with_no_client_auth(),
        Asks::ForOneOf(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate_der().into()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![shows.certificate_der.clone().into()];
    let key = shows.key_der.clone().try_into().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    Receiver::playing(move |socket, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut session) = acceptor.accept(socket.into_stream()).await else { return };
            let mut read = Vec::new();
            while session.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
                if read.ends_with(b"{\"n\":1}") {
                    read.clear();
                    session.write_all(OK).await.unwrap();
                    session.flush().await.unwrap();
                }
            }
        }
    })
    .await
}

fn trusting(authority: &Authority) -> OwnTls {
    OwnTls { ca_certificate: Some(authority.certificate()), ..OwnTls::default() }
}

fn showing(authority: &Authority, us: &Issued) -> OwnTls {
    OwnTls {
        client_certificate: Some(us.certificate.clone()),
        client_key: Some(us.key.clone().into()),
        ..trusting(authority)
    }
}

fn asking(receiver: &Receiver, own: Option<&OwnTls>) -> Request {
    let identity = own.map(|own| Arc::new(Identity::read(own).unwrap()));
    let url = format!("https://127.0.0.1:{}/", receiver.port);
    Request { identity, ..request(&url) }
}

async fn told(receiver: &Receiver, own: Option<&OwnTls>) -> String {
    let transport = HttpTransport::new(policy(&[receiver.port]), PATIENT);
    let outcome = transport.send(asking(receiver, own)).await.outcome;
    match outcome {
        fanfare::model::Outcome::Answered(answer) => answer.status.to_string(),
        outcome @ fanfare::model::Outcome::NoAnswer { .. } => reason(outcome),
    }
}

#[tokio::test]
async fn an_authority_of_its_own_is_trusted_alone() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let shows = ours.issue("127.0.0.1", 2999);
    let of_ours = server(&shows, Asks::Nothing, &rustls::version::TLS13).await;
    assert_eq!(told(&of_ours, Some(&trusting(&ours))).await, "200");
    let unknown = told(&of_ours, Some(&trusting(&theirs))).await;
    assert!(unknown.starts_with("tls: unknown_issuer: "), "{unknown}");
    assert!(told(&of_ours, None).await.starts_with("tls: "), "the machine does not trust it");
    let both = [ours.certificate(), theirs.certificate()].concat();
    let both = OwnTls { ca_certificate: Some(both), ..OwnTls::default() };
    assert_eq!(told(&of_ours, Some(&both)).await, "200");
}

#[tokio::test]
async fn with_an_authority_of_its_own_certificates_are_verified_as_ever() {
    let ours = Authority::new("ours");
    for (shows, said) in [
        (ours.issue("127.0.0.1", 2001), "tls: certificate_expired: "),
        (ours.issue("127.0.0.2", 2999), "tls: name_mismatch: "),
    ] {
        let server = server(&shows, Asks::Nothing, &rustls::version::TLS13).await;
        let came = told(&server, Some(&trusting(&ours))).await;
        assert!(came.starts_with(said), "{came}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it_or_its_no_is_told() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let shows = ours.issue("127.0.0.1", 2999);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = server(&shows, Asks::ForOneOf(&ours), version).await;
        let known = showing(&ours, &ours.issue("fanfare", 2999));
        let expired = showing(&ours, &ours.issue("fanfare", 2001));
        let stranger = showing(&ours, &theirs.issue("fanfare", 2999));
        for (own, said) in [
            (&known, "200"),
            (&trusting(&ours), "tls: client_certificate_required: "),
            (&expired, "tls: client_certificate_refused: "),
            (&stranger, "tls: client_certificate_refused: "),
            (&known, "200"),
        ] {
            let came = told(&server, Some(own)).await;
            assert!(came.starts_with(said), "{version:?}: {came} instead of {said}");
        }
    }
}

#[tokio::test]
async fn a_connection_serves_none_but_the_identity_it_was_made_with() {
    let ours = Authority::new("ours");
    let shows = ours.issue("127.0.0.1", 2999);
    let server = server(&shows, Asks::ForOneOf(&ours), &rustls::version::TLS13).await;
    let transport = HttpTransport::new(policy(&[server.port]), PATIENT);
    let [one, other] = ["one", "other"].map(|name| showing(&ours, &ours.issue(name, 2999)));
    for (own, connections) in [(&one, 1), (&one, 1), (&other, 2), (&one, 2), (&other, 2)] {
        let sent = transport.send(asking(&server, Some(own))).await;
        assert_eq!(answer(sent.outcome).status, 200);
        assert_eq!(server.connections(), connections);
    }
    // Without one there is no connection to borrow.
    let none = reason(transport.send(asking(&server, Some(&trusting(&ours)))).await.outcome);
    assert!(none.starts_with("tls: client_certificate_required: "), "{none}");
}

#[tokio::test]
async fn certificates_are_never_left_out_for_want_of_tls() {
    let receiver = Receiver::answering(OK).await;
    let identity = Some(Arc::new(Identity::read(&trusting(&Authority::new("ours"))).unwrap()));
    let transport = HttpTransport::new(policy(&[receiver.port]), PATIENT);
    let sent = transport.send(Request { identity, ..request(&receiver.url("/")) }).await;
    assert!(reason(sent.outcome).starts_with("tls: not_https: "));
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn what_makes_no_connection_is_refused_with_the_field_and_the_remedy() {
    let ours = Authority::new("ours");
    let (one, other) = (ours.issue("one", 2999), ours.issue("other", 2999));
    let own = |ca: &str, certificate: &str, key: &str| {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        OwnTls {
            ca_certificate: given(ca),
            client_certificate: given(certificate),
            client_key: given(key).map(Into::into),
        }
    };
    let cut = &one.certificate[..one.certificate.len() - 40];
    let spoilt = one.certificate.replacen("MII", "AII", 1);
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let legacy = one.key.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
    let many = ours.certificate().repeat(100);
    let both = [one.certificate.as_str(), &one.key].concat();
    let two_keys = [one.key.as_str(), &other.key].concat();
    for (given, said) in [
        (own("x", "", ""), "tls.caCertificate: must be PEM"),
        (own(cut, "", ""), "tls.caCertificate: is not whole"),
        (own(&spoilt, "", ""), "tls.caCertificate: holds a certificate that cannot be read"),
        (own(&both, "", ""), "tls.caCertificate: holds a private key"),
        (own(&many, "", ""), "tls: must have 32768 bytes in all at most"),
        (own("", &one.certificate, ""), "tls.clientKey: is required"),
        (own("", "", &one.key), "tls.clientCertificate: is required"),
        (own("", &both, &one.key), "tls.clientCertificate: holds a private key"),
        (own("", &one.key, &one.key), "tls.clientCertificate: holds a private key"),
        (own("", &one.certificate, &other.key), "tls.clientKey: is not the key of the first"),
        (own("", &one.certificate, &encrypted), "tls.clientKey: is encrypted"),
        (own("", &one.certificate, &legacy), "tls.clientKey: is encrypted"),
        (own("", &one.certificate, "x"), "tls.clientKey: must be one private key"),
        (own("", &one.certificate, &one.certificate), "tls.clientKey: must be one private key"),
        (own("", &one.certificate, &two_keys), "tls.clientKey: must be one private key"),
    ] {
        let flaw = Identity::read(&given).err().unwrap_or_else(|| panic!("fine, not {said}"));
        let told = format!("{}: {}", flaw.field, flaw.reason);
        assert!(told.starts_with(said), "{told} instead of {said}");
    }
    // What stands around the certificates is not kept, and so never shown.
    let chatty = format!("subject=one\n{}\n\n# a note\r\n", one.certificate);
    let tidy = fanfare::send::tidied(&own(&chatty, &one.certificate, &one.key)).unwrap();
    assert_eq!(tidy, own(&one.certificate, &one.certificate, &one.key));
}

/// Through the library, from the registration to the receiver; and nothing of it can be read in the
/// store's files.
#[tokio::test]
async fn an_endpoint_with_headers_and_certificates_is_delivered_to_and_they_stay_unread() {
    let ours = Authority::new("ours");
    let us = ours.issue("fanfare", 2999);
    let shows = ours.issue("127.0.0.1", 2999);
    let server = server(&shows, Asks::ForOneOf(&ours), &rustls::version::TLS13).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.db");
    let mut options = Options::new(&format!("sqlite:{}", path.display()), [7; 32]);
    options.guard = policy(&[server.port]);
    let fanfare = Fanfare::open_with(options).await.unwrap();
    let shop = fanfare.company(CompanyId::new(Timestamp(1)));

    let url = format!("https://127.0.0.1:{}/", server.port);
    let url = fanfare.engine().parse_url("url", &url).unwrap();
    let new = NewEndpoint {
        headers: OwnHeaders::read([("Authorization", "Bearer planted-and-sought")]).unwrap(),
        tls: showing(&ours, &us),
        ..NewEndpoint::new(url, vec!["*".parse().unwrap()])
    };
    let webhook = shop.register_with(new).await.unwrap();
    assert!(!format!("{webhook:?}").contains("planted"));
    assert_eq!(webhook.tls, showing(&ours, &us).masked());
    shop.emit("a.b", &serde_json::json!({"n": 1})).await.unwrap();
    let delivered = until_tried(&shop, &webhook.id).await;
    assert_eq!(delivered.status_code, Some(200));

    let masked = [("authorization", "***"), ("x-more", "also-planted")];
    let update = Update { headers: Some(&masked), ..Update::default() };
    let changed = shop.update(webhook.id, update).await.unwrap();
    assert_eq!(changed.headers.iter().count(), 2);
    let wrong = [("Host", "elsewhere.example")];
    let update = Update { headers: Some(&wrong), ..Update::default() };
    let refused = shop.update(webhook.id, update).await.unwrap_err().to_string();
    assert!(refused.starts_with("headers.Host: is reserved"), "{refused}");
    fanfare.close().await;

    let key_line = us.key.lines().nth(1).unwrap();
    let planted = ["planted-and-sought", "also-planted", key_line, "BEGIN PRIVATE KEY"];
    let mut files = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        files += 1;
        let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        assert!(!planted.iter().any(|planted| has(planted.as_bytes())) && !has(&us.key_der));
    }
    assert!(files > 0);
}

async fn until_tried(shop: &Webhooks, webhook: &fanfare::EndpointId) -> Delivery {
    loop {
        let newest = shop.deliveries(*webhook, 1, None).await.unwrap();
        if let Some(tried) = newest.into_iter().next().filter(|newest| newest.attempts > 0) {
            return tried;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_no_is_told_also_when_it_comes_while_a_large_body_is_being_sent() {
    let ours = Authority::new("ours");
    let shows = ours.issue("127.0.0.1", 2999);
    let server = server(&shows, Asks::ForOneOf(&ours), &rustls::version::TLS13).await;
    let transport = HttpTransport::new(policy(&[server.port]), PATIENT);
    let body = bytes::Bytes::from(vec![b'1'; 4 << 20]);
    for _ in 0..20 {
        let request = Request { body: body.clone(), ..asking(&server, Some(&trusting(&ours))) };
        let told = reason(transport.send(request).await.outcome);
        assert!(told.starts_with("tls: client_certificate_required: "), "{told}");
    }
}
