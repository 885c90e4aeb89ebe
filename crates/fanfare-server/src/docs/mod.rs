//! Pages for people: the API, drawn from its own description, and the front page. Nothing is loaded
//! from anywhere else.

mod example;
mod page;

use std::sync::OnceLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::response::IntoResponse;

use crate::openapi;

/// Styles of these pages and nothing else: no script, no image, no form, no frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("style.css");

/// The API page
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = openapi::OPERATION,
    responses((status = 200, description = "The page.", body = String,
        content_type = "text/html")))]
pub(crate) async fn page() -> impl IntoResponse {
    static PAGE: OnceLock<String> = OnceLock::new();
    (HEADERS, PAGE.get_or_init(|| page::draw(openapi::text())).as_str())
}

/// The front page
#[utoipa::path(get, path = "/", operation_id = "front", tag = openapi::OPERATION,
    responses((status = 200, description = "The page.", body = String,
        content_type = "text/html")))]
pub(crate) async fn front() -> impl IntoResponse {
    (HEADERS, include_str!("front.html").replace("/*style*/", STYLE))
}

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-cache"),
];
