//! A webhook delivery engine you can embed: durable, signed, retried, visible.
//!
//! ```
//! # async fn receiver() -> String {
//! #     use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! #     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
//! #     let url = format!("http://{}/hooks", listener.local_addr().unwrap());
//! #     tokio::spawn(async move {
//! #         let (mut socket, _) = listener.accept().await.unwrap();
//! #         let _ = socket.read(&mut [0; 4096]).await;
//! #         let _ = socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
//! #         std::future::pending::<()>().await;
//! #     });
//! #     url
//! # }
//! use fanfare::{Fanfare, Options};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fanfare::Result<()> {
//! # let url = receiver().await;
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("shop.db");
//! // `Fanfare::open("sqlite:shop.db")` does for receivers on the internet.
//! let mut options = Options::new(&format!("sqlite:{}", path.display()), [7; 32]);
//! options.guard.allow_http = true;
//! options.guard.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
//! # options.guard.allow_networks = vec![format!("127.0.0.0/8:{}", url::Url::parse(&url).unwrap().port().unwrap()).parse().unwrap()];
//! let fanfare = Fanfare::open_with(options).await?;
//!
//! let shop = fanfare.company("0197d0a5-7b5d-7c39-8cfa-2f1f0a5f3b11".parse().unwrap());
//! let webhook = shop.register(&url, &["ORDER_CREATED", "payment.*"]).await?;
//! let order = serde_json::json!({ "id": 7, "total": "19.90" });
//! shop.emit("ORDER_CREATED", &order).await?; // on disk from here on
//!
//! let delivered = loop {
//!     let deliveries = shop.deliveries(webhook.id, 10, None).await?;
//!     if deliveries[0].attempts > 0 {
//!         break deliveries[0].clone();
//!     }
//! #   tokio::task::yield_now().await;
//! };
//! assert_eq!((delivered.success, delivered.status_code), (true, Some(204)));
//! fanfare.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Every event takes one straight road:
//!
//! ```text
//! emit ──▶ store ──▶ schedule ──▶ deliver ──▶ record
//! ```
//!
//! [`Fanfare`] is the face for those who embed; [`Engine`] is the whole of it, for those who build
//! a server around it.

#![forbid(unsafe_code)]

pub mod clock;
pub mod engine;
mod error;
pub mod keys;
pub mod metrics;
pub mod model;
mod options;
pub mod policy;
pub mod seal;
pub mod send;
mod service;
pub mod sign;
pub mod store;

pub use engine::Engine;
pub use error::{Error, Result};
pub use model::{CompanyId, DeliveryId, EndpointId, EventId, EventType, Timestamp};
pub use options::Options;
pub use service::{Delivery, Fanfare, Update, Webhook, Webhooks};
pub use store::Receipt;
