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
set local lock_timeout = '3s';

alter table outbox.messages
    -- Messages from before count as the first that were ever written: every reader has still to
    -- read them, and every snapshot sees them.
    add column written_by xid8 not null default '3',
    -- Which part of the work it belongs to. All messages of an order are in one shard, and one
    -- process at a time reads a shard, so that several processes share the work and keep the order.
    add column shard smallint not null generated always as
        (abs(hashtextextended(aggregateid, 0) % 8)::smallint) stored;
alter table outbox.messages alter column written_by set default pg_current_xact_id();

create index messages_to_read on outbox.messages (shard, position) include (written_by);
create index messages_by_transaction on outbox.messages (shard, written_by, position);

-- The cluster whose transaction ids the messages and the readers' snapshots hold. In another cluster,
-- into which a dump was restored, they mean nothing: see `outbox.is_restored`.
create table outbox.origin (
    is_this boolean primary key default true check (is_this),
    cluster bigint not null
);
insert into outbox.origin (cluster) select system_identifier from pg_control_system();

-- Where messages go. A sink that is not configured any more keeps its place, and keeps the messages
-- it has not had, until an operator removes it.
create table outbox.sinks (
    -- Such as `kafka`, or `webhook:` and the endpoint's id.
    sink text primary key check (sink ~ '^[a-z][a-z0-9-]*(:[0-9a-f-]{36})?$'),
    created_at timestamptz not null default now(),
    -- An operator has stopped it, and why.
    paused_at timestamptz,
    paused_by text,
    paused_why text,
    check ((paused_at is null) = (paused_by is null)),
    check ((paused_at is null) = (paused_why is null))
);

-- How far a sink is in a shard. Only whoever has the shard's lease changes it.
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
    -- How often it was leased. A process that has lost its lease is told by this number, even if it
    -- has another one by now.
    lease bigint not null default 0,
    -- How many messages it has had: delivered, not wanted, or parked.
    delivered bigint not null default 0,
    not_wanted bigint not null default 0,
    parked bigint not null default 0,
    -- When the receiver last took one.
    progressed_at timestamptz,
    -- Why it does not get on, if it does not, and since when.
    failing_since timestamptz,
    failure text,
    primary key (sink, shard),
    check ((leased_by is null) = (leased_until is null)),
    check ((failing_since is null) = (failure is null))
);

-- The processes that read a sink, so that each takes its share of the shards. One that has not said
-- so for its lease's time is gone.
create table outbox.readers (
    sink text not null references outbox.sinks on delete cascade,
    reader uuid not null,
    -- The process and its machine, such as `17@web-3`.
    name text not null,
    here_until timestamptz not null,
    primary key (sink, reader)
);

-- What a sink has had and its receiver has not: messages that were refused or not taken, and the
-- later ones of their orders, which must not overtake them. The first one of an order says what it
-- is about: it was refused and waits for an operator, or it is delivered as soon as `retry_at` says.
create table outbox.parked (
    sink text not null references outbox.sinks on delete cascade,
    position bigint not null references outbox.messages on delete restrict,
    aggregateid text not null,
    sequence integer not null,
    -- Why the receiver will never take it; none for one that is tried again, or waits behind another.
    refused text,
    parked_at timestamptz not null default now(),
    -- A message that alone is not taken, while the receiver takes others: how often it was tried, how
    -- often of that the receiver answered and took others, when last, why in vain, and when it is tried
    -- again.
    tries smallint not null default 0,
    strikes smallint not null default 0,
    tried_at timestamptz,
    retry_at timestamptz,
    failure text,
    -- An operator has decided about what was refused: `replay` delivers it again, `skip` gives it up.
    decision text check (decision in ('replay', 'skip')),
    decided_by text,
    decided_at timestamptz,
    primary key (sink, aggregateid, sequence),
    check ((decision is null) = (decided_by is null)),
    check ((decision is null) = (decided_at is null))
);

create index parked_by_position on outbox.parked (position);

-- What operators have done to sinks and to what was refused; never changed. A sink that was removed
-- keeps its entries.
create table outbox.interventions (
    intervention_id bigint generated always as identity primary key,
    sink text not null,
    action text not null
        check (action in ('pause', 'resume', 'replay', 'replay-all', 'skip', 'remove')),
    -- Which order's messages, where it is about one.
    aggregateid text,
    sequence integer,
    done_by text not null,
    why text not null,
    done_at timestamptz not null default now()
);

