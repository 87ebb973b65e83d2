-- no-transaction
-- Orders by their discount code, in any case, newest first, as a search finds them.
create index concurrently if not exists orders_by_discount_code
    on orders.orders (lower(discount_code), placed_at desc, order_id)
    where discount_code is not null
