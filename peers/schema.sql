-- What every peer does to the database: one function for each step of the order's life, and one
-- for each undo. A step writes the rows that Ordersaga's step writes: the order, its event and the
-- message that tells of it, stock line by line, reservation, charge, double entry, shipment.
--
-- A step is called with the order's id and reads the order on record, as Ordersaga's steps do, so
-- that no engine has to carry 22 lines through every step.
--
-- Nothing here is unique to an order: what is done twice shows as two rows. What a step does when
-- it is carried out again is its caller's choice, `repeats` (see `peer.is_to_act`).
create schema peer;

create table peer.orders (
    order_id uuid primary key,
    customer text not null,
    country text not null,
    lines jsonb not null,
    total numeric not null,
    status text not null,
    version integer not null,
    updated_at timestamptz not null default now()
) with (fillfactor = 60);

create table peer.events (
    order_id uuid not null,
    sequence integer not null,
    type text not null,
    data jsonb not null,
    at timestamptz not null default now(),
    primary key (order_id, sequence)
);

create table peer.outbox (
    message_id bigint generated always as identity primary key,
    order_id uuid not null,
    sequence integer not null,
    type text not null,
    data jsonb not null,
    at timestamptz not null default now()
);

create table peer.stock (
    sku text collate "C" primary key,
    on_hand bigint not null check (on_hand >= 0),
    reserved bigint not null default 0 check (reserved between 0 and on_hand),
    sold bigint not null default 0
) with (fillfactor = 50);

create table peer.reservations (
    reservation_id bigint generated always as identity primary key,
    order_id uuid not null,
    state text not null check (state in ('held', 'released', 'sold')),
    at timestamptz not null default now()
);
create index on peer.reservations (order_id);

create table peer.reservation_lines (
    reservation_id bigint not null references peer.reservations,
    sku text collate "C" not null,
    quantity bigint not null check (quantity > 0),
    primary key (reservation_id, sku)
);

create table peer.movements (
    movement_id bigint generated always as identity primary key,
    sku text collate "C" not null,
    quantity bigint not null,
    reason text not null,
    reservation_id bigint not null,
    at timestamptz not null default now()
);

-- The provider's own records, which stand for a party elsewhere.
create table peer.provider_payments (
    payment_id bigint generated always as identity primary key,
    order_id uuid not null,
    state text not null,
    amount numeric not null
);
create index on peer.provider_payments (order_id);

create table peer.charges (
    charge_id bigint generated always as identity primary key,
    order_id uuid not null,
    payment_id bigint not null,
    amount numeric not null,
    refunded numeric not null default 0,
    at timestamptz not null default now()
);
create index on peer.charges (order_id);

create table peer.transactions (
    transaction_id bigint generated always as identity primary key,
    order_id uuid not null,
    -- `payment`, `sale`, or `reversal`.
    what text not null,
    reverses bigint references peer.transactions unique,
    at timestamptz not null default now()
);
create index on peer.transactions (order_id);

create table peer.entries (
    transaction_id bigint not null references peer.transactions,
    line smallint not null,
    account text not null,
    side text not null check (side in ('debit', 'credit')),
    amount numeric not null check (amount > 0),
    primary key (transaction_id, line)
);
create index on peer.entries (account) include (side, amount);

create function peer.refuse_unbalanced() returns trigger language plpgsql as $$
begin
    if (
        select sum(case side when 'debit' then amount else -amount end) is distinct from 0
        from peer.entries where transaction_id = new.transaction_id
    ) then
        raise exception 'transaction % is out of balance', new.transaction_id;
    end if;
    return null;
end
$$;
create constraint trigger balanced after insert on peer.transactions
    deferrable initially deferred for each row execute function peer.refuse_unbalanced();

create table peer.shipments (
    shipment_id bigint generated always as identity primary key,
    order_id uuid not null,
    tracking text not null,
    pieces bigint not null,
    at timestamptz not null default now()
);
create index on peer.shipments (order_id);

-- The steps that have been carried out, for callers who ask.
create table peer.steps (
    order_id uuid not null,
    step text not null,
    constraint steps_once primary key (order_id, step)
);

-- The orders whose acceptance was answered, copied in from the program's own list after a run.
create table peer.accepted (order_id uuid not null);

