//! Who changes things, and who has changed them.

use std::sync::Arc;

use uuid::Uuid;

use crate::engine::Engine;
use crate::error::Result;
use crate::model::{Act, Actor, AuditId, CompanyId, Entry};

impl Engine {
    /// The same engine, for somebody else: what is changed through this handle is noted in the audit
    /// log as done by `actor`. Without it, it is the program that embeds the engine who acts.
    #[must_use]
    pub fn acting(&self, actor: Arc<Actor>) -> Engine {
        Engine { world: Arc::clone(&self.world), actor }
    }

    /// Up to `limit` entries of a company's audit log with ids below `before`, the newest first;
    /// where a subject is named, those about it alone.
    pub async fn audit(
        &self,
        company: CompanyId,
        subject: Option<Uuid>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<Entry>> {
        Ok(self.world.store.entries_before(company, subject, before, limit).await?)
    }

    /// What is done now through this handle.
    pub(super) fn act(&self) -> Act {
        Act { at: self.world.clock.now(), by: Arc::clone(&self.actor) }
    }
}
