//! The words the promises are written in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare::model::{
    Act, Actor, ActorKind, Answer, Attempt, Claim, CompanyId, Delivery, DeliveryId, DeliveryState,
    Endpoint, EndpointId, Event, EventId, Flow, Health, History, Outcome, Record, Sealed, Shape,
    Timestamp, Timing, Verdict,
};
use fanfare::store::{
    Accepted, Admission, Card, Claimed, Emit, LaneKey, Name, Receipt, Store, Wanted,
};

/// When the tests play.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// How long a claim holds.
pub const LEASE: Duration = Duration::from_secs(60);
/// Somebody acts.
pub fn act(at: Timestamp) -> Act {
    Act { at, by: Arc::new(Actor::of(ActorKind::Library)) }
}

/// A node.
pub fn card() -> Card {
    Card {
        name: "test".to_owned(),
        version: "0".to_owned(),
        seals_with: vec![7],
        lease: Duration::from_secs(15),
        leaving: false,
    }
}

/// A little later.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A company that is not there yet.
pub(super) fn company() -> CompanyId {
    CompanyId::new(NOW)
}

/// An endpoint that listens to these events.
pub fn endpoint(company: CompanyId, events: &[&str]) -> Endpoint {
    let id = EndpointId::new(NOW);
    Endpoint {
        id,
        company,
        url: format!("https://shop.example/hooks/{id}").parse().unwrap(),
        secret: Sealed(id.uuid().as_bytes().to_vec()),
        previous: None,
        headers: None,
        tls: None,
        filter: None,
        events: events.iter().map(|name| name.parse().unwrap()).collect(),
        shape: Shape::default(),
        max_retries: 5,
        flow: Flow::default(),
        operational: false,
        disabled: None,
        health: Health::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Adds an endpoint that hears everything.
pub(super) async fn listener(store: &dyn Store, company: CompanyId) -> Endpoint {
    let endpoint = endpoint(company, &["*"]);
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    endpoint
}

/// An event of this type.
pub fn event(company: CompanyId, event_type: &str, at: Timestamp) -> Event {
    let payload = Bytes::from_static(br#"{"total":1.10}"#);
    Event::new((company, EventId::new(at)), event_type.parse().unwrap(), payload, at)
}

/// An emit without an id or key of the caller's.
pub(super) fn plain(event: &Event) -> Vec<Emit> {
    vec![Emit::new(event.clone())]
}

/// An emit under the caller's id.
pub(super) fn under_id(event: &Event) -> Vec<Emit> {
    let name = Name { text: format!("id:{}", event.id), digest: digest(event) };
    vec![Emit { id_given: true, names: vec![name], ..Emit::new(event.clone()) }]
}

/// An emit under the caller's key.
pub(super) fn under_key(event: &Event, key: &str) -> Vec<Emit> {
    let name = Name { text: format!("key:{key}"), digest: digest(event) };
    vec![Emit { names: vec![name], ..Emit::new(event.clone()) }]
}

/// An emit under both.
pub(super) fn under_both(event: &Event, key: &str) -> Vec<Emit> {
    let mut emits = under_key(event, key);
    emits[0].id_given = true;
    emits[0].names.extend(under_id(event).remove(0).names);
    emits
}

/// Of what is told, as far as these tests differ in it.
fn digest(event: &Event) -> [u8; 32] {
    let mut hasher = DefaultHasher::new();
    (event.event_type.as_str(), &event.payload, &event.ordering_key).hash(&mut hasher);
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    digest
}

/// Lets in all or none.
pub(super) fn admission(all: bool) -> Admission {
    Admission { lease: LEASE, may_claim: Arc::new(move |_| all) }
}

/// The one answer to a call with one emit.
pub(super) fn only(mut accepted: Vec<Accepted>) -> Accepted {
    assert_eq!(accepted.len(), 1, "one answer for each emit");
    accepted.remove(0)
}

/// What a new event came to.
pub(super) fn new(accepted: Vec<Accepted>) -> (Vec<Claim>, Vec<EndpointId>) {
    match only(accepted) {
        Accepted::New { claims, waiting, deliveries } => {
            let waiting: Vec<_> = waiting.into_iter().map(|(endpoint, _)| endpoint).collect();
            assert!(claims.len() + waiting.len() <= deliveries as usize);
            (claims, waiting)
        }
        other => panic!("not new: {other:?}"),
    }
}

/// The receipt of a repeat.
pub(super) fn repeat(accepted: Vec<Accepted>) -> Receipt {
    match only(accepted) {
        Accepted::Repeat(receipt) => receipt,
        other => panic!("no repeat: {other:?}"),
    }
}

/// The name of a conflict.
pub(super) fn conflict(accepted: Vec<Accepted>) -> String {
    match only(accepted) {
        Accepted::Conflict(name) => name,
        other => panic!("no conflict: {other:?}"),
    }
}

/// Accepts a new event and claims every delivery of it at birth.
pub async fn accept_all(store: &dyn Store, event: &Event) -> Vec<Claim> {
    new(store.accept(plain(event), &admission(true)).await.unwrap()).0
}

/// Accepts a new event and claims none; returns who has a delivery waiting, in the order of ids.
pub(super) async fn accept_none(store: &dyn Store, event: &Event) -> Vec<EndpointId> {
    let mut waiting = new(store.accept(plain(event), &admission(false)).await.unwrap()).1;
    waiting.sort();
    waiting
}

/// Emits `count` events a millisecond apart, none claimed.
pub(super) async fn emit_some(store: &dyn Store, company: CompanyId, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for n in 0..count {
        let at = NOW.plus(Duration::from_millis(n as u64));
        let event = event(company, "order.created", at);
        accept_none(store, &event).await;
        events.push(event);
    }
    events
}

/// A lane and how much room it has.
pub(super) fn wanted(endpoint: &Endpoint, limit: u32) -> Wanted {
    Wanted { key: lane(endpoint), limit, probe: false }
}

/// An endpoint's lane.
pub(super) fn lane(endpoint: &Endpoint) -> LaneKey {
    LaneKey { company: endpoint.company, endpoint: endpoint.id }
}

/// Claims of one lane.
pub(super) async fn claim(
    store: &dyn Store,
    endpoint: &Endpoint,
    limit: u32,
    now: Timestamp,
) -> Claimed {
    let mut claimed = store.claim(&[wanted(endpoint, limit)], now, LEASE).await.unwrap();
    assert_eq!(claimed.len(), 1, "one answer for each lane");
    let claimed = claimed.remove(0);
    assert_eq!(claimed.key, lane(endpoint));
    claimed
}

/// Claims the one delivery that is due.
pub(super) async fn claim_one(store: &dyn Store, endpoint: &Endpoint, now: Timestamp) -> Claim {
    let mut claims = claim(store, endpoint, 10, now).await.claims;
    assert_eq!(claims.len(), 1, "one is due");
    claims.remove(0)
}

/// The next attempt under a claim.
pub fn attempt(claim: &Claim, at: Timestamp, status: u16) -> Attempt {
    Attempt {
        number: claim.attempts + 1,
        started_at: at,
        duration: Duration::from_millis(12),
        timing: Timing::default(),
        probe: false,
        url: claim.endpoint.url.to_string(),
        headers: [("webhook-id", claim.event.id.to_string())].into_iter().collect(),
        outcome: Outcome::Answered(Answer {
            status,
            headers: [("server", "shop")].into_iter().collect(),
            body: Bytes::from_static(b"thanks"),
            flaw: None,
        }),
    }
}

/// A record of the next attempt under a claim.
pub(super) fn result(claim: &Claim, verdict: Verdict, at: Timestamp) -> Record {
    let status = match verdict {
        Verdict::Concluded => 204,
        Verdict::Gone => 410,
        Verdict::RetryAt(_) | Verdict::Failed(_) => 500,
    };
    Record::new(claim.clone(), attempt(claim, at, status).into(), verdict, at)
}

/// Records the next attempt under a claim.
pub(super) async fn record(
    store: &dyn Store,
    claim: &Claim,
    verdict: Verdict,
    at: Timestamp,
) -> bool {
    store.record(result(claim, verdict, at)).await.unwrap().applied
}

/// A verdict.
pub(super) fn failed(reason: &str) -> Verdict {
    Verdict::Failed(reason.to_owned())
}

/// A delivery that is there.
pub(super) async fn delivery(store: &dyn Store, company: CompanyId, id: DeliveryId) -> Delivery {
    store.delivery(company, id).await.unwrap().unwrap().delivery
}

/// An endpoint's deliveries, newest first.
pub(super) async fn history(store: &dyn Store, endpoint: &Endpoint) -> Vec<History> {
    store.deliveries_before(endpoint.company, endpoint.id, None, 1_000).await.unwrap()
}

/// The state, attempts and due time of a delivery.
pub(super) async fn standing(store: &dyn Store, claim: &Claim) -> (DeliveryState, u32) {
    let delivery = delivery(store, claim.event.company, claim.delivery).await;
    (delivery.state, delivery.attempts)
}

/// Nothing is broken.
pub(super) async fn assert_sound(store: &dyn Store) {
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}
