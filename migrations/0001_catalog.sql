-- What the shop sells, and on which terms.
--
-- A customer sends articles and quantities, never prices: the price, the discount, the tax and
-- the shipping fee are looked up here when the order is taken in, and copied into it. A change
-- of these tables therefore reaches the next order and no earlier one, and nothing here needs a
-- history. Amounts are `numeric` in major units; that they have no more decimals than their
-- currency is checked where they become money, because the number of decimals is the
-- currency's and not the column's (JPY has none, KWD has three).
create schema catalog;

-- Article numbers are compared byte by byte ("C"), as the programs compare them: the order in
-- which stock is locked must be the same on every machine, whatever its locale.
create table catalog.products (
    sku text collate "C" primary key,
    name text not null,
    unit_price numeric not null constraint products_price_not_negative check (unit_price >= 0),
    -- What one piece cost the shop: moves from inventory to cost of goods when it is sold.
    unit_cost numeric not null constraint products_cost_not_negative check (unit_cost >= 0),
    currency char(3) not null,
    updated_at timestamptz not null default now()
);

create table catalog.discount_codes (
    code text primary key,
    kind text not null constraint discount_codes_kind_known check (kind in ('percent', 'amount')),
    value numeric not null constraint discount_codes_value_positive check (value > 0),
    -- An amount is an amount of something; a percentage is not.
    currency char(3),
    valid_from timestamptz not null default '-infinity',
    valid_until timestamptz not null default 'infinity',
    constraint discount_codes_amount_has_currency check ((kind = 'amount') = (currency is not null)),
    constraint discount_codes_percent_at_most_all check (kind = 'amount' or value <= 100)
);

-- A country without a row here is a country the shop does not sell to.
create table catalog.tax_rates (
    country char(2) primary key,
    percent numeric not null constraint tax_rates_percent_sane check (percent between 0 and 100)
);

-- A country without a row here for the order's currency is one the shop does not ship to.
create table catalog.shipping_rates (
    country char(2) not null,
    currency char(3) not null,
    fee numeric not null constraint shipping_rates_fee_not_negative check (fee >= 0),
    -- From this much goods, after discount, the parcel travels free. Null: never.
    free_from numeric,
    primary key (country, currency)
);

insert into catalog.discount_codes (code, kind, value, currency) values
    ('WELCOME10', 'percent', 10, null),
    ('FIVEOFF', 'amount', 5.00, 'GBP');

-- Standard rates of VAT or GST. Reduced rates by kind of article are not modelled.
insert into catalog.tax_rates (country, percent) values
    ('GB', 20), ('DE', 19), ('FR', 20), ('IE', 23), ('BE', 21), ('NL', 21), ('ES', 21),
    ('AU', 10), ('PT', 23), ('CH', 8.1), ('FI', 25.5), ('IT', 22), ('SE', 25), ('NO', 25),
    ('PL', 23), ('JP', 10), ('DK', 25), ('CY', 19), ('AT', 20), ('SG', 9), ('IS', 24),
    ('IL', 18), ('MT', 18), ('LT', 21), ('GR', 24), ('AE', 5), ('CZ', 21), ('BH', 10),
    ('LB', 11), ('SA', 15), ('ZA', 15),
    -- Jersey's GST stands for the Channel Islands; Guernsey has none.
    ('JE', 5),
    -- The federal GST; a province may add its own tax, which the shop does not collect.
    ('CA', 5),
    -- ICMS is a tax of the states; 17 % is what most of them ask on goods from abroad.
    ('BR', 17),
    -- The United States have no national sales tax. What the states ask depends on whether the
    -- shop has business there, and this one has not.
    ('US', 0),
    -- Kuwait and Hong Kong have no VAT.
    ('KW', 0), ('HK', 0),
    -- Antarctica: there is no tax, and no carrier either, so an order to it shows what becomes
    -- of a parcel that cannot be delivered.
    ('AQ', 0);

insert into catalog.shipping_rates (country, currency, fee, free_from) values
    ('GB', 'GBP', 3.95, 100), ('JE', 'GBP', 5.95, 150),
    ('IE', 'GBP', 7.95, 200), ('DE', 'GBP', 8.95, 250), ('FR', 'GBP', 8.95, 250),
    ('BE', 'GBP', 8.95, 250), ('NL', 'GBP', 8.95, 250), ('ES', 'GBP', 9.95, 250),
    ('PT', 'GBP', 9.95, 250), ('IT', 'GBP', 9.95, 250), ('AT', 'GBP', 9.95, 250),
    ('DK', 'GBP', 9.95, 250), ('PL', 'GBP', 9.95, 250), ('CZ', 'GBP', 9.95, 250),
    ('SE', 'GBP', 10.95, 300), ('FI', 'GBP', 10.95, 300), ('LT', 'GBP', 10.95, 300),
    ('GR', 'GBP', 11.95, 300), ('CY', 'GBP', 12.95, 300), ('MT', 'GBP', 12.95, 300),
    ('CH', 'GBP', 12.95, 300), ('NO', 'GBP', 12.95, 300), ('IS', 'GBP', 13.95, 300),
    ('US', 'GBP', 16.95, 400), ('CA', 'GBP', 16.95, 400), ('IL', 'GBP', 16.95, 400),
    ('AE', 'GBP', 17.95, 400), ('BH', 'GBP', 17.95, 400), ('KW', 'GBP', 17.95, 400),
    ('LB', 'GBP', 17.95, 400), ('SA', 'GBP', 17.95, 400), ('SG', 'GBP', 18.95, 400),
    ('HK', 'GBP', 18.95, 400), ('JP', 'GBP', 18.95, 400), ('BR', 'GBP', 19.95, null),
    ('ZA', 'GBP', 19.95, null), ('AU', 'GBP', 19.95, null), ('AQ', 'GBP', 99.00, null),
    ('GB', 'EUR', 4.95, 120), ('DE', 'EUR', 9.95, 250), ('FR', 'EUR', 9.95, 250),
    ('IE', 'EUR', 8.95, 220), ('NL', 'EUR', 9.95, 250), ('JP', 'EUR', 21.95, 450),
    ('KW', 'EUR', 20.95, 450), ('US', 'EUR', 19.95, 450),
    ('GB', 'USD', 5.25, 130), ('DE', 'USD', 11.50, 300), ('JP', 'USD', 24.00, 500),
    ('KW', 'USD', 23.00, 500), ('US', 'USD', 21.50, 500),
    ('GB', 'JPY', 800, 20000), ('DE', 'JPY', 1800, 45000), ('JP', 'JPY', 3600, 75000),
    ('KW', 'JPY', 3500, 75000), ('US', 'JPY', 3300, 75000),
    ('GB', 'KWD', 1.650, 40), ('DE', 'KWD', 3.550, 95), ('JP', 'KWD', 7.400, 155),
    ('KW', 'KWD', 7.125, 155), ('US', 'KWD', 6.650, 155);
