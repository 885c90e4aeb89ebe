//! Companies and endpoints, and what people ask about afterwards.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::engine::finish::finish;
use crate::engine::own::check_https;
use crate::engine::{Engine, World};
use crate::error::{Error, Result};
use crate::model::filter::Filter;
use crate::model::{
    Act, Address, Attempt, Company, CompanyId, DeliveryId, DeliveryList, Disabled, Endpoint,
    EndpointChange, EndpointId, EndpointList, Flow, Health, History, LaneKey, OwnHeaders, OwnTls,
    Page, Shape, Subscription, Timestamp,
};
use crate::sign::{Keys, Secret};
use crate::store::StoreError;

/// An endpoint to register.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Where to post, read by [`Engine::parse_url`].
    pub url: Address,
    /// What to listen to; at least one.
    pub events: Vec<Subscription>,
    /// Of those events, which; `None` for all of them.
    pub filter: Option<Arc<Filter>>,
    /// How its requests look.
    pub shape: Shape,
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// How fast and in which order.
    pub flow: Flow,
    /// Whether it hears of what befalls the company's other endpoints, and of nothing else.
    pub operational: bool,
    /// Its signing secret; generated when there is none.
    pub secret: Option<Secret>,
    /// Whether it also signs with a key of its own (`v1a`).
    pub asymmetric: bool,
    /// Headers that go with every request.
    pub headers: OwnHeaders,
    /// The authority and the certificate of its own that connections use.
    pub tls: OwnTls,
}

impl NewEndpoint {
    /// An endpoint without any wishes.
    pub fn new(url: Address, events: Vec<Subscription>) -> Self {
        NewEndpoint {
            url,
            events,
            filter: None,
            shape: Shape::default(),
            max_retries: RETRIES_DEFAULT,
            flow: Flow::default(),
            operational: false,
            secret: None,
            asymmetric: false,
            headers: OwnHeaders::default(),
            tls: OwnTls::default(),
        }
    }
}

/// Retries of an endpoint that names no number.
pub const RETRIES_DEFAULT: u32 = 5;
/// The most retries an endpoint may name.
pub const RETRIES_MAX: u32 = 20;
/// The most subscriptions of one endpoint.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// The most requests a second that a limit may allow.
pub const RATE_MAX: u32 = 10_000;
/// The most requests in flight that a limit may allow.
pub const IN_FLIGHT_MAX: u32 = 512;
/// How long deliveries wait for newer ones when nothing else is said.
pub const COALESCE_DEFAULT: Duration = Duration::from_secs(1);
/// The longest that they may.
pub const COALESCE_MAX: Duration = Duration::from_hours(1);
/// The longest name of a company, in characters.
pub const COMPANY_NAME_MAX: usize = 255;

impl Engine {
    /// Reads a URL that deliveries may go to; says which rule refuses it otherwise.
    pub fn parse_url(&self, field: &'static str, text: &str) -> Result<Address> {
        let judged = self.world.guard.parse_url(text);
        judged.map_err(|refusal| Error::invalid(field, refusal.to_string()))?;
        text.parse().map_err(|error: url::ParseError| Error::invalid(field, error.to_string()))
    }

    /// Registers an endpoint.
    pub async fn register(&self, company: CompanyId, new: NewEndpoint) -> Result<Endpoint> {
        let world = &self.world;
        check_rules(Some(&new.events), Some(new.max_retries))?;
        check_flow(new.flow.rate_limit, new.flow.max_in_flight, new.flow.coalesce)?;
        let writing = world.seal.writing();
        let now = world.clock.now();
        let id = EndpointId::new(now);
        let secret = new.secret.map_or_else(generate_secret, Ok)?;
        let keys = Keys::with(secret, new.asymmetric).map_err(internal)?;
        let sealed = world.seal_keys(company, id, &keys)?;
        let lane = LaneKey { company, endpoint: id };
        let headers = world.seal_headers(lane, new.headers.over(&OwnHeaders::default())?)?;
        let tls = world.seal_tls(lane, &new.tls.over(&OwnTls::default())?)?;
        check_https(&new.url, tls.as_ref())?;
        let endpoint = Endpoint {
            id,
            company,
            url: new.url,
            secret: sealed,
            previous: None,
            headers,
            tls,
            events: distinct(new.events),
            filter: new.filter,
            shape: new.shape,
            max_retries: new.max_retries,
            flow: new.flow,
            operational: new.operational,
            disabled: None,
            health: Health::default(),
            created_at: now,
            updated_at: now,
        };
        let adding = Arc::clone(world).add(endpoint.clone(), Act { at: now, ..self.act() });
        finish(world, writing.until_after(adding)).await?;
        Ok(endpoint)
    }

