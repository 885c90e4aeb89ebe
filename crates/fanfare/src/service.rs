//! The embedding API: commercio's `webhookService`, as a Rust library.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::engine::{Engine, NewEndpoint, NewEvent, OwnChange, Rotation, check_json};
use crate::error::{Error, Result};
use crate::keys::EncryptionKeys;
use crate::model;
use crate::model::{
    CompanyId, DeliveryId, DeliveryState, EndpointChange, EndpointId, EventId, EventType, Format,
    History, Outcome, OwnHeaders, OwnTls, Subscription, Timestamp,
};
use crate::options::Options;
use crate::sign::Secret;
use crate::store::Receipt;

/// A running engine.
///
/// Cloning it is cheap and gives another handle to the same engine.
#[derive(Clone)]
pub struct Fanfare {
    engine: Engine,
}

impl Fanfare {
    /// Opens the embedded store `sqlite:PATH`, making it when it is new, and starts delivering.
    /// The key that seals signing secrets is kept beside it, in `PATH.key`.
    ///
    /// # Errors
    /// [`Error::Setup`] when another process has the store, or `url` names a store that has no
    /// place for a key: those are opened by [`Fanfare::open_with`].
    pub async fn open(url: &str) -> Result<Fanfare> {
        let path = url.strip_prefix("sqlite:").ok_or_else(|| {
            Error::Setup("only `sqlite:PATH` opens without options; see Fanfare::open_with".into())
        })?;
        let keys = EncryptionKeys::read_or_make(Path::new(&format!("{path}.key")))?;
        Self::open_with(Options::new(url, keys)).await
    }

    /// Opens the store that the options name and starts delivering.
    ///
    /// # Errors
    /// [`Error::Setup`] when another process has the store, [`Error::WrongKey`] when it was made with
    /// another key.
    pub async fn open_with(options: Options) -> Result<Fanfare> {
        let engine = Engine::open(options).await?;
        engine.start().await?;
        Ok(Fanfare { engine })
    }

    /// The webhooks of one company.
    pub fn company(&self, id: CompanyId) -> Webhooks {
        Webhooks { engine: self.engine.clone(), company: id }
    }

    /// The engine itself, for what this face does not show.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Stops: takes no new events, lets attempts in flight end within the request timeout, and
    /// closes the store. Deliveries that wait go on at the next start.
    pub async fn close(&self) {
        let clock = self.engine.clock();
        let grace = self.engine.rules().request_timeout + Duration::from_secs(1);
        self.engine.stop(clock.sleep_until(clock.now().plus(grace))).await;
    }
}

/// The webhooks of one company.
#[derive(Clone)]
pub struct Webhooks {
    engine: Engine,
    company: CompanyId,
}

/// Where a company wants its events posted.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its name.
    pub id: EndpointId,
    /// Where to post.
    pub url: String,
    /// The secret that requests are signed with.
    pub secret: Secret,
    /// What it listens to, as `ORDER_CREATED` where commercio names it.
    pub events: Vec<String>,
    /// Headers that go with every request, with their values masked.
    pub headers: OwnHeaders,
    /// The authority and the certificate of its own that connections use, with the key masked.
    pub tls: OwnTls,
    /// Whether it receives anything.
    pub is_active: bool,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// One event on its way to one webhook.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its name.
    pub id: DeliveryId,
    /// Where it goes.
    pub webhook_id: EndpointId,
    /// What it tells, as `ORDER_CREATED` where commercio names it.
    pub event: String,
    /// The payload, byte for byte as it was emitted; empty once it has expired before its history.
    pub payload: Bytes,
    /// What the newest attempt was answered; `None` before the first, and when nothing came.
    pub status_code: Option<u16>,
    /// Whether a 2xx was received.
    pub success: bool,
    /// Requests made so far.
    pub attempts: u32,
    /// When the newest began.
    pub last_attempt_at: Option<Timestamp>,
}

/// What to change of a webhook; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct Update<'a> {
    /// Where to post.
    pub url: Option<&'a str>,
    /// What to listen to.
    pub events: Option<&'a [&'a str]>,
    /// What the body of later events is.
    pub format: Option<Format>,
    /// Retries after the first attempt.
    pub max_retries: Option<u32>,
    /// Headers that go with every request, instead of those before; an empty list removes them. A
    /// value `***` keeps the present one.
    pub headers: Option<&'a [(&'a str, &'a str)]>,
    /// The authority and the certificate of its own that connections use, instead of those before;
    /// the default removes them. A key `***` keeps the present one.
    pub tls: Option<OwnTls>,
}

