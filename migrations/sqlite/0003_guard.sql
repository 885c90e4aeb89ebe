-- What an endpoint keeps to itself, who else may call, and who changed what.

-- Sealed like the secret: the headers that go with every request, and the certificates.
alter table endpoints add column headers blob;
alter table endpoints add column tls blob;

-- Keys that programs call with. Of a key only its hash is kept.
create table api_keys (
    company_id blob not null,
    id         blob not null,
    name       text not null,
    hash       blob not null,     -- SHA-256 of the key
    hint       text not null,     -- its last characters, so that people know it again
    scope      text not null,     -- emit, read or admin
    created_at integer not null,
    expires_at integer,
    used_at    integer,           -- roughly: not every call is noted
    revoked_at integer,
    primary key (company_id, id)
) strict, without rowid;
create unique index api_keys_by_hash on api_keys (company_id, hash);

-- Who changed what, when and from where. Names fields, never values.
create table audit (
    company_id blob not null,
    id         blob not null,
    at         integer not null,
    actor      text not null,     -- JSON: who, by which token or key, and from which address
    action     text not null,     -- `endpoint.change`
    subject    blob not null,     -- the id of what was changed
    fields     text not null,     -- what was changed of it, separated by spaces
    primary key (company_id, id)
) strict, without rowid;
create index audit_by_age on audit (company_id, at);
create index audit_by_subject on audit (company_id, subject, id);
