-- How fast, in which order and whether at all: pace, breaker, ordering keys, schedules, replays,
-- and keys that outlive their events.

alter table endpoints
    add column rate_limit      integer,            -- events per second
    add column max_in_flight   integer,
    add column ordering        text    not null default 'none',
    add column coalesce_ms     bigint,             -- the window; null: nothing is superseded
    add column filter          text,               -- JSON
    add column operational     boolean not null default false,
    add column previous_secret bytea,              -- sealed; signs too until previous_until
    add column previous_until  bigint,
    add column failing_since   bigint,             -- the breaker is open
    add column held_until      bigint;             -- as the endpoint asked by Retry-After

alter table events
    add column ordering_key text collate "C",
    add column deliver_at   bigint,
    add column expires_at   bigint,
    add column operational  boolean not null default false;

-- The last sequence number given.
alter table counts add column sequence bigint not null default 0;

-- Of those that wait under one order_key, only the one with the lowest sequence may be claimed;
-- the others are parked: their due time lies an age ahead.
alter table deliveries
    add column sequence      bigint  not null default 0,
    add column order_key     text collate "C",     -- null: in any order
    add column coalesce_key  text collate "C",     -- null: never superseded
    add column superseded_by uuid,
    add column probes        integer not null default 0, -- attempts that were probes
    add column expires_at    bigint;
create index deliveries_ordered on deliveries (company_id, endpoint_id, order_key, sequence)
    where state = 0 and order_key is not null;
create index deliveries_coalesced on deliveries (company_id, endpoint_id, coalesce_key)
    where state = 0 and coalesce_key is not null;
create index deliveries_lapsing on deliveries (company_id, expires_at)
    where state = 0 and expires_at is not null;
create index deliveries_replays on deliveries (company_id, replay_of, id)
    where replay_of is not null;

-- Where the time of an attempt went, in microseconds; null where a step was not needed.
alter table attempts
    add column queue_us      bigint,
    add column dns_us        bigint,
    add column connect_us    bigint,
    add column tls_us        bigint,
    add column first_byte_us bigint,
    add column probe         boolean not null default false;

-- Events by time, as long as they can be sent again. One whose payload has expired has an empty one.
create index events_sendable on events (company_id, created_at, id) where payload <> '';

-- By what an event can be known: `key:` and the caller's key, `id:` and the caller's id. With what
-- was answered, so that it outlives the event.
create table known (
    company_id uuid    not null,
    name       bytea   not null,
    event_id   uuid    not null,
    digest     bytea,             -- of what was asked; null: kept by an older version
    created_at bigint  not null,
    deliveries integer not null,
    primary key (company_id, name)
);
create index known_by_age on known (company_id, created_at);
insert into known (company_id, name, event_id, created_at, deliveries)
    select k.company_id, 'key:'::bytea || k.key, k.event_id, v.created_at, v.deliveries
    from idempotency k join events v on v.company_id = k.company_id and v.id = k.event_id;
drop table idempotency;