impl Webhooks {
    /// Registers a webhook for at least one event type: `ORDER_CREATED` or `order.created`, a
    /// prefix such as `order.*`, or `*`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that deliveries may not go to, and for an empty or malformed
    /// list.
    pub async fn register(&self, url: &str, events: &[&str]) -> Result<Webhook> {
        let url = self.engine.parse_url("url", url)?;
        self.register_with(NewEndpoint::new(url, subscriptions(events)?)).await
    }

    /// The same with wishes: a secret, a shape, headers, certificates.
    ///
    /// # Errors
    /// As [`Webhooks::register`], and [`Error::Invalid`] for certificates that make no connection.
    pub async fn register_with(&self, new: NewEndpoint) -> Result<Webhook> {
        let endpoint = self.engine.register(self.company, new).await?;
        self.webhook(&endpoint)
    }

    /// Tells every active webhook that listens. Once this returns, the event and all its deliveries
    /// are on disk.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a malformed type or payload, [`Error::TooLarge`],
    /// [`Error::Unavailable`] while the disk is full.
    pub async fn emit(&self, event_type: &str, payload: &impl Serialize) -> Result<Receipt> {
        let json = serde_json::to_vec(payload);
        let json = json.map_err(|error| Error::invalid("payload", error.to_string()))?;
        self.emit_trusted(event_type, json.into()).await
    }

    /// The same for a payload that is JSON already: it reaches receivers byte for byte.
    ///
    /// # Errors
    /// As [`Webhooks::emit`].
    pub async fn emit_json(&self, event_type: &str, payload: Bytes) -> Result<Receipt> {
        check_json(&payload)?;
        self.emit_trusted(event_type, payload).await
    }

    /// The same for JSON that was checked by its parser.
    ///
    /// # Errors
    /// As [`Webhooks::emit`].
    pub async fn emit_raw(&self, event_type: &str, payload: &RawValue) -> Result<Receipt> {
        let payload = Bytes::copy_from_slice(payload.get().as_bytes());
        self.emit_trusted(event_type, payload).await
    }

    /// The same with wishes: an id or a key under which it is known, an ordering key, a time to be
    /// sent at, an end.
    ///
    /// # Errors
    /// As [`Webhooks::emit`], and [`Error::Conflict`] when something else is known by its id or key.
    pub async fn emit_with(&self, new: NewEvent) -> Result<Receipt> {
        check_json(&new.payload)?;
        self.engine.emit(self.company, new).await
    }

    /// Up to 1,000 events, in their order: all of them or none. `key` makes a repeat answer the same.
    ///
    /// # Errors
    /// As [`Webhooks::emit_with`]; [`Error::OfSeveral`] names the event that is refused.
    pub async fn emit_all(&self, news: Vec<NewEvent>, key: Option<&str>) -> Result<Vec<Receipt>> {
        news.iter().try_for_each(|new| check_json(&new.payload))?;
        self.engine.emit_all(self.company, news, key).await
    }

    /// Says an event as part of a transaction of your own (`tokio_postgres::Transaction`, or a client
    /// on which one is open): commit, and it will be delivered; roll back, and nothing was said.
    /// `docs/emit-in-a-transaction.md` tells more, and how other languages do it.
    ///
    /// # Errors
    /// As [`Engine::emit_in`].
    #[cfg(feature = "postgres")]
    pub async fn emit_in(
        &self,
        transaction: &impl tokio_postgres::GenericClient,
        new: NewEvent,
    ) -> Result<EventId> {
        self.engine.emit_in(transaction, self.company, new).await
    }

    async fn emit_trusted(&self, event_type: &str, payload: Bytes) -> Result<Receipt> {
        let event_type: EventType =
            event_type.parse().map_err(|reason: String| Error::invalid("type", reason))?;
        let new = NewEvent::new(event_type, payload);
        self.engine.emit(self.company, new).await
    }

    /// Up to `limit` deliveries of a webhook, the newest first; `after` is the last id of the page
    /// before.
    pub async fn deliveries(
        &self,
        webhook: EndpointId,
        limit: u32,
        after: Option<DeliveryId>,
    ) -> Result<Vec<Delivery>> {
        self.engine.endpoint(self.company, webhook).await?;
        let found = self.engine.deliveries_before(self.company, webhook, after, limit).await?;
        Ok(found.into_iter().map(delivery).collect())
    }

    /// Up to `limit` webhooks, the newest first; `after` is the last id of the page before.
    pub async fn list(&self, limit: u32, after: Option<EndpointId>) -> Result<Vec<Webhook>> {
        let found = self.engine.endpoints_before(self.company, after, limit).await?;
        found.iter().map(|endpoint| self.webhook(endpoint)).collect()
    }

