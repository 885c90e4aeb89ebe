//! Who hears of an event, and how an event begins.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fanfare::model::filter::{Filter, Subject};
use fanfare::model::{DeliveryState, Endpoint, EndpointChange, Event, Shape, Told, WhyNot};
use fanfare::store::{Admission, Store};

use super::fixtures::{
    LEASE, NOW, SECOND, accept_all, accept_none, act, admission, assert_sound, claim, company,
    delivery, emit_some, endpoint, event, history, listener, new, plain,
};

/// By exact type, by a prefix of any depth, and by everything; each endpoint once.
pub async fn an_event_reaches_those_who_listen_to_its_type(store: &dyn Store) {
    let company = company();
    let listeners = [
        (endpoint(company, &["order.created"]), "exact"),
        (endpoint(company, &["order.*"]), "prefix"),
        (endpoint(company, &["order.line.*"]), "deep prefix"),
        (endpoint(company, &["*"]), "everything"),
        (endpoint(company, &["*", "order.*", "order.created"]), "thrice"),
        (endpoint(company, &["order.created_late", "order", "customer.created"]), "others"),
    ];
    for (endpoint, _) in &listeners {
        store.add_endpoint(endpoint, &act(NOW)).await.unwrap();
    }
    let cases: &[(&str, &[&str])] = &[
        ("order.created", &["exact", "prefix", "everything", "thrice"]),
        ("order.line.added", &["prefix", "deep prefix", "everything", "thrice"]),
        ("order.line.item.added", &["prefix", "deep prefix", "everything", "thrice"]),
        ("order.line", &["prefix", "everything", "thrice"]),
        ("order", &["everything", "thrice", "others"]),
        ("orders.created", &["everything", "thrice"]),
        ("Order.created", &["everything", "thrice"]),
        ("CUSTOMER_CREATED", &["everything", "thrice", "others"]),
    ];
    for (event_type, expected) in cases {
        let event = event(company, event_type, NOW);
        let heard = accept_none(store, &event).await;
        let names: Vec<&str> = listeners
            .iter()
            .filter(|(endpoint, _)| heard.contains(&endpoint.id))
            .map(|(_, name)| *name)
            .collect();
        assert_eq!(&names, expected, "{event_type}");
        assert_eq!(names.len(), heard.len(), "each once");
        for (endpoint, name) in &listeners {
            let hears = why_not(endpoint, &event).is_none();
            assert_eq!(hears, heard.contains(&endpoint.id), "{name} of {event_type}");
        }
    }
    assert_sound(store).await;
}

/// Two companies know nothing of each other.
pub async fn an_event_stays_in_its_company(store: &dyn Store) {
    let (ours, theirs) = (company(), company());
    let endpoint = listener(store, ours).await;
    let other = listener(store, theirs).await;
    assert_eq!(accept_none(store, &event(ours, "a", NOW)).await, [endpoint.id]);
    assert!(history(store, &other).await.is_empty());
}

