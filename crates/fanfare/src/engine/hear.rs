//! Who hears of an event, and who does not and why.

use crate::engine::Engine;
use crate::error::Result;
use crate::model::{CompanyId, Endpoint, Told, WhyNot};

/// Endpoints read at once.
const SLICE: u32 = 500;

/// An endpoint, and whether it hears of an event.
#[derive(Debug, Clone)]
pub struct Hearing {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Why it does not; `None` if it does.
    pub why_not: Option<WhyNot>,
}

impl Engine {
    /// Every endpoint of a company as it is now, the newest first, and whether it would hear of
    /// this event. Nothing is stored or sent.
    pub async fn who_hears(&self, company: CompanyId, told: &Told<'_>) -> Result<Vec<Hearing>> {
        let mut all: Vec<Hearing> = Vec::new();
        loop {
            let before = all.last().map(|last| last.endpoint.id);
            let some = self.endpoints_before(company, before, SLICE).await?;
            if some.is_empty() {
                return Ok(all);
            }
            let judged = some.into_iter().map(|endpoint| {
                let why_not = endpoint.why_not(told);
                Hearing { endpoint, why_not }
            });
            all.extend(judged);
        }
    }
}
