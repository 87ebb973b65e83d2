-- Provider and shop are compared, payment by payment, and what the provider pays out is booked.
--
-- A run reads what the provider lists of a range, page by page, and keeps it here before anything is
-- compared: after each page it is on record how far the run has come, so that whoever carries it on
-- goes on from there. One run is under way at a time. One of which nothing was heard for five
-- minutes may be abandoned by the next; it then changes nothing any more.
--
-- A difference is told once, and closed by the run that looks at its payment or payout again and
-- does not find it. None of this is part of an order's own attention: that is a question of its
-- workflow, with an answer that the workflow waits for; and an order that has ended has none.
set local lock_timeout = '3s';

create schema finance;

create table finance.runs (
    run_id bigint generated always as identity primary key,
    -- Who asked for it names it, so that an attempt which comes again carries the same run on.
    request text not null constraint runs_once_per_request unique,
    -- From the first moment on, and before the second; whole seconds, as providers count.
    covers_from timestamptz not null,
    covers_to timestamptz not null,
    state text not null default 'under-way' constraint runs_state_known
        check (state in ('under-way', 'finished', 'abandoned')),
    -- What is being read, and where its next page begins.
    phase text not null default 'payments' constraint runs_phase_known
        check (phase in ('payments', 'refunds', 'left-out', 'payouts', 'judging')),
    cursor text,
    payments bigint not null default 0,
    refunds bigint not null default 0,
    payouts bigint not null default 0,
    -- What came of it: how many differences it opened and closed, how many it found in all, and what
    -- it repaired.
    opened bigint not null default 0,
    closed bigint not null default 0,
    found bigint not null default 0,
    voided bigint not null default 0,
    hinted bigint not null default 0,
    started_at timestamptz not null default now(),
    touched_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    constraint runs_range_not_empty check (covers_from < covers_to),
    constraint runs_finished_at_an_end check ((finished_at is null) = (state = 'under-way'))
);

create unique index runs_one_under_way on finance.runs (state) where state = 'under-way';
create index runs_by_end on finance.runs (finished_at) where state = 'finished';

-- What the provider said of a payment when it was last looked at.
create table finance.provider_payments (
    reference text primary key,
    -- The order that the provider has been told of, if it is the id of one.
    order_id uuid,
    opened_at timestamptz,
    standing text not null constraint provider_payments_standing_known
        check (standing in ('known', 'undecided', 'unreadable', 'missing')),
    state text,
    currency char(3),
    amount numeric not null default 0,
    captured numeric not null default 0,
    refunded numeric not null default 0,
    seen_in bigint not null references finance.runs,
    constraint provider_payments_told_if_known
        check ((standing = 'known') = (state is not null and currency is not null))
);

create index provider_payments_by_run on finance.provider_payments (seen_in, reference);
create index provider_payments_by_order on finance.provider_payments (order_id);

create table finance.provider_refunds (
    reference text primary key,
    payment text not null,
    -- The shop's key for it; none, if somebody made it at the provider.
    key text,
    state text not null constraint provider_refunds_state_known
        check (state in ('pending', 'succeeded', 'failed')),
    seen_in bigint not null references finance.runs
);

create index provider_refunds_by_payment on finance.provider_refunds (payment);
create index provider_refunds_by_key on finance.provider_refunds (key);

-- Payouts that were booked.
create table finance.payouts (
    payout text primary key,
    -- The provider's balance transaction that took it out of the balance.
    transaction text not null constraint payouts_booked_once unique,
    currency char(3) not null,
    -- Below zero, if the bank account was debited.
    amount numeric not null,
    -- The balance transaction that brought it back, if the bank did not take it.
    returned_by text constraint payouts_returned_once unique,
    seen_in bigint not null references finance.runs
);

-- What payouts consist of. Amounts are above zero if they are to the shop; a fee is above zero if the
-- shop pays it.
create table finance.balance_transactions (
    transaction text primary key,
    payout text not null,
    kind text not null constraint balance_transactions_kind_known
        check (kind in ('charge', 'refund', 'fee', 'payout', 'dispute', 'other')),
    payment text,
    currency char(3) not null,
    amount numeric not null,
    fee numeric not null
);

