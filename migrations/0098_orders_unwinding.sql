-- no-transaction
-- Orders that are being unwound: a few at any moment. Those that need attention have an index already
-- (0040).
create index concurrently if not exists orders_unwinding
    on orders.orders (placed_at desc, order_id) where ending is not null
