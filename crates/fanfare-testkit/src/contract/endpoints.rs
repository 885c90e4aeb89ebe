//! Who listens.

use std::sync::Arc;
use std::time::Duration;

use fanfare::model::filter::Filter;
use fanfare::model::{
    Disabled, Endpoint, EndpointChange, EndpointId, Flow, Format, Health, Ordering, PreviousSecret,
    Sealed, SecretChange, SecretPart, Shape,
};
use fanfare::store::Store;

use super::fixtures::{
    NOW, SECOND, accept_all, act, assert_sound, company, endpoint, event, history, listener,
};

/// Every field.
pub async fn an_endpoint_is_kept_whole(store: &dyn Store) {
    let company = company();
    let mut whole = endpoint(company, &["order.*", "ORDER_CREATED", "*", "a.b_c.*"]);
    whole.url = "https://shop.example:8443/a%20b/%C3%A9?x='1'&y=%25".parse().unwrap();
    whole.secret = Sealed((0..=255).collect());
    let until = NOW.plus(SECOND * 9);
    whole.previous = Some(PreviousSecret { secret: Sealed(vec![0, 39, 255]), until });
    whole.filter = filter(r#"{"total": {"$gte": 1.10}, "name": "\u0000'é\\"}"#).flatten();
    whole.shape = Shape {
        format: Format::CloudEventsBinary,
        use_patch: true,
        system_headers: true,
        add_created_at: true,
    };
    whole.max_retries = 20;
    whole.flow = Flow {
        rate_limit: Some(10_000),
        max_in_flight: Some(512),
        ordering: Ordering::Strict,
        coalesce: Some(Duration::ZERO),
    };
    whole.operational = true;
    whole.disabled = Some(Disabled { at: NOW, reason: "since 'ever'".to_owned() });
    whole.health = Health { failing_since: Some(NOW), held_until: Some(until) };
    whole.updated_at = NOW.plus(SECOND);
    store.add_endpoint(&whole, &act(NOW)).await.unwrap();
    assert_eq!(store.endpoint(company, whole.id).await.unwrap(), Some(whole.clone()));
    let read = store.endpoints_before(company, None, 10).await.unwrap();
    assert_eq!(read, [whole]);
    assert_sound(store).await;
}

fn filter(json: &str) -> Option<Option<Arc<Filter>>> {
    Some(Some(Arc::new(Filter::parse(json).unwrap())))
}

/// Saying what already is so is no change.
pub async fn a_change_is_kept_and_moves_updated_at_only_if_it_is_one(store: &dyn Store) {
    let company = company();
    let mut expected = listener(store, company).await;
    let later = NOW.plus(SECOND);
    let same = EndpointChange {
        url: Some(expected.url.clone()),
        events: Some(expected.events.clone()),
        filter: Some(None),
        format: Some(expected.shape.format),
        max_retries: Some(expected.max_retries),
        rate_limit: Some(None),
        max_in_flight: Some(None),
        ordering: Some(Ordering::None),
        coalesce: Some(None),
        operational: Some(false),
        disabled: Some(None),
        ..Default::default()
    };
    for change in [EndpointChange::default(), same] {
        let kept = store.change_endpoint(company, expected.id, &change, &act(later)).await.unwrap();
        assert_eq!(kept, Some(expected.clone()));
    }
    for (change, set) in changes() {
        expected.updated_at = expected.updated_at.plus(SECOND);
        set(&mut expected);
        let now = expected.updated_at;
        let changed =
            store.change_endpoint(company, expected.id, &change, &act(now)).await.unwrap();
        assert_eq!(changed, Some(expected.clone()));
        assert_eq!(store.endpoint(company, expected.id).await.unwrap(), changed);
    }
    let unknown = EndpointId::new(NOW);
    let nothing = EndpointChange::default();
    assert!(store.change_endpoint(company, unknown, &nothing, &act(NOW)).await.unwrap().is_none());
}

/// A change, and what it does.
type Change = (EndpointChange, fn(&mut Endpoint));

fn changes() -> Vec<Change> {
    let url = || "https://new.example/'%25_".parse().unwrap();
    let some = EndpointChange::default;
    vec![
        (EndpointChange { url: Some(url()), ..some() }, |endpoint| {
            endpoint.url = "https://new.example/'%25_".parse().unwrap();
        }),
        (
            EndpointChange {
                events: Some(vec!["a.*".parse().unwrap(), "b".parse().unwrap()]),
                ..some()
            },
            |endpoint| endpoint.events = vec!["a.*".parse().unwrap(), "b".parse().unwrap()],
        ),
        (EndpointChange { filter: filter(r#"{"a": 1}"#), ..some() }, |endpoint| {
            endpoint.filter = filter(r#"{"a": 1}"#).flatten();
        }),
        (EndpointChange { filter: Some(None), ..some() }, |endpoint| endpoint.filter = None),
        (EndpointChange { use_patch: Some(true), ..some() }, |endpoint| {
            endpoint.shape.use_patch = true;
        }),
        (EndpointChange { max_retries: Some(0), ..some() }, |endpoint| endpoint.max_retries = 0),
        (EndpointChange { rate_limit: Some(Some(7)), ..some() }, |endpoint| {
            endpoint.flow.rate_limit = Some(7);
        }),
        (EndpointChange { max_in_flight: Some(Some(8)), ..some() }, |endpoint| {
            endpoint.flow.max_in_flight = Some(8);
        }),
        (EndpointChange { rate_limit: Some(None), ..some() }, |endpoint| {
            endpoint.flow.rate_limit = None;
        }),
        (EndpointChange { ordering: Some(Ordering::Key), ..some() }, |endpoint| {
            endpoint.flow.ordering = Ordering::Key;
        }),
        (EndpointChange { coalesce: Some(Some(SECOND)), ..some() }, |endpoint| {
            endpoint.flow.coalesce = Some(SECOND);
        }),
        (EndpointChange { coalesce: Some(None), ..some() }, |endpoint| {
            endpoint.flow.coalesce = None;
        }),
        (EndpointChange { operational: Some(true), ..some() }, |endpoint| {
            endpoint.operational = true;
        }),
    ]
}

/// Of two that replace one secret at once, the second finds it gone.
pub async fn a_change_of_a_secret_that_was_replaced_changes_nothing(store: &dyn Store) {
    let company = company();
    let before = listener(store, company).await;
    let change = |secret: u8| EndpointChange {
        max_retries: Some(u32::from(secret)),
        secrets: Some(SecretChange {
            instead_of: before.secret.clone(),
            secret: Sealed(vec![secret]),
            previous: Some(PreviousSecret {
                secret: before.secret.clone(),
                until: NOW.plus(SECOND),
            }),
            part: SecretPart::Secret,
        }),
        ..EndpointChange::default()
    };
    let (one, other) = (change(1), change(2));
    let act = act(NOW);
    let changed = tokio::join!(
        store.change_endpoint(company, before.id, &one, &act),
        store.change_endpoint(company, before.id, &other, &act),
    );
    let (one, other) = (changed.0.unwrap().unwrap(), changed.1.unwrap().unwrap());
    assert_eq!(one, other, "both see the one that was first");
    assert_eq!(Sealed(vec![u8::try_from(one.max_retries).unwrap()]), one.secret);
    assert_eq!(one.previous.as_ref().unwrap().secret, before.secret);
    assert_eq!(store.endpoint(company, before.id).await.unwrap(), Some(one));
    assert_sound(store).await;
}

/// With the next change after its time, not before.
pub async fn a_secret_that_signs_no_more_goes_with_the_next_change(store: &dyn Store) {
    let company = company();
    let mut endpoint = endpoint(company, &["*"]);
    let until = NOW.plus(SECOND * 2);
    endpoint.previous = Some(PreviousSecret { secret: Sealed(vec![7]), until });
    store.add_endpoint(&endpoint, &act(NOW)).await.unwrap();
    for (max_retries, at, kept) in
        [(1, NOW.plus(SECOND), true), (1, until, true), (2, until, false)]
    {
        let change = EndpointChange { max_retries: Some(max_retries), ..Default::default() };
        let changed = store.change_endpoint(company, endpoint.id, &change, &act(at)).await.unwrap();
        assert_eq!(changed.unwrap().previous.is_some(), kept);
        let read = store.endpoint(company, endpoint.id).await.unwrap().unwrap();
        assert_eq!(read.previous.is_some(), kept);
    }
}

/// What already is so stays as it is, its time and reason too.
pub async fn disabling_and_enabling_can_be_repeated(store: &dyn Store) {
    let company = company();
    let id = listener(store, company).await.id;
    let steps = [
        (Some("first"), Some((1, "first")), 1),
        (Some("second"), Some((1, "first")), 1),
        (None, None, 3),
        (None, None, 3),
        (Some("third"), Some((5, "third")), 5),
    ];
    for (n, (disable, expected, updated)) in (1..).zip(steps) {
        let change =
            EndpointChange { disabled: Some(disable.map(str::to_owned)), ..Default::default() };
        let now = NOW.plus(SECOND * n);
        let changed =
            store.change_endpoint(company, id, &change, &act(now)).await.unwrap().unwrap();
        let expected = expected.map(|(since, reason)| Disabled {
            at: NOW.plus(SECOND * since),
            reason: reason.to_owned(),
        });
        assert_eq!(changed.disabled, expected, "step {n}");
        assert_eq!(changed.updated_at, NOW.plus(SECOND * updated), "step {n}");
        assert_eq!(store.endpoint(company, id).await.unwrap(), Some(changed));
    }
}

/// Not found any more; what it received can still be read.
pub async fn a_deleted_endpoint_is_gone_but_its_history_stays(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let kept = listener(store, company).await;
    let claims = accept_all(store, &event(company, "a", NOW)).await;
    assert!(store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap());
    assert!(!store.delete_endpoint(company, endpoint.id, &act(NOW)).await.unwrap());
    assert!(store.endpoint(company, endpoint.id).await.unwrap().is_none());
    let change = EndpointChange { max_retries: Some(1), ..Default::default() };
    assert!(
        store.change_endpoint(company, endpoint.id, &change, &act(NOW)).await.unwrap().is_none()
    );
    assert_eq!(store.endpoints_before(company, None, 10).await.unwrap(), [kept]);
    let read = history(store, &endpoint).await;
    assert!(claims.iter().any(|claim| claim.delivery == read[0].delivery.id));
    assert!(store.delivery(company, read[0].delivery.id).await.unwrap().is_some());
    assert_sound(store).await;
}

/// Newest first, below the one named.
pub async fn endpoints_are_read_on_by_cursor(store: &dyn Store) {
    let company = company();
    listener(store, super::fixtures::company()).await;
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, listener(store, company).await);
    }
    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let some = store.endpoints_before(company, before, 3).await.unwrap();
        let Some(last) = some.last() else { break };
        assert!(some.len() <= 3);
        before = Some(last.id);
        read.extend(some);
    }
    assert_eq!(read, expected);
}

/// Over all companies, without those that are deleted.
pub async fn endpoints_of_all_companies_are_read_on_by_id(store: &dyn Store) {
    let mut expected = Vec::new();
    for n in 0..7 {
        let endpoint = listener(store, company()).await;
        if n == 3 {
            assert!(store.delete_endpoint(endpoint.company, endpoint.id, &act(NOW)).await.unwrap());
        } else {
            expected.push(endpoint);
        }
    }
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let some = store.all_endpoints(after, 2).await.unwrap();
        let Some(last) = some.last() else { break };
        assert!(some.len() <= 2);
        after = Some(last.id);
        read.extend(some);
    }
    assert_eq!(read, expected);
}
