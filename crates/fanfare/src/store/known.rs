//! Whether an emit is new or was made before. Touches nothing; both stores decide by it.

use std::collections::HashMap;

use crate::model::CompanyId;
use crate::store::{Accepted, Emit, Receipt};

/// What is there under a name of an emit, and whether it is the same.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) receipt: Receipt,
    pub(super) same: bool,
}

/// What is to be done with an emit.
pub(super) enum Decision {
    Store,
    /// It says the same as this one, which is stored together with it.
    Again(usize),
    Repeat(Receipt),
    Conflict(String),
    Withhold,
}

impl Decision {
    fn is_new(&self) -> bool {
        matches!(self, Decision::Store | Decision::Again(_))
    }
}

/// The first of those that are stored together, by their names.
type First<'a> = HashMap<(CompanyId, &'a str), usize>;

/// What is to be done with each, in their order; `calls` are the numbers of those that belong
/// together. `found` has what is stored already, by the emit's number.
pub(super) fn decide(
    emits: &[Emit],
    calls: &[usize],
    found: &mut HashMap<usize, Found>,
) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = Vec::with_capacity(emits.len());
    let mut first = First::new();
    for count in calls {
        let begin = decisions.len();
        for at in begin..begin + count {
            let Some(emit) = emits.get(at) else { break };
            let decision = judge(emit, found.remove(&at), (emits, &first));
            if matches!(decision, Decision::Store) {
                first.extend(names(emit).map(|name| (name, at)));
            }
            decisions.push(decision);
        }
        let call = emits.iter().zip(&decisions).skip(begin);
        if call.clone().any(|(emit, decision)| refuses(emit, decision)) {
            first.retain(|_, at| *at < begin);
            let new = decisions.iter_mut().skip(begin).filter(|decision| decision.is_new());
            new.for_each(|decision| *decision = Decision::Withhold);
        }
    }
    decisions
}

fn judge(emit: &Emit, found: Option<Found>, (emits, first): (&[Emit], &First<'_>)) -> Decision {
    if let Some(Found { name, receipt, same }) = found {
        return if same { Decision::Repeat(receipt) } else { Decision::Conflict(name) };
    }
    let company = emit.event.company;
    let known = emit.names.iter().find_map(|name| {
        let earlier = *first.get(&(company, name.text.as_str()))?;
        Some((name, earlier, emits.get(earlier)?.names.contains(name)))
    });
    match known {
        None => Decision::Store,
        Some((_, earlier, true)) => Decision::Again(earlier),
        Some((name, ..)) => Decision::Conflict(name.text.clone()),
    }
}

fn names(emit: &Emit) -> impl Iterator<Item = (CompanyId, &str)> {
    emit.names.iter().map(|name| (emit.event.company, name.text.as_str()))
}

fn refuses(emit: &Emit, decision: &Decision) -> bool {
    let event = &emit.event;
    let expired = event.expires_at.is_some_and(|at| at <= event.created_at);
    matches!(decision, Decision::Conflict(_)) || (expired && decision.is_new())
}

/// The name of an event whose id the caller chose.
pub(super) fn by_id(emit: &Emit) -> String {
    format!("id:{}", emit.event.id)
}

/// What a repeat of one that is stored together with it is answered.
pub(super) fn again(first: Option<(&Emit, &Accepted)>) -> Accepted {
    match first {
        Some((emit, Accepted::New { deliveries, .. })) => {
            let (id, created_at) = (emit.event.id, emit.event.created_at);
            Accepted::Repeat(Receipt { id, created_at, deliveries: *deliveries })
        }
        _ => Accepted::Withheld,
    }
}
