//! Replays of many: what was sent before, again.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fanfare::engine;
use fanfare::model::ReplayId;

use super::cursor::Cursor;
use super::events::idempotency_key;
use super::replay::{NewReplay, Replay, ReplayCount, ReplayList};
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::form::Form;
use crate::openapi::DELIVERIES;

/// The path parameter that names the replay.
const ID: &str = "replayId";

/// Replays many deliveries
///
/// Makes, in the background, a new delivery with the same `webhook-id` for each one that is
/// selected; the old ones stay as they are. Asking for the same again while it runs, or within ten
/// seconds, is answered with the same replay.
#[utoipa::path(post, path = "/v1/companies/{companyId}/replays", operation_id = "startReplay",
    tag = DELIVERIES, request_body = NewReplay,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256,
        description = "Makes a repeat answer with the same replay, however late.")),
    responses(
        (status = 200, description = "What it would do; `dryRun` was asked for.",
            body = ReplayCount),
        (status = 202, description = "It is under way.", body = Replay)))]
pub(crate) async fn start(
    State(app): State<App>,
    access: Authorized,
    headers: HeaderMap,
    form: Form,
) -> Result<Response> {
    let idempotency_key = idempotency_key(&headers)?;
    let (new, dry_run) = NewReplay::read(form)?;
    let new = engine::NewReplay { idempotency_key, ..new };
    if dry_run {
        let count = app.engine().count_replay(access.company, new).await?;
        return Ok(Json::ok(ReplayCount::of(count)).into_response());
    }
    let replay = access.engine(&app).start_replay(access.company, new).await?;
    Ok(Json(StatusCode::ACCEPTED, Replay::of(&replay)).into_response())
}

/// Lists replays
///
/// The newest first.
#[utoipa::path(get, path = "/v1/companies/{companyId}/replays", operation_id = "listReplays",
    tag = DELIVERIES, params(Cursor),
    responses((status = 200, description = "A page of replays.", body = ReplayList)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    cursor: Cursor,
) -> Result<Json<ReplayList>> {
    let before = cursor.after.map(ReplayId::from_uuid);
    let found = app.engine().replays_before(access.company, before, cursor.wanted()).await?;
    let (found, next) = cursor.cut(found, |replay| replay.id.to_string());
    Ok(Json::ok(ReplayList { items: found.iter().map(Replay::of).collect(), next }))
}

/// Shows a replay
///
/// With how far it is.
#[utoipa::path(get, path = "/v1/companies/{companyId}/replays/{replayId}",
    operation_id = "getReplay", tag = DELIVERIES,
    responses((status = 200, description = "The replay.", body = Replay)))]
pub(crate) async fn show(State(app): State<App>, access: Authorized) -> Result<Json<Replay>> {
    let replay = app.engine().found_replay(access.company, access.replay(ID)?).await?;
    Ok(Json::ok(Replay::of(&replay)))
}

/// Cancels a replay
///
/// What it made stays. Can be repeated; one that has ended stays as it is.
#[utoipa::path(post, path = "/v1/companies/{companyId}/replays/{replayId}/cancel",
    operation_id = "cancelReplay", tag = DELIVERIES,
    responses((status = 200, description = "The replay as it is now.", body = Replay)))]
pub(crate) async fn cancel(State(app): State<App>, access: Authorized) -> Result<Json<Replay>> {
    let replay = access.engine(&app).cancel_replay(access.company, access.replay(ID)?).await?;
    Ok(Json::ok(Replay::of(&replay)))
}
