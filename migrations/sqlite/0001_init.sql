-- Ids are the 16 bytes of a UUID, times are milliseconds since 1970, payloads are the bytes that
-- came. The company leads every key.

create table companies (
    company_id blob primary key not null,
    name       text not null,
    created_at integer not null,
    updated_at integer not null
) strict, without rowid;

create table endpoints (
    company_id      blob not null,
    id              blob not null,
    url             text not null,
    secret          blob not null, -- sealed
    events          text not null, -- subscriptions, separated by spaces
    shape           text not null,
    max_retries     integer not null,
    disabled_at     integer,
    disabled_reason text,
    deleted_at      integer,
    created_at      integer not null,
    updated_at      integer not null,
    primary key (company_id, id)
) strict, without rowid;

-- With a rowid, so that payloads of a kilobyte stay on the leaves.
create table events (
    company_id blob not null,
    id         blob not null,
    type       text not null,
    payload    blob not null,
    created_at integer not null,
    deliveries integer not null, -- how many were made when it was accepted
    primary key (company_id, id)
) strict;
create index events_unheard on events (company_id, created_at) where deliveries = 0;

create table idempotency (
    company_id blob not null,
    key        text not null,
    event_id   blob not null,
    primary key (company_id, key)
) strict, without rowid;
create index idempotency_by_event on idempotency (company_id, event_id);

-- One event for one endpoint. A claim pushes due_at one lease ahead and bumps the fence, so
-- "waiting", "retrying", "in flight" and "its process died" are the same row under the same index.
-- A delivery was made when its id was: the order of ids is the order of time.
create table deliveries (
    company_id  blob not null,
    id          blob not null,
    endpoint_id blob not null,
    event_id    blob not null,
    shape       text not null,
    state       integer not null, -- 0 waiting, 1 concluded, 2 failed
    due_at      integer not null,
    claimed     integer not null, -- whether due_at is the end of a lease
    fence       integer not null,
    attempts    integer not null,
    reason      text,             -- why it failed
    replay_of   blob,
    updated_at  integer not null,
    primary key (company_id, id)
) strict, without rowid;
create index deliveries_by_endpoint on deliveries (company_id, endpoint_id, id);
create index deliveries_by_event on deliveries (company_id, event_id);
create index deliveries_due on deliveries (company_id, endpoint_id, due_at) where state = 0;

-- Each claim leads to one attempt at most, so its fence names it.
create table attempts (
    company_id      blob not null,
    delivery_id     blob not null,
    fence           integer not null,
    number          integer not null,
    started_at      integer not null,
    duration_us     integer not null,
    url             text not null,
    request_headers text not null, -- `name: value`, a line each
    status          integer,       -- null: no answer, and flaw says why
    headers         text,
    body            blob,
    flaw            text,
    primary key (company_id, delivery_id, fence)
) strict, without rowid;

-- How many deliveries an endpoint has in each state, so that no list has to count them.
create table counts (
    company_id  blob not null,
    endpoint_id blob not null,
    waiting     integer not null,
    concluded   integer not null,
    failed      integer not null,
    primary key (company_id, endpoint_id)
) strict, without rowid;

create table kept (
    name  text primary key not null,
    value blob not null
) strict, without rowid;