-- How far all sinks were at a time. What all had before the retention began may be removed.
create table outbox.marks (
    marked_at timestamptz primary key default now(),
    -- Every sink has had every message of a transaction before this one.
    had_before xid8 not null
);

-- ---------------------------------------------------------------------------------------------
-- What is still to be had, and from when on nothing is
-- ---------------------------------------------------------------------------------------------

-- The messages that a sink has still to have in a shard, at most so many of each kind. What commits
-- late has a transaction that the snapshot saw under way.
create function outbox.waiting(
    the_shard smallint, seen pg_snapshot, reading pg_snapshot, after_position bigint,
    at_most integer
) returns table (message_position bigint, written_at timestamptz)
language sql stable as $$
    (
        select position, created_at from outbox.messages
        where shard = the_shard and written_by >= pg_snapshot_xmax(coalesce(reading, seen))
        order by written_by limit at_most
    )
    union all
    (
        select late.position, late.created_at
        from pg_snapshot_xip(coalesce(reading, seen)) as under_way (one)
        -- By itself, so that it is looked up in the index, one transaction after the other.
        cross join lateral (
            select position, created_at from outbox.messages
            where shard = the_shard and written_by = under_way.one
            offset 0
        ) as late
        limit at_most
    )
    union all
    (
        select position, created_at from outbox.messages
        where reading is not null and shard = the_shard and position > after_position
            and pg_visible_in_snapshot(written_by, reading)
            and not pg_visible_in_snapshot(written_by, seen)
        order by position limit at_most
    )
$$;

-- Whether the transaction ids that the outbox holds are another cluster's, or ahead of this one's: a
-- dump was restored here. Then readers would take new messages for such as they have had, and
-- nothing is delivered or removed until `outbox.rebase`.
create function outbox.is_restored() returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select
        not exists (
            select from outbox.origin, pg_control_system() where cluster = system_identifier
        )
        or exists (
            select from outbox.progress
            where pg_snapshot_xmax(coalesce(reading, seen))
                > pg_snapshot_xmax(pg_current_snapshot())
        )
        or exists (
            select from generate_series(0, 7) as each_shard, lateral (
                select written_by from outbox.messages
                where shard = each_shard order by written_by desc limit 1
            ) as newest
            where newest.written_by >= pg_snapshot_xmax(pg_current_snapshot())
        )
$$;

-- Makes what is kept readable in this cluster: every message counts as written before all others, and
-- every sink begins with the first. So everything that is kept is delivered again. For the owner
-- alone. `keep_places` is for a cluster that has kept its transaction ids (pg_upgrade).
create function outbox.rebase(keep_places boolean) returns bigint
language plpgsql as $$
declare
    kept bigint;
begin
    -- Nobody reads meanwhile, and who has a lease loses it.
    lock table outbox.progress in exclusive mode;
    update outbox.progress set leased_by = null, leased_until = null, lease = lease + 1;
    delete from outbox.marks;
    update outbox.origin set cluster = (select system_identifier from pg_control_system());
    if keep_places then
        return 0;
    end if;
    delete from outbox.parked;
    update outbox.progress set seen = '3:3:', reading = null, after_position = 0;
    update outbox.messages set written_by = '3' where written_by <> '3';
    select count(*) into kept from outbox.messages;
    return kept;
end
$$;

-- Every sink has had every message of a transaction before this one; none without sinks, because
-- then nobody has had any. A sink that has nothing to have writes nothing, so its snapshot may be old.
create function outbox.had_before() returns xid8
language sql stable as $$
    select min(
        case
            when reading is null and not exists (
                select from outbox.waiting(shard, seen, null, 0, 1)
            ) then pg_snapshot_xmin(pg_current_snapshot())
            else pg_snapshot_xmin(seen)
        end
    )
    from outbox.progress
    where not outbox.is_restored()
$$;

