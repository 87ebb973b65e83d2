-- no-transaction
-- Orders by discount code, ignoring case, newest first, for the search. The code of an order never
-- changes.
create index concurrently if not exists orders_by_discount_code
    on orders.orders (lower(discount_code), placed_at desc, order_id)
    where discount_code is not null
