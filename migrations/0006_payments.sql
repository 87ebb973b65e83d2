-- What the shop knows of its customers' payments.
--
-- The provider's own records are the truth about money; these are the shop's, written once the
-- provider has answered, or once an undo has asked it what became of a charge whose answer was
-- lost. No card data: the provider's token stands for the card, and is not kept here either.
create schema payments;

create table payments.charges (
    -- The key of the step that charged; also the provider's idempotency key.
    charge_key text primary key,
    order_id uuid not null,
    -- The provider's own name for the payment.
    provider_reference text not null,
    currency char(3) not null,
    -- What the customer was to pay.
    amount numeric not null constraint charges_amount_positive check (amount > 0),
    -- What the provider took: all of it, or nothing where the authorisation was voided.
    captured numeric not null,
    refunded numeric not null default 0,
    recorded_at timestamptz not null default now(),
    constraint charges_captured_at_most_amount check (captured between 0 and amount),
    constraint charges_refunded_at_most_captured check (refunded between 0 and captured)
);

create index charges_by_order on payments.charges (order_id);

create table payments.refunds (
    -- Derived from the charge's key: a charge is refunded in full, once.
    refund_key text primary key,
    charge_key text not null references payments.charges,
    provider_reference text not null,
    currency char(3) not null,
    amount numeric not null constraint refunds_amount_positive check (amount > 0),
    refunded_at timestamptz not null default now()
);

create index refunds_by_charge on payments.refunds (charge_key);