-- What a process has to deliver next to a sink: for each shard that it has the lease of, one row without
-- a message, and then the next messages, so many at most; all that is left, if there are fewer. It
-- sees what the statement sees that calls it.
--
-- A planner that does not know what the snapshots are would read the whole shard to find nothing, so it is
-- given no choice: what is new is found by its transaction, and a backlog is read by position.
create function outbox.read(the_sink text, the_reader uuid, at_most integer)
returns table (of_shard smallint, held_lease bigint, is_paging boolean, message_position bigint)
language plpgsql stable
set plan_cache_mode = force_generic_plan
set max_parallel_workers_per_gather = 0
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    -- So many are sorted quickly; if there are more, it is a backlog.
    few constant integer := 20 * at_most;
    held record;
    newer bigint;
    behind bigint;
begin
    for held in
        select progress.shard, lease, seen, reading, after_position
        from outbox.progress join outbox.sinks using (sink)
        where sink = the_sink and leased_by = the_reader and leased_until > now()
            and paused_at is null and not outbox.is_restored()
    loop
        of_shard := held.shard;
        held_lease := held.lease;
        is_paging := held.reading is not null;
        message_position := null;
        return next;
        behind := held.after_position;
        if held.reading is null then
            select count(*) into newer from (
                select from outbox.messages
                where shard = held.shard and written_by >= pg_snapshot_xmax(held.seen)
                order by written_by limit few
            ) as found;
            if newer < few then
                return query
                select held.shard, held.lease, false, position from outbox.messages
                where shard = held.shard and written_by >= pg_snapshot_xmax(held.seen)
                union all
                select held.shard, held.lease, false, late.position
                from pg_snapshot_xip(held.seen) as under_way (one)
                cross join lateral (
                    select position from outbox.messages
                    where shard = held.shard and written_by = under_way.one
                    offset 0
                ) as late
                order by 4 limit at_most;
                continue;
            end if;
            -- Where the backlog begins, so that what was had is not read again.
            select min(position) - 1 into behind from outbox.messages
            where shard = held.shard and written_by >= pg_snapshot_xmin(held.seen)
                and not pg_visible_in_snapshot(written_by, held.seen);
        end if;
        return query
        select held.shard, held.lease, held.reading is not null, position from outbox.messages
        where shard = held.shard and position > behind
            and pg_visible_in_snapshot(written_by, coalesce(held.reading, pg_current_snapshot()))
            and not pg_visible_in_snapshot(written_by, held.seen)
        order by position limit at_most;
    end loop;
end
$$;

-- Takes a process's share of a sink's shards, renews what it has, and gives back what is more than its
-- share; what it has then. The process is between two batches.
create function outbox.take_shards(
    the_sink text, the_reader uuid, the_name text, lease_for interval
) returns table (held_shard smallint, held_lease bigint)
language plpgsql as $$
declare
    share integer;
    has integer;
begin
    insert into outbox.readers (sink, reader, name, here_until)
    values (the_sink, the_reader, the_name, now() + lease_for)
    on conflict (sink, reader) do update set here_until = excluded.here_until;
    delete from outbox.readers where (sink, reader) in (
        select sink, reader from outbox.readers where sink = the_sink and here_until <= now()
        for update skip locked
    );
    select ceil(8.0 / count(*)) into share from outbox.readers where sink = the_sink;
    update outbox.progress set leased_until = now() + lease_for
    where sink = the_sink and leased_by = the_reader and leased_until > now();
    update outbox.progress set leased_by = null, leased_until = null
    where sink = the_sink and shard in (
        select shard from outbox.progress
        where sink = the_sink and leased_by = the_reader and leased_until > now()
        order by shard offset share
    );
    select count(*) into has from outbox.progress
    where sink = the_sink and leased_by = the_reader and leased_until > now();
    update outbox.progress set
        leased_by = the_reader, leased_until = now() + lease_for, lease = lease + 1
    where sink = the_sink and shard in (
        select shard from outbox.progress
        where sink = the_sink and coalesce(leased_until, '-infinity') <= now()
        order by shard limit greatest(share - has, 0)
        for update skip locked
    );
    return query
    select shard, lease from outbox.progress
    where sink = the_sink and leased_by = the_reader and leased_until > now()
    order by shard;
end
$$;

