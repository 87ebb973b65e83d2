use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;

use crate::shop::Shop;

/// A deposit of 23.10, its settlement, and one that was reversed.
async fn book(database: &PgPool) {
    // Entries of yesterday are inserted directly, because the regular function books with today's
    // date.
    sqlx::raw_sql(
        "alter table ledger.transactions disable trigger transactions_balanced;
         alter table ledger.entries disable trigger entries_balanced;
         with booked as (
             insert into ledger.transactions (key, order_id, reverses, booked_at)
             overriding system value values
                 ('a:post-entries:1', '00000000-0000-0000-0000-000000000001', null, '2026-01-01'),
                 ('b:post-entries:1', '00000000-0000-0000-0000-000000000002', null, '2026-01-02'),
                 ('b:reverse-entries:1', '00000000-0000-0000-0000-000000000002', 2, '2026-01-03')
             returning transaction_id
         )
         insert into ledger.entries (transaction_id, line, account, side, amount, currency) values
             (1, 1, 'payment-clearing', 'debit', 23.10, 'GBP'),
             (1, 2, 'customer-deposits', 'credit', 23.10, 'GBP'),
             (2, 1, 'payment-clearing', 'debit', 1200, 'JPY'),
             (2, 2, 'customer-deposits', 'credit', 1200, 'JPY'),
             (3, 1, 'customer-deposits', 'debit', 1200, 'JPY'),
             (3, 2, 'payment-clearing', 'credit', 1200, 'JPY');
         alter table ledger.transactions enable trigger transactions_balanced;
         alter table ledger.entries enable trigger entries_balanced;",
    )
    .execute(database)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_balance_is_told_on_the_accounts_normal_side(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    book(&database).await;
    expect![[r#"
        200 OK
        {
          "account": "customer-deposits",
          "balances": [
            {
              "balance": "23.10",
              "credits": "23.10",
              "currency": "GBP",
              "debits": "0.00"
            },
            {
              "balance": "0",
              "credits": "1200",
              "currency": "JPY",
              "debits": "1200"
            }
          ],
          "normal_side": "credit"
        }
    "#]]
    .assert_eq(&shop.get("/v1/accounts/customer-deposits/balance").await.told());
    let clearing = shop.get("/v1/accounts/payment-clearing/balance").await.json();
    assert_eq!(clearing["balances"][0]["balance"], "23.10");
    assert_eq!(clearing["balances"][1]["balance"], "0");
    assert_eq!(shop.get("/v1/accounts/sales/balance").await.json()["balances"], json!([]));
    let unknown = shop.get("/v1/accounts/petty-cash/balance").await;
    assert_eq!(unknown.problem(), "account-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_accounts_transactions_are_listed_newest_first(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    book(&database).await;
    let page = shop.get("/v1/accounts/payment-clearing/transactions?limit=1").await;
    expect![[r#"
        200 OK
        {
          "items": [
            {
              "booked_at": "2026-01-03T00:00:00Z",
              "entries": [
                {
                  "account": "customer-deposits",
                  "amount": {
                    "amount": "1200",
                    "currency": "JPY"
                  },
                  "side": "debit"
                },
                {
                  "account": "payment-clearing",
                  "amount": {
                    "amount": "1200",
                    "currency": "JPY"
                  },
                  "side": "credit"
                }
              ],
              "key": "b:reverse-entries:1",
              "order_id": "00000000-0000-0000-0000-000000000002",
              "reverses": 2,
              "transaction_id": 3
            }
          ],
          "next_cursor": "3"
        }
    "#]]
    .assert_eq(&page.told());
    let link = page.header("link").unwrap().trim_start_matches('<').split_once('>').unwrap().0;
    let next = shop.get(link).await.json();
    assert_eq!(next["items"][0]["key"], "b:post-entries:1");
    let none = shop.get("/v1/accounts/refunds/transactions").await.json();
    assert_eq!(none, json!({"items": []}));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn books_that_balance_are_proved_to(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    book(&database).await;
    expect![[r#"
        200 OK
        {
          "trial_balances": [
            {
              "accounts": [
                {
                  "account": "payment-clearing",
                  "balance": "23.10",
                  "normal_side": "debit"
                },
                {
                  "account": "customer-deposits",
                  "balance": "23.10",
                  "normal_side": "credit"
                }
              ],
              "credits": "23.10",
              "currency": "GBP",
              "debits": "23.10"
            },
            {
              "accounts": [
                {
                  "account": "payment-clearing",
                  "balance": "0",
                  "normal_side": "debit"
                },
                {
                  "account": "customer-deposits",
                  "balance": "0",
                  "normal_side": "credit"
                }
              ],
              "credits": "2400",
              "currency": "JPY",
              "debits": "2400"
            }
          ],
          "unbalanced": [],
          "valid": true
        }
    "#]]
    .assert_eq(&shop.get("/v1/ledger/validate").await.told());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn books_that_do_not_balance_are_found_out(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    book(&database).await;
    // Somebody with the owner's rights bypasses the checks.
    let mut forger = database.begin().await.unwrap();
    sqlx::query!("alter table ledger.entries disable trigger entries_balanced")
        .execute(&mut *forger)
        .await
        .unwrap();
    sqlx::query!(
        "insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         values (1, 3, 'sales', 'credit', 0.01, 'GBP')"
    )
    .execute(&mut *forger)
    .await
    .unwrap();
    forger.commit().await.unwrap();
    let proof = shop.get("/v1/ledger/validate").await.json();
    assert_eq!(proof["valid"], false);
    expect![[r#"[{"currency":"GBP","difference":"-0.01","transaction_id":1}]"#]]
        .assert_eq(&proof["unbalanced"].to_string());
}

/// Closes the books up to the last transaction.
async fn close(database: &PgPool) {
    let closing = sqlx::query_scalar!(r#"select ledger.close_books(1000) as "closed!""#);
    assert!(closing.fetch_one(database).await.unwrap() > 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn books_that_are_closed_tell_the_same(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    book(&database).await;
    let accounts = ["payment-clearing", "customer-deposits", "sales", "refunds"];
    let mut open = Vec::new();
    for account in accounts {
        open.push(shop.get(&format!("/v1/accounts/{account}/balance")).await.json());
    }
    let proof = shop.get("/v1/ledger/validate").await.json();
    close(&database).await;
    for (account, balance) in accounts.iter().zip(&open) {
        let closed = shop.get(&format!("/v1/accounts/{account}/balance")).await.json();
        assert_eq!(&closed, balance);
    }
    let closed = shop.get("/v1/ledger/validate").await.json();
    assert_eq!(closed["closed_through"], 3);
    assert_eq!(closed["trial_balances"], proof["trial_balances"]);
    assert_eq!(shop.get("/v1/ledger/validate?every_entry=true").await.json(), proof);

    // Entries since the closing are added.
    sqlx::query!(
        "with booked as (
             insert into ledger.transactions (key) values ('c') returning transaction_id
         )
         insert into ledger.entries (transaction_id, line, account, side, amount, currency)
         select transaction_id, line, account, side, 0.90, 'GBP' from booked, (values
             (1, 'refunds', 'debit'), (2, 'payment-clearing', 'credit')
         ) as entry (line, account, side)"
    )
    .execute(&database)
    .await
    .unwrap();
    let balance = async |account: &str| {
        let told = shop.get(&format!("/v1/accounts/{account}/balance")).await.json();
        told["balances"][0].to_string()
    };
    expect![[r#"{"balance":"22.20","credits":"0.90","currency":"GBP","debits":"23.10"}"#]]
        .assert_eq(&balance("payment-clearing").await);
    expect![[r#"{"balance":"0.90","credits":"0.00","currency":"GBP","debits":"0.90"}"#]]
        .assert_eq(&balance("refunds").await);
    let every_entry = shop.get("/v1/ledger/validate?every_entry=true").await.json();
    let proof = shop.get("/v1/ledger/validate").await.json();
    assert_eq!(proof["valid"], true);
    assert_eq!(proof["trial_balances"], every_entry["trial_balances"]);
}

/// The owner of the schemas can change closed entries without a check.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn books_that_are_not_what_they_were_closed_with_are_found_out_by_every_entry(
    database: PgPool,
) {
    let shop = Shop::open(database.clone()).await;
    book(&database).await;
    close(&database).await;
    sqlx::raw_sql(
        "alter table ledger.entries disable trigger user;
         update ledger.entries set amount = amount + 1 where transaction_id = 1",
    )
    .execute(&database)
    .await
    .unwrap();
    assert_eq!(shop.get("/v1/ledger/validate").await.json()["valid"], true);
    let proof = shop.get("/v1/ledger/validate?every_entry=true").await.json();
    assert_eq!((&proof["valid"], &proof["unbalanced"]), (&json!(false), &json!([])));
}