-- Whether a step is to act, if its caller wants that repeats
--   act     have their effect again, as a step does that was written without a thought of them;
--   fail    are refused by a unique key, as a table's own key refuses them;
--   skip    do nothing, as the documentation of every engine with at-least-once steps advises.
create function peer.is_to_act(the_order uuid, the_step text, repeats text) returns boolean
language plpgsql as $$
begin
    case repeats
        when 'act' then
            return true;
        when 'fail' then
            insert into peer.steps values (the_order, the_step);
            return true;
        when 'skip' then
            insert into peer.steps values (the_order, the_step) on conflict do nothing;
            return found;
    end case;
end
$$;

-- The event, the message that tells of it, and what it makes of the order.
create function peer.record(the_order uuid, the_type text, the_status text) returns void
language plpgsql as $$
declare
    number integer;
    told constant jsonb := jsonb_build_object('order_id', the_order, 'status', the_status);
begin
    update peer.orders
    set status = the_status, version = version + 1, updated_at = now()
    where order_id = the_order returning version into strict number;
    insert into peer.events (order_id, sequence, type, data)
    values (the_order, number, the_type, told);
    insert into peer.outbox (order_id, sequence, type, data)
    values (the_order, number, the_type, told);
end
$$;

create function peer.open(the_order uuid, placed jsonb, repeats text) returns void
language plpgsql as $$
declare
    number integer;
begin
    if not peer.is_to_act(the_order, 'open', repeats) then
        return;
    end if;
    insert into peer.orders as known (order_id, customer, country, lines, total, status, version)
    values (
        the_order, placed ->> 'customer', placed ->> 'country', placed -> 'lines',
        (placed ->> 'total')::numeric, 'processing', 1
    )
    on conflict (order_id) do update set version = known.version + 1, updated_at = now()
    returning version into number;
    insert into peer.events (order_id, sequence, type, data)
    values (the_order, number, 'placed', placed);
    insert into peer.outbox (order_id, sequence, type, data)
    values (the_order, number, 'placed', placed);
end
$$;

create function peer.reserve(the_order uuid, repeats text) returns void language plpgsql as $$
declare
    lines constant jsonb := (select o.lines from peer.orders o where order_id = the_order);
    reservation bigint;
    short integer;
begin
    if not peer.is_to_act(the_order, 'reserve', repeats) then
        return;
    end if;
    -- In the order of the articles' numbers, so that two orders never wait in a circle.
    perform from peer.stock
    where sku = any (select line ->> 'sku' from jsonb_array_elements(lines) line)
    order by sku for update;
    select count(*) into short
    from jsonb_to_recordset(lines) as line (sku text, quantity bigint)
    left join peer.stock s on s.sku = line.sku collate "C"
    where coalesce(s.on_hand - s.reserved, 0) < line.quantity;
    if short > 0 then
        raise exception 'out of stock';
    end if;
    update peer.stock s set reserved = s.reserved + line.quantity
    from jsonb_to_recordset(lines) as line (sku text, quantity bigint)
    where s.sku = line.sku collate "C";
    insert into peer.reservations (order_id, state) values (the_order, 'held')
    returning reservation_id into reservation;
    insert into peer.reservation_lines
    select reservation, sku, quantity
    from jsonb_to_recordset(lines) as line (sku text, quantity bigint);
    insert into peer.movements (sku, quantity, reason, reservation_id)
    select sku, quantity, 'reserved', reservation
    from peer.reservation_lines where reservation_id = reservation;
    perform peer.record(the_order, 'reserved', 'reserved');
end
$$;

create function peer.charge(the_order uuid, repeats text) returns void language plpgsql as $$
declare
    due constant numeric := (select total from peer.orders where order_id = the_order);
    payment bigint;
begin
    if not peer.is_to_act(the_order, 'charge', repeats) then
        return;
    end if;
    insert into peer.provider_payments (order_id, state, amount)
    values (the_order, 'authorised', due) returning payment_id into payment;
    update peer.provider_payments set state = 'captured' where payment_id = payment;
    insert into peer.charges (order_id, payment_id, amount) values (the_order, payment, due);
    perform peer.record(the_order, 'paid', 'paid');
end
$$;

create function peer.post(the_order uuid, repeats text) returns void language plpgsql as $$
declare
    due constant numeric := (select total from peer.orders where order_id = the_order);
    booked bigint;
begin
    if not peer.is_to_act(the_order, 'post', repeats) then
        return;
    end if;
    insert into peer.transactions (order_id, what) values (the_order, 'payment')
    returning transaction_id into booked;
    insert into peer.entries values
        (booked, 1, 'payment-clearing', 'debit', due),
        (booked, 2, 'customer-deposits', 'credit', due);
    perform peer.record(the_order, 'posted', 'posted');
