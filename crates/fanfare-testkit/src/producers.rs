//! Load: clients that emit one event after the other, also while the server dies and comes back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Method;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::wait::{PATIENCE, reached, within};

/// Where events are emitted, and by whom.
#[derive(Debug, Clone)]
pub struct Shop {
    /// The company's id.
    pub company: String,
    /// A token for it.
    pub token: String,
}

/// Clients at work.
pub struct Producers {
    server: watch::Sender<Option<SocketAddr>>,
    accepted: Arc<watch::Sender<u64>>,
    ids: JoinSet<Outcome>,
}

/// What producers got to know.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The ids of accepted events, by the text that their payloads are.
    pub accepted: HashMap<String, String>,
    /// Texts of events whose emit was not answered.
    pub unanswered: Vec<String>,
}

impl Producers {
    /// Starts `count` clients. They wait for [`Producers::aim`].
    pub fn start(count: usize, shop: &Shop) -> Producers {
        let server = watch::Sender::new(None);
        let accepted = Arc::new(watch::Sender::new(0));
        let mut ids = JoinSet::new();
        for number in 0..count {
            let producer = Producer {
                number,
                shop: shop.clone(),
                server: server.subscribe(),
                accepted: Arc::clone(&accepted),
                outcome: Outcome::default(),
            };
            ids.spawn(producer.run());
        }
        Producers { server, accepted, ids }
    }

    /// Says where the server is now.
    pub fn aim(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    /// How many events were accepted so far.
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// Waits until `count` events were accepted in all.
    pub async fn wait_for(&self, count: u64) {
        within(PATIENCE, &format!("{count} accepted events"), reached(&self.accepted, count)).await;
    }

    /// Lets every client finish what it is at.
    pub async fn stop(self) -> Outcome {
        drop(self.server);
        let mut all = Outcome::default();
        for outcome in self.ids.join_all().await {
            all.accepted.extend(outcome.accepted);
            all.unanswered.extend(outcome.unanswered);
        }
        all
    }
}

struct Producer {
    number: usize,
    shop: Shop,
    server: watch::Receiver<Option<SocketAddr>>,
    accepted: Arc<watch::Sender<u64>>,
    outcome: Outcome,
}

impl Producer {
    async fn run(mut self) -> Outcome {
        // An error of `changed` says that no other server will come.
        while self.server.changed().await.is_ok() {
            let Some(server) = *self.server.borrow_and_update() else { continue };
            let Ok(mut client) = Client::connect(server, &self.shop.token).await else { continue };
            while self.server.has_changed().is_ok() && self.emit(&mut client).await {}
        }
        self.outcome
    }

    /// Emits one event. Returns whether the server still answers.
    async fn emit(&mut self, client: &mut Client) -> bool {
        let path = format!("/v1/companies/{}/events", self.shop.company);
        let count = self.outcome.accepted.len() + self.outcome.unanswered.len();
        let text = format!("producer {}, event {count}", self.number);
        let body = format!(r#"{{"type":"order.created","data":"{text}"}}"#);
        let answer = client.send(Method::POST, &path, body).await;
        let Ok((status, answer)) = answer else {
            self.outcome.unanswered.push(text);
            return false;
        };
        assert_eq!(status, 202, "{answer}");
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        self.outcome.accepted.insert(text, id);
        self.accepted.send_modify(|accepted| *accepted += 1);
        true
    }
}
