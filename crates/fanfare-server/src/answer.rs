//! Answers that are not errors.

use std::fmt;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fanfare::model::MASK;
use fanfare::sign::Secret;
use serde::{Serialize, Serializer};

use crate::error::ApiError;

/// An answer of JSON. Nobody on the way may keep it: it may show a secret.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) StatusCode, pub(crate) T);

impl<T> Json<T> {
    /// The answer to a question.
    pub(crate) fn ok(body: T) -> Self {
        Json(StatusCode::OK, body)
    }
}

/// A secret that an answer shows, and nothing else does.
#[derive(Clone)]
pub(crate) enum Shown {
    /// To those who may know it.
    InFull(Secret),
    /// To those who may know that there is one.
    Masked,
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Shown::InFull(secret) => secret.reveal(),
            Shown::Masked => MASK,
        })
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let body = match serde_json::to_vec(&self.1) {
            Ok(body) => body,
            Err(error) => return ApiError::internal(error).into_response(),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_in_answers_and_nowhere_else() {
        let secret = Secret::from_bytes(&[7; 32]);
        let shown = Shown::InFull(secret.clone());
        assert_eq!(serde_json::to_value(&shown).unwrap(), secret.reveal());
        assert_eq!(serde_json::to_value(Shown::Masked).unwrap(), "***");
        assert_eq!(format!("{:?}", Json::ok(shown)), "Json(200, ***)");
    }
}
