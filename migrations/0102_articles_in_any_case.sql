-- Whether there is such an article: a search looks for orders of it only then.
set local lock_timeout = '3s';

create index products_in_any_case on catalog.products (lower(sku));
