//! Headers and certificates of an endpoint's own.

use fanfare::Error;
use fanfare::engine::{NewEndpoint, OwnChange};
use fanfare::model::{DeliveryState, Endpoint, EndpointChange, MASK, OwnHeaders, OwnTls, Sealed};

use super::{Bench, DELAYS, SWEEP, Sent, to_url};
use crate::authority::Authority;

/// On every attempt, before and after a crash; and nobody reads them in the history.
pub async fn headers_of_its_own_go_with_every_request_and_are_not_shown(bench: &mut Bench) {
    let shop = with(bench, &[("Authorization", "Bearer one"), ("x-shop", "7")], None).await;
    let other = bench.endpoint().await;
    bench.network.always(super::Reply::Status(500));
    bench.emit().await;
    bench.rest().await;
    bench.crash().await;
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!((bench.only(&shop).await.attempts, bench.only(&other).await.attempts), (2, 2));
    let sent = bench.network.sent();
    let of_shop = |sent: &&Sent| sent.header("x-shop") == "7";
    assert_eq!((sent.len(), sent.iter().filter(of_shop).count()), (4, 2));
    for sent in sent.iter().filter(of_shop) {
        assert_eq!(sent.header("authorization"), "Bearer one");
        assert_eq!(sent.header("content-type"), "application/json");
        assert!(!format!("{:?}", sent.request).contains("Bearer"));
    }
    let attempts = bench.engine().attempts(bench.company, bench.only(&shop).await.id).await;
    for attempt in attempts.unwrap() {
        assert_eq!(attempt.headers.get("authorization"), Some(MASK));
        assert_eq!(attempt.headers.get("x-shop"), Some(MASK));
        assert_eq!(attempt.headers.get("content-type"), Some("application/json"));
    }
}

/// All of them together, at once also for what waits.
pub async fn a_change_replaces_headers_and_keeps_what_is_masked(bench: &mut Bench) {
    let shop = with(bench, &[("authorization", "Bearer one"), ("x-old", "1")], None).await;
    bench.network.statuses(&[500]);
    bench.emit().await;
    bench.rest().await;
    change(bench, &shop, &[("Authorization", MASK), ("x-new", "2")]).await.unwrap();
    bench.pass(DELAYS[0] * 2).await;
    let sent = bench.network.sent().pop().unwrap();
    let names = ["authorization", "x-old", "x-new"].map(|name| sent.header(name));
    assert_eq!(names, ["Bearer one", "", "2"]);
    let shown = bench.engine().own_headers(&bench.present(&shop).await).unwrap();
    let shown: Vec<_> = shown.iter().collect();
    assert_eq!(shown, [("authorization", MASK), ("x-new", MASK)]);

    let unknown = change(bench, &shop, &[("x-unknown", MASK)]).await;
    assert!(matches!(unknown, Err(Error::Invalid { field, .. }) if field == "headers.x-unknown"));
    change(bench, &shop, &[]).await.unwrap();
    assert_eq!(send(bench).await.header("authorization"), "");
    assert_eq!(bench.present(&shop).await.headers, None);
}

/// Whoever keeps a value keeps the one that there is, and not the one that there was.
pub async fn of_two_changes_at_once_none_brings_an_old_header_back(bench: &mut Bench) {
    let shop = with(bench, &[("authorization", "Bearer one")], None).await;
    for round in 0..10 {
        let new = format!("Bearer {round}");
        let replaced = [("authorization", new.as_str())];
        let (one, other) = tokio::join!(
            change(bench, &shop, &[("authorization", MASK), ("x-more", "1")]),
            change(bench, &shop, &replaced),
        );
        one.unwrap();
        other.unwrap();
        // Claims go by what the store says again, whichever of the two was heard of last.
        bench.pass(SWEEP).await;
        assert_eq!(send(bench).await.header("authorization"), new);
    }
}

