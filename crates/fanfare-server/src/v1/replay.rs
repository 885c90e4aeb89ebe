//! A replay of many as it is asked for and shown.

use std::str::FromStr;

use fanfare::engine::{self, REPLAY_LIST_MAX, REPLAY_PACE_MAX};
use fanfare::model::{self, DeliveryId, EndpointId, Subscription, Timestamp};
use fanfare::store;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, SchemaFormat, Type};

use crate::error::Result;
use crate::form::Form;

/// What to send again: deliveries by their ids, what failed, or events by type and time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = json!({"failedSince": "2025-07-05T01:00:00.000Z", "dryRun": true}))]
#[expect(dead_code, reason = "described here; `read` takes the form apart")]
pub(crate) enum NewReplay {
    #[schema(title = "by id")]
    Deliveries(ReplayDeliveries),
    #[schema(title = "what failed")]
    Failed(ReplayFailed),
    #[schema(title = "events")]
    Events(ReplayEvents),
}

/// These deliveries again, in whatever state they are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayDeliveries {
    #[schema(schema_with = deliveries)]
    deliveries: Vec<String>,
    #[schema(schema_with = per_second)]
    per_second: Option<u32>,
    /// Only count.
    dry_run: Option<bool>,
}

/// Every delivery again that failed since a time and was not repeated yet. What was superseded or
/// cancelled on purpose stays as it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayFailed {
    /// Given up at this time or later.
    #[schema(format = "date-time", example = "2025-07-05T01:00:00.000Z")]
    failed_since: String,
    #[schema(schema_with = types)]
    r#type: Option<String>,
    /// To this endpoint alone.
    #[schema(format = "uuid")]
    endpoint_id: Option<String>,
    #[schema(schema_with = per_second)]
    per_second: Option<u32>,
    /// Only count.
    dry_run: Option<bool>,
}

/// Events again, for every active endpoint that listens to them today: also one that was registered
/// after they happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplayEvents {
    #[schema(schema_with = types)]
    r#type: String,
    /// Accepted at this time or later.
    #[schema(format = "date-time", example = "2025-07-05T01:00:00.000Z")]
    from: String,
    /// Accepted before this time; now, by default.
    #[schema(format = "date-time", example = "2025-07-05T02:00:00.000Z")]
    to: Option<String>,
    /// For this endpoint alone.
    #[schema(format = "uuid")]
    endpoint_id: Option<String>,
    #[schema(schema_with = per_second)]
    per_second: Option<u32>,
    /// Only count.
    dry_run: Option<bool>,
}

/// A replay of many, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Replay {
    #[schema(format = "uuid")]
    id: String,
    selection: Selection,
    state: ReplayState,
    /// How many of the selection were looked at so far.
    #[schema(minimum = 0)]
    found: u64,
    /// How many of them became new deliveries.
    #[schema(minimum = 0)]
    made: u64,
    /// How many of them did not: their payload has expired, they are past their time, their
    /// endpoint is deleted (or, of events, not active), or they wait already.
    #[schema(minimum = 0)]
    skipped: u64,
    /// How many fall due in a second; null for all at once.
    #[schema(required = true)]
    per_second: Option<u32>,
    #[schema(format = "date-time")]
    created_at: String,
    /// When it ended; null while it is running.
    #[schema(format = "date-time", required = true)]
    finished_at: Option<String>,
}

/// `running` in the background, `finished`, or `cancelled` before it was through.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReplayState {
    Running,
    Finished,
    Cancelled,
}

/// What is sent again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Selection {
    /// These deliveries.
    Deliveries { deliveries: Vec<String> },
    /// What failed.
    #[serde(rename_all = "camelCase")]
    Failed {
        #[schema(format = "date-time")]
        failed_since: String,
        #[schema(required = true)]
        r#type: Option<String>,
        #[schema(format = "uuid", required = true)]
        endpoint_id: Option<String>,
    },
    /// Events.
    #[serde(rename_all = "camelCase")]
    Events {
        r#type: String,
        #[schema(format = "date-time")]
        from: String,
        #[schema(format = "date-time", required = true)]
        to: Option<String>,
        #[schema(format = "uuid", required = true)]
        endpoint_id: Option<String>,
    },
}

/// A page of replays.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayList {
    pub(super) items: Vec<Replay>,
    /// What to give as `after` for the next page; null on the last one.
    #[schema(format = "uuid", required = true)]
    pub(super) next: Option<String>,
}

/// What a replay would do now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayCount {
    /// New deliveries it would make.
    #[schema(minimum = 0)]
    count: u64,
    /// How many of the selection it would leave out.
    #[schema(minimum = 0)]
    skipped: u64,
    /// Whether there may be more: no more than about 10,000 are counted.
    capped: bool,
}

