-- no-transaction
-- The events of the last hours, for `ordersaga prove --hours`.
--
-- Events are appended in nearly the order of their time, so a block range index is small, and costs
-- an insert almost nothing. `autosummarize`: a table that is only appended to is seldom vacuumed,
-- and each query reads all blocks that have no summary yet.
create index concurrently if not exists order_events_by_time
    on orders.order_events using brin (occurred_at) with (autosummarize = on)
