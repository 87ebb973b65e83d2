-- Whom the shop tells of events by HTTP: webhook endpoints, their secrets, and what came of each
-- attempt to deliver.
--
-- Each endpoint is a sink of the outbox, `webhook:` and its id, so its progress, its parked orders
-- and its pauses are where those of every sink are. It begins with what is written from its creation
-- on, or with all that the outbox still holds.
--
-- An endpoint that is disabled is a sink that is paused: its messages wait, and nothing is lost until
-- somebody enables it again or removes it. A pause that an operator has made stays theirs.
--
-- The starter creates endpoints and their secrets, and can read no secret back; only the relay,
-- which signs by them, can.
set local lock_timeout = '3s';

create schema webhooks;

create table webhooks.endpoints (
    endpoint_id uuid primary key,
    url text not null constraint endpoints_url_bounded check (char_length(url) between 1 and 2048),
    description text constraint endpoints_description_bounded
        check (char_length(description) between 1 and 200),
    -- The events that it hears of, by their short names, such as `order.placed`; all, if none is named.
    events text[] not null default '{}',
    -- Tells a repeat of the request that created it from another one under the same key.
    fingerprint text not null,
    created_at timestamptz not null default now(),
    created_by text not null,
    disabled_at timestamptz,
    -- `by-operator`; `gone`: it answered 410; `failing`: it has taken nothing for days.
    disabled_because text constraint endpoints_disabled_because_known
        check (disabled_because in ('by-operator', 'gone', 'failing')),
    -- Who, as the token named them; the relay has no name.
    disabled_by text,
    -- Since when it has taken nothing although it was asked to again and again, when that was last,
    -- and what the last attempt ended with. Attempts that only try it out do not count.
    failing_since timestamptz,
    last_failed_at timestamptz,
    last_failure text,
    constraint endpoints_disabled_for_a_reason
        check ((disabled_at is null) = (disabled_because is null)),
    constraint endpoints_disabled_by_somebody
        check ((disabled_by is not null) = (coalesce(disabled_because, '') = 'by-operator')),
    constraint endpoints_failing_and_last_failed
        check ((failing_since is null) = (last_failed_at is null))
);

comment on table webhooks.endpoints is
    'Whom the shop tells of events by HTTP. Each is the sink `webhook:` and its id.';

create table webhooks.secrets (
    secret_id bigint generated always as identity primary key,
    endpoint_id uuid not null references webhooks.endpoints on delete cascade,
    -- What messages are signed by: the bytes that `whsec_` and their Base64 stand for.
    key bytea not null constraint secrets_key_bounded check (octet_length(key) between 24 and 64),
    created_at timestamptz not null default now(),
    created_by text not null,
    -- Until when a secret counts that a newer one has replaced.
    expires_at timestamptz
);

create index secrets_by_endpoint on webhooks.secrets (endpoint_id, secret_id);

create unique index secrets_one_is_current on webhooks.secrets (endpoint_id)
    where expires_at is null;

comment on table webhooks.secrets is
    'By what messages to an endpoint are signed: its secret, and the one before while that counts.';

-- What became of each attempt. Nothing of what an endpoint answered is kept but its status.
create table webhooks.deliveries (
    delivery_id bigint generated always as identity primary key,
    endpoint_id uuid not null references webhooks.endpoints on delete cascade,
    message_id text not null,
    type text not null,
    -- Counts the attempts at this message that are on record, from 1.
    attempt integer not null,
    attempted_at timestamptz not null,
    duration_ms integer not null,
    -- The HTTP status, if there was an answer.
    status smallint,
    outcome text not null constraint deliveries_outcome_known
        check (outcome in ('delivered', 'refused', 'unavailable', 'gone')),
    -- Why, if it was not delivered.
    failure text
);