impl NewReplay {
    /// The fields there are.
    const KNOWN: &str = "deliveries, failedSince, type, from, to, endpointId, perSecond, dryRun";

    /// What is asked for, and whether only to count.
    pub(super) fn read(mut form: Form) -> Result<(engine::NewReplay, bool)> {
        let kinds = ["deliveries", "failedSince", "from"];
        let given: Vec<&str> = kinds.into_iter().filter(|name| form.has(name)).collect();
        let selection = match given[..] {
            ["deliveries"] => {
                refuse(&mut form, &["type", "to", "endpointId"], "deliveries");
                form.list("deliveries", id::<DeliveryId>).map(model::Selection::Deliveries)
            }
            ["failedSince"] => {
                refuse(&mut form, &["to"], "failedSince");
                read_failed(&mut form)
            }
            ["from"] => read_events(&mut form),
            _ => {
                form.wrong("body", "must have one of `deliveries`, `failedSince` and `from`");
                None
            }
        };
        let per_second = form.whole("perSecond", 1..=REPLAY_PACE_MAX);
        let dry_run = form.flag("dryRun").unwrap_or(false);
        if !given.is_empty() {
            form.refuse_the_rest(Self::KNOWN);
        }
        let idempotency_key = None;
        form.finish(selection.map(|selection| {
            (engine::NewReplay { selection, per_second, idempotency_key }, dry_run)
        }))
    }
}

fn read_failed(form: &mut Form) -> Option<model::Selection> {
    let types = form.read("type", Subscription::from_str);
    let endpoint = form.read("endpointId", id::<EndpointId>);
    let since = form.read("failedSince", Timestamp::from_str)?;
    Some(model::Selection::Failed { since, endpoint, types })
}

fn read_events(form: &mut Form) -> Option<model::Selection> {
    form.require("type");
    let types = form.read("type", Subscription::from_str);
    let from = form.read("from", Timestamp::from_str);
    let to = form.read("to", Timestamp::from_str);
    let endpoint = form.read("endpointId", id::<EndpointId>);
    Some(model::Selection::Events { types: types?, from: from?, to, endpoint })
}

/// Notes fields that have no meaning beside another one.
fn refuse(form: &mut Form, names: &[&str], beside: &str) {
    for name in names.iter().filter(|name| form.has(name)).collect::<Vec<_>>() {
        form.wrong(name, format!("does not go with `{beside}`; leave one of them out"));
        form.forget(name);
    }
}

fn id<T: FromStr>(text: &str) -> std::result::Result<T, &'static str> {
    text.parse().map_err(|_| "must be a UUID")
}

impl Replay {
    pub(super) fn of(replay: &model::Replay) -> Self {
        Replay {
            id: replay.id.to_string(),
            selection: Selection::of(&replay.selection),
            state: match replay.finished_at {
                None => ReplayState::Running,
                Some(_) if replay.cancelled => ReplayState::Cancelled,
                Some(_) => ReplayState::Finished,
            },
            found: replay.found,
            made: replay.made,
            skipped: replay.found.saturating_sub(replay.made),
            per_second: replay.per_second,
            created_at: replay.created_at.to_string(),
            finished_at: replay.finished_at.map(|at| at.to_string()),
        }
    }
}

impl Selection {
    fn of(selection: &model::Selection) -> Self {
        match selection {
            model::Selection::Deliveries(ids) => {
                Selection::Deliveries { deliveries: ids.iter().map(ToString::to_string).collect() }
            }
            model::Selection::Failed { since, endpoint, types } => Selection::Failed {
                failed_since: since.to_string(),
                r#type: types.as_ref().map(|types| types.as_str().to_owned()),
                endpoint_id: endpoint.map(|id| id.to_string()),
            },
            model::Selection::Events { types, from, to, endpoint } => Selection::Events {
                r#type: types.as_str().to_owned(),
                from: from.to_string(),
                to: to.map(|to| to.to_string()),
                endpoint_id: endpoint.map(|id| id.to_string()),
            },
        }
    }
}

impl ReplayCount {
    pub(super) fn of(count: store::ReplayCount) -> Self {
        let skipped = count.found.saturating_sub(count.made);
        ReplayCount { count: count.made, skipped, capped: count.more }
    }
}

fn deliveries() -> Array {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    ArrayBuilder::new().items(id).min_items(Some(1)).max_items(Some(REPLAY_LIST_MAX)).build()
}

fn types() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(128))
        .pattern(Some(r"^([A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(\.\*)?|\*)$"))
        .description(Some(
            "Of events of this type, of all types below a prefix (`order.*`), or of all (`*`).",
        ))
        .examples([serde_json::json!("order.*")])
        .build()
}

fn per_second() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(REPLAY_PACE_MAX))
        .description(Some(
            "The pace: how many fall due in a second. Without it all do at once, and go out as fast \
             as their endpoint is sent to.",
        ))
        .build()
}
