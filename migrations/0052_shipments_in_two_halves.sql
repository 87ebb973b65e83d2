-- A shipment is called in two halves, as a payment is (0050): drafted, and its id stored, before its
-- label is bought. And both sandboxes become hostile on demand.
--
-- The id is stored in the statement that begins the step's idempotency record. An undo commits its
-- tombstone and then reads the id: a shipment that it does not see will never be purchased, and one
-- that it cancels cannot be purchased by a request that comes late.
do $$
begin
    if exists (select from shipping.shipments) then
        raise exception 'this database holds shipments of a version before the first release, which this version cannot carry on'
            using hint = 'start with an empty database (for `make up`: `make clean`)';
    end if;
end
$$;

alter table shipping.shipments
    -- The carrier's own id for the shipment.
    add column carrier_reference text not null,
    -- What the shop knows of it; the carrier may know better.
    add column state text not null
        constraint shipments_state_known check (state in ('drafted', 'purchased', 'cancelled')),
    alter column tracking drop not null,
    add constraint shipments_purchased_with_tracking
        check (state <> 'purchased' or tracking is not null),
    add constraint shipments_cancelled_when_it_says_so
        check ((cancelled_at is not null) = (state = 'cancelled'));

comment on column shipping.shipments.shipment_key is
    'The key of the step that ships; the carrier''s idempotency key.';
comment on column shipping.shipments.tracking is
    'What the customer follows the parcel by, once its label was bought; kept when it is cancelled.';

-- As `orders.take_step`, but only if nothing is on record under the key, not even a beginning:
-- whoever has begun has stored the id of something that must be dealt with first.
create function orders.take_unbegun_step(
    the_order uuid, the_step text, the_version integer, the_outcome jsonb
) returns jsonb language sql as $$
    insert into orders.step_keys (order_id, step, version, outcome)
    values (the_order, the_step, the_version, the_outcome)
    on conflict (order_id, step, version) do nothing
    returning outcome
$$;

-- The goods of a reservation leave the stock, also if it has expired: then they have left all the
-- same. Whether they did; not if they have left before.
create function inventory.sell(the_reservation text) returns boolean language sql as $$
    with leaving as materialized (
        select reservation_key, state = 'held' as is_held from inventory.reservations
        where reservation_key = the_reservation and state <> 'sold'
        for update
    ), sold as (
        update inventory.reservations set state = 'sold'
        from leaving where reservations.reservation_key = leaving.reservation_key
    ), line as materialized (
        select stock.sku, line.quantity, is_held
        from leaving
        join inventory.reservation_lines as line using (reservation_key)
        join inventory.stock on stock.sku = line.sku
        order by stock.sku
        for update of stock
    ), gone as (
        update inventory.stock
        set on_hand = stock.on_hand - line.quantity,
            reserved = stock.reserved - case when is_held then line.quantity else 0 end,
            sold = stock.sold + line.quantity
        from line where stock.sku = line.sku
    ), movement as (
        insert into inventory.movements (sku, quantity, reason, reservation_key)
        select sku, quantity, 'sold', the_reservation from line
    )
    select exists (select from leaving)
$$;

-- ---------------------------------------------------------------------------------------------
-- The sandbox carrier
-- ---------------------------------------------------------------------------------------------

alter table sandbox_carrier.bookings rename to shipments;
alter table sandbox_carrier.shipments rename column booking_id to shipment_id;
alter table sandbox_carrier.shipments rename column booked_at to drafted_at;
alter table sandbox_carrier.shipments
    drop constraint bookings_once_per_reference,
    add column state text not null default 'drafted'
        constraint shipments_state_known check (state in ('drafted', 'purchased', 'cancelled')),
    add column purchased_at timestamptz,
    -- Whether a repeat under the reference is known as one.
    add column is_remembered boolean not null default true;

update sandbox_carrier.shipments
set state = case when cancelled_at is null then 'purchased' else 'cancelled' end,
    purchased_at = drafted_at;

