//! Who changed what.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::model::{AuditId, CompanyId, Entry, Timestamp};
use crate::store::rows::{read_actor, read_fields, write_actor, write_fields};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::rows::damaged;
use crate::store::{Audit, Result};

const NOTE: &str = "
    insert into audit (company_id, id, at, actor, action, subject, fields)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

const BEFORE: &str = "
    select company_id, id, at, actor, action, subject, fields from audit
    where company_id = ?1 and id < ?2 order by id desc limit ?3";

const BEFORE_OF: &str = "
    select company_id, id, at, actor, action, subject, fields from audit indexed by audit_by_subject
    where company_id = ?1 and id < ?2 and subject = ?4 order by id desc limit ?3";

const FORGET: &str = "
    delete from audit where (company_id, id) in (
        select a.company_id, a.id from companies c cross join audit a indexed by audit_by_age
            on a.company_id = c.company_id
        where a.at < ?1 limit ?2)";

#[async_trait]
impl Audit for Sqlite {
    async fn entries_before(
        &self,
        company: CompanyId,
        subject: Option<Uuid>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<Entry>> {
        let (company, before) = (company.uuid(), before.map_or(Uuid::max(), AuditId::uuid));
        self.read(move |db| match subject {
            Some(subject) => {
                let mut entries = db.prepare_cached(BEFORE_OF)?;
                entries.query_map(params![company, before, limit, subject], entry)?.collect()
            }
            None => {
                let mut entries = db.prepare_cached(BEFORE)?;
                entries.query_map(params![company, before, limit], entry)?.collect()
            }
        })
        .await
    }

    async fn forget_entries(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write(move |tx| {
            Ok(tx.prepare_cached(FORGET)?.execute(params![before.0, limit])? as u64)
        })
        .await
    }
}

/// Writes an entry, in the transaction of what it tells of.
pub(super) fn note(tx: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    tx.prepare_cached(NOTE)?.execute(params![
        entry.company.uuid(),
        entry.id.uuid(),
        entry.at.0,
        write_actor(&entry.by),
        entry.action.as_str(),
        entry.subject,
        write_fields(&entry.fields),
    ])?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        company: CompanyId::from_uuid(row.get(0)?),
        id: AuditId::from_uuid(row.get(1)?),
        at: Timestamp(row.get(2)?),
        by: read_actor(row.get_ref(3)?.as_str()?).ok_or_else(|| damaged("actor"))?,
        action: row.get_ref(4)?.as_str()?.parse().map_err(|_| damaged("action"))?,
        subject: row.get(5)?,
        fields: read_fields(row.get_ref(6)?.as_str()?),
    })
}
