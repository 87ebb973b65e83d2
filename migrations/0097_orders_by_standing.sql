-- no-transaction
-- Orders by where they stand: each combination of the three statuses, newest first.
--
-- A list by status is put together from the combinations that its filter allows, of which each is read
-- from this index until the page is full. So it costs the same whether a million orders pass the
-- filter or none, and does not depend on what the planner believes of the distribution.
--
-- It has a price: the statuses change with every turn of an order, and a change of an indexed column
-- writes an entry in every index of the row. Before, only an order's end did (0004).
create index concurrently if not exists orders_by_standing
    on orders.orders (status, payment_status, fulfilment_status, placed_at desc, order_id)
