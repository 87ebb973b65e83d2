-- A customer's bank takes a payment back, or asks about it.
--
-- The payment provider tells of a dispute by snapshots, which come late, more than once and in any
-- order. A row here is the newest that has come; `domain::dispute` says which is newer, and what it
-- moves. Each movement of money is a row, and a transaction in the books of the same name, written
-- together: what is here once is booked once. All of it happens under the lock of the order's row.
--
-- A parcel is not handed over while a dispute of its order is open, unless somebody has dealt with
-- it; and not at all once the customer keeps the money.
set local lock_timeout = '3s';

insert into ledger.accounts (account, normal_side) values
    ('disputed-payments', 'debit'),
    ('dispute-fees', 'debit'),
    ('dispute-losses', 'debit');

alter table ledger.entries
    drop constraint entries_account_known,
    add constraint entries_account_known check (account in (
        'payment-clearing', 'disputed-payments', 'inventory', 'customer-deposits',
        'sales-tax-payable', 'goods-received', 'sales', 'shipping-income', 'refunds',
        'cost-of-goods', 'dispute-fees', 'dispute-losses'
    ));

create table payments.disputes (
    -- Counts the shop's disputes, in the order in which it heard of them.
    position bigint generated always as identity unique,
    -- The provider's own id.
    dispute_id text primary key,
    order_id uuid not null,
    -- Counts the order's disputes, from 1.
    number integer not null constraint disputes_number_from_one check (number > 0),
    -- The payment that it is about.
    charge_key text not null references payments.charges,
    currency char(3) not null,
    amount numeric not null constraint disputes_amount_not_negative check (amount >= 0),
    status text not null constraint disputes_status_known check (status in (
        'warning-needs-response', 'warning-under-review', 'warning-closed', 'needs-response',
        'under-review', 'prevented', 'lost', 'won'
    )),
    -- `DisputeStatus::is_open` and `DisputeStatus::has_payment` are their twins.
    is_open boolean not null generated always as (status in (
        'warning-needs-response', 'warning-under-review', 'needs-response', 'under-review'
    )) stored,
    has_payment boolean not null generated always as (
        status in ('needs-response', 'under-review')
    ) stored,
    -- Whether the customer keeps the money.
    is_lost boolean not null,
    -- The bank's word for why.
    reason text not null,
    -- Until when the shop can answer.
    evidence_due timestamptz,
    -- Since when an operator is asked to answer it. Null: nobody is asked.
    asked_at timestamptz,
    -- When somebody has dealt with it, who, and why.
    released_at timestamptz,
    released_by text,
    released_why text,
    opened_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint disputes_numbered_once unique (order_id, number),
    constraint disputes_released_by_somebody
        check ((released_at is null) = (released_by is null and released_why is null))
);

create index disputes_by_charge on payments.disputes (charge_key);

-- Who has waited longest for an operator comes first.
create index disputes_to_answer on payments.disputes (orders.in_utc(asked_at), order_id)
    where asked_at is not null;

comment on table payments.disputes is
    'Disputes of customers'' banks, each as the newest snapshot of the provider has it.';

create table payments.dispute_movements (
    dispute_id text not null references payments.disputes,
    -- The provider's own name for what moved the money. Of what the shop works out: how many
    -- movements the provider had made until then, or `unwound`.
    reference text not null,
    -- `domain::dispute::MovementKind`. The transaction in the books is
    -- `dispute:{dispute_id}:{reference}:{kind}`.
    kind text not null constraint dispute_movements_kind_known check (kind in (
        'withdrawn', 'fee', 'reinstated', 'fee-returned', 'lost', 'recovered', 'settled'
    )),
    currency char(3) not null,
    amount numeric not null constraint dispute_movements_amount_positive check (amount > 0),
    moved_at timestamptz not null default now(),
    primary key (dispute_id, reference, kind)
);

comment on table payments.dispute_movements is 'Money that disputes have moved; never changed.';

create trigger dispute_movements_append_only
    before update or delete or truncate on payments.dispute_movements
    for each statement execute function ledger.refuse_change();

-- What an order's disputes have moved, for whoever compares: at the provider; of that, what the
-- customer keeps; and how much of this an order that is undone need not give back any more.
create view payments.dispute_totals as
select order_id, movement.currency,
    sum(case
        when kind in ('withdrawn', 'fee') then -movement.amount
        when kind in ('reinstated', 'fee-returned') then movement.amount
        else 0
    end) as moved,
    sum(case kind
        when 'lost' then movement.amount when 'recovered' then -movement.amount else 0
    end) as lost,
    sum(case kind when 'settled' then movement.amount else 0 end) as settled
from payments.disputes join payments.dispute_movements as movement using (dispute_id)
group by order_id, movement.currency;

