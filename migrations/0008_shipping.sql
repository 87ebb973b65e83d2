-- Parcels handed to the carrier.
--
-- The recipient is the carrier's to know and `customers.addresses` to keep; a shipment carries
-- neither name nor street.
create schema shipping;

create table shipping.shipments (
    -- The key of the step that shipped; also the carrier's reference.
    shipment_key text primary key,
    order_id uuid not null,
    -- Whose goods are in it.
    reservation_key text not null,
    tracking text not null,
    country char(2) not null,
    pieces bigint not null constraint shipments_pieces_positive check (pieces > 0),
    recorded_at timestamptz not null default now(),
    -- Called off before the carrier fetched it.
    cancelled_at timestamptz
);

create index shipments_by_order on shipping.shipments (order_id);