end
$$;

create function peer.ship(the_order uuid, repeats text) returns void language plpgsql as $$
begin
    if not peer.is_to_act(the_order, 'ship', repeats) then
        return;
    end if;
    perform from peer.stock
    where sku = any (
        select sku from peer.reservation_lines join peer.reservations using (reservation_id)
        where order_id = the_order and state = 'held'
    )
    order by sku for update;
    update peer.stock s
    set on_hand = s.on_hand - line.quantity,
        reserved = s.reserved - line.quantity,
        sold = s.sold + line.quantity
    from (
        select sku, sum(quantity) as quantity
        from peer.reservation_lines join peer.reservations using (reservation_id)
        where order_id = the_order and state = 'held' group by sku
    ) as line
    where s.sku = line.sku;
    insert into peer.movements (sku, quantity, reason, reservation_id)
    select sku, quantity, 'sold', reservation_id
    from peer.reservation_lines join peer.reservations using (reservation_id)
    where order_id = the_order and state = 'held';
    update peer.reservations set state = 'sold' where order_id = the_order and state = 'held';
    insert into peer.shipments (order_id, tracking, pieces)
    select the_order, 'TR' || the_order, sum((line ->> 'quantity')::bigint)
    from peer.orders, jsonb_array_elements(lines) line where order_id = the_order;
    perform peer.record(the_order, 'shipped', 'shipped');
end
$$;

create function peer.recognise(the_order uuid, repeats text) returns void language plpgsql as $$
declare
    due constant numeric := (select total from peer.orders where order_id = the_order);
    cost constant numeric := greatest(round(due / 2, 2), 0.01);
    booked bigint;
begin
    if not peer.is_to_act(the_order, 'recognise', repeats) then
        return;
    end if;
    insert into peer.transactions (order_id, what) values (the_order, 'sale')
    returning transaction_id into booked;
    insert into peer.entries values
        (booked, 1, 'customer-deposits', 'debit', due),
        (booked, 2, 'sales', 'credit', due - 7),
        (booked, 3, 'shipping-income', 'credit', 3),
        (booked, 4, 'sales-tax-payable', 'credit', 4),
        (booked, 5, 'cost-of-goods', 'debit', cost),
        (booked, 6, 'inventory', 'credit', cost);
    perform peer.record(the_order, 'recognised', 'completed');
end
$$;

-- The undos do nothing where there is nothing to undo, so they need no `repeats`.
create function peer.release(the_order uuid) returns void language plpgsql as $$
begin
    perform from peer.stock
    where sku = any (
        select sku from peer.reservation_lines join peer.reservations using (reservation_id)
        where order_id = the_order and state = 'held'
    )
    order by sku for update;
    update peer.stock s set reserved = s.reserved - line.quantity
    from (
        select sku, sum(quantity) as quantity
        from peer.reservation_lines join peer.reservations using (reservation_id)
        where order_id = the_order and state = 'held' group by sku
    ) as line
    where s.sku = line.sku;
    update peer.reservations set state = 'released' where order_id = the_order and state = 'held';
    perform peer.record(the_order, 'released', 'unwinding');
end
$$;

create function peer.refund(the_order uuid) returns void language plpgsql as $$
begin
    update peer.provider_payments set state = 'refunded' where order_id = the_order;
    update peer.charges set refunded = amount where order_id = the_order;
    perform peer.record(the_order, 'refunded', 'unwinding');
end
$$;

create function peer.reverse(the_order uuid) returns void language plpgsql as $$
declare
    booked record;
    reversal bigint;
begin
    for booked in
        select transaction_id from peer.transactions t
        where order_id = the_order and what = 'payment'
            and not exists (select from peer.transactions r where r.reverses = t.transaction_id)
    loop
        insert into peer.transactions (order_id, what, reverses)
        values (the_order, 'reversal', booked.transaction_id)
        returning transaction_id into reversal;
        insert into peer.entries
        select reversal, line, account, case side when 'debit' then 'credit' else 'debit' end,
            amount
        from peer.entries where transaction_id = booked.transaction_id;
    end loop;
    perform peer.record(the_order, 'reversed', 'unwinding');
end
$$;

create function peer.fail(the_order uuid) returns void language sql as $$
    select peer.record(the_order, 'failed', 'failed')
$$;
