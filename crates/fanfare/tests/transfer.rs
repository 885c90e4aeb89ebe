//! A store is moved into another one and back. Needs `FANFARE_TEST_POSTGRES`, the URL of a server
//! that may be filled with rubbish.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare::metrics::Metrics;
use fanfare::model::{
    ApiKey, ApiKeyId, CompanyId, Endpoint, EndpointChange, Event, Flow, Health, KeyHash, Ordering,
    Outcome, PreviousSecret, Record, ReplayId, Scope, Sealed, Selection, Verdict,
};
use fanfare::store::transfer::{Progress, Proven, Stage, transfer};
use fanfare::store::{self, Accepted, Admission, Emit, Name, NewReplay, Store, StoreError, Wanted};
use fanfare_testkit::contract::{
    self, LEASE, NOW, accept_all, act, attempt, card, endpoint, event,
};
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::wait::{PATIENCE, pause, within};
use tempfile::TempDir;

/// A place for a store, in a directory that goes with it.
struct Place {
    url: String,
    _directory: Option<TempDir>,
}

impl Place {
    fn embedded() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("fanfare.db").display());
        Place { url, _directory: Some(directory) }
    }

    fn on_a_server() -> Place {
        Place { url: url_of_new_schema(), _directory: None }
    }

    async fn open(&self) -> Arc<dyn Store> {
        let store = store::open(&self.url, Metrics::default()).await.unwrap();
        store.renew(&card(), NOW).await.unwrap();
        store
    }

    /// Moves it, without a stop.
    async fn move_to(&self, to: &Place) -> Vec<Proven> {
        transfer(&self.url, &to.url, &mut |_| {}).await.unwrap()
    }

    async fn refusal(&self, to: &Place) -> String {
        transfer(&self.url, &to.url, &mut |_| {}).await.unwrap_err().to_string()
    }

    /// What is said to whoever opens it, as soon as what was cut short has let go of it.
    async fn is_refused(&self) -> String {
        let refused = async {
            loop {
                let refused = store::open(&self.url, Metrics::default()).await.err().unwrap();
                let refused = refused.to_string();
                if !refused.contains("is in use by another process") {
                    return refused;
                }
                pause().await;
            }
        };
        within(PATIENCE, "the end of what was cut short", refused).await
    }

    /// Moves until `progress` has been made so many times, and is cut short there.
    async fn is_cut_short(&self, to: &Place, times: usize) -> bool {
        let (from, to) = (self.url.clone(), to.url.clone());
        let moving = tokio::spawn(async move {
            let mut left = times;
            let mut tell = |_| {
                left -= 1;
                assert!(left > 0, "cut short");
            };
            transfer(&from, &to, &mut tell).await
        });
        match moving.await {
            Ok(moved) => {
                moved.unwrap();
                false
            }
            Err(cut) => cut.is_panic(),
        }
    }
}

/// Lets many things happen that leave something behind, each in companies of its own.
async fn fill(place: &Place) -> CompanyId {
    let store = place.open().await;
    let all = store.as_ref();
    // It looks at the whole store.
    contract::what_is_sealed_is_listed_with_older_secrets_and_that_of_deleted_endpoints(all).await;
    contract::an_endpoint_is_kept_whole(all).await;
    contract::a_company_is_named(all).await;
    contract::a_deleted_endpoint_is_gone_but_its_history_stays(all).await;
    contract::a_secret_that_signs_no_more_goes_with_the_next_change(all).await;
    contract::a_filter_lets_only_some_payloads_through(all).await;
    contract::an_event_nobody_hears_is_accepted(all).await;
    contract::bytes_in_are_bytes_out(all).await;
    contract::attempts_are_kept_whole_and_in_order(all).await;
    contract::a_failed_delivery_says_why(all).await;
    contract::gone_disables_the_endpoint_and_holds_its_others(all).await;
    contract::a_stale_claim_records_history_but_changes_nothing(all).await;
    contract::a_late_result_counts_if_nobody_else_claimed(all).await;
    contract::a_batch_of_records_is_judged_one_by_one(all).await;
    contract::a_probe_is_counted_as_an_attempt_and_as_a_probe(all).await;
    contract::notices_reach_the_operational_endpoints_that_listen(all).await;
    contract::a_repeated_key_is_answered_the_same(all).await;
    contract::a_receipt_tells_what_was_answered_then(all).await;
    contract::a_delivery_is_due_at_its_events_time(all).await;
    contract::only_what_waits_is_ended(all).await;
    contract::only_the_first_of_a_key_is_claimed(all).await;
    contract::in_a_strict_order_everything_waits_for_what_came_before(all).await;
    contract::a_newer_delivery_supersedes_those_of_its_type_and_key(all).await;
    contract::superseding_keeps_the_order(all).await;
    contract::a_replays_key_is_answered_the_same(all).await;
    contract::a_replay_keeps_its_pace(all).await;
    contract::a_cancelled_replay_makes_no_more(all).await;
    contract::failures_are_repeated_unless_repeated_before(all).await;
    contract::an_entry_tells_who_when_what_and_which_fields(all).await;
    contract::a_key_is_kept_whole_and_found_by_its_hash(all).await;
    contract::a_value_is_agreed_on_once(all).await;
    contract::a_recovered_store_has_no_claims(all).await;
    contract::a_busy_store_checks_out(all).await;
    let company = fill_a_company(all).await;
    store.close().await;
    company
}

