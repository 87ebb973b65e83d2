-- Money of a completed order is given back: all of it or a part, as often as its payment allows.
--
-- A refund is a process of its own, with a workflow of its own. Asking for it is one statement:
-- `payments.request_refund`, a function of the owner's for which alone the starter has the right. It
-- writes the refund, claims its amount of the payment, and leaves a launch row, as the placing of
-- an order does. The refund's row is its idempotency record: whoever finds it ended, changes
-- nothing.
--
-- What refunds have claimed of a payment is counted in the payment's own row, whose check refuses
-- more than was captured, however many ask at once. A refund that fails gives its claim back. An
-- order has one refund under way at a time, so that what waits for a person is one thing.
set local lock_timeout = '3s';

alter table payments.charges
    -- What refunds of the completed order have claimed of it, those that gave nothing back excepted.
    add column refund_claimed numeric not null default 0,
    add constraint charges_refunds_at_most_captured check (refund_claimed between 0 and captured);

create table payments.refund_requests (
    order_id uuid not null,
    -- Counts the order's refunds, from 1.
    number integer not null constraint refund_requests_number_known check (number between 1 and 100),
    -- The payment that it gives back.
    charge_key text not null references payments.charges,
    currency char(3) not null,
    amount numeric not null constraint refund_requests_amount_positive check (amount > 0),
    -- What it consists of; see `domain::refund`.
    goods numeric not null,
    goods_tax numeric not null,
    shipping numeric not null,
    shipping_tax numeric not null,
    -- The goods that it is for, such as [{"sku":"85123A","quantity":2}]; none if an amount was
    -- asked for.
    lines jsonb not null,
    reason text not null
        constraint refund_requests_reason_bounded check (char_length(reason) between 1 and 200),
    -- As the token named them.
    requested_by text not null,
    -- The caller's Idempotency-Key, and what tells a repeat from another request under it.
    request text not null,
    fingerprint text not null,
    state text not null default 'requested' constraint refund_requests_state_known check (
        state in ('requested', 'pending', 'succeeded', 'failed', 'cancelled')
    ),
    -- The provider's own name for the refund that succeeded.
    provider_reference text,
    -- The refund at the provider that failed last and that a person was told of, and why it failed.
    failed_reference text,
    failure text,
    requested_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (order_id, number),
    constraint refund_requests_once_per_request unique (order_id, requested_by, request),
    constraint refund_requests_parts_add_up
        check (amount = goods + goods_tax + shipping + shipping_tax),
    constraint refund_requests_parts_not_negative
        check (least(goods, goods_tax, shipping, shipping_tax) >= 0),
    constraint refund_requests_named_when_succeeded
        check ((provider_reference is not null) = (state = 'succeeded'))
);

-- One at a time; also what finds those that are under way.
create unique index refund_requests_one_under_way on payments.refund_requests (order_id)
    where state in ('requested', 'pending');

comment on table payments.refund_requests is
    'Refunds of completed orders. What an order that is unwound gives back is in payments.refunds alone.';

-- Refunds whose workflow has to be started; as `orders.launches`.
create table orders.refund_launches (
    order_id uuid not null,
    number integer not null,
    requested_at timestamptz not null default now(),
    is_recovery boolean not null default false,
    not_before timestamptz not null default now(),
    attempts integer not null default 0,
    last_error text,
    primary key (order_id, number)
);

create index refund_launches_by_age on orders.refund_launches (requested_at);

comment on table orders.refund_launches is
    'Refunds on record whose workflow has to be started. The row goes once the workflow exists.';

