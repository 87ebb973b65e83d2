//! The statements that write a batch of orders, one per table. Each is an `insert … select` from
//! the orders to place (`placement`) and the templates, so a change of the schema affects one
//! place.

/// A table and its statement.
pub(super) struct Table {
    /// Its name, for errors.
    pub(super) name: &'static str,
    /// The statement.
    pub(super) sql: &'static str,
}

/// Converts the templates in `given` into tables that can be joined.
///
/// The order's row is computed by the function that computes it for any placed order.
pub(super) const TEMPLATES: &str = "
    create temp table template on commit preserve rows as
    select (one ->> 'template')::integer as template, one ->> 'method' as method,
        (one ->> 'pieces')::bigint as pieces, one ->> 'country' as ships_to,
        one -> 'status_data' as status_data, one ->> 'payment_status' as payment_status,
        one ->> 'fulfilment_status' as fulfilment_status,
        (one ->> 'is_shipped')::boolean as is_shipped, one ->> 'goods' as goods,
        one #>> '{payment,state}' as payment_state,
        one #>> '{payment,at_provider}' as payment_at_provider,
        (one #>> '{payment,captured}')::numeric as captured,
        (one #>> '{payment,refunded}')::numeric as refunded,
        (one #>> '{payment,claimed}')::numeric as claimed,
        (one #>> '{payment,is_authorised}')::boolean as is_authorised,
        one #>> '{refund,name}' as refund_name, (one #>> '{refund,amount}')::numeric as refund_amount,
        one #> '{refund,parts}' as refund_parts,
        (one #>> '{refund,seconds}')::double precision as refund_seconds,
        jsonb_array_length(one -> 'events') as last_sequence,
        (one #>> '{events,-1,seconds}')::double precision as last_seconds,
        placed.record_version, placed.currency, placed.subtotal, placed.discount, placed.shipping,
        placed.tax, placed.total, placed.cost_of_goods, placed.discount_code, placed.lines,
        placed.terms
    from given, jsonb_array_elements(templates) as one, orders.placed_row(
        '00000000-0000-0000-0000-000000000000', one #> '{events,0,data}', '', now()
    ) as placed;

    create temp table template_event as
    select (one ->> 'template')::integer as template, sequence::integer, event ->> 'kind' as type,
        event -> 'data' as data, (event ->> 'seconds')::double precision as seconds
    from given, jsonb_array_elements(templates) as one,
        jsonb_array_elements(one -> 'events') with ordinality as told (event, sequence);

    create temp table template_step as
    select (one ->> 'template')::integer as template, step ->> 'step' as step,
        nullif(step -> 'outcome', 'null') as outcome, (step ->> 'is_undone')::boolean as is_undone,
        (step ->> 'seconds')::double precision as seconds
    from given, jsonb_array_elements(templates) as one, jsonb_array_elements(one -> 'steps') as step;

    create temp table template_line as
    select (one ->> 'template')::integer as template, line ->> 'sku' as sku,
        (line ->> 'quantity')::bigint as quantity
    from given, jsonb_array_elements(templates) as one, jsonb_array_elements(one -> 'claim') as line
    where one ->> 'goods' is not null;

    create temp table template_booking as
    select (one ->> 'template')::integer as template, number::integer, booking ->> 'name' as name,
        (booking ->> 'is_reversal')::boolean as is_reversal,
        (booking ->> 'seconds')::double precision as seconds
    from given, jsonb_array_elements(templates) as one,
        jsonb_array_elements(one -> 'bookings') with ordinality as booked (booking, number);

    create temp table template_entry as
    select (one ->> 'template')::integer as template, number::integer, line::smallint,
        entry ->> 'account' as account, entry ->> 'side' as side,
        (entry #>> '{amount,amount}')::numeric as amount, entry #>> '{amount,currency}' as currency
    from given, jsonb_array_elements(templates) as one,
        jsonb_array_elements(one -> 'bookings') with ordinality as booked (booking, number),
        jsonb_array_elements(booking -> 'entries') with ordinality as entered (entry, line);

    drop table given;
    analyze template, template_event, template_step, template_line, template_booking, template_entry;

    create temp table batch (
        first bigint, last bigint, total bigint, moment timestamptz, bases bigint, courses bigint,
        shares integer[]
    );
    create temp table placement (
        n bigint, order_id uuid, template integer, customer bigint, customer_id text,
        placed_at timestamptz, stretch double precision, address_id uuid, payment_id bigint,
        shipment_id bigint, refund_id bigint
    );
    create temp table booking (
        n bigint, number integer, transaction_id bigint, order_id uuid, template integer, key text,
        is_reversal boolean, booked_at timestamptz
    )";

/// The orders of the batch: customer, time and template.
///
/// Ids are ordered by time, like those of the starter. What normally happens within days happens
/// sooner to younger orders. Every fiftieth order belongs to the same customer.
pub(super) const PLACING: &str = "
    truncate placement, booking;
    insert into placement
    select n, (
            lpad(to_hex((extract(epoch from placed_at) * 1000)::bigint), 12, '0')
            || '7' || substr(hash, 1, 3) || '8' || substr(hash, 4, 15)
        )::uuid,
        template, customer, 'fill-' || lpad(customer::text, 7, '0'), placed_at,
        least(1, extract(epoch from moment - placed_at)::double precision / 1296000),
        case when customer % 4 = 0
            then md5('address ' || customer || ' ' || ships_to)::uuid
        end,
        nextval(pg_get_serial_sequence('sandbox_provider.payments', 'payment_id')),
        nextval(pg_get_serial_sequence('sandbox_carrier.shipments', 'shipment_id')),
        nextval(pg_get_serial_sequence('sandbox_provider.refunds', 'refund_id'))
    from (
        select n, hash, moment,
            ((n % bases) * courses + shares[1 + (n * 37) % 100])::integer as template,
            moment - interval '1 hour'
                - (total - n)::double precision / total * interval '729 days' as placed_at,
            case when n % 50 = 0 then 0
                else ('x' || substr(hash, 20, 8))::bit(32)::bigint % greatest(total / 8, 100)
            end as customer
        from batch, generate_series(first, last) as n, md5(n::text) as hash
    ) as ordered
    join template using (template)
    order by n;
    analyze placement;
    insert into booking
    select n, number,
        nextval(pg_get_serial_sequence('ledger.transactions', 'transaction_id')), order_id, template,
        order_id || ':' || name, is_reversal,
        placed_at + seconds * stretch * interval '1 second'
    from placement join template_booking using (template)
    order by n, number;
    analyze booking";

/// All tables, in the order of their references.
pub(super) const TABLES: &[Table] = &[
    Table { name: "customers.customers", sql: CUSTOMERS },
    Table { name: "customers.addresses", sql: ADDRESSES },
    Table { name: "orders.orders", sql: ORDERS },
    Table { name: "orders.order_events", sql: ORDER_EVENTS },
    Table { name: "outbox.messages", sql: MESSAGES },
    Table { name: "orders.step_keys", sql: STEP_KEYS },
    Table { name: "payments.methods", sql: METHODS },
    Table { name: "inventory.reservations", sql: RESERVATIONS },
    Table { name: "inventory.reservation_lines", sql: RESERVATION_LINES },
    Table { name: "inventory.movements", sql: MOVEMENTS },
    Table { name: "inventory.stock", sql: STOCK },
    Table { name: "payments.charges", sql: CHARGES },
    Table { name: "payments.refund_requests", sql: REFUND_REQUESTS },
    Table { name: "payments.refunds", sql: REFUNDS },
    Table { name: "shipping.shipments", sql: SHIPMENTS },
    Table { name: "ledger.transactions", sql: TRANSACTIONS },
    Table { name: "ledger.entries", sql: ENTRIES },
    Table { name: "the goods received in the books", sql: GOODS_RECEIVED },
    Table { name: "sandbox_provider.payments", sql: SANDBOX_PAYMENTS },
    Table { name: "sandbox_provider.refunds", sql: SANDBOX_REFUNDS },
    Table { name: "sandbox_carrier.shipments", sql: SANDBOX_SHIPMENTS },
];

const CUSTOMERS: &str = "
    insert into customers.customers (customer_id, email, name, created_at, updated_at)
    select customer_id, min(customer_id) || '@shop.example', 'Filling ' || initcap(min(customer_id)),
        min(placed_at), min(placed_at)
    from placement group by customer_id
    on conflict do nothing";

const ADDRESSES: &str = "
    insert into customers.addresses
        (address_id, customer_id, name, line1, city, postal_code, country, created_at)
    select distinct on (address_id) address_id, customer_id, 'Filling ' || initcap(customer_id),
        customer || ' Sample Street', 'Exampleton', 'EX1 1EX', ships_to, placed_at
    from placement join template using (template)
    where address_id is not null
    order by address_id, placed_at
    on conflict do nothing";

const ORDERS: &str = "
    insert into orders.orders (
        order_id, customer_id, placed_at, record_version, fingerprint, currency, subtotal, discount,
        shipping, tax, total, cost_of_goods, discount_code, country, address_id, lines, terms,
        status_data, payment_status, fulfilment_status, tracking, version, updated_at
    )
    select order_id, customer_id, placed_at, record_version,
        'v1:f111f111f111' || lpad(n::text, 52, '0'), currency, subtotal, discount,
        shipping, tax, total, cost_of_goods, discount_code, ships_to, address_id, lines, terms,
        status_data, payment_status, fulfilment_status,
        case when is_shipped then 'SANDBOX' || lpad(shipment_id::text, 8, '0') end,
        last_sequence, placed_at + last_seconds * stretch * interval '1 second'
    from placement join template using (template)
    order by n";

const ORDER_EVENTS: &str = "
    insert into orders.order_events (order_id, sequence, type, data, occurred_at)
    select order_id, sequence, type,
        data
        || case when type = 'order.placed' then jsonb_build_object(
            'customer_id', customer_id, 'placed_at', orders.in_utc(placed_at),
            'ship_to', jsonb_build_object('country', ships_to, 'address_id', address_id)
        ) else '{}' end
        || case when data ? 'provider_reference' then jsonb_build_object(
            'provider_reference', case when type = 'order.refund-succeeded'
                then 'sandbox-refund-' || refund_id else 'sandbox-payment-' || payment_id end
        ) else '{}' end
        || case when data ? 'tracking' then jsonb_build_object(
            'tracking', 'SANDBOX' || lpad(shipment_id::text, 8, '0')
        ) else '{}' end
        || case when data ? 'delivered_at' then jsonb_build_object(
            'delivered_at', orders.in_utc(placed_at + (seconds - 1) * stretch * interval '1 second')
        ) else '{}' end,
        placed_at + seconds * stretch * interval '1 second'
    from placement join template using (template) join template_event using (template)
    order by n, sequence";

/// Messages that a sweep would keep: those of the last week. Of an order, all from some event on,
/// in its order.
const MESSAGES: &str = "
    insert into outbox.messages (aggregatetype, aggregateid, sequence, type, payload, created_at)
    select 'order', order_id::text, sequence, 'ordersaga.' || type || '.v' || version, data,
        occurred_at
    from batch, placement join orders.order_events using (order_id)
    where placed_at > moment - interval '30 days' and occurred_at > moment - interval '7 days'
    order by occurred_at, n, sequence";

/// Step keys that a sweep would keep: those of orders that were open within the last 90 days.
const STEP_KEYS: &str = "
    insert into orders.step_keys
        (order_id, step, version, outcome, recorded_at, undone_at, run_id)
    select order_id, step, record_version,
        case
            when step = 'authorise-payment' and outcome ? 'done' then jsonb_build_object(
                'done', jsonb_build_object(
                    'expires_at', orders.in_utc(placed_at + interval '7 days'),
                    'provider_reference', 'sandbox-payment-' || payment_id
                )
            )
            when step = 'ship-order' and outcome ? 'done' then jsonb_build_object(
                'done', jsonb_build_object(
                    'tracking', 'SANDBOX' || lpad(shipment_id::text, 8, '0')
                )
            )
            else outcome
        end,
        placed_at + seconds * stretch * interval '1 second',
        case when is_undone then placed_at + last_seconds * stretch * interval '1 second' end,
        case when step = 'recognise-revenue' then md5('run ' || n)::uuid::text end
    from batch, placement join template using (template) join template_step using (template)
    where placed_at + last_seconds * stretch * interval '1 second' > moment - interval '90 days'
    order by n";

const METHODS: &str = "
    insert into payments.methods (order_id, method, created_at)
    select order_id, method, placed_at from placement join template using (template) order by n";

const RESERVATIONS: &str = "
    insert into inventory.reservations
        (reservation_key, order_id, state, expires_at, reserved_at)
    select order_id || ':reserve-stock:1', order_id, goods, placed_at + interval '1 day 30 minutes',
        placed_at
    from placement join template using (template) where goods is not null
    order by n";

const RESERVATION_LINES: &str = "
    insert into inventory.reservation_lines (reservation_key, sku, quantity)
    select order_id || ':reserve-stock:1', sku, quantity
    from placement join template_line using (template)
    order by n, sku";

/// Reserved, and then shipped or released; for shipped goods, an equal receipt precedes.
const MOVEMENTS: &str = "
    insert into inventory.movements (sku, quantity, reason, reservation_key, moved_at)
    select sku, sum(quantity), 'received', null, min(placed_at)
    from placement join template using (template) join template_line using (template)
    where goods = 'sold'
    group by sku
    union all
    select sku, quantity, reason, order_id || ':reserve-stock:1',
        placed_at + seconds * interval '1 second'
    from (
        select n, sku, quantity, order_id, placed_at, reason, seconds
        from placement join template using (template) join template_line using (template),
            lateral (values ('reserved', 1), (goods, 5)) as moved (reason, seconds)
        order by n, seconds, sku
    ) as moved";

const STOCK: &str = "
    with gone as (
        select sku, sum(quantity) as quantity
        from placement join template using (template) join template_line using (template)
        where goods = 'sold' group by sku
    )
    update inventory.stock
    set sold = sold + gone.quantity, received = received + gone.quantity
    from gone where stock.sku = gone.sku";

const CHARGES: &str = "
    insert into payments.charges (
        charge_key, order_id, provider_reference, currency, amount, captured, refunded, recorded_at,
        state, expires_at, refund_claimed, risk_level
    )
    select order_id || ':authorise-payment:1', order_id, 'sandbox-payment-' || payment_id, currency,
        total, captured, refunded, placed_at, payment_state,
        case when is_authorised then placed_at + interval '7 days' end, claimed, 'normal'
    from placement join template using (template) where payment_state is not null
    order by n";

const REFUND_REQUESTS: &str = "
    insert into payments.refund_requests (
        order_id, number, charge_key, currency, amount, goods, goods_tax, shipping, shipping_tax,
        lines, reason, requested_by, request, fingerprint, state, provider_reference, requested_at,
        updated_at
    )
    select order_id, 1, order_id || ':authorise-payment:1', currency, refund_amount,
        (refund_parts ->> 0)::numeric, (refund_parts ->> 1)::numeric,
        (refund_parts ->> 2)::numeric, (refund_parts ->> 3)::numeric,
        '[]', 'arrived broken', 'shop', 'fill', 'v1:' || lpad(n::text, 64, '0'), 'succeeded',
        'sandbox-refund-' || refund_id, placed_at + refund_seconds * stretch * interval '1 second',
        placed_at + last_seconds * stretch * interval '1 second'
    from placement join template using (template)
    where refund_parts <> 'null'
    order by n";

const REFUNDS: &str = "
    insert into payments.refunds
        (refund_key, charge_key, provider_reference, currency, amount, refunded_at)
    select order_id || ':' || refund_name, order_id || ':authorise-payment:1',
        case when refund_parts <> 'null'
            then 'sandbox-refund-' || refund_id else 'sandbox-payment-' || payment_id end,
        currency, refund_amount, placed_at + last_seconds * stretch * interval '1 second'
    from placement join template using (template) where refund_name is not null
    order by n";

const SHIPMENTS: &str = "
    insert into shipping.shipments (
        shipment_key, order_id, reservation_key, tracking, country, pieces, recorded_at,
        carrier_reference, state
    )
    select order_id || ':ship-order:1', order_id, order_id || ':reserve-stock:1',
        'SANDBOX' || lpad(shipment_id::text, 8, '0'), ships_to, pieces,
        placed_at, 'sandbox-shipment-' || shipment_id, 'purchased'
    from placement join template using (template) where is_shipped
    order by n";

const TRANSACTIONS: &str = "
    insert into ledger.transactions (transaction_id, key, order_id, reverses, booked_at)
    overriding system value
    select booking.transaction_id, booking.key, booking.order_id, reversed.transaction_id,
        booking.booked_at
    from booking left join booking as reversed on booking.is_reversal and reversed.n = booking.n
        and reversed.key || ':reversal' = booking.key
    order by booking.transaction_id";

const ENTRIES: &str = "
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select transaction_id, line, account, side, amount, currency
    from booking join template_entry using (template, number)
    order by transaction_id, line";

const GOODS_RECEIVED: &str = "
    with cost as (
        select min(n) as first, min(placed_at) as placed_at, currency, sum(cost_of_goods) as amount
        from placement join template using (template)
        where goods = 'sold' group by currency having sum(cost_of_goods) > 0
    ), booked as (
        insert into ledger.transactions (key, booked_at)
        select 'goods-received:fill-' || currency || '-' || first, placed_at from cost
        returning transaction_id, key
    )
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select transaction_id, line, account, side, amount, currency
    from booked join cost on key = 'goods-received:fill-' || currency || '-' || first,
        (values (1, 'inventory', 'debit'), (2, 'goods-received', 'credit'))
            as entry (line, account, side)";

const SANDBOX_PAYMENTS: &str = "
    insert into sandbox_provider.payments (
        payment_id, idempotency_key, merchant_reference, amount, currency, token, state, created_at,
        captured, expires_at
    )
    overriding system value
    select payment_id, order_id || ':authorise-payment:1', order_id::text, total, currency, method,
        payment_at_provider, placed_at, captured,
        case when is_authorised then placed_at + interval '7 days' end
    from placement join template using (template) where payment_state is not null
    order by n";

const SANDBOX_REFUNDS: &str = "
    insert into sandbox_provider.refunds
        (refund_id, idempotency_key, payment_id, amount, created_at)
    overriding system value
    select refund_id, order_id || ':' || refund_name, payment_id, refund_amount,
        placed_at + last_seconds * stretch * interval '1 second'
    from placement join template using (template) where refund_name is not null
    order by n";

const SANDBOX_SHIPMENTS: &str = "
    insert into sandbox_carrier.shipments
        (shipment_id, reference, country, pieces, drafted_at, state, purchased_at)
    overriding system value
    select shipment_id, order_id || ':ship-order:1', ships_to, pieces, placed_at, 'purchased',
        placed_at
    from placement join template using (template) where is_shipped
    order by n";

/// Disables triggers that would check each booking and parcel separately, and reject bookings in
/// the past. [`CHECKS`] makes the same checks for the whole batch before it is committed; all other
/// constraints and keys stay in force.
///
/// The trigger that refuses transactions in closed books is disabled, too. `disable trigger` locks
/// `ledger.transactions` until the commit, so the books are not closed in the meantime.
pub(super) const TRIGGERS_OFF: &str = "
    lock table catalog.products in share mode;
    alter table ledger.transactions disable trigger user;
    alter table ledger.entries disable trigger user;
    alter table inventory.movements disable trigger user";

/// Enables them again.
pub(super) const TRIGGERS_ON: &str = "
    alter table ledger.transactions enable trigger user;
    alter table ledger.entries enable trigger user;
    alter table inventory.movements enable trigger user";

/// The triggers' checks, for the whole batch: each transaction has entries that balance, a reversal
/// mirrors its original, and goods leave at cost.
pub(super) const CHECKS: &str = "
    do $$
    declare
        wrong text;
    begin
        select key into wrong from (
            select key, currency, sum(case side when 'debit' then amount else -amount end) as off
            from booking left join ledger.entries using (transaction_id)
            group by transaction_id, key, currency
        ) as summed
        where off is distinct from 0 limit 1;
        if wrong is not null then
            raise exception 'transaction % does not balance', wrong
                using errcode = 'check_violation', constraint = 'transactions_balanced';
        end if;
        select key into wrong from (
            select booking.key, account, currency,
                sum(case side when 'debit' then amount else -amount end) as left_over
            from booking join ledger.transactions as reversal using (transaction_id)
            join ledger.entries
                on entries.transaction_id in (booking.transaction_id, reversal.reverses)
            where booking.is_reversal group by booking.key, account, currency
        ) as mirrored
        where left_over <> 0 limit 1;
        if wrong is null then
            select booking.key into wrong
            from booking join ledger.transactions using (transaction_id)
            where is_reversal and reverses is null limit 1;
        end if;
        if wrong is not null then
            raise exception '% does not mirror what it reverses', wrong
                using errcode = 'check_violation', constraint = 'transactions_mirrored';
        end if;
        select template::text into wrong from (
            select template, cost_of_goods, sum(quantity * unit_cost) as cost
            from template join template_line using (template) join catalog.products using (sku)
            where goods = 'sold' group by template, cost_of_goods
        ) as costed
        where cost <> cost_of_goods limit 1;
        if wrong is not null then
            raise exception 'the goods of template % cost something else by now: begin anew', wrong
                using errcode = 'check_violation';
        end if;
    end
    $$";
