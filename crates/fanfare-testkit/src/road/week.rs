//! A week in the life of a platform, in seconds: many endpoints, outages, crashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfare::clock::Clock;
use fanfare::engine::{NewEndpoint, NewEvent};
use fanfare::model::DeliveryState::Waiting;
use fanfare::model::{Endpoint, Flow, Ordering};
use fanfare::{CompanyId, Timestamp};

use super::{Bench, Reply, START, Sent};
use crate::dice::Dice;

const COMPANIES: usize = 50;
/// Kinds of events of a company; two endpoints listen to each.
const PARTS: usize = 10;
const KEYS: usize = 4;
const STEP: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_hours(7 * 24);
/// The longest it may take until an endpoint that has recovered is noticed.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// The longest outage of an endpoint that recovers.
const OUTAGE_MAX: Duration = Duration::from_hours(6);
/// Events at the beginning of an outage.
const BURST: usize = 12;

/// How much happens in a week.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// Events, beside those at the beginning of outages.
    pub events: usize,
    /// Of so many endpoints, one has an outage.
    pub one_in: usize,
    /// Endpoints that never recover.
    pub lost: usize,
}

/// A thousand endpoints, some of which fail for a while and a few for ever; a crash every few
/// hours. In the end every delivery is concluded, failed or held with a reason, each endpoint that
/// recovered was noticed within a minute, and no key was ever out of order.
pub async fn a_week_of_outages_and_crashes(bench: &mut Bench, trouble: Trouble) {
    let Trouble { events, .. } = trouble;
    let mut week = Week::begin(bench, trouble).await;
    let steps = usize::try_from(WEEK.as_secs() / STEP.as_secs()).unwrap();
    for step in 0..steps {
        while week.emitted * steps < events * step {
            week.emit_somewhere().await;
        }
        week.follow_outages().await;
        week.bench.pass(STEP).await;
        if week.dice.below(steps / 20) == 0 {
            week.bench.crash().await;
            week.is_sound().await;
        }
    }
    week.end().await;
}

struct Week<'a> {
    bench: &'a mut Bench,
    trouble: Trouble,
    dice: Dice,
    shops: Vec<Shop>,
    /// What is to come, the next one last.
    turns: Vec<Turn>,
    heard: Heard,
    emitted: usize,
}

/// What was answered with success, as (URL, key, sequence), in that order.
type Heard = Arc<Mutex<Vec<(String, String, u64)>>>;

struct Shop {
    endpoint: Endpoint,
    part: usize,
    outage: Option<Outage>,
    /// Whether the breaker was open shortly before the end of its outage.
    open: bool,
}

#[derive(Clone)]
struct Outage {
    from: Timestamp,
    to: Timestamp,
    reply: Reply,
}

/// Something about an outage.
struct Turn {
    at: Timestamp,
    shop: usize,
    what: What,
}

enum What {
    Begins,
    Ends,
    /// By now it is known that it is over.
    Noticed,
}

