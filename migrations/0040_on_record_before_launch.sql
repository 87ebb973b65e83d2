-- An order is on record before it is launched, and its saga refers to what is on record.
--
-- Placing an order is one statement: `orders.place`, a function of the owner's for which alone the
-- starter has the right. It writes the order, its first event, its message, its payment method and
-- a launch row, which says that the order's workflow has to be started. So an accepted order is
-- never in Temporal alone, and can be read, listed and cancelled while Temporal is away.
--
-- A step of the saga is called with a reference and finds its idempotency record by key alone:
-- what it needs is read from the order on record, which never changes.
--
-- Where an order stands are three questions with a column each: `status`, `payment_status` and
-- `fulfilment_status`. Only here and in `domain::OrderState` is it said what an event makes of
-- them, and which statuses are terminal; a test holds the two together.
do $$
begin
    if exists (select from orders.orders) then
        raise exception 'this database holds orders of a version before the first release, which this version cannot carry on'
            using hint = 'start with an empty database (for `make up`: `make clean`)';
    end if;
end
$$;

drop function orders.rebuild_projection, orders.record_outcome, orders.record, orders.project;
drop function orders.may_become;

-- ---------------------------------------------------------------------------------------------
-- The order on record
-- ---------------------------------------------------------------------------------------------

alter table orders.orders drop column status;
alter table orders.orders drop column generation;
alter table orders.orders rename column request_hash to fingerprint;
alter table orders.orders
    add column record_version integer not null default 1,
    add column status text not null generated always as (status_data ->> 'status') stored,
    add column payment_status text not null default 'none'
        constraint orders_payment_status_known check (payment_status in (
            'none', 'awaiting-customer', 'authorised', 'paid', 'partially-refunded', 'refunded',
            'voided', 'declined', 'disputed'
        )),
    add column fulfilment_status text not null default 'none'
        constraint orders_fulfilment_status_known check (fulfilment_status in (
            'none', 'reserved', 'shipped', 'delivered', 'partially-returned', 'returned', 'lost',
            'cancelled'
        )),
    -- While the order is unwound: how it will end, such as {"status":"cancelled","reason":"…"}.
    add column ending jsonb,
    -- What waits for a person's decision, as the API shows it.
    add column attention jsonb,
    -- How often the order has needed a person.
    add column attentions integer not null default 0,
    add constraint orders_status_known check (status in (
        'processing', 'completed', 'cancelled', 'rejected', 'failed'
    ));

comment on column orders.orders.fingerprint is
    'Tells a repeat of the request from another order under the same key; see domain::Fingerprint.';
comment on column orders.orders.status_data is
    'The whole status with what belongs to it, such as {"status":"rejected","rejection":{…}}.';

-- Who has waited longest for a person comes first.
create index orders_needing_attention on orders.orders ((attention ->> 'since'), order_id)
    where attention is not null;

-- What is still being worked on is found without reading what has ended.
create index orders_open on orders.orders (placed_at, order_id)
    where status_data ->> 'status' = 'processing';

-- The one list of terminal statuses in the database; `OrderStatus::is_terminal` is its twin.
create function orders.is_terminal(status text) returns boolean
language sql immutable parallel safe
return status in ('completed', 'cancelled', 'rejected', 'failed');

-- Whether nothing will happen to an order by itself; `OrderState::is_at_rest` is its twin.
create function orders.is_at_rest(status text, attention jsonb) returns boolean
language sql immutable parallel safe
return orders.is_terminal(status) or attention is not null;

-- ---------------------------------------------------------------------------------------------
-- The idempotency records of the saga's steps and notes
-- ---------------------------------------------------------------------------------------------

alter table orders.step_keys drop column argument_hash;
alter table orders.step_keys rename column generation to version;
-- Which workflow run completed the order. A run whose last workflow task was lost may find a
-- cancel before it, and must be able to take its own completion back; no other run may.
alter table orders.step_keys add column run_id text;

-- Takes a step or a note under its key, with what will be answered; answers nothing if the key is
-- taken. PostgreSQL makes a second one under the same key wait for the first one's commit.
create function orders.take_step(
    the_order uuid, the_step text, the_version integer, the_outcome jsonb
) returns jsonb language sql as $$
    insert into orders.step_keys (order_id, step, version, outcome)
    values (the_order, the_step, the_version, the_outcome)
    on conflict do nothing
    returning outcome
$$;

comment on table orders.step_keys is
    'Idempotency records: a step of the saga by its name, or a note by what it notes.';
comment on column orders.step_keys.version is 'The version of the order''s record, 1 for notes.';

