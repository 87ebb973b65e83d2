-- Invoices and credit notes: numbered without a gap, and never changed.
--
-- A number is taken by counting up its series' row, in the transaction that keeps the document, and
-- is read under that row's lock. So whoever fails, or dies, has taken no number, and two who issue at
-- once take two numbers one after the other. The database holds to this by itself: a counter goes up
-- by one, and not without its document; a document has the number that was just counted; and neither
-- is changed or removed, not even by the owner.
--
-- What is issued for is unique: an order's sale and its reversal, each of its refunds, and the failure
-- of a refund that was credited. Issued a second time, it is the first document, and takes no number.
--
-- The documents name the buyer, because the law wants that, and keep it for as long as the law wants
-- them kept. They are the one place besides `customers` that holds personal data. The relay writes
-- them, the starter reads them for download, and the worker, which proves that they add up, sees all
-- of a row but them.
set local lock_timeout = '3s';

create schema invoices;

-- ---------------------------------------------------------------------------------------------
-- At which rate an order was taxed
-- ---------------------------------------------------------------------------------------------

-- The rates that each country has had. An order has its tax on record and not the rate, which
-- `catalog.tax_rates` may show no more when the order is invoiced.
create table invoices.tax_rates (
    country char(2) not null,
    since timestamptz not null,
    percent numeric not null,
    primary key (country, since)
);

insert into invoices.tax_rates (country, since, percent)
select country, '-infinity', percent from catalog.tax_rates;

create function invoices.keep_tax_rate() returns trigger language plpgsql as $$
begin
    insert into invoices.tax_rates (country, since, percent)
    values (new.country, clock_timestamp(), new.percent)
    on conflict do nothing;
    return null;
end
$$;

create trigger tax_rates_are_kept
    after insert or update of country, percent on catalog.tax_rates
    for each row execute function invoices.keep_tax_rate();

-- ---------------------------------------------------------------------------------------------
-- Numbers, and the documents under them
-- ---------------------------------------------------------------------------------------------

create table invoices.series (
    series_id bigint generated always as identity primary key,
    -- The VAT identifier of who issues.
    seller text not null,
    kind text not null constraint series_kind_known check (kind in ('invoice', 'credit-note')),
    -- What its numbers begin with. It does not end in a digit, so that no number is that of another
    -- series.
    prefix text not null
        constraint series_prefix_is_one check (prefix ~ '^[A-Za-z0-9./_-]{0,19}[A-Za-z./_-]$'),
    -- The number that is taken next.
    next_number bigint not null,
    constraint series_one_for_a_prefix unique (seller, prefix)
);

-- A number as it is written: with six digits, or with as many as it has.
create function invoices.number_of(prefix text, serial bigint) returns text
language sql immutable parallel safe
return prefix || lpad(serial::text, greatest(length(serial::text), 6), '0');

create table invoices.invoices (
    invoice_id bigint generated always as identity primary key,
    series_id bigint not null references invoices.series,
    -- Its place in the series, from 1.
    serial bigint not null,
    number text not null,
    -- As its series has them.
    seller text not null,
    kind text not null,
    order_id uuid not null,
    -- The refund that a credit note is of, or whose failure an invoice is of.
    refund integer,
    -- The document that it takes back, or takes something off.
    corrects bigint references invoices.invoices,
    currency char(3) not null,
    -- The rate of tax, in per cent.
    tax_percent numeric not null,
    net numeric not null,
    tax numeric not null,
    total numeric not null,
    issued_at timestamptz not null,
    -- The document in the two syntaxes of EN 16931, for people, and as a PDF with the CII in it.
    ubl bytea not null,
    cii bytea not null,
    html bytea not null,
    pdf bytea not null,
    ubl_sha256 bytea not null generated always as (sha256(ubl)) stored,
    cii_sha256 bytea not null generated always as (sha256(cii)) stored,
    html_sha256 bytea not null generated always as (sha256(html)) stored,
    pdf_sha256 bytea not null generated always as (sha256(pdf)) stored,
    constraint invoices_numbered_once unique (series_id, serial),
    constraint invoices_number_is_one unique (seller, number),
    constraint invoices_once_per_occasion unique nulls not distinct (order_id, kind, refund),
    constraint invoices_not_negative check (least(net, tax, total, tax_percent) >= 0),
    constraint invoices_add_up check (net + tax = total),
    constraint invoices_of_a_sale_correct_nothing
        check ((corrects is null) = (kind = 'invoice' and refund is null))
);

