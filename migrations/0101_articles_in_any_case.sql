-- Articles by SKU, ignoring case. A search for a text that is no SKU does not scan the orders.
set local lock_timeout = '3s';

create index products_in_any_case on catalog.products (lower(sku));
