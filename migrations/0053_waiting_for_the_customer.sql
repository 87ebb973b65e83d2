-- An order may wait for its customer: to approve a payment, as their bank asks of them, or to
-- replace a payment that was declined.
--
-- Until when it waits is on record, and by that time the step that authorises decides, whichever
-- run of the order's workflow asks. A payment is replaced in one transaction, which keeps the new
-- method and answers the declined attempt's step with the number of the attempt that takes its
-- place. So of a replacement and of a refusal because the time is over, one comes first, and the
-- other finds it.
set local lock_timeout = '3s';

alter table payments.charges
    drop constraint charges_state_known,
    add constraint charges_state_known check (state in (
        'opened', 'awaiting-customer', 'declined', 'authorised', 'captured', 'voided', 'refunded'
    )),
    -- Until when the customer can approve it; set once they were asked to.
    add column approvable_until timestamptz,
    -- Where they do that. Whoever has the link may approve the payment, so it is shown with the
    -- order, to those who may see that, and is part of no event, message or history.
    add column approval_url text,
    -- Until when it can be replaced; set once it was declined and the order's terms grant time.
    add column replaceable_until timestamptz,
    -- When another payment method was put on record in its place.
    add column replaced_at timestamptz;

comment on column payments.charges.approval_url is
    'A link at the provider by which the customer approves the payment: as good as a secret.';

-- A method for each payment that the customer has chosen one for. An authorisation that is asked
-- for once more because it has expired uses the method of the one before it.
alter table payments.methods
    drop constraint methods_pkey,
    -- The first attempt at authorising that uses it.
    add column attempt integer not null default 1
        constraint methods_attempt_from_one check (attempt > 0),
    -- The caller's Idempotency-Key, of a request to replace a payment.
    add column request text,
    add constraint methods_pkey primary key (order_id, attempt),
    add constraint methods_once_per_request unique (order_id, request);

-- What `OrderEvent::payment_status` says of an event.
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
    end)) as event (next)
);

-- Puts another payment method on record in the place of the order's payment, if that was declined
-- and may still be replaced. Answers what became of the request:
--
-- 'replaced': done, and `attempt` is the one that uses the new method;
-- 'repeated': the same request was done before;
-- 'other-request': another method came under the same key before;
-- 'not-waiting': the order waits for no payment;
-- 'too-late': the time in which it could be replaced is over.
create function payments.replace_method(
    the_order uuid, the_method text, the_request text
) returns table (outcome text, attempt integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    known record;
    charge record;
    placed record;
begin
    -- Requests for the same order wait for each other; nobody else locks this row.
    perform from payments.methods
    where methods.order_id = the_order and methods.attempt = 1 for update;
    select methods.method, methods.attempt into known from payments.methods
    where methods.order_id = the_order and methods.request = the_request;
    if found then
        outcome := case when known.method = the_method then 'repeated' else 'other-request' end;
        attempt := known.attempt;
        return next;
        return;
    end if;
    select orders.record_version, orders.status, orders.ending into placed from orders.orders
    where orders.order_id = the_order;
    select charges.attempt, charges.state, charges.replaceable_until, charges.replaced_at
    into charge from payments.charges
    where charges.order_id = the_order order by charges.attempt desc limit 1;
    if placed.status is distinct from 'processing' or placed.ending is not null
        or charge.state is distinct from 'declined' or charge.replaceable_until is null
        or charge.replaced_at is not null
    then
        outcome := 'not-waiting';
        return next;
        return;
    end if;
    if charge.replaceable_until <= clock_timestamp() then
        outcome := 'too-late';
        return next;
        return;
    end if;
    -- Nothing, if the step was refused or undone a moment ago.
    if orders.take_step(
        the_order,
        case charge.attempt
            when 1 then 'authorise-payment' else 'authorise-payment:' || charge.attempt end,
        placed.record_version,
        jsonb_build_object('done', jsonb_build_object('replaced_by', charge.attempt + 1))
    ) is null then
        outcome := 'not-waiting';
        return next;
        return;
    end if;
    insert into payments.methods (order_id, attempt, method, request)
    values (the_order, charge.attempt + 1, the_method, the_request);
    update payments.charges set replaced_at = clock_timestamp()
    where charges.order_id = the_order and charges.attempt = charge.attempt;
    outcome := 'replaced';
    attempt := charge.attempt + 1;
    return next;
end
$$;

revoke execute on function payments.replace_method from public;

-- ---------------------------------------------------------------------------------------------
-- The sandbox provider
-- ---------------------------------------------------------------------------------------------

alter table sandbox_provider.payments
    drop constraint payments_state_known,
    add constraint payments_state_known check (state in (
        'opened', 'awaiting-customer', 'declined', 'authorised', 'captured', 'voided'
    )),
    -- Until when the provider lets the customer approve it; then it is voided.
    add column approvable_until timestamptz;

-- Plays the customer of an order, for a test or a demo: approves the payment that waits for that,
-- or lets the bank decline it. Whether there was one.
create function sandbox_provider.answer_as_customer(the_order uuid, approves boolean)
returns boolean language sql as $$
    with answered as (
        update sandbox_provider.payments
        set state = case when approves then 'authorised' else 'declined' end,
            decline_code = case when approves then null else 'authentication_failed' end,
            expires_at = case when approves then now() + interval '7 days' end
        where merchant_reference = the_order::text and state = 'awaiting-customer'
            and coalesce(approvable_until > now(), true)
        returning payment_id
    )
    select exists (select from answered)
$$;

do $$
begin
    if to_regrole('ordersaga_starter') is not null then
        grant execute on function payments.replace_method to ordersaga_starter;
    end if;
end
$$;