-- ---------------------------------------------------------------------------------------------
-- What waits to be launched
-- ---------------------------------------------------------------------------------------------

create table orders.launches (
    order_id uuid primary key,
    -- The oldest is launched first.
    placed_at timestamptz not null,
    -- Set anew for an order whose workflow is lost: a closed workflow may have its id.
    is_recovery boolean not null default false,
    -- Until then some launcher is at it, or it is not to be tried again.
    not_before timestamptz not null default now(),
    attempts integer not null default 0,
    -- What went wrong, if the order could not be launched for a reason of its own.
    last_error text
);

create index launches_by_age on orders.launches (placed_at, order_id);

comment on table orders.launches is
    'Orders on record whose workflow has to be started. The row goes once the workflow exists.';

-- ---------------------------------------------------------------------------------------------
-- How the customer pays, for the worker alone
-- ---------------------------------------------------------------------------------------------

create table payments.methods (
    order_id uuid primary key,
    -- The provider's token; never a card number.
    method text not null,
    created_at timestamptz not null default now()
);

comment on table payments.methods is
    'The provider''s reference to the payment method of an order, from which its charge can be made again.';

-- ---------------------------------------------------------------------------------------------
-- The outbox, in the column names that Debezium's outbox event router expects
-- ---------------------------------------------------------------------------------------------

drop table outbox.messages;

create table outbox.messages (
    -- Counts the writes. NOT the order of commits: a reader that remembers the last position it
    -- saw skips what commits late. Read what is not published (the partial index) instead.
    position bigint generated always as identity primary key,
    -- The CloudEvents id, by which a consumer recognises a message that it is sent twice.
    id text not null generated always as (aggregateid || ':' || sequence) stored,
    aggregatetype text not null,
    aggregateid text not null,
    -- The event's number within its aggregate, from 1 without a gap.
    sequence integer not null,
    -- The CloudEvents type, such as ordersaga.order.placed.v1.
    type text not null,
    payload jsonb not null,
    created_at timestamptz not null default now(),
    -- When every sink had it. Null: a relay still has to take it.
    published_at timestamptz
);

create index messages_unpublished on outbox.messages (aggregateid, sequence)
    where published_at is null;
create index messages_by_publication on outbox.messages (published_at)
    where published_at is not null;

-- ---------------------------------------------------------------------------------------------
-- Events, and what they make of an order
-- ---------------------------------------------------------------------------------------------

alter table orders.order_events add column version smallint not null default 1;

-- A time as JSON has it everywhere, whatever the session's time zone: it sorts as text.
create function orders.in_utc(moment timestamptz) returns text
language sql immutable parallel safe
return to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- The transitions of `PaymentStatus::transition_to`.
create function orders.payment_may_become(status text, next text) returns boolean
language sql immutable parallel safe
return case status
    when 'none' then next in ('awaiting-customer', 'authorised', 'paid', 'declined', 'voided', 'refunded')
    when 'awaiting-customer' then next in ('authorised', 'paid', 'declined', 'voided')
    when 'authorised' then next in ('paid', 'voided', 'declined', 'refunded')
    when 'paid' then next in ('partially-refunded', 'refunded', 'disputed')
    when 'partially-refunded' then next in ('refunded', 'disputed')
    when 'disputed' then next in ('paid', 'refunded')
    when 'declined' then next in ('awaiting-customer', 'authorised', 'paid', 'voided')
    else false
end;

-- The transitions of `FulfilmentStatus::transition_to`.
create function orders.fulfilment_may_become(status text, next text) returns boolean
language sql immutable parallel safe
return case status
    when 'none' then next in ('reserved', 'cancelled')
    when 'reserved' then next in ('shipped', 'cancelled')
    when 'shipped' then next in ('reserved', 'delivered', 'partially-returned', 'returned', 'lost', 'cancelled')
    when 'delivered' then next in ('partially-returned', 'returned')
    when 'partially-returned' then next in ('returned')
    when 'lost' then next in ('delivered', 'returned')
    when 'cancelled' then next in ('shipped')
    else false
end;

-- What `OrderEvent::payment_status` says of an event.
create function orders.payment_after(status text, event_type text) returns text
language sql immutable parallel safe
return (
    select case when orders.payment_may_become(status, next) then next else status end
    from (values (case event_type
        when 'payment.captured' then 'paid'
        when 'payment.declined' then 'declined'
        when 'payment.voided' then 'voided'
        when 'payment.refunded' then 'refunded'
    end)) as event (next)
);

