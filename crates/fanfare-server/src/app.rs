//! Every route, on one page.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, patch, post};
use fanfare::Engine;
use fanfare::model::CompanyId;
use url::Url;

use crate::auth::Auth;
use crate::error::ApiError;
use crate::rate::{Limiter, Rate};
use crate::seen::{self, Scrape};
use crate::{docs, v1, w3block};

/// What handlers share. Cloning it is cheap.
#[derive(Clone)]
pub struct App {
    engine: Engine,
    auth: Arc<Auth>,
    public_url: Option<Arc<str>>,
    scrape: Arc<Scrape>,
    companies: Option<Arc<Limiter<CompanyId>>>,
}

impl App {
    /// An application on this engine. `public_url` is the base of the links in answers
    /// (`FANFARE_PUBLIC_URL`); without it they begin with the host that the request names.
    pub fn new(engine: Engine, auth: Arc<Auth>, public_url: Option<Url>) -> App {
        let scrape = Arc::new(Scrape::new(&engine));
        let public_url = public_url.map(|url| Arc::from(url.as_str().trim_end_matches('/')));
        App { engine, auth, public_url, scrape, companies: None }
    }

    /// The same, with so many requests for each company (`FANFARE_RATE_LIMIT_COMPANY`). Only those
    /// count that may be made for it: nobody can use up another one's.
    #[must_use]
    pub fn with_company_rate(self, rate: Option<Rate>) -> App {
        let limiter = |rate| Arc::new(Limiter::new(rate, Arc::clone(self.engine.clock())));
        App { companies: rate.map(limiter), ..self }
    }

    /// Whether a request for this company may come in now.
    pub(crate) fn admit(&self, company: CompanyId) -> Result<(), ApiError> {
        let Some(companies) = &self.companies else { return Ok(()) };
        let taken = companies.take(company);
        taken.map_err(|secs| ApiError::rate_limited("this company", secs))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.auth
    }

    pub(crate) fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    pub(crate) fn scrape(&self) -> &Scrape {
        &self.scrape
    }
}

/// Everything the server answers. To add a route, write its handler, name it here and in
/// `openapi.rs`.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(native())
        .merge(w3block())
        .merge(seen())
        .fallback(|| async { ApiError::no_route() })
        .method_not_allowed_fallback(|| async { ApiError::no_method() })
        .with_state(app)
}

fn native() -> Router<App> {
    use v1::{
        api_keys, audit, companies, deliveries, endpoints, events, explain, keys, matching, rekey,
        replays,
    };
    Router::new()
        .route("/v1/rotate-key", post(rekey::rotate))
        .route("/v1/companies/{companyId}", get(companies::show).put(companies::name))
        .route("/v1/companies/{companyId}/events", post(events::emit))
        .route("/v1/companies/{companyId}/events/batch", post(events::emit_all))
        .route("/v1/companies/{companyId}/events/match", post(matching::endpoints))
        .route("/v1/companies/{companyId}/events/{eventId}", get(explain::show))
        .route("/v1/companies/{companyId}/events/{eventId}/cancel", post(events::cancel))
        .route(
            "/v1/companies/{companyId}/endpoints",
            get(endpoints::list).post(endpoints::register),
        )
        .route(
            "/v1/companies/{companyId}/endpoints/{endpointId}",
            get(endpoints::show).patch(endpoints::change).delete(endpoints::delete),
        )
        .route(
            "/v1/companies/{companyId}/endpoints/{endpointId}/activate",
            post(endpoints::activate),
        )
        .route(
            "/v1/companies/{companyId}/endpoints/{endpointId}/deactivate",
            post(endpoints::deactivate),
        )
        .route("/v1/companies/{companyId}/endpoints/{endpointId}/secret/rotate", post(keys::rotate))
        .route("/v1/companies/{companyId}/endpoints/{endpointId}/deliveries", get(deliveries::list))
        .route("/v1/companies/{companyId}/deliveries/{deliveryId}", get(deliveries::show))
        .route("/v1/companies/{companyId}/deliveries/{deliveryId}/replay", post(deliveries::replay))
        .route("/v1/companies/{companyId}/deliveries/{deliveryId}/cancel", post(deliveries::cancel))
        .route("/v1/companies/{companyId}/replays", get(replays::list).post(replays::start))
        .route("/v1/companies/{companyId}/replays/{replayId}", get(replays::show))
        .route("/v1/companies/{companyId}/replays/{replayId}/cancel", post(replays::cancel))
        .route("/v1/companies/{companyId}/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/v1/companies/{companyId}/api-keys/{apiKeyId}", delete(api_keys::revoke))
        .route("/v1/companies/{companyId}/audit", get(audit::list))
}

/// W3Block's eight operations.
fn w3block() -> Router<App> {
    use w3block::{configurations, webhooks};
    Router::new()
        .route(
            "/admin/companies/{companyId}/webhooks-configurations",
            get(configurations::list).post(configurations::create),
        )
        .route(
            "/admin/companies/{companyId}/webhooks-configurations/{configurationId}",
            get(configurations::show).patch(configurations::update),
        )
        .route(
            "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/enable",
            patch(configurations::enable),
        )
        .route(
            "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/disable",
            patch(configurations::disable),
        )
        .route(
            "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/webhooks",
            get(webhooks::list),
        )
        .route(
            "/admin/companies/{companyId}/webhooks-configurations/{configurationId}/webhooks/{webhookId}",
            get(webhooks::show),
        )
}

/// What operators and readers ask for, without a token.
fn seen() -> Router<App> {
    Router::new()
        .route("/.well-known/webhook-keys", get(v1::keys::list))
        .route("/healthz", get(seen::health))
        .route("/readyz", get(seen::ready))
        .route("/metrics", get(seen::metrics))
        .route("/openapi.json", get(seen::document))
        .route("/docs", get(docs::page))
        .route("/", get(docs::front))
}
