-- Every key and index begins with the company, so that tables can be spread by it. Times are
-- milliseconds since the epoch and always come from the caller. No foreign keys: each row is
-- written together with what it points to, and `fanfare check` proves that it stays so.

create table companies (
    company_id uuid   primary key,
    name       text   not null, -- empty until set
    created_at bigint not null,
    updated_at bigint not null
);

create table endpoints (
    company_id      uuid    not null,
    id              uuid    not null,
    url             text    not null,
    secret          bytea   not null, -- sealed
    events          text[]  not null, -- subscriptions: 'a.b', 'a.*', '*'
    shape           text    not null, -- of its next events
    max_retries     integer not null,
    disabled_at     bigint,
    disabled_reason text,
    deleted_at      bigint,           -- kept until its history has expired
    created_at      bigint  not null,
    updated_at      bigint  not null,
    primary key (company_id, id),
    check ((disabled_at is null) = (disabled_reason is null))
);
create index endpoints_deleted on endpoints (company_id, id) where deleted_at is not null;

create table events (
    company_id uuid    not null,
    id         uuid    not null,
    type       text    not null,
    payload    bytea   not null, -- byte for byte as it came
    created_at bigint  not null,
    deliveries integer not null, -- how many it was answered to have; replays do not count
    primary key (company_id, id)
);
-- What nobody heard expires by its time; the rest goes with its last delivery.
create index events_unheard on events (company_id, created_at) where deliveries = 0;

create table idempotency (
    company_id uuid  not null,
    key        bytea not null, -- the caller's text, which may hold what PostgreSQL's does not
    event_id   uuid  not null,
    primary key (company_id, key)
);
create index idempotency_event on idempotency (company_id, event_id);

-- One event for one endpoint. A claim moves due_at one lease ahead and adds one to the fence, so
-- "waiting", "retrying", "being sent" and "its sender died" are the same row in the same index.
-- When it was made is told by its id.
create table deliveries (
    company_id  uuid     not null,
    id          uuid     not null,
    endpoint_id uuid     not null,
    event_id    uuid     not null,
    state       smallint not null check (state between 0 and 2), -- waiting, concluded, failed
    claimed     boolean  not null,
    fence       bigint   not null,
    attempts    integer  not null,
    due_at      bigint   not null, -- means nothing once the state is final
    updated_at  bigint   not null,
    replay_of   uuid,
    shape       text     not null,
    reason      text,
    primary key (company_id, id),
    check (state = 0 or not claimed),
    check ((state = 2) = (reason is not null))
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_analyze_scale_factor = 0.05);
-- A lane: what waits for one endpoint, the longest due first.
create index deliveries_lane on deliveries (company_id, endpoint_id, due_at, id) where state = 0;
create index deliveries_list on deliveries (company_id, endpoint_id, id);
create index deliveries_event on deliveries (company_id, event_id);

-- One request under one claim, so the fence names it. A sender that had lost its claim is seen
-- here too, but its attempt is not counted.
create table attempts (
    company_id     uuid    not null,
    delivery_id    uuid    not null,
    fence          bigint  not null,
    counted        boolean not null,
    number         integer not null,
    started_at     bigint  not null,
    duration_us    bigint  not null,
    url            text    not null,
    headers        text    not null, -- `name: value`, a line each
    status         integer,          -- null: no answer, and flaw says why
    answer_headers text,
    body           bytea,
    flaw           text,
    primary key (company_id, delivery_id, fence)
);

-- How many deliveries of an endpoint stand where, so that a list knows its length.
create table counts (
    company_id  uuid   not null,
    endpoint_id uuid   not null,
    waiting     bigint not null,
    concluded   bigint not null,
    failed      bigint not null,
    primary key (company_id, endpoint_id)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

-- Values that all processes must agree on.
create table kept (
    name  text  primary key,
    value bytea not null
);
