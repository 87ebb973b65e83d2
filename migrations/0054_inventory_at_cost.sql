-- The inventory account says what the goods in the house have cost, at every moment.
--
-- An order's goods leave the account at the cost that was on record when it was placed. Whatever an
-- article's cost has changed by since then is booked where it becomes known: when the cost changes,
-- for the pieces in the house; and when an order's goods leave or come back, for the difference
-- between the article's cost at that moment and the order's. Both are costs of the goods sold.
--
-- So the account is always the pieces on hand at their articles' costs, and the goods of orders
-- that have shipped and whose sale is not booked yet.

-- Books by how much the goods in the house are worth more, or less, in each currency. What comes to
-- nothing is not booked.
create function ledger.book_inventory_change(
    the_key text, the_currencies text[], the_amounts numeric[]
) returns void
language sql set search_path = pg_catalog, pg_temp as $$
    with change as (
        select currency, sum(amount) as amount
        from unnest(the_currencies, the_amounts) as change (currency, amount)
        group by currency having sum(amount) <> 0
    ), booked as (
        insert into ledger.transactions (key) select the_key where exists (select from change)
        returning transaction_id
    )
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select transaction_id, row_number() over (order by currency, account desc), account,
        case when is_more = (account = 'inventory') then 'debit' else 'credit' end,
        abs(amount), currency
    from booked, change, lateral (values (amount > 0)) as sign (is_more),
        (values ('inventory'), ('cost-of-goods')) as entry (account)
$$;

-- The article's stock is locked first, so that no piece comes or goes meanwhile at the old cost.
create function catalog.revalue() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    pieces bigint;
begin
    select on_hand into pieces from inventory.stock where sku = new.sku for no key update;
    perform ledger.book_inventory_change(
        format('revaluation:%s:%s', new.sku, gen_random_uuid()),
        array[old.currency, new.currency],
        array[-coalesce(pieces, 0) * old.unit_cost, coalesce(pieces, 0) * new.unit_cost]
    );
    return null;
end
$$;

create trigger products_revalued
    after update of unit_cost, currency on catalog.products
    for each row when ((old.unit_cost, old.currency) is distinct from (new.unit_cost, new.currency))
    execute function catalog.revalue();

create function inventory.book_variance() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    parcel record;
begin
    for parcel in
        select reason, reservation_key, min(movement_id) as movement_id,
            array_agg(product.currency::text) as currencies,
            array_agg(case reason when 'sold' then -1 else 1 end * quantity * unit_cost) as costs
        from moved join catalog.products as product using (sku)
        where reason in ('sold', 'returned')
        group by reason, reservation_key
        order by movement_id
    loop
        perform ledger.book_inventory_change(
            'cost-variance:' || parcel.movement_id,
            parcel.currencies || orders.currency::text,
            parcel.costs
                || case parcel.reason when 'sold' then cost_of_goods else -cost_of_goods end
        )
        from inventory.reservations join orders.orders using (order_id)
        where reservations.reservation_key = parcel.reservation_key;
    end loop;
    return null;
end
$$;

create trigger movements_at_cost
    after insert on inventory.movements
    referencing new table as moved
    for each statement execute function inventory.book_variance();

revoke execute on function
    ledger.book_inventory_change, catalog.revalue, inventory.book_variance
    from public;

-- What was changed before this was known.
select ledger.book_inventory_change(
    'revaluation:' || gen_random_uuid(),
    array_agg(currency), array_agg(amount)
)
from (
    select product.currency::text, on_hand * unit_cost as amount
    from inventory.stock join catalog.products as product using (sku)
    union all
    select currency::text, case side when 'debit' then -amount else amount end
    from ledger.entries where account = 'inventory'
) as difference
having count(*) > 0;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        -- `prove` compares the account with the pieces in the house.
        grant select (currency) on catalog.products to ordersaga_worker;
    end if;
end
$$;