-- How every sink stands, for operators and for metrics. Of what waits, the oldest 1,250 messages of each
-- shard are counted, and 10,000 of the sink; of a paused one, which may have a backlog of weeks, 125 and
-- 1,000. The oldest message is of these, or of those that are tried again.
create function outbox.standings() returns table (
    sink text, created_at timestamptz, paused_at timestamptz, paused_by text, paused_why text,
    waiting bigint, oldest_at timestamptz, delivered bigint, not_wanted bigint,
    refused bigint, retried bigint, behind bigint, refused_since timestamptz,
    progressed_at timestamptz, failing_since timestamptz, failure text,
    shards_read bigint, readers text[]
)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select
        sinks.sink, sinks.created_at, sinks.paused_at, sinks.paused_by, sinks.paused_why,
        least(lag.messages, case when sinks.paused_at is null then 10000 else 1000 end),
        least(lag.oldest_at, tried.created_at),
        coalesce(counted.delivered, 0), coalesce(counted.not_wanted, 0),
        coalesce(held.refused, 0), coalesce(held.retried, 0), coalesce(held.behind, 0),
        held.refused_since,
        counted.progressed_at, counted.failing_since, coalesce(counted.failure, tried.failure),
        coalesce(counted.shards_read, 0), present.names
    from outbox.sinks
    left join lateral (
        select
            sum(progress.delivered)::bigint as delivered,
            sum(progress.not_wanted)::bigint as not_wanted,
            max(progress.progressed_at) as progressed_at,
            min(progress.failing_since) as failing_since,
            (array_agg(progress.failure order by progress.failing_since))[1] as failure,
            count(*) filter (where progress.leased_until > now()) as shards_read
        from outbox.progress where progress.sink = sinks.sink
    ) as counted on true
    left join lateral (
        select count(*) as messages, min(unread.written_at) as oldest_at
        from outbox.progress
        cross join lateral outbox.waiting(
            progress.shard, progress.seen, progress.reading, progress.after_position,
            case when sinks.paused_at is null then 1250 else 125 end
        ) as unread
        where progress.sink = sinks.sink
    ) as lag on true
    left join lateral (
        select
            count(*) filter (where parked.refused is not null) as refused,
            count(*) filter (where parked.refused is null and parked.retry_at is not null)
                as retried,
            count(*) filter (where parked.refused is null and parked.retry_at is null) as behind,
            min(parked.parked_at) filter (where parked.refused is not null) as refused_since,
            min(parked.position) filter (
                where parked.refused is null and parked.retry_at is not null
            ) as first_retried
        from outbox.parked where parked.sink = sinks.sink
    ) as held on true
    left join lateral (
        select parked.failure, messages.created_at
        from outbox.parked join outbox.messages on messages.position = parked.position
        where parked.sink = sinks.sink and parked.position = held.first_retried
    ) as tried on true
    left join lateral (
        select coalesce(array_agg(readers.name order by readers.name), '{}') as names
        from outbox.readers
        where readers.sink = sinks.sink and readers.here_until > now()
    ) as present on true
    order by sinks.sink
$$;

-- ---------------------------------------------------------------------------------------------
-- What operators do, by way of the API: each is on record, with who and why
-- ---------------------------------------------------------------------------------------------

-- Stops a sink, or lets it go on; whether there is such a sink. What is as it is to be stays so.
create function outbox.pause(the_sink text, is_paused boolean, who text, because text)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update outbox.sinks set
        paused_at = case when is_paused then now() end,
        paused_by = case when is_paused then who end,
        paused_why = case when is_paused then because end
    where sink = the_sink and (paused_at is not null) <> is_paused;
    if found then
        insert into outbox.interventions (sink, action, done_by, why)
        values (the_sink, case when is_paused then 'pause' else 'resume' end, who, because);
    end if;
    return exists (select from outbox.sinks where sink = the_sink);
end
$$;

-- Decides about what was refused: of one order, or of all orders of the sink that wait for a person.
-- How many messages were decided about. Whoever reads the shard carries it out. What is decided
-- already stays so.
create function outbox.decide(
    the_sink text, the_order text, the_decision text, who text, because text
) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    decided bigint;
begin
    with decided_now as (
        update outbox.parked set
            decision = the_decision, decided_by = who, decided_at = now(),
            tries = 0, strikes = 0, retry_at = null
        where sink = the_sink and (the_order is null or aggregateid = the_order)
            and refused is not null and decision is null
        returning aggregateid, sequence
    )
    insert into outbox.interventions (sink, action, aggregateid, sequence, done_by, why)
    select the_sink, the_decision, aggregateid, sequence, who, because from decided_now;
    get diagnostics decided = row_count;
    return decided;
