//! The ledger balances, whatever is attempted.

use domain::ledger::Account;
use domain::{Currency, Money, Rejection, StepName, Totals};
use runtime::schema::MIGRATIONS;
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::support::{HEART, Shop, order, refusal};

const LATE: Rejection = Rejection::AlreadyUndone { step: StepName::PostEntries };

/// A balance on the account's normal side, from the entries alone.
async fn balance(shop: &Shop, account: Account) -> Decimal {
    let balance = sqlx::query_scalar!(
        r#"
        select coalesce(sum(case when side = normal_side then amount else -amount end), 0) as "sum!"
        from ledger.entries join ledger.accounts using (account) where account = $1
        "#,
        account.as_str(),
    );
    balance.fetch_one(&shop.db).await.unwrap()
}

async fn transactions(shop: &Shop) -> i64 {
    let count = sqlx::query_scalar!(r#"select count(*) as "count!" from ledger.transactions"#);
    count.fetch_one(&shop.db).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_payment_is_booked_once_however_often_it_is_posted(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let (first, second) = futures::join!(shop.posts(&order), shop.posts(&order));
    first.unwrap();
    second.unwrap();
    shop.posts(&order).await.unwrap();
    let total = order.totals.total.amount();
    assert_eq!(balance(&shop, Account::PaymentClearing).await, total);
    assert_eq!(balance(&shop, Account::CustomerDeposits).await, total);
    assert_eq!(transactions(&shop).await, 1);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "ledger.posted"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn reversing_twice_adds_one_reversal_that_names_what_it_reverses(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.posts(&order).await.unwrap();
    let (first, second) = futures::join!(shop.reverses(&order), shop.reverses(&order));
    first.unwrap();
    second.unwrap();
    shop.reverses(&order).await.unwrap();
    assert_eq!(balance(&shop, Account::PaymentClearing).await, Decimal::ZERO);
    assert_eq!(balance(&shop, Account::CustomerDeposits).await, Decimal::ZERO);
    assert_eq!(transactions(&shop).await, 2, "nothing is ever erased");
    let named = sqlx::query_scalar!(
        r#"
        select original.key
        from ledger.transactions as reversal
        join ledger.transactions as original on original.transaction_id = reversal.reverses
        "#
    );
    let named = named.fetch_one(&shop.db).await.unwrap();
    assert_eq!(named, order.key(StepName::PostEntries).to_string());
    let events = ["order.placed", "ledger.posted", "ledger.reversed"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_posting_that_comes_after_its_reversal_is_refused(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.reverses(&order).await.unwrap();
    assert_eq!(refusal(shop.posts(&order).await), LATE);
    assert_eq!(transactions(&shop).await, 0);
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shipped_order_turns_the_deposit_into_revenue_tax_and_cost_once(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    let goods = balance(&shop, Account::Inventory).await;
    let goods_left = goods.checked_sub(order.cost_of_goods.amount()).unwrap();
    shop.recognises(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    let totals = order.totals;
    for (account, expected) in [
        (Account::PaymentClearing, totals.total.amount()),
        (Account::CustomerDeposits, Decimal::ZERO),
        (Account::Sales, totals.subtotal.amount()),
        (Account::ShippingIncome, totals.shipping.amount()),
        (Account::SalesTaxPayable, totals.tax.amount()),
        (Account::CostOfGoods, order.cost_of_goods.amount()),
        (Account::Inventory, goods_left),
    ] {
        assert_eq!(balance(&shop, account).await, expected, "{account}");
    }
    assert_eq!(shop.status_of(&order).await, "completed");
}

/// The goods on hand, at their current cost.
async fn goods_at_cost(shop: &Shop) -> Decimal {
    let worth = sqlx::query_scalar!(
        r#"select sum(on_hand * unit_cost) as "sum!"
           from inventory.stock join catalog.products using (sku)"#
    );
    worth.fetch_one(&shop.owner).await.unwrap()
}

async fn costs_now(shop: &Shop, cost: &str) {
    sqlx::query!(
        "update catalog.products set unit_cost = $2 where sku = $1",
        HEART,
        cost.parse::<Decimal>().unwrap(),
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

/// The order's own cost was fixed when it was placed.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_inventory_account_follows_what_the_goods_in_the_house_cost(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let (sold, recalled, sold_cheaper) = (order(1), order(2), order(3));
    for order in [&sold, &recalled, &sold_cheaper] {
        shop.takes_up_to_posting(order).await;
    }
    costs_now(&shop, "3.00").await;
    assert_eq!(balance(&shop, Account::Inventory).await, goods_at_cost(&shop).await);
    shop.ships(&sold).await.unwrap();
    shop.ships(&recalled).await.unwrap();
    costs_now(&shop, "0.10").await;
    shop.ships(&sold_cheaper).await.unwrap();
    let under_way = [&sold, &recalled, &sold_cheaper].map(|order| order.cost_of_goods.amount());
    let expected = under_way.into_iter().chain([goods_at_cost(&shop).await]).sum::<Decimal>();
    assert_eq!(balance(&shop, Account::Inventory).await, expected);
    shop.recognises(&sold).await.unwrap();
    shop.recognises(&sold_cheaper).await.unwrap();
    shop.cancels_shipment(&recalled).await.unwrap();
    shop.cancels_shipment(&recalled).await.unwrap();
    assert_eq!(balance(&shop, Account::Inventory).await, goods_at_cost(&shop).await);
    costs_now(&shop, "0").await;
    assert_eq!(balance(&shop, Account::Inventory).await, goods_at_cost(&shop).await);
}

/// The database itself refuses each of these, even for its owner, who has more rights than the
/// application.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_database_refuses_whatever_would_unbalance_or_rewrite_the_books(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.posts(&order).await.unwrap();
    for attempt in [
        // Added to a journal entry of yesterday.
        "insert into ledger.entries values (1, 9, 'sales', 'credit', 1, 'GBP')",
        "insert into ledger.entries values
            (1, 9, 'sales', 'credit', 1, 'GBP'), (1, 10, 'refunds', 'debit', 1, 'EUR')",
        // Balanced, but different from what was posted that day.
        "insert into ledger.entries values
            (1, 9, 'sales', 'credit', 1, 'GBP'), (1, 10, 'refunds', 'debit', 1, 'GBP')",
        // Posted today with yesterday's date.
        "with booked as (
            insert into ledger.transactions (key, booked_at)
            values ('backdated', now() - interval '1 day') returning transaction_id
        ) insert into ledger.entries
        select transaction_id, line, account, side, 1, 'GBP' from booked, (values
            (1, 'sales', 'credit'), (2, 'refunds', 'debit')) as entry (line, account, side)",
        // A reversal of less than was posted.
        "with booked as (
            insert into ledger.transactions (key, reverses) values ('in part', 1)
            returning transaction_id
        ) insert into ledger.entries
        select transaction_id, line, account, side, 0.01, 'GBP' from booked, (values
            (1, 'customer-deposits', 'debit'), (2, 'payment-clearing', 'credit'))
            as entry (line, account, side)",
        // Not a number, and not a currency.
        "with booked as (
            insert into ledger.transactions (key) values ('endless') returning transaction_id
        ) insert into ledger.entries
        select transaction_id, line, account, side, 'Infinity', 'GBP' from booked, (values
            (1, 'sales', 'credit'), (2, 'refunds', 'debit')) as entry (line, account, side)",
        "with booked as (
            insert into ledger.transactions (key) values ('small') returning transaction_id
        ) insert into ledger.entries
        select transaction_id, line, account, side, 1, 'gbp' from booked, (values
            (1, 'sales', 'credit'), (2, 'refunds', 'debit')) as entry (line, account, side)",
        // The normal side of an account.
        "update ledger.accounts set normal_side = 'debit' where account = 'sales'",
        // Nothing posted, or one side only.
        "insert into ledger.transactions (key) values ('empty')",
        "with booked as (
            insert into ledger.transactions (key) values ('lopsided') returning transaction_id
        ) insert into ledger.entries select transaction_id, 1, 'sales', 'credit', 1, 'GBP' from booked",
        // A zero or negative amount, an unknown account, an unknown side.
        "insert into ledger.entries values (1, 9, 'sales', 'credit', 0, 'GBP')",
        "insert into ledger.entries values (1, 9, 'sales', 'credit', -1, 'GBP')",
        "insert into ledger.entries values (1, 9, 'petty-cash', 'credit', 1, 'GBP')",
        "insert into ledger.entries values (1, 9, 'sales', 'left', 1, 'GBP')",
        // A second reversal, and a second journal entry with the same key.
        "insert into ledger.transactions (key) select key from ledger.transactions",
        // Posted entries are immutable.
        "update ledger.entries set amount = amount + 1",
        "update ledger.entries set account = 'sales' where false",
        "delete from ledger.entries",
        "truncate ledger.entries",
        "update ledger.transactions set order_id = null",
        "delete from ledger.transactions",
        "truncate ledger.transactions cascade",
    ] {
        let refused = sqlx::raw_sql(attempt).execute(&shop.owner).await;
        assert!(refused.is_err(), "was not refused: {attempt}");
    }
    assert_eq!(balance(&shop, Account::PaymentClearing).await, order.totals.total.amount());
    assert_eq!(transactions(&shop).await, 1);
}

/// A journal entry is posted in one statement: it can never be half posted while something else
/// happens.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn entries_that_balance_only_later_are_refused(db: PgPool) {
    let shop = Shop::on(db);
    let mut transaction = shop.db.begin().await.unwrap();
    let refused = sqlx::raw_sql(
        "insert into ledger.transactions (key) values ('by hand');
         insert into ledger.entries values (1, 1, 'refunds', 'debit', 5, 'GBP');
         insert into ledger.entries values (1, 2, 'payment-clearing', 'credit', 5, 'GBP');",
    )
    .execute(&mut *transaction)
    .await
    .unwrap_err();
    assert!(refused.to_string().contains("debits and credits differ"), "{refused}");
    drop(transaction);
    assert_eq!(transactions(&shop).await, 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn yen_and_dinars_are_booked_to_their_own_smallest_coin(db: PgPool) {
    let shop = Shop::on(db);
    for (number, (amount, currency)) in
        (1..).zip([("1234", Currency::JPY), ("1.234", Currency::KWD)])
    {
        let mut order = order(number);
        let amount = Money::new(amount.parse().unwrap(), currency).unwrap();
        let nothing = Money::new(Decimal::ZERO, currency).unwrap();
        let (discount, shipping, tax) = (nothing, nothing, nothing);
        order.totals = Totals { subtotal: amount, discount, shipping, tax, total: amount };
        order.cost_of_goods = nothing;
        shop.places(&order).await;
        shop.posts(&order).await.unwrap();
        let booked = sqlx::query_scalar!(
            "select sum(amount) from ledger.entries where currency = $1 and side = 'debit'",
            currency.code(),
        );
        assert_eq!(booked.fetch_one(&shop.db).await.unwrap(), Some(amount.amount()));
    }
}
