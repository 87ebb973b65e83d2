-- What operators do to the catalogue and the warehouse, and what is known of customers.
--
-- Goods come in, are found or are written off. Each such movement names its paper, be it a
-- delivery note or a count: the same paper of the same article is the same movement, however
-- often it is sent. `stock.received` is what has come to stay, so a piece written off leaves it.
alter table inventory.movements
    drop constraint movements_reason_known,
    add constraint movements_reason_known check (reason in (
        'received', 'reserved', 'released', 'expired', 'sold', 'returned', 'found', 'written-off'
    )),
    add column reference text,
    add column moved_by text,
    add column note text,
    add constraint movements_once_per_reference unique (sku, reference);

-- What is known of a customer beyond the orders. No order refers to this: it may be erased.
create table customers.customers (
    customer_id text primary key,
    email text,
    name text,
    phone text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

insert into customers.customers (customer_id, email, created_at, updated_at)
select customer_id, email, created_at, created_at from identity.logins;

do $$
begin
    if to_regrole('ordersaga_app') is null then
        return;
    end if;
    grant select, insert, update on customers.customers to ordersaga_app;
end
$$;
