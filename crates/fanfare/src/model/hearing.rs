//! Whether an endpoint hears of an event, and why not.

use std::fmt;

use crate::model::filter::Subject;
use crate::model::{Endpoint, EventType};

/// What the decision needs of an event.
#[derive(Debug)]
pub struct Told<'a> {
    /// What happened.
    pub event_type: &'a EventType,
    /// Its payload.
    pub payload: Subject<'a>,
    /// Whether it tells what befell another endpoint.
    pub operational: bool,
}

/// Why an endpoint does not hear of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// It hears only of what befalls other endpoints.
    Operational,
    /// The event tells what befell another endpoint, which it does not listen to.
    NotOperational,
    /// It listens to other types.
    NotSubscribed {
        /// The type of the event.
        event_type: EventType,
        /// What it listens to.
        events: Vec<String>,
    },
    /// Its filter does not let the payload through.
    Filtered(String),
    /// It is disabled, and would hear of it otherwise.
    Disabled(String),
}

impl Endpoint {
    /// Why this endpoint does not hear of an event; `None` if it does.
    pub fn why_not(&self, told: &Told<'_>) -> Option<WhyNot> {
        match (self.operational, told.operational) {
            (true, false) => return Some(WhyNot::Operational),
            (false, true) => return Some(WhyNot::NotOperational),
            _ => {}
        }
        let listens = |pattern: String| self.events.iter().any(|event| event.as_str() == pattern);
        if !told.event_type.patterns().any(listens) {
            let events = self.events.iter().map(|event| event.as_str().to_owned()).collect();
            return Some(WhyNot::NotSubscribed { event_type: told.event_type.clone(), events });
        }
        let objection = self.filter.as_ref().and_then(|filter| told.payload.objection(filter));
        if let Some(objection) = objection {
            return Some(WhyNot::Filtered(objection));
        }
        self.disabled.as_ref().map(|disabled| WhyNot::Disabled(disabled.reason.clone()))
    }
}

/// For people.
impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNot::Operational => {
                f.write_str("operational: it hears only of what befalls other endpoints")
            }
            WhyNot::NotOperational => {
                f.write_str("not operational: the event tells what befell another endpoint")
            }
            WhyNot::NotSubscribed { event_type, events } => {
                write!(f, "not subscribed to {event_type}, only to {}", events.join(", "))
            }
            WhyNot::Filtered(objection) => write!(f, "filter: {objection}"),
            WhyNot::Disabled(reason) => write!(f, "disabled: {reason}"),
        }
    }
}
