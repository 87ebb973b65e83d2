-- That a refund is given up is on record before the provider is asked what became of it.
--
-- Until now an attempt that was held up before it read the refund could ask the provider for the
-- money after a person had given the refund up, because what it read did not say so. Now it reads
-- this, as a step finds the tombstone of its undo: it only looks up what became of the refund. What
-- remains is an attempt that has read the refund before, and a request that is on its way.
set local lock_timeout = '3s';

alter table payments.refund_requests
    -- Since when nobody asks the provider any more.
    add column given_up_at timestamptz;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant update (given_up_at) on payments.refund_requests to ordersaga_worker;
    end if;
end
$$;
