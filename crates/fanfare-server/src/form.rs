//! Bodies of requests: read within bounds, then taken apart field by field, so that one answer
//! names everything that is wrong.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::Bytes;
use fanfare::Engine;
use fanfare::engine::RETRIES_MAX;
use fanfare::model::filter::Filter;
use fanfare::model::{Address, OwnHeaders};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::{ApiError, Result};

/// The largest body of anything but an event.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// How long a body may take to arrive, where the connection says nothing else.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the body of a request may take to arrive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyTimeout(pub(crate) Duration);

/// How much of a body that is too long is still read, and for how long.
const DRAIN_BYTES_MAX: usize = 8 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads the body of a request. One that says it is too long is refused without keeping any of it.
pub(crate) async fn read_body(request: Request, bytes_max: usize) -> Result<Bytes> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    // A length beyond all numbers is too long as well.
    if length.is_some_and(|length| length.parse().unwrap_or(usize::MAX) > bytes_max) {
        if !request.headers().contains_key(EXPECT) {
            // Whoever is still writing when the connection ends never reads the answer.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(request.into_body())).await;
        }
        return Err(ApiError::body_too_large(bytes_max));
    }
    let timeout = request.extensions().get().map_or(BODY_TIMEOUT, |BodyTimeout(timeout)| *timeout);
    let body = Limited::<Body>::new(request.into_body(), bytes_max);
    match tokio::time::timeout(timeout, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(ApiError::body_too_large(bytes_max))
        }
        Ok(Err(_)) => Err(ApiError::body_incomplete()),
        Err(_) => Err(ApiError::body_timeout()),
    }
}

/// Reads a bounded part of a body and forgets it.
async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(read) else { return };
        left = rest;
    }
}

/// The JSON object of a body, as far as its fields have not been taken yet. `null` counts as not
/// given.
#[derive(Debug)]
pub(crate) struct Form {
    fields: Map<String, Value>,
    /// Whence they are.
    body: Bytes,
    wrong: Vec<String>,
}

/// The same where a body may be left out.
#[derive(Debug)]
pub(crate) struct MaybeForm(pub(crate) Form);

impl FromRequest<App> for MaybeForm {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        let body = read_body(request, FORM_BYTES_MAX).await?;
        let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        Form::parse(body).map(MaybeForm)
    }
}

impl FromRequest<App> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        Form::parse(read_body(request, FORM_BYTES_MAX).await?)
    }
}

impl Form {
    fn parse(body: Bytes) -> Result<Self> {
        match serde_json::from_slice(&body).map_err(ApiError::malformed_json)? {
            Value::Object(fields) => Ok(Form { fields, body, wrong: Vec::new() }),
            _ => Err(ApiError::invalid_field("body", "must be a JSON object")),
        }
    }

    /// Notes that a field is wrong.
    pub(crate) fn wrong(&mut self, name: &str, reason: impl Display) {
        self.wrong.push(format!("{name}: {reason}"));
    }

