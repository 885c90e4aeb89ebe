//! Every method of the store, tapped.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare::model::{
    Act, Attempt, Claim, Company, Delivery, DeliveryList, Endpoint, EndpointChange, EndpointList,
    Event, EventId, History, Journey, Page, Purpose, Record, Registered, Replay, ReplayId, Sealed,
};
use fanfare::store::{
    Accepted, Admission, Advanced, Claimed, Emit, Ended, Endpoints, Histories, Lane, LaneKey,
    NewReplay, Place, Queue, Recorded, ReplayCount, Replays, Resealed, Result, Slice, Started,
    Store, Swept, Unfinished, Unsent, Upkeep, Wanted,
};
use fanfare::{CompanyId, DeliveryId, EndpointId, Timestamp};

use super::tapped::{Call, Tapped};

#[async_trait]
impl Endpoints for Tapped {
    async fn company(&self, id: CompanyId) -> Result<Option<Company>> {
        self.call(Call::Read, |store| async move { store.company(id).await }).await
    }

    async fn name_company(&self, id: CompanyId, name: &str, act: &Act) -> Result<Company> {
        self.call(Call::Write, |store| async move { store.name_company(id, name, act).await }).await
    }

    async fn add_endpoint(&self, endpoint: &Endpoint, act: &Act) -> Result<()> {
        self.call(Call::Write, |store| async move { store.add_endpoint(endpoint, act).await }).await
    }

    async fn change_endpoint(
        &self,
        company: CompanyId,
        id: EndpointId,
        change: &EndpointChange,
        act: &Act,
    ) -> Result<Option<Endpoint>> {
        self.call(Call::Write, |store| async move {
            store.change_endpoint(company, id, change, act).await
        })
        .await
    }

    async fn delete_endpoint(&self, company: CompanyId, id: EndpointId, act: &Act) -> Result<bool> {
        self.call(Call::Write, |store| async move { store.delete_endpoint(company, id, act).await })
            .await
    }

    async fn endpoint(&self, company: CompanyId, id: EndpointId) -> Result<Option<Endpoint>> {
        self.call(Call::Read, |store| async move { store.endpoint(company, id).await }).await
    }

    async fn registered(&self, company: CompanyId, id: EndpointId) -> Result<Option<Registered>> {
        self.call(Call::Read, |store| async move { store.registered(company, id).await }).await
    }

    async fn unheard(
        &self,
        company: CompanyId,
        event: EventId,
        limit: u32,
    ) -> Result<Page<Endpoint>> {
        self.call(Call::Read, |store| async move { store.unheard(company, event, limit).await })
            .await
    }

    async fn filtering(&self, company: CompanyId) -> Result<Vec<Endpoint>> {
        self.call(Call::Read, |store| async move { store.filtering(company).await }).await
    }

    async fn all_endpoints(&self, after: Option<EndpointId>, limit: u32) -> Result<Vec<Endpoint>> {
        self.call(Call::Read, |store| async move { store.all_endpoints(after, limit).await }).await
    }

    async fn endpoints(&self, list: &EndpointList) -> Result<Page<Endpoint>> {
        self.call(Call::Read, |store| async move { store.endpoints(list).await }).await
    }

    async fn endpoints_before(
        &self,
        company: CompanyId,
        before: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>> {
        self.call(Call::Read, |store| async move {
            store.endpoints_before(company, before, limit).await
        })
        .await
    }
}

#[async_trait]
impl Queue for Tapped {
    async fn accept(&self, emits: Vec<Emit>, admission: &Admission) -> Result<Vec<Accepted>> {
        self.call(Call::Accept, |store| async move { store.accept(emits, admission).await }).await
    }

    async fn claim(
        &self,
        wanted: &[Wanted],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>> {
        self.call(Call::Claim, |store| async move { store.claim(wanted, now, lease).await }).await
    }

    async fn record(&self, record: Record) -> Result<Recorded> {
        self.call(Call::Record, |store| async move { store.record(record).await }).await
    }

    async fn release(&self, claims: &[Claim], now: Timestamp) -> Result<()> {
        self.call(Call::Release, |store| async move { store.release(claims, now).await }).await
    }

    async fn waiting_of(
        &self,
        company: CompanyId,
        event: EventId,
    ) -> Result<Option<Vec<Delivery>>> {
        self.call(Call::Read, |store| async move { store.waiting_of(company, event).await }).await
    }

    async fn end(
        &self,
        company: CompanyId,
        deliveries: &[(DeliveryId, Option<u64>)],
        unsent: &Unsent,
    ) -> Result<Ended> {
        self.call(Call::Write, |store| async move { store.end(company, deliveries, unsent).await })
            .await
    }

    async fn lanes(&self, after: Option<LaneKey>, limit: u32) -> Result<Vec<Lane>> {
        self.call(Call::Lanes, |store| async move { store.lanes(after, limit).await }).await
    }
}

#[async_trait]
impl Replays for Tapped {
    async fn replay(
        &self,
        company: CompanyId,
        id: DeliveryId,
        act: &Act,
    ) -> Result<Option<Delivery>> {
        self.call(Call::Write, |store| async move { store.replay(company, id, act).await }).await
    }

    async fn start_replay(&self, new: &NewReplay, act: &Act) -> Result<Started> {
        self.call(Call::Write, |store| async move { store.start_replay(new, act).await }).await
    }

