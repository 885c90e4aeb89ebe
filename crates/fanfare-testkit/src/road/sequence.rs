//! Whatever happens in whatever order, every delivery ends, or is held with a reason.

use std::collections::HashMap;
use std::time::Duration;

use fanfare::Error;
use fanfare::engine::Rotation;
use fanfare::model::DeliveryState::{self, Waiting};
use fanfare::model::Endpoint;
use fanfare::{CompanyId, DeliveryId};

use crate::dice::Dice;

use super::{Bench, LEASE, Reply, START, SWEEP, event, switched, to_url};

const STEPS: usize = 300;
const COMPANIES: usize = 3;
const ENDPOINTS: usize = 3;

/// Crashes come while all is at rest, so that no request is lost track of.
pub async fn any_sequence_ends_with_everything_accounted_for(bench: &mut Bench) {
    for seed in 1..=2 {
        Play::new(bench, seed).run().await;
    }
}

/// Crashes come at any moment.
pub async fn any_sequence_with_sudden_crashes_ends_well(bench: &mut Bench) {
    for seed in 11..=12 {
        let mut play = Play::new(bench, seed);
        play.sudden = true;
        play.run().await;
    }
}

struct Play<'a> {
    bench: &'a mut Bench,
    dice: Dice,
    endpoints: Vec<Endpoint>,
    deleted: Vec<Endpoint>,
    /// Deliveries that have ended, and how.
    ended: HashMap<DeliveryId, DeliveryState>,
    sudden: bool,
    /// Requests whose result nobody may know.
    lost: usize,
    sent_before: usize,
}

