-- What the worker and the starter may do, and nothing else.
--
-- They connect as `ordersaga_app` (or as a login that is its member). It can add to the books
-- and to the record of events but not change them, cannot empty a table, and owns nothing. The
-- triggers refuse the same to everyone; this refuses it without asking a trigger.
do $$
begin
    begin
        if to_regrole('ordersaga_app') is null then
            create role ordersaga_app nologin;
        end if;
    exception
        -- Another database's migration was faster; roles belong to all of them.
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
            raise notice 'the migrating role cannot create roles; run the application as the owner, or create ordersaga_app and grant what 0010 grants';
    end;
    if to_regrole('ordersaga_app') is null then
        return;
    end if;

    grant usage on schema
        catalog, customers, outbox, orders, inventory, payments, ledger, shipping,
        sandbox_provider, sandbox_carrier
        to ordersaga_app;
    grant select on all tables in schema
        catalog, customers, outbox, orders, inventory, payments, ledger, shipping,
        sandbox_provider, sandbox_carrier
        to ordersaga_app;

    -- Append-only: to add is all.
    grant insert on
        orders.order_events, inventory.movements, inventory.reservation_lines,
        payments.refunds, ledger.transactions, ledger.entries
        to ordersaga_app;

    -- Current state: kept up to date, never removed.
    grant insert, update on
        catalog.products, orders.orders, orders.step_keys, outbox.messages,
        inventory.stock, inventory.reservations, payments.charges, shipping.shipments
        to ordersaga_app;

    -- A person may ask to be forgotten.
    grant insert, update, delete on customers.addresses to ordersaga_app;

    -- The sandboxes live in the worker's process, and so does whoever plays with them.
    grant insert, update on sandbox_provider.payments, sandbox_provider.outages to ordersaga_app;
    grant insert on sandbox_provider.refunds, sandbox_provider.repairs to ordersaga_app;
    grant insert, update on sandbox_carrier.bookings to ordersaga_app;
    grant insert, update, delete on sandbox_carrier.faults to ordersaga_app;
end
$$;
