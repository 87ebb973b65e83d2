//! The books: what the shop was paid, what it owes, what it has earned.
//!
//! Postings come from `domain::ledger` balanced; the database refuses any that are not, and any
//! change of what is booked.

use domain::ledger::{Account, Entry, Posting};
use domain::{Money, OrderStatus};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::ActivityFault;
use crate::orders::Event;
use crate::step_keys::{Claim, Outcome};

/// Books the payment: money in, and a debt to the customer. Undone by [`reverse`].
///
/// **Repeats.** The posting's key names the transaction: the same key is one transaction.
pub async fn post(db: &PgPool, deposit: &Posting) -> Result<(), ActivityFault> {
    let data = json!({ "status": OrderStatus::Posted, "entries": deposit.entries() });
    book(db, deposit, Event { kind: "ledger.posted", data }).await
}

/// Books the sale, once the parcel is handed over: the debt to the customer is settled in goods.
///
/// **Repeats.** As for [`post`].
pub async fn recognise_revenue(db: &PgPool, revenue: &Posting) -> Result<(), ActivityFault> {
    let data = json!({ "entries": revenue.entries() });
    book(db, revenue, Event { kind: "ledger.revenue-recognised", data }).await
}

/// Books the reversal of the payment's posting, which stays in the books for ever.
///
/// **Repeats.** A transaction is reversed once. If there is none, the tombstone alone is left,
/// and a posting that comes late is refused.
pub async fn reverse(db: &PgPool, deposit: &Posting) -> Result<(), ActivityFault> {
    Claim::of(deposit.key(), deposit)?.bury(db).await?;
    let reversal = deposit.reversed();
    let columns = Columns::of(reversal.entries());
    sqlx::query!(
        r#"
        with reversal as (
            insert into ledger.transactions (key, order_id, reverses)
            select $2, order_id, transaction_id from ledger.transactions where key = $1
            on conflict do nothing
            returning transaction_id, order_id
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency
            from reversal, unnest($3::text[], $4::text[], $5::numeric[], $6::text[])
                with ordinality as entry (account, side, amount, currency, line)
        )
        select number
        from reversal cross join lateral orders.record(order_id, 'ledger.reversed', $7) as number
        "#,
        deposit.key().to_string(),
        format!("{}:reversal", deposit.key()),
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
        json!({ "entries": reversal.entries() }),
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("reversing a posting", error))?;
    Ok(())
}

async fn book(db: &PgPool, posting: &Posting, event: Event) -> Result<(), ActivityFault> {
    let claim = Claim::of(posting.key(), posting)?;
    let columns = Columns::of(posting.entries());
    let recorded = sqlx::query_scalar!(
        r#"
        with key as (
            insert into orders.step_keys (order_id, step, generation, argument_hash, outcome)
            values ($1, $2, $3, $4, $5)
            on conflict do nothing
            returning outcome
        ), booked as (
            insert into ledger.transactions (key, order_id)
            select $6, $1 from key
            returning transaction_id
        ), entry as (
            insert into ledger.entries (transaction_id, line, account, side, amount, currency)
            select transaction_id, line, account, side, amount, currency
            from booked, unnest($7::text[], $8::text[], $9::numeric[], $10::text[])
                with ordinality as entry (account, side, amount, currency, line)
        )
        select outcome as "outcome!"
        from key cross join lateral orders.record($1, $11, $12)
        "#,
        claim.order_id,
        claim.step,
        claim.generation,
        claim.argument_hash,
        Outcome::Done(()).into_json(),
        posting.key().to_string(),
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
        event.kind,
        event.data,
    )
    .fetch_optional(db)
    .await
    .map_err(|error| ActivityFault::of_database("booking a posting", error))?;
    claim.answer(db, recorded).await
}

/// Books goods that came in: the warehouse is worth more, and their invoice is still to come.
/// Belongs to no order, so it is part of whatever the caller commits.
pub(crate) async fn post_goods_received(
    transaction: &mut PgConnection,
    key: &str,
    value: Money,
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(&[
        Entry::debit(Account::Inventory, value),
        Entry::credit(Account::GoodsReceived, value),
    ]);
    sqlx::query!(
        r#"
        with booked as (
            insert into ledger.transactions (key) values ($1) returning transaction_id
        )
        insert into ledger.entries (transaction_id, line, account, side, amount, currency)
        select transaction_id, line, account, side, amount, currency
        from booked, unnest($2::text[], $3::text[], $4::numeric[], $5::text[])
            with ordinality as entry (account, side, amount, currency, line)
        "#,
        key,
        &columns.accounts,
        &columns.sides,
        &columns.amounts,
        &columns.currencies,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Entries side by side, as one statement takes any number of them.
#[derive(Default)]
struct Columns {
    accounts: Vec<String>,
    sides: Vec<String>,
    amounts: Vec<Decimal>,
    currencies: Vec<String>,
}

impl Columns {
    fn of(entries: &[Entry]) -> Self {
        let mut columns = Self::default();
        for entry in entries {
            columns.accounts.push(entry.account.as_str().to_owned());
            columns.sides.push(entry.side.as_str().to_owned());
            columns.amounts.push(entry.amount.amount());
            columns.currencies.push(entry.amount.currency().code().to_owned());
        }
        columns
    }
}
