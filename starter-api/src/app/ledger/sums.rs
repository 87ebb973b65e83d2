//! The sums of the accounts: those of the last closing, plus the entries since.
//!
//! The entries are the source of truth. A closing stores their sums, which the database itself
//! computes (migration 0102), and no transaction can be added to closed books.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use domain::ledger::Side;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::BadEntry;

/// The sums of one account in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) account: String,
    pub(super) currency: String,
    pub(super) debits: Decimal,
    pub(super) credits: Decimal,
}

impl Sums {
    /// The balance on this side.
    pub(super) fn balance_on(&self, side: Side) -> Result<Decimal, BadEntry> {
        let balance = match side {
            Side::Debit => self.debits.checked_sub(self.credits),
            Side::Credit => self.credits.checked_sub(self.debits),
        };
        balance.ok_or_else(|| self.unusable())
    }

    /// The error for sums that cannot be used.
    pub(super) fn unusable(&self) -> BadEntry {
        BadEntry(format!("{} in {}", self.account, self.currency))
    }
}

/// A closing: the sums of all accounts up to a transaction.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The last transaction that it contains; 0 before the first closing.
    pub(super) through: i64,
    pub(super) sums: Vec<Sums>,
}

/// Reads the last closing.
pub(super) async fn last_closing(connection: &mut PgConnection) -> sqlx::Result<Closing> {
    let rows = sqlx::query!(
        r#"select through as "through!", account as "account!", currency as "currency!",
               debits as "debits!", credits as "credits!"
           from (select through, sums from ledger.closings order by through desc limit 1) as last,
               unnest(sums)"#,
    )
    .fetch_all(connection)
    .await?;
    let through = rows.first().map(|row| row.through).unwrap_or_default();
    let sums = rows.into_iter().map(|row| Sums {
        account: row.account,
        currency: row.currency,
        debits: row.debits,
        credits: row.credits,
    });
    Ok(Closing { through, sums: sums.collect() })
}

/// Less than every transaction id.
pub(super) const BEGINNING: i64 = i64::MIN;

/// The sums of the entries after the transaction `through`. The upper bound is no restriction: it
/// makes the planner expect a small range, and read it by the primary key.
pub(super) async fn since(connection: &mut PgConnection, through: i64) -> sqlx::Result<Vec<Sums>> {
    sqlx::query_as!(
        Sums,
        r#"select account, currency,
               coalesce(sum(amount) filter (where side = 'debit'), 0) as "debits!",
               coalesce(sum(amount) filter (where side = 'credit'), 0) as "credits!"
           from ledger.entries
           where transaction_id > $1 and transaction_id <= 9223372036854775807
           group by account, currency"#,
        through,
    )
    .fetch_all(connection)
    .await
}

/// Adds the sums up, by account and currency.
pub(super) fn together(parts: [Vec<Sums>; 2]) -> Result<Vec<Sums>, BadEntry> {
    let mut added = BTreeMap::<(String, String), Sums>::new();
    for part in parts.into_iter().flatten() {
        match added.entry((part.account.clone(), part.currency.clone())) {
            Entry::Vacant(first) => {
                first.insert(part);
            }
            Entry::Occupied(mut sums) => {
                let sums = sums.get_mut();
                let debits = sums.debits.checked_add(part.debits);
                let credits = sums.credits.checked_add(part.credits);
                sums.debits = debits.ok_or_else(|| part.unusable())?;
                sums.credits = credits.ok_or_else(|| part.unusable())?;
            }
        }
    }
    Ok(added.into_values().collect())
}
