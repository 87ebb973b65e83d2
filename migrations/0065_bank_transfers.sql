-- Prepayment by bank transfer: the shop's bank is the payment provider, and these are its records.
--
-- A payment is expected under a reference, which the customer writes on the transfer. What has come
-- is read from the bank's statements (camt.053, camt.054); what has to go back goes out in payment
-- lists (pain.001), which an operator hands to the bank. The shop's programs call no bank.
--
-- One file is one transaction: all of it is taken in, or nothing. A statement's entry is known by
-- what the bank says of it, and is taken in once, whichever files it stands in. Every coin of an
-- entry is somewhere: kept for a payment, on a line of a list, or waiting for a person who knows
-- whose it is.
--
-- Names and account numbers of payers are here and nowhere else; only the worker's role reads them.
set local lock_timeout = '3s';

create schema bank;

create table bank.payments (
    -- ISO 11649; see `domain::bank::CreditorReference`.
    reference text primary key
        constraint payments_reference_shape check (reference ~ '^RF[0-9]{20}$'),
    -- The key of the step that authorises; the reference is made of it.
    charge_key text not null constraint payments_once_per_key unique,
    order_id uuid not null,
    currency char(3) not null,
    amount numeric not null constraint payments_amount_positive check (amount > 0),
    -- opened: the customer has not been asked. awaiting: they have. received: all of it has come.
    -- captured: the order has taken it. closed: nothing is expected any more, and what comes goes
    -- back.
    state text not null default 'opened' constraint payments_state_known
        check (state in ('opened', 'awaiting', 'received', 'captured', 'closed')),
    -- What has come and is kept for it, at most what is expected.
    received numeric not null default 0
        constraint payments_received_at_most_amount check (received between 0 and amount),
    captured numeric not null default 0
        constraint payments_captured_at_most_received check (captured between 0 and received),
    -- Whether the order's workflow still has to be told that money has come.
    is_news boolean not null default false,
    created_at timestamptz not null default now(),
    constraint payments_received_when_it_says_so
        check (state <> 'received' or received = amount),
    constraint payments_captured_when_it_says_so check ((captured > 0) = (state = 'captured'))
);

create index payments_by_order on bank.payments (order_id);
create index payments_with_news on bank.payments (order_id) where is_news;

create table bank.files (
    file_id bigint generated always as identity primary key,
    -- Of its bytes.
    sha256 text not null constraint files_taken_in_once unique,
    imported_at timestamptz not null default now()
);

-- An entry of a statement, as the bank books it.
create table bank.bookings (
    -- Made of the bank's own reference, amount and direction; of the statement and the entry's
    -- content, where the bank gives no reference.
    booking text primary key,
    file_id bigint not null references bank.files,
    -- The bank's number of the statement.
    statement text not null
);

-- One transfer: an entry, or a part of one that the bank has booked in a sum.
create table bank.entries (
    entry_id bigint generated always as identity primary key,
    booking text not null references bank.bookings,
    detail integer not null,
    is_credit boolean not null,
    currency char(3) not null,
    amount numeric not null constraint entries_amount_positive check (amount > 0),
    booked_on date,
    payer_name text,
    payer_iban text,
    -- What the payer wrote.
    remittance text not null,
    -- assigned: to a payment. unassigned: a person has to say whose it is. returned: it goes back
    -- whole. noted: money that went out, of which nothing is asked here.
    state text not null constraint entries_state_known
        check (state in ('assigned', 'unassigned', 'returned', 'noted')),
    -- Why it could not be assigned.
    why text,
    reference text references bank.payments,
    -- Who assigned or returned it, if a person did.
    decided_by text,
    -- What of it is kept for the payment, and what is on lines that go back.
    kept numeric not null default 0,
    given_back numeric not null default 0,
    constraint entries_once_per_booking unique (booking, detail),
    constraint entries_never_more_than_came
        check (kept >= 0 and given_back >= 0 and kept + given_back <= amount),
    constraint entries_assigned_to_a_payment check ((state = 'assigned') = (reference is not null)),
    constraint entries_all_of_it_is_somewhere
        check (state not in ('assigned', 'returned') or kept + given_back = amount),
    constraint entries_that_went_out check (is_credit or state = 'noted')
);

