//! I1 and I2: the books balance, and agree with the orders.

use domain::StepName;
use sqlx::PgConnection;

use super::{Finding, Scope, Seen, Skipped};

/// The steps that move an order's money between accounts.
const BOOKINGS: &[StepName] =
    &[StepName::CapturePayment, StepName::PostEntries, StepName::RecogniseRevenue];

pub(super) async fn look(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Vec<Finding>, sqlx::Error> {
    Ok(vec![
        balanced(db, scope).await?,
        trial_balance(db, scope).await?,
        closed_as_booked(db, scope).await?,
        payment_clearing(db, scope, skipped).await?,
        orders_as_booked(db, scope, skipped).await?,
        refunds_as_booked(db, scope).await?,
        payouts_as_booked(db, scope).await?,
        transfers_as_booked(db, scope).await?,
    ])
}

/// A recent proof checks the transactions of its orders, and all transactions since the last
/// closing: the closing has checked the others.
async fn balanced(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with difference as (
            select transactions.transaction_id, key, currency, count(line) as entries,
                sum(case side when 'debit' then amount else -amount end) as difference
            from ledger.transactions left join ledger.entries using (transaction_id)
            where $1::uuid[] is null or order_id = any ($1) or transaction_id > $2
            group by transactions.transaction_id, currency
        ), checked as (
            select transaction_id, case
                when entries = 0 then format('%s has no entries', key)
                when difference <> 0 then format('%s differs by %s %s', key, difference, currency)
            end as complaint
            from difference
        )
        select
            count(distinct transaction_id) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
        scope.closed_through(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I1", "debits = credits in each transaction and currency", "transactions", seen))
}

/// What can be wrong is that the balances do not sum to zero, or that an entry is on an unknown
/// account. A recent proof adds the entries since the last closing to the sums of that closing.
async fn trial_balance(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let things = match scope {
        Scope::Everything => "entries",
        Scope::Recent(_) => "closed sums and entries since",
    };
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with entry as (
            select account, currency,
                case side when 'debit' then amount else -amount end as debit
            from ledger.entries where $1::bigint is null or transaction_id > $1
            union all
            select account, currency, debits - credits from ledger.closings, unnest(sums)
            where through = $1
        ), balance as (
            select account, currency, sum(debit) as debit, count(*) as entries
            from entry
            group by account, currency
        ), complaint as (
            select format('the accounts in %s come to %s, not to nothing', currency, sum(debit))
                as complaint
            from balance group by currency having sum(debit) <> 0
            union all
            select format('%s entries are on %s, which is no account', entries, account)
            from balance where account not in (select account from ledger.accounts)
        )
        select
            (select coalesce(sum(entries), 0)::bigint from balance) as "looked_at!",
            (select count(*) from complaint) as "violations!",
            (select coalesce((array_agg(complaint))[1:5], '{}') from complaint) as "examples!"
        "#,
        scope.closed_through(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", "the balances of all accounts come to zero", things, seen))
}

/// The sums of each closing must be those of its entries, because balances are computed from them.
async fn closed_as_booked(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "the sums of each closing are those of its entries";
    if let Some(left_out) = scope.leaves_out("I2", SAID) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with closed as (
            select through, sum.* from ledger.closings, unnest(sums) as sum
        ), booked as (
            select through, account, currency,
                coalesce(sum(amount) filter (where side = 'debit'), 0) as debits,
                coalesce(sum(amount) filter (where side = 'credit'), 0) as credits
            from ledger.closings join ledger.entries on transaction_id <= through
            group by through, account, currency
        ), checked as (
            select case when (closed.debits, closed.credits)
                is distinct from (booked.debits, booked.credits)
            then format(
                'the closing at transaction %s has for %s debits of %s and credits of %s in %s, '
                    || 'and its entries %s and %s',
                through, account, coalesce(closed.debits, 0), coalesce(closed.credits, 0), currency,
                coalesce(booked.debits, 0), coalesce(booked.credits, 0)
            ) end as complaint
            from closed full join booked using (through, account, currency)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", SAID, "sums", seen))
}

/// A recent proof also checks the bookings since the last closing that belong to no order.
async fn payment_clearing(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with booked as (
            select order_id, currency,
                sum(case side when 'debit' then amount else -amount end) as amount
            from ledger.entries join ledger.transactions using (transaction_id)
            -- What is paid out, and what customers have transferred, is looked at by itself.
            where account = 'payment-clearing' and key not like 'balance-transaction:%'
                and key not like 'bank-%' and (
                    $2::uuid[] is null or order_id = any ($2)
                    or order_id is null and transaction_id > $3
                )
            group by order_id, currency
        ), moved as (
            select order_id, currency, captured - refunded as amount from payments.charges
            where $2 is null or order_id = any ($2)
            union all
            select order_id, currency, moved from payments.dispute_totals
            where $2 is null or order_id = any ($2)
        ), taken as (
            select order_id, currency, sum(amount) as amount from moved
            group by order_id, currency
        ), both_ways as (
            select order_id, currency,
                coalesce(booked.amount, 0) as booked, coalesce(taken.amount, 0) as taken
            from booked full join taken using (order_id, currency)
        ), checked as (
            select case when booked <> taken then format(
                'order %s: %s %s is booked, %s was taken',
                order_id, booked, both_ways.currency, taken
            ) end as complaint
            from both_ways left join orders.orders using (order_id)
            where status is null
                or orders.is_terminal(status) and order_id <> all ($1)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        &skipped.orders(BOOKINGS),
        scope.orders(),
        scope.closed_through(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", "payment clearing = captured − refunded, at rest", "orders", seen)
        .with_remark(skipped.remark(BOOKINGS)))
}

/// A completed order's money is booked as sales, tax and shipping income according to its totals,
/// less its refunds. Any other order at rest has a zero balance.
async fn orders_as_booked(
    db: &mut PgConnection,
    scope: &Scope,
    skipped: &Skipped,
) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "the books say of each order what its own totals say, at rest";
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with entry as (
            select order_id, account,
                case side when 'debit' then amount else -amount end as debit
            from ledger.entries join ledger.transactions using (transaction_id)
            where order_id is not null and ($2::uuid[] is null or order_id = any ($2))
        ), booked as (
            select order_id,
                sum(debit) filter (where account = 'payment-clearing') as clearing,
                sum(debit) filter (where account = 'customer-deposits') as deposits,
                sum(debit) filter (where account = 'sales') as sales,
                sum(debit) filter (where account = 'shipping-income') as shipping,
                sum(debit) filter (where account = 'sales-tax-payable') as tax,
                sum(debit) filter (where account = 'refunds') as refunds,
                sum(debit) filter (where account = 'cost-of-goods') as cost,
                sum(debit) filter (where account = 'inventory') as inventory
            from entry
            group by order_id
        ), refund as (
            select order_id, sum(amount) as amount, sum(goods) as goods, sum(shipping) as shipping,
                sum(goods_tax + shipping_tax) as tax
            from payments.refund_requests
            where state = 'succeeded' and ($2 is null or order_id = any ($2))
            group by order_id
        ), dispute as (
            select order_id, sum(moved + settled) as net from payments.dispute_totals
            where $2 is null or order_id = any ($2)
            group by order_id
        ), checked as (
            select orders.order_id, case
                when (
                    coalesce(clearing, 0) - coalesce(net, 0), coalesce(deposits, 0), coalesce(sales, 0),
                    coalesce(booked.shipping, 0), coalesce(booked.tax, 0),
                    coalesce(refunds, 0), coalesce(cost, 0), coalesce(inventory, 0)
                ) is distinct from case when status = 'completed' then (
                    total - coalesce(refund.amount, 0), 0::numeric, discount - subtotal,
                    coalesce(refund.shipping, 0) - orders.shipping,
                    coalesce(refund.tax, 0) - orders.tax,
                    coalesce(refund.goods, 0), cost_of_goods, -cost_of_goods
                ) else (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0) end
                then format(
                    'order %s, %s: clearing %s, deposits %s, sales %s, shipping %s, tax %s, '
                        || 'refunds %s, cost %s',
                    order_id, status, clearing, deposits, -sales, -booked.shipping, -booked.tax,
                    refunds, cost
                )
            end as complaint
            from orders.orders left join booked using (order_id) left join refund using (order_id)
                left join dispute using (order_id)
            where order_id <> all ($1) and orders.is_terminal(status)
                and ($2 is null or order_id = any ($2))
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        &skipped.orders(BOOKINGS),
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", SAID, "orders", seen).with_remark(skipped.remark(BOOKINGS)))
}

/// Holds at every moment: a refund and its booking are one transaction, named by the refund's key.
async fn refunds_as_booked(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with refund as (
            select asked.*, concat_ws(':', asked.order_id, 'issue-refund', record_version,
                nullif(number, 1), 'again-' || nullif(reversals, 0)) as key
            from payments.refund_requests as asked
            join orders.orders on orders.order_id = asked.order_id
            where $1::uuid[] is null or asked.order_id = any ($1)
        ), booked as (
            select key,
                sum(amount) filter (where account = 'payment-clearing' and side = 'credit')
                    as clearing,
                coalesce(sum(amount) filter (where account = 'refunds' and side = 'debit'), 0)
                    as goods
            from ledger.transactions join ledger.entries using (transaction_id)
            where key like '%:issue-refund:%' and reverses is null
                and ($1 is null or order_id = any ($1))
                and not exists (
                    -- Its money came back.
                    select from ledger.transactions as reversal
                    where reversal.reverses = transactions.transaction_id
                )
            group by key
        ), checked as (
            select case
                when refund.key is null then format('%s is booked and was never asked for', booked.key)
                when state = 'succeeded' and (clearing, booked.goods) is distinct from
                    (amount, refund.goods)
                then format('%s of %s is booked as %s', refund.key, amount, clearing)
                when state <> 'succeeded' and clearing is not null
                then format('%s, %s, is booked', refund.key, state)
            end as complaint
            from refund full join booked using (key)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
        scope.orders(),
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", "a refund is booked exactly if it was given back", "refunds", seen))
}

/// Holds at every moment: a provider's payout record and its booking are one transaction.
async fn payouts_as_booked(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "what the provider paid out and kept is booked";
    if let Some(left_out) = scope.leaves_out("I2", SAID) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with moved as (
            select transaction || ':fee' as name, 'payment-fees' as account, currency,
                case kind when 'fee' then fee - amount else fee end as amount
            -- A dispute books what it moves itself.
            from finance.balance_transactions where kind <> 'dispute'
            union all
            select transaction || ':payout', 'bank', currency, amount from finance.payouts
            union all
            select returned_by || ':payout', 'bank', currency, -amount from finance.payouts
            where returned_by is not null
        ), wanted as (
            select 'balance-transaction:' || name as key, account, currency, amount
            from moved where amount <> 0
        ), booked as (
            select key, account, currency,
                sum(case side when 'debit' then amount else -amount end) as amount
            from ledger.transactions join ledger.entries using (transaction_id)
            where account in ('payment-fees', 'bank')
                or key like 'balance-transaction:%' and account <> 'payment-clearing'
            group by key, account, currency
        ), checked as (
            select case when wanted.amount is distinct from booked.amount then format(
                '%s: %s %s is booked to %s, and %s was moved there',
                key, coalesce(booked.amount, 0), currency, account, coalesce(wanted.amount, 0)
            ) end as complaint
            from wanted full join booked using (key, account, currency)
        )
        select
            count(*) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", SAID, "movements", seen))
}

/// Holds at every moment: every change of a transfer (received, claimed, returned to the customer,
/// put on a payment list) is booked in the transaction that records it.
async fn transfers_as_booked(db: &mut PgConnection, scope: &Scope) -> Result<Finding, sqlx::Error> {
    const SAID: &str = "money that customers have transferred is booked";
    if let Some(left_out) = scope.leaves_out("I2", SAID) {
        return Ok(left_out);
    }
    let seen = sqlx::query_as!(
        Seen,
        r#"
        with moved as (
            select currency, amount from bank.entries where is_credit
            union all
            select currency, -captured from bank.payments
            union all
            -- Of what was taken: it is the customer's again.
            select currency, amount from bank.lines where refund_key is not null
            union all
            select currency, -amount from bank.lines where list_id is not null
        ), owed as (
            select currency, sum(amount) as amount from moved group by currency
        ), booked as (
            select currency, sum(case side when 'credit' then amount else -amount end) as amount
            from ledger.entries where account = 'customer-credit' group by currency
        ), checked as (
            select case when coalesce(owed.amount, 0) <> coalesce(booked.amount, 0) then format(
                'customers have %s %s with the shop, and %s are booked',
                coalesce(owed.amount, 0), currency, coalesce(booked.amount, 0)
            ) end as complaint
            from owed full join booked using (currency)
        )
        select
            (select count(*) from bank.entries) as "looked_at!",
            count(complaint) as "violations!",
            coalesce((array_agg(complaint) filter (where complaint is not null))[1:5], '{}')
                as "examples!"
        from checked
        "#,
    )
    .fetch_one(db)
    .await?;
    Ok(Finding::of("I2", SAID, "transfers", seen))
}