/// Until they are removed; they are for https alone.
pub async fn certificates_of_its_own_go_with_every_request(bench: &mut Bench) {
    let authority = Authority::new("ours");
    let us = authority.issue("fanfare", 2999);
    let tls = OwnTls {
        ca_certificate: Some(authority.certificate()),
        client_certificate: Some(us.certificate.clone()),
        client_key: Some(us.key.clone().into()),
    };
    let shop = with(bench, &[], Some(tls.clone())).await;
    assert!(send(bench).await.request.identity.is_some());
    bench.crash().await;
    assert!(send(bench).await.request.identity.is_some());
    let shown = bench.engine().own_tls(&bench.present(&shop).await).unwrap();
    assert_eq!(shown, tls.masked());

    // What was shown can be given back.
    change_tls(bench, &shop, shown.clone()).await.unwrap();
    assert_eq!(bench.engine().own_tls(&bench.present(&shop).await).unwrap(), shown);
    change_tls(bench, &shop, OwnTls::default()).await.unwrap();
    assert!(send(bench).await.request.identity.is_none());
    let no_key = change_tls(bench, &shop, shown).await;
    assert!(matches!(no_key, Err(Error::Invalid { field, .. }) if field == "tls.clientKey"));

    let authority = OwnTls { ca_certificate: Some(authority.certificate()), ..OwnTls::default() };
    change_tls(bench, &shop, authority).await.unwrap();
    let plain = to_url("http://shop.example/hooks");
    let refused = bench.engine().change_endpoint(shop.company, shop.id, plain).await;
    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "tls"));
}

/// As with the secret: nothing goes out without what should be with it.
pub async fn what_cannot_be_opened_sends_nothing(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let broken = || Some(Some(Sealed(vec![1; 80])));
    let [headers, tls] = [
        EndpointChange { headers: broken(), ..EndpointChange::default() },
        EndpointChange { tls: broken(), headers: Some(None), ..EndpointChange::default() },
    ];
    for (change, reason) in [
        (headers, "refused: the headers cannot be read"),
        (tls, "refused: the certificates cannot be read"),
    ] {
        bench.change(&shop, change).await;
        bench.emit().await;
        bench.rest().await;
        let newest = bench.deliveries(&shop).await.pop().unwrap();
        assert_eq!((newest.state, newest.attempts), (DeliveryState::Waiting, 1));
        let attempts = bench.engine().attempts(bench.company, newest.id).await.unwrap();
        let told = fanfare::policy::retry::describe(&attempts[0].outcome);
        assert!(told.contains(reason), "{told}");
    }
    assert_eq!(bench.network.count(), 0);
    let nothing = EndpointChange { tls: Some(None), ..EndpointChange::default() };
    bench.change(&shop, nothing).await;
    bench.pass(DELAYS[0] * 2).await;
    assert_eq!(bench.tally(&shop).await, [0, 2, 0]);
}

async fn with(bench: &Bench, headers: &[(&str, &str)], tls: Option<OwnTls>) -> Endpoint {
    let url = "https://shop.example/hooks".parse().unwrap();
    let new = NewEndpoint {
        headers: OwnHeaders::read(headers.iter().copied()).unwrap(),
        tls: tls.unwrap_or_default(),
        ..NewEndpoint::new(url, vec!["*".parse().unwrap()])
    };
    bench.engine().register(bench.company, new).await.unwrap()
}

async fn change(
    bench: &Bench,
    shop: &Endpoint,
    headers: &[(&str, &str)],
) -> fanfare::Result<Endpoint> {
    let headers = Some(OwnHeaders::read(headers.iter().copied()).unwrap());
    let own = OwnChange { headers, ..OwnChange::default() };
    let nothing = EndpointChange::default();
    bench.engine().change_endpoint_with(shop.company, shop.id, own, nothing).await
}

async fn change_tls(bench: &Bench, shop: &Endpoint, tls: OwnTls) -> fanfare::Result<Endpoint> {
    let own = OwnChange { tls: Some(tls), ..OwnChange::default() };
    let nothing = EndpointChange::default();
    bench.engine().change_endpoint_with(shop.company, shop.id, own, nothing).await
}

async fn send(bench: &Bench) -> Sent {
    bench.emit().await;
    bench.rest().await;
    bench.network.sent().pop().unwrap()
}
