//! History in days: they are made ahead, go as a whole, and nothing that must stay goes with them.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use fanfare::model::{
    Claim, CompanyId, DeliveryId, DeliveryList, DeliverySort, DeliveryState, Endpoint, Event,
    EventId, Flow, History, Order, Ordering, Record, Timestamp, Verdict, Window,
};
use fanfare::store::postgres::Postgres;
use fanfare::store::{
    Admission, Emit, Endpoints, Histories, LaneKey, Queue, Replays, Unsent, Upkeep, Wanted,
};
use fanfare_testkit::contract::{LEASE, NOW, accept_all, act, attempt, endpoint, event};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{Schema, connect, join, open, sql};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Before all history.
const NEVER: Timestamp = Timestamp(0);

/// A store, an endpoint that hears everything, and a midnight after all ids that were made.
struct Shop {
    store: Schema,
    endpoint: Endpoint,
    day: Timestamp,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Shop {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.store
    }
}

impl Shop {
    /// Ids never step back in a process, so one test at a time.
    async fn open() -> Shop {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let store = open().await;
        let endpoint = endpoint(CompanyId::new(NOW), &["*"]);
        store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
        let (newest, day) = (DeliveryId::new(NOW).made_at().0, 24 * 3600 * 1000);
        let day = Timestamp(newest - newest.rem_euclid(day) + day);
        Shop { store, endpoint, day, _alone: alone }
    }

    fn company(&self) -> CompanyId {
        self.endpoint.company
    }

    /// So many days and hours after the first midnight.
    fn at(&self, days: u32, hours: u32) -> Timestamp {
        self.day.plus(DAY * days + HOUR * hours)
    }

    /// Emits an event at a time, and claims its delivery.
    async fn claim(&self, at: Timestamp) -> Claim {
        accept_all(&**self, &event(self.company(), "a", at)).await.remove(0)
    }

    async fn record(&self, claim: Claim, verdict: Verdict, at: Timestamp) {
        let record = Record::new(claim.clone(), attempt(&claim, at, 200).into(), verdict, at);
        assert!((**self).record(record).await.unwrap().applied);
    }

    /// An event whose delivery was tried at once, with this result.
    async fn tried(&self, verdict: Verdict, at: Timestamp) -> Claim {
        let claim = self.claim(at).await;
        self.record(claim.clone(), verdict, at).await;
        claim
    }

    /// Sees to the days, step by step; nothing is ever broken.
    async fn settle(&self, now: Timestamp, before: Timestamp) {
        let mut steps = 0;
        while self.turn(now, before).await.unwrap() {
            assert_eq!(self.check().await.unwrap(), Vec::<String>::new());
            steps += 1;
            assert!(steps < 100, "it does not end");
        }
    }

