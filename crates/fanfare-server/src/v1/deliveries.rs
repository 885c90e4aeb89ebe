//! Deliveries: commercio's webhook deliveries.

use axum::extract::State;
use axum::http::StatusCode;
use fanfare::model::{self, DeliveryId};

use super::cursor::Cursor;
use super::delivery::{Delivery, DeliveryDetails, DeliveryList};
use super::endpoints;
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::openapi::DELIVERIES;
use crate::standing::{self, Standing};

/// The path parameter that names the delivery.
const ID: &str = "deliveryId";

/// Lists the deliveries of an endpoint
///
/// The newest first.
#[utoipa::path(get, path = "/v1/companies/{companyId}/endpoints/{endpointId}/deliveries",
    operation_id = "listDeliveries", tag = DELIVERIES, params(Cursor),
    responses((status = 200, description = "A page of deliveries.", body = DeliveryList)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    cursor: Cursor,
) -> Result<Json<DeliveryList>> {
    let (engine, company) = (app.engine(), access.company);
    let (id, before) = (access.endpoint(endpoints::ID)?, cursor.after.map(DeliveryId::from_uuid));
    let found = engine.deliveries_before(company, id, before, cursor.wanted()).await?;
    let endpoint = engine.endpoint(company, id).await?;
    let (found, next) = cursor.cut(found, |sent| sent.id().to_string());
    let shape = |sent: &model::History| {
        Delivery::of(sent, standing::of(engine, &sent.delivery, Some(&endpoint)))
    };
    let items = found.iter().map(shape).collect::<Result<_>>()?;
    Ok(Json::ok(DeliveryList { items, next }))
}

/// Shows a delivery
///
/// With every attempt, the first one first.
#[utoipa::path(get, path = "/v1/companies/{companyId}/deliveries/{deliveryId}",
    operation_id = "getDelivery", tag = DELIVERIES,
    responses((status = 200, description = "The delivery.", body = DeliveryDetails)))]
pub(crate) async fn show(
    State(app): State<App>,
    access: Authorized,
) -> Result<Json<DeliveryDetails>> {
    let (engine, id) = (app.engine(), access.delivery(ID)?);
    let sent = engine.delivery(access.company, id).await?;
    let standing = standing(&app, &sent.delivery).await?;
    let attempts = engine.attempts(access.company, id).await?;
    Ok(Json::ok(DeliveryDetails::of(&sent, standing, &attempts)?))
}

/// Replays a delivery
///
/// Sends the same event to the same endpoint again, as a new delivery with the same `webhook-id`.
/// The old one stays as it is. A second call within ten seconds, or as long as the new one waits, is
/// answered with the same new delivery.
#[utoipa::path(post, path = "/v1/companies/{companyId}/deliveries/{deliveryId}/replay",
    operation_id = "replayDelivery", tag = DELIVERIES,
    responses((status = 202, description = "The new delivery.", body = Delivery)))]
pub(crate) async fn replay(State(app): State<App>, access: Authorized) -> Result<Json<Delivery>> {
    let engine = access.engine(&app);
    let replayed = engine.replay(access.company, access.delivery(ID)?).await?;
    let sent = engine.delivery(access.company, replayed.id).await?;
    let standing = standing(&app, &sent.delivery).await?;
    Ok(Json(StatusCode::ACCEPTED, Delivery::of(&sent, standing)?))
}

/// Cancels a delivery
///
/// If it still waits, it is `failed` with the reason `cancelled`. One that is being sent goes on, and
/// is answered as it is.
#[utoipa::path(post, path = "/v1/companies/{companyId}/deliveries/{deliveryId}/cancel",
    operation_id = "cancelDelivery", tag = DELIVERIES,
    responses((status = 200, description = "The delivery as it is now.", body = Delivery)))]
pub(crate) async fn cancel(State(app): State<App>, access: Authorized) -> Result<Json<Delivery>> {
    let sent = access.engine(&app).cancel_delivery(access.company, access.delivery(ID)?).await?;
    let standing = standing(&app, &sent.delivery).await?;
    Ok(Json::ok(Delivery::of(&sent, standing)?))
}

/// Where a delivery stands, whether or not its endpoint is still there.
async fn standing(app: &App, delivery: &model::Delivery) -> Result<Standing> {
    let engine = app.engine();
    let endpoint = match engine.endpoint(delivery.company, delivery.endpoint).await {
        Ok(endpoint) => Some(endpoint),
        Err(fanfare::Error::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(standing::of(engine, delivery, endpoint.as_ref()))
}
