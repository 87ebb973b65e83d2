-- A transaction is closed when it is booked.
--
-- The checks of 0007 let a *balanced* pair of entries be added to a transaction of yesterday,
-- and let a reversal name one transaction while it takes back another amount: the books would
-- still balance, and no longer say what happened. Now entries belong to the database
-- transaction that books their ledger transaction, or are refused; it is booked now, not at
-- a date of the caller's choice; and a reversal is the mirror of what it reverses.
--
-- What tells is the database's own number of the transaction (xid8 never comes round again),
-- because a time can be given by whoever inserts, and two transactions can share one.
alter table ledger.transactions
    add column booked_in xid8 not null default pg_current_xact_id();

alter table ledger.entries
    -- Above zero is not enough: `NaN` and `Infinity` are, for PostgreSQL.
    add constraint entries_amount_finite check (amount < 'Infinity'),
    -- `gbp` would be a currency of its own, beside `GBP`.
    add constraint entries_currency_written check (currency ~ '^[A-Z]{3}$');

-- The side that an account's balance is told on turns every balance ever told if it changes.
create trigger accounts_append_only
    before update or delete or truncate on ledger.accounts
    for each statement execute function ledger.refuse_change();

create function ledger.refuse_crooked_reversal(reversal bigint, reversed bigint) returns void
language plpgsql as $$
begin
    if exists (
        with taken_back as (
            select account, amount, currency,
                case side when 'debit' then 'credit' else 'debit' end as side
            from ledger.entries where transaction_id = reversed
        ), booked as (
            select account, amount, currency, side
            from ledger.entries where transaction_id = reversal
        )
        (select * from taken_back except all select * from booked)
        union all
        (select * from booked except all select * from taken_back)
    ) then
        raise exception 'transaction % is not the mirror of %, which it reverses',
            reversal, reversed
            using errcode = 'check_violation', constraint = 'transactions_mirrored';
    end if;
end
$$;

create or replace function ledger.refuse_unbalanced() returns trigger language plpgsql as $$
declare
    booked boolean := false;
    the_transaction record;
    total record;
begin
    select reverses into the_transaction from ledger.transactions
    where transaction_id = new.transaction_id
        and booked_in = pg_current_xact_id() and booked_at = now();
    if not found then
        raise exception 'transaction % is closed: book another one, and now', new.transaction_id
            using errcode = 'check_violation', constraint = 'transactions_closed';
    end if;
    for total in
        select currency,
            sum(case side when 'debit' then amount else -amount end) as difference
        from ledger.entries where transaction_id = new.transaction_id
        group by currency
    loop
        booked := true;
        if total.difference <> 0 then
            raise exception 'transaction %: debits and credits differ by % %',
                new.transaction_id, total.difference, total.currency
                using errcode = 'check_violation', constraint = 'transactions_balanced';
        end if;
    end loop;
    if not booked then
        raise exception 'transaction % has no entries', new.transaction_id
            using errcode = 'check_violation', constraint = 'transactions_balanced';
    end if;
    if the_transaction.reverses is not null then
        perform ledger.refuse_crooked_reversal(new.transaction_id, the_transaction.reverses);
    end if;
    return null;
end
$$;