create index deliveries_by_endpoint on webhooks.deliveries (endpoint_id, delivery_id desc);
create index deliveries_by_message on webhooks.deliveries (endpoint_id, message_id);
create index deliveries_by_age on webhooks.deliveries (attempted_at);

comment on table webhooks.deliveries is
    'What became of each attempt to deliver a message to an endpoint; swept after some weeks.';

-- What operators have asked to be sent besides: messages that the endpoint has had, once more, and
-- messages that only try it out.
create table webhooks.sends (
    send_id bigint generated always as identity primary key,
    endpoint_id uuid not null references webhooks.endpoints on delete cascade,
    -- Which message; none for one that tries the endpoint out. One that the outbox no longer holds is
    -- not sent.
    position bigint,
    requested_at timestamptz not null default now(),
    requested_by text not null,
    attempts integer not null default 0,
    next_try_at timestamptz not null default now(),
    -- While a relay sends it, until when others leave it to that one, with all that its endpoint is to
    -- be sent besides: an endpoint is sent a few of these at a time.
    held_until timestamptz,
    constraint sends_each_message_once unique (endpoint_id, position)
);

create index sends_due on webhooks.sends (next_try_at);

comment on table webhooks.sends is
    'Messages that an endpoint is sent because an operator has asked for it; the row goes with it.';

-- A range of messages is named by time. Rows come in nearly that order.
create index messages_by_time on outbox.messages using brin (created_at);

-- The short name that filters go by: `order.placed` for `ordersaga.order.placed.v1`.
create function webhooks.short_name(type text) returns text
language sql immutable parallel safe
return substring(type from '^ordersaga\.(.+)\.v[0-9]+$');