-- What `OrderEvent::fulfilment_status` says of an event.
create function orders.fulfilment_after(status text, event_type text) returns text
language sql immutable parallel safe
return (
    select case when orders.fulfilment_may_become(status, next) then next else status end
    from (values (case event_type
        when 'stock.reserved' then 'reserved'
        when 'shipment.cancelled' then 'reserved'
        when 'stock.released' then 'cancelled'
        when 'stock.reservation-expired' then 'cancelled'
        when 'order.shipped' then 'shipped'
    end)) as event (next)
);

-- What `OrderEvent::terminal_status` says of an event: the status as `status_data` keeps it.
create function orders.terminal_status(event_type text, event jsonb) returns jsonb
language sql immutable parallel safe
return case event_type
    when 'order.completed' then '{"status":"completed"}'::jsonb
    when 'order.cancelled' then jsonb_build_object('status', 'cancelled', 'reason', event -> 'reason')
    when 'order.rejected'
    then jsonb_build_object('status', 'rejected', 'rejection', event -> 'rejection')
    when 'order.failed' then jsonb_build_object('status', 'failed', 'incident', event -> 'incident')
end;

-- Takes one event into the order's row and returns its number within the order. The same as
-- `OrderState::apply`.
create function orders.project(
    the_order uuid, event_type text, event jsonb, happened_at timestamptz
) returns integer language plpgsql as $$
declare
    the_number integer;
    ended constant jsonb := orders.terminal_status(event_type, event);
begin
    update orders.orders as known
    set payment_status = orders.payment_after(known.payment_status, event_type),
        fulfilment_status = orders.fulfilment_after(known.fulfilment_status, event_type),
        tracking = case when event_type = 'order.shipped' then event ->> 'tracking' else known.tracking end,
        status_data = case
            -- A completion that its own run takes back; `orders.note_unwinding` decides.
            when event_type = 'order.unwinding' and known.status = 'completed'
            then '{"status":"processing"}'::jsonb
            when orders.is_terminal(known.status) then known.status_data
            else coalesce(ended, known.status_data)
        end,
        ending = case
            when event_type = 'order.unwinding' and known.status in ('processing', 'completed')
            then event -> 'ending'
            when orders.is_terminal(known.status) or ended is not null then null
            -- The parcel has left for good: there is nothing to undo any more.
            when event_type = 'order.attention-resolved' and event ->> 'decision' = 'accept-as-done'
            then null
            else known.ending
        end,
        attention = case
            when orders.is_terminal(known.status) or ended is not null then null
            when event_type = 'order.attention-needed'
            then event || jsonb_build_object('since', orders.in_utc(happened_at))
            when event_type = 'order.attention-resolved' then null
            else known.attention
        end,
        attentions = case when event_type = 'order.attention-needed'
            then known.attentions + 1 else known.attentions end,
        version = known.version + 1,
        updated_at = happened_at
    where known.order_id = the_order
    returning version into the_number;
    if the_number is null then
        raise exception 'order % is not on record, and % speaks of it', the_order, event_type;
    end if;
    return the_number;
end
$$;