    /// One webhook.
    pub async fn get(&self, id: EndpointId) -> Result<Webhook> {
        self.webhook(&self.engine.endpoint(self.company, id).await?)
    }

    /// Changes a webhook.
    pub async fn update(&self, id: EndpointId, update: Update<'_>) -> Result<Webhook> {
        let change = EndpointChange {
            url: update.url.map(|url| self.engine.parse_url("url", url)).transpose()?,
            events: update.events.map(subscriptions).transpose()?,
            format: update.format,
            max_retries: update.max_retries,
            ..EndpointChange::default()
        };
        let headers = update.headers.map(headers).transpose()?;
        let own = OwnChange { headers, tls: update.tls, ..OwnChange::default() };
        self.webhook(&self.engine.change_endpoint_with(self.company, id, own, change).await?)
    }

    /// Lets a webhook receive nothing: what waits for it is held, what happens meanwhile makes no
    /// delivery for it.
    pub async fn deactivate(&self, id: EndpointId) -> Result<Webhook> {
        self.set_disabled(id, Some("deactivated".to_owned())).await
    }

    /// Lets a webhook receive again, beginning with what was held.
    pub async fn activate(&self, id: EndpointId) -> Result<Webhook> {
        self.set_disabled(id, None).await
    }

    async fn set_disabled(&self, id: EndpointId, reason: Option<String>) -> Result<Webhook> {
        let change = EndpointChange { disabled: Some(reason), ..EndpointChange::default() };
        self.webhook(&self.engine.change_endpoint(self.company, id, change).await?)
    }

    /// Replaces the secret of a webhook. For `grace`, at most seven days, the old one signs too, so
    /// that receivers can be told in peace.
    ///
    /// # Errors
    /// [`Error::RotationUnderWay`] while an older secret signs, unless `grace` is zero: that ends
    /// every older one at once.
    pub async fn rotate_secret(&self, id: EndpointId, grace: Duration) -> Result<Webhook> {
        let rotation = Rotation { secret: None, grace };
        self.webhook(&self.engine.rotate_secret(self.company, id, rotation).await?)
    }

    /// Removes a webhook; what it was still to receive is given up.
    pub async fn delete(&self, id: EndpointId) -> Result<()> {
        self.engine.delete_endpoint(self.company, id).await
    }

    /// Sends a delivery's event again, as a new delivery with the same `webhook-id`.
    pub async fn retry(&self, id: DeliveryId) -> Result<Delivery> {
        let replayed = self.engine.replay(self.company, id).await?;
        Ok(delivery(self.engine.delivery(self.company, replayed.id).await?))
    }

    /// The id of the event that a delivery tells, which receivers see as `webhook-id`.
    pub async fn event_of(&self, id: DeliveryId) -> Result<EventId> {
        Ok(self.engine.delivery(self.company, id).await?.event.id)
    }

    fn webhook(&self, endpoint: &model::Endpoint) -> Result<Webhook> {
        let constant = |event: &Subscription| event.constant().to_owned();
        Ok(Webhook {
            id: endpoint.id,
            url: endpoint.url.to_string(),
            secret: self.engine.secret(endpoint)?,
            events: endpoint.events.iter().map(constant).collect(),
            headers: self.engine.own_headers(endpoint)?,
            tls: self.engine.own_tls(endpoint)?,
            is_active: endpoint.disabled.is_none(),
            created_at: endpoint.created_at,
        })
    }
}

fn subscriptions(events: &[&str]) -> Result<Vec<Subscription>> {
    let parse = |event: &&str| {
        event.parse().map_err(|reason| Error::invalid("events", format!("`{event}`: {reason}")))
    };
    events.iter().map(parse).collect()
}

fn headers(given: &[(&str, &str)]) -> Result<OwnHeaders> {
    let read = OwnHeaders::read(given.iter().copied());
    read.map_err(|flaws| {
        flaws.into_iter().next().map_or(Error::invalid("headers", ""), Error::from)
    })
}

fn delivery(found: History) -> Delivery {
    let History { delivery, event, last } = found;
    let status_code = last.as_ref().and_then(|attempt| match &attempt.outcome {
        Outcome::Answered(answer) => Some(answer.status),
        Outcome::NoAnswer { .. } => None,
    });
    Delivery {
        id: delivery.id,
        webhook_id: delivery.endpoint,
        event: event.event_type.constant().to_owned(),
        payload: event.payload,
        status_code,
        success: delivery.state == DeliveryState::Concluded,
        attempts: delivery.attempts,
        last_attempt_at: last.map(|attempt| attempt.started_at),
    }
}
