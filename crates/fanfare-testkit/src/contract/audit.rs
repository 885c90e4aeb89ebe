//! Who changed what.

use std::sync::Arc;
use std::time::Duration;

use fanfare::model::{
    Act, Action, Actor, ActorKind, ApiKey, ApiKeyId, AuditId, CompanyId, Disabled, Endpoint,
    EndpointChange, EndpointId, Entry, Health, KeyHash, Ordering, Record, ReplayId, Scope, Sealed,
    SecretChange, SecretPart, Selection, Timestamp, Verdict,
};
use fanfare::store::{NewReplay, Store, Unsent};
use uuid::Uuid;

use super::fixtures::{
    NOW, SECOND, accept_all, act, assert_sound, company, endpoint, event, failed, listener, record,
    result,
};

/// What was noted in a company, the oldest first: what was done to what.
async fn noted(store: &dyn Store, company: CompanyId) -> Vec<(&'static str, Uuid)> {
    let mut entries = entries(store, company).await;
    entries.reverse();
    entries.into_iter().map(|entry| (entry.action.as_str(), entry.subject)).collect()
}

async fn entries(store: &dyn Store, company: CompanyId) -> Vec<Entry> {
    store.entries_before(company, None, None, 1000).await.unwrap()
}

/// As it was given, in full.
pub async fn an_entry_tells_who_when_what_and_which_fields(store: &dyn Store) {
    let company = company();
    let actors = [
        Actor {
            kind: ActorKind::Token,
            subject: Some("Zoë \"O'Brien\"\u{0}\n\\ 北京".to_owned()),
            roles: vec!["admin".to_owned(), "superAdmin".to_owned()],
            address: Some("2001:db8::7".parse().unwrap()),
        },
        Actor { address: Some("192.0.2.1".parse().unwrap()), ..Actor::of(ActorKind::Key) },
        Actor::of(ActorKind::Library),
        Actor::of(ActorKind::System),
    ];
    for (actor, later) in actors.into_iter().zip(1..) {
        let (by, at) = (Arc::new(actor), NOW.plus(SECOND * later));
        let act = Act { at, by: Arc::clone(&by) };
        store.name_company(company, &later.to_string(), &act).await.unwrap();
        let entry = entries(store, company).await.remove(0);
        assert_eq!((entry.company, entry.subject), (company, company.uuid()));
        assert_eq!((entry.at, entry.by), (at, by));
        assert_eq!((entry.action, entry.fields), (Action::NameCompany, vec!["name".to_owned()]));
    }
    let endpoint = listener(store, company).await;
    for (change, action, fields) in changes(&endpoint) {
        store.change_endpoint(company, endpoint.id, &change, &act(NOW)).await.unwrap().unwrap();
        let entry = entries(store, company).await.remove(0);
        assert_eq!((entry.subject, entry.action), (endpoint.id.uuid(), action), "{fields}");
        assert_eq!(entry.fields.join(" "), fields);
    }
    assert_sound(store).await;
}

/// Changes of an endpoint, what they are called and what they change.
fn changes(endpoint: &Endpoint) -> Vec<(EndpointChange, Action, &'static str)> {
    let some = EndpointChange::default;
    let secrets = |instead_of: &Sealed, secret: u8, part| {
        let (instead_of, secret) = (instead_of.clone(), Sealed(vec![secret]));
        Some(SecretChange { instead_of, secret, previous: None, part })
    };
    let (secret, key) = (SecretPart::Secret, SecretPart::SigningKey);
    let url = "https://new.example/hooks".parse().unwrap();
    let more = EndpointChange {
        rate_limit: Some(Some(1)),
        max_in_flight: Some(Some(1)),
        ordering: Some(Ordering::Key),
        coalesce: Some(Some(SECOND)),
        headers: Some(Some(Sealed(vec![1]))),
        tls: Some(Some(Sealed(vec![1]))),
        ..some()
    };
    let disabled = Some(Some("a reason".to_owned()));
    vec![
        (
            EndpointChange { url: Some(url), max_retries: Some(1), ..some() },
            Action::ChangeEndpoint,
            "url maxRetries",
        ),
        (more, Action::ChangeEndpoint, "rateLimit maxInFlight ordering coalesce headers tls"),
        (
            EndpointChange { secrets: secrets(&endpoint.secret, 1, secret), ..some() },
            Action::RotateSecret,
            "secret",
        ),
        (
            EndpointChange { secrets: secrets(&Sealed(vec![1]), 2, key), ..some() },
            Action::ChangeEndpoint,
            "addAsymmetricSignature",
        ),
        (EndpointChange { disabled, ..some() }, Action::DisableEndpoint, "isActive"),
        (
            EndpointChange { disabled: Some(None), use_patch: Some(true), ..some() },
            Action::EnableEndpoint,
            "usePatch isActive",
        ),
    ]
}

