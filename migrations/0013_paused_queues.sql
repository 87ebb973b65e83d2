-- What stands still by a person's decision.
--
-- A worker that finds its queue here takes nothing more from it; what is in the queue waits in
-- Temporal, in the order in which it came. No row: the queue is served.
create schema operations;

create table operations.paused_queues (
    queue text primary key constraint paused_queues_known
        check (queue in ('orders', 'payments', 'fulfilment', 'notifications')),
    -- As the token named them.
    paused_by text not null,
    why text not null,
    paused_at timestamptz not null default now()
);

do $$
begin
    if to_regrole('ordersaga_app') is null then
        return;
    end if;
    grant usage on schema operations to ordersaga_app;
    grant select, insert, delete on operations.paused_queues to ordersaga_app;
end
$$;
