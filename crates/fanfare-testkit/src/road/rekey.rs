//! Another key for everything that is sealed, while deliveries go on.

use std::time::Duration;

use fanfare::engine::{self, NewEndpoint, Rotation};
use fanfare::keys::{EncryptionKeys, previous_file};
use fanfare::model::{DeliveryState::Concluded, Endpoint};
use fanfare::seal::Seal;
use fanfare::sign::{self, Secret};

use super::Bench;

/// Endpoints: more than one transaction has room for.
const ENDPOINTS: usize = 80;

/// Old secrets and new ones, those that are replaced and those that come meanwhile; what is sent is
/// signed as ever. Afterwards nothing needs the key before.
pub async fn everything_is_sealed_anew_while_deliveries_go_on(bench: &mut Bench) {
    let shops = shops(bench, ENDPOINTS).await;
    rotate_secret(bench, &shops[0]).await;
    bench.engine().delete_endpoint(bench.company, shops[1].id).await.unwrap();
    let before = EncryptionKeys::read(&bench.key_file()).unwrap().unwrap().present;
    assert_eq!(bench.engine().check().await.unwrap(), Vec::<String>::new());

    // Beside it: emits, rotations of secrets, new endpoints.
    let (engine, company) = (bench.engine().clone(), bench.company);
    let rotation = tokio::spawn(async move { while !engine.rotate_key().await.unwrap().done {} });
    for shop in &shops[2..12] {
        rotate_secret(bench, shop).await;
        bench.endpoint_of(company, 5).await;
        bench.emit().await;
        tokio::task::yield_now().await;
    }
    rotation.await.unwrap();
    bench.rest().await;
    for delivery in bench.deliveries(&shops[2]).await {
        assert_eq!((delivery.state, delivery.attempts), (Concluded, 1));
    }
    all_signed(bench, &shops[2..]).await;

    let keys = EncryptionKeys::read(&bench.key_file()).unwrap().unwrap();
    assert_eq!(keys.previous.unwrap().bytes(), before.bytes());
    assert_ne!(keys.present.bytes(), before.bytes());
    needs_no_older_key(bench).await;
    // And so a process that does not know it starts and delivers.
    std::fs::remove_file(previous_file(&bench.key_file())).unwrap();
    bench.crash().await;
    all_signed(bench, &shops[2..]).await;
}

/// At each write that a rotation makes: what is on disk then fits together, and goes on from there.
pub async fn a_rotation_of_the_key_survives_a_crash_at_any_write(bench: &mut Bench) {
    let shops = shops(bench, 3).await;
    let mut crashes = 0;
    loop {
        bench.store().stick_after(crashes);
        let engine = bench.engine().clone();
        let rotating =
            tokio::spawn(async move { while !engine.rotate_key().await.unwrap().done {} });
        tokio::select! {
            () = bench.store().stuck() => {}
            ended = rotating => {
                ended.unwrap();
                break;
            }
        }
        bench.crash().await;
        crashes += 1;
        assert_eq!(bench.engine().check().await.unwrap(), Vec::<String>::new());
        all_signed(bench, &shops).await;
        while !bench.engine().rotate_key().await.unwrap().done {}
        needs_no_older_key(bench).await;
        all_signed(bench, &shops).await;
    }
    assert!(crashes >= 4, "that the store needs both, what is sealed anew, that it needs one");
}

/// Twice, and three times: each key goes when the next one has taken its place.
pub async fn a_key_is_rotated_again_and_again_in_one_life(bench: &mut Bench) {
    let shops = shops(bench, 3).await;
    for _ in 0..3 {
        let mut made = 0;
        let mut resealed = 0;
        loop {
            let step = bench.engine().rotate_key().await.unwrap();
            made += u32::from(step.new_key);
            resealed += step.resealed;
            if step.done {
                assert_eq!(step.unreadable, 0);
                break;
            }
        }
        assert_eq!((made, resealed), (1, 3));
        needs_no_older_key(bench).await;
        all_signed(bench, &shops).await;
    }
}

async fn shops(bench: &Bench, count: usize) -> Vec<Endpoint> {
    let mut shops = Vec::new();
    for n in 0..count {
        let url = format!("https://shop.example/{n}").parse().unwrap();
        let new = NewEndpoint {
            asymmetric: n % 2 == 0,
            ..NewEndpoint::new(url, vec!["*".parse().unwrap()])
        };
        shops.push(bench.engine().register(bench.company, new).await.unwrap());
    }
    shops
}

async fn rotate_secret(bench: &Bench, shop: &Endpoint) {
    let rotation = Rotation { secret: None, grace: Duration::from_hours(1) };
    bench.engine().rotate_secret(shop.company, shop.id, rotation).await.unwrap();
}

/// Every secret opens with the present key alone, and the store asks for no other one.
async fn needs_no_older_key(bench: &Bench) {
    let present = EncryptionKeys::read(&bench.key_file()).unwrap().unwrap().present;
    let seal = Seal::new(present.bytes());
    let broken = engine::check(bench.store(), Some(&seal)).await.unwrap();
    assert_eq!(broken, Vec::<String>::new());
}

/// An event arrives at each of these, signed with its secret.
async fn all_signed(bench: &Bench, shops: &[Endpoint]) {
    let seen = bench.network.sent().len();
    bench.emit().await;
    bench.rest().await;
    let sent = bench.network.sent();
    for shop in shops {
        let secret: Secret = bench.engine().secret(&bench.present(shop).await).unwrap();
        let arrived = sent[seen..].iter().any(|sent| {
            let at = sent.header("webhook-timestamp").parse().unwrap();
            let header = sent.header("webhook-signature");
            sent.request.url.as_str() == shop.url.as_str()
                && sign::verify(&secret, &sent.webhook_id(), at, &sent.request.body, &header)
        });
        assert!(arrived, "{}", shop.url);
    }
}