/// In the order in which it was done; a second time changes nothing, so nothing is noted.
pub async fn every_change_is_noted_and_nothing_else(store: &dyn Store) {
    let company = company();
    let act = act(NOW);
    let mut expected = Vec::new();
    for name in ["Tea", "Tea"] {
        store.name_company(company, name, &act).await.unwrap();
    }
    expected.push(("company.name", company.uuid()));
    let endpoint = listener(store, company).await;
    expected.push(("endpoint.register", endpoint.id.uuid()));
    change_twice(store, &endpoint, &act).await;
    expected.push(("endpoint.change", endpoint.id.uuid()));
    expected.extend(of_deliveries(store, &endpoint, &act).await);
    expected.extend(of_replays(store, company, &act).await);
    expected.extend(of_keys(store, company, &act).await);
    for _ in 0..2 {
        store.delete_endpoint(company, endpoint.id, &act).await.unwrap();
    }
    expected.push(("endpoint.delete", endpoint.id.uuid()));
    assert_eq!(noted(store, company).await, expected);
    assert_sound(store).await;
}

/// The second time, and how it does, and what comes too late, is no change.
async fn change_twice(store: &dyn Store, endpoint: &Endpoint, act: &Act) {
    let some = EndpointChange::default;
    let less = EndpointChange { max_retries: Some(1), ..some() };
    let health = Health { failing_since: Some(NOW), held_until: None };
    let health = EndpointChange { health: Some(health), ..some() };
    let late = SecretChange {
        instead_of: Sealed(vec![9]),
        secret: Sealed(vec![8]),
        previous: None,
        part: SecretPart::Secret,
    };
    let late = EndpointChange { secrets: Some(late), max_retries: Some(9), ..some() };
    for change in [&less, &less, &health, &late, &some()] {
        store.change_endpoint(endpoint.company, endpoint.id, change, act).await.unwrap();
    }
    let nobody = EndpointId::new(NOW);
    assert!(store.change_endpoint(endpoint.company, nobody, &less, act).await.unwrap().is_none());
}

async fn of_deliveries(
    store: &dyn Store,
    endpoint: &Endpoint,
    act: &Act,
) -> Vec<(&'static str, Uuid)> {
    let company = endpoint.company;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &born, failed("no"), NOW).await);
    let mut again = born.delivery;
    for _ in 0..2 {
        again = store.replay(company, born.delivery, act).await.unwrap().unwrap().id;
    }
    let entry = act.entry(company, Action::CancelDelivery, again.uuid());
    let cancelled = Unsent { reason: "no".to_owned(), at: NOW, noted: Some(entry) };
    for noted in [&Unsent::by_rule("no", NOW), &cancelled] {
        // The rule ends the first; the second finds it ended, or ends another one.
        store.end(company, &[(again, None)], noted).await.unwrap();
    }
    let later = act_at(act, NOW.plus(Duration::from_secs(60)));
    let third = store.replay(company, born.delivery, &later).await.unwrap().unwrap().id;
    for _ in 0..2 {
        let noted = Some(act.entry(company, Action::CancelEvent, born.event.id.uuid()));
        let unsent = Unsent { noted, ..cancelled.clone() };
        store.end(company, &[(third, None), (again, None)], &unsent).await.unwrap();
    }
    let replayed = ("delivery.replay", born.delivery.uuid());
    vec![replayed, replayed, ("event.cancel", born.event.id.uuid())]
}

async fn of_replays(store: &dyn Store, company: CompanyId, act: &Act) -> Vec<(&'static str, Uuid)> {
    let id = ReplayId::new(NOW);
    let selection = Selection::Failed { since: NOW, endpoint: None, types: None };
    for id in [id, ReplayId::new(NOW)] {
        let selection = selection.clone();
        let new = NewReplay { id, company, selection, per_second: None, key: None, at: NOW };
        store.count_replay(&new, 10).await.unwrap();
        store.start_replay(&new, act).await.unwrap();
    }
    for id in [id, id, ReplayId::new(NOW)] {
        store.cancel_replay(company, id, act).await.unwrap();
    }
    vec![("replay.start", id.uuid()), ("replay.cancel", id.uuid())]
}

