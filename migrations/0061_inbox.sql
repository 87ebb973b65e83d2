-- What the payment provider tells by itself, and what a refund made there means for the books.
--
-- An event says "look at this object". It is kept before it is answered, and applied afterwards by
-- any worker: the object is asked for at the provider, and its state decides. So an event that comes
-- twice, late or in the wrong order changes nothing. One that fits nothing yet stays open, is looked
-- at again later and later, and is listed for operators.
--
-- Nothing of an event's body is kept but what it is about: bodies tell about customers.
set local lock_timeout = '3s';

create schema inbox;

create table inbox.events (
    -- The provider's own name for the event: told twice, it is one row.
    event_id text primary key
        constraint events_id_bounded check (char_length(event_id) between 1 and 255),
    -- What the provider says happened; for people, it decides nothing but what is ignored.
    type text not null constraint events_type_bounded check (char_length(type) between 1 and 255),
    -- What it is about. Some objects have no id, and nothing is done about those.
    object_kind text not null
        constraint events_kind_bounded check (char_length(object_kind) between 1 and 255),
    object_id text
        constraint events_object_bounded check (char_length(object_id) between 1 and 255),
    -- By the provider's clock.
    happened_at timestamptz not null,
    received_at timestamptz not null default now(),
    state text not null default 'open'
        constraint events_state_known check (state in ('open', 'applied', 'ignored')),
    attempts integer not null default 0,
    -- While a worker looks at it, until when others leave it to that one.
    next_try_at timestamptz not null default now(),
    last_error text,
    done_at timestamptz,
    constraint events_done_when_not_open check ((done_at is null) = (state = 'open'))
);

create index events_due on inbox.events (next_try_at) where state = 'open';

create index events_by_state on inbox.events (state, received_at, event_id);

create index events_by_end on inbox.events (done_at) where done_at is not null;

comment on table inbox.events is
    'What the payment provider has told by itself: by webhook, or by its list of events.';

-- How far the provider's own list of events has been read, which is the second way to learn of them.
create table inbox.feeds (
    provider text primary key,
    -- All events up to this moment, by the provider's clock, have been read.
    read_until timestamptz not null,
    -- When it is read next. While a worker reads, until when others leave it to that one.
    due_at timestamptz not null
);

