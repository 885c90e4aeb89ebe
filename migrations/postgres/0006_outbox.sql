-- Events said inside a transaction of the platform's own: a row is there if, and only if, that
-- transaction was committed, and goes once its event is stored. The same table and function serve in
-- a database that is not the store's; there this file may be run more than once.

-- A queue that is read from its beginning, so its key is its order and does not begin with the
-- company. What one transaction says stays in the order in which it was said.
create table if not exists outbox (
    number          bigint generated always as identity primary key,
    id              uuid   not null, -- of the event
    company_id      uuid   not null,
    type            text   not null,
    data            text   not null, -- JSON, as it was written
    idempotency_key text,
    ordering_key    text,
    deliver_at      bigint,
    expires_at      bigint,
    said_at         bigint not null,
    refused         text             -- why it can never be accepted; null: it waits
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
create index if not exists outbox_waiting on outbox (number) where refused is null;

-- Says that something happened, as part of the transaction that makes it happen, and returns the
-- event's id. `data` is `json`, whose text is kept as it was written; `jsonb` would not keep it.
-- It locks nothing but the row that it adds, so a transaction may be open for as long as it likes.
create or replace function emit(
    company         uuid,
    type            text,
    data            json,
    idempotency_key text        default null,
    ordering_key    text        default null,
    deliver_at      timestamptz default null,
    expires_at      timestamptz default null
) returns uuid
language plpgsql volatile security definer
as $emit$
declare
    now_ms  constant bigint := floor(extract(epoch from clock_timestamp()) * 1000);
    -- Version 7: the time, and what is random of a version 4.
    said_id constant uuid := lpad(to_hex(now_ms), 12, '0') || '7'
                             || substr(replace(gen_random_uuid()::text, '-', ''), 14);
    -- What can be judged here is refused at once. How large and how deep data may be, the server
    -- knows.
    flaw    constant text := case
        when emit.company is null then 'company: must not be null'
        when emit.type is null or length(emit.type) > 128
             or emit.type !~ '^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$'
            then 'type: must be parts of [A-Za-z0-9_] joined by dots, such as order.created, with '
                 'at most 128 characters'
        when emit.data is null then 'data: must not be null; the null of JSON is ''null''::json'
        when octet_length(emit.data::text) > 64 * 1024 * 1024
            then 'data: must have at most 64 MiB'
        when octet_length(emit.idempotency_key) not between 1 and 256
            then 'idempotency_key: must have 1 to 256 bytes'
        when length(emit.ordering_key) not between 1 and 256
             or emit.ordering_key ~ '[\u0001-\u001f\u007f-\u009f]'
            then 'ordering_key: must have 1 to 256 characters, none of them control'
        when not isfinite(emit.deliver_at)
             or emit.deliver_at > clock_timestamp() + interval '366 days'
            then 'deliver_at: must be at most 366 days from now'
        when not isfinite(emit.expires_at) or emit.expires_at <= clock_timestamp()
            then 'expires_at: must be in the future'
        when emit.expires_at <= emit.deliver_at then 'expires_at: must be after deliver_at'
    end;
begin
    if flaw is not null then
        raise exception using errcode = 'invalid_parameter_value', message = flaw;
    end if;
    insert into outbox (id, company_id, type, data, idempotency_key, ordering_key, deliver_at,
                        expires_at, said_at)
    values (said_id, emit.company, emit.type, emit.data::text, emit.idempotency_key,
            emit.ordering_key, round(extract(epoch from emit.deliver_at) * 1000),
            round(extract(epoch from emit.expires_at) * 1000), now_ms);
    -- A hint that saves up to a second. Transactions that are to be prepared (two-phase commit) may
    -- not give it, and those that give it commit one after the other.
    if current_setting('fanfare.notify', true) is distinct from 'off' then
        perform pg_notify('fanfare_outbox', current_schema());
    end if;
    return said_id;
end
$emit$;

-- The function runs with its owner's rights, so what it names must be looked for in its own schema
-- alone, and last of all among the caller's temporary tables.
do $path$
begin
    execute format('alter function emit(uuid, text, json, text, text, timestamptz, timestamptz) '
                   'set search_path = %I, pg_temp', current_schema());
end
$path$;

revoke all on function emit(uuid, text, json, text, text, timestamptz, timestamptz) from public;
