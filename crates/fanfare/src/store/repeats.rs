//! What both stores must decide alike about replays of many.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::model::filter::Subject;
use crate::model::{
    DeliveryId, DeliveryState, Endpoint, EndpointId, Event, EventId, EventType, ReplayId,
    Selection, Shape, Subscription, Timestamp, Told, WhyNot,
};
use crate::store::{NewReplay, ReplayCount};

/// Rows of an index that one slice looks at.
pub(super) const LOOKED_MAX: u32 = 1000;
/// A repeat that was made so short a time ago is what a second click is answered with.
const DOUBLE_CLICK_MS: i64 = 10_000;
const MICROS: i64 = 1000;

/// How far a replay got: a number in its list or a time, and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: i64,
    pub(super) id: Uuid,
}

/// A replay that is being worked on, or counted.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// What was made before it has a smaller id.
    pub(super) id: ReplayId,
    pub(super) selection: Selection,
    pub(super) created_at: Timestamp,
}

/// What a slice comes to.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) repeats: Vec<Repeat>,
    /// How many of the selection were looked at.
    pub(super) found: u64,
    pub(super) place: Place,
    /// Whether nothing is left behind the place.
    pub(super) end: bool,
}

/// A delivery to make.
#[derive(Debug, Clone)]
pub(super) struct Repeat {
    /// What it repeats; `None` for an endpoint that never heard of the event.
    pub(super) old: Option<DeliveryId>,
    pub(super) event: EventId,
    pub(super) endpoint: EndpointId,
    pub(super) shape: Shape,
}

/// A delivery that may be sent again.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) repeat: Repeat,
    pub(super) event_type: EventType,
    pub(super) payload_there: bool,
    pub(super) endpoint_there: bool,
    pub(super) expires_at: Option<Timestamp>,
    /// Superseded or cancelled.
    pub(super) on_purpose: bool,
    /// Whether it was repeated already, and whether just now or by one that still waits.
    pub(super) repeated: bool,
    pub(super) lately: bool,
}

/// The newest delivery of an event to an endpoint.
pub(super) type Newest = (DeliveryId, DeliveryState);

impl Job {
    pub(super) fn of(new: &NewReplay) -> Self {
        Job { id: new.id, selection: new.selection.clone(), created_at: new.at }
    }

    /// Where it begins.
    pub(super) fn start(&self) -> Place {
        let at = match &self.selection {
            Selection::Events { from, .. } => from.0,
            Selection::Deliveries(_) | Selection::Failed { .. } => 0,
        };
        Place { at, id: Uuid::nil() }
    }
}

/// What of a list comes at a place, and the place behind it.
pub(super) fn part_of(list: &[DeliveryId], place: Place, most: u32) -> (Vec<DeliveryId>, Place) {
    let done = usize::try_from(place.at).unwrap_or(0);
    let part: Vec<_> = list.iter().skip(done).take(most as usize).copied().collect();
    let at = place.at + i64::try_from(part.len()).unwrap_or(0);
    (part, Place { at, ..place })
}

/// Of deliveries that failed at some time, those that a slice takes, and the place behind them.
/// `all` says that nothing comes after those looked at.
pub(super) fn failed_since(
    looked: &[(DeliveryId, Timestamp)],
    since: Timestamp,
    place: Place,
    (most, all): (u32, bool),
) -> (Vec<DeliveryId>, Place, bool) {
    let mut taken = Vec::new();
    let mut place = place;
    for (id, at) in looked {
        if taken.len() >= most as usize {
            return (taken, place, false);
        }
        if *at >= since {
            taken.push(*id);
        }
        place.id = id.uuid();
    }
    (taken, place, all)
}

/// Of events in the order of time, those of a type that a slice takes, and the place behind them.
pub(super) fn of_type(
    looked: &[(Place, EventId, EventType)],
    types: &Subscription,
    place: Place,
    (most, all): (u32, bool),
) -> (Vec<EventId>, Place, bool) {
    let mut taken = Vec::new();
    let mut place = place;
    for (here, id, event_type) in looked {
        if taken.len() >= most as usize {
            return (taken, place, false);
        }
        if types.hears(event_type) {
            taken.push(*id);
        }
        place = *here;
    }
    (taken, place, all)
}

