-- The books: double entry, and nothing is ever erased.
--
-- Amounts are above zero and the side says the direction, so no sign can be mistaken. A
-- transaction whose debits differ from its credits in any currency cannot be committed, and
-- none can be pulled out of balance later: entries are never changed or removed, and an entry
-- added to an old transaction is checked like a new one. A correction is a reversal that names
-- what it reverses.
--
-- There is no balance column. An account that is part of every order would make its row the
-- one place where the whole shop queues; a balance is the sum of the entries, read from an
-- index. For the same reason entries have no foreign key to accounts, whose check would lock
-- the account's row, shared, for every entry: the CHECK below knows the accounts by name.
create schema ledger;

create table ledger.accounts (
    account text primary key,
    -- The side that grows it, on which its balance is told.
    normal_side text not null constraint accounts_side_known
        check (normal_side in ('debit', 'credit'))
);

insert into ledger.accounts (account, normal_side) values
    ('payment-clearing', 'debit'),
    ('inventory', 'debit'),
    ('customer-deposits', 'credit'),
    ('sales-tax-payable', 'credit'),
    ('goods-received', 'credit'),
    ('sales', 'credit'),
    ('shipping-income', 'credit'),
    ('refunds', 'debit'),
    ('cost-of-goods', 'debit');

create table ledger.transactions (
    transaction_id bigint generated always as identity primary key,
    -- The same key is the same transaction.
    key text not null constraint transactions_booked_once unique,
    -- Null for goods received, which belong to no order.
    order_id uuid,
    -- What this transaction cancels out; a transaction is reversed once.
    reverses bigint references ledger.transactions
        constraint transactions_reversed_once unique,
    booked_at timestamptz not null default now()
);

create index transactions_by_order on ledger.transactions (order_id);

create table ledger.entries (
    transaction_id bigint not null references ledger.transactions,
    line smallint not null,
    account text not null constraint entries_account_known check (account in (
        'payment-clearing', 'inventory', 'customer-deposits', 'sales-tax-payable',
        'goods-received', 'sales', 'shipping-income', 'refunds', 'cost-of-goods'
    )),
    side text not null constraint entries_side_known check (side in ('debit', 'credit')),
    amount numeric not null constraint entries_amount_positive check (amount > 0),
    currency char(3) not null,
    primary key (transaction_id, line)
);

-- A balance is read from here without touching the table.
create index entries_by_account on ledger.entries (account, currency) include (side, amount);

create function ledger.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % refused', tg_relid::regclass, lower(tg_op)
        using errcode = 'restrict_violation';
end
$$;

create trigger transactions_append_only
    before update or delete or truncate on ledger.transactions
    for each statement execute function ledger.refuse_change();

create trigger entries_append_only
    before update or delete or truncate on ledger.entries
    for each statement execute function ledger.refuse_change();

create function ledger.refuse_unbalanced() returns trigger language plpgsql as $$
declare
    booked boolean := false;
    total record;
begin
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
    return null;
end
$$;

-- At commit, when the transaction is complete. On the entries too, because only they tell of
-- an entry that is added to a transaction of yesterday.
create constraint trigger transactions_balanced
    after insert on ledger.transactions deferrable initially deferred
    for each row execute function ledger.refuse_unbalanced();

create constraint trigger entries_balanced
    after insert on ledger.entries deferrable initially deferred
    for each row execute function ledger.refuse_unbalanced();
