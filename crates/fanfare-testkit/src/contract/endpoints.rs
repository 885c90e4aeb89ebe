//! Who listens.

use fanfare::model::{Disabled, EndpointChange, EndpointId, Format, SealedSecret, Shape};
use fanfare::store::Store;

use super::fixtures::{
    NOW, SECOND, accept_all, assert_sound, company, endpoint, event, history, listener,
};

/// Every field.
pub async fn an_endpoint_is_kept_whole(store: &dyn Store) {
    let company = company();
    let mut whole = endpoint(company, &["order.*", "ORDER_CREATED", "*", "a.b_c.*"]);
    whole.url = "https://shop.example:8443/a%20b/%C3%A9?x='1'&y=%25".parse().unwrap();
    whole.secret = SealedSecret((0..=255).collect());
    whole.shape = Shape {
        format: Format::CloudEventsBinary,
        use_patch: true,
        system_headers: true,
        add_created_at: true,
    };
    whole.max_retries = 20;
    whole.disabled = Some(Disabled { at: NOW, reason: "since 'ever'".to_owned() });
    whole.updated_at = NOW.plus(SECOND);
    store.add_endpoint(&whole).await.unwrap();
    assert_eq!(store.endpoint(company, whole.id).await.unwrap(), Some(whole.clone()));
    let read = store.endpoints_before(company, None, 10).await.unwrap();
    assert_eq!(read, [whole]);
}

/// Saying what already is so is no change.
pub async fn a_change_is_kept_and_moves_updated_at_only_if_it_is_one(store: &dyn Store) {
    let company = company();
    let mut expected = listener(store, company).await;
    let later = NOW.plus(SECOND);
    let same = EndpointChange {
        url: Some(expected.url.clone()),
        events: Some(expected.events.clone()),
        format: Some(expected.shape.format),
        max_retries: Some(expected.max_retries),
        disabled: Some(None),
        ..Default::default()
    };
    for change in [EndpointChange::default(), same] {
        let kept = store.change_endpoint(company, expected.id, &change, later).await.unwrap();
        assert_eq!(kept, Some(expected.clone()));
    }
    let url = || "https://new.example/'%25_".parse().unwrap();
    let events = || vec!["a.*".parse().unwrap(), "b".parse().unwrap()];
    let shape = Shape { use_patch: true, ..Shape::default() };
    let changes = [
        EndpointChange { url: Some(url()), ..Default::default() },
        EndpointChange { events: Some(events()), ..Default::default() },
        EndpointChange { use_patch: Some(true), ..Default::default() },
        EndpointChange { max_retries: Some(0), ..Default::default() },
    ];
    for (n, change) in changes.iter().enumerate() {
        expected.updated_at = expected.updated_at.plus(SECOND);
        match n {
            0 => expected.url = url(),
            1 => expected.events = events(),
            2 => expected.shape = shape,
            _ => expected.max_retries = 0,
        }
        let now = expected.updated_at;
        let changed = store.change_endpoint(company, expected.id, change, now).await.unwrap();
        assert_eq!(changed, Some(expected.clone()));
        assert_eq!(store.endpoint(company, expected.id).await.unwrap(), changed);
    }
    let unknown = EndpointId::new(NOW);
    assert!(store.change_endpoint(company, unknown, &changes[0], NOW).await.unwrap().is_none());
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
        let changed = store.change_endpoint(company, id, &change, now).await.unwrap().unwrap();
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
    assert!(store.delete_endpoint(company, endpoint.id, NOW).await.unwrap());
    assert!(!store.delete_endpoint(company, endpoint.id, NOW).await.unwrap());
    assert!(store.endpoint(company, endpoint.id).await.unwrap().is_none());
    let change = EndpointChange { max_retries: Some(1), ..Default::default() };
    assert!(store.change_endpoint(company, endpoint.id, &change, NOW).await.unwrap().is_none());
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
