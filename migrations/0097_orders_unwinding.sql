-- no-transaction
-- Orders that are being unwound: few at any time. Migration 0040 has the index of orders that need
-- attention.
--
-- `ending` changes only in orders that are unwound, so the updates of all others remain HOT.
create index concurrently if not exists orders_unwinding
    on orders.orders (placed_at desc, order_id) where ending is not null
