//! What requests are signed with, and whom filters let hear.

use std::sync::Arc;
use std::time::Duration;

use fanfare::Error;
use fanfare::engine::{NewEndpoint, OwnChange, Rotation};
use fanfare::model::filter::Filter;
use fanfare::model::{DeliveryState::Concluded, Endpoint, EndpointChange, Format};
use fanfare::sign::{self, PublicKey, Secret};

use super::{Bench, Call, Moment, Sent, event};

const GRACE: Duration = Duration::from_hours(1);

/// Until the grace ends both secrets sign, and W3Block's header is the old one's; then only the new
/// one signs. A process that dies in between changes nothing about it.
pub async fn a_rotated_secret_signs_beside_the_old_one_until_its_grace_ends(bench: &mut Bench) {
    let shop = w3block_endpoint(bench, false).await;
    let old = bench.engine().secret(&shop).unwrap();
    let before = send(bench).await;
    assert!(signed(&before, &old) && w3block_signed(&before, &old));

    let rotated = rotate(bench, &shop, GRACE).await.unwrap();
    let new = bench.engine().secret(&rotated).unwrap();
    assert_ne!(new.reveal(), old.reveal());
    for crash in [false, true] {
        if crash {
            bench.crash().await;
        }
        let during = send(bench).await;
        let signatures = during.header("webhook-signature");
        assert_eq!(signatures.split(' ').count(), 2);
        assert!(signatures.starts_with(&signature(&during, &new)), "the new one comes first");
        assert!(signed(&during, &old) && signed(&during, &new));
        assert!(w3block_signed(&during, &old) && !w3block_signed(&during, &new));
    }

    bench.pass(GRACE - Duration::from_millis(1)).await;
    assert!(signed(&send(bench).await, &old), "to the last moment");
    bench.pass(Duration::from_millis(1)).await;
    let after = send(bench).await;
    assert_eq!(after.header("webhook-signature"), signature(&after, &new));
    assert!(w3block_signed(&after, &new) && !signed(&after, &old));
    assert_eq!(bench.engine().secret(&bench.present(&shop).await).unwrap().reveal(), new.reveal());
}

/// What is claimed already, and what is retried, is signed with what signs when it is sent.
pub async fn a_retry_is_signed_with_the_secret_of_its_time(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let old = bench.engine().secret(&shop).unwrap();
    bench.network.statuses(&[500]);
    bench.emit().await;
    bench.rest().await;
    rotate(bench, &shop, Duration::ZERO).await.unwrap();
    bench.pass(super::DELAYS[0] * 2).await;
    assert_eq!(bench.standing(&shop).await, (Concluded, 2));
    let new = bench.engine().secret(&bench.present(&shop).await).unwrap();
    let sent = bench.network.sent();
    assert!(signed(&sent[0], &old) && signed(&sent[1], &new));
    assert!(!signed(&sent[1], &old));
}

/// One rotation at a time, unless older secrets are to end at once.
pub async fn a_rotation_waits_for_the_one_before_it_or_ends_it(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let until = bench.engine().clock().now().plus(GRACE);
    let (one, other) = tokio::join!(rotate(bench, &shop, GRACE), rotate(bench, &shop, GRACE));
    let refused = one.err().or(other.err()).unwrap();
    assert!(
        matches!(&refused, Error::RotationUnderWay { until: shown } if *shown == until.to_string())
    );
    let first = bench.engine().secret(&bench.present(&shop).await).unwrap();

    let chosen: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
    let at_once = Rotation { secret: Some(chosen.clone()), grace: Duration::ZERO };
    bench.engine().rotate_secret(bench.company, shop.id, at_once).await.unwrap();
    let sent = send(bench).await;
    assert_eq!(sent.header("webhook-signature"), signature(&sent, &chosen));
    assert!(!signed(&sent, &first));
    rotate(bench, &shop, GRACE).await.unwrap();
    bench.pass(GRACE).await;
    rotate(bench, &shop, GRACE).await.unwrap();

    let too_long = rotate(bench, &shop, Duration::from_secs(604_801)).await;
    assert!(matches!(too_long, Err(Error::Invalid { field, .. }) if field == "gracePeriod"));
    let unknown =
        bench.engine().rotate_secret(fanfare::CompanyId::new(until), shop.id, Rotation::default());
    assert!(matches!(unknown.await, Err(Error::NotFound { kind: "endpoint", .. })));
}

/// The answer is lost, the rotation is not.
pub async fn a_rotation_on_disk_survives_a_crash_before_its_answer(bench: &mut Bench) {
    let shop = bench.endpoint().await;
    let old = bench.engine().secret(&shop).unwrap();
    bench.store().hold(Moment::After(Call::Write));
    let engine = bench.engine().clone();
    let rotation = Rotation { secret: None, grace: GRACE };
    let asking =
        tokio::spawn(async move { engine.rotate_secret(shop.company, shop.id, rotation).await });
    bench.rest().await;
    bench.crash().await;
    asking.abort();
    let present = bench.engine().endpoints_before(bench.company, None, 1).await.unwrap().remove(0);
    let new = bench.engine().secret(&present).unwrap();
    let sent = send(bench).await;
    assert!(signed(&sent, &old) && signed(&sent, &new) && new.reveal() != old.reveal());
}

