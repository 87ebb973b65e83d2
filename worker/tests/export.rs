//! The exported books equal the record, and their sums are verified independently of the exporter.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::{env, fs, process, thread};

use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgPool};
use worker::export::{ExportError, Exported, Format, export, export_into};

const FORMATS: [Format; 2] = [Format::Hledger, Format::Beancount];

/// Goods are received, an order is paid and unwound, and goods are revalued in two currencies.
const BOOKED: &str = "
    with booked as (
        insert into ledger.transactions (key) values ('goods-received:85123A')
        returning transaction_id
    )
    insert into ledger.entries
    select transaction_id, entry.* from booked, (values
        (1, 'inventory', 'debit', 100, 'GBP'), (2, 'goods-received', 'credit', 100.00, 'GBP')
    ) as entry;
    with booked as (
        insert into ledger.transactions (key, order_id) values (
            '00000000-0000-0000-0000-000000000001:post-entries:1',
            '00000000-0000-0000-0000-000000000001'
        )
        returning transaction_id
    )
    insert into ledger.entries
    select transaction_id, entry.* from booked, (values
        (1, 'payment-clearing', 'debit', 24.30, 'GBP'),
        (2, 'customer-deposits', 'credit', 24.30, 'GBP')
    ) as entry;
    with booked as (
        insert into ledger.transactions (key, order_id, reverses)
        select key || ':reversal', order_id, transaction_id from ledger.transactions
        where order_id is not null
        returning transaction_id
    )
    insert into ledger.entries
    select transaction_id, entry.* from booked, (values
        (1, 'customer-deposits', 'debit', 24.30, 'GBP'),
        (2, 'payment-clearing', 'credit', 24.30, 'GBP')
    ) as entry;
    with booked as (
        insert into ledger.transactions (key) values ('revaluation:85123A:1')
        returning transaction_id
    )
    insert into ledger.entries
    select transaction_id, entry.* from booked, (values
        (1, 'inventory', 'debit', 1.234, 'KWD'), (2, 'cost-of-goods', 'credit', 1.234, 'KWD'),
        (3, 'cost-of-goods', 'debit', 100, 'JPY'), (4, 'inventory', 'credit', 100, 'JPY')
    ) as entry;
";

const EXPORTED: Exported = Exported { transactions: 4, entries: 10, balances: 8 };

/// The resulting balances, debits positive.
const BALANCES: [(&str, &str, &str); 8] = [
    ("payment-clearing", "GBP", "0.00"),
    ("inventory", "GBP", "100.00"),
    ("inventory", "JPY", "-100"),
    ("inventory", "KWD", "1.234"),
    ("customer-deposits", "GBP", "0.00"),
    ("goods-received", "GBP", "-100.00"),
    ("cost-of-goods", "JPY", "100"),
    ("cost-of-goods", "KWD", "-1.234"),
];

/// Another delivery.
const LATER: &str = "
    with booked as (
        insert into ledger.transactions (key) values ('goods-received:22752')
        returning transaction_id
    )
    insert into ledger.entries
    select transaction_id, entry.* from booked, (values
        (1, 'inventory', 'debit', 7, 'GBP'), (2, 'goods-received', 'credit', 7, 'GBP')
    ) as entry
";

/// Amounts by account and currency.
type Amounts = BTreeMap<(String, String), Decimal>;

/// The content of an export.
#[derive(Debug, Default)]
struct Books {
    /// The sum of each transaction, by currency.
    transactions: Vec<BTreeMap<String, Decimal>>,
    /// The sums of the entries.
    sums: Amounts,
    /// The balances that the shop states.
    balances: Amounts,
}

impl Books {
    /// Parses the subset of both formats that the exporter writes.
    fn read(text: &str) -> Self {
        let mut books = Self::default();
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [_day, "*", ..] => books.transactions.push(BTreeMap::new()),
                [account, amount, currency] if line.starts_with(' ') && account.contains(':') => {
                    let total = books.transactions.last_mut().unwrap();
                    add(total.entry(currency.to_owned()).or_default(), amount);
                    add(books.sums.entry(place(account, currency)).or_default(), amount);
                }
                [account, "0.00" | "0" | "0.000", currency, "=", amount, _]
                | [_, "balance", account, amount, "~", "0", currency] => {
                    books.balances.insert(place(account, currency), amount.parse().unwrap());
                }
                _ => {}
            }
        }
        // The balances of an hledger journal are in a transaction without an amount.
        books.transactions.retain(|total| !total.is_empty());
        books
    }

    /// The imbalances of transactions.
    fn differences(&self) -> Vec<String> {
        let totals = self.transactions.iter().flatten();
        let off = totals.filter(|(_, total)| !total.is_zero());
        off.map(|(currency, total)| format!("{total} {currency}")).collect()
    }
}

fn add(sum: &mut Decimal, amount: &str) {
    *sum = sum.checked_add(amount.parse().unwrap()).unwrap();
}

