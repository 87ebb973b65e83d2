-- What lies in the warehouse, and for whom.
--
-- The row lock on an article is the only lock there is: a reservation adds to `reserved` where
-- enough is left, in the statement that checks it. A lock kept elsewhere could be lost while
-- its holder still believes in it; this one ends with the transaction that holds it.
-- Articles are locked in the order of their numbers, so two orders never wait in a circle.
--
-- Every piece ever received is on hand or sold, and reserved pieces are on hand:
-- available + reserved + sold = received, where available = on_hand - reserved.
create schema inventory;

create table inventory.stock (
    sku text collate "C" primary key,
    on_hand bigint not null,
    reserved bigint not null default 0,
    sold bigint not null default 0,
    received bigint not null,
    constraint stock_never_negative
        check (on_hand >= 0 and reserved >= 0 and sold >= 0 and received >= 0),
    constraint stock_conserved check (on_hand + sold = received),
    constraint stock_reserved_is_on_hand check (reserved <= on_hand)
-- A popular article's row changes all day; the free room keeps its versions on one page.
) with (fillfactor = 50);

create table inventory.reservations (
    -- The key of the step that reserved.
    reservation_key text primary key,
    order_id uuid not null,
    state text not null constraint reservations_state_known
        check (state in ('held', 'released', 'sold', 'expired')),
    -- Nobody's forgotten order keeps goods from others for ever.
    expires_at timestamptz not null,
    reserved_at timestamptz not null default now()
);

create index reservations_by_expiry on inventory.reservations (expires_at) where state = 'held';

create table inventory.reservation_lines (
    reservation_key text not null references inventory.reservations,
    sku text collate "C" not null,
    quantity bigint not null constraint reservation_lines_quantity_positive check (quantity > 0),
    primary key (reservation_key, sku)
);

-- Why the stock is what it is, piece by piece. For people and for audits; no program reads it.
create table inventory.movements (
    movement_id bigint generated always as identity primary key,
    sku text collate "C" not null,
    quantity bigint not null constraint movements_quantity_positive check (quantity > 0),
    reason text not null constraint movements_reason_known
        check (reason in ('received', 'reserved', 'released', 'expired', 'sold', 'returned')),
    -- Null for goods received, which are nobody's yet.
    reservation_key text,
    moved_at timestamptz not null default now()
);

create function inventory.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_relid::regclass, lower(tg_op)
        using errcode = 'restrict_violation';
end
$$;

create trigger movements_append_only
    before update or delete or truncate on inventory.movements
    for each statement execute function inventory.refuse_change();
