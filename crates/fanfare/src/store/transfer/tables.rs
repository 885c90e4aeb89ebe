//! What is moved: every table with its columns, in a form that fits both stores.

use crate::store::transfer::{Row, Value};

/// A table of both stores.
pub(in crate::store) struct Table {
    /// Its name.
    pub(in crate::store) name: &'static str,
    /// How many of its columns, the first ones, are its key: in both stores the order of bytes,
    /// and of numbers.
    key: usize,
    /// Its columns.
    pub(in crate::store) columns: &'static [Column],
    /// Which rows are moved: a condition.
    pub(in crate::store) only: &'static str,
}

/// A column of both stores.
pub(in crate::store) struct Column {
    /// Its name in PostgreSQL.
    pub(in crate::store) name: &'static str,
    /// Its name in SQLite.
    pub(in crate::store) embedded: Embedded,
    /// What it holds.
    pub(in crate::store) kind: Kind,
}

/// How SQLite has a column.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Embedded {
    /// Under this name.
    Named(&'static str),
    /// Not at all: it follows from other rows, by this expression over the table `t`.
    Derived(&'static str),
}

/// What a column holds: its type in PostgreSQL, and in SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    /// `uuid`; the 16 bytes.
    Id,
    /// `smallint`; `integer`.
    Small,
    /// `integer` in both.
    Number,
    /// `bigint`; `integer`.
    Large,
    /// `boolean`; 0 or 1.
    Flag,
    /// `text` in both.
    Text,
    /// `text[]`; a text of words with single spaces.
    Words,
    /// `bytea`; `blob`.
    Bytes,
    /// A text which the caller chose to the byte: `bytea`, as PostgreSQL's text has no NUL; `text`.
    Name,
}

impl Table {
    /// The columns of its key.
    pub(in crate::store) fn key(&self) -> &'static [Column] {
        self.columns.split_at_checked(self.key).map_or(&[], |(key, _)| key)
    }

    /// The key of a row.
    pub(super) fn key_of(&self, row: &[Value]) -> Row {
        row.iter().take(self.key).cloned().collect()
    }
}

use Kind::{Bytes, Flag, Id, Large, Name, Number, Small, Text, Words};

const fn table(name: &'static str, key: usize, columns: &'static [Column]) -> Table {
    Table { name, key, columns, only: "true" }
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, embedded: Embedded::Named(name), kind }
}

/// A column that SQLite has under another name.
const fn renamed(name: &'static str, embedded: &'static str, kind: Kind) -> Column {
    Column { name, embedded: Embedded::Named(embedded), kind }
}

/// Of the attempts with one number, those that came too late have the lower fences; and the number
/// of one that came too late may be beyond those that count.
const COUNTED: Column = Column {
    name: "counted",
    embedded: Embedded::Derived(
        "coalesce(t.number <= (select d.attempts from deliveries d
                               where d.company_id = t.company_id and d.id = t.delivery_id), 0)
         and not exists (select 1 from attempts later
                         where later.company_id = t.company_id
                           and later.delivery_id = t.delivery_id
                           and later.number = t.number and later.fence > t.fence)",
    ),
    kind: Flag,
};

/// Tables that a store has for itself: how far its own schema is, and who works on it now.
#[cfg(test)]
pub(super) const LEFT_OUT: &[&str] = &["migrations", "nodes", "shards", "wakes"];

/// Tables that the engine works off: what is to be accepted or tidied. There must be nothing in them
/// of which this is so.
pub(super) const DRAINED: &[(&str, &str)] =
    &[("outbox", "refused is null"), ("dropped_counts", "true"), ("dropped_deliveries", "true")];

/// Everything else.
pub(in crate::store) const TABLES: &[Table] = &[
    table("companies", 1, COMPANIES),
    table("endpoints", 2, ENDPOINTS),
    table("events", 2, EVENTS),
    table("deliveries", 2, DELIVERIES),
    table("attempts", 3, ATTEMPTS),
    table("counts", 2, COUNTS),
    table("known", 2, KNOWN),
    table("replays", 2, REPLAYS),
    table("api_keys", 2, API_KEYS),
    table("audit", 2, AUDIT),
    Table { only: "name <> 'unfinished move'", ..table("kept", 1, KEPT) },
];

