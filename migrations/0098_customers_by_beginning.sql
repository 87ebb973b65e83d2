-- no-transaction
-- Customers by the start of their id, ignoring case, for the search.
--
-- The index is on the event `order.placed`, because events are never updated; an order's row is
-- updated several times. `customers.customers` does not contain all customers with orders.
create index concurrently if not exists order_events_by_customer
    on orders.order_events (
        (lower(data ->> 'customer_id') collate "C"), ((data ->> 'customer_id') collate "C")
    ) where type = 'order.placed'