    /// Changes an endpoint. Deliveries that wait go by what it is from here on; one that was
    /// disabled goes on with what it held once it is enabled.
    pub async fn change_endpoint(
        &self,
        company: CompanyId,
        id: EndpointId,
        mut change: EndpointChange,
    ) -> Result<Endpoint> {
        let world = &self.world;
        check_rules(change.events.as_deref(), change.max_retries)?;
        let limits = (change.rate_limit.flatten(), change.max_in_flight.flatten());
        check_flow(limits.0, limits.1, change.coalesce.flatten())?;
        change.events = change.events.map(distinct);
        let writing = world.seal.writing();
        self.check_https_after(company, id, &change).await?;
        finish(
            world,
            writing.until_after(Arc::clone(world).change((company, id), change, self.act())),
        )
        .await
    }

    /// Removes an endpoint. What it was still to receive is failed; its history stays until it
    /// expires.
    pub async fn delete_endpoint(&self, company: CompanyId, id: EndpointId) -> Result<()> {
        let found = self.endpoint(company, id).await?;
        finish(&self.world, Arc::clone(&self.world).delete(found, self.act())).await
    }

    /// One endpoint.
    pub async fn endpoint(&self, company: CompanyId, id: EndpointId) -> Result<Endpoint> {
        let found = self.world.store.endpoint(company, id).await?;
        found.ok_or_else(|| Error::not_found("endpoint", id))
    }

    /// A page of a company's endpoints.
    pub async fn endpoints(&self, list: &EndpointList) -> Result<Page<Endpoint>> {
        Ok(self.world.store.endpoints(list).await?)
    }

