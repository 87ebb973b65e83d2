-- What became of Ordersaga's orders, counted as counts.sql counts the peers'. `accepted` is the ids
-- of the orders whose acceptance was answered.
with fates as (
    select coalesce(o.order_id, a.order_id) as order_id, o.status,
        greatest(
            (select count(*) from inventory.reservations r
             where r.order_id = o.order_id and r.state in ('held', 'sold')),
            (select count(*) from payments.charges c
             where c.order_id = o.order_id and c.state = 'captured'),
            (select count(*) from sandbox_provider.payments p
             where p.merchant_reference = o.order_id::text and p.state = 'captured'),
            (select count(*) from shipping.shipments s
             where s.order_id = o.order_id and s.state = 'purchased'),
            (select count(*) from orders.order_events e
             where e.order_id = o.order_id and e.type = 'order.completed')
        ) as times,
        exists (select from shipping.shipments s
                where s.order_id = o.order_id and s.state = 'purchased') as shipped,
        exists (select from payments.charges c
                where c.order_id = o.order_id and c.refunded > 0) as refunded,
        (select count(*) from sandbox_provider.payments p
         where p.merchant_reference = o.order_id::text and p.state = 'captured') > 1 as paid_twice
    from orders.orders o
    full join unnest(:'accepted'::uuid[]) as a (order_id) using (order_id)
)
select json_build_object(
    'orders', count(*),
    'finished', count(*) filter (where status = 'completed'),
    'unwound', count(*) filter (where status in ('cancelled', 'rejected', 'failed')),
    'never_ended', count(*) filter (
        where status is null or status not in ('completed', 'cancelled', 'rejected', 'failed')
    ),
    'twice', count(*) filter (where times > 1),
    'paid_twice', count(*) filter (where paid_twice),
    'shipped_and_refunded', count(*) filter (where shipped and refunded)
) from fates;
