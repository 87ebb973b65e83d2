//! What the accounts come to: what the books were closed with last, and the entries since.
//!
//! The entries are the truth. A closing is their sum, which the database itself has made of them
//! (migration 0103), and nothing can be booked before it.

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

    /// What to say of them if they are not usable.
    pub(super) fn unusable(&self) -> BadEntry {
        BadEntry(format!("{} in {}", self.account, self.currency))
    }
}

/// What the books were closed with.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The last transaction that it contains; 0 before the books were closed for the first time.
    pub(super) through: i64,
    pub(super) sums: Vec<Sums>,
}

/// What the books were closed with last.
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

/// What everything is booked after.
pub(super) const BEGINNING: i64 = i64::MIN;

/// What was booked after this transaction.
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

/// All of these added up, by account and currency.
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
