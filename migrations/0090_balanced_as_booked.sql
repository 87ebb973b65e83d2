-- A booking is checked once, when its statement ends, and not again for each of its entries at commit.
--
-- Every program books a transaction and its entries in one statement. Until now a deferred trigger
-- looked at the whole transaction once for the transaction and once more for each entry: an order of
-- two bookings was checked ten times. Now each statement that inserts entries is checked when it ends,
-- for all transactions that it touches, and a transaction without entries is refused at commit as
-- before.
--
-- It is stricter than before: entries that balance only after a second statement are refused at the
-- first. It refuses all that was refused: an entry added to a transaction of before, one booked in
-- another moment, a reversal that is not the mirror of what it reverses.
set local lock_timeout = '3s';

drop trigger entries_balanced on ledger.entries;
drop trigger transactions_balanced on ledger.transactions;
drop function ledger.refuse_unbalanced();

create function ledger.refuse_unbalanced() returns trigger language plpgsql as $$
declare
    touched record;
begin
    for touched in
        select booking.transaction_id, transactions.reverses, booking.currency, booking.difference,
            transactions.booked_in = pg_current_xact_id() and transactions.booked_at = now()
                as is_open
        from (
            select transaction_id, currency,
                sum(case side when 'debit' then amount else -amount end) as difference
            from ledger.entries
            where transaction_id in (select transaction_id from booked)
            group by transaction_id, currency
        ) as booking
        join ledger.transactions using (transaction_id)
        order by booking.transaction_id
    loop
        if not touched.is_open then
            raise exception 'transaction % is closed: book another one, and now',
                touched.transaction_id
                using errcode = 'check_violation', constraint = 'transactions_closed';
        end if;
        if touched.difference <> 0 then
            raise exception 'transaction %: debits and credits differ by % %',
                touched.transaction_id, touched.difference, touched.currency
                using errcode = 'check_violation', constraint = 'transactions_balanced';
        end if;
        if touched.reverses is not null then
            perform ledger.refuse_crooked_reversal(touched.transaction_id, touched.reverses);
        end if;
    end loop;
    return null;
end
$$;

create trigger entries_balanced
    after insert on ledger.entries
    referencing new table as booked
    for each statement execute function ledger.refuse_unbalanced();

-- A transaction is booked now, and has entries when it is committed. That they balance was checked
-- when they were inserted.
create function ledger.refuse_empty() returns trigger language plpgsql as $$
begin
    if new.booked_in <> pg_current_xact_id() or new.booked_at <> now() then
        raise exception 'transaction % is closed: book another one, and now', new.transaction_id
            using errcode = 'check_violation', constraint = 'transactions_closed';
    end if;
    if not exists (select from ledger.entries where transaction_id = new.transaction_id) then
        raise exception 'transaction % has no entries', new.transaction_id
            using errcode = 'check_violation', constraint = 'transactions_balanced';
    end if;
    return null;
end
$$;

create constraint trigger transactions_balanced
    after insert on ledger.transactions
    deferrable initially deferred
    for each row execute function ledger.refuse_empty();
