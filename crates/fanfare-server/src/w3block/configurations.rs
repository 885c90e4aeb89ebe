//! Webhooks configurations: endpoints.

use axum::extract::State;
use axum::http::StatusCode;
use fanfare::Engine;
use fanfare::engine::{NewEndpoint, RETRIES_DEFAULT};
use fanfare::model::{
    Company, Endpoint, EndpointChange, EndpointList, EndpointSort, Format, Shape, Subscription,
};

use super::dto::{
    CompanyEntityDto, CreateOrUpdateWebhooksConfigurationDto, WebhooksConfigurationEntityDto,
    WebhooksConfigurationEntityPaginatedDto,
};
use super::paging::Listing;
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::error::Result;
use crate::form::Form;
use crate::openapi::W3BLOCK;
use crate::v1::endpoints::{DISABLED_BY_CALLER, switch};

/// The path parameter that names the configuration.
pub(super) const ID: &str = "configurationId";

const SORTS: [(&str, EndpointSort); 5] = [
    ("createdAt", EndpointSort::CreatedAt),
    ("updatedAt", EndpointSort::UpdatedAt),
    ("webhookUrl", EndpointSort::Url),
    ("maxRetries", EndpointSort::MaxRetries),
    ("disabled", EndpointSort::Disabled),
];

/// Lists all company webhooks configurations
#[utoipa::path(get, path = "/admin/companies/{companyId}/webhooks-configurations",
    operation_id = "listWebhooksConfigurations", tag = W3BLOCK, params(Listing),
    responses((status = 200, description = "A page.",
        body = WebhooksConfigurationEntityPaginatedDto)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    asked: Listing,
) -> Result<Json<WebhooksConfigurationEntityPaginatedDto>> {
    let engine = app.engine();
    let sort = asked.sort(&SORTS)?;
    let (search, order, window) = (asked.search.clone(), asked.order(), asked.window());
    let list = EndpointList { company: access.company, search, sort, order, window };
    let page = engine.endpoints(&list).await?;
    let mut items = Vec::with_capacity(page.items.len());
    if !page.items.is_empty() {
        let company = engine.company_of(access.company).await?;
        for endpoint in &page.items {
            items.push(shape(engine, endpoint, &company)?.for_eyes_of(&access));
        }
    }
    let (meta, links) = asked.answer(items.len(), page.total);
    Ok(Json::ok(WebhooksConfigurationEntityPaginatedDto { items, meta, links }))
}

/// Creates a new company webhooks configuration
#[utoipa::path(post, path = "/admin/companies/{companyId}/webhooks-configurations",
    operation_id = "createWebhooksConfiguration", tag = W3BLOCK,
    request_body = CreateOrUpdateWebhooksConfigurationDto,
    responses((status = 201, description = "The configuration.",
        body = WebhooksConfigurationEntityDto)))]
pub(crate) async fn create(
    State(app): State<App>,
    access: Authorized,
    form: Form,
) -> Result<Json<WebhooksConfigurationEntityDto>> {
    let engine = access.engine(&app);
    let given = read(form, &engine)?;
    let new = NewEndpoint {
        shape: Shape { format: Format::W3block, ..Shape::default() },
        max_retries: given.max_retries.unwrap_or(RETRIES_DEFAULT),
        ..NewEndpoint::new(given.webhook_url, vec![Subscription::everything()])
    };
    let endpoint = engine.register(access.company, new).await?;
    Ok(Json(StatusCode::CREATED, show_one(&engine, &endpoint).await?))
}

/// Gets some company webhooks configuration
#[utoipa::path(get, path = "/admin/companies/{companyId}/webhooks-configurations/{configurationId}",
    operation_id = "getWebhookConfiguration", tag = W3BLOCK,
    responses((status = 200, description = "The configuration.",
        body = WebhooksConfigurationEntityDto)))]
pub(crate) async fn show(
    State(app): State<App>,
    access: Authorized,
) -> Result<Json<WebhooksConfigurationEntityDto>> {
    let engine = app.engine();
    let endpoint = engine.endpoint(access.company, access.endpoint(ID)?).await?;
    Ok(Json::ok(show_one(engine, &endpoint).await?.for_eyes_of(&access)))
}

/// Updates some company webhooks configuration
#[utoipa::path(patch, path = "/admin/companies/{companyId}/webhooks-configurations/{configurationId}",
    operation_id = "updateWebhooksConfiguration", tag = W3BLOCK,
    request_body = CreateOrUpdateWebhooksConfigurationDto,
    responses((status = 200, description = "The configuration.",
        body = WebhooksConfigurationEntityDto)))]
pub(crate) async fn update(
    State(app): State<App>,
    access: Authorized,
    form: Form,
) -> Result<Json<WebhooksConfigurationEntityDto>> {
    let engine = access.engine(&app);
    let given = read(form, &engine)?;
    let (url, max_retries) = (Some(given.webhook_url), given.max_retries);
    let change = EndpointChange { url, max_retries, ..EndpointChange::default() };
    let endpoint = engine.change_endpoint(access.company, access.endpoint(ID)?, change).await?;
    Ok(Json::ok(show_one(&engine, &endpoint).await?))
}

/// Enables some company webhooks configuration
#[utoipa::path(patch,
    path = "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/enable",
    operation_id = "enableWebhooksConfiguration", tag = W3BLOCK, responses((status = 204, description = "It is so.")))]
pub(crate) async fn enable(State(app): State<App>, access: Authorized) -> Result<StatusCode> {
    let id = access.endpoint(ID)?;
    access.engine(&app).change_endpoint(access.company, id, switch(None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disables some company webhooks configuration
#[utoipa::path(patch,
    path = "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/disable",
    operation_id = "disableWebhooksConfiguration", tag = W3BLOCK, responses((status = 204, description = "It is so.")))]
pub(crate) async fn disable(State(app): State<App>, access: Authorized) -> Result<StatusCode> {
    let id = access.endpoint(ID)?;
    let change = switch(Some(DISABLED_BY_CALLER));
    access.engine(&app).change_endpoint(access.company, id, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(mut form: Form, engine: &Engine) -> Result<CreateOrUpdateWebhooksConfigurationDto> {
    form.require("webhookUrl");
    let url = form.url("webhookUrl", engine);
    let max_retries = form.retries("maxRetries");
    form.finish(
        url.map(|webhook_url| CreateOrUpdateWebhooksConfigurationDto { webhook_url, max_retries }),
    )
}

async fn show_one(engine: &Engine, endpoint: &Endpoint) -> Result<WebhooksConfigurationEntityDto> {
    shape(engine, endpoint, &engine.company_of(endpoint.company).await?)
}

/// A configuration as it is shown.
pub(super) fn shape(
    engine: &Engine,
    endpoint: &Endpoint,
    company: &Company,
) -> Result<WebhooksConfigurationEntityDto> {
    let signers = engine.signers(endpoint)?;
    let (secret, company) = (signers.w3block_secret(), CompanyEntityDto::of(company));
    Ok(WebhooksConfigurationEntityDto::of(endpoint, secret, company))
}
