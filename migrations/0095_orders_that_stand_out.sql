-- no-transaction
-- Orders that are not completed, by how they stand: few of a million, which `ordersaga recover`, the
-- metrics, the proof and lists by status looked for among all of them.
--
-- The index is built beside a shop that takes orders: a plain `create index` on a million rows keeps
-- everybody from writing for seconds. Postgres builds one this way outside a transaction alone, and as
-- the only statement that it is sent, so nothing else stands here.
create index concurrently if not exists orders_standing_out
    on orders.orders (status, placed_at desc, order_id) where status <> 'completed'
