-- The two parties that are not the shop: a payment provider and a carrier to try things with.
--
-- They keep their own records, as the real ones do, in schemas that nothing of the shop's is
-- joined with and that are written on connections of their own. So the shop can be killed
-- between its word and theirs, and an auditor can compare what the shop believes with what
-- really happened. A shop that talks to real parties leaves these schemas empty.
create schema sandbox_provider;

create table sandbox_provider.payments (
    payment_id bigint generated always as identity primary key,
    -- The same key is the same payment, as with a real provider.
    idempotency_key text not null constraint payments_once_per_key unique,
    -- The shop's name for what is paid. Two captured payments for one order would show here.
    merchant_reference text not null,
    amount numeric not null constraint payments_amount_positive check (amount > 0),
    currency char(3) not null,
    token text not null,
    state text not null constraint payments_state_known
        check (state in ('declined', 'authorised', 'captured', 'voided')),
    decline_code text,
    created_at timestamptz not null default now(),
    constraint payments_declined_for_a_reason check ((state = 'declined') = (decline_code is not null))
);

create index payments_by_merchant_reference on sandbox_provider.payments (merchant_reference);

create table sandbox_provider.refunds (
    refund_id bigint generated always as identity primary key,
    idempotency_key text not null constraint refunds_once_per_key unique,
    payment_id bigint not null references sandbox_provider.payments,
    amount numeric not null constraint refunds_amount_positive check (amount > 0),
    created_at timestamptz not null default now()
);

create index refunds_by_payment on sandbox_provider.refunds (payment_id);

-- How often a key was asked for while the provider pretended to be out of order.
create table sandbox_provider.outages (
    idempotency_key text primary key,
    calls integer not null
);

-- Refunds of `tok_refund_broken` work once their payment's key is entered here.
create table sandbox_provider.repairs (
    idempotency_key text primary key
);

create schema sandbox_carrier;

create table sandbox_carrier.bookings (
    booking_id bigint generated always as identity primary key,
    reference text not null constraint bookings_once_per_reference unique,
    country char(2) not null,
    pieces bigint not null,
    booked_at timestamptz not null default now(),
    cancelled_at timestamptz
);

-- Trouble to come: what goes wrong, for which booking reference or which country, how often.
create table sandbox_carrier.faults (
    reference text not null,
    fault text not null constraint faults_known check (
        fault in ('book-unavailable', 'book-lost', 'book-broken', 'cancel-unavailable', 'cancel-broken')
    ),
    remaining integer not null constraint faults_remaining_not_negative check (remaining >= 0),
    primary key (reference, fault)
);
