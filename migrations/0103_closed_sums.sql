-- The books are closed as they go on: what all accounts come to, up to a transaction after which
-- nothing can be booked before it.
--
-- A balance was the sum of every entry of its account, and took longer with every order. Now it is what
-- was closed last, and the entries since. The entries stay the only truth: a closing is summed up from
-- them by the database itself, whoever asks for it, and can be dropped at any time.
--
-- A transaction's number is drawn before it is committed, so a lower number can appear after a higher
-- one. What may be closed is therefore found out under a lock that no booking holds at that moment
-- (`ledger.close_books`), and from then on a lower number is refused. So no entry can come to be before
-- a closing that does not contain it.
set local lock_timeout = '3s';

-- Up to which transaction the books may be closed: each up to there is committed, or will never be.
--
-- A sequence, because it is read past all snapshots and is not set back with its transaction.
create sequence ledger.final_through;

-- A booking that would come before what may be closed is refused: the number was drawn long ago, or
-- was made up.
create function ledger.refuse_before_closing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    late bigint;
begin
    -- A number below 1 is in no closing, and after none.
    select min(transaction_id) into late from booked
    where transaction_id <= coalesce(
        (select last_value from ledger.final_through where is_called), 0
    );
    if late is not null then
        raise exception 'transaction % would be booked in books that are closed', late
            using errcode = 'check_violation', constraint = 'transactions_after_closing';
    end if;
    return null;
end
$$;

create trigger transactions_after_closing
    after insert on ledger.transactions
    referencing new table as booked
    for each statement execute function ledger.refuse_before_closing();

-- What an account comes to in a currency.
create type ledger.account_sum as (
    account text,
    currency char(3),
    debits numeric,
    credits numeric
);

create table ledger.closings (
    -- The last transaction that is contained.
    through bigint primary key,
    -- Each account that was ever booked by then, for each currency.
    sums ledger.account_sum[] not null,
    closed_at timestamptz not null
);

comment on table ledger.closings is
    'What the accounts come to, up to a transaction. A balance is the last one and the entries since.';

-- A closing says what its entries come to, whatever is inserted: the sums of the one before, and the
-- entries since.
create function ledger.sum_up() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    known ledger.closings;
    crooked bigint;
begin
    -- An older snapshot does not see every entry.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the books are closed in a transaction that is read committed'
            using errcode = 'invalid_transaction_state';
    end if;
    if not exists (
        select from ledger.final_through where is_called and new.through between 1 and last_value
    ) then
        raise exception 'the books cannot be closed up to transaction %: not all are booked',
            new.through using errcode = 'check_violation', constraint = 'closings_final';
    end if;
    select * into known from ledger.closings where through < new.through
    order by through desc limit 1;
    select min(transaction_id) into crooked from (
        select transaction_id from ledger.entries
        where transaction_id > coalesce(known.through, 0) and transaction_id <= new.through
        group by transaction_id, currency
        having sum(case side when 'debit' then amount else -amount end) <> 0
    ) as unbalanced;
    if crooked is not null then
        raise exception 'the books stay open: transaction % does not balance', crooked
            using errcode = 'check_violation', constraint = 'closings_balanced';
    end if;
    select coalesce(
        array_agg((account, currency, debits, credits)::ledger.account_sum
            order by account, currency), '{}'
    ) into new.sums
    from (
        select account, currency, sum(debits) as debits, sum(credits) as credits
        from (
            select account, currency, debits, credits from unnest(known.sums)
            union all
            select account, currency,
                case side when 'debit' then amount else 0 end,
                case side when 'credit' then amount else 0 end
            from ledger.entries
            where transaction_id > coalesce(known.through, 0) and transaction_id <= new.through
        ) as part
        group by account, currency
    ) as summed;
    new.closed_at := clock_timestamp();
    return new;
end
$$;

create trigger closings_summed_up
    before insert on ledger.closings
    for each row execute function ledger.sum_up();

create trigger closings_unchanged
    before update or truncate on ledger.closings
    for each statement execute function ledger.refuse_change();

-- Closes the books up to what is booked now, at most so many transactions at once; answers how many it
-- was. Any number of programs may ask for it: each closing stands by itself.
--
-- The lock waits for the bookings that are under way, and those that come wait behind it: so it is
-- asked for a tenth of a second, and tried again the next time. Once it is there, every number that was
-- drawn for a booking is committed or lost. It ends with the block, while what the sequence was set to
-- stays.
create function ledger.close_books(at_most integer) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms' as $$
declare
    closed constant bigint := (select coalesce(max(through), 0) from ledger.closings);
    final bigint;
    booked bigint;
begin
    begin
        lock table ledger.transactions in share mode;
        select max(transaction_id) into booked from ledger.transactions;
        if booked > (select case when is_called then last_value else 0 end from ledger.final_through)
        then
            perform setval('ledger.final_through', booked);
        end if;
        raise exception 'the lock is given back' using errcode = 'OS001';
    exception
        when sqlstate 'OS001' or lock_not_available or deadlock_detected then null;
    end;
    select least(closed + at_most, last_value) into final
    from ledger.final_through where is_called;
    if final is null or final <= closed then
        return 0;
    end if;
    insert into ledger.closings (through) values (final) on conflict (through) do nothing;
    -- Each contains those before.
    delete from ledger.closings where through < final;
    return final - closed;
end
$$;

revoke execute on function
    ledger.refuse_before_closing, ledger.sum_up, ledger.close_books
    from public;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant select on ledger.closings to ordersaga_worker;
        grant execute on function ledger.close_books to ordersaga_worker;
    end if;
    if to_regrole('ordersaga_starter') is not null then
        grant select on ledger.closings to ordersaga_starter;
    end if;
end
$$;