comment on table invoices.invoices is
    'What was issued: the documents name the buyer, by law. Nothing of it is ever changed.';

create function invoices.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_relid::regclass, lower(tg_op)
        using errcode = 'restrict_violation';
end
$$;

create trigger invoices_append_only
    before update or delete or truncate on invoices.invoices
    for each statement execute function invoices.refuse_change();

create trigger series_append_only
    before delete or truncate on invoices.series
    for each statement execute function invoices.refuse_change();

-- A counter begins at one, goes up by one, and stays that of its series.
create function invoices.refuse_jump() returns trigger language plpgsql as $$
begin
    if (tg_op = 'INSERT' and new.next_number <> 2)
        or (tg_op = 'UPDATE' and (new.series_id, new.seller, new.kind, new.prefix, new.next_number)
            is distinct from (old.series_id, old.seller, old.kind, old.prefix, old.next_number + 1))
    then
        raise exception 'the series % is counted up by one, and nothing else', new.prefix
            using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger series_counts_by_one
    before insert or update on invoices.series
    for each row execute function invoices.refuse_jump();

-- At commit, when the transaction is complete: a number that was taken has its document.
create function invoices.refuse_gap() returns trigger language plpgsql as $$
begin
    if not exists (
        select from invoices.invoices
        where series_id = new.series_id and serial = new.next_number - 1
    ) then
        raise exception '% was taken, and nothing is issued under it',
            invoices.number_of(new.prefix, new.next_number - 1)
            using errcode = 'check_violation', constraint = 'series_without_gap';
    end if;
    return null;
end
$$;

create constraint trigger series_without_gap
    after insert or update on invoices.series deferrable initially deferred
    for each row execute function invoices.refuse_gap();

-- A document has the number that was just taken for it.
create function invoices.refuse_other_number() returns trigger language plpgsql as $$
begin
    if not exists (
        select from invoices.series
        where series_id = new.series_id and next_number = new.serial + 1
            and seller = new.seller and kind = new.kind
            and new.number = invoices.number_of(prefix, new.serial)
    ) then
        raise exception '% is not the number that was taken', new.number
            using errcode = 'check_violation', constraint = 'invoices_number_was_taken';
    end if;
    return new;
end
$$;

create trigger invoices_number_was_taken
    before insert on invoices.invoices
    for each row execute function invoices.refuse_other_number();

-- ---------------------------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------------------------

do $$
begin
    if to_regrole('ordersaga_relay') is not null then
        grant usage on schema catalog, customers, invoices, orders, payments to ordersaga_relay;
        -- What a document says.
        grant select (
            order_id, customer_id, placed_at, currency, subtotal, discount, shipping, tax, total,
            country, address_id, lines
        ) on orders.orders to ordersaga_relay;
        grant select (order_id, captured) on payments.charges to ordersaga_relay;
        grant select (
            order_id, number, currency, goods, goods_tax, shipping, shipping_tax, lines
        ) on payments.refund_requests to ordersaga_relay;
        grant select (address_id, name, line1, line2, city, postal_code, country)
            on customers.addresses to ordersaga_relay;
        grant select (customer_id, name) on customers.customers to ordersaga_relay;
        grant select (sku, name) on catalog.products to ordersaga_relay;
        grant select on invoices.tax_rates, invoices.series, invoices.invoices to ordersaga_relay;
        grant insert (seller, kind, prefix, next_number), update (next_number)
            on invoices.series to ordersaga_relay;
        grant insert (
            series_id, serial, number, seller, kind, order_id, refund, corrects, currency,
            tax_percent, net, tax, total, issued_at, ubl, cii, html, pdf
        ) on invoices.invoices to ordersaga_relay;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant usage on schema invoices to ordersaga_starter;
        grant select on invoices.invoices to ordersaga_starter;
    end if;
    if to_regrole('ordersaga_worker') is not null then
        grant usage on schema invoices to ordersaga_worker;
        grant select on invoices.series to ordersaga_worker;
        grant select (
            invoice_id, series_id, serial, number, seller, kind, order_id, refund, corrects,
            currency, tax_percent, net, tax, total, issued_at
        ) on invoices.invoices to ordersaga_worker;
    end if;
end
$$;