create index entries_by_payment on bank.entries (reference) where reference is not null;
create index entries_unassigned on bank.entries (entry_id) where state = 'unassigned';

-- A payment list, as it is handed to the bank. It can be written anew at any time, and is the same.
create table bank.lists (
    list_id bigint generated always as identity primary key,
    -- By which the bank knows a list that it has had before.
    message_id text not null constraint lists_message_once unique,
    created_at timestamptz not null default now(),
    -- The shop's own name and account, as they were then.
    holder text not null,
    iban text not null,
    -- When its file was first written in full.
    written_at timestamptz
);

-- What goes back to whoever has transferred it.
create table bank.lines (
    line_id bigint generated always as identity primary key,
    -- refund: of a payment that was taken. surplus: more than was expected. closed: for a payment
    -- that was not expected any more, or is not. unassigned: a person has sent it back.
    reason text not null constraint lines_reason_known
        check (reason in ('refund', 'surplus', 'closed', 'unassigned')),
    -- Whose payer gets it.
    entry_id bigint not null references bank.entries,
    -- The refund that it is a part of: by the refund's key.
    refund_key text,
    currency char(3) not null,
    amount numeric not null constraint lines_amount_positive check (amount > 0),
    -- The list that it stands on. Set once.
    list_id bigint references bank.lists,
    -- When a statement showed that the bank has carried it out.
    executed_on date,
    created_at timestamptz not null default now(),
    constraint lines_once_per_refund unique (refund_key, entry_id),
    constraint lines_refund_has_its_key check ((reason = 'refund') = (refund_key is not null))
);

create index lines_to_be_listed on bank.lines (line_id) where list_id is null;
create index lines_by_list on bank.lines (list_id);
create index lines_by_entry on bank.lines (entry_id);

-- A line stands on one list for ever, so nothing is paid out twice.
create function bank.refuse_another_list() returns trigger language plpgsql as $$
begin
    raise exception 'line % stands on a list', old.line_id
        using errcode = 'restrict_violation';
end
$$;

create trigger lines_listed_once
    before update of list_id on bank.lines
    for each row when (old.list_id is not null and new.list_id is distinct from old.list_id)
    execute function bank.refuse_another_list();

-- Books money that customers have with the shop: as it comes in or is to go back, or as an order
-- takes it or it goes out. These transactions belong to no order: what an order has taken, its own
-- steps book.
create function bank.book(the_key text, grows boolean, the_currency text, the_amount numeric)
returns void language sql as $$
    with booked as (
        insert into ledger.transactions (key) values (the_key) returning transaction_id
    )
    insert into ledger.entries (transaction_id, line, account, side, amount, currency)
    select transaction_id, line, account, side, the_amount, the_currency
    from booked, (values
        (1, 'payment-clearing', case when grows then 'debit' else 'credit' end),
        (2, 'customer-credit', case when grows then 'credit' else 'debit' end)
    ) as entry (line, account, side)
$$;

revoke execute on function bank.book from public;

insert into ledger.accounts (account, normal_side) values ('customer-credit', 'credit');

-- Made of the accounts that there are, so that it does not matter what else has added some.
do $$
begin
    alter table ledger.entries drop constraint entries_account_known;
    execute (
        select format(
            -- Those on record are on accounts of before, which are a part of these.
            'alter table ledger.entries
                add constraint entries_account_known check (account in (%s)) not valid',
            string_agg(quote_literal(account), ', ')
        )
        from ledger.accounts
    );
end
$$;

do $$
begin
    if to_regrole('ordersaga_worker') is not null then
        grant usage on schema bank to ordersaga_worker;
        grant select, insert on
            bank.payments, bank.files, bank.bookings, bank.entries, bank.lists, bank.lines
            to ordersaga_worker;
        grant update (state, received, captured, is_news) on bank.payments to ordersaga_worker;
        grant update (state, why, reference, decided_by, kept, given_back, payer_name, payer_iban)
            on bank.entries to ordersaga_worker;
        grant update (written_at) on bank.lists to ordersaga_worker;
        grant update (list_id, executed_on) on bank.lines to ordersaga_worker;
        grant execute on function bank.book to ordersaga_worker;
    end if;
end
$$;
