//! Sending again: one, and many as a job.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare::model::{CompanyId, DeliveryState, Endpoint, ReplayId, Selection, Timestamp, Verdict};
use fanfare::store::{Advanced, NewReplay, Slice, Started, Store, Unfinished};

use super::fixtures::{
    NOW, SECOND, accept_all, act, assert_sound, claim, company, event, failed, history, listener,
    record,
};

/// Long enough for a second click to be one of its own.
pub(super) const LATER: Duration = Duration::from_secs(10);

/// So many failed deliveries, a millisecond apart.
pub(super) async fn failures(store: &dyn Store, endpoint: &Endpoint, count: usize) {
    for n in 0..count {
        let at = NOW.plus(Duration::from_millis(n as u64));
        for claim in accept_all(store, &event(endpoint.company, "a.b", at)).await {
            assert!(record(store, &claim, failed("no"), at).await);
        }
    }
}

/// Everything that failed.
pub(super) fn all_failed() -> Selection {
    Selection::Failed { since: Timestamp(0), endpoint: None, types: None }
}

/// A wish to replay.
pub(super) fn wish(company: CompanyId, selection: Selection, at: Timestamp) -> NewReplay {
    NewReplay { id: ReplayId::new(at), company, selection, per_second: None, key: None, at }
}

/// A slice without a pace in mind.
pub(super) fn slice(now: Timestamp, most: u32) -> Slice {
    Slice { now, until: now, most }
}

/// Starts a replay that is new.
pub(super) async fn start(store: &dyn Store, new: &NewReplay) -> ReplayId {
    match store.start_replay(new, &act(NOW)).await.unwrap() {
        Started::New(replay) => replay.id,
        other => panic!("not new: {other:?}"),
    }
}

/// Starts a replay and works it off; returns how many it found and made.
pub(super) async fn work_off(store: &dyn Store, new: &NewReplay) -> (u64, u64) {
    let id = start(store, new).await;
    while !advance(store, new.company, id, slice(new.at, 7)).await.finished {}
    let replay = store.found_replay(new.company, id).await.unwrap().unwrap();
    assert!(replay.finished_at.is_some() && !replay.cancelled);
    (replay.found, replay.made)
}

async fn advance(store: &dyn Store, company: CompanyId, id: ReplayId, slice: Slice) -> Advanced {
    store.advance_replay(company, id, slice).await.unwrap()
}

async fn made(store: &dyn Store, company: CompanyId, id: ReplayId) -> u64 {
    store.found_replay(company, id).await.unwrap().unwrap().made
}

/// While the first one waits, and for ten seconds.
pub async fn a_second_click_is_answered_with_the_first_replay(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &born, failed("no"), NOW).await);
    let first = store.replay(company, born.delivery, &act(NOW)).await.unwrap().unwrap();
    let much_later = NOW.plus(LATER * 100);
    let again = store.replay(company, born.delivery, &act(much_later)).await.unwrap().unwrap();
    assert_eq!(again, first, "it waits");

    let claim = claim(store, &endpoint, 1, NOW).await.claims.remove(0);
    assert!(record(store, &claim, Verdict::Concluded, NOW).await);
    let in_time = NOW.plus(LATER - Duration::from_millis(1));
    let again = store.replay(company, born.delivery, &act(in_time)).await.unwrap().unwrap();
    assert_eq!((again.id, again.state), (first.id, DeliveryState::Concluded));
    let other = store.replay(company, born.delivery, &act(NOW.plus(LATER))).await.unwrap().unwrap();
    assert!(other.id != first.id && other.replay_of == Some(born.delivery));
    assert_sound(store).await;
}

/// Whoever comes second is told of the first.
pub async fn two_clicks_at_once_are_one_replay(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    let born = accept_all(store, &event(company, "a", NOW)).await.remove(0);
    assert!(record(store, &born, failed("no"), NOW).await);
    let act = act(NOW);
    let clicks = (0..8).map(|_| store.replay(company, born.delivery, &act));
    let ids: BTreeSet<_> = futures_util::future::join_all(clicks)
        .await
        .into_iter()
        .map(|made| made.unwrap().unwrap().id)
        .collect();
    assert_eq!((ids.len(), history(store, &endpoint).await.len()), (1, 2));
    let wishes: Vec<NewReplay> = (0..8).map(|_| wish(company, all_failed(), NOW)).collect();
    let clicks = wishes.iter().map(|new| store.start_replay(new, &act));
    let started = futures_util::future::join_all(clicks).await;
    let new = started.iter().filter(|one| matches!(one, Ok(Started::New(_)))).count();
    assert_eq!(new, 1);
    assert_sound(store).await;
}