async fn of_keys(store: &dyn Store, company: CompanyId, act: &Act) -> Vec<(&'static str, Uuid)> {
    let key = ApiKey {
        id: ApiKeyId::new(NOW),
        company,
        name: "till".to_owned(),
        hash: KeyHash([1; 32]),
        hint: "x".to_owned(),
        scope: Scope::Emit,
        created_at: NOW,
        expires_at: None,
        used_at: None,
        revoked_at: None,
    };
    store.add_api_key(&key, act).await.unwrap();
    store.note_use(company, key.id, NOW).await.unwrap();
    for id in [key.id, key.id, ApiKeyId::new(NOW)] {
        store.revoke_api_key(company, id, act).await.unwrap();
    }
    vec![("api_key.create", key.id.uuid()), ("api_key.revoke", key.id.uuid())]
}

fn act_at(act: &Act, at: Timestamp) -> Act {
    Act { at, ..act.clone() }
}

/// When it said that it is gone, and when it was given up; once each.
pub async fn an_endpoint_that_the_engine_disables_is_noted_as_its_own_act(store: &dyn Store) {
    let company = company();
    let (gone, given_up, well) = (
        listener(store, company).await,
        listener(store, company).await,
        listener(store, company).await,
    );
    let mut claims = accept_all(store, &event(company, "a", NOW)).await;
    claims.extend(accept_all(store, &event(company, "b", NOW)).await);
    let at = NOW.plus(SECOND);
    for claim in &claims {
        let id = claim.endpoint.id;
        let verdict = if id == gone.id { Verdict::Gone } else { Verdict::Concluded };
        let disabled = (id == given_up.id).then(|| Disabled::failing(NOW, at));
        store.record(Record { disabled, ..result(claim, verdict, at) }).await.unwrap();
    }
    let mut by_engine: Vec<_> = entries(store, company).await;
    by_engine.retain(|entry| entry.action == Action::DisableEndpoint);
    let mut subjects: Vec<Uuid> = by_engine.iter().map(|entry| entry.subject).collect();
    subjects.sort();
    assert_eq!(subjects, [gone.id.uuid(), given_up.id.uuid()]);
    for entry in by_engine {
        assert_eq!((entry.by.kind, entry.at), (ActorKind::System, at));
        assert_eq!(entry.fields, ["isActive"]);
    }
    assert!(store.endpoint(company, well.id).await.unwrap().unwrap().disabled.is_none());
    assert_sound(store).await;
}

/// The newest first, and those of the company alone.
pub async fn entries_are_read_on_by_cursor_and_by_subject(store: &dyn Store) {
    let company = company();
    let (one, other) = (listener(store, company).await, listener(store, company).await);
    listener(store, super::fixtures::company()).await;
    for retries in 0..3 {
        let change = EndpointChange { max_retries: Some(retries), ..EndpointChange::default() };
        for id in [one.id, other.id] {
            store.change_endpoint(company, id, &change, &act(NOW)).await.unwrap();
        }
    }
    for (subject, count) in [(None, 8), (Some(one.id.uuid()), 4), (Some(Uuid::nil()), 0)] {
        let (mut read, mut before) = (Vec::new(), None::<AuditId>);
        loop {
            let page = store.entries_before(company, subject, before, 3).await.unwrap();
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            read.extend(page);
        }
        let right = read.iter().all(|entry| subject.is_none_or(|id| entry.subject == id));
        assert!(right && read.is_sorted_by(|a, b| a.id > b.id));
        assert_eq!(read.len(), count);
    }
}

/// And no younger ones.
pub async fn old_entries_are_forgotten_in_slices(store: &dyn Store) {
    let company = company();
    for later in 0..6 {
        let endpoint = endpoint(company, &["*"]);
        store.add_endpoint(&endpoint, &act(NOW.plus(SECOND * later))).await.unwrap();
    }
    let before = NOW.plus(SECOND * 4);
    for (limit, gone) in [(3, 3), (3, 1), (3, 0)] {
        assert_eq!(store.forget_entries(before, limit).await.unwrap(), gone);
    }
    let left = entries(store, company).await;
    assert!(left.len() == 2 && left.iter().all(|entry| entry.at >= before));
    assert_sound(store).await;
}