-- Removes events that were applied or ignored so long ago; how many.
create function inbox.sweep(kept_for interval, at_most integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    removed bigint;
begin
    with due as (
        select event_id from inbox.events where done_at < now() - kept_for
        order by done_at limit at_most for update skip locked
    )
    delete from inbox.events using due where events.event_id = due.event_id;
    get diagnostics removed = row_count;
    return removed;
end
$$;

-- ---------------------------------------------------------------------------------------------
-- Refunds that were made at the provider, and refunds that fail after they had succeeded
-- ---------------------------------------------------------------------------------------------

-- The provider names a payment by its own reference.
create index charges_by_reference on payments.charges (provider_reference);

alter table payments.refunds
    -- When the money came back to the shop, because the refund failed after it had succeeded.
    add column returned_at timestamptz;

alter table payments.refund_requests
    -- How often its money came back after it had succeeded. Each time it is a refund anew, and is
    -- booked under a name of its own.
    add column reversals integer not null default 0,
    -- Whether somebody made it at the provider, and not by way of the shop.
    add column is_from_outside boolean not null default false;

-- Records and books a refund that somebody made at the provider; once for each. What it consists of
-- was worked out as the refund of this number, while so much was claimed of the payment. Answers:
--
-- 'recorded': done;
-- 'repeated': it was on record before;
-- 'changed': another refund came or ended meanwhile: work it out anew;
-- 'not-completed': the order has not come to that end;
-- 'too-much': it is more than was captured and is not claimed by others.
create function payments.record_outside_refund(
    the_charge text, the_number integer, the_claimed numeric, the_reference text, the_name text,
    parts numeric[], accounts text[], sides text[], amounts numeric[],
    requested jsonb, succeeded jsonb, posted jsonb
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    wanted constant numeric := parts[1] + parts[2] + parts[3] + parts[4];
    the_order uuid;
    the_status text;
    charge record;
    numbered integer;
    booking bigint;
begin
    select order_id into the_order from payments.charges where charge_key = the_charge;
    -- The order first, as everywhere.
    select status into the_status from orders.orders where order_id = the_order for no key update;
    select * into charge from payments.charges where charge_key = the_charge for no key update;
    if exists (
        select from payments.refund_requests as known
        where known.order_id = the_order
            and the_reference in (known.provider_reference, known.failed_reference)
    ) then
        return 'repeated';
    end if;
    if the_status is distinct from 'completed' then
        return 'not-completed';
    end if;
    select coalesce(max(number), 0) into numbered
    from payments.refund_requests where order_id = the_order;
    if the_number <> numbered + 1 or the_claimed <> charge.refund_claimed then
        return 'changed';
    end if;
    if charge.refund_claimed + wanted > charge.captured then
        return 'too-much';
    end if;
    update payments.charges as charged
    set refund_claimed = charged.refund_claimed + wanted,
        refunded = charged.refunded + wanted,
        state = case when charged.refunded + wanted = charged.captured
            then 'refunded' else charged.state end
    where charged.charge_key = the_charge
    returning charged.captured - charged.refunded as remains, charged.currency into charge;
    insert into payments.refund_requests (
        order_id, number, charge_key, currency, amount, goods, goods_tax, shipping, shipping_tax,
        lines, reason, requested_by, request, fingerprint, state, provider_reference,
        is_from_outside
    ) values (
        the_order, the_number, the_charge, charge.currency, wanted,
        parts[1], parts[2], parts[3], parts[4],
        '[]', requested ->> 'reason', requested ->> 'requested_by', the_reference, 'from outside',
        'succeeded', the_reference, true
    );
    insert into payments.refunds (refund_key, charge_key, provider_reference, currency, amount)
    values (the_name, the_charge, the_reference, charge.currency, wanted);
    insert into ledger.transactions (key, order_id) values (the_name, the_order)
    returning transaction_id into booking;
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select booking, line, account, side, amount, charge.currency
    from unnest(accounts, sides, amounts) with ordinality as entry (account, side, amount, line);
    perform orders.record(the_order, 'order.refund-requested', requested);
    perform orders.record(the_order, 'order.refund-succeeded', succeeded || jsonb_build_object(
        'left', jsonb_build_object('amount', charge.remains::text, 'currency', charge.currency)
    ));
    perform orders.record(the_order, 'ledger.refund-posted', posted);
    return 'recorded';
end
$$;

-- Takes back a refund whose money came back after it had succeeded, in the books too. One that was
-- asked for by way of the shop is open again: its workflow is launched anew, finds that it has
-- failed, and has a person decide. One that somebody made at the provider is over. Answers:
--
-- 'reversed': done;
-- 'changed': it is not on record as succeeded under this reference, or not any more;
-- 'under-way': another refund of the order is, and an order has one at a time.
create function payments.reverse_refund(
    the_order uuid, the_number integer, the_reference text, why text, event jsonb
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    refund record;
    given_back numeric;
    the_name text;
    reversal bigint;
    entries jsonb;
begin
    -- The order first, as everywhere.
    perform from orders.orders where order_id = the_order for no key update;
    select * into refund from payments.refund_requests as known
    where known.order_id = the_order and known.number = the_number
        and known.state = 'succeeded' and known.provider_reference = the_reference
    for update;
    if not found then
        return 'changed';
    end if;
    if not refund.is_from_outside and exists (
        select from payments.refund_requests as known
        where known.order_id = the_order and known.state in ('requested', 'pending')
    ) then
        return 'under-way';
    end if;
    update payments.charges as charged
    set refunded = charged.refunded - refund.amount,
        refund_claimed = charged.refund_claimed
            - case when refund.is_from_outside then refund.amount else 0 end,
        state = case charged.state when 'refunded' then 'captured' else charged.state end
    where charged.charge_key = refund.charge_key
    returning charged.refunded into given_back;
    update payments.refunds as given set returned_at = now()
    where given.charge_key = refund.charge_key and given.provider_reference = the_reference
        and given.returned_at is null
    returning given.refund_key into the_name;
    insert into ledger.transactions (key, order_id, reverses)
    select key || ':reversal', order_id, transaction_id
    from ledger.transactions where key = the_name
    returning transaction_id into reversal;
    with mirrored as (
        insert into ledger.entries (transaction_id, line, account, side, amount, currency)
        select reversal, row_number() over (order by booked.line desc), booked.account,
            case booked.side when 'debit' then 'credit' else 'debit' end, booked.amount,
            booked.currency
        from ledger.entries as booked
        join ledger.transactions on transactions.transaction_id = booked.transaction_id
        where transactions.key = the_name
        returning line, account, side, amount, currency
    )
    select jsonb_agg(jsonb_build_object(
        'account', account, 'side', side,
        'amount', jsonb_build_object('amount', amount::text, 'currency', currency)
    ) order by line) into entries
    from mirrored;
    if refund.is_from_outside then
        update payments.refund_requests as known
        set state = 'failed', provider_reference = null, failed_reference = the_reference,
            failure = why, reversals = known.reversals + 1, updated_at = now()
        where known.order_id = the_order and known.number = the_number;
    else
        update payments.refund_requests as known
        set state = 'pending', provider_reference = null, failure = why,
            reversals = known.reversals + 1, updated_at = now()
        where known.order_id = the_order and known.number = the_number;
        insert into orders.refund_launches as launch (order_id, number, is_recovery)
        values (the_order, the_number, true)
        on conflict (order_id, number) do update set is_recovery = true, not_before = now();
    end if;
    perform orders.record(the_order, 'order.refund-reversed', event || jsonb_build_object(
        'given_back',
        jsonb_build_object('amount', given_back::text, 'currency', refund.currency)
    ));
    perform orders.record(the_order, 'ledger.reversed', jsonb_build_object('entries', entries));
    return 'reversed';
end
$$;

revoke execute on function
    inbox.sweep, payments.record_outside_refund, payments.reverse_refund
    from public;

-- What the payment's status is once a refund's money came back: that was the refund's doing, so
-- where something else has become of the payment meanwhile, that stands. The same as
-- `PaymentStatus::after_reversal`.
create function orders.payment_after_reversal(status text, event jsonb) returns text
language sql immutable parallel safe
return case
    when status not in ('partially-refunded', 'refunded') then status
    when (event #>> '{given_back,amount}')::numeric = 0 then 'paid'
    else 'partially-refunded'
end;

-- As before, and one thing more: what a refund gave back may come back. The same as
-- `OrderState::apply`.
create or replace function orders.project(
    the_order uuid, event_type text, event jsonb, happened_at timestamptz
) returns integer language plpgsql as $$
declare
    the_number integer;
    ended constant jsonb := orders.terminal_status(event_type, event);
begin
    update orders.orders as known
    set payment_status = case
            when event_type = 'order.refund-reversed'
            then orders.payment_after_reversal(known.payment_status, event)
            else orders.payment_after(known.payment_status, case
                when event_type = 'order.refund-succeeded'
                    and (event #>> '{left,amount}')::numeric = 0
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
        grant usage on schema inbox to ordersaga_worker;
        grant select, insert (event_id, type, object_kind, object_id, happened_at),
            update (state, attempts, next_try_at, last_error, done_at)
            on inbox.events to ordersaga_worker;
        grant select, insert, update on inbox.feeds to ordersaga_worker;
        grant execute on function
            inbox.sweep, payments.record_outside_refund, payments.reverse_refund
            to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant usage on schema inbox to ordersaga_starter;
        -- It takes events in, shows them, and has one looked at again at once.
        grant select, insert (event_id, type, object_kind, object_id, happened_at),
            update (next_try_at)
            on inbox.events to ordersaga_starter;
    end if;
end
$$;
