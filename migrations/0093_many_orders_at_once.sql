-- Orders that come at the same time are put on record together.
--
-- A transaction for each order has the disk written once for each, and a trip to the database.
-- `orders.place_many` puts all of them on record in one statement: the starter hands over whatever
-- has queued while its last statement ran. `orders.place` is the same for one order.
--
-- Each order is written, or found to be on record, as if it had come alone. If the database refuses
-- one of them, the statement writes none; the starter then places each by itself, so that one order
-- harms no other.
--
-- The rows of an order are written by the functions that write them elsewhere, so that each rule is in
-- one place. Statements over all orders instead saved nothing that could be measured.
--
-- Two statements that name the same orders or addresses in another order would wait for each other
-- in a circle. So all orders come first, sorted by their ids, and then the addresses, sorted too.

-- Puts these orders on record, each once; answers for each, by its place in the arrays, whether this
-- call did, and the fingerprint that is on record. Of two that have the same id, the first counts.
-- An address is kept beside its order; the same address of the same customer is one row.
create function orders.place_many(
    the_orders uuid[], the_fingerprints text[], events jsonb[], the_methods text[],
    the_addresses jsonb[], launch_after interval[]
) returns table (number integer, is_new boolean, recorded_fingerprint text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    placed_now constant timestamptz := clock_timestamp();
    -- Which of them were not on record.
    new_ones integer[];
begin
    -- Sorted before any is written: the rows come out of `given` one after the other.
    with given as materialized (
        select distinct on (ids.id) ids.id, ids.place::integer as place
        from unnest(the_orders) with ordinality as ids (id, place)
        order by ids.id, ids.place
    )
    select coalesce(array_agg(given.place order by given.place), '{}') into new_ones
    from given
    where orders.project_placed(
        given.id, events[given.place], the_fingerprints[given.place], placed_now
    );

    perform orders.append(the_orders[place], 1, 'order.placed', events[place], placed_now)
    from unnest(new_ones) as place;

    insert into payments.methods (order_id, method)
    select the_orders[place], the_methods[place] from unnest(new_ones) as place;

    insert into orders.launches (order_id, placed_at, not_before)
    select the_orders[place], (events[place] ->> 'placed_at')::timestamptz,
        placed_now + launch_after[place]
    from unnest(new_ones) as place;

    insert into customers.addresses
        (address_id, customer_id, name, line1, line2, city, postal_code, country)
    select (event #>> '{ship_to,address_id}')::uuid, event ->> 'customer_id',
        address ->> 'name', address ->> 'line1', address ->> 'line2', address ->> 'city',
        address ->> 'postal_code', event #>> '{ship_to,country}'
    from (
        select events[place] as event, the_addresses[place] as address
        from unnest(new_ones) as place
    ) as given
    where address is not null
    order by 1
    on conflict (address_id) do nothing;

    return query
        select ids.place::integer, ids.place = any(new_ones), case
            when ids.place = any(new_ones) then the_fingerprints[ids.place]
            else (select known.fingerprint from orders.orders as known where known.order_id = ids.id)
        end
        from unnest(the_orders) with ordinality as ids (id, place)
        order by ids.place;
end
$$;

create or replace function orders.place(
    the_order uuid, the_fingerprint text, event jsonb, the_method text, address jsonb,
    launch_after interval
) returns table (is_new boolean, recorded_fingerprint text)
language sql security definer set search_path = pg_catalog, pg_temp as $$
    select placed.is_new, placed.recorded_fingerprint
    from orders.place_many(
        array[the_order], array[the_fingerprint], array[event], array[the_method],
        array[address], array[launch_after]
    ) as placed
$$;

revoke execute on function orders.place_many from public;

do $$
begin
    if to_regrole('ordersaga_starter') is not null then
        grant execute on function orders.place_many to ordersaga_starter;
    end if;
end
$$;
