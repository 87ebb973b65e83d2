-- The cost variance of a hand-over is booked only if there is one.
--
-- An article's cost seldom changes between the order and the hand-over. Until now the inserts into
-- the ledger ran without rows in this case, and took a quarter of the hand-over's time in Postgres,
-- because an insert sets up constraints and triggers even if it adds no row.
set local lock_timeout = '3s';

-- As in migration 0091, with the check whether there is a variance.
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
        ), at_cost_now as (
            select reason, reservation_key, min(movement_id) as movement_id,
                array_agg(currency) as currencies,
                array_agg(case reason when 'sold' then -1 else 1 end * quantity * unit_cost) as costs
            from moved join at_cost using (sku)
            where reason in ('sold', 'returned')
            group by reason, reservation_key
        )
        select movement_id, currencies || orders.currency::text as currencies,
            costs || case reason when 'sold' then cost_of_goods else -cost_of_goods end as costs
        from at_cost_now
        join inventory.reservations using (reservation_key)
        join orders.orders using (order_id)
        order by movement_id
    loop
        if exists (
            select from unnest(parcel.currencies, parcel.costs) as change (currency, amount)
            group by currency having sum(amount) <> 0
        ) then
            perform ledger.book_inventory_change(
                'cost-variance:' || parcel.movement_id, parcel.currencies, parcel.costs
            );
        end if;
    end loop;
    return null;
end
$$;