    /// A company's endpoints with ids below `before`, newest first.
    pub async fn endpoints_before(
        &self,
        company: CompanyId,
        before: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>> {
        Ok(self.world.store.endpoints_before(company, before, limit).await?)
    }

    /// A company that some write has named.
    pub async fn company_of(&self, id: CompanyId) -> Result<Company> {
        let found = self.world.store.company(id).await?;
        found.ok_or_else(|| Error::not_found("company", id))
    }

    /// Names a company, making it when it is new.
    pub async fn name_company(&self, id: CompanyId, name: &str) -> Result<Company> {
        if name.chars().count() > COMPANY_NAME_MAX || name.chars().any(char::is_control) {
            let reason =
                format!("must have at most {COMPANY_NAME_MAX} characters, none of them control");
            return Err(Error::invalid("name", reason));
        }
        Ok(self.world.store.name_company(id, name, &self.act()).await?)
    }

    /// One delivery.
    pub async fn delivery(&self, company: CompanyId, id: DeliveryId) -> Result<History> {
        let found = self.world.store.delivery(company, id).await?;
        found.ok_or_else(|| Error::not_found("delivery", id))
    }

    /// Every attempt of a delivery, the first one first.
    pub async fn attempts(&self, company: CompanyId, id: DeliveryId) -> Result<Vec<Attempt>> {
        Ok(self.world.store.attempts(company, id).await?)
    }

    /// A page of an endpoint's deliveries.
    pub async fn deliveries(&self, list: &DeliveryList) -> Result<Page<History>> {
        Ok(self.world.store.deliveries(list).await?)
    }

    /// An endpoint's deliveries with ids below `before`, newest first.
    pub async fn deliveries_before(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<History>> {
        Ok(self.world.store.deliveries_before(company, endpoint, before, limit).await?)
    }
}

impl World {
    async fn add(self: Arc<Self>, endpoint: Endpoint, act: Act) -> Result<()> {
        self.store.add_endpoint(&endpoint, &act).await?;
        self.filters.changed(&endpoint, Some(&endpoint));
        Ok(())
    }

    pub(super) async fn change(
        self: Arc<Self>,
        (company, id): (CompanyId, EndpointId),
        change: EndpointChange,
        act: Act,
    ) -> Result<Endpoint> {
        let changed = self.store.change_endpoint(company, id, &change, &act).await?;
        let endpoint = changed.ok_or_else(|| Error::not_found("endpoint", id))?;
        self.filters.changed(&endpoint, Some(&endpoint));
        self.changed(&endpoint, change.begins_anew());
        Ok(endpoint)
    }

    /// Nothing more is sent to an endpoint that is gone.
    pub(super) fn deleted(self: &Arc<Self>, endpoint: Endpoint, at: Timestamp) {
        let disabled = Some(Disabled { at, reason: "deleted".to_owned() });
        self.tell_lanes(Endpoint { disabled, updated_at: at, ..endpoint });
    }

    /// Lets the lane of an endpoint, if it is one of this node's, go by what the endpoint is now.
    pub(super) fn changed(self: &Arc<Self>, endpoint: &Endpoint, anew: bool) {
        if anew && endpoint.health == Health::default() {
            self.decide(|lanes| lanes.begin_anew(endpoint.id));
        }
        self.tell_lanes(endpoint.clone());
        if anew && endpoint.disabled.is_none() && self.tenure.owns(endpoint.id.uuid()) {
            self.look_into(endpoint.lane());
        }
    }

    async fn delete(self: Arc<Self>, found: Endpoint, act: Act) -> Result<()> {
        let now = act.at;
        if !self.store.delete_endpoint(found.company, found.id, &act).await? {
            return Err(Error::not_found("endpoint", found.id));
        }
        self.filters.changed(&found, None);
        self.deleted(found, now);
        self.tidy.notify_one();
        Ok(())
    }
}

fn check_rules(events: Option<&[Subscription]>, max_retries: Option<u32>) -> Result<()> {
    if events.is_some_and(|events| !(1..=SUBSCRIPTIONS_MAX).contains(&events.len())) {
        let reason = format!("must name 1 to {SUBSCRIPTIONS_MAX} event types");
        return Err(Error::invalid("events", reason));
    }
    if max_retries.is_some_and(|retries| retries > RETRIES_MAX) {
        let reason = format!("must be a whole number from 0 to {RETRIES_MAX}");
        return Err(Error::invalid("maxRetries", reason));
    }
    Ok(())
}

fn check_flow(
    rate_limit: Option<u32>,
    max_in_flight: Option<u32>,
    coalesce: Option<Duration>,
) -> Result<()> {
    for (field, limit, max) in
        [("rateLimit", rate_limit, RATE_MAX), ("maxInFlight", max_in_flight, IN_FLIGHT_MAX)]
    {
        if limit.is_some_and(|limit| !(1..=max).contains(&limit)) {
            return Err(Error::invalid(field, format!("must be a whole number from 1 to {max}")));
        }
    }
    if coalesce.is_some_and(|window| window > COALESCE_MAX) {
        let reason = format!("must be at most {}", COALESCE_MAX.as_millis());
        return Err(Error::invalid("coalesceWindowMs", reason));
    }
    Ok(())
}

fn distinct(events: Vec<Subscription>) -> Vec<Subscription> {
    let mut seen = std::collections::HashSet::new();
    events.into_iter().filter(|event| seen.insert(event.clone())).collect()
}

pub(super) fn generate_secret() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0; 32]);
    let filled = getrandom::fill(bytes.as_mut_slice());
    filled.map_err(|error| internal(format!("no randomness: {error}")))?;
    Ok(Secret::from_bytes(&bytes))
}

pub(super) fn internal(reason: String) -> Error {
    Error::Internal(StoreError::Broken(reason))
}
