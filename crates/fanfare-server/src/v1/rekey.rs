//! Another key for what is sealed at rest.

use axum::extract::State;
use fanfare::engine::KeyRotation;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Operator;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::openapi::OPERATION;

/// What a call did of a rotation of the key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyRotated {
    /// Whether everything is sealed with the present key now. If not, call again.
    done: bool,
    /// Whether this call made a new key.
    new_key: bool,
    /// How many secrets this call sealed anew.
    resealed: u64,
    /// How many secrets no key opens, so that they stay as they are. Known once it is done.
    unreadable: u64,
    /// Where the server keeps the key before, once it is done. That file may go then; it opens
    /// copies of the store that were made before. Null where keys come from settings.
    previous_file: Option<String>,
}

/// Rotates the key that seals secrets
///
/// Only for a superAdmin. Seals with the present key what is sealed with an older one, a part of it
/// in each call: call again until `done` is true. Where there is no such thing and the server keeps
/// its key in a file, makes a new one first. Deliveries go on meanwhile, and after a crash the next
/// call goes on where the rotation is. `fanfare rotate-key` does all of it.
#[utoipa::path(post, path = "/v1/rotate-key", operation_id = "rotateKey", tag = OPERATION,
    responses((status = 200, description = "A part of it, or the end.", body = KeyRotated)))]
pub(crate) async fn rotate(State(app): State<App>, _: Operator) -> Result<Json<KeyRotated>> {
    let KeyRotation { done, new_key, resealed, unreadable, previous_file } =
        app.engine().rotate_key().await?;
    let previous_file = previous_file.filter(|_| done).map(|file| file.display().to_string());
    Ok(Json::ok(KeyRotated { done, new_key, resealed, unreadable, previous_file }))
}
