-- Who the parcel goes to. The only place that holds personal data.
--
-- Workflow histories, events, logs and every other schema carry the address's id instead, so
-- erasing a person is deleting rows here, and what the books and the audit trail must keep can
-- be kept. There is no foreign key from an order to its address for the same reason: the order
-- outlives it.
create schema customers;

create table customers.addresses (
    -- Derived from customer and address: the same address of the same customer is one row.
    address_id uuid primary key,
    customer_id text not null,
    name text not null,
    line1 text not null,
    line2 text,
    city text not null,
    postal_code text not null,
    country char(2) not null,
    created_at timestamptz not null default now()
);

-- A person asks for what is held about them, and for its erasure, by customer.
create index addresses_by_customer on customers.addresses (customer_id);
