//! What endpoints have of their own beside the secret, sealed: headers and certificates.

use crate::engine::manage::internal;
use crate::engine::{Engine, World};
use crate::error::{Error, Result};
use crate::model::{
    Address, CompanyId, Endpoint, EndpointChange, EndpointId, LaneKey, OwnHeaders, OwnTls, Purpose,
    Sealed,
};
use crate::send::tidied;

/// What to change of what an endpoint keeps sealed; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct OwnChange {
    /// Whether it also signs with a key of its own (`v1a`). A key that is not wanted any more is
    /// forgotten at once.
    pub asymmetric: Option<bool>,
    /// Headers that go with every request, instead of those before; none removes them all.
    pub headers: Option<OwnHeaders>,
    /// The authority and the certificate of its own that connections use, instead of those before;
    /// nothing removes them.
    pub tls: Option<OwnTls>,
}

impl Engine {
    /// The headers of an endpoint's own, with their values masked.
    pub fn own_headers(&self, endpoint: &Endpoint) -> Result<OwnHeaders> {
        Ok(self.world.open_headers(endpoint)?.masked())
    }

    /// The certificates of an endpoint's own, with the key masked.
    pub fn own_tls(&self, endpoint: &Endpoint) -> Result<OwnTls> {
        Ok(self.world.open_tls(endpoint)?.masked())
    }

    /// Changes what an endpoint keeps sealed, beside other changes.
    pub async fn change_endpoint_with(
        &self,
        company: CompanyId,
        id: EndpointId,
        own: OwnChange,
        change: EndpointChange,
    ) -> Result<Endpoint> {
        if matches!(own, OwnChange { asymmetric: None, headers: None, tls: None }) {
            return self.change_endpoint(company, id, change).await;
        }
        let _writing = self.world.seal.writing();
        loop {
            let present = self.endpoint(company, id).await?;
            let change = self.world.with_own(&present, &own, change.clone())?;
            let wanted = (change.secrets.clone(), change.headers.clone(), change.tls.clone());
            let changed = self.change_endpoint(company, id, change).await?;
            let (secrets, headers, tls) = &wanted;
            let took_effect = secrets.as_ref().is_none_or(|new| new.secret == changed.secret)
                && headers.as_ref().is_none_or(|new| *new == changed.headers)
                && tls.as_ref().is_none_or(|new| *new == changed.tls);
            if took_effect {
                return Ok(changed);
            }
            // What it was made from was replaced in between, so this has changed nothing yet.
        }
    }

    /// Certificates are for https, so one that has them must not be sent elsewhere.
    pub(super) async fn check_https_after(
        &self,
        company: CompanyId,
        id: EndpointId,
        change: &EndpointChange,
    ) -> Result<()> {
        let leaves_https = change.url.as_ref().is_some_and(|url| !is_https(url));
        if !leaves_https && !matches!(change.tls, Some(Some(_))) {
            return Ok(());
        }
        let present = self.endpoint(company, id).await?;
        let tls = change.tls.as_ref().unwrap_or(&present.tls);
        check_https(change.url.as_ref().unwrap_or(&present.url), tls.as_ref())
    }
}

impl World {
    /// A change with what it changes of `present`'s own.
    fn with_own(
        &self,
        present: &Endpoint,
        own: &OwnChange,
        mut change: EndpointChange,
    ) -> Result<EndpointChange> {
        let lane = present.lane();
        if let Some(asymmetric) = own.asymmetric {
            change.secrets = self.switched(present, asymmetric)?;
        }
        let keeps = own.headers.as_ref().is_some_and(OwnHeaders::keeps_any)
            || own.tls.as_ref().is_some_and(OwnTls::keeps_key);
        if keeps {
            change.taken_from = Some((present.headers.clone(), present.tls.clone()));
        }
        if let Some(headers) = &own.headers {
            let known = self.open_headers(present)?;
            let headers = headers.clone().over(&known)?;
            // Sealed anew it would look like a change.
            let same = headers == known;
            let sealed = || self.seal_headers(lane, headers);
            change.headers = Some(if same { present.headers.clone() } else { sealed()? });
        }
        if let Some(tls) = &own.tls {
            let known = self.open_tls(present)?;
            let tls = tidied(&tls.clone().over(&known)?)?;
            let same = tls == known;
            let sealed = || self.seal_tls(lane, &tls);
            change.tls = Some(if same { present.tls.clone() } else { sealed()? });
        }
        Ok(change)
    }

    /// Seals headers; `None` when there are none.
    pub(super) fn seal_headers(
        &self,
        lane: LaneKey,
        headers: OwnHeaders,
    ) -> Result<Option<Sealed>> {
        let sealed = (!headers.is_empty())
            .then(|| self.seal.seal(lane, Purpose::Headers, &headers.to_text()));
        sealed.transpose().map_err(internal)
    }

    /// Seals certificates, if connections can be made with them; `None` when there are none.
    pub(super) fn seal_tls(&self, lane: LaneKey, tls: &OwnTls) -> Result<Option<Sealed>> {
        if tls.is_empty() {
            return Ok(None);
        }
        let text = tidied(tls)?.to_text().map_err(internal)?;
        self.seal.seal(lane, Purpose::Tls, &text).map(Some).map_err(internal)
    }

    fn open_headers(&self, endpoint: &Endpoint) -> Result<OwnHeaders> {
        let Some(sealed) = &endpoint.headers else { return Ok(OwnHeaders::default()) };
        let text = self.seal.open(endpoint.lane(), Purpose::Headers, sealed);
        text.and_then(|text| OwnHeaders::from_text(&text)).map_err(internal)
    }

    fn open_tls(&self, endpoint: &Endpoint) -> Result<OwnTls> {
        let Some(sealed) = &endpoint.tls else { return Ok(OwnTls::default()) };
        let text = self.seal.open(endpoint.lane(), Purpose::Tls, sealed);
        text.and_then(|text| OwnTls::from_text(&text)).map_err(internal)
    }
}

/// Certificates in the clear would be a promise that is not kept.
pub(super) fn check_https(url: &Address, tls: Option<&Sealed>) -> Result<()> {
    if tls.is_none() || is_https(url) {
        return Ok(());
    }
    let reason = "is for https URLs alone; change url to https, or remove it with null";
    Err(Error::invalid("tls", reason))
}

fn is_https(url: &Address) -> bool {
    url.url().scheme() == "https"
}
