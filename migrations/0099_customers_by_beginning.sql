-- no-transaction
-- Customers by the beginning of their ids, in any case, as a search finds them.
--
-- It is on the placings and not on the orders: a placing is written once, and an order's row several
-- times. `customers.customers` does not have everybody who has ordered.
create index concurrently if not exists order_events_by_customer
    on orders.order_events (
        (lower(data ->> 'customer_id') collate "C"), ((data ->> 'customer_id') collate "C")
    ) where type = 'order.placed'
