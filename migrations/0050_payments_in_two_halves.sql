-- A payment is called in two halves: opened, and its id stored, before anything decisive is asked;
-- and its money is set aside first and taken later.
--
-- The id is stored in the statement that begins the step's idempotency record, so a record may now
-- be there without an answer. Whoever takes a step fills it in; a tombstone that comes first keeps
-- the id from being stored, and one that comes second sees it.
do $$
begin
    if exists (select from orders.orders) then
        raise exception 'this database holds orders of a version before the first release, which this version cannot carry on'
            using hint = 'start with an empty database (for `make up`: `make clean`)';
    end if;
end
$$;

create or replace function orders.take_step(
    the_order uuid, the_step text, the_version integer, the_outcome jsonb
) returns jsonb language sql as $$
    insert into orders.step_keys as known (order_id, step, version, outcome)
    values (the_order, the_step, the_version, the_outcome)
    on conflict (order_id, step, version) do update set outcome = excluded.outcome
    where known.outcome is null and known.undone_at is null
    returning outcome
$$;

alter table payments.charges
    -- Counts the order's payments: an authorisation that has expired is asked for again.
    add column attempt integer not null default 1
        constraint charges_attempt_from_one check (attempt > 0),
    -- What the shop knows of it; the provider may know better.
    add column state text not null
        constraint charges_state_known check (state in (
            'opened', 'declined', 'authorised', 'captured', 'voided', 'refunded'
        )),
    -- Until when the money is set aside, if the provider says so.
    add column expires_at timestamptz,
    alter column captured set default 0,
    add constraint charges_once_per_attempt unique (order_id, attempt),
    add constraint charges_captured_when_it_says_so
        check ((captured > 0) = (state in ('captured', 'refunded')));

drop index payments.charges_by_order;

comment on column payments.charges.charge_key is
    'The key of the step that authorises; the provider''s idempotency keys are made of it.';
comment on column payments.charges.captured is 'What the provider took: all of it, or a part.';

-- What `OrderEvent::payment_status` says of an event.
create or replace function orders.payment_after(status text, event_type text) returns text
language sql immutable parallel safe
return (
    select case when orders.payment_may_become(status, next) then next else status end
    from (values (case event_type
        when 'payment.authorised' then 'authorised'
        when 'payment.captured' then 'paid'
        when 'payment.declined' then 'declined'
        when 'payment.expired' then 'voided'
        when 'payment.voided' then 'voided'
        when 'payment.refunded' then 'refunded'
    end)) as event (next)
);

-- ---------------------------------------------------------------------------------------------
-- The sandbox provider
-- ---------------------------------------------------------------------------------------------

alter table sandbox_provider.payments
    drop constraint payments_once_per_key,
    drop constraint payments_state_known,
    add constraint payments_state_known
        check (state in ('opened', 'declined', 'authorised', 'captured', 'voided')),
    add column captured numeric not null default 0
        constraint payments_captured_at_most_amount check (captured between 0 and amount),
    -- An authorisation that is not captured until then is voided.
    add column expires_at timestamptz,
    -- Whether a repeat under the key is known as one.
    add column is_remembered boolean not null default true;

create unique index payments_once_per_key
    on sandbox_provider.payments (idempotency_key) where is_remembered;
create index payments_by_key on sandbox_provider.payments (idempotency_key);

comment on column sandbox_provider.payments.idempotency_key is
    'The same key is the same payment, for as long as the provider remembers it.';