/// Which of the deliveries looked at are sent again, and how many the selection named at all.
pub(super) fn judge(
    candidates: Vec<Candidate>,
    selection: &Selection,
    now: Timestamp,
) -> (Vec<Repeat>, u64) {
    let named: Vec<Candidate> =
        candidates.into_iter().filter(|candidate| candidate.is_named_by(selection)).collect();
    let found = named.len() as u64;
    let again = named.into_iter().filter(|candidate| candidate.can_be_sent(now));
    (again.map(|candidate| candidate.repeat).collect(), found)
}

impl Candidate {
    fn is_named_by(&self, selection: &Selection) -> bool {
        let Selection::Failed { endpoint, types, .. } = selection else { return true };
        !self.on_purpose
            && !self.repeated
            && endpoint.is_none_or(|endpoint| endpoint == self.repeat.endpoint)
            && types.as_ref().is_none_or(|types| types.hears(&self.event_type))
    }

    fn can_be_sent(&self, now: Timestamp) -> bool {
        self.payload_there
            && self.endpoint_there
            && !self.lately
            && self.expires_at.is_none_or(|at| at > now)
    }
}

/// How many events a slice takes that makes so many deliveries, for so many endpoints.
pub(super) fn events_in(most: u32, endpoints: usize) -> u32 {
    let endpoints = u32::try_from(endpoints).unwrap_or(u32::MAX).max(1);
    (most / endpoints).max(1)
}

/// The endpoints of a company that would hear of an event today, disabled ones included.
pub(super) fn hearing<'a>(
    endpoints: &'a [Endpoint],
    event: &'a Event,
) -> impl Iterator<Item = &'a Endpoint> {
    let (event_type, operational) = (&event.event_type, event.operational);
    let told = Told { event_type, payload: Subject::new(&event.payload), operational };
    endpoints
        .iter()
        .filter(move |endpoint| matches!(endpoint.why_not(&told), None | Some(WhyNot::Disabled(_))))
}

/// The delivery of an event to one that listens, if it is to be made. What still waits is not made
/// a second time.
pub(super) fn tell(
    (event, endpoint): (&Event, &Endpoint),
    newest: Option<Newest>,
    now: Timestamp,
) -> Option<Repeat> {
    let waits = newest.is_some_and(|(_, state)| state == DeliveryState::Waiting);
    let lapsed = event.expires_at.is_some_and(|at| at <= now);
    if waits || lapsed || endpoint.disabled.is_some() {
        return None;
    }
    let old = newest.map(|(id, _)| id);
    Some(Repeat { old, event: event.id, endpoint: endpoint.id, shape: endpoint.shape })
}

/// Whatever was made from here on was made just now.
pub(super) fn lately(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - DOUBLE_CLICK_MS + 1)
}

impl ReplayCount {
    /// Parts that are counted at most: a count is somebody waiting.
    pub(super) const SLICES_MAX: u32 = 100;

    /// Adds a part. Returns whether to go on.
    pub(super) fn add(&mut self, found: u64, made: usize, (end, most): (bool, u32)) -> bool {
        self.found += found;
        self.made += made as u64;
        self.more = !end;
        !end && self.found < u64::from(most)
    }
}

/// The due times of what a replay makes, so many in a second. In microseconds, so that no pace
/// drifts. A replay that could not go on for a while does not catch up at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pacer {
    pub(super) next_us: i64,
    step_us: i64,
}

impl Pacer {
    pub(super) fn new(per_second: Option<u32>, next_us: i64, now: Timestamp) -> Self {
        let step_us = per_second.map_or(0, |pace| 1_000_000 / i64::from(pace.max(1)));
        Pacer { next_us: next_us.max(now.0.saturating_mul(MICROS)), step_us }
    }

    /// How many, `most` at most, fall due until then.
    pub(super) fn room(&self, until: Timestamp, most: u32) -> u32 {
        let left_us = until.0.saturating_mul(MICROS) - self.next_us;
        match left_us {
            _ if self.step_us == 0 => most,
            ..0 => 0,
            _ => u32::try_from(left_us / self.step_us + 1).unwrap_or(most).min(most),
        }
    }