/// Those without a filter hear of everything, also of what is no JSON.
pub async fn a_filter_lets_only_some_payloads_through(store: &dyn Store) {
    let company = company();
    let mut endpoints = Vec::new();
    for filter in [None, Some(r#"{"total": {"$gte": 100}}"#), Some(r#"{"total": 1.10}"#)] {
        let mut endpoint = endpoint(company, &["a"]);
        endpoint.filter = filter.map(|json| Arc::new(Filter::parse(json).unwrap()));
        store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
        endpoints.push(endpoint);
    }
    let cases: [(&'static [u8], &[usize]); 4] = [
        (br#"{"total": 1.10}"#, &[0, 2]),
        (br#"{"total": 250}"#, &[0, 1]),
        (b"[]", &[0]),
        (b"no json", &[0]),
    ];
    for (payload, expected) in cases {
        let mut event = event(company, "a", NOW);
        event.payload = Bytes::from_static(payload);
        let mut heard = accept_none(store, &event).await;
        heard.sort();
        let expected: Vec<_> = expected.iter().map(|n| endpoints[*n].id).collect();
        assert_eq!(heard, expected);
        for endpoint in &endpoints {
            assert_eq!(why_not(endpoint, &event).is_none(), heard.contains(&endpoint.id));
        }
    }
    let (claims, _) =
        new(store.accept(plain(&event(company, "a", NOW)), &admission(true)).await.unwrap());
    assert_eq!(claims.len(), 2);
    assert_sound(store).await;
}

/// Why an endpoint does not hear of an event.
fn why_not(endpoint: &Endpoint, event: &Event) -> Option<WhyNot> {
    let payload = Subject::new(&event.payload);
    let told = Told { event_type: &event.event_type, payload, operational: event.operational };
    endpoint.why_not(&told)
}

/// Events emitted while an endpoint is disabled make no delivery for it, then or later.
pub async fn an_event_passes_by_disabled_and_deleted_endpoints(store: &dyn Store) {
    let company = company();
    let disabled = listener(store, company).await;
    let deleted = listener(store, company).await;
    let disable = EndpointChange { disabled: Some(Some("off".into())), ..Default::default() };
    store.change_endpoint(company, disabled.id, &disable, &act(NOW)).await.unwrap().unwrap();
    assert!(store.delete_endpoint(company, deleted.id, &act(NOW)).await.unwrap());
    assert!(accept_none(store, &event(company, "a", NOW)).await.is_empty());
    assert!(accept_all(store, &event(company, "a", NOW)).await.is_empty());

    let enable = EndpointChange { disabled: Some(None), ..Default::default() };
    store.change_endpoint(company, disabled.id, &enable, &act(NOW)).await.unwrap().unwrap();
    assert!(history(store, &disabled).await.is_empty());
    assert_eq!(accept_none(store, &event(company, "a", NOW)).await, [disabled.id]);
    assert_sound(store).await;
}

/// An event without listeners is still an event.
pub async fn an_event_nobody_hears_is_accepted(store: &dyn Store) {
    let company = company();
    assert!(accept_none(store, &event(company, "a", NOW)).await.is_empty());
    assert!(store.company(company).await.unwrap().is_some());
    assert_sound(store).await;
}

/// A company exists from the first successful write that names it, and has no name until set.
pub async fn the_first_write_makes_the_company(store: &dyn Store) {
    let (by_event, by_endpoint) = (company(), company());
    assert!(store.company(by_event).await.unwrap().is_none());
    accept_none(store, &event(by_event, "a", NOW)).await;
    listener(store, by_endpoint).await;
    for id in [by_event, by_endpoint] {
        let company = store.company(id).await.unwrap().unwrap();
        assert_eq!((company.id, company.name.as_str()), (id, ""));
        assert_eq!((company.created_at, company.updated_at), (NOW, NOW));
    }
    accept_none(store, &event(by_event, "a", NOW.plus(SECOND))).await;
    assert_eq!(store.company(by_event).await.unwrap().unwrap().created_at, NOW);
}

/// A name is set, and set again.
pub async fn a_company_is_named(store: &dyn Store) {
    let id = company();
    let named = store.name_company(id, "Café O'Brien 北京", &act(NOW)).await.unwrap();
    assert_eq!((named.name.as_str(), named.created_at), ("Café O'Brien 北京", NOW));
    let later = NOW.plus(SECOND);
    let renamed = store.name_company(id, "Tea", &act(later)).await.unwrap();
    assert_eq!((renamed.created_at, renamed.updated_at), (NOW, later));
    assert_eq!(store.company(id).await.unwrap(), Some(renamed));
}

/// The common delivery is claimed by the emit itself: fence 1, nothing left to fetch.
pub async fn an_admitted_delivery_is_claimed_at_birth(store: &dyn Store) {
    let company = company();
    let mut endpoint = endpoint(company, &["order.*"]);
    endpoint.shape = Shape { use_patch: true, ..Shape::default() };
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    let event = event(company, "order.created", NOW);
    let (claims, waiting) = new(store.accept(plain(&event), &admission(true)).await.unwrap());
    assert!(waiting.is_empty());
    let [born] = claims.try_into().unwrap();
    assert_eq!((born.fence, born.attempts, born.shape), (1, 0, endpoint.shape));
    assert_eq!(*born.endpoint, endpoint);
    assert_eq!((born.event.id, &born.event.payload), (event.id, &event.payload));
    assert_eq!(born.event.event_type, event.event_type);
    assert_eq!((born.event.company, born.event.created_at), (company, NOW));

    let stored = delivery(store, company, born.delivery).await;
    assert_eq!((stored.state, stored.due_at), (DeliveryState::Waiting, NOW.plus(LEASE)));
    assert_eq!((stored.fence, stored.attempts, stored.replay_of), (1, 0, None));
    assert_eq!((stored.endpoint, stored.event), (endpoint.id, event.id));
    assert!(claim(store, &endpoint, 9, NOW.plus(LEASE - SECOND)).await.claims.is_empty());
    let again = claim(store, &endpoint, 9, NOW.plus(LEASE)).await.claims;
    assert_eq!(again[0].fence, 2);
    assert_sound(store).await;
}

/// What admission refuses is due when the event was made.
pub async fn a_delivery_that_is_not_admitted_waits_and_is_due_at_once(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let [event] = emit_some(store, company, 1).await.try_into().unwrap();
    let [stored] = history(store, &endpoint).await.try_into().unwrap();
    assert_eq!((stored.delivery.fence, stored.delivery.due_at), (0, NOW));
    let [claimed] = claim(store, &endpoint, 9, NOW).await.claims.try_into().unwrap();
    assert_eq!((claimed.delivery, claimed.event.id), (stored.delivery.id, event.id));
    assert_eq!((claimed.fence, claimed.attempts), (1, 0));
}

/// Of one event, some deliveries are claimed at birth and others wait.
pub async fn each_delivery_is_admitted_by_itself(store: &dyn Store) {
    let company = company();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(listener(store, company).await.id);
    }
    store.add_endpoint(&endpoint(company, &["other"]), &act(NOW)).await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let chosen = ids[2];
    let admission = Admission {
        lease: LEASE,
        may_claim: Arc::new({
            let asked = Arc::clone(&asked);
            move |id| {
                asked.lock().unwrap().push(id);
                id == chosen
            }
        }),
    };
    let event = event(company, "a", NOW);
    let (claims, mut waiting) = new(store.accept(plain(&event), &admission).await.unwrap());
    let claimed: Vec<_> = claims.iter().map(|claim| claim.endpoint.id).collect();
    assert_eq!(claimed, [chosen]);
    waiting.sort();
    assert_eq!(waiting, [ids[0], ids[1], ids[3], ids[4]]);
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ids);
}
