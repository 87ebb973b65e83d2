-- no-transaction
-- Parcels by tracking number, ignoring case, for the search. The index is on the event for the same
-- reason as in migration 0098.
create index concurrently if not exists order_events_by_tracking
    on orders.order_events (lower(data ->> 'tracking')) where type = 'order.shipped'
