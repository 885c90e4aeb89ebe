-- How fast, in which order and whether at all: pace, breaker, ordering keys, schedules, replays,
-- and keys that outlive their events.

alter table endpoints add column rate_limit integer;         -- events per second
alter table endpoints add column max_in_flight integer;
alter table endpoints add column ordering text not null default 'none';
alter table endpoints add column coalesce_ms integer;        -- the window; null: nothing is superseded
alter table endpoints add column filter text;                -- JSON
alter table endpoints add column operational integer not null default 0;
alter table endpoints add column previous_secret blob;       -- sealed; signs too until previous_until
alter table endpoints add column previous_until integer;
alter table endpoints add column failing_since integer;      -- the breaker is open
alter table endpoints add column held_until integer;         -- as the endpoint asked by Retry-After

create index endpoints_deleted on endpoints (company_id, id) where deleted_at is not null;
-- For public keys, which are asked for without a company.
create index endpoints_by_id on endpoints (id);

alter table events add column ordering_key text;
alter table events add column deliver_at integer;
alter table events add column expires_at integer;
alter table events add column operational integer not null default 0;

-- The last sequence number given.
alter table counts add column sequence integer not null default 0;

-- Of those that wait under one order_key, only the one with the lowest sequence may be claimed;
-- the others are parked: their due time lies an age ahead.
alter table deliveries add column sequence integer not null default 0;
alter table deliveries add column order_key text;            -- null: in any order
alter table deliveries add column coalesce_key text;         -- null: never superseded
alter table deliveries add column superseded_by blob;
alter table deliveries add column probes integer not null default 0; -- attempts that were probes
alter table deliveries add column expires_at integer;
create index deliveries_ordered on deliveries (company_id, endpoint_id, order_key, sequence)
    where state = 0 and order_key is not null;
-- What may be brought forward as a probe.
create index deliveries_retrying on deliveries (company_id, endpoint_id, due_at)
    where state = 0 and attempts > 0;
create index deliveries_coalesced on deliveries (company_id, endpoint_id, coalesce_key)
    where state = 0 and coalesce_key is not null;
create index deliveries_lapsing on deliveries (company_id, expires_at)
    where state = 0 and expires_at is not null;
create index deliveries_replays on deliveries (company_id, replay_of, id)
    where replay_of is not null;

-- Where the time of an attempt went, in microseconds; null where a step was not needed.
alter table attempts add column queue_us integer;
alter table attempts add column dns_us integer;
alter table attempts add column connect_us integer;
alter table attempts add column tls_us integer;
alter table attempts add column first_byte_us integer;
alter table attempts add column probe integer not null default 0;

-- Events by time, as long as they can be sent again. One whose payload has expired has an empty one.
create index events_sendable on events (company_id, created_at, id) where payload <> x'';

-- What a replay of many made. Without replay_of it tells an endpoint of an event that it had not
-- heard of: it counts as a replay all the same.
alter table deliveries add column replay_id blob;
-- What failed, so that a replay need not look at what did not.
create index deliveries_failed on deliveries (company_id, id, updated_at) where state = 2;

-- Replays of many, made in slices.
create table replays (
    company_id  blob not null,
    id          blob not null,
    selection   text not null,     -- JSON: what to send again
    digest      blob not null,     -- of the call, so that a double click is one
    key         text,              -- the caller's Idempotency-Key
    per_second  integer,           -- the pace; null: at once
    next_due_us integer not null,  -- when the next one may fall due, in microseconds
    found       integer not null,  -- looked at so far
    made        integer not null,  -- deliveries made so far
    place_at    integer not null,  -- how far it got: a number in a list or a time,
    place_id    blob not null,     -- and an id
    created_at  integer not null,
    finished_at integer,
    cancelled   integer not null default 0,
    primary key (company_id, id)
) strict, without rowid;
create index replays_unfinished on replays (company_id, id) where finished_at is null;
create index replays_by_digest on replays (company_id, digest, id);
create unique index replays_by_key on replays (company_id, key) where key is not null;

-- By what an event can be known: `key:` and the caller's key, `id:` and the caller's id. With what
-- was answered, so that it outlives the event.
create table known (
    company_id blob not null,
    name       text not null,
    event_id   blob not null,
    digest     blob,          -- of what was asked; null: kept by an older version
    created_at integer not null,
    deliveries integer not null,
    primary key (company_id, name)
) strict, without rowid;
create index known_by_age on known (company_id, created_at);
insert into known (company_id, name, event_id, created_at, deliveries)
    select k.company_id, 'key:' || k.key, k.event_id, v.created_at, v.deliveries
    from idempotency k join events v on v.company_id = k.company_id and v.id = k.event_id;
drop table idempotency;