/// Asked for, renewed with the secret, and forgotten at once when it is not wanted any more.
pub async fn an_endpoint_signs_with_a_key_of_its_own_when_asked(bench: &mut Bench) {
    let shop = w3block_endpoint(bench, true).await;
    let first = public_keys(bench, &shop).await;
    assert_eq!(first.len(), 1);
    let sent = send(bench).await;
    assert!(asymmetrically_signed(&sent, first[0]));

    rotate(bench, &shop, GRACE).await.unwrap();
    let both = public_keys(bench, &shop).await;
    assert_eq!((both.len(), both[1]), (2, first[0]));
    let sent = send(bench).await;
    let signatures = sent.header("webhook-signature");
    let schemes: Vec<_> = signatures.split(' ').map(|one| one.split(',').next().unwrap()).collect();
    assert_eq!(schemes, ["v1", "v1a", "v1", "v1a"]);
    assert!(both.iter().all(|key| asymmetrically_signed(&sent, *key)));

    let secret = bench.engine().secret(&bench.present(&shop).await).unwrap();
    switch(bench, &shop, false).await;
    assert!(public_keys(bench, &shop).await.is_empty());
    let sent = send(bench).await;
    assert!(!sent.header("webhook-signature").contains("v1a,"));
    assert!(signed(&sent, &secret), "the secret stays");

    switch(bench, &shop, true).await;
    let unchanged = bench.present(&shop).await;
    assert_eq!(switch(bench, &shop, true).await, unchanged);
    let again = public_keys(bench, &shop).await;
    assert!(again.len() == 1 && !both.contains(&again[0]));
    bench.crash().await;
    assert!(asymmetrically_signed(&send(bench).await, again[0]));
    bench.engine().delete_endpoint(bench.company, shop.id).await.unwrap();
    assert!(public_keys(bench, &shop).await.is_empty());
}

/// What does not pass is no delivery; a replay asks nothing.
pub async fn a_filter_stops_what_does_not_pass(bench: &mut Bench) {
    let everything = bench.endpoint().await;
    let picky = bench.endpoint().await;
    let only = |json: &str| EndpointChange {
        filter: Some(Some(Arc::new(Filter::parse(json).unwrap()))),
        ..EndpointChange::default()
    };
    bench.change(&picky, only(r#"{"total": {"$gte": 100}}"#)).await;
    let receipt = bench.engine().emit(bench.company, event()).await.unwrap();
    assert_eq!(receipt.deliveries, 1);
    bench.change(&picky, only(r#"{"total": 1.1}"#)).await;
    assert_eq!(bench.engine().emit(bench.company, event()).await.unwrap().deliveries, 2);
    assert_eq!(bench.tally(&everything).await, [0, 2, 0]);
    let heard = bench.only(&picky).await;

    bench.change(&picky, only(r#"{"total": 2}"#)).await;
    bench.engine().replay(bench.company, heard.id).await.unwrap();
    assert_eq!(bench.tally(&picky).await, [0, 2, 0]);
    bench.crash().await;
    assert_eq!(bench.engine().emit(bench.company, event()).await.unwrap().deliveries, 1);
    bench.change(&picky, EndpointChange { filter: Some(None), ..EndpointChange::default() }).await;
    assert_eq!(bench.engine().emit(bench.company, event()).await.unwrap().deliveries, 2);
}

async fn w3block_endpoint(bench: &Bench, asymmetric: bool) -> Endpoint {
    let url = "https://shop.example/hooks".parse().unwrap();
    let mut new = NewEndpoint { asymmetric, ..NewEndpoint::new(url, vec!["*".parse().unwrap()]) };
    new.shape.format = Format::W3block;
    bench.engine().register(bench.company, new).await.unwrap()
}

async fn rotate(bench: &Bench, shop: &Endpoint, grace: Duration) -> fanfare::Result<Endpoint> {
    let rotation = Rotation { secret: None, grace };
    bench.engine().rotate_secret(shop.company, shop.id, rotation).await
}

async fn switch(bench: &Bench, shop: &Endpoint, asymmetric: bool) -> Endpoint {
    let own = OwnChange { asymmetric: Some(asymmetric), ..OwnChange::default() };
    let (company, nothing) = (shop.company, EndpointChange::default());
    bench.engine().change_endpoint_with(company, shop.id, own, nothing).await.unwrap()
}

async fn public_keys(bench: &Bench, shop: &Endpoint) -> Vec<PublicKey> {
    let keys = bench.engine().public_keys_of(shop.id).await.unwrap();
    let (listed, next) = bench.engine().public_keys(None).await.unwrap();
    assert!(next.is_none() && listed.len() == keys.len());
    keys.into_iter().map(|published| published.key).collect()
}

/// Emits an event and returns the request that tells it.
async fn send(bench: &Bench) -> Sent {
    bench.emit().await;
    bench.rest().await;
    bench.network.sent().pop().unwrap()
}

fn at(sent: &Sent) -> i64 {
    sent.header("webhook-timestamp").parse().unwrap()
}

fn signature(sent: &Sent, secret: &Secret) -> String {
    sign::standard(secret, &sent.webhook_id(), at(sent), &sent.request.body)
}

fn signed(sent: &Sent, secret: &Secret) -> bool {
    let header = sent.header("webhook-signature");
    sign::verify(secret, &sent.webhook_id(), at(sent), &sent.request.body, &header)
}

fn asymmetrically_signed(sent: &Sent, key: PublicKey) -> bool {
    let header = sent.header("webhook-signature");
    sign::verify_asymmetric(key, &sent.webhook_id(), at(sent), &sent.request.body, &header)
}

fn w3block_signed(sent: &Sent, secret: &Secret) -> bool {
    sent.header("x-w3block-commerce-signature") == sign::w3block(secret, &sent.request.body)
}
