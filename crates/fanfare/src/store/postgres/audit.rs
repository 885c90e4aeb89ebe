//! Who changed what.

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::model::{AuditId, CompanyId, Entry, Timestamp};
use crate::store::postgres::Postgres;
use crate::store::postgres::error::corrupt;
use crate::store::postgres::pool::Object;
use crate::store::postgres::rows::get;
use crate::store::rows::{read_actor, read_fields, write_actor, write_fields};
use crate::store::{Audit, Result};

const NOTE: &str = "
    insert into audit (company_id, id, at, actor, action, subject, fields)
    values ($1, $2, $3, $4, $5, $6, $7)";

const BEFORE: &str = "
    select company_id, id, at, actor, action, subject, fields from audit
    where company_id = $1 and ($2::uuid is null or id < $2) order by id desc limit $3";

const BEFORE_OF: &str = "
    select company_id, id, at, actor, action, subject, fields from audit
    where company_id = $1 and ($2::uuid is null or id < $2) and subject = $4
    order by id desc limit $3";

const FORGET: &str = "
    with old as materialized (
        select a.company_id, a.id from companies c
        cross join lateral (
            select a.company_id, a.id from audit a
            where a.company_id = c.company_id and a.at < $1 limit $2) a
        limit $2)
    delete from audit a using old where a.company_id = old.company_id and a.id = old.id";

#[async_trait]
impl Audit for Postgres {
    async fn entries_before(
        &self,
        company: CompanyId,
        subject: Option<Uuid>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<Entry>> {
        let client = self.database.reader().await?;
        let (company, before) = (company.uuid(), before.map(AuditId::uuid));
        let limit = i64::from(limit);
        let rows = match subject {
            Some(subject) => {
                let entries = client.prepare_cached(BEFORE_OF).await?;
                client.query(&entries, &[&company, &before, &limit, &subject]).await?
            }
            None => {
                let entries = client.prepare_cached(BEFORE).await?;
                client.query(&entries, &[&company, &before, &limit]).await?
            }
        };
        rows.iter().map(entry).collect()
    }

    async fn forget_entries(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let client = self.database.writer().await?;
        let forget = client.prepare_cached(FORGET).await?;
        Ok(client.execute(&forget, &[&before.0, &i64::from(limit)]).await?)
    }
}

/// Writes an entry, in the transaction of what it tells of.
pub(super) async fn note(client: &Object, entry: &Entry) -> Result<()> {
    let note = client.prepare_cached(NOTE).await?;
    client
        .execute(
            &note,
            &[
                &entry.company.uuid(),
                &entry.id.uuid(),
                &entry.at.0,
                &write_actor(&entry.by),
                &entry.action.as_str(),
                &entry.subject,
                &write_fields(&entry.fields),
            ],
        )
        .await?;
    Ok(())
}

fn entry(row: &Row) -> Result<Entry> {
    let (action, fields): (&str, &str) = (get(row, "action")?, get(row, "fields")?);
    Ok(Entry {
        company: CompanyId::from_uuid(get(row, "company_id")?),
        id: AuditId::from_uuid(get(row, "id")?),
        at: Timestamp(get(row, "at")?),
        by: read_actor(get(row, "actor")?).ok_or_else(|| corrupt("actor"))?,
        action: action.parse().map_err(|_| corrupt("action"))?,
        subject: get(row, "subject")?,
        fields: read_fields(fields),
    })
}
