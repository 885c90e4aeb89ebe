//! Sent webhooks: deliveries.

use std::collections::BTreeMap;

use axum::extract::State;
use bytes::Bytes;
use fanfare::model::{Attempt, DeliveryList, DeliverySort, Endpoint, History, Timestamp};
use fanfare::send;

use super::configurations::{self, ID};
use super::dto::{
    CompanyEntityDto, LastResult, WebhookDataDto, WebhookEntityDto, WebhookEntityPaginatedDto,
    WebhookStatusEnum, WebhooksConfigurationEntityDto,
};
use super::paging::Listing;
use crate::access::Authorized;
use crate::answer::Json;
use crate::app::App;
use crate::attempt;
use crate::error::Result;
use crate::openapi::W3BLOCK;
use crate::standing::{self, Standing};

const SORTS: [(&str, DeliverySort); 4] = [
    ("createdAt", DeliverySort::CreatedAt),
    ("updatedAt", DeliverySort::UpdatedAt),
    ("status", DeliverySort::State),
    ("errors", DeliverySort::Errors),
];

/// Lists all webhooks sent using some webhooks configuration of company
#[utoipa::path(get,
    path = "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/webhooks",
    operation_id = "listWebhooksConfigurationWebhooks", tag = W3BLOCK, params(Listing),
    responses((status = 200, description = "A page.",
        body = WebhookEntityPaginatedDto)))]
pub(crate) async fn list(
    State(app): State<App>,
    access: Authorized,
    asked: Listing,
) -> Result<Json<WebhookEntityPaginatedDto>> {
    let (company, endpoint) = (access.company, access.endpoint(ID)?);
    let sort = asked.sort(&SORTS)?;
    let (search, order, window) = (asked.search.clone(), asked.order(), asked.window());
    let list = DeliveryList { company, endpoint, search, sort, order, window };
    let page = app.engine().deliveries(&list).await?;
    let sender = Sender::find(&app, &access).await?;
    let items: Vec<_> =
        page.items.iter().map(|sent| sender.show(&app, sent)).collect::<Result<_>>()?;
    let (meta, links) = asked.answer(items.len(), page.total);
    Ok(Json::ok(WebhookEntityPaginatedDto { items, meta, links }))
}

/// Gets some company webhooks configuration sent webhook
#[utoipa::path(get,
    path = "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/webhooks/{webhookId}",
    operation_id = "getWebhookConfigurationWebhook", tag = W3BLOCK,
    responses((status = 200, description = "The webhook.",
        body = WebhookEntityDto)))]
pub(crate) async fn show(
    State(app): State<App>,
    access: Authorized,
) -> Result<Json<WebhookEntityDto>> {
    let id = access.delivery("webhookId")?;
    let sent = app.engine().delivery(access.company, id).await?;
    let sender = Sender::find(&app, &access).await?;
    if sent.delivery.endpoint != sender.endpoint.id {
        return Err(fanfare::Error::not_found("delivery", id).into());
    }
    Ok(Json::ok(sender.show(&app, &sent)?))
}

/// A configuration, as each of its webhooks shows it.
struct Sender {
    endpoint: Endpoint,
    company: CompanyEntityDto,
    configuration: WebhooksConfigurationEntityDto,
}

impl Sender {
    /// Asked for after the webhooks, so that one that disabled its configuration shows it disabled.
    async fn find(app: &App, access: &Authorized) -> Result<Sender> {
        let engine = app.engine();
        let endpoint = engine.endpoint(access.company, access.endpoint(ID)?).await?;
        let company = engine.company_of(access.company).await?;
        let configuration = configurations::shape(engine, &endpoint, &company)?;
        let configuration = configuration.for_eyes_of(access);
        Ok(Sender { endpoint, company: CompanyEntityDto::of(&company), configuration })
    }

    fn show(&self, app: &App, sent: &History) -> Result<WebhookEntityDto> {
        let delivery = &sent.delivery;
        let standing = standing::of(app.engine(), delivery, Some(&self.endpoint));
        Ok(WebhookEntityDto {
            id: delivery.id.to_string(),
            created_at: delivery.id.made_at().to_string(),
            updated_at: delivery.updated_at.to_string(),
            company_id: delivery.company.to_string(),
            company: self.company.clone(),
            configuration_id: delivery.endpoint.to_string(),
            configuration: self.configuration.clone(),
            status: status(&standing),
            errors: delivery.errors(),
            data: self.data(sent)?,
            last_result: last_result(sent, &standing),
            use_patch: delivery.shape.use_patch,
            update_with_system_headers: delivery.shape.system_headers,
            add_created_at_to_body: delivery.shape.add_created_at,
        })
    }

    fn data(&self, sent: &History) -> Result<WebhookDataDto> {
        let body = match &sent.event.payload {
            expired if expired.is_empty() => Bytes::new(),
            _ => send::body(&sent.event, sent.delivery.shape),
        };
        let (url, headers) = match &sent.last {
            Some(made) => (made.url.clone(), attempt::joined(&made.headers)),
            None => (self.endpoint.url.to_string(), BTreeMap::new()),
        };
        Ok(WebhookDataDto { url, headers, body: attempt::raw_or_null(&body)? })
    }
}

fn status(standing: &Standing) -> WebhookStatusEnum {
    match standing {
        Standing::Waiting(_) | Standing::Held { .. } => WebhookStatusEnum::Sending,
        Standing::Concluded => WebhookStatusEnum::Concluded,
        Standing::Failed(_) => WebhookStatusEnum::Failed,
    }
}

/// The last attempt, or why there will be none.
fn last_result(sent: &History, standing: &Standing) -> Option<LastResult> {
    let mut result = match (&sent.last, standing) {
        (Some(made), _) => of_attempt(made),
        (None, Standing::Failed(reason)) => unsent(sent.delivery.updated_at, reason),
        (None, _) => return None,
    };
    match standing {
        Standing::Failed(reason) => result.error = Some(reason.clone()),
        Standing::Held { reason, .. } => {
            result.error.get_or_insert_with(|| reason.clone());
        }
        Standing::Waiting(_) | Standing::Concluded => {}
    }
    if let Standing::Waiting(next) | Standing::Held { until: next, .. } = standing {
        result.next_attempt_at = next.map(|next| next.to_string());
    }
    Some(result)
}

fn of_attempt(made: &Attempt) -> LastResult {
    let shown = attempt::show(made);
    LastResult {
        status_code: shown.status,
        headers: shown.headers,
        body: shown.body,
        error: shown.error,
        duration_ms: shown.duration_ms,
        at: made.started_at.to_string(),
        attempt: made.number,
        next_attempt_at: None,
    }
}

/// What is shown of a delivery that was given up before its first attempt.
fn unsent(at: Timestamp, reason: &str) -> LastResult {
    LastResult {
        status_code: None,
        headers: BTreeMap::new(),
        body: String::new(),
        error: Some(reason.to_owned()),
        duration_ms: 0,
        at: at.to_string(),
        attempt: 0,
        next_attempt_at: None,
    }
}