end
$$;

-- Has a sink hear everything again that the outbox still keeps, from the first message on: for a
-- receiver that has lost what it had acknowledged. How many messages that is, at most 10,000 being
-- counted; null if there is no such sink. What was parked comes in its turn.
--
-- Every lease gets a new number, so whatever is being delivered meanwhile is put on record in vain, and
-- whoever has the shard goes on with the first message.
create function outbox.replay_all(the_sink text, who text, because text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    kept bigint;
begin
    -- Nobody puts a batch on record meanwhile.
    lock table outbox.progress in exclusive mode;
    if not exists (select from outbox.sinks where sink = the_sink) then
        return null;
    end if;
    update outbox.progress
    set seen = '3:3:', reading = null, after_position = 0, lease = lease + 1
    where sink = the_sink;
    delete from outbox.parked where sink = the_sink;
    insert into outbox.interventions (sink, action, done_by, why)
    values (the_sink, 'replay-all', who, because);
    select count(*) into kept from (select from outbox.messages limit 10000) as counted;
    return kept;
end
$$;

-- Forgets a sink that no process reads: `removed`, `read` if one does, `unknown` if there is none; and
-- `endpoint` if it is a webhook endpoint's, which goes with its endpoint. A relay that starts later
-- would else register it anew, and skip what has waited for it.
create function outbox.remove(the_sink text, who text, because text) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Who comes to read it takes this row's lock, too.
    perform from outbox.sinks where sink = the_sink for update;
    if not found then
        return 'unknown';
    end if;
    -- There are endpoints from the next migration on.
    if the_sink like 'webhook:%' then
        if exists (select from webhooks.endpoints where 'webhook:' || endpoint_id = the_sink) then
            return 'endpoint';
        end if;
    end if;
    if exists (select from outbox.readers where sink = the_sink and here_until > now()) then
        return 'read';
    end if;
    delete from outbox.sinks where sink = the_sink;
    insert into outbox.interventions (sink, action, done_by, why)
    values (the_sink, 'remove', who, because);
    return 'removed';
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------------------------------

-- Removes messages that all sinks had before the retention began, at most so many, and marks how far
-- they are now. A message that is parked stays, and what a sink has not had. Without sinks, what
-- another program has marked as published is removed. An order's messages go from the first on.
create function outbox.sweep(kept_for interval, at_most integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    have_had xid8;
    due_before xid8;
    removed bigint;
begin
    if not exists (select from outbox.sinks) then
        with due as (
            select position from outbox.messages where published_at < now() - kept_for
            order by published_at limit at_most for update skip locked
        )
        delete from outbox.messages using due where messages.position = due.position;
        get diagnostics removed = row_count;
        return removed;
    end if;
    have_had := outbox.had_before();
    if have_had is null then
        return 0;
    end if;
    insert into outbox.marks (had_before)
    select have_had
    where have_had > coalesce((select max(had_before) from outbox.marks), '0')
    on conflict do nothing;
    -- Nothing is due while no mark is that old: `least` alone would pass over the missing one.
    select least(max(had_before), have_had) into due_before
    from outbox.marks where marked_at <= now() - kept_for having count(*) > 0;
    -- The newest of them says all that the others did.
    delete from outbox.marks
    where marked_at < (select max(marked_at) from outbox.marks where marked_at <= now() - kept_for);
    with due as (
        select position from outbox.messages as message
        where shard between 0 and 7 and written_by < due_before
            and not exists (select from outbox.parked where parked.position = message.position)
            and not exists (
                select from outbox.messages as earlier
                where earlier.aggregateid = message.aggregateid
                    and earlier.sequence < message.sequence and earlier.written_by >= due_before
                    and earlier.published_at is null
            )
        order by position limit at_most for update skip locked
    )
    delete from outbox.messages using due where messages.position = due.position;
    get diagnostics removed = row_count;
    return removed;
end
$$;

-- As before, but for messages, which go once all sinks have had them.
create or replace function operations.sweep(
    outbox_for interval, idempotency_for interval, at_most integer
) returns table (what text, removed bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    networks bigint;
begin
    what := 'published messages';
    removed := outbox.sweep(outbox_for, at_most);
    return next;

    what := 'idempotency records';
    with due as (
        select step_keys.order_id, step, step_keys.version
        from orders.orders join orders.step_keys using (order_id)
        where orders.is_terminal(status) and updated_at < now() - idempotency_for
        limit at_most for update of step_keys skip locked
    )
    delete from orders.step_keys using due
    where (step_keys.order_id, step_keys.step, step_keys.version)
        = (due.order_id, due.step, due.version);
    get diagnostics removed = row_count;
    return next;

    what := 'launch rows of orders that have ended';
    with due as (
        select order_id from orders.launches join orders.orders using (order_id)
        where orders.is_terminal(status)
        limit at_most for update of launches skip locked
    )
    delete from orders.launches using due where launches.order_id = due.order_id;
    get diagnostics removed = row_count;
    return next;

    what := 'what orders were counted by';
    with due as (
        select origins.order_id from fraud.origins where recorded_at < now() - idempotency_for
        order by recorded_at limit at_most for update skip locked
    )
    delete from fraud.origins using due where origins.order_id = due.order_id;
    get diagnostics networks = row_count;
    with due as (
        select counted.order_id, counted.version, counted.kind from fraud.counted
        where counted_at < now() - idempotency_for
        order by counted_at limit at_most for update skip locked
    )
    delete from fraud.counted using due
    where (counted.order_id, counted.version, counted.kind)
        = (due.order_id, due.version, due.kind);
    get diagnostics removed = row_count;
    removed := removed + networks;
    return next;
end
$$;

revoke execute on function
    outbox.is_restored, outbox.rebase, outbox.had_before, outbox.read, outbox.take_shards,
    outbox.standings, outbox.pause, outbox.decide, outbox.replay_all, outbox.remove, outbox.sweep
    from public;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

-- The relay has a role of its own: it reads what is told to others, and writes how far each of them
-- is. Migrations after this one grant it what their sinks need.
do $$
begin
    begin
        if to_regrole('ordersaga_relay') is null then
            create role ordersaga_relay nologin;
        end if;
    exception
        -- Another database's migration was faster; roles belong to all of them.
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
            raise notice 'the migrating role cannot create roles; run the relay as the owner, or create ordersaga_relay and grant what 0080 grants';
    end;
    if to_regrole('ordersaga_relay') is null then
        return;
    end if;
    execute format('grant connect on database %I to ordersaga_relay', current_database());
    grant usage on schema outbox, operations to ordersaga_relay;
    -- Which migrations were applied, and which programs they exclude.
    grant select on _sqlx_migrations to ordersaga_relay;
    grant select on outbox.messages, outbox.sinks, outbox.progress, outbox.parked, outbox.readers
        to ordersaga_relay;
    grant insert (sink) on outbox.sinks to ordersaga_relay;
    grant insert (sink, shard, seen) on outbox.progress to ordersaga_relay;
    grant update (
        seen, reading, after_position, leased_by, leased_until, lease, delivered, not_wanted,
        parked, progressed_at, failing_since, failure
    ) on outbox.progress to ordersaga_relay;
    grant insert, update, delete on outbox.readers to ordersaga_relay;
    grant insert (
        sink, position, aggregateid, sequence, refused, tries, strikes, tried_at, retry_at, failure
    ) on outbox.parked to ordersaga_relay;
    grant update (
        refused, tries, strikes, tried_at, retry_at, failure, decision, decided_by, decided_at
    ) on outbox.parked to ordersaga_relay;
    grant delete on outbox.parked to ordersaga_relay;
    grant execute on function outbox.is_restored, outbox.read, outbox.take_shards to ordersaga_relay;
end
$$;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        -- To prove and to count.
        grant select on
            outbox.sinks, outbox.progress, outbox.parked, outbox.readers, outbox.interventions,
            outbox.marks
            to ordersaga_worker;
        grant execute on function outbox.is_restored, outbox.standings to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        -- What messages say is not its to read; how they get on is.
        grant usage on schema outbox to ordersaga_starter;
        grant select on outbox.sinks, outbox.parked to ordersaga_starter;
        grant execute on function
            outbox.is_restored, outbox.standings, outbox.pause, outbox.decide,
            outbox.replay_all, outbox.remove
            to ordersaga_starter;
    end if;
end
$$;