create index balance_transactions_by_payout on finance.balance_transactions (payout);

create table finance.differences (
    difference_id bigint generated always as identity primary key,
    kind text not null constraint differences_kind_known check (kind in (
        'not-in-shop', 'not-at-provider', 'amounts-differ', 'captured-only-there',
        'captured-only-here', 'authorised-and-left', 'refunded-only-there', 'refunded-only-here',
        'refund-failed-there', 'charged-twice', 'unreadable', 'payout-differs',
        'settled-in-another-currency'
    )),
    -- The provider's own name for the payment or the payout.
    subject text not null,
    order_id uuid,
    -- The amounts on both sides, where a side has one.
    at_provider numeric,
    at_provider_currency char(3),
    in_shop numeric,
    in_shop_currency char(3),
    opened_at timestamptz not null default now(),
    opened_in bigint not null references finance.runs,
    seen_in bigint not null references finance.runs,
    closed_at timestamptz,
    closed_in bigint references finance.runs,
    constraint differences_closed_by_a_run check ((closed_at is null) = (closed_in is null))
);

-- Opened once: what stands open is found again.
create unique index differences_open_once on finance.differences (kind, subject)
    where closed_at is null;
create index differences_open_by_subject on finance.differences (subject) where closed_at is null;

comment on table finance.differences is
    'Where provider and shop do not say the same. Closed by the run that finds it gone.';

-- What both sides say of the payments that a run has looked at: of one, or of those after another
-- by the provider's name. `domain::reconciliation` judges it.
create function finance.compared(
    the_run bigint, the_reference text, after_reference text, at_most integer
) returns table (
    reference text, standing text,
    their_state text, their_currency text, their_amount numeric, their_captured numeric,
    their_refunded numeric,
    our_state text, our_currency text, our_captured numeric, our_refunded numeric,
    order_id uuid, order_standing text, refund_standing text,
    is_surplus boolean, is_settled_by_hand boolean
) language sql stable as $$
    select
        theirs.reference, theirs.standing,
        theirs.state, theirs.currency::text, theirs.amount, theirs.captured, theirs.refunded,
        ours.state, ours.currency::text, ours.captured, ours.refunded,
        placed.order_id,
        case
            when placed.order_id is null then 'unknown'
            when orders.is_terminal(placed.status) then case
                when placed.status = 'completed' and not exists (
                    select from payments.charges as paid
                    where paid.order_id = placed.order_id and paid.captured > 0
                ) then 'completed-unpaid'
                else 'over'
            end
            when placed.updated_at > now() - interval '15 minutes' then 'moving'
            else 'waiting'
        end,
        case
            when exists (
                select from payments.refund_requests as asked
                where asked.order_id = placed.order_id and asked.state in ('requested', 'pending')
            ) then 'under-way'
            -- One that failed and was made anew under the same key has not failed.
            when exists (
                select from finance.provider_refunds as failed
                join payments.refunds as known on known.refund_key = failed.key
                where failed.payment = theirs.reference and failed.state = 'failed'
                    -- Of one that has been taken back, the shop knows.
                    and known.returned_at is null
                    and not exists (
                        select from finance.provider_refunds as made
                        where made.key = failed.key and made.state <> 'failed'
                    )
            ) then 'failed-there'
            else 'at-rest'
        end,
        -- Of several payments that stand, those that the shop knows as taken come first, and then the
        -- oldest; whatever comes later is one too many.
        theirs.captured > theirs.refunded and exists (
            select from finance.provider_payments as other
            left join payments.charges as known on known.provider_reference = other.reference
            where other.order_id = theirs.order_id and other.reference <> theirs.reference
                and other.captured > other.refunded
                and (coalesce(known.captured, 0) = 0, other.opened_at, other.reference)
                    < (coalesce(ours.captured, 0) = 0, theirs.opened_at, theirs.reference)
        ),
        exists (
            select from orders.order_events as decided
            where decided.order_id = placed.order_id
                and decided.type = 'order.attention-resolved'
                and decided.data ->> 'decision' = 'skip'
                and decided.data ->> 'step' in ('authorise-payment', 'capture-payment')
        )
    from finance.provider_payments as theirs
    left join payments.charges as ours on ours.provider_reference = theirs.reference
    left join orders.orders as placed on placed.order_id = coalesce(ours.order_id, theirs.order_id)
    where theirs.seen_in = the_run
        and theirs.reference > after_reference
        and (the_reference is null or theirs.reference = the_reference)
    order by theirs.reference
    limit at_most
