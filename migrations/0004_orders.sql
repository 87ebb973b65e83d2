-- What happened to every order, and what each step has already done.
--
-- `order_events` is the truth: append-only, numbered within each order. `orders` is what the
-- events come to, kept up to date in the same transaction because every page of the shop reads
-- it; it can be thrown away and told anew (`orders.rebuild_projection`).
--
-- An event that is a turn in the order's life carries the new status under `data.status`, as
-- the programs write an order's status. The projection takes it if the life of an order has
-- such a turn from where it stands, and otherwise leaves the status alone: a step's late
-- success never makes an order that is being unwound look reserved again. The event is kept
-- either way, for it did happen.
--
-- `step_keys` is what makes twice once. A step inserts its key in the same statement as its
-- effect, so whoever comes second, be it a repeat, a zombie of an attempt that timed out, or a
-- step that arrives after its own undo, finds the row and gets the first one's answer or the
-- tombstone's refusal.
create schema orders;

create table orders.order_events (
    event_id bigint generated always as identity primary key,
    order_id uuid not null,
    sequence integer not null,
    type text not null,
    data jsonb not null,
    occurred_at timestamptz not null,
    constraint order_events_numbered_once unique (order_id, sequence)
);

create function orders.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_relid::regclass, lower(tg_op)
        using errcode = 'restrict_violation';
end
$$;

create trigger order_events_append_only
    before update or delete or truncate on orders.order_events
    for each statement execute function orders.refuse_change();

create table orders.orders (
    order_id uuid primary key,
    customer_id text not null,
    placed_at timestamptz not null,
    -- Counts the order's courses: more than 1 once an operator had it start anew.
    generation integer not null,
    -- Tells a repeat of the request from another order under the same key, for as long as the
    -- order is kept, which is longer than Temporal keeps its workflow.
    request_hash text not null,
    currency char(3) not null,
    subtotal numeric not null,
    discount numeric not null,
    shipping numeric not null,
    tax numeric not null,
    total numeric not null,
    cost_of_goods numeric not null,
    discount_code text,
    country char(2) not null,
    address_id uuid,
    -- Never queried by article, always read as a whole: one value rather than 541 rows.
    lines jsonb not null,
    terms jsonb not null,
    -- The whole status with what belongs to it, such as {"status":"rejected","rejection":{…}}.
    status_data jsonb not null,
    status text not null generated always as (status_data ->> 'status') stored,
    -- Stays when a shipped order gets stuck afterwards.
    tracking text,
    -- The number of the order's last event.
    version integer not null,
    updated_at timestamptz not null,
    constraint orders_status_known check (status in (
        'processing', 'reserved', 'paid', 'posted', 'shipped',
        'unwinding', 'cancelled', 'rejected', 'stuck', 'failed'
    ))
-- Every order is updated some five times; the free room keeps the new version on the same page.
) with (fillfactor = 60);

-- Pages of a customer's orders, and of all orders, newest first, continued from a cursor. No
-- column that a turn of the order's life changes is indexed, so a turn touches no index.
create index orders_by_customer on orders.orders (customer_id, placed_at desc, order_id);
create index orders_by_time on orders.orders (placed_at desc, order_id);

create table orders.step_keys (
    order_id uuid not null,
    -- A step of the saga, or `note-status`, whose generation is the note's number.
    step text not null,
    generation integer not null,
    -- SHA-256 of the step's argument: the same key with another argument is a mistake.
    argument_hash bytea not null,
    -- {"done":…} or {"refused":…}. Null: the undo came first and nothing was done.
    outcome jsonb,
    recorded_at timestamptz not null default now(),
    -- The tombstone: from this moment on the step must not take effect any more.
    undone_at timestamptz,
    primary key (order_id, step, generation)
);

-- The turns an order's life has. The same table as `OrderStatus::becomes`; a test holds them
-- together.
create function orders.may_become(status text, next text) returns boolean
language sql immutable
return case status
    when 'processing' then next in ('reserved', 'unwinding')
    when 'reserved' then next in ('paid', 'unwinding')
    when 'paid' then next in ('posted', 'unwinding')
    when 'posted' then next in ('shipped', 'unwinding')
    when 'unwinding' then next in ('cancelled', 'rejected', 'failed', 'stuck')
    -- A hand-over whose answer never reached the workflow is called off with the rest.
    when 'shipped' then next in ('unwinding', 'stuck')
    when 'stuck' then next in ('unwinding', 'shipped')
    else false
end;

-- Takes one event into the projection and returns its number within the order.
create function orders.project(
    the_order uuid, event_type text, event jsonb, happened_at timestamptz
) returns integer language plpgsql as $$
declare
    the_number integer;
begin
    if event_type = 'order.placed' then
        insert into orders.orders as known (
            order_id, customer_id, placed_at, generation, request_hash, currency,
            subtotal, discount, shipping, tax, total, cost_of_goods,
            discount_code, country, address_id, lines, terms,
            status_data, version, updated_at
        ) values (
            the_order,
            event ->> 'customer_id',
            (event ->> 'placed_at')::timestamptz,
            (event ->> 'generation')::integer,
            event ->> 'request_hash',
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
            event -> 'status',
            1,
            happened_at
        )
        -- The same order again is a new course of it, and only of one that came to nothing.
        on conflict (order_id) do update
        set generation = excluded.generation,
            status_data = excluded.status_data,
            version = known.version + 1,
            updated_at = excluded.updated_at
        where known.request_hash = excluded.request_hash
            and known.generation < excluded.generation
            and known.status in ('cancelled', 'rejected', 'failed')
        returning version into the_number;
    else
        update orders.orders as known
        set status_data = case
                when orders.may_become(known.status, event #>> '{status,status}')
                then event -> 'status'
                else known.status_data
            end,
            tracking = coalesce(event #>> '{status,tracking}', known.tracking),
            version = known.version + 1,
            updated_at = happened_at
        where known.order_id = the_order
        returning version into the_number;
    end if;
    if the_number is null then
        raise exception 'order % is not on record as the one that % speaks of', the_order, event_type;
    end if;
    return the_number;
end
$$;

-- Records what happened to an order: its event, the message that tells of it, and what it makes
-- of the order, in the caller's transaction. The order's row lock numbers its events.
create function orders.record(the_order uuid, event_type text, event jsonb) returns integer
language plpgsql as $$
declare
    the_number constant integer := orders.project(the_order, event_type, event, now());
begin
    insert into orders.order_events (order_id, sequence, type, data, occurred_at)
    values (the_order, the_number, event_type, event, now());
    insert into outbox.messages (order_id, sequence, type, data)
    values (the_order, the_number, event_type, event);
    return the_number;
end
$$;

-- Records a step's outcome, as its key row keeps it: the event of the step done, or of the step
-- refused, which tells why.
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

-- Tells the order's row anew from its events alone. Takes rights that the application does not
-- have: it is for whoever doubts the projection, or has changed what it shows.
create function orders.rebuild_projection(the_order uuid) returns void language plpgsql as $$
declare
    told record;
begin
    -- Waits for whoever is just recording, so that no event is missed.
    perform from orders.orders where order_id = the_order for update;
    delete from orders.orders where order_id = the_order;
    for told in
        select type, data, occurred_at from orders.order_events
        where order_id = the_order order by sequence
    loop
        perform orders.project(the_order, told.type, told.data, told.occurred_at);
    end loop;
end
$$;