alter table sandbox_carrier.shipments
    add constraint shipments_purchased_when_it_says_so
        check (state <> 'purchased' or purchased_at is not null),
    add constraint shipments_cancelled_when_it_says_so
        check ((cancelled_at is not null) = (state = 'cancelled'));

create unique index shipments_once_per_reference
    on sandbox_carrier.shipments (reference) where is_remembered;
create index shipments_by_reference on sandbox_carrier.shipments (reference);

comment on column sandbox_carrier.shipments.reference is
    'The same reference is the same shipment, for as long as the carrier remembers it.';

-- ---------------------------------------------------------------------------------------------
-- Refunds that are decided later
-- ---------------------------------------------------------------------------------------------

alter table sandbox_provider.refunds
    drop constraint refunds_once_per_key,
    -- One that is pending becomes another by whoever decides about it.
    add column state text not null default 'succeeded'
        constraint refunds_state_known check (state in ('pending', 'succeeded', 'failed'));

-- A refund that has failed is asked for again, under the same key.
create unique index refunds_once_per_key
    on sandbox_provider.refunds (idempotency_key) where state <> 'failed';

-- ---------------------------------------------------------------------------------------------
-- How the sandboxes misbehave, and what is still on its way to them
-- ---------------------------------------------------------------------------------------------

-- The first row that fits a call is what happens to it. The sandboxes' docs tell what each
-- behaviour is; the owner of the schemas orders them.
create table sandbox_provider.behaviours (
    behaviour_id bigint generated always as identity primary key,
    call text not null constraint behaviours_call_known check (
        call in ('open', 'authorise', 'capture', 'void', 'refund', 'look-up', '*')
    ),
    -- A payment's key, an order's id, or `*` for all.
    whom text not null,
    behaviour text not null constraint behaviours_known check (behaviour in (
        'unavailable', 'lost', 'html', 'truncated', 'too-large', 'hangs', 'late', 'not-found',
        'forgets', 'pending'
    )),
    -- Of `unavailable`: the header as it is sent. None: it is not sent.
    retry_after text,
    -- Of `hangs`: how long. Of `forgets`: what is older than this is forgotten.
    seconds integer constraint behaviours_seconds_not_negative check (seconds >= 0),
    -- For so many calls. Null: until the row is deleted.
    remaining integer constraint behaviours_remaining_not_negative check (remaining >= 0)
);

create table sandbox_carrier.behaviours (
    behaviour_id bigint generated always as identity primary key,
    call text not null constraint behaviours_call_known check (
        call in ('draft', 'purchase', 'cancel', 'look-up', '*')
    ),
    -- A shipment's reference, an order's id, a country, or `*` for all.
    whom text not null,
    behaviour text not null constraint behaviours_known check (behaviour in (
        'unavailable', 'lost', 'html', 'truncated', 'too-large', 'hangs', 'late', 'not-found',
        'forgets', 'has-left'
    )),
    retry_after text,
    seconds integer constraint behaviours_seconds_not_negative check (seconds >= 0),
    remaining integer constraint behaviours_remaining_not_negative check (remaining >= 0)
);

drop table sandbox_carrier.faults;

-- Requests whose connection has died, and that arrive only when somebody has them land.
create table sandbox_provider.late_requests (
    request_id bigint generated always as identity primary key,
    request jsonb not null,
    sent_at timestamptz not null default now(),
    landed_at timestamptz
);

create table sandbox_carrier.late_requests (
    request_id bigint generated always as identity primary key,
    request jsonb not null,
    sent_at timestamptz not null default now(),
    landed_at timestamptz
);

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select, update (remaining)
            on sandbox_provider.behaviours, sandbox_carrier.behaviours to ordersaga_worker;
        grant select, insert, update (landed_at)
            on sandbox_provider.late_requests, sandbox_carrier.late_requests to ordersaga_worker;
    end if;
end
$$;
