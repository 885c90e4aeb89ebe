//! A running engine, a company with one webhook for everything, and what arrives there.

use std::path::Path;

use fanfare::clock::{Clock, SystemClock};
use fanfare::engine::NewEndpoint;
use fanfare::model::{CompanyId, Event, EventId, Flow, Ordering};
use fanfare::{EndpointId, Fanfare, Options, Webhooks};
use fanfare_testkit::receiver::{Arrival, Receiver};
use fanfare_testkit::wait::{PATIENCE, within};
use tempfile::TempDir;

/// The largest payload that the engine takes, in bytes.
pub(crate) const PAYLOAD_MAX: usize = 2048;
/// Whoever parses this and writes it again writes something else.
pub(crate) const PAYLOAD: &str = "{\"total\": 1.10,  \"big\":123456789012345678901234567890, \"a\":1, \"A\" :\t\"\\u00e9é\", \"a\":2 }";

pub(crate) struct Shop {
    pub(crate) fanfare: Fanfare,
    pub(crate) company: CompanyId,
    pub(crate) webhooks: Webhooks,
    pub(crate) webhook: EndpointId,
    pub(crate) receiver: Receiver,
    pub(crate) dir: TempDir,
}

impl Shop {
    /// With its store at `database_url`, and these outboxes beside that.
    pub(crate) async fn open(database_url: &str, outbox_urls: Vec<String>) -> Shop {
        Shop::open_in(tempfile::tempdir().unwrap(), database_url, outbox_urls).await
    }

    /// With an embedded store, and these outboxes.
    pub(crate) async fn embedded(dir: TempDir, outbox_urls: Vec<String>) -> Shop {
        let url = sqlite_url(&dir.path().join("fanfare.db"));
        Shop::open_in(dir, &url, outbox_urls).await
    }

    async fn open_in(dir: TempDir, database_url: &str, outbox_urls: Vec<String>) -> Shop {
        let receiver = Receiver::start().await;
        let mut options = Options { outbox_urls, ..Options::new(database_url, [7; 32]) };
        options.rules.max_payload = PAYLOAD_MAX;
        options.guard.allow_http = true;
        let network = format!("127.0.0.1/32:{}", receiver.address().port());
        options.guard.allow_networks = vec![network.parse().unwrap()];
        let fanfare = Fanfare::open_with(options).await.unwrap();
        let company = CompanyId::new(SystemClock.now());
        let webhooks = fanfare.company(company);
        let url = fanfare.engine().parse_url("url", &receiver.url()).unwrap();
        let flow = Flow { ordering: Ordering::Key, ..Flow::default() };
        let new = NewEndpoint { flow, ..NewEndpoint::new(url, vec!["*".parse().unwrap()]) };
        let webhook = webhooks.register_with(new).await.unwrap().id;
        Shop { fanfare, company, webhooks, webhook, receiver, dir }
    }

    /// Waits until this body has arrived.
    pub(crate) async fn hears(&self, body: &str) -> Arrival {
        let is_it = |arrival: &Arrival| arrival.body == body.as_bytes();
        self.receiver.wait_until(|arrivals| arrivals.iter().any(is_it)).await;
        self.receiver.arrivals().into_iter().find(is_it).unwrap()
    }

    /// Everything that has arrived, in its order.
    pub(crate) fn heard(&self) -> Vec<String> {
        let arrivals = self.receiver.arrivals();
        arrivals.iter().map(|arrival| String::from_utf8(arrival.body.to_vec()).unwrap()).collect()
    }

    /// Waits until so many outboxes are away.
    pub(crate) async fn away(&self, count: i64) {
        let away = &self.fanfare.engine().metrics().outboxes_away;
        let as_many = async {
            while away.get() != count {
                tokio::task::yield_now().await;
            }
        };
        within(PATIENCE, &format!("{count} outboxes away"), as_many).await;
    }

    /// Waits until so many rows are taken, and so many refused.
    pub(crate) async fn taken(&self, taken: u64, refused: u64) {
        let metrics = self.fanfare.engine().metrics();
        let counts = || (metrics.outbox_taken.get(), metrics.outbox_refused.get());
        let as_many = async {
            while counts() != (taken, refused) {
                tokio::task::yield_now().await;
            }
        };
        within(PATIENCE, &format!("{taken} taken, {refused} refused"), as_many).await;
    }

    /// One of the last ten events.
    pub(crate) async fn event(&self, id: EventId) -> Event {
        let engine = self.fanfare.engine();
        let found = engine.deliveries_before(self.company, self.webhook, None, 10).await.unwrap();
        found.into_iter().map(|history| history.event).find(|event| event.id == id).unwrap()
    }

    /// All is well, and it ends.
    pub(crate) async fn close(self) {
        assert_eq!(self.fanfare.engine().check().await.unwrap(), Vec::<String>::new());
        self.fanfare.close().await;
    }
}

pub(crate) fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// JSON that nests one level deeper than is taken.
pub(crate) fn too_deep() -> String {
    let levels = fanfare::engine::DEPTH_MAX + 1;
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}
