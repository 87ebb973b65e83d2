-- An order can be delivered: whoever hears of it from the carrier reports it, and the customer is
-- told.
--
-- A delivery is no step of the saga, which is over or about to be when the parcel arrives. It is one
-- statement: `orders.deliver`, a function of the owner's for which alone the starter has the right.
-- It records the event under the lock of the order's row, so that of two reports one counts. What it
-- says of the goods is all that changes: the order's status and its payment stay as they are.
set local lock_timeout = '3s';

-- What `OrderEvent::fulfilment_status` says of an event.
create or replace function orders.fulfilment_after(status text, event_type text) returns text
language sql immutable parallel safe
return (
    select case when orders.fulfilment_may_become(status, next) then next else status end
    from (values (case event_type
        when 'stock.reserved' then 'reserved'
        when 'shipment.cancelled' then 'reserved'
        when 'stock.released' then 'cancelled'
        when 'stock.reservation-expired' then 'cancelled'
        when 'order.shipped' then 'shipped'
        when 'order.delivered' then 'delivered'
    end)) as event (next)
);

-- Puts on record that the customer has the parcel, since this moment or since now. Answers what
-- became of the report, and the delivery that is on record then:
--
-- 'recorded': done;
-- 'repeated': a delivery was reported before, and that report counts;
-- 'not-handed-over': the carrier does not have the parcel;
-- 'recalled': the order is being undone, and its parcel called back;
-- 'too-early': the moment is before the parcel was handed over;
-- 'too-late': the moment has not come yet.
create function orders.deliver(the_order uuid, the_moment timestamptz, the_reporter text)
returns table (outcome text, delivery jsonb)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    known record;
    handed_over timestamptz;
    delivered_at timestamptz;
begin
    -- The order first, as everywhere: reports of it wait for each other.
    select * into known from orders.orders where orders.order_id = the_order for no key update;
    select order_events.data into delivery from orders.order_events
    where order_events.order_id = the_order and order_events.type = 'order.delivered';
    if found then
        outcome := 'repeated';
        return next;
        return;
    end if;
    select max(order_events.occurred_at) into handed_over from orders.order_events
    where order_events.order_id = the_order and order_events.type = 'order.shipped';
    delivered_at := coalesce(the_moment, clock_timestamp());
    outcome := case
        when not orders.fulfilment_may_become(known.fulfilment_status, 'delivered')
            then 'not-handed-over'
        when known.ending is not null then 'recalled'
        when delivered_at < handed_over then 'too-early'
        when delivered_at > clock_timestamp() then 'too-late'
        else 'recorded'
    end;
    if outcome = 'recorded' then
        delivery := jsonb_build_object(
            'tracking', known.tracking, 'delivered_at', orders.in_utc(delivered_at),
            'reported_by', the_reporter
        );
        perform orders.record(the_order, 'order.delivered', delivery);
    end if;
    return next;
end
$$;

revoke execute on function orders.deliver from public;

-- As before (migration 0060), but an order whose parcel was delivered has ended for good, too: its
-- last workflow run does not take back what it completed.
create or replace function orders.note_unwinding(the_order uuid, the_ending jsonb, the_run text)
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
        known.status = 'completed' and known.fulfilment_status <> 'delivered' and exists (
            select from orders.step_keys
            where step_keys.order_id = the_order and step = 'recognise-revenue'
                and step_keys.run_id = the_run
        ) and not exists (
            select from payments.refund_requests
            where refund_requests.order_id = the_order
        )
    ) then
        return query select null::jsonb, known.status_data;
        return;
    end if;
    perform orders.record(the_order, 'order.unwinding', jsonb_build_object('ending', the_ending));
    return query select the_ending, null::jsonb;
end
$$;

do $$
begin
    if to_regrole('ordersaga_starter') is not null then
        grant execute on function orders.deliver to ordersaga_starter;
    end if;
end
$$;