-- Creates an endpoint with its secret and its sink. Answers:
--
-- 'created': done;
-- 'repeated': it was created before, by the same request;
-- 'other-request': another request has created the endpoint of this id;
-- 'too-many': there are as many as there may be.
create function webhooks.create_endpoint(
    the_endpoint uuid, the_url text, the_description text, the_events text[], the_key bytea,
    is_from_beginning boolean, the_fingerprint text, the_operator text, at_most integer
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    the_sink constant text := 'webhook:' || the_endpoint;
    known text;
begin
    -- One after the other, so that they are counted.
    perform pg_advisory_xact_lock(hashtextextended('webhooks.endpoints', 0));
    select endpoints.fingerprint into known
    from webhooks.endpoints where endpoints.endpoint_id = the_endpoint;
    if found then
        return case when known = the_fingerprint then 'repeated' else 'other-request' end;
    end if;
    if (select count(*) from webhooks.endpoints) >= at_most then
        return 'too-many';
    end if;
    insert into webhooks.endpoints (
        endpoint_id, url, description, events, fingerprint, created_by
    ) values (
        the_endpoint, the_url, the_description, the_events, the_fingerprint, the_operator
    );
    insert into webhooks.secrets (endpoint_id, key, created_by)
    values (the_endpoint, the_key, the_operator);
    insert into outbox.sinks (sink) values (the_sink);
    insert into outbox.progress (sink, shard, seen)
    select the_sink, shard,
        case when is_from_beginning then '3:3:'::pg_snapshot else pg_current_snapshot() end
    from generate_series(0, 7) as shard;
    return 'created';
end
$$;

-- Disables an endpoint that is not: its messages wait. Whether it did.
create function webhooks.disable(
    the_endpoint uuid, the_reason text, the_operator text, what_happened text
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update webhooks.endpoints as endpoint
    set disabled_at = now(), disabled_because = the_reason, disabled_by = the_operator,
        last_failure = coalesce(what_happened, endpoint.last_failure)
    where endpoint.endpoint_id = the_endpoint and endpoint.disabled_at is null;
    if not found then
        return false;
    end if;
    perform outbox.pause(
        'webhook:' || the_endpoint, true, coalesce(the_operator, 'ordersaga'),
        'its endpoint is disabled'
    );
    return true;
end
$$;

-- Changes what is not null; whether there is such an endpoint. One that gets another address, or is
-- enabled, begins anew: what it has failed at before does not count.
create function webhooks.change_endpoint(
    the_endpoint uuid, the_url text, the_description text, the_events text[],
    to_be_enabled boolean, the_operator text
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    begins_anew constant boolean := the_url is not null or coalesce(to_be_enabled, false);
begin
    update webhooks.endpoints as endpoint
    set url = coalesce(the_url, endpoint.url),
        description = coalesce(the_description, endpoint.description),
        events = coalesce(the_events, endpoint.events),
        failing_since = case when begins_anew then null else endpoint.failing_since end,
        last_failed_at = case when begins_anew then null else endpoint.last_failed_at end,
        last_failure = case when begins_anew then null else endpoint.last_failure end
    where endpoint.endpoint_id = the_endpoint;
    if not found then
        return false;
    end if;
    if to_be_enabled then
        update webhooks.endpoints as endpoint
        set disabled_at = null, disabled_because = null, disabled_by = null
        where endpoint.endpoint_id = the_endpoint;
        if exists (
            select from outbox.sinks as known
            where known.sink = 'webhook:' || the_endpoint
                and known.paused_why = 'its endpoint is disabled'
        ) then
            perform outbox.pause(
                'webhook:' || the_endpoint, false, the_operator, 'its endpoint is enabled'
            );
        end if;
    elsif not to_be_enabled then
        perform webhooks.disable(the_endpoint, 'by-operator', the_operator, null);
    end if;
    return true;
end
$$;

-- Removes an endpoint, its secrets, its log, and its sink with what is parked there; whether there
-- was one.
create function webhooks.remove_endpoint(the_endpoint uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from webhooks.endpoints as endpoint where endpoint.endpoint_id = the_endpoint;
    if not found then
        return false;
    end if;
    delete from outbox.sinks as known where known.sink = 'webhook:' || the_endpoint;
    return true;
end
$$;

-- Gives an endpoint a new secret; whether there is such an endpoint. The oldest that still counts is
-- the one that the receiver has for certain, and counts for so long from now. One in between goes:
-- its rotation was repeated, or is overtaken.
create function webhooks.rotate_secret(
    the_endpoint uuid, the_key bytea, overlap_seconds integer, the_operator text
) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    kept bigint;
begin
    perform from webhooks.endpoints as endpoint
    where endpoint.endpoint_id = the_endpoint for update;
    if not found then
        return false;
    end if;
    if overlap_seconds > 0 then
        select min(secret.secret_id) into kept from webhooks.secrets as secret
        where secret.endpoint_id = the_endpoint
            and (secret.expires_at is null or secret.expires_at > now());
    end if;
    delete from webhooks.secrets as secret
    where secret.endpoint_id = the_endpoint and secret.secret_id is distinct from kept;
    update webhooks.secrets as secret
    set expires_at = now() + make_interval(secs => overlap_seconds)
    where secret.secret_id = kept;
    insert into webhooks.secrets (endpoint_id, key, created_by)
    values (the_endpoint, the_key, the_operator);
    return true;
end
$$;

-- Has messages sent once more that the endpoint has had: those of these conditions, each of which may
-- be null. How many; -1, if they are more than so many, and then none. What it has still to be sent
-- for the first time is left to its turn, and so is what is parked.
create function webhooks.redeliver(
    the_endpoint uuid, the_message text, the_order text, the_since timestamptz,
    the_before timestamptz, the_operator text, at_most integer
) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    wanted bigint[];
    asked integer;
begin
    select array_agg(found_there.position order by found_there.position) into wanted
    from (
        select message.position
        from outbox.messages as message
        join webhooks.endpoints as endpoint on endpoint.endpoint_id = the_endpoint
        join outbox.progress as progress
            on progress.sink = 'webhook:' || the_endpoint and progress.shard = message.shard
        where (the_order is null or message.aggregateid = the_order)
            and (the_message is null or message.id = the_message
                and message.aggregateid = split_part(the_message, ':', 1))
            and (the_since is null or message.created_at >= the_since)
            and (the_before is null or message.created_at < the_before)
            and (endpoint.events = '{}' or webhooks.short_name(message.type) = any(endpoint.events))
            and (pg_visible_in_snapshot(message.written_by, progress.seen)
                or progress.reading is not null
                    and pg_visible_in_snapshot(message.written_by, progress.reading)
                    and message.position <= progress.after_position)
            and not exists (
                select from outbox.parked
                where parked.sink = progress.sink and parked.aggregateid = message.aggregateid
                    and parked.sequence = message.sequence
            )
        order by message.position
        limit at_most + 1
    ) as found_there;
    asked := coalesce(cardinality(wanted), 0);
    if asked > at_most then
        return -1;
    end if;
    insert into webhooks.sends as send (endpoint_id, position, requested_by)
    select the_endpoint, place, the_operator from unnest(wanted) as place
    on conflict (endpoint_id, position) do update set next_try_at = now();
    return asked;
end
$$;

-- Has an endpoint tried out; the number by which the message is known.
create function webhooks.try_out(the_endpoint uuid, the_operator text) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into webhooks.sends (endpoint_id, requested_by)
    values (the_endpoint, the_operator)
    returning send_id
$$;

-- Removes what is on record of attempts that were made so long ago, how many; and sinks of endpoints
-- that are not there any more.
create function webhooks.sweep(kept_days integer, at_most integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    removed bigint;
begin
    with due as (
        select delivery_id from webhooks.deliveries
        where attempted_at < now() - make_interval(days => kept_days)
        order by attempted_at limit at_most for update skip locked
    )
    delete from webhooks.deliveries using due where deliveries.delivery_id = due.delivery_id;
    get diagnostics removed = row_count;
    -- A relay that had seen an endpoint just before it was removed may have registered its sink anew,
    -- which would keep messages for nobody.
    delete from outbox.sinks as known
    where known.sink like 'webhook:%' and not exists (
        select from webhooks.endpoints as endpoint
        where known.sink = 'webhook:' || endpoint.endpoint_id
    );
    return removed;
end
$$;

revoke execute on function
    webhooks.create_endpoint, webhooks.disable, webhooks.change_endpoint, webhooks.remove_endpoint,
    webhooks.rotate_secret, webhooks.redeliver, webhooks.try_out, webhooks.sweep
    from public;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

do $$
begin
    if to_regrole('ordersaga_starter') is not null then
        grant usage on schema webhooks to ordersaga_starter;
        grant select on webhooks.endpoints, webhooks.deliveries to ordersaga_starter;
        -- When a secret was made and until when it counts, and not the secret.
        grant select (secret_id, endpoint_id, created_at, created_by, expires_at)
            on webhooks.secrets to ordersaga_starter;
        grant execute on function
            webhooks.create_endpoint, webhooks.change_endpoint, webhooks.remove_endpoint,
            webhooks.rotate_secret, webhooks.redeliver, webhooks.try_out
            to ordersaga_starter;
    end if;
    if to_regrole('ordersaga_relay') is not null then
        grant usage on schema webhooks, outbox to ordersaga_relay;
        grant select on outbox.messages to ordersaga_relay;
        grant select on webhooks.endpoints, webhooks.secrets to ordersaga_relay;
        -- How an endpoint does; where it is and what it hears of is for operators to say.
        grant update (failing_since, last_failed_at, last_failure) on webhooks.endpoints to ordersaga_relay;
        grant select, insert on webhooks.deliveries to ordersaga_relay;
        grant select, delete, update (attempts, next_try_at, held_until) on webhooks.sends to ordersaga_relay;
        grant execute on function webhooks.disable, webhooks.sweep to ordersaga_relay;
    end if;
end
$$;
