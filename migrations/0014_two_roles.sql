-- What the worker may do, and what the starter may do: a role for each, in the place of one for
-- both.
--
-- The starter is what the world talks to. Whoever gets hold of it must not be able to write an
-- order, a payment or the books, so it may read what it shows and write what its own operations
-- change. The worker is where orders happen. It never asks who somebody is, so it cannot see
-- what opens doors (`identity`), nor who the customers are beyond where their parcels go.
-- Neither may change or remove what is append-only, empty a table, or call anything its own.
--
-- What they are granted is what their SQL needs; their tests run with these rights and no
-- others. The catalogue is loaded, and trouble for the sandboxes ordered, by the owner.
do $$
declare
    the_role text;
begin
    foreach the_role in array array['ordersaga_worker', 'ordersaga_starter'] loop
        begin
            if to_regrole(the_role) is null then
                execute format('create role %I nologin', the_role);
            end if;
        exception
            -- Another database's migration was faster; roles belong to all of them.
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then
                raise notice 'the migrating role cannot create roles; run the programs as the owner, or create % and grant what 0014 grants', the_role;
        end;
        if to_regrole(the_role) is not null then
            execute format('grant connect on database %I to %I', current_database(), the_role);
        end if;
    end loop;
end
$$;

-- Books what the warehouse's paper says has come, was found or is gone, at what the article
-- costs the shop. It runs with its owner's rights: this posting is all that the starter can add
-- to the books. What cost nothing is not booked.
create function ledger.book_movement(the_movement bigint) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with worth as (
        select reason, quantity * unit_cost as amount, currency
        from inventory.movements join catalog.products using (sku)
        where movement_id = the_movement and unit_cost > 0
            and reference is not null and reason in ('received', 'found', 'written-off')
    ), booked as (
        insert into ledger.transactions (key)
        select 'stock-movement:' || the_movement from worth
        returning transaction_id
    )
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select transaction_id, line, account, side, amount, currency
    from booked, worth, lateral (values
        (1, 'inventory', case reason when 'written-off' then 'credit' else 'debit' end),
        -- A delivery's invoice is still to come; what is found or lost makes the goods sold
        -- cheaper or dearer.
        (2, case reason when 'received' then 'goods-received' else 'cost-of-goods' end,
            case reason when 'written-off' then 'debit' else 'credit' end)
    ) as entry (line, account, side)
$$;

revoke execute on function ledger.book_movement from public;

do $$
begin
    if to_regrole('ordersaga_worker') is null then
        return;
    end if;
    grant usage on schema
        customers, outbox, orders, inventory, payments, ledger, shipping, operations,
        sandbox_provider, sandbox_carrier
        to ordersaga_worker;
    grant select on all tables in schema
        outbox, orders, inventory, payments, ledger, shipping, operations,
        sandbox_provider, sandbox_carrier
        to ordersaga_worker;
    grant select on customers.addresses to ordersaga_worker;

    -- Append-only: to add is all.
    grant insert on
        orders.order_events, outbox.messages, inventory.movements, inventory.reservation_lines,
        payments.refunds, ledger.transactions, ledger.entries
        to ordersaga_worker;
    -- Current state: kept up to date, never removed.
    grant insert, update on
        orders.orders, orders.step_keys, inventory.reservations, payments.charges,
        shipping.shipments
        to ordersaga_worker;
    -- What was received is the warehouse's to say.
    grant update (on_hand, reserved, sold) on inventory.stock to ordersaga_worker;

    -- The sandboxes live in the worker's process.
    grant insert, update on sandbox_provider.payments, sandbox_provider.outages to ordersaga_worker;
    grant insert on sandbox_provider.refunds to ordersaga_worker;
    grant insert, update on sandbox_carrier.bookings to ordersaga_worker;
    grant update (remaining) on sandbox_carrier.faults to ordersaga_worker;
end
$$;

do $$
begin
    if to_regrole('ordersaga_starter') is null then
        return;
    end if;
    grant usage on schema
        catalog, customers, orders, inventory, payments, ledger, shipping, operations, identity
        to ordersaga_starter;
    -- What it shows.
    grant select on
        catalog.products, catalog.discount_codes, catalog.tax_rates, catalog.shipping_rates,
        customers.customers, orders.orders, orders.order_events, inventory.stock,
        inventory.movements, payments.charges, ledger.transactions, ledger.entries,
        shipping.shipments, operations.paused_queues
        to ordersaga_starter;

    -- The catalogue, the warehouse, and the line.
    grant insert, update on catalog.products to ordersaga_starter;
    grant insert (sku, on_hand, received), update (on_hand, received)
        on inventory.stock to ordersaga_starter;
    grant insert (sku, quantity, reason, reference, moved_by, note)
        on inventory.movements to ordersaga_starter;
    grant execute on function ledger.book_movement to ordersaga_starter;
    grant insert, delete on operations.paused_queues to ordersaga_starter;

    -- Where a parcel goes is put down once, and read by the worker alone.
    grant insert, select (address_id) on customers.addresses to ordersaga_starter;
    grant insert, update on customers.customers to ordersaga_starter;

    grant select, insert on identity.signing_keys, identity.logins to ordersaga_starter;
    grant select, insert, update, delete on identity.clients to ordersaga_starter;
end
$$;

-- The role of before is left with nothing. It is not dropped: roles belong to all databases.
do $$
begin
    if to_regrole('ordersaga_app') is null then
        return;
    end if;
    revoke all on all tables in schema
        catalog, customers, outbox, orders, inventory, payments, ledger, shipping,
        sandbox_provider, sandbox_carrier, identity, operations
        from ordersaga_app;
    revoke usage on schema
        catalog, customers, outbox, orders, inventory, payments, ledger, shipping,
        sandbox_provider, sandbox_carrier, identity, operations
        from ordersaga_app;
    execute format('revoke connect on database %I from ordersaga_app', current_database());
end
$$;
