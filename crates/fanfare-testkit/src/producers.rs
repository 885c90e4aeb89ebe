//! Load: clients that emit one event after the other, also while the server dies and comes back.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::Method;
use hyper::header::RETRY_AFTER;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::wait::{PATIENCE, pause, reached, within};

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
    ledger: Arc<Ledger>,
    clients: JoinSet<()>,
}

/// What producers got to know.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// The ids of accepted events, by the text that their payloads are.
    pub accepted: HashMap<String, String>,
    /// Texts of events whose emit was not answered.
    pub unanswered: HashSet<String>,
    /// How many answers were 503, by their code.
    pub refused: HashMap<String, u64>,
}

/// What producers share.
struct Ledger {
    outcome: Mutex<Outcome>,
    accepted: watch::Sender<u64>,
    refused: watch::Sender<u64>,
}

impl Producers {
    /// Starts `count` clients. They wait for [`Producers::aim`].
    pub fn start(count: usize, shop: &Shop) -> Producers {
        Producers::start_as(count, shop, false)
    }

    /// The same, of clients that have an event accepted however long it takes: each one under an
    /// idempotency key of its own, repeated with that key after a refusal. What such a client emits
    /// has an ordering key of its own.
    pub fn start_patient(count: usize, shop: &Shop) -> Producers {
        Producers::start_as(count, shop, true)
    }

    fn start_as(count: usize, shop: &Shop, patient: bool) -> Producers {
        let server = watch::Sender::new(None);
        let ledger = Arc::new(Ledger {
            outcome: Mutex::default(),
            accepted: watch::Sender::new(0),
            refused: watch::Sender::new(0),
        });
        let mut clients = JoinSet::new();
        for number in 0..count {
            let producer = Producer {
                number,
                emitted: 0,
                patient,
                shop: shop.clone(),
                server: server.subscribe(),
                ledger: Arc::clone(&ledger),
            };
            clients.spawn(producer.run());
        }
        Producers { server, ledger, clients }
    }

    /// Says where the server is now.
    pub fn aim(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    /// How many events were accepted so far.
    pub fn accepted(&self) -> u64 {
        *self.ledger.accepted.borrow()
    }

    /// What is known so far.
    pub fn outcome(&self) -> Outcome {
        self.ledger.lock().clone()
    }

    /// Waits until `count` events were accepted in all.
    pub async fn wait_for(&self, count: u64) {
        let reached = reached(&self.ledger.accepted, count);
        within(PATIENCE, &format!("{count} accepted events"), reached).await;
    }

    /// Waits until so many more answers were 503.
    pub async fn wait_for_refusals(&self, more: u64) {
        let goal = *self.ledger.refused.borrow() + more;
        within(PATIENCE, "refusals", reached(&self.ledger.refused, goal)).await;
    }

    /// Lets every client finish what it is at, and tells what is known in the end.
    pub async fn stop(self) -> Outcome {
        drop(self.server);
        self.clients.join_all().await;
        self.ledger.lock().clone()
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Producer {
    number: usize,
    emitted: u64,
    patient: bool,
    shop: Shop,
    server: watch::Receiver<Option<SocketAddr>>,
    ledger: Arc<Ledger>,
}

impl Producer {
    async fn run(mut self) {
        // An error of `changed` says that no other server will come.
        while self.server.changed().await.is_ok() {
            let Some(server) = *self.server.borrow_and_update() else { continue };
            let Ok(mut client) = Client::connect(server, &self.shop.token).await else { continue };
            while self.server.has_changed().is_ok() && self.emit_one(&mut client).await {}
        }
    }

    async fn emit_one(&mut self, client: &mut Client) -> bool {
        if self.patient { self.emit_until_accepted(client).await } else { self.emit(client).await }
    }

    /// Emits one event, again and again under its key. Returns whether the server still answers.
    async fn emit_until_accepted(&mut self, client: &mut Client) -> bool {
        let path = format!("/v1/companies/{}/events", self.shop.company);
        let order = format!("producer {}", self.number);
        let text = format!("{order}, event {}", self.emitted);
        let body = format!(r#"{{"type":"order.created","data":"{text}","orderingKey":"{order}"}}"#);
        loop {
            let Ok((status, headers, answer)) = client.post(&path, body.clone(), &text).await
            else {
                return false;
            };
            if status == 202 {
                self.emitted += 1;
                self.accept(text, &answer);
                return true;
            }
            assert_eq!(status, 503, "{answer}");
            assert!(headers.contains_key(RETRY_AFTER), "{answer}");
            let code = answer["code"].as_str().unwrap_or_default().to_owned();
            assert!(!answer["message"].as_str().unwrap_or_default().is_empty(), "{answer}");
            *self.ledger.lock().refused.entry(code).or_default() += 1;
            self.ledger.refused.send_modify(|refused| *refused += 1);
            pause().await;
        }
    }

    fn accept(&self, text: String, answer: &Value) {
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        self.ledger.lock().accepted.insert(text, id);
        self.ledger.accepted.send_modify(|accepted| *accepted += 1);
    }

    /// Emits one event. Returns whether the server still answers.
    async fn emit(&mut self, client: &mut Client) -> bool {
        let path = format!("/v1/companies/{}/events", self.shop.company);
        let text = format!("producer {}, event {}", self.number, self.emitted);
        self.emitted += 1;
        let body = format!(r#"{{"type":"order.created","data":"{text}"}}"#);
        let answer = client.send(Method::POST, &path, body).await;
        let Ok((status, answer)) = answer else {
            self.ledger.lock().unanswered.insert(text);
            return false;
        };
        assert_eq!(status, 202, "{answer}");
        self.accept(text, &answer);
        true
    }
}