    /// The due time of the next one.
    pub(super) fn next(&mut self) -> Timestamp {
        let due = Timestamp(self.next_us / MICROS);
        self.next_us += self.step_us;
        due
    }
}

/// A selection as both stores keep it.
pub(super) fn write_selection(selection: &Selection) -> String {
    let value = match selection {
        Selection::Deliveries(ids) => {
            json!({"deliveries": ids.iter().map(ToString::to_string).collect::<Vec<_>>()})
        }
        Selection::Failed { since, endpoint, types } => json!({
            "since": since.0,
            "endpoint": endpoint.map(|id| id.to_string()),
            "types": types.as_ref().map(Subscription::as_str),
        }),
        Selection::Events { types, from, to, endpoint } => json!({
            "types": types.as_str(),
            "from": from.0,
            "to": to.map(|to| to.0),
            "endpoint": endpoint.map(|id| id.to_string()),
        }),
    };
    value.to_string()
}

pub(super) fn read_selection(text: &str) -> Option<Selection> {
    let value: Value = serde_json::from_str(text).ok()?;
    let time = |name: &str| value[name].as_i64().map(Timestamp);
    let types = || value["types"].as_str().and_then(|text| text.parse().ok());
    let endpoint = value["endpoint"].as_str().and_then(|text| text.parse().ok());
    if let Some(ids) = value["deliveries"].as_array() {
        let ids = ids.iter().map(|id| id.as_str()?.parse().ok());
        return ids.collect::<Option<Vec<_>>>().map(Selection::Deliveries);
    }
    if let Some(since) = time("since") {
        return Some(Selection::Failed { since, endpoint, types: types() });
    }
    Some(Selection::Events { types: types()?, from: time("from")?, to: time("to"), endpoint })
}

/// The same for two calls that ask for the same.
pub(super) fn digest(new: &NewReplay) -> Vec<u8> {
    let call = format!("{:?} {}", new.per_second, write_selection(&new.selection));
    Sha256::digest(call).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_holds_over_any_number_and_does_not_catch_up() {
        let start = Timestamp(1_000);
        let mut pacer = Pacer::new(Some(3), 0, start);
        let due: Vec<i64> = std::iter::repeat_with(|| pacer.next().0).take(3001).collect();
        assert_eq!(due[..4], [1_000, 1_333, 1_666, 1_999]);
        assert!((1_000_990..=1_001_000).contains(&due[3000]), "{}", due[3000]);
        let later = Timestamp(5_000_000);
        assert_eq!(Pacer::new(Some(3), pacer.next_us, later).next(), later);
    }

    #[test]
    fn a_pace_leaves_room_for_what_falls_due_until_then() {
        let at = |pace| Pacer::new(pace, 0, Timestamp(0));
        assert_eq!(at(Some(10)).room(Timestamp(1_000), 200), 11);
        assert_eq!(at(Some(1000)).room(Timestamp(1_000), 200), 200);
        assert_eq!(Pacer::new(Some(1), 2_000_000, Timestamp(0)).room(Timestamp(1_000), 200), 0);
        assert_eq!(at(None).room(Timestamp(0), 200), 200);
    }

    #[test]
    fn a_selection_is_read_as_it_was_written() {
        let (id, endpoint) = (DeliveryId::new(Timestamp(1)), EndpointId::new(Timestamp(1)));
        let (since, types) = (Timestamp(7), "order.*".parse::<Subscription>().unwrap());
        for selection in [
            Selection::Deliveries(vec![id]),
            Selection::Failed { since, endpoint: None, types: None },
            Selection::Failed { since, endpoint: Some(endpoint), types: Some(types.clone()) },
            Selection::Events { types: types.clone(), from: since, to: None, endpoint: None },
            Selection::Events { types, from: since, to: Some(since), endpoint: Some(endpoint) },
        ] {
            assert_eq!(read_selection(&write_selection(&selection)), Some(selection));
        }
    }
}