const COMPANIES: &[Column] = &[
    column("company_id", Id),
    column("name", Text),
    column("created_at", Large),
    column("updated_at", Large),
];

const ENDPOINTS: &[Column] = &[
    column("company_id", Id),
    column("id", Id),
    column("url", Text),
    column("secret", Bytes),
    column("events", Words),
    column("shape", Text),
    column("max_retries", Number),
    column("disabled_at", Large),
    column("disabled_reason", Text),
    column("deleted_at", Large),
    column("created_at", Large),
    column("updated_at", Large),
    column("rate_limit", Number),
    column("max_in_flight", Number),
    column("ordering", Text),
    column("coalesce_ms", Large),
    column("filter", Text),
    column("operational", Flag),
    column("previous_secret", Bytes),
    column("previous_until", Large),
    column("failing_since", Large),
    column("held_until", Large),
    column("headers", Bytes),
    column("tls", Bytes),
];

const EVENTS: &[Column] = &[
    column("company_id", Id),
    column("id", Id),
    column("type", Text),
    column("payload", Bytes),
    column("created_at", Large),
    column("deliveries", Number),
    column("ordering_key", Text),
    column("deliver_at", Large),
    column("expires_at", Large),
    column("operational", Flag),
];

const DELIVERIES: &[Column] = &[
    column("company_id", Id),
    column("id", Id),
    column("endpoint_id", Id),
    column("event_id", Id),
    column("state", Small),
    column("claimed", Flag),
    column("fence", Large),
    column("attempts", Number),
    column("due_at", Large),
    column("updated_at", Large),
    column("replay_of", Id),
    column("shape", Text),
    column("reason", Text),
    column("sequence", Large),
    column("order_key", Text),
    column("coalesce_key", Text),
    column("superseded_by", Id),
    column("probes", Number),
    column("expires_at", Large),
    column("replay_id", Id),
];

const ATTEMPTS: &[Column] = &[
    column("company_id", Id),
    column("delivery_id", Id),
    column("fence", Large),
    COUNTED,
    column("number", Number),
    column("started_at", Large),
    column("duration_us", Large),
    column("url", Text),
    renamed("headers", "request_headers", Text),
    column("status", Number),
    renamed("answer_headers", "headers", Text),
    column("body", Bytes),
    column("flaw", Text),
    column("queue_us", Large),
    column("dns_us", Large),
    column("connect_us", Large),
    column("tls_us", Large),
    column("first_byte_us", Large),
    column("probe", Flag),
];

const COUNTS: &[Column] = &[
    column("company_id", Id),
    column("endpoint_id", Id),
    column("waiting", Large),
    column("concluded", Large),
    column("failed", Large),
    column("sequence", Large),
];

const KNOWN: &[Column] = &[
    column("company_id", Id),
    column("name", Name),
    column("event_id", Id),
    column("digest", Bytes),
    column("created_at", Large),
    column("deliveries", Number),
];

const REPLAYS: &[Column] = &[
    column("company_id", Id),
    column("id", Id),
    column("selection", Text),
    column("digest", Bytes),
    column("key", Name),
    column("per_second", Number),
    column("next_due_us", Large),
    column("found", Large),
    column("made", Large),
    column("place_at", Large),
    column("place_id", Id),
    column("created_at", Large),
    column("finished_at", Large),
    column("cancelled", Flag),
];

const API_KEYS: &[Column] = &[
    column("company_id", Id),
    column("id", Id),
    column("name", Text),
    column("hash", Bytes),
    column("hint", Text),
    column("scope", Text),
    column("created_at", Large),
    column("expires_at", Large),
    column("used_at", Large),
    column("revoked_at", Large),
];

const AUDIT: &[Column] = &[
    column("company_id", Id),
    column("id", Id),
    column("at", Large),
    column("actor", Text),
    column("action", Text),
    column("subject", Id),
    column("fields", Text),
];

const KEPT: &[Column] = &[column("name", Text), column("value", Bytes)];
