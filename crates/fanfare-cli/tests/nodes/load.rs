//! Producers that emit in order, each under a key of its own, to whichever node takes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_testkit::client::Client;
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::Arrival;
use fanfare_testkit::wait::{PATIENCE, within};
use hyper::Method;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

/// How many emit at once.
pub(crate) const PRODUCERS: usize = 8;
/// How long a producer waits for an answer before it asks another node.
const ANSWER: Duration = Duration::from_secs(3);
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause after an event, so that a busy machine keeps up with them.
const BREATH: Duration = Duration::from_millis(100);

/// Producers at work.
pub(crate) struct Load {
    nodes: watch::Sender<Vec<SocketAddr>>,
    ledger: Arc<Ledger>,
    producers: JoinSet<()>,
}

/// What came of the load.
#[derive(Default)]
pub(crate) struct Told {
    /// How many events each producer got accepted; they are numbered from 0.
    pub(crate) accepted: BTreeMap<usize, u64>,
    /// Nodes that did not take an event, and what they did instead.
    pub(crate) refused: HashMap<SocketAddr, Vec<String>>,
}

#[derive(Default)]
struct Ledger {
    told: Mutex<Told>,
    count: watch::Sender<u64>,
}

impl Ledger {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    pub(crate) fn start(shop: &Shop, nodes: Vec<SocketAddr>) -> Load {
        let nodes = watch::Sender::new(nodes);
        let ledger = Arc::<Ledger>::default();
        let mut producers = JoinSet::new();
        for number in 0..PRODUCERS {
            let (shop, nodes, ledger) = (shop.clone(), nodes.subscribe(), Arc::clone(&ledger));
            producers.spawn(Producer { number, shop, nodes, ledger, at: number }.run());
        }
        Load { nodes, ledger, producers }
    }

    /// From here on these are asked.
    pub(crate) fn aim(&self, nodes: Vec<SocketAddr>) {
        self.nodes.send_replace(nodes);
    }

    /// Waits until so many more were accepted.
    pub(crate) async fn go_on_for(&self, events: u64) {
        let mut count = self.ledger.count.subscribe();
        let goal = *count.borrow() + events;
        let reached = count.wait_for(|count| *count >= goal);
        let reached = within(PATIENCE, &format!("{events} more events accepted"), reached).await;
        assert!(reached.is_ok(), "the producers have ended");
    }

    /// Lets every producer get its last one accepted.
    pub(crate) async fn stop(self) -> Told {
        let Load { nodes, ledger, producers } = self;
        drop(nodes);
        within(PATIENCE, "the end of the load", producers.join_all()).await;
        std::mem::take(&mut *ledger.told())
    }
}

struct Producer {
    number: usize,
    shop: Shop,
    nodes: watch::Receiver<Vec<SocketAddr>>,
    ledger: Arc<Ledger>,
    /// Which of the nodes is asked.
    at: usize,
}

impl Producer {
    async fn run(mut self) {
        let mut client = None;
        for event in 0.. {
            if self.nodes.has_changed().is_err() {
                return;
            }
            let body = format!(
                r#"{{"type":"order.created","data":"{} {event}","id":"{}","orderingKey":"{}"}}"#,
                self.number,
                Uuid::new_v4(),
                self.number
            );
            while !self.emit(&mut client, &body).await {
                self.at += 1;
                client = None;
                pause(PAUSE).await;
            }
            *self.ledger.told().accepted.entry(self.number).or_default() += 1;
            self.ledger.count.send_modify(|count| *count += 1);
            pause(BREATH).await;
        }
    }

    /// Offers an event to a node. The same one may be offered to several: its id tells.
    async fn emit(&self, client: &mut Option<(SocketAddr, Client)>, body: &str) -> bool {
        let nodes = self.nodes.borrow().clone();
        let Some(node) = nodes.get(self.at % nodes.len().max(1)).copied() else { return false };
        let path = format!("/v1/companies/{}/events", self.shop.company);
        let answered = tokio::time::timeout(ANSWER, async {
            if client.as_ref().is_none_or(|(at, _)| *at != node) {
                *client = Some((node, Client::connect(node, &self.shop.token).await?));
            }
            let Some((_, client)) = client else { return Ok((0, Value::Null)) };
            client.send(Method::POST, &path, body.to_owned()).await
        });
        let why = match answered.await {
            Ok(Ok((202, _))) => return true,
            Ok(Ok((status, answer))) => format!("{status} {answer}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.ledger.told().refused.entry(node).or_default().push(why);
        false
    }
}

#[expect(clippy::disallowed_methods, reason = "producers emit by the clock")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Is everything there that was accepted, at each of the endpoints?
pub(crate) fn complete(told: &Told, endpoints: usize) -> impl FnMut(&[Arrival]) -> bool {
    let events: u64 = told.accepted.values().sum();
    let mut left = events * endpoints as u64;
    let mut seen = HashSet::new();
    move |arrivals| {
        for arrival in arrivals {
            left -= u64::from(seen.insert((arrival.path.clone(), arrival.id().to_owned())));
        }
        left == 0
    }
}

/// The first event of each producer that an endpoint has not heard of, and how many it has.
pub(crate) fn missing(told: &Told, endpoints: usize, arrivals: &[Arrival]) -> Vec<String> {
    let mut heard: BTreeMap<(String, usize), HashSet<u64>> = BTreeMap::new();
    for arrival in arrivals {
        let (producer, event) = read(arrival);
        heard.entry((arrival.path.clone(), producer)).or_default().insert(event);
    }
    let mut missing = Vec::new();
    for (path, (producer, count)) in
        (0..endpoints).flat_map(|path| told.accepted.iter().map(move |of| (format!("/{path}"), of)))
    {
        let heard = heard.remove(&(path.clone(), *producer)).unwrap_or_default();
        if let Some(first) = (0..*count).find(|event| !heard.contains(event)) {
            let left = count - heard.len() as u64;
            missing.push(format!("{left} of {producer} at {path}, the first of them {first}"));
        }
    }
    missing
}

/// Who emitted it, and which one of theirs it is.
fn read(arrival: &Arrival) -> (usize, u64) {
    let text: String = serde_json::from_slice(&arrival.body).expect("a text");
    let (producer, event) = text.split_once(' ').expect("two numbers");
    (producer.parse().expect("a number"), event.parse().expect("a number"))
}

/// What came more than once.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// How often.
    pub(crate) all: usize,
    /// How often after a later one under its key.
    pub(crate) late: usize,
}

/// Every event is there, nothing else is, and under each key they came in order.
pub(crate) fn account(told: &Told, arrivals: &[Arrival]) -> Repeats {
    let mut newest: HashMap<(&str, usize), u64> = HashMap::new();
    let mut repeats = Repeats::default();
    for arrival in arrivals {
        let (producer, event) = read(arrival);
        let next = newest.entry((&arrival.path, producer)).or_default();
        assert!(
            event <= *next,
            "{event} of {producer} came before number {next} at {}",
            arrival.path
        );
        if event == *next {
            *next += 1;
        } else {
            repeats.all += 1;
            repeats.late += usize::from(event + 1 < *next);
        }
    }
    for ((path, producer), count) in newest {
        assert_eq!(Some(&count), told.accepted.get(&producer), "of {producer} at {path}");
    }
    repeats
}
