-- Events said inside a transaction of the platform's own, in its own database file: a row is there
-- if, and only if, that transaction was committed, and goes once its event is stored.
create table if not exists fanfare_outbox (
    -- What one transaction says stays in the order in which it was said.
    number          integer primary key autoincrement,
    -- Of the event: a UUID of version 7.
    id              text not null default (lower(
        substr(printf('%012x', cast((julianday('now') - 2440587.5) * 86400000 as integer)), 1, 8)
        || '-' ||
        substr(printf('%012x', cast((julianday('now') - 2440587.5) * 86400000 as integer)), 9, 4)
        || '-7' || substr(hex(randomblob(2)), 2)
        || '-' || substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
        || '-' || hex(randomblob(6)))),
    company         text not null
        constraint "company: must be a UUID with hyphens" check (length(company) = 36),
    type            text not null
        constraint "type: must be parts of [A-Za-z0-9_] joined by dots, at most 128 characters"
        check (length(type) between 1 and 128 and type not glob '*[^A-Za-z0-9_.]*'
               and type not glob '.*' and type not glob '*.' and type not glob '*..*'),
    -- The text is kept as it was written.
    data            text not null
        constraint "data: must be a text of JSON" check (typeof(data) = 'text' and json_valid(data)),
    idempotency_key text
        constraint "idempotency_key: must have 1 to 256 bytes"
        check (length(cast(idempotency_key as blob)) between 1 and 256),
    ordering_key    text
        constraint "ordering_key: must have 1 to 256 characters"
        check (length(ordering_key) between 1 and 256),
    deliver_at      text
        constraint "deliver_at: must be a time such as 2025-07-05T01:52:11.613Z"
        check (deliver_at like '____-__-__T__:__:__%' and julianday(deliver_at) > 0),
    expires_at      text
        constraint "expires_at: must be a time such as 2025-07-05T01:52:11.613Z"
        check (expires_at like '____-__-__T__:__:__%' and julianday(expires_at) > 0),
    said_at         text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- Why it can never be accepted; null: it waits.
    refused         text,
    constraint "expires_at: must be after deliver_at"
        check (julianday(expires_at) > julianday(deliver_at))
);
create index if not exists fanfare_outbox_waiting on fanfare_outbox (number) where refused is null;