impl Play<'_> {
    fn new(bench: &mut Bench, seed: u64) -> Play<'_> {
        let dice = Dice::new(seed);
        let sent_before = bench.network.count();
        let (endpoints, deleted, ended) = (Vec::new(), Vec::new(), HashMap::new());
        Play { bench, dice, endpoints, deleted, ended, sudden: false, lost: 0, sent_before }
    }

    async fn run(mut self) {
        for _ in 0..COMPANIES {
            let company = CompanyId::new(START);
            for n in 0..ENDPOINTS {
                let retries = u32::try_from(n * 3).unwrap();
                self.endpoints.push(self.bench.endpoint_of(company, retries).await);
            }
        }
        self.answer_at_random();
        for _ in 0..STEPS {
            self.step().await;
        }
        self.settle_down().await;
    }

    fn answer_at_random(&mut self) {
        let mut dice = Dice::new(self.dice.below(1 << 20) as u64);
        self.bench.network.otherwise(move |_| match dice.below(100) {
            0..50 => Reply::Status(200),
            50..75 => Reply::Status(500),
            75..80 => Reply::Silence("connect: refused"),
            80..84 => Reply::RetryAfter(503, "90".to_owned()),
            84..86 => Reply::Status(410),
            86..87 => Reply::Panic,
            _ => Reply::Hang,
        });
    }

    async fn step(&mut self) {
        let chosen = self.any();
        match self.dice.below(100) {
            0..40 => self.emit().await,
            40..55 => self.bench.pass(Duration::from_secs(self.dice.below(90) as u64)).await,
            55..60 => self.bench.pass(Duration::from_secs(self.dice.below(900) as u64)).await,
            60..68 => {
                let status = [200, 500, 410][self.dice.below(3)];
                self.bench.network.let_go(&Reply::Status(status));
            }
            68..74 => self.bench.disable(&chosen).await,
            74..80 => self.bench.enable(&chosen).await,
            80..84 => self.all_at_once(&chosen).await,
            84..88 => {
                let url = format!("https://shop.example/{}", self.dice.below(9));
                self.bench.change(&chosen, to_url(&url)).await;
            }
            88..93 => self.replay().await,
            93..95 => self.delete().await,
            95..97 => self.stop().await,
            _ => self.crash().await,
        }
    }

    /// An endpoint is disabled, enabled, moved, rotated and replayed to at the same time. Two
    /// rotations may be in each other's way; nothing else may.
    async fn all_at_once(&mut self, chosen: &Endpoint) {
        let (company, id, engine) = (chosen.company, chosen.id, self.bench.engine());
        let old = self.bench.deliveries(chosen).await.pop().map(|delivery| delivery.id);
        let grace = Duration::from_secs(self.dice.below(3) as u64 * 600);
        let rotate = || {
            let rotation = Rotation { grace, ..Rotation::default() };
            engine.rotate_secret(company, id, rotation)
        };
        let change = |change| engine.change_endpoint(company, id, change);
        let replay = async {
            match old {
                Some(old) => engine.replay(company, old).await.map(|_| ()),
                None => Ok(()),
            }
        };
        let (first, second, off, on, moved, replayed) = tokio::join!(
            rotate(),
            rotate(),
            change(switched(Some("off".to_owned()))),
            change(switched(None)),
            change(to_url("https://shop.example/moved")),
            replay,
        );
        for rotated in [first, second] {
            assert!(matches!(rotated, Ok(_) | Err(Error::RotationUnderWay { .. })), "{rotated:?}");
        }
        off.and(on).and(moved).unwrap();
        replayed.unwrap();
        assert_eq!(engine.check().await.unwrap(), Vec::<String>::new());
    }

    fn any(&mut self) -> Endpoint {
        self.endpoints[self.dice.below(self.endpoints.len())].clone()
    }

    async fn emit(&mut self) {
        let company = self.any().company;
        let count = self.dice.below(12);
        self.bench.emit_many(company, count).await;
        if self.dice.below(2) == 0 {
            return;
        }
        self.bench.rest().await;
        let mut listening = 0;
        for endpoint in self.endpoints.iter().filter(|found| found.company == company) {
            listening += u32::from(self.bench.present(endpoint).await.disabled.is_none());
        }
        let receipt = self.bench.engine().emit(company, event()).await.unwrap();
        assert_eq!(receipt.deliveries, listening);
    }

    async fn replay(&mut self) {
        let endpoint = self.any();
        let deliveries = self.bench.deliveries(&endpoint).await;
        if !deliveries.is_empty() {
            let chosen = &deliveries[self.dice.below(deliveries.len())];
            self.bench.engine().replay(endpoint.company, chosen.id).await.unwrap();
        }
    }

    /// One of a company's endpoints goes and another comes.
    async fn delete(&mut self) {
        let chosen = self.dice.below(self.endpoints.len());
        let new = self.bench.endpoint_of(self.endpoints[chosen].company, 2).await;
        let old = std::mem::replace(&mut self.endpoints[chosen], new);
        self.bench.engine().delete_endpoint(old.company, old.id).await.unwrap();
        self.deleted.push(old);
    }

    async fn stop(&mut self) {
        self.bench.rest().await;
        self.lost += self.bench.network.hanging();
        self.bench.restart_at_once().await;
        self.nothing_goes_backwards().await;
    }

    async fn crash(&mut self) {
        if !self.sudden {
            self.bench.rest().await;
        }
        self.lost += self.bench.network.hanging();
        self.bench.crash().await;
        self.nothing_goes_backwards().await;
    }

    async fn nothing_goes_backwards(&mut self) {
        for endpoint in self.endpoints.iter().chain(&self.deleted) {
            for delivery in self.bench.deliveries(endpoint).await {
                let before = self.ended.get(&delivery.id);
                assert!(before.is_none_or(|before| *before == delivery.state), "{delivery:?}");
                if delivery.state != Waiting {
                    self.ended.insert(delivery.id, delivery.state);
                }
            }
        }
        assert_eq!(self.bench.engine().check().await.unwrap(), Vec::<String>::new());
    }

    async fn settle_down(mut self) {
        self.bench.network.always(Reply::Status(200));
        self.bench.network.let_go(&Reply::Status(200));
        self.bench.pass_slowly(LEASE * 3, SWEEP).await;
        self.nothing_goes_backwards().await;
        let mut attempts = 0;
        for endpoint in self.endpoints.iter().chain(&self.deleted) {
            let present = self.bench.engine().endpoint(endpoint.company, endpoint.id).await;
            let held = present.is_ok_and(|present| present.disabled.is_some());
            for delivery in self.bench.deliveries(endpoint).await {
                assert!(held || delivery.state != Waiting, "{delivery:?}");
                let made = self.bench.engine().attempts(endpoint.company, delivery.id).await;
                attempts += made.unwrap().len();
            }
        }
        let sent = self.bench.network.sent();
        let panicked = self.bench.network.panicked();
        let unknown = sent.len() - self.sent_before - attempts;
        assert!(self.sudden || unknown <= self.lost + panicked, "{unknown} requests unrecorded");
    }
}
