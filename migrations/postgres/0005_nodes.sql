-- Several nodes on one database. A node has shards: groups of lanes, by the last byte of the
-- endpoint's id. Leases are compared with this database's own clock.

create table nodes (
    id          uuid        primary key,  -- a new one for each time a node joins
    name        text        not null,
    version     text        not null,
    seals_with  bytea       not null,     -- check value of the key it seals with
    lease       interval    not null,
    lease_until timestamptz not null,
    leaving     boolean     not null,     -- about to end: due no shards
    joined_at   timestamptz not null default clock_timestamp()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);

create table shards (
    shard smallint primary key check (shard between 0 and 63),
    node  uuid,                           -- null: nobody's
    epoch bigint not null default 0       -- one more with each change of hands
) with (fillfactor = 50);
insert into shards (shard) select generate_series(0, 63);

-- What one node tells the owner of a lane. Not logged: after a crash of the database every node
-- looks at all its lanes anyway. Always read from where it was read to before, so that dead rows
-- cost nothing.
create unlogged table wakes (
    number      bigserial primary key,
    shard       smallint not null,
    company_id  uuid     not null,
    endpoint_id uuid     not null,
    word        smallint not null,        -- 0 due, 1 changed, 2 begun anew, 3 cancel, 4 replay
    due_at      bigint,
    delivery_id uuid
);

-- A step that older versions cannot work with names the first one that can; any other leaves those
-- that run at work while nodes are replaced one by one.
alter table migrations add column oldest integer;