-- Somebody has dealt with a dispute that is open: nobody is asked any more, and a parcel that was
-- held for it goes out. Answers what became of that:
--
-- 'released': done;
-- 'not-open': there is no such dispute, it is decided, or somebody has dealt with it before.
create function payments.release_dispute(
    the_order uuid, the_number integer, the_operator text, the_reason text
) returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    the_dispute text;
begin
    -- The order first, as everywhere.
    perform from orders.orders where orders.order_id = the_order for no key update;
    update payments.disputes
    set asked_at = null, released_at = clock_timestamp(), released_by = the_operator,
        released_why = the_reason, updated_at = clock_timestamp()
    where disputes.order_id = the_order and disputes.number = the_number
        and disputes.is_open and disputes.released_at is null
    returning disputes.dispute_id into the_dispute;
    if not found then
        return 'not-open';
    end if;
    perform orders.record(the_order, 'order.dispute-released', jsonb_build_object(
        'dispute_id', the_dispute, 'number', the_number, 'by', the_operator, 'why', the_reason
    ));
    return 'released';
end
$$;

revoke execute on function payments.release_dispute from public;

-- ---------------------------------------------------------------------------------------------
-- What a dispute makes of its order
-- ---------------------------------------------------------------------------------------------

-- The transitions of `PaymentStatus::transition_to`.
create or replace function orders.payment_may_become(status text, next text) returns boolean
language sql immutable parallel safe
return case status
    when 'none' then next in ('awaiting-customer', 'authorised', 'paid', 'declined', 'voided', 'refunded')
    when 'awaiting-customer' then next in ('authorised', 'paid', 'declined', 'voided')
    when 'authorised' then next in ('paid', 'voided', 'declined', 'refunded')
    when 'paid' then next in ('partially-refunded', 'refunded', 'disputed')
    when 'partially-refunded' then next in ('refunded', 'disputed')
    when 'refunded' then next in ('disputed')
    when 'disputed' then next in ('paid', 'partially-refunded', 'refunded')
    when 'declined' then next in ('awaiting-customer', 'authorised', 'paid', 'voided')
    else false
end;

-- As before (migration 0061), and two things more: a dispute's event says what the payment is, by all disputes about
-- it; and a refund that was under way when the bank took the payment back does not end the dispute.
-- The same as `OrderState::apply`.
create or replace function orders.project(
    the_order uuid, event_type text, event jsonb, happened_at timestamptz
) returns integer language plpgsql as $$
declare
    the_number integer;
    ended constant jsonb := orders.terminal_status(event_type, event);
begin
    update orders.orders as known
    set payment_status = case
            when event_type in (
                'order.dispute-opened', 'order.dispute-updated', 'order.dispute-closed'
            )
            then case
                when orders.payment_may_become(known.payment_status, event ->> 'payment_status')
                then event ->> 'payment_status'
                else known.payment_status
            end
            when event_type = 'order.refund-succeeded' and known.payment_status = 'disputed'
            then known.payment_status
            when event_type = 'order.refund-reversed'
            then orders.payment_after_reversal(known.payment_status, event)
            else orders.payment_after(known.payment_status, case
                when event_type = 'order.refund-succeeded' and (event #>> '{left,amount}')::numeric = 0
                then 'payment.refunded'
                else event_type
            end)
        end,
        fulfilment_status = orders.fulfilment_after(known.fulfilment_status, event_type),
        tracking = case when event_type = 'order.shipped' then event ->> 'tracking' else known.tracking end,
        status_data = case
            -- A completion that its own run takes back; `orders.note_unwinding` decides.
            when event_type = 'order.unwinding' and known.status = 'completed'
            then '{"status":"processing"}'::jsonb
            when orders.is_terminal(known.status) then known.status_data
            else coalesce(ended, known.status_data)
        end,
        ending = case
            when event_type = 'order.unwinding' and known.status in ('processing', 'completed')
            then event -> 'ending'
            when orders.is_terminal(known.status) or ended is not null then null
            -- The parcel has left for good: there is nothing to undo any more.
            when event_type = 'order.attention-resolved' and event ->> 'decision' = 'accept-as-done'
            then null
            else known.ending
        end,
        attention = case
            when orders.is_terminal(known.status) then case
                when event ->> 'step' is distinct from 'issue-refund' then known.attention
                when event_type = 'order.attention-needed' and known.status = 'completed'
                then event || jsonb_build_object('since', orders.in_utc(happened_at))
                when event_type = 'order.attention-resolved' then null
                else known.attention
            end
            when ended is not null then null
            when event_type = 'order.attention-needed'
            then event || jsonb_build_object('since', orders.in_utc(happened_at))
            when event_type = 'order.attention-resolved' then null
            else known.attention
        end,
        attentions = case when event_type = 'order.attention-needed'
            then known.attentions + 1 else known.attentions end,
        version = known.version + 1,
        updated_at = happened_at
    where known.order_id = the_order
    returning version into the_number;
    if the_number is null then
        raise exception 'order % is not on record, and % speaks of it', the_order, event_type;
    end if;
    return the_number;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select, insert, update on payments.disputes to ordersaga_worker;
        grant select, insert on payments.dispute_movements to ordersaga_worker;
        grant select on payments.dispute_totals to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant select on payments.disputes to ordersaga_starter;
        grant execute on function payments.release_dispute to ordersaga_starter;
    end if;
end
$$;
