//! Endpoints: commercio's webhooks.

use axum::extract::State;
use axum::http::StatusCode;
use fanfare::Engine;
use fanfare::model::{Endpoint, EndpointChange, EndpointId};

use super::cursor::Cursor;
use super::webhook::{self, NewWebhook, Webhook, WebhookChange, WebhookList};
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::form::Form;
use crate::openapi::ENDPOINTS;

/// The path parameter that names the endpoint.
pub(super) const ID: &str = "endpointId";
/// The reason that is shown for an endpoint that its company disabled.
pub(crate) const DISABLED_BY_CALLER: &str = "disabled through the API";

/// Registers an endpoint
///
/// From here on it hears of the company's events of the types it names.
#[utoipa::path(post, path = "/v1/companies/{companyId}/endpoints",
    operation_id = "registerEndpoint", tag = ENDPOINTS, request_body = NewWebhook,
    responses((status = 201, description = "The endpoint, with its secret.", body = Webhook)))]
pub(crate) async fn register(
    State(app): State<App>,
    access: Authorized,
    form: Form,
) -> Result<Json<Webhook>> {
    let engine = access.engine(&app);
    let new = webhook::new(form, &engine)?;
    let endpoint = engine.register(access.company, new).await?;
    Ok(Json(StatusCode::CREATED, shape(&engine, &endpoint)?))
}

/// Lists the endpoints of a company
///
/// The newest first.
#[utoipa::path(get, path = "/v1/companies/{companyId}/endpoints",
    operation_id = "listEndpoints", tag = ENDPOINTS, params(Cursor),
    responses((status = 200, description = "A page of endpoints.", body = WebhookList)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    cursor: Cursor,
) -> Result<Json<WebhookList>> {
    let engine = app.engine();
    let before = cursor.after.map(EndpointId::from_uuid);
    let found = engine.endpoints_before(access.company, before, cursor.wanted()).await?;
    let (found, next) = cursor.cut(found, |endpoint| endpoint.id.to_string());
    let shape = |endpoint| Ok(shape(engine, endpoint)?.for_eyes_of(&access));
    let items = found.iter().map(shape).collect::<Result<_>>()?;
    Ok(Json::ok(WebhookList { items, next }))
}

/// Shows an endpoint
#[utoipa::path(get, path = "/v1/companies/{companyId}/endpoints/{endpointId}",
    operation_id = "getEndpoint", tag = ENDPOINTS,
    responses((status = 200, description = "The endpoint.", body = Webhook)))]
pub(crate) async fn show(State(app): State<App>, access: Authorized) -> Result<Json<Webhook>> {
    let engine = app.engine();
    let endpoint = engine.endpoint(access.company, access.endpoint(ID)?).await?;
    Ok(Json::ok(shape(engine, &endpoint)?.for_eyes_of(&access)))
}

/// Changes an endpoint
///
/// What is not given stays as it is. Deliveries that wait obey the new `url`, `maxRetries`,
/// `rateLimit`, `maxInFlight`, `headers` and `tls`; the other fields hold for later events.
#[utoipa::path(patch, path = "/v1/companies/{companyId}/endpoints/{endpointId}",
    operation_id = "changeEndpoint", tag = ENDPOINTS, request_body = WebhookChange,
    responses((status = 200, description = "The endpoint as it is now.", body = Webhook)))]
pub(crate) async fn change(
    State(app): State<App>,
    access: Authorized,
    form: Form,
) -> Result<Json<Webhook>> {
    let engine = access.engine(&app);
    let (change, own) = webhook::change(form, &engine)?;
    let (company, id) = (access.company, access.endpoint(ID)?);
    let endpoint = engine.change_endpoint_with(company, id, own, change).await?;
    Ok(Json::ok(shape(&engine, &endpoint)?))
}

/// Deletes an endpoint
///
/// What it was still to receive is failed; its history stays until it expires.
#[utoipa::path(delete, path = "/v1/companies/{companyId}/endpoints/{endpointId}",
    operation_id = "deleteEndpoint", tag = ENDPOINTS,
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn delete(State(app): State<App>, access: Authorized) -> Result<StatusCode> {
    access.engine(&app).delete_endpoint(access.company, access.endpoint(ID)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Activates an endpoint
///
/// It hears of later events, and what was held for it goes on. Can be repeated.
#[utoipa::path(post, path = "/v1/companies/{companyId}/endpoints/{endpointId}/activate",
    operation_id = "activateEndpoint", tag = ENDPOINTS,
    responses((status = 200, description = "The endpoint as it is now.", body = Webhook)))]
pub(crate) async fn activate(State(app): State<App>, access: Authorized) -> Result<Json<Webhook>> {
    let (engine, id) = (access.engine(&app), access.endpoint(ID)?);
    let endpoint = engine.change_endpoint(access.company, id, switch(None)).await?;
    Ok(Json::ok(shape(&engine, &endpoint)?))
}

/// Deactivates an endpoint
///
/// It hears of nothing from here on, and what waits for it is held. Can be repeated.
#[utoipa::path(post, path = "/v1/companies/{companyId}/endpoints/{endpointId}/deactivate",
    operation_id = "deactivateEndpoint", tag = ENDPOINTS,
    responses((status = 200, description = "The endpoint as it is now.", body = Webhook)))]
pub(crate) async fn deactivate(
    State(app): State<App>,
    access: Authorized,
) -> Result<Json<Webhook>> {
    let (engine, id) = (access.engine(&app), access.endpoint(ID)?);
    let change = switch(Some(DISABLED_BY_CALLER));
    let endpoint = engine.change_endpoint(access.company, id, change).await?;
    Ok(Json::ok(shape(&engine, &endpoint)?))
}

/// The change that enables an endpoint, or disables it for a reason.
pub(crate) fn switch(disabled: Option<&str>) -> EndpointChange {
    EndpointChange { disabled: Some(disabled.map(str::to_owned)), ..EndpointChange::default() }
}

fn shape(engine: &Engine, endpoint: &Endpoint) -> Result<Webhook> {
    Webhook::of(engine, endpoint)
}
