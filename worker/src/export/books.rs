//! Reads the books from the database.

use std::collections::BTreeMap;

use domain::ledger::Account;
use domain::{Currency, minor_digits};
use futures::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::ExportError;

/// Summary of the books, for the header and the balance assertions.
pub(super) struct Books {
    /// In trial-balance order, then by currency.
    pub(super) balances: Vec<Balance>,
    /// The number of decimals to write for each currency.
    pub(super) decimals: BTreeMap<String, u32>,
    /// The day of the last transaction, in UTC and ISO 8601; `None` without transactions.
    pub(super) last_day: Option<String>,
    /// The day after it.
    pub(super) day_after: Option<String>,
}

/// An account's balance in one currency: debits minus credits, summed by the database.
pub(super) struct Balance {
    pub(super) account: Account,
    pub(super) currency: String,
    pub(super) amount: Decimal,
}

/// A transaction of the books.
pub(super) struct Transaction {
    pub(super) number: i64,
    /// The key that names it in the books.
    pub(super) key: String,
    pub(super) order_id: Option<Uuid>,
    /// The transaction that it reverses.
    pub(super) reverses: Option<i64>,
    /// The booking day, in UTC and ISO 8601.
    pub(super) day: String,
    pub(super) entries: Vec<Entry>,
}

/// An entry of a transaction.
pub(super) struct Entry {
    pub(super) account: Account,
    /// Negative for a credit.
    pub(super) amount: Decimal,
    pub(super) currency: String,
}

impl Books {
    pub(super) async fn read(db: &mut PgConnection) -> Result<Self, ExportError> {
        let sums = sqlx::query!(
            r#"
            select account, currency,
                max(scale(trim_scale(amount))) as "decimals!",
                sum(case side when 'debit' then amount else -amount end) as "amount!"
            from ledger.entries
            group by account, currency
            "#,
        )
        .fetch_all(&mut *db)
        .await?;
        let days = sqlx::query!(
            r#"
            select
                to_char(max(booked_at) at time zone 'UTC', 'YYYY-MM-DD') as last_day,
                to_char(max(booked_at) at time zone 'UTC' + interval '1 day', 'YYYY-MM-DD')
                    as day_after
            from ledger.transactions
            "#,
        )
        .fetch_one(db)
        .await?;
        let mut decimals = BTreeMap::new();
        let mut balances = Vec::new();
        for sum in sums {
            let most = decimals.entry(sum.currency.clone()).or_insert_with(|| usual(&sum.currency));
            *most = u32::try_from(sum.decimals).unwrap_or_default().max(*most);
            let account = account(sum.account)?;
            balances.push(Balance { account, currency: sum.currency, amount: sum.amount });
        }
        balances.sort_by_cached_key(|balance| {
            let place = Account::ALL.into_iter().position(|account| account == balance.account);
            (place, balance.currency.clone())
        });
        Ok(Self { balances, decimals, last_day: days.last_day, day_after: days.day_after })
    }

    /// Formats the exact amount with the decimals of its currency.
    pub(super) fn written(&self, amount: Decimal, currency: &str) -> String {
        let decimals = self.decimals.get(currency).copied().unwrap_or_default();
        let mut exact = amount;
        exact.rescale(decimals.max(amount.normalize().scale()));
        exact.to_string()
    }
}

impl Transaction {
    /// What it books: `post-entries`, `reversal of post-entries`, `goods-received`.
    pub(super) fn title(&self) -> String {
        let of_order = self.order_id.and_then(|order| self.key.strip_prefix(&format!("{order}:")));
        let name = of_order.unwrap_or(&self.key);
        let kind = name.split_once(':').map_or(name, |(kind, _)| kind);
        if self.reverses.is_some() { format!("reversal of {kind}") } else { kind.to_owned() }
    }
}

/// Reads the transactions one at a time, in the order of their numbers.
pub(super) async fn each_transaction(
    db: &mut PgConnection,
    mut write: impl FnMut(Transaction) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut rows = sqlx::query!(
        r#"
        select transaction_id as "number!", key, order_id, reverses,
            to_char(booked_at at time zone 'UTC', 'YYYY-MM-DD') as "day!",
            account, currency, case side when 'debit' then amount else -amount end as "amount!"
        from ledger.transactions join ledger.entries using (transaction_id)
        order by transaction_id, line
        "#,
    )
    .fetch(db);
    let mut open: Option<Transaction> = None;
    while let Some(row) = rows.try_next().await? {
        let account = account(row.account)?;
        let entry = Entry { account, amount: row.amount, currency: row.currency };
        if let Some(same) = open.as_mut().filter(|open| open.number == row.number) {
            same.entries.push(entry);
            continue;
        }
        let next = Transaction {
            number: row.number,
            key: row.key,
            order_id: row.order_id,
            reverses: row.reverses,
            day: row.day,
            entries: vec![entry],
        };
        if let Some(whole) = open.replace(next) {
            write(whole)?;
        }
    }
    open.map_or(Ok(()), write)
}

fn account(id: String) -> Result<Account, ExportError> {
    Account::by_id(&id).ok_or(ExportError::NoAccount(id))
}

/// The number of decimals of a currency, by ISO 4217.
fn usual(currency: &str) -> u32 {
    let known = Currency::from_code(currency);
    known.and_then(|known| minor_digits(known).ok()).unwrap_or_default()
}
