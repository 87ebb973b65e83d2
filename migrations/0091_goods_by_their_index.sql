-- What an order's goods touch is found by the articles' numbers, whatever the planner thinks of random
-- reads.
--
-- With its usual settings Postgres prefers to read the whole of `inventory.stock`, or of
-- `catalog.products`, to looking up an order's twenty articles one by one. That cost half a
-- millisecond at each reservation and at each hand-over, and grew with the catalogue. Where the
-- articles are given as one array, it looks them up.
set local lock_timeout = '3s';

-- As before (migration 0052), with the articles as an array.
create or replace function inventory.sell(the_reservation text) returns boolean language sql as $$
    with leaving as materialized (
        select reservation_key, state = 'held' as is_held from inventory.reservations
        where reservation_key = the_reservation and state <> 'sold'
        for update
    ), sold as (
        update inventory.reservations set state = 'sold'
        from leaving where reservations.reservation_key = leaving.reservation_key
    ), wanted as materialized (
        select sku, quantity, is_held
        from leaving join inventory.reservation_lines using (reservation_key)
    ), locked as materialized (
        select sku from inventory.stock
        where sku = any (array(select sku from wanted))
        order by sku
        for update
    ), line as materialized (
        select sku, quantity, is_held from locked join wanted using (sku)
    ), gone as (
        update inventory.stock
        set on_hand = stock.on_hand - line.quantity,
            reserved = stock.reserved - case when is_held then line.quantity else 0 end,
            sold = stock.sold + line.quantity
        from line
        where stock.sku = any (array(select sku from line)) and stock.sku = line.sku
    ), movement as (
        insert into inventory.movements (sku, quantity, reason, reservation_key)
        select sku, quantity, 'sold', the_reservation from line
    )
    select exists (select from leaving)
$$;

-- As before (migration 0054), with the articles as an array; and what is only reserved or released
-- moves nothing at cost.
create or replace function inventory.book_variance() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    parcel record;
begin
    if not exists (select from moved where reason in ('sold', 'returned')) then
        return null;
    end if;
    for parcel in
        with at_cost as materialized (
            select sku, currency::text as currency, unit_cost from catalog.products
            where sku = any (array(select sku from moved))
        )
        select reason, reservation_key, min(movement_id) as movement_id,
            array_agg(currency) as currencies,
            array_agg(case reason when 'sold' then -1 else 1 end * quantity * unit_cost) as costs
        from moved join at_cost using (sku)
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