/// The text in front of the odd characters.
const ODD: &str = "ñ \u{1f6cd} 'quoted' \\ \"\n\t{} $1 ?";

/// A company with something in every column.
async fn fill_a_company(store: &dyn Store) -> CompanyId {
    let company = CompanyId::new(NOW);
    store.name_company(company, ODD, &act(NOW)).await.unwrap();
    let flow = Flow {
        rate_limit: Some(7),
        max_in_flight: Some(3),
        ordering: Ordering::Key,
        coalesce: Some(Duration::from_millis(2500)),
    };
    let whole = Endpoint {
        secret: Sealed((0..=255).collect()),
        previous: Some(PreviousSecret { secret: Sealed(vec![0]), until: NOW.plus(LEASE) }),
        headers: Some(Sealed(Vec::new())),
        tls: Some(Sealed(vec![255, 0, 10])),
        flow,
        ..endpoint(company, &["order.created", "payment.*", "stock.level"])
    };
    store.add_endpoint(&whole, &act(NOW)).await.unwrap();
    let plain = endpoint(company, &["*"]);
    store.add_endpoint(&plain, &act(NOW)).await.unwrap();
    let off = EndpointChange { disabled: Some(Some(ODD.into())), ..EndpointChange::default() };
    let disabled = endpoint(company, &["*"]);
    store.add_endpoint(&disabled, &act(NOW)).await.unwrap();
    store.change_endpoint(company, disabled.id, &off, &act(NOW)).await.unwrap();

    fail_once(store, company).await;
    emit_with_wishes(store, company).await;
    store.accept(vec![known(company)], &claiming(true)).await.unwrap();
    replay_slowly(store, &plain).await;
    store.add_api_key(&api_key(company), &act(NOW)).await.unwrap();
    store.note_use(company, api_key(company).id, NOW.plus(LEASE)).await.unwrap();
    company
}

/// Bytes that are no JSON and no text; whoever calls the store has to know.
async fn fail_once(store: &dyn Store, company: CompanyId) {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for payload in [&bytes[..], b"\0", b"null"] {
        let mut event = event(company, "order.created", NOW);
        event.payload = Bytes::copy_from_slice(payload);
        let claims = accept_all(store, &event).await;
        let mut answered = attempt(&claims[0], NOW, 500);
        let Outcome::Answered(answer) = &mut answered.outcome else { panic!("no answer") };
        answer.body = Bytes::copy_from_slice(&payload[..payload.len().min(16_384)]);
        answer.flaw = Some(ODD.to_owned());
        let at = NOW.plus(LEASE);
        let health = Health { failing_since: Some(NOW), held_until: Some(at) };
        let retry = Record::new(claims[0].clone(), answered.into(), Verdict::RetryAt(at), NOW);
        store.record(Record { health: Some(health), ..retry }).await.unwrap();
    }
}

/// Parked, coalesced, and at its time.
async fn emit_with_wishes(store: &dyn Store, company: CompanyId) {
    for n in 0..6 {
        let key = (n % 2 == 0).then(|| ODD.replace(['\n', '\t'], " "));
        let deliver_at = (n == 5).then(|| NOW.plus(LEASE));
        let expires_at = (n > 3).then(|| NOW.plus(LEASE * 100));
        let event = Event {
            ordering_key: key,
            deliver_at,
            expires_at,
            ..event(company, "stock.level", NOW)
        };
        store.accept(vec![Emit::new(event)], &claiming(false)).await.unwrap();
    }
}

