//! What the machine can do: a bare client that signs and posts, no store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::sign::{self, Secret};

use crate::client::Client;
use crate::receiver::Receiver;
use crate::{CONNECTIONS, payload, runtime};

const TIME: Duration = Duration::from_secs(3);

/// Requests a second.
pub(crate) fn measure() -> f64 {
    let receiver = Receiver::start();
    let runtime = runtime();
    let start = Instant::now();
    runtime.block_on(async {
        let posting = (0..CONNECTIONS).map(|_| tokio::spawn(post(receiver.address, start + TIME)));
        for task in posting.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    receiver.requests() as f64 / start.elapsed().as_secs_f64()
}

async fn post(address: std::net::SocketAddr, until: Instant) {
    let mut client = Client::connect(address).await;
    let secret = Secret::from_bytes(&[7; 32]);
    let body = Bytes::from(payload());
    let mut number = 0_u64;
    while Instant::now() < until {
        let id = uuid::Uuid::from_u64_pair(7, number).to_string();
        let signature = sign::standard(&secret, &id, 1_700_000_000, &body);
        let headers = [
            ("content-type", "application/json"),
            ("user-agent", "bare"),
            ("webhook-id", &id),
            ("webhook-timestamp", "1700000000"),
            ("webhook-signature", &signature),
            ("webhook-event", "ORDER_CREATED"),
        ];
        client.send("POST", "/hooks", &headers, body.clone()).await;
        number += 1;
    }
}
