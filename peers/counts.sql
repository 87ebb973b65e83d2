-- What became of the orders, out of the tables alone: one row. Run it when nothing moves any more.
with fates as (
    select coalesce(o.order_id, a.order_id) as order_id, o.status,
        a.order_id is not null as accepted,
        -- Each counts how often the order had this effect.
        greatest(
            (select count(*) from peer.events e
             where e.order_id = o.order_id and e.type = 'placed'),
            (select count(*) from peer.reservations r where r.order_id = o.order_id),
            (select count(*) from peer.charges c where c.order_id = o.order_id),
            (select count(*) from peer.transactions t
             where t.order_id = o.order_id and t.what = 'payment'),
            (select count(*) from peer.shipments s where s.order_id = o.order_id),
            (select count(*) from peer.transactions t
             where t.order_id = o.order_id and t.what = 'sale')
        ) as times,
        exists (select from peer.shipments s where s.order_id = o.order_id) as shipped,
        exists (select from peer.charges c where c.order_id = o.order_id and c.refunded > 0)
            as refunded,
        (select count(*) from peer.charges c where c.order_id = o.order_id) > 1 as paid_twice
    from peer.orders o full join (select distinct order_id from peer.accepted) a using (order_id)
)
select json_build_object(
    'orders', count(*),
    -- All six steps are done.
    'finished', count(*) filter (where status = 'completed'),
    -- Everything was undone, and the order says so.
    'unwound', count(*) filter (where status = 'failed'),
    -- Left where the kill found it, or accepted and then never heard of.
    'never_ended', count(*) filter (
        where status is null or status not in ('completed', 'failed')
    ),
    'accepted_and_never_begun', count(*) filter (where accepted and status is null),
    'twice', count(*) filter (where times > 1),
    'paid_twice', count(*) filter (where paid_twice),
    'shipped_and_refunded', count(*) filter (where shipped and refunded)
) from fates;
