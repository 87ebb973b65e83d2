-- An order that is launched again is cancelled by its workflow, never by its record alone.
--
-- Where the database was set back behind Temporal, the record lacks what the lost run did: it may
-- have taken the customer's money, or shipped. Until now a cancel that came between `recover` and
-- the launch ended such an order as if nothing had been done for it. Now it waits for the launch,
-- and the workflow finds out what was done and undoes it, or refuses.
set local lock_timeout = '3s';

-- As before, except that a recovery's launch is left alone.
create or replace function orders.cancel_before_launch(the_order uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (
        select from orders.launches where order_id = the_order and not is_recovery
    ) then
        return false;
    end if;
    -- The order first and then its launch, as when an order ends: the other way is a deadlock.
    perform from orders.orders where order_id = the_order for no key update;
    perform from orders.launches where order_id = the_order and not is_recovery for update;
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