    async fn count_replay(&self, new: &NewReplay, most: u32) -> Result<ReplayCount> {
        self.call(Call::Read, |store| async move { store.count_replay(new, most).await }).await
    }

    async fn advance_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        slice: Slice,
    ) -> Result<Advanced> {
        self.call(
            Call::Slice,
            |store| async move { store.advance_replay(company, id, slice).await },
        )
        .await
    }

    async fn cancel_replay(
        &self,
        company: CompanyId,
        id: ReplayId,
        act: &Act,
    ) -> Result<Option<Replay>> {
        self.call(Call::Write, |store| async move { store.cancel_replay(company, id, act).await })
            .await
    }

    async fn found_replay(&self, company: CompanyId, id: ReplayId) -> Result<Option<Replay>> {
        self.call(Call::Read, |store| async move { store.found_replay(company, id).await }).await
    }

    async fn replays_before(
        &self,
        company: CompanyId,
        before: Option<ReplayId>,
        limit: u32,
    ) -> Result<Vec<Replay>> {
        self.call(
            Call::Read,
            |store| async move { store.replays_before(company, before, limit).await },
        )
        .await
    }

    async fn unfinished_replays(
        &self,
        after: Option<(CompanyId, ReplayId)>,
        limit: u32,
    ) -> Result<Vec<Unfinished>> {
        self.call(Call::Read, |store| async move { store.unfinished_replays(after, limit).await })
            .await
    }

    async fn forget_replays(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.call(Call::Write, |store| async move { store.forget_replays(before, limit).await })
            .await
    }
}

#[async_trait]
impl Histories for Tapped {
    async fn delivery(&self, company: CompanyId, id: DeliveryId) -> Result<Option<History>> {
        self.call(Call::Read, |store| async move { store.delivery(company, id).await }).await
    }

    async fn attempts(&self, company: CompanyId, id: DeliveryId) -> Result<Vec<Attempt>> {
        self.call(Call::Read, |store| async move { store.attempts(company, id).await }).await
    }

    async fn event(&self, company: CompanyId, id: EventId) -> Result<Option<Event>> {
        self.call(Call::Read, |store| async move { store.event(company, id).await }).await
    }

    async fn deliveries_of(
        &self,
        company: CompanyId,
        event: EventId,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Journey>> {
        self.call(Call::Read, |store| async move {
            store.deliveries_of(company, event, after, limit).await
        })
        .await
    }

    async fn first_in_order(&self, lane: LaneKey, order_key: &str) -> Result<Option<DeliveryId>> {
        self.call(Call::Read, |store| async move { store.first_in_order(lane, order_key).await })
            .await
    }

    async fn deliveries(&self, list: &DeliveryList) -> Result<Page<History>> {
        self.call(Call::Read, |store| async move { store.deliveries(list).await }).await
    }

    async fn deliveries_before(
        &self,
        company: CompanyId,
        endpoint: EndpointId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<History>> {
        self.call(Call::Read, |store| async move {
            store.deliveries_before(company, endpoint, before, limit).await
        })
        .await
    }
}

#[async_trait]
impl Upkeep for Tapped {
    async fn ready(&self, bytes: usize) -> Result<()> {
        self.call(Call::Write, move |store| async move { store.ready(bytes).await }).await
    }

    async fn agree(&self, name: &str, value: &[u8]) -> Result<bool> {
        self.call(Call::Write, |store| async move { store.agree(name, value).await }).await
    }

    async fn kept(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.call(Call::Read, |store| async move { store.kept(name).await }).await
    }

    async fn keep_instead(&self, name: &str, before: &[u8], value: &[u8]) -> Result<bool> {
        let ask =
            |store: Arc<dyn Store>| async move { store.keep_instead(name, before, value).await };
        self.call(Call::Write, ask).await
    }

    async fn reseal(&self, anew: &[Resealed]) -> Result<u64> {
        self.call(Call::Write, |store| async move { store.reseal(anew).await }).await
    }

    async fn expire(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept> {
        self.call(Call::Write, |store| async move { store.expire(before, from, limit).await }).await
    }

    async fn strip(&self, before: Timestamp, from: Option<Place>, limit: u32) -> Result<Swept> {
        self.call(Call::Write, |store| async move { store.strip(before, from, limit).await }).await
    }

    async fn reclaim(&self) -> Result<bool> {
        self.call(Call::Write, |store| async move { store.reclaim().await }).await
    }

    async fn bury(&self, now: Timestamp, limit: u32) -> Result<u64> {
        self.call(Call::Write, |store| async move { store.bury(now, limit).await }).await
    }

    async fn forget(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.call(Call::Write, |store| async move { store.forget(before, limit).await }).await
    }

    async fn lapse(&self, now: Timestamp, limit: u32) -> Result<Ended> {
        self.call(Call::Write, |store| async move { store.lapse(now, limit).await }).await
    }

    async fn check(&self) -> Result<Vec<String>> {
        self.call(Call::Read, |store| async move { store.check().await }).await
    }

    async fn secrets(
        &self,
        after: Option<EndpointId>,
        limit: u32,
    ) -> Result<Vec<(LaneKey, Purpose, Sealed)>> {
        self.call(Call::Read, |store| async move { store.secrets(after, limit).await }).await
    }

    async fn lost(&self) -> String {
        std::future::pending().await
    }

    async fn close(&self) {
        let store = self.present();
        if let Some(store) = store {
            store.close().await;
        }
    }
}
