//! Exports the shop's books for independent accounting programs: an hledger journal or a beancount
//! file.
//!
//! This lets another program verify the shop's arithmetic. Every transaction is written with its
//! entries exactly as recorded. The end of the file states the balance that the shop computes for
//! each account and currency, and the other program checks it against its own sum.
//!
//! In both formats a debit is a positive amount and a credit a negative one. Amounts have at least
//! their currency's decimals, and all amounts of a currency have the same number of decimals,
//! because either program tolerates half a unit of the last decimal that it sees.
//!
//! The books are read row by row in one repeatable-read transaction, so memory use does not depend
//! on the number of orders. The same books produce the same text.

mod accounts;
mod beancount;
mod books;
mod file;
mod hledger;

use std::io::{self, Write};
use std::path::PathBuf;

use sqlx::PgPool;

use books::{Books, Transaction};
pub use file::export_into;

/// The format of the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An hledger journal: `hledger -f FILE check --strict`
    Hledger,
    /// A beancount file: `bean-check FILE`
    Beancount,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Transactions.
    pub transactions: usize,
    /// Their entries.
    pub entries: usize,
    /// The balance assertions, one for each account and currency.
    pub balances: usize,
}

/// Why the books could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database.
    #[error("the books could not be read")]
    Database(#[from] sqlx::Error),
    /// The output.
    #[error("the books could not be written")]
    Output(#[from] io::Error),
    /// An entry is on an unknown account.
    #[error(
        "entries are on {0}, which is not an account; `ordersaga prove` shows what else is wrong"
    )]
    NoAccount(String),
    /// The target is a folder or a device, which must not be replaced.
    #[error("{} is not a file; without one, the books go to standard output", .0.display())]
    NotAFile(PathBuf),
}

impl Format {
    /// Writes the header, before the first transaction.
    fn opening(self, books: &Books, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Hledger => hledger::opening(books, out),
            Self::Beancount => beancount::opening(books, out),
        }
    }

    fn transaction(self, books: &Books, one: &Transaction, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Hledger => hledger::transaction(books, one, out),
            Self::Beancount => beancount::transaction(books, one, out),
        }
    }

    /// Writes the balance assertions, after the last transaction.
    fn closing(self, books: &Books, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Hledger => hledger::closing(books, out),
            Self::Beancount => beancount::closing(books, out),
        }
    }
}

/// Writes the books. Calls `told` after each transaction with the number written so far.
pub async fn export(
    pool: &PgPool,
    format: Format,
    out: &mut impl Write,
    mut told: impl FnMut(usize),
) -> Result<Exported, ExportError> {
    let mut moment = pool.begin_with("begin isolation level repeatable read, read only").await?;
    let books = Books::read(&mut moment).await?;
    let mut exported = Exported { balances: books.balances.len(), ..Exported::default() };
    format.opening(&books, out)?;
    books::each_transaction(&mut moment, |one| {
        format.transaction(&books, &one, out)?;
        exported.transactions = exported.transactions.saturating_add(1);
        exported.entries = exported.entries.saturating_add(one.entries.len());
        told(exported.transactions);
        Ok(())
    })
    .await?;
    moment.commit().await?;
    format.closing(&books, out)?;
    out.flush()?;
    Ok(exported)
}

#[cfg(test)]
mod tests {
    use domain::ledger::Account;
    use expect_test::{Expect, expect};
    use uuid::Uuid;

    use super::books::{Balance, Entry};
    use super::*;

    const ORDER: Uuid = Uuid::from_u128(1);

    /// A transaction on the second day, from `account amount currency, …`.
    fn booked(number: i64, key: &str, entries: &str) -> Transaction {
        let entry = |text: &str| {
            let Balance { account, currency, amount } = balance(text);
            Entry { account, amount, currency }
        };
        Transaction {
            number,
            key: key.to_owned(),
            order_id: None,
            reverses: None,
            day: "2026-11-29".to_owned(),
            entries: entries.split(", ").map(entry).collect(),
        }
    }

    fn balance(text: &str) -> Balance {
        let [account, amount, currency] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        Balance {
            account: Account::by_id(account).unwrap(),
            currency: currency.to_owned(),
            amount: amount.parse().unwrap(),
        }
    }

    /// Goods are received and revalued, and an order's payment is reversed.
    fn transactions() -> [Transaction; 5] {
        let posted = format!("{ORDER}:post-entries:1");
        let reversal = format!("{posted}:reversal");
        [
            Transaction {
                day: "2026-11-28".to_owned(),
                ..booked(1, "goods-received:85123A", "inventory 1530 GBP, goods-received -1530 GBP")
            },
            Transaction {
                order_id: Some(ORDER),
                ..booked(2, &posted, "payment-clearing 24.3 GBP, customer-deposits -24.3 GBP")
            },
            booked(
                3,
                r#"revaluation:A;B|C,"D\E":1"#,
                "inventory 1.00 GBP, cost-of-goods -1.00 GBP, inventory 100 JPY, \
                 cost-of-goods -100 JPY, cost-of-goods 1.234 KWD, inventory -1.234 KWD",
            ),
            Transaction {
                order_id: Some(ORDER),
                reverses: Some(2),
                ..booked(4, &reversal, "customer-deposits 24.3 GBP, payment-clearing -24.3 GBP")
            },
            booked(5, "stock-movement:7", "inventory 0 GBP, cost-of-goods 0 GBP"),
        ]
    }

