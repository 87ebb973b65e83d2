-- The index of migration 0106 has taken the place of this constraint's.
set local lock_timeout = '3s';

alter table inventory.movements drop constraint movements_once_per_reference;