/// As long as it runs, and for ten seconds; a cancelled one is no answer.
pub async fn a_replay_of_many_is_asked_for_once(store: &dyn Store) {
    let company = company();
    let first = start(store, &wish(company, all_failed(), NOW)).await;
    let again = |at: Timestamp| async move {
        match store.start_replay(&wish(company, all_failed(), at), &act(NOW)).await.unwrap() {
            Started::Repeat(replay) => Some(replay.id),
            _ => None,
        }
    };
    assert_eq!(again(NOW.plus(LATER * 100)).await, Some(first), "it runs");
    let paced = NewReplay { per_second: Some(1), ..wish(company, all_failed(), NOW) };
    start(store, &paced).await;
    assert!(advance(store, company, first, slice(NOW, 1)).await.finished);
    assert_eq!(again(NOW.plus(LATER - Duration::from_millis(1))).await, Some(first));
    assert_eq!(again(NOW.plus(LATER)).await, None);

    let cancelled = start(store, &wish(super::fixtures::company(), all_failed(), NOW)).await;
    assert!(store.cancel_replay(company, cancelled, &act(NOW)).await.unwrap().is_none());
    let ours = super::fixtures::company();
    let cancelled = start(store, &wish(ours, all_failed(), NOW)).await;
    store.cancel_replay(ours, cancelled, &act(NOW)).await.unwrap().unwrap();
    start(store, &wish(ours, all_failed(), NOW)).await;
    assert_sound(store).await;
}

/// For as long as the replay is kept, and in its company.
pub async fn a_replays_key_is_answered_the_same(store: &dyn Store) {
    let company = company();
    let keyed = |at, selection| NewReplay { key: Some("k".into()), ..wish(company, selection, at) };
    let first = start(store, &keyed(NOW, all_failed())).await;
    assert!(advance(store, company, first, slice(NOW, 1)).await.finished);
    let much_later = NOW.plus(LATER * 100);
    let again = store.start_replay(&keyed(much_later, all_failed()), &act(NOW)).await.unwrap();
    assert!(matches!(again, Started::Repeat(replay) if replay.id == first));
    let other = Selection::Failed { since: NOW, endpoint: None, types: None };
    let other = store.start_replay(&keyed(NOW, other), &act(NOW)).await.unwrap();
    assert!(matches!(other, Started::Conflict));
    let theirs = NewReplay {
        company: super::fixtures::company(),
        id: ReplayId::new(NOW),
        ..keyed(NOW, all_failed())
    };
    start(store, &theirs).await;
    let another = NewReplay { key: Some("l".into()), ..wish(company, all_failed(), NOW) };
    start(store, &another).await;
}

/// However it is cut, nothing is left out or made twice.
pub async fn a_replay_goes_on_where_it_stopped(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    failures(store, &endpoint, 25).await;
    let later = NOW.plus(SECOND);
    let id = start(store, &wish(company, all_failed(), later)).await;
    let unfinished = Unfinished { company, id, next_due: None };
    for count in [10, 20] {
        let advanced = advance(store, company, id, slice(later, 10)).await;
        assert_eq!((advanced.finished, advanced.lanes.len()), (false, 1));
        assert_eq!(advanced.lanes[0].1, later);
        assert_eq!(made(store, company, id).await, count);
        assert!(store.unfinished_replays(None, 1000).await.unwrap().contains(&unfinished));
    }
    assert!(advance(store, company, id, slice(later, 10)).await.finished);
    let again = advance(store, company, id, slice(later, 10)).await;
    assert!(again.finished && again.lanes.is_empty());
    assert!(!store.unfinished_replays(None, 1000).await.unwrap().contains(&unfinished));
    let replay = store.found_replay(company, id).await.unwrap().unwrap();
    assert_eq!((replay.found, replay.made, replay.finished_at), (25, 25, Some(later)));

    let mut all = history(store, &endpoint).await;
    all.reverse();
    let (old, new) = all.split_at(25);
    for (old, new) in old.iter().zip(new) {
        let (old, new) = (&old.delivery, &new.delivery);
        assert_eq!((new.replay_of, new.replay), (Some(old.id), Some(id)));
        assert_eq!((new.event, new.shape, new.fence), (old.event, old.shape, 0));
        assert_eq!((new.sequence, new.due_at), (old.sequence + 25, later));
        assert_eq!((old.replay, new.state), (None, DeliveryState::Waiting));
    }
    assert_sound(store).await;
}