$$;

-- What the books have of the payouts that a run has booked, and of those of which a difference
-- stands open. A payment and its refunds are in payment clearing as the shop has them on record, fees
-- as they were booked, and what a dispute has moved as the dispute has booked it, its fee included;
-- what else a payout consists of is in no books.
create function finance.compared_payouts(the_run bigint) returns table (
    payout text, currency text, at_provider numeric, in_shop numeric, is_returned boolean,
    is_exchanged boolean
) language sql stable as $$
    with judged as (
        select paid.* from finance.payouts as paid
        where paid.seen_in = the_run or exists (
            select from finance.differences as open
            where open.subject = paid.payout and open.closed_at is null
        )
    ), item as (
        select settled.payout, settled.currency, settled.kind, settled.payment,
            sum(settled.amount) as amount, sum(settled.fee) as fee
        from finance.balance_transactions as settled join judged using (payout)
        where settled.kind not in ('payout', 'dispute')
        group by settled.payout, settled.currency, settled.kind, settled.payment
    ), part as (
        select item.payout,
            case
                when item.kind = 'charge' and ours.currency = item.currency
                then ours.captured - item.fee
                when item.kind = 'refund' and ours.currency = item.currency
                then -least(-item.amount, ours.refunded) - item.fee
                when item.kind = 'fee' then item.amount - item.fee
                else -item.fee
            end as amount,
            item.kind in ('charge', 'refund') and ours.currency <> item.currency as is_exchanged
        from item left join payments.charges as ours on ours.provider_reference = item.payment
        union all
        select settled.payout,
            case
                when moved.currency <> settled.currency then 0
                when moved.kind in ('reinstated', 'fee-returned') then moved.amount
                else -moved.amount
            end,
            moved.currency <> settled.currency
        from finance.balance_transactions as settled join judged using (payout)
        join payments.dispute_movements as moved on moved.reference = settled.transaction
        where settled.kind = 'dispute'
    ), booked as (
        select part.payout, sum(part.amount) as amount, bool_or(part.is_exchanged) as is_exchanged
        from part group by part.payout
    )
    select judged.payout, judged.currency::text, judged.amount, coalesce(booked.amount, 0),
        judged.returned_by is not null, coalesce(booked.is_exchanged, false)
    from judged left join booked using (payout)
    order by judged.payout
$$;

-- ---------------------------------------------------------------------------------------------
-- The books: where the provider pays out to, and what it keeps
-- ---------------------------------------------------------------------------------------------

insert into ledger.accounts (account, normal_side) values
    ('bank', 'debit'),
    ('payment-fees', 'debit');

-- What was allowed before is allowed now, so that the entries that are there need not be read.
alter table ledger.entries
    drop constraint entries_account_known,
    add constraint entries_account_known check (account in (
        'payment-clearing', 'disputed-payments', 'bank', 'inventory', 'customer-deposits',
        'sales-tax-payable', 'goods-received', 'sales', 'shipping-income', 'refunds',
        'cost-of-goods', 'payment-fees', 'dispute-fees', 'dispute-losses'
    )) not valid;

-- ---------------------------------------------------------------------------------------------
-- The sandbox provider
-- ---------------------------------------------------------------------------------------------

alter table sandbox_provider.behaviours
    drop constraint behaviours_call_known,
    add constraint behaviours_call_known check (
        call in ('open', 'authorise', 'capture', 'void', 'refund', 'look-up', 'list', '*')
    );

