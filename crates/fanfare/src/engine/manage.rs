//! Companies and endpoints, and what people ask about afterwards.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::finish::finish;
use crate::engine::{Engine, World, dispatch};
use crate::error::{Error, Result};
use crate::model::{
    Address, Attempt, Company, CompanyId, Delivery, DeliveryId, DeliveryList, Disabled, Endpoint,
    EndpointChange, EndpointId, EndpointList, Flow, Health, History, LaneKey, Page, Shape,
    Subscription,
};
use crate::sign::Secret;
use crate::store::StoreError;

/// An endpoint to register.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Where to post, read by [`Engine::parse_url`].
    pub url: Address,
    /// What to listen to; at least one.
    pub events: Vec<Subscription>,
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
}

impl NewEndpoint {
    /// An endpoint without any wishes.
    pub fn new(url: Address, events: Vec<Subscription>) -> Self {
        NewEndpoint {
            url,
            events,
            shape: Shape::default(),
            max_retries: RETRIES_DEFAULT,
            flow: Flow::default(),
            operational: false,
            secret: None,
        }
    }
}

/// Retries of an endpoint that names no number.
pub const RETRIES_DEFAULT: u32 = 5;
/// The most retries an endpoint may name.
pub const RETRIES_MAX: u32 = 20;
/// The most subscriptions of one endpoint.
pub const SUBSCRIPTIONS_MAX: usize = 100;
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
        let now = world.clock.now();
        let id = EndpointId::new(now);
        let secret = new.secret.map_or_else(generate_secret, Ok)?;
        let sealed = world.seal.seal(company, id, secret.reveal()).map_err(internal)?;
        let endpoint = Endpoint {
            id,
            company,
            url: new.url,
            secret: sealed,
            previous: None,
            events: distinct(new.events),
            shape: new.shape,
            max_retries: new.max_retries,
            flow: new.flow,
            operational: new.operational,
            disabled: None,
            health: Health::default(),
            created_at: now,
            updated_at: now,
        };
        world.store.add_endpoint(&endpoint).await?;
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
        change.events = change.events.map(distinct);
        finish(world, Arc::clone(world).change(company, id, change)).await
    }

    /// Removes an endpoint. What it was still to receive is failed; its history stays until it
    /// expires.
    pub async fn delete_endpoint(&self, company: CompanyId, id: EndpointId) -> Result<()> {
        let found = self.endpoint(company, id).await?;
        finish(&self.world, Arc::clone(&self.world).delete(found)).await
    }

    /// One endpoint.
    pub async fn endpoint(&self, company: CompanyId, id: EndpointId) -> Result<Endpoint> {
        let found = self.world.store.endpoint(company, id).await?;
        found.ok_or_else(|| Error::not_found("endpoint", id))
    }

    /// The signing secret of an endpoint.
    pub fn secret(&self, endpoint: &Endpoint) -> Result<Secret> {
        let opened = self.world.seal.open(endpoint.company, endpoint.id, &endpoint.secret);
        opened.and_then(|text| text.parse()).map_err(internal)
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
        Ok(self.world.store.name_company(id, name, self.world.clock.now()).await?)
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

    /// Sends the event of a delivery to its endpoint again, as a new delivery with the same
    /// `webhook-id`. The old one stays as it is.
    pub async fn replay(&self, company: CompanyId, id: DeliveryId) -> Result<Delivery> {
        let world = &self.world;
        world.refuse_while_draining()?;
        finish(world, Arc::clone(world).replay(company, id)).await
    }
}

impl World {
    async fn change(
        self: Arc<Self>,
        company: CompanyId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Endpoint> {
        let now = self.clock.now();
        let changed = self.store.change_endpoint(company, id, &change, now).await?;
        let endpoint = changed.ok_or_else(|| Error::not_found("endpoint", id))?;
        self.tell_lanes(endpoint.clone());
        if change.disabled == Some(None) {
            self.look_into(endpoint.lane());
        }
        Ok(endpoint)
    }

    async fn delete(self: Arc<Self>, found: Endpoint) -> Result<()> {
        let now = self.clock.now();
        if !self.store.delete_endpoint(found.company, found.id, now).await? {
            return Err(Error::not_found("endpoint", found.id));
        }
        let disabled = Disabled { at: now, reason: "deleted".to_owned() };
        self.tell_lanes(Endpoint { disabled: Some(disabled), updated_at: now, ..found });
        self.tidy.notify_one();
        Ok(())
    }

    async fn replay(self: Arc<Self>, company: CompanyId, id: DeliveryId) -> Result<Delivery> {
        let replayed = self.store.replay(company, id, self.clock.now()).await?;
        let Some(replayed) = replayed else {
            // It may be there still, and only its endpoint gone.
            let old = self.store.delivery(company, id).await?;
            return Err(old.map_or_else(
                || Error::not_found("delivery", id),
                |old| Error::not_found("endpoint", old.delivery.endpoint),
            ));
        };
        self.look_into(LaneKey { company, endpoint: replayed.endpoint });
        Ok(replayed)
    }

    /// Tells the lanes what an endpoint has been changed to.
    pub(super) fn tell_lanes(self: &Arc<Self>, endpoint: Endpoint) {
        let now = self.clock.now();
        let held = self.decide(|lanes| lanes.changed(endpoint, now));
        dispatch::give_back(self, held, Duration::ZERO);
    }

    /// Notes that a lane may have something due in the store now.
    fn look_into(&self, key: LaneKey) {
        self.look_into_all(&[key]);
    }

    /// The same for several.
    pub(super) fn look_into_all(&self, keys: &[LaneKey]) {
        if keys.is_empty() {
            return;
        }
        let now = self.clock.now();
        self.decide(|lanes| keys.iter().for_each(|key| lanes.stored(*key, now)));
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

fn distinct(events: Vec<Subscription>) -> Vec<Subscription> {
    let mut seen = std::collections::HashSet::new();
    events.into_iter().filter(|event| seen.insert(event.clone())).collect()
}

fn generate_secret() -> Result<Secret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| internal(format!("no randomness: {error}")))?;
    Ok(Secret::from_bytes(&bytes))
}

fn internal(reason: String) -> Error {
    Error::Internal(StoreError::Broken(reason))
}