/// The n-th is due at the start + n / pace, and none before it is asked for.
pub async fn a_replay_keeps_its_pace(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    failures(store, &endpoint, 9).await;
    let start_at = NOW.plus(SECOND);
    let paced = NewReplay { per_second: Some(4), ..wish(company, all_failed(), start_at) };
    let id = start(store, &paced).await;
    let until = Slice { now: start_at, until: start_at.plus(SECOND), most: 200 };
    advance(store, company, id, until).await;
    assert_eq!(made(store, company, id).await, 5);
    advance(store, company, id, until).await;
    assert_eq!(made(store, company, id).await, 5, "nothing more falls due");
    let next = Unfinished { company, id, next_due: Some(start_at.plus(SECOND * 5 / 4)) };
    assert!(store.unfinished_replays(None, 1000).await.unwrap().contains(&next));
    // The process was away for a while: it does not catch up.
    let back = start_at.plus(SECOND * 60);
    let until = Slice { now: back, until: back.plus(SECOND * 9), most: 200 };
    assert!(advance(store, company, id, until).await.finished);
    let due: Vec<i64> = history(store, &endpoint)
        .await
        .iter()
        .rev()
        .skip(9)
        .map(|item| item.delivery.due_at.since(start_at).as_millis().try_into().unwrap())
        .collect();
    assert_eq!(due, [0, 250, 500, 750, 1000, 60_000, 60_250, 60_500, 60_750]);
    assert_sound(store).await;
}

/// What it made stays.
pub async fn a_cancelled_replay_makes_no_more(store: &dyn Store) {
    let company = company();
    let endpoint = listener(store, company).await;
    failures(store, &endpoint, 9).await;
    let id = start(store, &wish(company, all_failed(), NOW.plus(SECOND))).await;
    advance(store, company, id, slice(NOW.plus(SECOND), 4)).await;
    let cancelled =
        store.cancel_replay(company, id, &act(NOW.plus(SECOND))).await.unwrap().unwrap();
    assert_eq!((cancelled.made, cancelled.cancelled), (4, true));
    assert_eq!(cancelled.finished_at, Some(NOW.plus(SECOND)));
    let again = store.cancel_replay(company, id, &act(NOW.plus(LATER))).await.unwrap().unwrap();
    assert_eq!(again, cancelled);
    assert!(advance(store, company, id, slice(NOW.plus(SECOND), 4)).await.finished);
    assert_eq!(history(store, &endpoint).await.len(), 13);
    assert_sound(store).await;
}

/// Newest first, on from any place; gone when they ended long ago.
pub async fn replays_are_listed_until_they_are_forgotten(store: &dyn Store) {
    let company = company();
    let mut ids = Vec::new();
    for n in 0..5 {
        let since = Timestamp(n);
        let selection = Selection::Failed { since, endpoint: None, types: None };
        ids.insert(0, start(store, &wish(company, selection, NOW)).await);
    }
    let list = |before, limit| async move {
        let found = store.replays_before(company, before, limit).await.unwrap();
        found.into_iter().map(|replay| replay.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ids);
    assert_eq!(list(Some(ids[1]), 2).await, ids[2..4]);
    let theirs = super::fixtures::company();
    assert!(store.replays_before(theirs, None, 10).await.unwrap().is_empty());
    assert!(store.found_replay(theirs, ids[0]).await.unwrap().is_none());

    for id in &ids[..4] {
        store.cancel_replay(company, *id, &act(NOW)).await.unwrap().unwrap();
    }
    assert_eq!(store.forget_replays(NOW, 10).await.unwrap(), 0);
    let later = NOW.plus(SECOND);
    assert_eq!(store.forget_replays(later, 3).await.unwrap(), 3);
    assert_eq!(store.forget_replays(later, 3).await.unwrap(), 1);
    assert_eq!(list(None, 10).await, ids[4..], "it has not ended");
}