impl Week<'_> {
    async fn begin(bench: &mut Bench, trouble: Trouble) -> Week<'_> {
        let mut dice = Dice::new(7);
        let mut shops = Vec::new();
        for _ in 0..COMPANIES {
            let company = CompanyId::new(START);
            for n in 0..PARTS * 2 {
                let endpoint = register(bench, company, n).await;
                let outage = (dice.below(trouble.one_in) == 0).then(|| outage(&mut dice));
                shops.push(Shop { endpoint, part: n % PARTS, outage, open: false });
            }
        }
        for shop in shops.iter_mut().take(trouble.lost) {
            let from = START.plus(Duration::from_hours(1));
            let (to, reply) = (START.plus(WEEK * 2), Reply::Status(500));
            shop.outage = Some(Outage { from, to, reply });
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        answer(bench, &shops, &heard);
        let turns = turns(&shops);
        Week { bench, trouble, dice, shops, turns, heard, emitted: 0 }
    }

    async fn emit_somewhere(&mut self) {
        let at = self.dice.below(self.shops.len());
        let (company, part) = (self.shops[at].endpoint.company, self.shops[at].part);
        self.emit(company, part).await;
    }

    async fn emit(&mut self, company: CompanyId, part: usize) {
        let key = format!("order-{}", self.dice.below(KEYS));
        let payload = Bytes::from(format!(r#"{{"key":"{key}"}}"#));
        let event_type = format!("part{part}.changed").parse().unwrap();
        let event = NewEvent { ordering_key: Some(key), ..NewEvent::new(event_type, payload) };
        self.bench.engine().emit(company, event).await.unwrap();
        self.emitted += 1;
    }

    async fn follow_outages(&mut self) {
        let now = self.bench.clock.now();
        while self.turns.last().is_some_and(|turn| turn.at <= now) {
            let Some(turn) = self.turns.pop() else { return };
            let shop = &self.shops[turn.shop];
            let (endpoint, part) = (shop.endpoint.clone(), shop.part);
            let health = self.bench.present(&endpoint).await.health;
            match turn.what {
                What::Begins => {
                    // Something happens in each outage, so that it is felt.
                    for _ in 0..BURST {
                        self.emit(endpoint.company, part).await;
                    }
                }
                What::Ends => self.shops[turn.shop].open = health.failing_since.is_some(),
                What::Noticed => {
                    assert_eq!(health.failing_since, None, "it was back by {}", turn.at);
                }
            }
        }
    }

    async fn is_sound(&self) {
        assert_eq!(self.bench.engine().check().await.unwrap(), Vec::<String>::new());
    }

    async fn end(self) {
        self.bench.pass_slowly(Duration::from_hours(1), STEP).await;
        self.is_sound().await;
        for (n, shop) in self.shops.iter().enumerate() {
            let present = self.bench.present(&shop.endpoint).await;
            assert_eq!(present.disabled.is_some(), n < self.trouble.lost, "{:?}", present.disabled);
            for delivery in self.bench.deliveries(&shop.endpoint).await {
                assert!(n < self.trouble.lost || delivery.state != Waiting, "{delivery:?}");
            }
        }
        let opened = self.shops.iter().filter(|shop| shop.open).count();
        assert!(opened > 10, "outages open breakers, {opened} did");
        self.is_in_order();
    }

    /// A crash may repeat a request, so the same may come twice.
    fn is_in_order(&self) {
        let mut last: HashMap<(String, String), u64> = HashMap::new();
        for (url, key, sequence) in lock(&self.heard).iter().cloned() {
            if url.ends_with("/any-order") {
                continue;
            }
            let before = last.insert((url.clone(), key.clone()), sequence).unwrap_or(0);
            assert!(before <= sequence, "{url} {key}: {sequence} came after {before}");
        }
    }
}

/// Every other endpoint asks for order.
async fn register(bench: &Bench, company: CompanyId, n: usize) -> Endpoint {
    let way = if n < PARTS { "in-order" } else { "any-order" };
    let url = format!("https://shop.example/{company}/{n}/{way}").parse().unwrap();
    let events = vec![format!("part{}.changed", n % PARTS).parse().unwrap()];
    let ordering = if n < PARTS { Ordering::Key } else { Ordering::None };
    let flow = Flow { ordering, ..Flow::default() };
    bench
        .engine()
        .register(company, NewEndpoint { flow, ..NewEndpoint::new(url, events) })
        .await
        .unwrap()
}

/// The breaker has nothing to notice by when it was not open.
fn turns(shops: &[Shop]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for (shop, Shop { outage, .. }) in shops.iter().enumerate() {
        let Some(outage) = outage else { continue };
        let noticed = outage.to.plus(BACK_WITHIN + STEP * 2);
        let all = [
            (outage.from, What::Begins),
            (outage.to.minus(STEP), What::Ends),
            (noticed, What::Noticed),
        ];
        turns.extend(all.map(|(at, what)| Turn { at, shop, what }));
    }
    turns.sort_by_key(|turn| std::cmp::Reverse(turn.at));
    turns
}

fn outage(dice: &mut Dice) -> Outage {
    let hours = (WEEK - OUTAGE_MAX).as_secs() / 3600 - 1;
    let from = START.plus(Duration::from_hours(dice.below(usize::try_from(hours).unwrap()) as u64));
    let lengths =
        [Duration::from_mins(4), Duration::from_mins(30), Duration::from_hours(1), OUTAGE_MAX];
    let to = from.plus(lengths[dice.below(lengths.len())]);
    let reply = match dice.below(4) {
        0 => Reply::Status(500),
        1 => Reply::Silence("connect: refused"),
        2 => Reply::Silence("timeout: no answer"),
        _ => Reply::RetryAfter(503, "20".to_owned()),
    };
    Outage { from, to, reply }
}

/// Answers as the outages say, and now and then badly all the same.
fn answer(bench: &Bench, shops: &[Shop], heard: &Heard) {
    let outages: HashMap<String, Outage> = shops
        .iter()
        .filter_map(|shop| Some((shop.endpoint.url.to_string(), shop.outage.clone()?)))
        .collect();
    let (heard, mut dice) = (Arc::clone(heard), Dice::new(99));
    bench.network.otherwise(move |sent| {
        let outage = outages.get(sent.url()).filter(|o| o.from <= sent.at && sent.at < o.to);
        if let Some(outage) = outage {
            return outage.reply.clone();
        }
        if dice.below(100) == 0 {
            return Reply::Status(500);
        }
        lock(&heard).push((sent.url().to_owned(), key_of(sent), sequence_of(sent)));
        Reply::Status(200)
    });
}

fn key_of(sent: &Sent) -> String {
    String::from_utf8(sent.request.body.to_vec()).unwrap()
}

fn sequence_of(sent: &Sent) -> u64 {
    sent.header("webhook-sequence").parse().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
