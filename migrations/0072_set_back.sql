-- Orders whose record was set back behind their workflow, and which `ordersaga recover` has launched
-- anew.
--
-- The record of such an order may lack a payment or a parcel that its lost run has asked for. A step
-- meets it again, because it asks under the same key. An undo goes by the id on record, and would
-- find nothing to give back; so for these orders it asks under the step's key first.
set local lock_timeout = '3s';

create table orders.set_back (
    order_id uuid primary key references orders.orders,
    noticed_at timestamptz not null default now()
);

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select, insert on orders.set_back to ordersaga_worker;
    end if;
end
$$;