    /// The partitions of a table that are not always there.
    async fn days(&self, table: &str) -> Vec<String> {
        let find = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = ($1::text || '.' || $2)::regclass and c.relname ~ '[0-9]{8}$'
            order by 1";
        let rows = connect().await.query(find, &[&self.store.name, &table]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn rows(&self, table: &str) -> i64 {
        let count = format!("select count(*) from {}.{table}", self.store.name);
        connect().await.query_one(&count, &[]).await.unwrap().get(0)
    }

    /// The endpoint's list, which is as long as it says.
    async fn history(&self) -> Vec<History> {
        let window = Window { skip: 0, limit: 5000 };
        let page = self
            .deliveries(&DeliveryList {
                company: self.company(),
                endpoint: self.endpoint.id,
                search: None,
                sort: DeliverySort::CreatedAt,
                order: Order::Ascending,
                window,
            })
            .await
            .unwrap();
        assert_eq!(page.items.len() as u64, page.total);
        page.items
    }

    async fn is_there(&self, claim: &Claim) -> bool {
        let found = self.delivery(self.company(), claim.delivery).await.unwrap().is_some();
        let attempts = self.attempts(self.company(), claim.delivery).await.unwrap();
        assert_eq!(found, !attempts.is_empty(), "attempts go with their delivery");
        found
    }

    async fn has_event(&self, id: EventId) -> bool {
        self.event(self.company(), id).await.unwrap().is_some()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_made_ahead_and_what_came_before_moves_into_them() {
    let shop = Shop::open().await;
    let early = shop.tried(Verdict::Concluded, shop.at(0, 1)).await;
    assert_eq!(shop.days("deliveries_final").await, Vec::<String>::new());
    shop.settle(shop.at(0, 2), NEVER).await;
    for table in ["deliveries_final", "attempts", "events"] {
        assert_eq!(shop.days(table).await.len(), 8, "today and a week of {table}");
    }
    let late = shop.tried(Verdict::Concluded, shop.at(7, 23)).await;
    for rest in ["deliveries_rest", "attempts_rest", "events_rest"] {
        assert_eq!(shop.rows(rest).await, 0, "{rest}");
    }
    shop.tried(Verdict::Concluded, shop.at(8, 0)).await;
    assert_eq!(shop.rows("deliveries_rest").await, 1, "it is of a day that is not there");
    shop.settle(shop.at(1, 0), NEVER).await;
    assert_eq!((shop.rows("deliveries_rest").await, shop.rows("events_rest").await), (0, 0));
    assert_eq!(shop.days("deliveries_final").await.len(), 9);
    assert!(shop.is_there(&early).await && shop.is_there(&late).await);
    assert_eq!(shop.history().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_which_much_is_there_already_is_left_as_it_is() {
    let shop = Shop::open().await;
    emit_many(&shop, 1001, shop.at(0, 1)).await;
    shop.settle(shop.at(0, 2), NEVER).await;
    assert_eq!(shop.days("events").await.len(), 7, "from tomorrow on");
    assert_eq!(shop.rows("events_rest").await, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_as_a_whole_and_what_must_stay_stays() {
    let shop = Shop::open().await;
    shop.settle(shop.at(0, 0), NEVER).await;
    let company = shop.company();
    let concluded = shop.tried(Verdict::Concluded, shop.at(0, 1)).await;
    let failed = shop.tried(Verdict::Failed("no".into()), shop.at(0, 1)).await;
    let waits = shop.tried(Verdict::RetryAt(shop.at(3, 0)), shop.at(0, 2)).await;
    let own_id = EventId::from_uuid(Uuid::max());
    let chosen = Event { id: own_id, ..event(company, "a", shop.at(0, 3)) };
    let chosen = accept_all(&*shop, &chosen).await.remove(0);
    shop.record(chosen.clone(), Verdict::Concluded, shop.at(0, 3)).await;
    let repeated = shop.tried(Verdict::Concluded, shop.at(0, 23)).await;
    let repeat = shop.replay(company, repeated.delivery, &act(shop.at(1, 1))).await.unwrap();
    let young = shop.tried(Verdict::Concluded, shop.at(1, 2)).await;
    let claims = claim(&shop, shop.at(1, 3)).await;
    assert_eq!(claims.len(), 1);
    shop.record(claims[0].clone(), Verdict::Concluded, shop.at(1, 3)).await;

    shop.settle(shop.at(1, 4), shop.at(0, 23)).await;
    assert!(shop.is_there(&concluded).await, "the day is not over");
    shop.settle(shop.at(2, 0), shop.at(1, 0)).await;
    for gone in [&concluded, &failed, &chosen, &repeated] {
        assert!(!shop.is_there(gone).await);
    }
    for gone in [concluded.event.id, failed.event.id, own_id] {
        assert!(!shop.has_event(gone).await);
    }
    assert_eq!(shop.days("deliveries_final").await.len(), 9, "one went and two came");
    let left: Vec<DeliveryId> = shop.history().await.iter().map(|h| h.delivery.id).collect();
    assert_eq!(left, [waits.delivery, repeat.unwrap().id, young.delivery]);
    assert!(shop.is_there(&waits).await && shop.is_there(&young).await);
    assert!(shop.has_event(repeated.event.id).await, "its repeat shows it");
    let shown = shop.delivery(company, left[1]).await.unwrap().unwrap().event;
    assert_eq!((shown.id, &shown.payload), (repeated.event.id, &repeated.event.payload));

    let again = claim(&shop, shop.at(3, 0)).await.remove(0);
    assert_eq!((again.delivery, again.attempts), (waits.delivery, 1));
    shop.record(again, Verdict::Concluded, shop.at(3, 0)).await;
    assert_eq!(shop.check().await.unwrap(), Vec::<String>::new());
    assert!(shop.expire(shop.at(1, 0), None, 100).await.unwrap().rows > 0, "its day is gone");
    assert!(!shop.is_there(&waits).await && !shop.has_event(waits.event.id).await);
    shop.settle(shop.at(3, 0), shop.at(2, 0)).await;
    assert_eq!(shop.history().await.len(), 0);
    assert!(!shop.has_event(repeated.event.id).await);
    let old = shop.expire(shop.at(2, 0), None, 100).await.unwrap();
    assert_eq!((old.rows, shop.check().await.unwrap().len()), (0, 0));
    assert_eq!(shop.rows("events").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_which_much_must_stay_goes_row_by_row() {
    let shop = Shop::open().await;
    shop.settle(shop.at(0, 0), NEVER).await;
    let done = shop.tried(Verdict::Concluded, shop.at(0, 1)).await;
    emit_many(&shop, 1000, shop.at(0, 2)).await;
    shop.settle(shop.at(1, 0), shop.at(1, 0)).await;
    assert!(shop.is_there(&done).await);
    assert_eq!(
        shop.days("deliveries_final").await.iter().filter(|n| n.contains("left")).count(),
        1
    );
    assert_eq!(shop.expire(shop.at(1, 0), None, 100).await.unwrap().rows, 1);
    assert!(!shop.is_there(&done).await && !shop.has_event(done.event.id).await);
    let waiting: Vec<_> = shop.history().await.iter().map(|h| (h.delivery.id, None)).collect();
    assert_eq!(waiting.len(), 1000);
    let ending = Unsent::by_rule("enough", shop.at(1, 1));
    shop.end(shop.company(), &waiting, &ending).await.unwrap();
    shop.settle(shop.at(1, 2), shop.at(1, 0)).await;
    while shop.expire(shop.at(1, 0), None, 500).await.unwrap().rows > 0 {}
    shop.settle(shop.at(1, 2), shop.at(1, 0)).await;
    assert!(!shop.days("events").await.iter().any(|name| name.contains("left")), "it is empty");
    assert_eq!((shop.rows("events").await, shop.history().await.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_see_to_the_days_at_once_and_under_load() {
    let shop = Shop::open().await;
    shop.settle(shop.at(0, 0), NEVER).await;
    for n in 0..20 {
        shop.tried(Verdict::Concluded, shop.at(0, n)).await;
    }
    let (now, before) = (shop.at(2, 0), shop.at(1, 0));
    let load = async {
        for n in 0..50 {
            let at = shop.at(2, 1).plus(Duration::from_millis(n));
            shop.tried(Verdict::Concluded, at).await;
        }
    };
    let turn = || async {
        for _ in 0..20 {
            shop.turn(now, before).await.unwrap();
        }
    };
    tokio::join!(load, turn(), turn(), turn());
    shop.settle(now, before).await;
    assert_eq!(shop.history().await.len(), 50);
    assert_eq!(shop.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_history_for_long_is_left_in_peace() {
    let shop = Shop::open().await;
    let schema = &shop.store.name;
    let mut reader = connect().await;
    let look = format!("select from {schema}.deliveries, {schema}.attempts, {schema}.events");

    let reading = reader.transaction().await.unwrap();
    reading.batch_execute(&look).await.unwrap();
    assert!(!shop.turn(shop.at(0, 0), NEVER).await.unwrap());
    assert_eq!(shop.days("events").await, Vec::<String>::new());
    reading.rollback().await.unwrap();
    shop.settle(shop.at(0, 0), NEVER).await;
    assert_eq!(shop.days("events").await.len(), 8);

    let old = shop.tried(Verdict::Concluded, shop.at(0, 1)).await;
    shop.settle(shop.at(1, 0), NEVER).await;
    let reading = reader.transaction().await.unwrap();
    reading.batch_execute(&look).await.unwrap();
    assert!(!shop.turn(shop.at(1, 0), shop.at(1, 0)).await.unwrap());
    assert!(shop.is_there(&old).await);
    reading.rollback().await.unwrap();
    shop.settle(shop.at(1, 0), shop.at(1, 0)).await;
    assert!(!shop.is_there(&old).await);
}

/// Rows of every kind.
async fn every_kind(shop: &Shop) {
    let company = shop.company();
    let strict = Flow { ordering: Ordering::Strict, ..Flow::default() };
    let ordered = Endpoint { flow: strict, ..endpoint(company, &["ordered"]) };
    shop.add_endpoint(&ordered, &act(NOW)).await.unwrap();
    let done = shop.tried(Verdict::Concluded, NOW).await;
    shop.tried(Verdict::Failed("no".into()), NOW).await;
    shop.tried(Verdict::RetryAt(NOW.plus(HOUR)), NOW).await;
    for _ in 0..3 {
        emit(shop, event(company, "ordered", NOW)).await;
    }
    let chosen = event(company, "a", NOW);
    for id in [Uuid::max(), Uuid::nil(), Uuid::from_u128(0x8000 << 112)] {
        emit(shop, Event { id: EventId::from_uuid(id), ..chosen.clone() }).await;
    }
    shop.replay(company, done.delivery, &act(NOW)).await.unwrap().unwrap();
    emit(shop, event(CompanyId::new(NOW), "unheard", NOW)).await;
}

/// The tables as they were before there were days, filled with what is in another schema.
async fn make_old(name: &str, from: &str) {
    let steps = [
        include_str!("../../../../migrations/postgres/0001_init.sql"),
        include_str!("../../../../migrations/postgres/0002_flow.sql"),
        include_str!("../../../../migrations/postgres/0003_guard.sql"),
    ];
    let steps = steps.join("\n");
    sql(&format!(
        "drop schema if exists {name} cascade; create schema {name}; set search_path = {name};
         create table migrations (number integer primary key);
         insert into migrations values (1), (2), (3);
         {steps};
         do $$
         declare part record;
         begin
             for part in
                 select table_name as name, string_agg(column_name, ',') as columns
                 from information_schema.columns
                 where table_schema = '{name}' and table_name <> 'migrations' group by table_name
             loop
                 execute format('insert into %I (%s) select %2$s from {from}.%1$I',
                                part.name, part.columns);
             end loop;
         end $$"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_from_before_there_were_days_comes_along() {
    let mut shop = Shop::open().await;
    every_kind(&shop).await;
    let before = shop.history().await;
    shop.close().await;
    let name = format!("{}_old", shop.store.name);
    make_old(&name, &shop.store.name).await;
    let url = shop.store.url.replace(&shop.store.name, &name);
    let store = join(&url).await;
    let dropped = std::mem::replace(&mut shop.store, Schema { store, name, url });
    drop(dropped);

    assert_eq!(shop.check().await.unwrap(), Vec::<String>::new());
    for (item, as_before) in shop.history().await.iter().zip(&before) {
        assert_eq!((&item.delivery, &item.last), (&as_before.delivery, &as_before.last));
        assert_eq!(
            (item.event.id, &item.event.payload),
            (as_before.event.id, &as_before.event.payload)
        );
    }
    assert_eq!(shop.days("deliveries_final").await.len(), 1, "all that was there");
    assert_eq!(shop.rows("deliveries_waiting").await, 11);
    let waiting = before.iter().filter(|item| item.delivery.state == DeliveryState::Waiting);
    let (waiting, later) = (waiting.count(), NOW.plus(DAY));
    let claims = claim(&shop, later).await;
    assert_eq!(claims.len(), waiting);
    for claim in claims {
        shop.record(claim, Verdict::Concluded, later).await;
    }
    shop.tried(Verdict::Concluded, shop.at(0, 1)).await;
    assert_eq!(shop.check().await.unwrap(), Vec::<String>::new());

    // It ends with the day of the migration; what comes then has days of its own.
    let today = "select (extract(epoch from now()) * 1000)::bigint";
    let today = Timestamp(connect().await.query_one(today, &[]).await.unwrap().get(0));
    shop.settle(today, NEVER).await;
    assert_eq!(shop.days("deliveries_final").await.len(), 8);
    let cut = shop.at(0, 2);
    while shop.expire(cut, None, 100).await.unwrap().rows > 0 {}
    assert_eq!(shop.rows("deliveries_final").await, 0);
    assert_eq!(shop.rows("events").await, 3, "of those that wait in order");
    shop.settle(today.plus(DAY), today.plus(DAY)).await;
    assert!(!shop.days("events").await.iter().any(|name| name.starts_with("events_u")));
    assert_eq!(shop.rows("events").await, 3);
}

async fn emit(shop: &Shop, event: Event) {
    let admission = Admission { lease: LEASE, may_claim: Arc::new(|_| false) };
    shop.accept(vec![Emit::new(event)], &admission).await.unwrap();
}

/// Emits so many events, none claimed.
async fn emit_many(shop: &Shop, count: u64, at: Timestamp) {
    let emits = (0..count)
        .map(|n| Emit::new(event(shop.company(), "a", at.plus(Duration::from_millis(n)))))
        .collect();
    let admission = Admission { lease: LEASE, may_claim: Arc::new(|_| false) };
    shop.accept(emits, &admission).await.unwrap();
}

/// Everything of the endpoint that is due.
async fn claim(shop: &Shop, now: Timestamp) -> Vec<Claim> {
    let key = LaneKey { company: shop.company(), endpoint: shop.endpoint.id };
    let wanted = Wanted { key, limit: 10_000, earliest: Timestamp(i64::MIN), probe: false };
    let store: &Postgres = shop;
    Queue::claim(store, &[wanted], now, LEASE).await.unwrap().remove(0).claims
}