/// So that it is not finished.
async fn replay_slowly(store: &dyn Store, endpoint: &Endpoint) {
    let company = endpoint.company;
    let some = store.deliveries_before(company, endpoint.id, None, 5).await.unwrap();
    let some = some.iter().map(|item| item.delivery.id).collect();
    let replay = NewReplay {
        id: ReplayId::new(NOW),
        company,
        selection: Selection::Deliveries(some),
        per_second: Some(2),
        key: Some("a key with a \0 inside".to_owned()),
        at: NOW,
    };
    store.start_replay(&replay, &act(NOW)).await.unwrap();
}

fn api_key(company: CompanyId) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(company.uuid()),
        company,
        name: ODD.to_owned(),
        hash: KeyHash([9; 32]),
        hint: "wxyz".to_owned(),
        scope: Scope::Read,
        created_at: NOW,
        expires_at: Some(NOW.plus(LEASE * 1000)),
        used_at: None,
        revoked_at: None,
    }
}

/// An emit under a key with a character that PostgreSQL's text has not.
fn known(company: CompanyId) -> Emit {
    let name = Name { text: "key:with a \0 inside".to_owned(), digest: [3; 32] };
    let event = event(company, "payment.received", NOW);
    Emit { names: vec![name], ..Emit::new(event) }
}

fn claiming(all: bool) -> Admission {
    Admission { lease: LEASE, may_claim: Arc::new(move |_| all) }
}

/// Everything that a store tells when it is asked.
async fn everything(place: &Place) -> Vec<String> {
    let store = store::open_read_only(&place.url).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "{}", place.url);
    let mut told = Vec::new();
    let sealed = store.secrets(None, 10_000).await.unwrap();
    told.extend(
        sealed.iter().map(|(lane, what, sealed)| format!("{lane:?} {what} {:?}", sealed.0)),
    );
    told.push(format!("{:?}", store.all_endpoints(None, 10_000).await.unwrap()));
    told.push(format!("{:?}", store.unfinished_replays(None, 10_000).await.unwrap()));
    for name in ["key", "another"] {
        told.push(format!("{:?}", store.kept(name).await.unwrap()));
    }
    let mut companies: Vec<_> = sealed.iter().map(|(lane, ..)| lane.company).collect();
    companies.dedup();
    for company in companies {
        told.push(format!("{:?}", store.company(company).await.unwrap()));
        told.push(format!("{:?}", store.replays_before(company, None, 1_000).await.unwrap()));
        told.push(format!("{:?}", store.entries_before(company, None, None, 1_000).await.unwrap()));
        let keys = store.api_keys_before(company, None, 1_000).await.unwrap();
        told.extend(keys.iter().map(|key| format!("{key:?} {:?}", key.hash.0)));
    }
    for (lane, what, _) in &sealed {
        if what.to_string() == "signing secret" {
            told.extend(lane_of(store.as_ref(), lane.company, lane.endpoint).await);
        }
    }
    store.close().await;
    told
}

async fn lane_of(
    store: &dyn Store,
    company: CompanyId,
    endpoint: fanfare::EndpointId,
) -> Vec<String> {
    let mut told = vec![format!("{:?}", store.registered(company, endpoint).await.unwrap())];
    for item in store.deliveries_before(company, endpoint, None, 10_000).await.unwrap() {
        let attempts = store.attempts(company, item.delivery.id).await.unwrap();
        told.push(format!("{item:?} {attempts:?}"));
    }
    told
}