    /// A string, as it was sent.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => self.refuse(name, "must be a string"),
        }
    }

    /// A string, read.
    pub(crate) fn read<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        read(&text).map_or_else(|error| self.refuse(name, error), Some)
    }

    /// A URL that deliveries may go to.
    pub(crate) fn url(&mut self, name: &'static str, engine: &Engine) -> Option<Address> {
        self.read(name, |text| {
            engine.parse_url(name, text).map_err(|error| match error {
                fanfare::Error::Invalid { reason, .. } => reason,
                other => other.to_string(),
            })
        })
    }

    /// A list of strings, each read.
    pub(crate) fn list<T, E: Display>(
        &mut self,
        name: &str,
        read: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Option<Vec<T>> {
        let Value::Array(items) = self.take(name)? else {
            return self.refuse(name, "must be a list of strings");
        };
        let count = items.len();
        let mut all = Vec::with_capacity(count);
        for (at, item) in items.iter().enumerate() {
            match item.as_str().map(&read) {
                Some(Ok(value)) => all.push(value),
                Some(Err(error)) => self.wrong(&format!("{name}[{at}]"), error),
                None => self.wrong(&format!("{name}[{at}]"), "must be a string"),
            }
        }
        (all.len() == count).then_some(all)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            _ => self.refuse(name, "must be true or false"),
        }
    }

    /// How often to retry.
    pub(crate) fn retries(&mut self, name: &str) -> Option<u32> {
        self.whole(name, 0..=RETRIES_MAX)
    }

    /// A whole number in this range. JSON has one kind of number, so 5.0 is 5.
    pub(crate) fn whole(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(name)?;
        // Zero has two signs, of which text shows one.
        let number = value.as_f64().map(|number| (number + 0.0).to_string());
        let found = number.and_then(|text| text.parse().ok()).filter(|found| range.contains(found));
        found.or_else(|| {
            let (least, most) = range.into_inner();
            self.refuse(name, format!("must be a whole number from {least} to {most}"))
        })
    }

    /// A filter on payloads.
    pub(crate) fn filter(&mut self, name: &str) -> Option<Filter> {
        self.take(name)?;
        // As it was sent: with all digits of its numbers, and with names that stand twice.
        let fields: HashMap<String, &RawValue> = serde_json::from_slice(&self.body).ok()?;
        match Filter::parse(fields.get(name)?.get()) {
            Ok(filter) => Some(filter),
            Err(error) => {
                self.wrong.push(error.to_string());
                None
            }
        }
    }

    /// An object of headers by their names.
    pub(crate) fn headers(&mut self, name: &str) -> Option<OwnHeaders> {
        let Value::Object(given) = self.take(name)? else {
            return self.refuse(name, "must be an object of headers: {\"name\": \"value\"}");
        };
        let mut pairs = Vec::with_capacity(given.len());
        for (header, value) in &given {
            let Some(value) = value.as_str() else {
                return self.refuse(&format!("{name}.{header}"), "must be a string");
            };
            pairs.push((header, value));
        }
        match OwnHeaders::read(pairs) {
            Ok(headers) => Some(headers),
            Err(flaws) => {
                flaws.iter().for_each(|flaw| self.wrong(&flaw.field, &flaw.reason));
                None
            }
        }
    }

    /// An object, to be taken apart field by field and given back by [`Form::close`].
    pub(crate) fn open(&mut self, name: &str) -> Option<Form> {
        match self.take(name)? {
            Value::Object(fields) => {
                Some(Form { fields, body: self.body.clone(), wrong: Vec::new() })
            }
            _ => self.refuse(name, "must be an object"),
        }
    }

    /// Notes what was wrong in an object.
    pub(crate) fn close(&mut self, name: &str, object: Form) {
        self.wrong.extend(object.wrong.into_iter().map(|wrong| format!("{name}.{wrong}")));
    }

    /// A field for which null has a meaning of its own: `None` when it is not given, `Some(None)`
    /// when it is null.
    pub(crate) fn or_null<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.fields.get(name)?.is_null() {
            self.fields.remove(name);
            return Some(None);
        }
        read(self).map(Some)
    }

    /// Notes it if a field that must be there is not.
    pub(crate) fn require(&mut self, name: &str) {
        if self.fields.get(name).is_none_or(Value::is_null) {
            self.wrong(name, "is required");
        }
    }

    /// Is there a field of this name?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// Leaves a field alone about which enough was said.
    pub(crate) fn forget(&mut self, name: &str) {
        self.fields.remove(name);
    }

    /// Notes every field that was not taken: nobody should believe that it has an effect.
    pub(crate) fn refuse_the_rest(&mut self, known: &str) {
        for name in std::mem::take(&mut self.fields).into_iter().map(|(name, _)| name) {
            self.wrong(&name, format!("is not a field here; there are: {known}"));
        }
    }

    /// What was read, if nothing is wrong.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T> {
        match read {
            Some(read) if self.wrong.is_empty() => Ok(read),
            _ => Err(ApiError::invalid(self.wrong)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn refuse<T>(&mut self, name: &str, reason: impl Display) -> Option<T> {
        self.wrong(name, reason);
        None
    }
}
