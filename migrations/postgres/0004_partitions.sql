-- History in days, so that what is old goes by the drop of a table, and what that leaves behind never
-- touches the queue. What waits is a table of its own, small however long history is.
--
-- Ids are made of their time (version 7), so the days are ranges of ids; `store/postgres/days.rs`
-- makes and drops them. What no day covers is in `…_rest`. The history from before this migration
-- stays where it is, as one partition that ends with today: its rows expire one by one, and then it
-- is dropped. Its new keys are built here. This takes as long as they are large, and it is the one
-- step that may: the version before allows a single process, so nobody else is connected. From here
-- on migrations only add, and hold no lock for long.

alter table deliveries rename to old_deliveries;
alter table attempts rename to old_attempts;
alter table events rename to old_events;

-- Indexes are made for each partition from those of its parent; the old ones have their names.
alter table old_deliveries drop constraint deliveries_pkey;
alter table old_attempts drop constraint attempts_pkey;
alter table old_events drop constraint events_pkey;
drop index deliveries_lane, deliveries_ordered, deliveries_retrying, deliveries_coalesced,
    deliveries_lapsing, deliveries_event;
alter index deliveries_list rename to old_deliveries_list;
alter index deliveries_replays rename to old_deliveries_replays;
alter index deliveries_failed rename to old_deliveries_failed;
alter index events_unheard rename to old_events_unheard;
alter index events_sendable rename to old_events_sendable;

create table deliveries (like old_deliveries including defaults including constraints)
    partition by list (state);
-- Every row of it is changed once or twice and then goes, so it is tidied often.
create table deliveries_waiting partition of deliveries for values in (0)
    with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,
          autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.1);
create table deliveries_final partition of deliveries for values in (1, 2)
    partition by range (id);
create table deliveries_rest partition of deliveries_final default;

-- In this order: while a table is empty, as what waits often is when a plan is made, every index that
-- begins with the company costs the same, and the newest is taken. So a row is found by its id in
-- the primary key, and those after that are only for whoever asks for what they are for.
create index deliveries_list on deliveries (company_id, endpoint_id, id);
-- A lane: what waits for one endpoint, the longest due first.
create index deliveries_lane on deliveries_waiting (company_id, endpoint_id, due_at, id);
alter table deliveries add primary key (company_id, id, state);
create index deliveries_event on deliveries (company_id, event_id) where event_id is not null;
create index deliveries_replays on deliveries (company_id, replay_of, id)
    where replay_of is not null;
create index deliveries_ordered on deliveries_waiting (company_id, endpoint_id, order_key, sequence)
    where order_key is not null;
-- What may be brought forward as a probe.
create index deliveries_retrying on deliveries_waiting (company_id, endpoint_id, due_at, id)
    where attempts > 0;
create index deliveries_coalesced on deliveries_waiting (company_id, endpoint_id, coalesce_key)
    where coalesce_key is not null;
create index deliveries_lapsing on deliveries_waiting (company_id, expires_at)
    where expires_at is not null;
-- What failed, so that a replay need not look at what did not.
create index deliveries_failed on deliveries_final (company_id, id, updated_at) where state = 2;

create table attempts (like old_attempts including defaults including constraints,
                       primary key (company_id, delivery_id, fence))
    partition by range (delivery_id);
create table attempts_rest partition of attempts default;

-- Callers may choose ids of any form. Those that tell no time of ours have partitions of their own:
-- when a day is made, what is in `events_rest` is looked at, and nearly all of them are not there.
create table events (like old_events including defaults including constraints,
                     primary key (company_id, id)) partition by range (id);
-- What nobody heard expires by its time; the rest goes with its last delivery.
create index events_unheard on events (company_id, created_at) where deliveries = 0;
-- By time, as long as they can be sent again.
create index events_sendable on events (company_id, created_at, id) where payload <> '';
create table events_rest partition of events default;
create table events_before partition of events -- the year 2020
    for values from (minvalue) to ('016f5e66-e800-0000-0000-000000000000');
create table events_after partition of events -- the year 2050
    for values from ('024bce5c-f000-0000-0000-000000000000') to (maxvalue);

-- What was dropped with a day and is still to be told to the others, a little at a time.
create table dropped_counts (
    company_id  uuid   not null,
    endpoint_id uuid   not null,
    concluded   bigint not null, -- counted in `counts`, but not there any more
    failed      bigint not null,
    primary key (company_id, endpoint_id)
);
create table dropped_deliveries (
    company_id uuid not null,
    event_id   uuid not null,    -- of another day, or of none: it may have lost its last delivery
    primary key (company_id, event_id)
);

do $$
declare
    tomorrow timestamp := date_trunc('day', now() at time zone 'utc') + interval '1 day';
    day text := to_char(tomorrow, 'YYYYMMDD');
    first uuid := lpad(to_hex((extract(epoch from tomorrow) * 1000)::bigint), 12, '0')
        || repeat('0', 20);
begin
    insert into deliveries select * from old_deliveries where state = 0 or id >= first;
    delete from old_deliveries where state = 0 or id >= first;
    insert into attempts select * from old_attempts where delivery_id >= first;
    delete from old_attempts where delivery_id >= first;
    insert into events select * from old_events
        where id < '016f5e66-e800-0000-0000-000000000000' or id >= first;
    delete from old_events where id < '016f5e66-e800-0000-0000-000000000000' or id >= first;
    if exists (select from old_events) or exists (select from old_deliveries) then
        execute format('alter table old_deliveries rename to deliveries_u%s', day);
        execute format('alter table old_attempts rename to attempts_u%s', day);
        execute format('alter table old_events rename to events_u%s', day);
        execute format('alter table deliveries_final attach partition deliveries_u%s
                        for values from (minvalue) to (%L)', day, first);
        execute format('alter table attempts attach partition attempts_u%s
                        for values from (minvalue) to (%L)', day, first);
        execute format('alter table events attach partition events_u%s
                        for values from (%L) to (%L)', day,
                       '016f5e66-e800-0000-0000-000000000000', first);
    else
        drop table old_deliveries, old_attempts, old_events;
    end if;
end $$;