-- Puts a refund on record and claims its amount. `parts` are goods, tax on goods, shipping and tax
-- on shipping; they were worked out for the refund of this number, while so much was claimed.
-- Answers what became of the request, and the number of the refund that it is about:
--
-- 'requested': done;
-- 'repeated': the same request was done before;
-- 'other-request': another request came under the same key before;
-- 'not-refundable': the order is not completed, or was not paid, or the bank disputes it;
-- 'under-way': another refund of the order is under way;
-- 'changed': another refund came or failed meanwhile: work it out anew;
-- 'too-much': it is more than is left of the payment, or of a part of it.
create function payments.request_refund(
    the_order uuid, the_number integer, the_claimed numeric, the_request text,
    the_fingerprint text, parts numeric[], event jsonb
) returns table (outcome text, refund integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    wanted constant numeric := parts[1] + parts[2] + parts[3] + parts[4];
    placed record;
    known record;
    charge record;
    before record;
begin
    -- The order first, as everywhere: its requests wait for each other, and for its events.
    select * into placed from orders.orders where orders.order_id = the_order for no key update;
    select asked.number, asked.fingerprint into known from payments.refund_requests as asked
    where asked.order_id = the_order and asked.request = the_request
        and asked.requested_by = event ->> 'requested_by';
    if found then
        outcome := case when known.fingerprint = the_fingerprint
            then 'repeated' else 'other-request' end;
        refund := known.number;
        return next;
        return;
    end if;
    select * into charge from payments.charges
    where charges.order_id = the_order and charges.captured > 0
    order by charges.attempt desc limit 1 for no key update;
    if not found or placed.status is distinct from 'completed'
        or placed.payment_status not in ('paid', 'partially-refunded')
    then
        outcome := 'not-refundable';
        return next;
        return;
    end if;
    select coalesce(max(asked.number), 0) as numbered,
        coalesce(bool_or(asked.state in ('requested', 'pending')), false) as is_under_way,
        coalesce(sum(asked.goods) filter (where counts), 0) as goods,
        coalesce(sum(asked.shipping) filter (where counts), 0) as shipping,
        coalesce(sum(asked.goods_tax + asked.shipping_tax) filter (where counts), 0) as tax
    into before
    from payments.refund_requests as asked,
        lateral (values (asked.state not in ('failed', 'cancelled'))) as counted (counts)
    where asked.order_id = the_order;
    outcome := case
        when before.is_under_way then 'under-way'
        when the_number <> before.numbered + 1 or the_claimed <> charge.refund_claimed
            then 'changed'
        when charge.currency <> event #>> '{amount,currency}'
            or wanted <> (event #>> '{amount,amount}')::numeric
            or charge.refund_claimed + wanted > charge.captured
            or before.goods + parts[1] > placed.subtotal - placed.discount
            or before.shipping + parts[3] > placed.shipping
            or before.tax + parts[2] + parts[4] > placed.tax
            then 'too-much'
        else 'requested'
    end;
    if outcome <> 'requested' then
        return next;
        return;
    end if;
    update payments.charges set refund_claimed = charges.refund_claimed + wanted
    where charges.charge_key = charge.charge_key;
    insert into payments.refund_requests (
        order_id, number, charge_key, currency, amount, goods, goods_tax, shipping, shipping_tax,
        lines, reason, requested_by, request, fingerprint
    ) values (
        the_order, the_number, charge.charge_key, charge.currency, wanted,
        parts[1], parts[2], parts[3], parts[4],
        event -> 'lines', event ->> 'reason', event ->> 'requested_by', the_request, the_fingerprint
    );
    insert into orders.refund_launches (order_id, number) values (the_order, the_number);
    perform orders.record(
        the_order, 'order.refund-requested', event || jsonb_build_object('number', the_number)
    );
    refund := the_number;
    return next;
end
$$;

revoke execute on function payments.request_refund from public;

-- ---------------------------------------------------------------------------------------------
-- What a refund makes of its order
-- ---------------------------------------------------------------------------------------------

-- What `OrderEvent::payment_status` says of an event. Of a refund it also counts what is left; see
-- `orders.project`.
create or replace function orders.payment_after(status text, event_type text) returns text
language sql immutable parallel safe
return (
    select case when orders.payment_may_become(status, next) then next else status end
    from (values (case event_type
        when 'payment.awaiting-customer' then 'awaiting-customer'
        when 'payment.authorised' then 'authorised'
        when 'payment.captured' then 'paid'
        when 'payment.declined' then 'declined'
        when 'payment.expired' then 'voided'
        when 'payment.voided' then 'voided'
        when 'payment.refunded' then 'refunded'
        when 'order.refund-succeeded' then 'partially-refunded'
    end)) as event (next)
);

-- As before, and two things more: a refund that leaves nothing of the payment has refunded it; and a
-- refund may need a person although its order has ended. The same as `OrderState::apply`.
create or replace function orders.project(
    the_order uuid, event_type text, event jsonb, happened_at timestamptz
) returns integer language plpgsql as $$
declare
    the_number integer;
    ended constant jsonb := orders.terminal_status(event_type, event);
begin
    update orders.orders as known
    set payment_status = orders.payment_after(known.payment_status, case
            when event_type = 'order.refund-succeeded' and (event #>> '{left,amount}')::numeric = 0
            then 'payment.refunded'
            else event_type
        end),
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

-- As before, but an order of which a refund was asked for has ended for good: its last workflow run
-- does not take back what it completed.
create or replace function orders.note_unwinding(the_order uuid, the_ending jsonb, the_run text)
returns table (ending jsonb, ended jsonb) language plpgsql as $$
declare
    known record;
begin
    select * into known from orders.orders where order_id = the_order for no key update;
    if not found then
        return;
    end if;
    if known.ending is not null then
        return query select known.ending, null::jsonb;
        return;
    end if;
    if orders.is_terminal(known.status) and not (
        known.status = 'completed' and exists (
            select from orders.step_keys
            where step_keys.order_id = the_order and step = 'recognise-revenue'
                and step_keys.run_id = the_run
        ) and not exists (
            select from payments.refund_requests
            where refund_requests.order_id = the_order
        )
    ) then
        return query select null::jsonb, known.status_data;
        return;
    end if;
    perform orders.record(the_order, 'order.unwinding', jsonb_build_object('ending', the_ending));
    return query select the_ending, null::jsonb;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select on payments.refund_requests, orders.refund_launches to ordersaga_worker;
        grant update (state, provider_reference, failed_reference, failure, updated_at)
            on payments.refund_requests to ordersaga_worker;
        -- `recover` has a refund launched again whose workflow is lost.
        grant insert on orders.refund_launches to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant select on payments.refund_requests to ordersaga_starter;
        grant select, delete, update (not_before, attempts, last_error)
            on orders.refund_launches to ordersaga_starter;
        grant execute on function payments.request_refund to ordersaga_starter;
    end if;
end
$$;