create table sandbox_provider.payouts (
    payout_id bigint generated always as identity primary key,
    currency char(3) not null,
    amount numeric not null,
    state text not null default 'paid' constraint payouts_state_known
        check (state in ('pending', 'paid', 'failed')),
    -- Whether its balance transactions can be asked for.
    is_itemised boolean not null default true,
    created_at timestamptz not null default now()
);

create table sandbox_provider.balance_transactions (
    transaction_id bigint generated always as identity primary key,
    payout_id bigint not null references sandbox_provider.payouts,
    kind text not null constraint balance_transactions_kind_known
        check (kind in ('charge', 'refund', 'fee', 'other')),
    payment_id bigint references sandbox_provider.payments,
    refund_id bigint references sandbox_provider.refunds,
    currency char(3) not null,
    amount numeric not null,
    fee numeric not null default 0
);

create unique index balance_transactions_once_per_payment
    on sandbox_provider.balance_transactions (payment_id) where kind = 'charge';
create unique index balance_transactions_once_per_refund
    on sandbox_provider.balance_transactions (refund_id) where kind = 'refund';
create index balance_transactions_by_payout on sandbox_provider.balance_transactions (payout_id);

-- Pays out whatever was not paid out yet, a payout for each currency, less so many percent of each
-- payment; how many payouts that makes.
create function sandbox_provider.pay_out(fee_percent numeric default 1.5) returns integer
language plpgsql as $$
declare
    the_currency text;
    the_payout bigint;
    payouts integer := 0;
begin
    for the_currency in
        select distinct currency from sandbox_provider.payments where state = 'captured' order by 1
    loop
        insert into sandbox_provider.payouts (currency, amount) values (the_currency, 0)
        returning payout_id into the_payout;
        insert into sandbox_provider.balance_transactions
            (payout_id, kind, payment_id, currency, amount, fee)
        select the_payout, 'charge', payment_id, currency, captured,
            round(captured * fee_percent / 100, scale(captured))
        from sandbox_provider.payments as payment
        where payment.state = 'captured' and payment.currency = the_currency and captured > 0
            and not exists (
                select from sandbox_provider.balance_transactions as known
                where known.payment_id = payment.payment_id and known.kind = 'charge'
            )
        order by payment_id;
        insert into sandbox_provider.balance_transactions
            (payout_id, kind, payment_id, refund_id, currency, amount)
        select the_payout, 'refund', payment.payment_id, refund.refund_id, payment.currency,
            -refund.amount
        from sandbox_provider.refunds as refund
        join sandbox_provider.payments as payment using (payment_id)
        where refund.state = 'succeeded' and payment.currency = the_currency
            and not exists (
                select from sandbox_provider.balance_transactions as known
                where known.refund_id = refund.refund_id and known.kind = 'refund'
            )
        order by refund.refund_id;
        if exists (
            select from sandbox_provider.balance_transactions as made
            where made.payout_id = the_payout
        ) then
            update sandbox_provider.payouts as payout
            set amount = (
                select sum(made.amount - made.fee)
                from sandbox_provider.balance_transactions as made
                where made.payout_id = the_payout
            )
            where payout.payout_id = the_payout;
            payouts := payouts + 1;
        else
            delete from sandbox_provider.payouts as payout where payout.payout_id = the_payout;
        end if;
    end loop;
    return payouts;
end
$$;

revoke execute on function sandbox_provider.pay_out from public;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant usage on schema finance to ordersaga_worker;
        grant select, insert, update on
            finance.runs, finance.provider_payments, finance.provider_refunds, finance.payouts,
            finance.differences
            to ordersaga_worker;
        grant select, insert on finance.balance_transactions to ordersaga_worker;
        grant select on sandbox_provider.payouts, sandbox_provider.balance_transactions
            to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant usage on schema finance to ordersaga_starter;
        grant select on finance.runs, finance.differences to ordersaga_starter;
    end if;
end
$$;
