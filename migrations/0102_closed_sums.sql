-- Closed books: the sums of all accounts up to a transaction, after which no transaction can be
-- added before it.
--
-- A balance was the sum of all entries of its account, so its time grew with the number of orders.
-- Now it is the sums of the last closing plus the entries since. The entries remain the only source
-- of truth: the database computes each closing from them, and a closing can be deleted at any time.
--
-- Transaction ids are drawn before the commit, so a lower id can become visible after a higher one.
-- `ledger.close_books` therefore determines under a table lock up to which id all transactions are
-- committed or rolled back (`ledger.final_through`). From then on the database refuses lower ids,
-- so that a closing contains every entry up to its transaction.
set local lock_timeout = '3s';

-- The last transaction up to which the books may be closed: all up to it are committed or rolled
-- back.
--
-- It is a sequence, because a sequence is read regardless of the snapshot and is not rolled back.
create sequence ledger.final_through;

-- Refuses a transaction whose id is not above `final_through`: the id was drawn long ago, or was
-- not drawn from the sequence.
create function ledger.refuse_before_closing() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    late bigint;
begin
    -- Ids below 1 are refused, too: no closing would contain them.
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

-- The sums of an account in one currency.
create type ledger.account_sum as (
    account text,
    currency char(3),
    debits numeric,
    credits numeric
);

create table ledger.closings (
    -- The last transaction that it contains.
    through bigint primary key,
    -- Every account and currency with entries up to there.
    sums ledger.account_sum[] not null,
    closed_at timestamptz not null
);

comment on table ledger.closings is
    'The sums of all accounts up to a transaction. A balance adds the entries since to them.';

-- Computes the sums of a new closing, whatever sums were inserted: those of the previous closing
-- plus the entries since.
create function ledger.sum_up() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    known ledger.closings;
    crooked bigint;
begin
    -- An older snapshot might not see all entries.
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

-- Closes the books up to the last committed transaction, by at most `at_most` transactions; returns
-- by how many. Any number of programs may call it concurrently: a closing does not depend on the
-- others.
--
-- The table lock waits for running transactions of the ledger, and new ones queue behind it. So it
-- is requested for 100 ms at most, and again by the next call. Once it is granted, every id that
-- was drawn by an insert is committed or rolled back. The subtransaction releases the lock at once;
-- the sequence keeps its value.
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
    -- The new closing contains all earlier ones.
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