/// What a store does with what waits in it, and with what it has heard before.
async fn deeds(place: &Place, company: CompanyId) -> Vec<String> {
    let store = place.open().await;
    // Every lease has run out.
    let now = NOW.plus(LEASE * 5000);
    let lanes = store.lanes(None, 10_000).await.unwrap();
    let wanted: Vec<_> = lanes
        .iter()
        .map(|lane| Wanted {
            key: lane.key,
            limit: 100,
            earliest: fanfare::Timestamp::default(),
            probe: false,
        })
        .collect();
    let mut claimed = store.claim(&wanted, now, LEASE).await.unwrap();
    claimed.sort_by_key(|claimed| (claimed.key.company, claimed.key.endpoint));
    let mut done = Vec::new();
    for claimed in &mut claimed {
        // Those that are due at the same time come in any order.
        claimed.claims.sort_by_key(|claim| claim.delivery);
        done.push(format!("{claimed:?}"));
    }
    let repeat = store.accept(vec![known(company)], &claiming(true)).await.unwrap();
    assert!(matches!(repeat[..], [Accepted::Repeat(_)]), "{repeat:?}");
    done.push(format!("{repeat:?}"));
    let new = event(company, "order.created", now);
    assert!(matches!(
        store.accept(vec![Emit::new(new.clone())], &claiming(false)).await.unwrap()[..],
        [Accepted::New { deliveries: 2, .. }]
    ));
    for waiting in store.waiting_of(company, new.id).await.unwrap().unwrap() {
        done.push(format!("{} {:?}", waiting.sequence, waiting.order_key));
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
    done
}

/// From one place to another and on to a third, which is of the first one's kind.
async fn there_and_back(first: Place, second: Place, third: Place) {
    let company = fill(&first).await;
    let before = everything(&first).await;
    assert!(before.len() > 300, "{} lines are not much", before.len());
    let there = first.move_to(&second).await;
    assert!(there.iter().all(|table| table.rows > 0), "something in every table: {there:?}");
    assert_eq!(everything(&second).await, before);
    assert_eq!(everything(&first).await, before, "the source stays as it is");
    let back = second.move_to(&third).await;
    assert_eq!(back, there);
    assert_eq!(everything(&third).await, before);
    let done = deeds(&first, company).await;
    for place in [&second, &third] {
        for (deed, expected) in deeds(place, company).await.iter().zip(&done) {
            assert_eq!(deed, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_postgresql_and_back() {
    there_and_back(Place::embedded(), Place::on_a_server(), Place::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_sqlite_and_back() {
    there_and_back(Place::on_a_server(), Place::embedded(), Place::on_a_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_from_file_to_file() {
    there_and_back(Place::embedded(), Place::embedded(), Place::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_from_schema_to_schema() {
    there_and_back(Place::on_a_server(), Place::on_a_server(), Place::on_a_server()).await;
}

/// Of a text alone: PostgreSQL's has none, and shows U+FFFD in its place, as when it is written
/// there at once.
#[tokio::test]
async fn a_nul_in_a_text_is_shown_by_postgresql_as_ever() {
    let (file, schema, back) = (Place::embedded(), Place::on_a_server(), Place::embedded());
    let store = file.open().await;
    let company = CompanyId::new(NOW);
    store.add_endpoint(&endpoint(company, &["*"]), &act(NOW)).await.unwrap();
    let claim = accept_all(store.as_ref(), &event(company, "a", NOW)).await.remove(0);
    let id = claim.delivery;
    let failed = Verdict::Failed("odd: \0.".to_owned());
    let record = Record::new(claim.clone(), attempt(&claim, NOW, 500).into(), failed, NOW);
    store.record(record).await.unwrap();
    store.close().await;
    let there = file.move_to(&schema).await;
    assert_eq!(schema.move_to(&back).await, there);
    for (place, expected) in
        [(&file, "odd: \0."), (&schema, "odd: \u{fffd}."), (&back, "odd: \u{fffd}.")]
    {
        let store = store::open_read_only(&place.url).await.unwrap();
        let found = store.delivery(company, id).await.unwrap().unwrap();
        assert_eq!(found.delivery.reason.as_deref(), Some(expected));
    }
}

/// However many rows they are, large ones go in small slices.
#[tokio::test(flavor = "multi_thread")]
async fn large_payloads_are_moved_a_few_at_a_time() {
    let (file, schema, back) = (Place::embedded(), Place::on_a_server(), Place::embedded());
    let store = file.open().await;
    let company = CompanyId::new(NOW);
    for n in 0..40_u8 {
        let payload = if n % 4 == 0 { Vec::new() } else { vec![n; 1024 * 1024] };
        let event = Event { payload: payload.into(), ..event(company, "a", NOW) };
        store.accept(vec![Emit::new(event)], &claiming(false)).await.unwrap();
    }
    store.close().await;
    for (from, to) in [(&file, &schema), (&schema, &back)] {
        let mut slices = Vec::new();
        let mut tell = |progress: Progress| {
            if progress.table == "events" && progress.stage == Stage::Copying {
                slices.push(progress.rows);
            }
        };
        transfer(&from.url, &to.url, &mut tell).await.unwrap();
        assert!((4..=8).contains(&slices.len()), "{slices:?}");
    }
}

/// At every moment at which something was written, and at every moment of the proof.
async fn cut_short_again_and_again(from: Place, to: Place) {
    fill(&from).await;
    let before = everything(&from).await;
    let mut cuts = 0;
    // The second progress of each run is behind the first thing that it wrote.
    while from.is_cut_short(&to, 2 + cuts).await {
        cuts += 1;
        let refused = to.is_refused().await;
        assert!(
            refused.contains("has not been finished: run the same `fanfare move`"),
            "{refused}"
        );
        let refused = store::open_read_only(&to.url).await.err().unwrap().to_string();
        assert!(refused.contains("has not been finished"), "{refused}");
        let onward = to.refusal(&Place::embedded()).await;
        assert!(onward.contains("is itself the target of a move from"), "{onward}");
        let other = Place::embedded();
        other.open().await.close().await;
        let refused = other.refusal(&to).await;
        assert!(refused.contains("holds an unfinished move from"), "{refused}");
    }
    assert!(cuts > 5, "{cuts} cuts");
    assert_eq!(everything(&to).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_postgresql_goes_on_where_it_was_cut_short() {
    cut_short_again_and_again(Place::embedded(), Place::on_a_server()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_sqlite_goes_on_where_it_was_cut_short() {
    cut_short_again_and_again(Place::on_a_server(), Place::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_changed_between_two_runs_is_noticed() {
    for (from, to) in
        [(Place::embedded(), Place::on_a_server()), (Place::on_a_server(), Place::embedded())]
    {
        let company = fill(&from).await;
        assert!(from.is_cut_short(&to, 3).await);
        let store = from.open().await;
        store.name_company(company, "another", &act(NOW)).await.unwrap();
        store.close().await;
        for _ in 0..2 {
            let differs = from.refusal(&to).await;
            assert!(differs.contains("differ in the table `companies`"), "{differs}");
        }
        let refused = store::open(&to.url, Metrics::default()).await.err().unwrap();
        assert!(matches!(refused, StoreError::Taken(_)), "{refused}");
    }
}

/// Renews a node's lease for ever.
async fn live(store: Arc<dyn Store>) {
    loop {
        store.renew(&card(), NOW).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_used_is_neither_moved_nor_filled() {
    for (used, free) in
        [(Place::embedded(), Place::on_a_server()), (Place::on_a_server(), Place::embedded())]
    {
        let store = used.open().await;
        let lives = tokio::spawn(live(Arc::clone(&store)));
        let refused = used.refusal(&free).await;
        assert!(refused.starts_with("the source: "), "{refused}");
        assert!(refused.contains("another process"), "{refused}");
        free.open().await.close().await;
        let refused = free.refusal(&used).await;
        assert!(refused.starts_with("the target: "), "{refused}");
        assert!(refused.contains("another process"), "{refused}");
        lives.abort();
        store.close().await;
    }
}

#[tokio::test]
async fn only_an_empty_target_is_filled_and_only_from_another_store() {
    for (from, to) in
        [(Place::embedded(), Place::on_a_server()), (Place::on_a_server(), Place::embedded())]
    {
        let missing = from.refusal(&to).await;
        assert!(missing.contains("there is no"), "{missing}");
        from.open().await.close().await;
        let same = from.refusal(&from).await;
        assert!(same.contains("are the same store"), "{same}");

        let store = to.open().await;
        assert!(store.agree("FANFARE_JWT_SECRET", b"it").await.unwrap());
        store.close().await;
        let full = from.refusal(&to).await;
        assert!(full.contains("the target is not empty") && full.contains("`kept`"), "{full}");
        to.open().await.name_company(CompanyId::new(NOW), "a", &act(NOW)).await.unwrap();
    }
    let file = Place::embedded();
    file.open().await.close().await;
    // However it is written.
    let path = file.url.replace("/fanfare.db", "/../");
    let name = std::path::Path::new(file.url.trim_start_matches("sqlite:"));
    let directory = name.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let roundabout = Place { url: format!("{path}{directory}/fanfare.db"), _directory: None };
    assert!(file.refusal(&roundabout).await.contains("are the same store"));
    let secret = "postgres://user:hunter2@127.0.0.1:1/nowhere";
    let away = file.refusal(&Place { url: secret.to_owned(), _directory: None }).await;
    assert!(away.starts_with("the database is away: the target: "), "{away}");
    assert!(!away.contains("hunter2"), "{away}");
}

#[tokio::test]
async fn an_empty_store_is_moved_too() {
    let (from, to) = (Place::embedded(), Place::on_a_server());
    from.open().await.close().await;
    let proven = from.move_to(&to).await;
    assert!(proven.iter().all(|table| table.rows == 0));
    to.open().await.close().await;
}