    fn check(format: Format, expected: &Expect) {
        let balances = "payment-clearing 0.00 GBP, inventory 1531.00 GBP, inventory 100 JPY, \
            inventory -1.234 KWD, customer-deposits 0.00 GBP, goods-received -1530.00 GBP, \
            cost-of-goods -1.00 GBP, cost-of-goods -100 JPY, cost-of-goods 1.234 KWD";
        let decimals = [("GBP", 2), ("JPY", 0), ("KWD", 3)];
        let books = Books {
            balances: balances.split(", ").map(balance).collect(),
            decimals: decimals.map(|(currency, decimals)| (currency.to_owned(), decimals)).into(),
            last_day: Some("2026-11-29".to_owned()),
            day_after: Some("2026-11-30".to_owned()),
        };
        let mut out = Vec::new();
        format.opening(&books, &mut out).unwrap();
        for one in transactions() {
            format.transaction(&books, &one, &mut out).unwrap();
        }
        format.closing(&books, &mut out).unwrap();
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn the_books_as_an_hledger_journal() {
        let expected = expect![[r#"
            ; The books of a shop, written by `ordersaga export`.
            ; The last part of an account's name, in lower case, is the account's id in the shop.
            ; What does not balance, or does not come to the balances at the end, is found by:
            ; hledger -f FILE check --strict

            decimal-mark .

            commodity 1000.00 GBP
            commodity 1000. JPY
            commodity 1000.000 KWD
            account Assets:Payment-Clearing
            account Assets:Disputed-Payments
            account Assets:Bank
            account Assets:Inventory
            account Liabilities:Customer-Deposits
            account Liabilities:Customer-Credit
            account Liabilities:Sales-Tax-Payable
            account Liabilities:Goods-Received
            account Income:Sales
            account Income:Shipping-Income
            account Income:Refunds
            account Expenses:Cost-Of-Goods
            account Expenses:Payment-Fees
            account Expenses:Dispute-Fees
            account Expenses:Dispute-Losses

            2026-11-28 * (1) goods-received
                ; key:goods-received:85123A
                Assets:Inventory                      1530.00 GBP
                Liabilities:Goods-Received           -1530.00 GBP

            2026-11-29 * (2) post-entries
                ; key:00000000-0000-0000-0000-000000000001:post-entries:1
                ; order:00000000-0000-0000-0000-000000000001
                Assets:Payment-Clearing                 24.30 GBP
                Liabilities:Customer-Deposits          -24.30 GBP

            2026-11-29 * (3) revaluation
                ; key:revaluation:A_B_C_"D\E":1
                Assets:Inventory                         1.00 GBP
                Expenses:Cost-Of-Goods                  -1.00 GBP
                Assets:Inventory                          100 JPY
                Expenses:Cost-Of-Goods                   -100 JPY
                Expenses:Cost-Of-Goods                  1.234 KWD
                Assets:Inventory                       -1.234 KWD

            2026-11-29 * (4) reversal of post-entries
                ; key:00000000-0000-0000-0000-000000000001:post-entries:1:reversal
                ; order:00000000-0000-0000-0000-000000000001
                ; reverses:2
                Liabilities:Customer-Deposits           24.30 GBP
                Assets:Payment-Clearing                -24.30 GBP

            2026-11-29 * (5) stock-movement
                ; key:stock-movement:7
                Assets:Inventory                         0.00 GBP
                Expenses:Cost-Of-Goods                   0.00 GBP

            2026-11-29 * balances as the shop adds them up
                Assets:Payment-Clearing        0.00 GBP =           0.00 GBP
                Assets:Inventory               0.00 GBP =        1531.00 GBP
                Assets:Inventory               0 JPY =            100 JPY
                Assets:Inventory               0.000 KWD =         -1.234 KWD
                Liabilities:Customer-Deposits  0.00 GBP =           0.00 GBP
                Liabilities:Goods-Received     0.00 GBP =       -1530.00 GBP
                Expenses:Cost-Of-Goods         0.00 GBP =          -1.00 GBP
                Expenses:Cost-Of-Goods         0 JPY =           -100 JPY
                Expenses:Cost-Of-Goods         0.000 KWD =          1.234 KWD
        "#]];
        check(Format::Hledger, &expected);
    }

    #[test]
    fn the_books_as_a_beancount_file() {
        let expected = expect![[r#"
            ; The books of a shop, written by `ordersaga export`.
            ; The last part of an account's name, in lower case, is the account's id in the shop.
            ; What does not balance, or does not come to the balances at the end, is found by:
            ; bean-check FILE

            option "title" "The books of a shop"
            option "operating_currency" "GBP"
            option "operating_currency" "JPY"
            option "operating_currency" "KWD"

            1970-01-01 open Assets:Payment-Clearing       GBP
            1970-01-01 open Assets:Disputed-Payments
            1970-01-01 open Assets:Bank
            1970-01-01 open Assets:Inventory              GBP,JPY,KWD
            1970-01-01 open Liabilities:Customer-Deposits GBP
            1970-01-01 open Liabilities:Customer-Credit
            1970-01-01 open Liabilities:Sales-Tax-Payable
            1970-01-01 open Liabilities:Goods-Received    GBP
            1970-01-01 open Income:Sales
            1970-01-01 open Income:Shipping-Income
            1970-01-01 open Income:Refunds
            1970-01-01 open Expenses:Cost-Of-Goods        GBP,JPY,KWD
            1970-01-01 open Expenses:Payment-Fees
            1970-01-01 open Expenses:Dispute-Fees
            1970-01-01 open Expenses:Dispute-Losses

            2026-11-28 * "goods-received"
              transaction: "1"
              key: "goods-received:85123A"
              Assets:Inventory                      1530.00 GBP
              Liabilities:Goods-Received           -1530.00 GBP

            2026-11-29 * "post-entries" ^00000000-0000-0000-0000-000000000001
              transaction: "2"
              key: "00000000-0000-0000-0000-000000000001:post-entries:1"
              order: "00000000-0000-0000-0000-000000000001"
              Assets:Payment-Clearing                 24.30 GBP
              Liabilities:Customer-Deposits          -24.30 GBP

            2026-11-29 * "revaluation"
              transaction: "3"
              key: "revaluation:A;B|C,\"D\\E\":1"
              Assets:Inventory                         1.00 GBP
              Expenses:Cost-Of-Goods                  -1.00 GBP
              Assets:Inventory                          100 JPY
              Expenses:Cost-Of-Goods                   -100 JPY
              Expenses:Cost-Of-Goods                  1.234 KWD
              Assets:Inventory                       -1.234 KWD

            2026-11-29 * "reversal of post-entries" ^00000000-0000-0000-0000-000000000001
              transaction: "4"
              key: "00000000-0000-0000-0000-000000000001:post-entries:1:reversal"
              order: "00000000-0000-0000-0000-000000000001"
              reverses: "2"
              Liabilities:Customer-Deposits           24.30 GBP
              Assets:Payment-Clearing                -24.30 GBP

            2026-11-29 * "stock-movement"
              transaction: "5"
              key: "stock-movement:7"
              Assets:Inventory                         0.00 GBP
              Expenses:Cost-Of-Goods                   0.00 GBP

            2026-11-30 balance Assets:Payment-Clearing                  0.00 ~ 0 GBP
            2026-11-30 balance Assets:Inventory                      1531.00 ~ 0 GBP
            2026-11-30 balance Assets:Inventory                          100 ~ 0 JPY
            2026-11-30 balance Assets:Inventory                       -1.234 ~ 0 KWD
            2026-11-30 balance Liabilities:Customer-Deposits            0.00 ~ 0 GBP
            2026-11-30 balance Liabilities:Goods-Received           -1530.00 ~ 0 GBP
            2026-11-30 balance Expenses:Cost-Of-Goods                  -1.00 ~ 0 GBP
            2026-11-30 balance Expenses:Cost-Of-Goods                   -100 ~ 0 JPY
            2026-11-30 balance Expenses:Cost-Of-Goods                  1.234 ~ 0 KWD
        "#]];
        check(Format::Beancount, &expected);
    }

    #[test]
    fn books_of_nothing_declare_the_accounts_alone() {
        let books =
            Books { balances: Vec::new(), decimals: [].into(), last_day: None, day_after: None };
        for (format, declared) in
            [(Format::Hledger, "\naccount "), (Format::Beancount, "\n1970-01-01 open ")]
        {
            let mut out = Vec::new();
            format.opening(&books, &mut out).unwrap();
            format.closing(&books, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches(declared).count(), Account::ALL.len(), "{text}");
            assert!(!text.contains("balance "), "{text}");
        }
    }

    #[test]
    fn an_amount_finer_than_its_currency_is_written_as_it_is() {
        let books = Books {
            balances: Vec::new(),
            decimals: [("GBP".to_owned(), 2)].into(),
            last_day: None,
            day_after: None,
        };
        let written = |amount: &str| books.written(amount.parse().unwrap(), "GBP");
        assert_eq!(written("1.2345"), "1.2345");
        assert_eq!(written("-1.5000"), "-1.50");
    }
}
