-- Everybody hears of it: who reads the outbox, how far each of them is, and what could not be
-- delivered.
--
-- A message's position is given when it is written, and seen when its transaction commits; so a
-- reader that remembers the last position it saw skips what commits late. Each message therefore
-- carries its transaction's id, and a reader remembers a *snapshot*: it has everything that this
-- snapshot sees. What it has still to read is what the current snapshot sees and that one does not.
-- Nothing is skipped, however late it commits, and nothing waits for a slow transaction. Within an
-- order the positions follow the order's row lock, so whatever a snapshot sees of an order has no
-- gap before it.
alter table outbox.messages
    -- Messages from before count as the first that were ever written: every reader has still to
    -- read them, and every snapshot sees them.
    add column written_by xid8 not null default '3',
    -- Which part of the work it belongs to. All messages of an order are in one shard, and one
    -- process at a time reads a shard, so that several processes share the work and keep the order.
    add column shard smallint not null generated always as
        (abs(hashtextextended(aggregateid, 0) % 8)::smallint) stored;
alter table outbox.messages alter column written_by set default pg_current_xact_id();

create index messages_to_read on outbox.messages (shard, position);
create index messages_by_transaction on outbox.messages (shard, written_by, position);

-- Where messages go. A sink that is not configured any more keeps its place, and keeps the messages
-- it has not had, until an operator removes it.
create table outbox.sinks (
    -- Such as `kafka`, or `webhook:` and the endpoint's id.
    sink text primary key check (sink ~ '^[a-z][a-z0-9-]*(:[0-9a-f-]{36})?$'),
    created_at timestamptz not null default now(),
    -- An operator has stopped it.
    paused_at timestamptz,
    paused_by text,
    check ((paused_at is null) = (paused_by is null))
);

-- How far a sink is in a shard.
create table outbox.progress (
    sink text not null references outbox.sinks on delete cascade,
    shard smallint not null check (shard between 0 and 7),
    -- The sink has had every message that this snapshot sees.
    seen pg_snapshot not null default '3:3:',
    -- While it works through a backlog: up to which snapshot, and behind which position. It has
    -- had everything of `reading` up to that position.
    reading pg_snapshot,
    after_position bigint not null default 0,
    -- Which process reads it, and until when; that process renews it in time.
    leased_by uuid,
    leased_until timestamptz,
    -- How many messages it has had: delivered, not wanted, or parked.
    delivered bigint not null default 0,
    not_wanted bigint not null default 0,
    parked bigint not null default 0,
    -- When the last of them was dealt with.
    progressed_at timestamptz,
    -- Why it does not get on, if it does not, and since when.
    failing_since timestamptz,
    failure text,
    primary key (sink, shard)
);

-- Messages that a sink has refused, and the later ones of their orders, which must not overtake them.
create table outbox.parked (
    sink text not null references outbox.sinks on delete cascade,
    position bigint not null references outbox.messages on delete restrict,
    aggregateid text not null,
    sequence integer not null,
    -- Why; none for one that only waits behind another.
    refused text,
    parked_at timestamptz not null default now(),
    -- An operator has decided: `replay` delivers it again, `skip` gives it up.
    decision text check (decision in ('replay', 'skip')),
    decided_by text,
    decided_at timestamptz,
    primary key (sink, aggregateid, sequence),
    check ((decision is null) = (decided_by is null)),
    check ((decision is null) = (decided_at is null))
);

create index parked_by_position on outbox.parked (position);

-- How far all sinks were at a time. What all had before the retention began may be removed.
create table outbox.marks (
    marked_at timestamptz primary key default now(),
    -- Every sink has had every message of a transaction before this one.
    had_before xid8 not null
);
