//! The only place that knows status codes of errors and their shape (contract, section 2).

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fanfare::model::Scope;
use fanfare::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::AuthError;

/// The result of whatever may be refused.
pub(crate) type Result<T> = std::result::Result<T, ApiError>;

/// The most complaints about one request.
const MESSAGES_MAX: usize = 20;
/// The longest complaint, in characters: it may quote what was sent.
const MESSAGE_CHARS_MAX: usize = 500;

/// A refusal, on its way to the caller.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    messages: Vec<String>,
    retry_after_secs: Option<u32>,
}

/// What every error looks like.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub(crate) struct ErrorDto {
    /// The status of the answer.
    #[schema(example = 400)]
    status_code: u16,
    /// The status in words.
    #[schema(example = "Bad Request")]
    error: &'static str,
    /// For people: what is wrong and what would be right.
    message: Message,
    /// For programs: a stable word in `snake_case`.
    #[schema(example = "invalid_request")]
    code: &'static str,
}

/// One sentence, or several when several things are wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Message {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code, messages: vec![message.into()], retry_after_secs: None }
    }

    fn later(code: &'static str, message: String, secs: u32) -> Self {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        ApiError { retry_after_secs: Some(secs), ..error }
    }

    /// `who` has asked more often than is allowed, and may ask again after so many seconds.
    pub(crate) fn rate_limited(who: &str, secs: u32) -> Self {
        let message = format!("too many requests of {who}; try again in {secs} s");
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        ApiError { retry_after_secs: Some(secs), ..error }
    }

    /// What was sent can never work; each message names what is wrong.
    pub(crate) fn invalid(messages: Vec<String>) -> Self {
        let messages = if messages.is_empty() { vec!["not valid".to_owned()] } else { messages };
        ApiError { messages, ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", "") }
    }

    /// One thing of what was sent can never work.
    pub(crate) fn invalid_field(name: &str, reason: impl std::fmt::Display) -> Self {
        ApiError::invalid(vec![format!("{name}: {reason}")])
    }

    /// The body is not the JSON that it should be.
    pub(crate) fn malformed_json(reason: impl std::fmt::Display) -> Self {
        let message = format!("the body is not JSON: {reason}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", message)
    }

    /// The body ended before it was whole.
    pub(crate) fn body_incomplete() -> Self {
        let message = "the body ended before it was whole";
        ApiError::new(StatusCode::BAD_REQUEST, "body_incomplete", message)
    }

    /// The body took too long to arrive.
    pub(crate) fn body_timeout() -> Self {
        let message = "the body took too long to arrive";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    }

    /// The body is larger than what this operation reads.
    pub(crate) fn body_too_large(bytes_max: usize) -> Self {
        let message = format!("body: has more than the {bytes_max} bytes that are read here");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// The same, where what is too large can only be the payload of an event.
    pub(crate) fn about_payload(self, max: usize) -> Self {
        if self.status != StatusCode::PAYLOAD_TOO_LARGE {
            return self;
        }
        let message = format!("data: more than the {max} bytes allowed (FANFARE_MAX_PAYLOAD)");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// The same about one of several events.
    fn of_several(self, at: usize) -> Self {
        let name = |message| format!("events[{at}].{message}");
        ApiError { messages: self.messages.into_iter().map(name).collect(), ..self }
    }

    /// The caller is known, and may not act for this company.
    pub(crate) fn forbidden() -> Self {
        let message = "the token or API key is not for this company";
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The caller's key may act for this company, and may not do this.
    pub(crate) fn insufficient_scope(needed: Scope) -> Self {
        let needed = needed.as_str();
        let message = match needed {
            "admin" => "this needs an API key of scope `admin`, or a token".to_owned(),
            _ => format!("this needs an API key of scope `{needed}` or `admin`, or a token"),
        };
        ApiError::new(StatusCode::FORBIDDEN, "insufficient_scope", message)
    }

    /// The caller is known, and may not act for the server as a whole.
    pub(crate) fn only_super_admin() -> Self {
        let message = "only a superAdmin may do this";
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// There is no such address.
    pub(crate) fn no_route() -> Self {
        let message = "there is nothing at this address; GET /openapi.json lists what there is";
        ApiError::new(StatusCode::NOT_FOUND, "route_not_found", message)
    }

    /// The address is there, for other methods.
    pub(crate) fn no_method() -> Self {
        let message = "this address has other methods; the header `allow` names them";
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// A mistake of ours, logged here once with its cause.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a request could not be answered");
        let message = "something went wrong in the server; its log says what";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Its body.
    fn dto(self) -> ErrorDto {
        let mut messages = self.messages;
        messages.truncate(MESSAGES_MAX);
        let mut messages: Vec<String> = messages.into_iter().map(shortened).collect();
        let message = match messages.pop() {
            Some(only) if messages.is_empty() => Message::One(only),
            last => Message::Several(messages.into_iter().chain(last).collect()),
        };
        let error = self.status.canonical_reason().unwrap_or("Error");
        ErrorDto { status_code: self.status.as_u16(), error, message, code: self.code }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        ApiError::new(StatusCode::UNAUTHORIZED, error.code(), error.message())
    }
}

impl From<fanfare::Error> for ApiError {
    fn from(error: fanfare::Error) -> Self {
        use fanfare::Error;
        let text = error.to_string();
        match error {
            Error::Invalid { field, reason } => ApiError::invalid_field(&field, reason),
            Error::OfSeveral { at, error } => ApiError::from(*error).of_several(at),
            Error::Final { .. } => ApiError::new(StatusCode::CONFLICT, "delivery_final", text),
            Error::TooLarge { .. } | Error::TooMuch { .. } => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", text)
            }
            Error::NotFound { kind, .. } => {
                let code = match kind {
                    "endpoint" => "endpoint_not_found",
                    "event" => "event_not_found",
                    "delivery" => "delivery_not_found",
                    "company" => "company_not_found",
                    "replay" => "replay_not_found",
                    "API key" => "api_key_not_found",
                    _ => "not_found",
                };
                ApiError::new(StatusCode::NOT_FOUND, code, text)
            }
            Error::Conflict { what } => {
                let code = if what == "id" { "id_conflict" } else { "idempotency_key_conflict" };
                ApiError::new(StatusCode::CONFLICT, code, text)
            }
            Error::RotationUnderWay { .. } => {
                ApiError::new(StatusCode::CONFLICT, "rotation_under_way", text)
            }
            Error::NothingToRotate => {
                ApiError::new(StatusCode::CONFLICT, "nothing_to_rotate", text)
            }
            Error::PayloadExpired => ApiError::new(StatusCode::GONE, "payload_expired", text),
            Error::Draining => ApiError::later("draining", text, 5),
            // The store logs these, a line a second at most; here it would be one for each request.
            Error::Unavailable(StoreError::Full(_)) => {
                ApiError::later("disk_full", "the server's disk is full".to_owned(), 10)
            }
            Error::Unavailable(_) => {
                let message = "the server's database is away".to_owned();
                ApiError::later("store_unavailable", message, 2)
            }
            Error::Internal(cause) => ApiError::internal(cause),
            other => ApiError::internal(other),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry_after_secs) = (self.status, self.retry_after_secs);
        let body = serde_json::to_vec(&self.dto()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(secs) = retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: fanfare::Error) -> (u16, String, Option<String>) {
        let error = ApiError::from(error);
        let secs = error.retry_after_secs.map(|secs| secs.to_string());
        let code = error.code.to_owned();
        let response = error.into_response();
        let header = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap());
        assert_eq!(header, secs.as_deref());
        (response.status().as_u16(), code, secs)
    }

    #[test]
    fn what_may_work_later_says_when_and_what_will_not_does_not() {
        use fanfare::Error;
        let cause = || "no room in table `x`".to_owned();
        let later = |code: &str, secs: &str| (503, code.to_owned(), Some(secs.to_owned()));
        assert_eq!(shown(Error::Draining), later("draining", "5"));
        assert_eq!(shown(StoreError::Full(cause()).into()), later("disk_full", "10"));
        assert_eq!(shown(StoreError::Away(cause()).into()), later("store_unavailable", "2"));
        for ours in [StoreError::Broken(cause()), StoreError::Untrusted(cause())] {
            assert_eq!(shown(ours.into()), (500, "internal".to_owned(), None));
        }
    }

    #[test]
    fn a_cause_inside_the_server_is_not_told() {
        for error in [StoreError::Full("x.db".into()), StoreError::Broken("x.db".into())] {
            let error = ApiError::from(fanfare::Error::from(error));
            let told = serde_json::to_string(&error.dto()).unwrap();
            assert!(!told.contains("x.db"), "{told}");
        }
    }
}
