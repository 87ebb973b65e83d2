-- An order's row told anew from its events, beside the row that every page reads, and compared with
-- it while orders come in.
--
-- What an event makes of an order was part of an `update`, and so could only be had by changing the
-- row. It is a function now, of where the order stood and of the event (`orders.standing_after`),
-- and so is what a placing makes of a new row (`orders.placed_row`). `orders.project` and
-- `orders.project_placed` write down what they say, and `orders.told_anew` folds them over an order's
-- events and writes nothing. Both ways are one rule, so they cannot come to differ.
--
-- The functions that read are `stable`: within a statement they see what the statement sees. A row
-- and its events are therefore from one moment, whoever is recording meanwhile, and nobody waits.

-- The columns of an order's row that its events change, besides their number and time.
create type orders.standing as (
    payment_status text,
    fulfilment_status text,
    tracking text,
    status_data jsonb,
    ending jsonb,
    attention jsonb,
    attentions integer
);

-- What an event makes of where an order stands. `OrderState::apply` is its twin.
create function orders.standing_after(
    known orders.standing, event_type text, event jsonb, happened_at timestamptz
) returns orders.standing language plpgsql immutable parallel safe as $$
declare
    after orders.standing := known;
    status constant text := known.status_data ->> 'status';
    ended constant jsonb := orders.terminal_status(event_type, event);