-- Puts the order's row down as its placing tells it; whether it is new.
create function orders.project_placed(
    the_order uuid, event jsonb, the_fingerprint text, happened_at timestamptz
) returns boolean language plpgsql as $$
begin
    insert into orders.orders (
        order_id, customer_id, placed_at, record_version, fingerprint, currency,
        subtotal, discount, shipping, tax, total, cost_of_goods,
        discount_code, country, address_id, lines, terms, status_data, version, updated_at
    ) values (
        the_order,
        event ->> 'customer_id',
        (event ->> 'placed_at')::timestamptz,
        (event ->> 'record_version')::integer,
        the_fingerprint,
        event #>> '{totals,total,currency}',
        (event #>> '{totals,subtotal,amount}')::numeric,
        (event #>> '{totals,discount,amount}')::numeric,
        (event #>> '{totals,shipping,amount}')::numeric,
        (event #>> '{totals,tax,amount}')::numeric,
        (event #>> '{totals,total,amount}')::numeric,
        (event #>> '{cost_of_goods,amount}')::numeric,
        event ->> 'discount_code',
        event #>> '{ship_to,country}',
        (event #>> '{ship_to,address_id}')::uuid,
        event -> 'lines',
        event -> 'terms',
        '{"status":"processing"}',
        1,
        happened_at
    )
    on conflict (order_id) do nothing;
    return found;
end
$$;

-- Keeps an event, and the message that tells of it.
create function orders.append(
    the_order uuid, the_number integer, event_type text, event jsonb, happened_at timestamptz
) returns void language sql as $$
    insert into orders.order_events (order_id, sequence, type, data, occurred_at)
    values (the_order, the_number, event_type, event, happened_at);
    insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload)
    values ('order', the_order::text, the_number, 'ordersaga.' || event_type || '.v1', event);
$$;

-- Records what happened to an order: its event, the message that tells of it, and what it makes
-- of the order, in the caller's transaction. The order's row lock numbers its events, and the
-- time is read under that lock, so that times follow the numbers.
create function orders.record(the_order uuid, event_type text, event jsonb) returns integer
language plpgsql as $$
declare
    happened_at timestamptz;
    the_number integer;
begin
    perform from orders.orders where order_id = the_order for no key update;
    happened_at := clock_timestamp();
    the_number := orders.project(the_order, event_type, event, happened_at);
    perform orders.append(the_order, the_number, event_type, event, happened_at);
    return the_number;
end
$$;

-- Records a step's outcome, as its idempotency record keeps it: the event of the step done, or of
-- the step refused, which tells why.
create function orders.record_outcome(
    the_order uuid, outcome jsonb, event_done text, event jsonb, event_refused text
) returns integer language sql as $$
    select case
        when outcome ? 'done' then orders.record(the_order, event_done, event)
        else orders.record(
            the_order, event_refused, jsonb_build_object('rejection', outcome -> 'refused')
        )
    end
$$;

-- Tells the order's row anew from its events alone. Takes rights that the programs do not have: it
-- is for whoever doubts the projection, or has changed what it shows. The fingerprint is not
-- part of any event, so it is carried over.
create function orders.rebuild_projection(the_order uuid) returns void language plpgsql as $$
declare
    told record;
    kept_fingerprint text;
begin
    -- Waits for whoever is just recording, so that no event is missed.
    select fingerprint into kept_fingerprint
    from orders.orders where order_id = the_order for update;
    delete from orders.orders where order_id = the_order;
    for told in
        select type, data, occurred_at from orders.order_events
        where order_id = the_order order by sequence
    loop
        if told.type = 'order.placed' then
            perform orders.project_placed(the_order, told.data, kept_fingerprint, told.occurred_at);
        else
            perform orders.project(the_order, told.type, told.data, told.occurred_at);
        end if;
    end loop;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- What the starter may do to an order: place it, and cancel it before its launch
-- ---------------------------------------------------------------------------------------------

-- Puts an order on record, once; answers whether this call did, and the fingerprint that is on
-- record. An address is kept beside it; the same address of the same customer is one row.
create function orders.place(
    the_order uuid, the_fingerprint text, event jsonb, the_method text, address jsonb,
    launch_after interval
) returns table (is_new boolean, recorded_fingerprint text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    placed_now constant timestamptz := clock_timestamp();
begin
    if not orders.project_placed(the_order, event, the_fingerprint, placed_now) then
        return query select false, fingerprint from orders.orders where order_id = the_order;
        return;
    end if;
    perform orders.append(the_order, 1, 'order.placed', event, placed_now);
    insert into payments.methods (order_id, method) values (the_order, the_method);
    insert into orders.launches (order_id, placed_at, not_before)
    values (the_order, (event ->> 'placed_at')::timestamptz, placed_now + launch_after);
    if address is not null then
        insert into customers.addresses
            (address_id, customer_id, name, line1, line2, city, postal_code, country)
        values (
            (event #>> '{ship_to,address_id}')::uuid, event ->> 'customer_id',
            address ->> 'name', address ->> 'line1', address ->> 'line2', address ->> 'city',
            address ->> 'postal_code', event #>> '{ship_to,country}'
        )
        on conflict (address_id) do nothing;
    end if;
    return query select true, the_fingerprint;
end
$$;

-- Cancels an order for which no step of its saga has been taken, and keeps it from being launched;
-- answers whether it did. The tombstone under the first step's key decides the race with a launch
-- that is under way: whichever comes second finds the other's.
create function orders.cancel_before_launch(the_order uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from orders.launches where order_id = the_order) then
        return false;
    end if;
    -- The order first and then its launch, as when an order ends: the other way is a deadlock.
    perform from orders.orders where order_id = the_order for no key update;
    perform from orders.launches where order_id = the_order for update;
    if not found then
        return false;
    end if;
    insert into orders.step_keys (order_id, step, version, undone_at)
    select order_id, 'reserve-stock', record_version, now()
    from orders.orders where order_id = the_order and status = 'processing'
    on conflict do nothing;
    if not found then
        return false;
    end if;
    perform orders.record(the_order, 'order.cancelled', jsonb_build_object('reason', reason));
    delete from orders.launches where order_id = the_order;
    return true;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- What the saga notes beside its steps' effects
-- ---------------------------------------------------------------------------------------------

-- The order is unwound from now on. Answers the ending that counts, or how the order has ended.
create function orders.note_unwinding(the_order uuid, the_ending jsonb, the_run text)
returns table (ending jsonb, ended jsonb) language plpgsql as $$
declare
    known record;
begin
    select * into known from orders.orders where order_id = the_order for no key update;
    if not found then
        return;
    end if;
    if known.ending is not null then
        return query select known.ending, null::jsonb;
        return;
    end if;
    if orders.is_terminal(known.status) and not (
        known.status = 'completed' and exists (
            select from orders.step_keys
            where step_keys.order_id = the_order and step = 'recognise-revenue'
                and step_keys.run_id = the_run
        )
    ) then
        return query select null::jsonb, known.status_data;
        return;
    end if;
    perform orders.record(the_order, 'order.unwinding', jsonb_build_object('ending', the_ending));
    return query select the_ending, null::jsonb;
end
$$;

-- The order has ended. Answers how, which is how the first run that said so had it.
create function orders.note_end(the_order uuid, event_type text, event jsonb) returns jsonb
language plpgsql as $$
declare
    known record;
begin
    select * into known from orders.orders where order_id = the_order for no key update;
    if not found then
        return null;
    end if;
    if not orders.is_terminal(known.status) then
        perform orders.record(the_order, event_type, event);
        delete from orders.launches where order_id = the_order;
    end if;
    return (select status_data from orders.orders where order_id = the_order);
end
$$;

-- A step needs a person. Answers the number of the occurrence; the same note is one occurrence.
create function orders.note_attention(the_order uuid, the_note text, event jsonb) returns jsonb
language plpgsql as $$
declare
    known record;
    answered jsonb;
begin
    select * into known from orders.orders where order_id = the_order for no key update;
    if not found then
        return null;
    end if;
    select outcome into answered from orders.step_keys
    where order_id = the_order and step = the_note and version = 1;
    if found then
        return answered;
    end if;
    answered := jsonb_build_object('done', known.attentions + 1);
    insert into orders.step_keys (order_id, step, version, outcome)
    values (the_order, the_note, 1, answered);
    perform orders.record(
        the_order, 'order.attention-needed',
        event || jsonb_build_object('occurrence', known.attentions + 1)
    );
    return answered;
end
$$;

-- A decision about an occurrence, once. Answers whether the order is on record.
create function orders.note_resolved(the_order uuid, the_note text, event jsonb) returns boolean
language plpgsql as $$
begin
    perform from orders.orders where order_id = the_order for no key update;
    if not found then
        return false;
    end if;
    if orders.take_step(the_order, the_note, 1, '{"done":null}') is not null then
        perform orders.record(the_order, 'order.attention-resolved', event);
    end if;
    return true;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------------------------------

-- Removes what is kept only for a time, at most so many rows of each kind a call, and says how
-- many rows of what it removed. What is not published is never removed, and neither is the
-- idempotency record of an order that has not ended.
create function operations.sweep(
    outbox_for interval, idempotency_for interval, at_most integer
) returns table (what text, removed bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    what := 'published messages';
    with due as (
        select position from outbox.messages where published_at < now() - outbox_for
        order by published_at limit at_most for update skip locked
    )
    delete from outbox.messages using due where messages.position = due.position;
    get diagnostics removed = row_count;
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
end
$$;

revoke execute on function
    orders.place, orders.cancel_before_launch, operations.sweep
    from public;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select, insert on outbox.messages to ordersaga_worker;
        -- `recover` marks an order that waits as one whose workflow is lost.
        grant select, insert, delete, update (is_recovery) on orders.launches to ordersaga_worker;
        grant select on payments.methods to ordersaga_worker;
        -- `prove` looks at what the warehouse moved, which is booked at the article's cost.
        grant usage on schema catalog to ordersaga_worker;
        grant select (sku, unit_cost) on catalog.products to ordersaga_worker;
        grant execute on function operations.sweep to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        -- To launch an order is to see it, to say who is at it, and to take the row away.
        grant select, delete, update (not_before, attempts, last_error)
            on orders.launches to ordersaga_starter;
        grant execute on function orders.place, orders.cancel_before_launch to ordersaga_starter;
        -- Placing keeps the address; the starter writes none by itself.
        revoke insert on customers.addresses from ordersaga_starter;
    end if;
end
$$;
