-- What was found by reading all of a table that grows with the orders is found by an index.
--
-- Of the payments, which are as many as the orders, a range of days is looked for, and they are kept
-- in the order of their days: a block range index says so in a few pages, and is built in a fraction
-- of a second. The other tables hold a row for one order in hundreds, and are indexed as quickly.

-- Disputes that are open are counted for the metrics.
create index disputes_open on payments.disputes (evidence_due) where is_open;

-- Waits are withdrawn by who waits for what, whether they were told or not.
create index waits_by_customer on mail.waits (customer_id, sku) where withdrawn_at is null;

-- A run's differences are counted when it ends.
create index differences_by_opening_run on finance.differences (opened_in);
create index differences_by_closing_run on finance.differences (closed_in)
    where closed_in is not null;

-- A run looks at the payouts and refunds that it has seen.
create index payouts_by_run on finance.payouts (seen_in);
create index provider_refunds_by_run on finance.provider_refunds (seen_in);

-- The two that are built over many rows come last, so that nobody waits for the others meanwhile.
--
-- A comparison with the provider begins with the payments of its days.
create index charges_by_time on payments.charges using brin (recorded_at)
    with (pages_per_range = 16);

-- The sweep of idempotency records went through all of them every minute, to find that none was due.
-- Now it goes through those alone that are as old as that.
-- They are kept in the order of their time, nearly, so a block range index is enough, and costs an
-- order nothing.
create index step_keys_by_time on orders.step_keys using brin (recorded_at)
    with (pages_per_range = 16);

create or replace function operations.sweep(
    outbox_for interval, idempotency_for interval, at_most integer
) returns table (what text, removed bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    networks bigint;
begin
    what := 'published messages';
    removed := outbox.sweep(outbox_for, at_most);
    return next;

    what := 'idempotency records';
    with due as (
        select step_keys.order_id, step, step_keys.version
        from orders.orders join orders.step_keys using (order_id)
        where orders.is_terminal(status) and updated_at < now() - idempotency_for
            -- An order's records are older than its end, so this leaves out none that is due.
            and step_keys.recorded_at < now() - idempotency_for
        limit at_most for update of step_keys skip locked
    )
    delete from orders.step_keys using due
    where (step_keys.order_id, step_keys.step, step_keys.version)
        = (due.order_id, due.step, due.version);
    get diagnostics removed = row_count;
    return next;

    what := 'launch rows of orders that have ended';
    with due as (
        select order_id from orders.launches join orders.orders using (order_id)
        where orders.is_terminal(status)
        limit at_most for update of launches skip locked
    )
    delete from orders.launches using due where launches.order_id = due.order_id;
    get diagnostics removed = row_count;
    return next;

    what := 'what orders were counted by';
    with due as (
        select origins.order_id from fraud.origins where recorded_at < now() - idempotency_for
        order by recorded_at limit at_most for update skip locked
    )
    delete from fraud.origins using due where origins.order_id = due.order_id;
    get diagnostics networks = row_count;
    with due as (
        select counted.order_id, counted.version, counted.kind from fraud.counted
        where counted_at < now() - idempotency_for
        order by counted_at limit at_most for update skip locked
    )
    delete from fraud.counted using due
    where (counted.order_id, counted.version, counted.kind)
        = (due.order_id, due.version, due.kind);
    get diagnostics removed = row_count;
    removed := removed + networks;
    return next;
end
$$;
