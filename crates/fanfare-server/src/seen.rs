//! How the server is seen by those who run it.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use fanfare::Engine;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Json;
use crate::app::App;
use crate::error::{ApiError, Result};
use crate::openapi;

/// What `/metrics` shows.
pub(crate) struct Scrape {
    registry: Registry,
    oldest_due: Gauge<f64, AtomicU64>,
}

impl Scrape {
    pub(crate) fn new(engine: &Engine) -> Scrape {
        let mut registry = Registry::default();
        engine.metrics().register(&mut registry);
        let oldest_due = Gauge::default();
        registry.register(
            "fanfare_oldest_due_seconds",
            "How long the oldest delivery that could be sent has been waiting",
            oldest_due.clone(),
        );
        Scrape { registry, oldest_due }
    }

    fn text(&self, engine: &Engine) -> Result<String> {
        self.oldest_due.set(engine.oldest_due().as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(ApiError::internal)?;
        Ok(text)
    }
}

/// A sign of life.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", operation_id = "health", tag = openapi::OPERATION,
    responses((status = 200, description = "The process lives.", body = Health)))]
pub(crate) async fn health() -> Json<Health> {
    Json::ok(Health { status: "ok" })
}

/// Says whether an event can be accepted now.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = openapi::OPERATION,
    responses((status = 200, description = "Events can be accepted.", body = Health)))]
pub(crate) async fn ready(State(app): State<App>) -> Result<Json<Health>> {
    app.engine().ready().await?;
    Ok(Json::ok(Health { status: "ready" }))
}

/// The engine's counters, for Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = openapi::OPERATION,
    responses((status = 200, description = "OpenMetrics text.", body = String,
        content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse> {
    let text = app.scrape().text(app.engine())?;
    Ok((typed("application/openmetrics-text; version=1.0.0; charset=utf-8"), text))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = openapi::OPERATION,
    responses((status = 200, description = "The OpenAPI document.", body = Object)))]
pub(crate) async fn document() -> impl IntoResponse {
    (typed("application/json"), openapi::text())
}

/// Headers that say what a text is, and that it is nothing else.
fn typed(content_type: &'static str) -> [(HeaderName, &'static str); 2] {
    [(CONTENT_TYPE, content_type), (X_CONTENT_TYPE_OPTIONS, "nosniff")]
}
