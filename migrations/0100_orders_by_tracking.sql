-- no-transaction
-- Parcels by their tracking numbers, in any case, as a search finds them. On the event and not on the
-- order, as in 0099.
create index concurrently if not exists order_events_by_tracking
    on orders.order_events (lower(data ->> 'tracking')) where type = 'order.shipped'