fn place(account: &str, currency: &str) -> (String, String) {
    let (_kind, name) = account.split_once(':').unwrap();
    (name.to_lowercase(), currency.to_owned())
}

async fn exported(db: &PgPool, format: Format) -> String {
    let mut text = Vec::new();
    export(db, format, &mut text, |_number| {}).await.unwrap();
    String::from_utf8(text).unwrap()
}

async fn change(db: &PgPool, statements: &'static str) {
    sqlx::raw_sql(statements).execute(db).await.unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_books_add_up_in_each_language(owner: PgPool) {
    change(&owner, BOOKED).await;
    let balances: Amounts = BALANCES
        .map(|(account, currency, amount)| {
            ((account.to_owned(), currency.to_owned()), amount.parse().unwrap())
        })
        .into();
    let db = testkit::as_role(&owner, "ordersaga_worker");
    for format in FORMATS {
        let (mut text, mut told) = (Vec::new(), Vec::new());
        let exported = export(&db, format, &mut text, |number| told.push(number)).await.unwrap();
        assert_eq!((exported, &*told), (EXPORTED, &[1, 2, 3, 4][..]), "{format:?}");
        let text = String::from_utf8(text).unwrap();
        let books = Books::read(&text);
        assert_eq!(books.transactions.len(), 4, "{text}");
        assert_eq!(books.differences(), Vec::<String>::new(), "{text}");
        assert_eq!(books.sums, balances, "{text}");
        assert_eq!(books.balances, balances, "{text}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cent_that_is_off_is_exported_as_it_is(owner: PgPool) {
    change(&owner, BOOKED).await;
    change(
        &owner,
        "alter table ledger.entries disable trigger user;
         update ledger.entries set amount = amount + 0.01
         where account = 'customer-deposits' and side = 'credit'",
    )
    .await;
    for format in FORMATS {
        let text = exported(&owner, format).await;
        let books = Books::read(&text);
        assert_eq!(books.differences(), ["-0.01 GBP"], "{text}");
        let deposits = &books.balances[&("customer-deposits".to_owned(), "GBP".to_owned())];
        assert_eq!(deposits.to_string(), "-0.01", "{text}");
    }
}

/// A writer that commits another booking before it accepts the first output.
struct Meddler {
    text: Vec<u8>,
    shop: Option<PgConnectOptions>,
}

impl Write for Meddler {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(shop) = self.shop.take() {
            // This thread belongs to the export.
            let booking = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let mut shop = shop.connect().await.unwrap();
                    sqlx::raw_sql(LATER).execute(&mut shop).await.unwrap();
                });
            });
            booking.join().unwrap();
        }
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_booked_meanwhile_is_in_no_part_of_an_export(owner: PgPool) {
    change(&owner, BOOKED).await;
    let shop = PgConnectOptions::clone(&owner.connect_options());
    let mut out = Meddler { text: Vec::new(), shop: Some(shop) };
    let written = export(&owner, Format::Hledger, &mut out, |_number| {}).await.unwrap();
    assert_eq!(written, EXPORTED);
    let books = Books::read(&String::from_utf8(out.text).unwrap());
    assert_eq!(books.sums, books.balances);
    let after = Books::read(&exported(&owner, Format::Hledger).await);
    assert_eq!(after.transactions.len(), 5, "what was booked meanwhile is there");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_file_keeps_what_it_held_until_the_books_are_whole(owner: PgPool) {
    let database = owner.connect_options().get_database().unwrap().to_owned();
    let folder = env::temp_dir().join(format!("{database}-{}", process::id()));
    fs::create_dir(&folder).unwrap();
    let path = folder.join("books");
    let write = async |format| export_into(&owner, format, &path, |_number| {}).await;

    change(&owner, BOOKED).await;
    assert_eq!(write(Format::Hledger).await.unwrap(), EXPORTED);
    let journal = exported(&owner, Format::Hledger).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), journal);

    change(
        &owner,
        "alter table ledger.entries disable trigger user;
         alter table ledger.entries drop constraint entries_account_known;
         update ledger.entries set account = 'petty-cash' where account = 'goods-received'",
    )
    .await;
    let refused = write(Format::Beancount).await;
    assert!(
        matches!(&refused, Err(ExportError::NoAccount(account)) if account == "petty-cash"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), journal);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing half done is left");

    change(&owner, "update ledger.entries set account = 'sales' where account = 'petty-cash'")
        .await;
    write(Format::Beancount).await.unwrap();
    let books = exported(&owner, Format::Beancount).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), books);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the new file took the old one's place");

    let folder_itself = export_into(&owner, Format::Hledger, &folder, |_number| {}).await;
    assert!(matches!(folder_itself, Err(ExportError::NotAFile(_))), "{folder_itself:?}");
    fs::remove_dir_all(&folder).unwrap();
}
