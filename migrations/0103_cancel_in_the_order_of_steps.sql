-- A cancel before the launch locks in the same order as a step: first the step's key, then the
-- order's row.
--
-- Until now it locked the order's row first. A launcher may start the workflow at the same moment:
-- then `reserve-stock` held the key and waited for the row, the cancel held the row and waited for
-- the key, and Postgres ended one of them as a deadlock. Nothing was lost, because both are retried,
-- but the caller of the cancel got an error.
set local lock_timeout = '3s';

create or replace function orders.cancel_before_launch(the_order uuid, reason text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (
        select from orders.launches where order_id = the_order and not is_recovery
    ) then
        return false;
    end if;
    insert into orders.step_keys (order_id, step, version, undone_at)
    select order_id, 'reserve-stock', record_version, now()
    from orders.orders where order_id = the_order and status = 'processing'
    on conflict do nothing;
    if not found then
        return false;
    end if;
    -- The order before its launch, as when an order ends.
    perform from orders.orders where order_id = the_order for no key update;
    perform from orders.launches where order_id = the_order and not is_recovery for update;
    if not found then
        raise exception 'the order was launched meanwhile' using errcode = 'OS002';
    end if;
    perform orders.record(the_order, 'order.cancelled', jsonb_build_object('reason', reason));
    delete from orders.launches where order_id = the_order;
    return true;
exception when sqlstate 'OS002' then
    -- The tombstone is rolled back, too: the order goes on.
    return false;
end
$$;