begin
    after.payment_status := case
        when event_type in (
            'order.dispute-opened', 'order.dispute-updated', 'order.dispute-closed'
        )
        then case
            when orders.payment_may_become(known.payment_status, event ->> 'payment_status')
            then event ->> 'payment_status'
            else known.payment_status
        end
        when event_type = 'order.refund-succeeded' and known.payment_status = 'disputed'
        then known.payment_status
        when event_type = 'order.refund-reversed'
        then orders.payment_after_reversal(known.payment_status, event)
        else orders.payment_after(known.payment_status, case
            when event_type = 'order.refund-succeeded' and (event #>> '{left,amount}')::numeric = 0
            then 'payment.refunded'
            else event_type
        end)
    end;
    after.fulfilment_status := orders.fulfilment_after(known.fulfilment_status, event_type);
    after.tracking := case
        when event_type = 'order.shipped' then event ->> 'tracking' else known.tracking
    end;
    after.status_data := case
        -- A completion that its own run takes back; `orders.note_unwinding` decides.
        when event_type = 'order.unwinding' and status = 'completed'
        then '{"status":"processing"}'::jsonb
        when orders.is_terminal(status) then known.status_data
        else coalesce(ended, known.status_data)
    end;
    after.ending := case
        when event_type = 'order.unwinding' and status in ('processing', 'completed')
        then event -> 'ending'
        when orders.is_terminal(status) or ended is not null then null
        -- The parcel has left for good: there is nothing to undo any more.
        when event_type = 'order.attention-resolved' and event ->> 'decision' = 'accept-as-done'
        then null
        else known.ending
    end;
    after.attention := case
        when orders.is_terminal(status) then case
            when event ->> 'step' is distinct from 'issue-refund' then known.attention
            when event_type = 'order.attention-needed' and status = 'completed'
            then event || jsonb_build_object('since', orders.in_utc(happened_at))
            when event_type = 'order.attention-resolved' then null
            else known.attention
        end
        when ended is not null then null
        when event_type = 'order.attention-needed'
        then event || jsonb_build_object('since', orders.in_utc(happened_at))
        when event_type = 'order.attention-resolved' then null
        else known.attention
    end;
    after.attentions := known.attentions
        + case when event_type = 'order.attention-needed' then 1 else 0 end;
    return after;
end
$$;

-- Takes one event into the order's row and returns its number within the order.
create or replace function orders.project(
    the_order uuid, event_type text, event jsonb, happened_at timestamptz
) returns integer language plpgsql as $$
declare
    the_number integer;
begin
    update orders.orders as known
    set (
            payment_status, fulfilment_status, tracking, status_data, ending, attention, attentions
        ) = (
            select after.* from orders.standing_after((
                known.payment_status, known.fulfilment_status, known.tracking, known.status_data,
                known.ending, known.attention, known.attentions
            )::orders.standing, event_type, event, happened_at) as after
        ),
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

-- The order's row as its placing tells it.
create function orders.placed_row(
    the_order uuid, event jsonb, the_fingerprint text, happened_at timestamptz
) returns orders.orders language plpgsql stable parallel safe as $$
declare
    placed orders.orders;
begin
    placed.order_id := the_order;
    placed.customer_id := event ->> 'customer_id';
    placed.placed_at := event ->> 'placed_at';
    placed.record_version := event ->> 'record_version';
    placed.fingerprint := the_fingerprint;
    placed.currency := event #>> '{totals,total,currency}';
    placed.subtotal := event #>> '{totals,subtotal,amount}';
    placed.discount := event #>> '{totals,discount,amount}';
    placed.shipping := event #>> '{totals,shipping,amount}';
    placed.tax := event #>> '{totals,tax,amount}';
    placed.total := event #>> '{totals,total,amount}';
    placed.cost_of_goods := event #>> '{cost_of_goods,amount}';
    placed.discount_code := event ->> 'discount_code';
    placed.country := event #>> '{ship_to,country}';
    placed.address_id := event #>> '{ship_to,address_id}';
    placed.lines := event -> 'lines';
    placed.terms := event -> 'terms';
    placed.status_data := '{"status":"processing"}';
    placed.status := 'processing';
    placed.payment_status := 'none';
    placed.fulfilment_status := 'none';
    placed.attentions := 0;
    placed.version := 1;
    placed.updated_at := happened_at;
    return placed;
end
$$;

-- Puts the order's row down as its placing tells it; whether it is new.
create or replace function orders.project_placed(
    the_order uuid, event jsonb, the_fingerprint text, happened_at timestamptz
) returns boolean language plpgsql as $$
begin
    insert into orders.orders (
        order_id, customer_id, placed_at, record_version, fingerprint, currency,
        subtotal, discount, shipping, tax, total, cost_of_goods,
        discount_code, country, address_id, lines, terms, status_data,
        payment_status, fulfilment_status, attentions, version, updated_at
    )
    select
        order_id, customer_id, placed_at, record_version, fingerprint, currency,
        subtotal, discount, shipping, tax, total, cost_of_goods,
        discount_code, country, address_id, lines, terms, status_data,
        payment_status, fulfilment_status, attentions, version, updated_at
    from orders.placed_row(the_order, event, the_fingerprint, happened_at)
    on conflict (order_id) do nothing;
    return found;
end
$$;

-- The order's row as its events tell it; without an id if it was never placed. The fingerprint is the
-- row's own: no event carries it.
create function orders.told_anew(the_order uuid) returns orders.orders
language plpgsql stable as $$
declare
    told orders.orders;
    standing orders.standing;
    one record;
begin
    for one in
        select type, data, occurred_at from orders.order_events
        where order_id = the_order order by sequence
    loop
        if one.type = 'order.placed' then
            told := orders.placed_row(the_order, one.data, (
                select fingerprint from orders.orders where orders.order_id = the_order
            ), one.occurred_at);
        else
            standing := orders.standing_after((
                told.payment_status, told.fulfilment_status, told.tracking, told.status_data,
                told.ending, told.attention, told.attentions
            )::orders.standing, one.type, one.data, one.occurred_at);
            told.payment_status := standing.payment_status;
            told.fulfilment_status := standing.fulfilment_status;
            told.tracking := standing.tracking;
            told.status_data := standing.status_data;
            told.ending := standing.ending;
            told.attention := standing.attention;
            told.attentions := standing.attentions;
            told.version := told.version + 1;
            told.updated_at := one.occurred_at;
        end if;
    end loop;
    told.status := told.status_data ->> 'status';
    return told;
end
$$;

-- The columns in which an order's row is not what its events tell, byte for byte. Where there is no
-- row, or no placing, that side has no value in any column.
create function orders.differences(the_order uuid)
returns table (what text, kept text, told text) language sql stable as $$
    -- Few rows differ, so column by column is for those.
    with both_rows as materialized (
        select (select orders from orders.orders where order_id = the_order) as kept,
            (select row from orders.told_anew(the_order) as row where order_id is not null) as told
    )
    select attname::text, one.kept, one.told
    from both_rows, lateral (
        select attname, attnum,
            to_json(both_rows.kept) ->> attname as kept, to_json(both_rows.told) ->> attname as told
        from pg_catalog.pg_attribute
        where attrelid = 'orders.orders'::regclass and attnum > 0 and not attisdropped
    ) as one
    where both_rows.kept::text is distinct from both_rows.told::text
        and one.kept is distinct from one.told
    order by attnum
$$;

-- ---------------------------------------------------------------------------------------------
-- A row that is put right
-- ---------------------------------------------------------------------------------------------

create table orders.repairs (
    repair_id bigint generated always as identity primary key,
    order_id uuid not null,
    -- What was put right: each column with what it held and what it holds.
    columns jsonb not null,
    repaired_by text not null,
    why text not null,
    repaired_at timestamptz not null default clock_timestamp()
);

create trigger repairs_append_only
    before update or delete or truncate on orders.repairs
    for each statement execute function orders.refuse_change();

comment on table orders.repairs is
    'Rows of orders that a person had told anew from their events, with what was wrong.';

-- Makes an order's row what its events tell, and puts on record who wanted that and why. Answers
-- what was put right; null where the row or its placing is missing, so that nothing can be told.
--
-- The row is locked before the events are read, as whoever records an event does, so none is missed.
create function orders.repair(the_order uuid, the_operator text, the_reason text) returns jsonb
language plpgsql as $$
declare
    wrong jsonb;
    told orders.orders;
begin
    perform from orders.orders where order_id = the_order for update;
    if not found then
        return null;
    end if;
    select * into told from orders.told_anew(the_order);
    if told.order_id is null then
        return null;
    end if;
    select coalesce(jsonb_object_agg(
        what, jsonb_build_object('was', differences.kept, 'is', differences.told)
    ), '{}') into wrong
    from orders.differences(the_order);
    if wrong = '{}' then
        return wrong;
    end if;
    update orders.orders
    set customer_id = told.customer_id, placed_at = told.placed_at,
        record_version = told.record_version, currency = told.currency, subtotal = told.subtotal,
        discount = told.discount, shipping = told.shipping, tax = told.tax, total = told.total,
        cost_of_goods = told.cost_of_goods, discount_code = told.discount_code,
        country = told.country, address_id = told.address_id, lines = told.lines,
        terms = told.terms, status_data = told.status_data,
        payment_status = told.payment_status, fulfilment_status = told.fulfilment_status,
        tracking = told.tracking, ending = told.ending, attention = told.attention,
        attentions = told.attentions, version = told.version, updated_at = told.updated_at
    where order_id = the_order;
    insert into orders.repairs (order_id, columns, repaired_by, why)
    values (the_order, wrong, the_operator, the_reason);
    return wrong;
end
$$;

-- It is a person's decision, and so it is the owner's to carry out.
revoke execute on function orders.repair from public;

-- It told a row anew without a word of it on record. Whoever still calls it has the row repaired.
create or replace function orders.rebuild_projection(the_order uuid) returns void
language plpgsql as $$
begin
    perform orders.repair(the_order, session_user::text, 'orders.rebuild_projection was called');
end
$$;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        -- `prove` looks at what was delivered.
        grant select on outbox.sinks, outbox.progress, outbox.parked to ordersaga_worker;
    end if;
end
$$;
