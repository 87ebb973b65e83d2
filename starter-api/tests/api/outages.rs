use std::time::Duration;

use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use starter_api::{Limits, Temporal};
use tokio::time::timeout;
use uuid::Uuid;

use crate::life::record;
use crate::shop::{Answer, Shop, fresh, no_database, nowhere, order, stock};

#[sqlx::test(migrator = "MIGRATIONS")]
async fn without_temporal_orders_are_accepted_shown_and_cancelled(database: PgPool) {
    stock(&database).await;
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let placed = shop.place(&fresh("key"), &order("ada")).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    let path = placed.header("location").unwrap();
    assert_eq!(shop.get(path).await.json(), placed.json());
    let none = shop.get(&format!("/v1/orders/{}", Uuid::now_v7())).await;
    assert_eq!(none.problem(), "order-not-found");
    let cancel = shop.post(&format!("{path}/cancel"), &json!({"reason": "why"})).await;
    assert_eq!(cancel.json()["decision"], "cancelled", "{}", cancel.text);

    // An order with a workflow can only be cancelled by its workflow.
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let cancel = shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "why"})).await;
    expect![[r#"
        503 Service Unavailable
        {
          "detail": "The shop's database or its order engine does not answer. Send the same request again, with the same Idempotency-Key, after the time in Retry-After.",
          "status": 503,
          "title": "The shop is temporarily unavailable",
          "type": "/docs/problems.md#try-again"
        }
    "#]].assert_eq(&cancel.told());
    assert_eq!(cancel.header("retry-after"), Some("2"));
    // Everything that does not need Temporal works.
    assert_eq!(shop.get("/v1/products").await.status, 200);
    assert_eq!(shop.get("/v1/orders").await.status, 200);
}

#[tokio::test]
async fn without_the_database_everybody_is_asked_to_come_again() {
    let temporal = Temporal::from_env().unwrap();
    let shop = Shop::with(no_database(), temporal, Limits::default()).await;
    let answer = shop.place(&fresh("key"), &order("ada")).await;
    assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("try-again", 503));
    for path in [
        "/v1/orders",
        "/v1/orders/00000000-0000-0000-0000-000000000001",
        "/v1/products",
        "/v1/products/85123A",
        "/v1/accounts/sales/balance",
        "/v1/accounts/sales/transactions",
        "/v1/ledger/validate",
    ] {
        let answer = shop.get(path).await;
        assert_eq!(answer.problem(), "try-again", "{path}");
        assert_eq!(answer.header("retry-after"), Some("2"), "{path}");
    }
}

/// As after a failover, until the standby is promoted: reads are answered, and the same write
/// succeeds once it can.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_database_that_takes_no_writes_has_callers_come_again(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let options = PgConnectOptions::clone(&database.connect_options())
        .options([("default_transaction_read_only", "on")]);
    let standby = database.options().clone().connect_lazy_with(options);
    let standby = Shop::with(standby, Temporal::from_env().unwrap(), Limits::default()).await;
    let key = fresh("key");
    let refused = standby.place(&key, &order("ada")).await;
    assert_eq!((refused.problem().as_str(), refused.status.as_u16()), ("try-again", 503));
    assert_eq!(standby.get("/v1/products").await.status, 200);
    assert_eq!(standby.get("/v1/orders").await.status, 200);
    let placed = shop.place(&key, &order("ada")).await;
    assert_eq!((placed.status.as_u16(), placed.header("idempotency-replayed")), (201, None));
}

#[tokio::test]
async fn readiness_says_who_does_not_answer() {
    let shop = Shop::with(no_database(), nowhere(), Limits::default()).await;
    let ready = shop.get("/ready").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json(),
        json!({"postgres": "unavailable", "temporal": "unavailable", "leaving": false})
    );
    // An unavailable dependency is no reason to restart this process.
    assert_eq!(shop.get("/health").await.status, 200);
}

/// The readiness once Temporal has answered: `/ready` waits a second for it, and on a busy machine
/// the first call, which connects, may take longer.
async fn readiness_with_temporal(shop: &Shop) -> Answer {
    let answered = async {
        loop {
            let ready = shop.get("/ready").await;
            if ready.json()["temporal"] == "ready" {
                break ready;
            }
        }
    };
    timeout(Duration::from_mins(1), answered).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_starter_whose_parties_answer_is_ready(database: PgPool) {
    let shop = Shop::open(database).await;
    let ready = readiness_with_temporal(&shop).await;
    assert_eq!(
        (ready.status.as_u16(), ready.json()),
        (200, json!({"postgres": "ready", "temporal": "ready", "leaving": false}))
    );
}

/// Orders are accepted meanwhile, so a load balancer has to keep sending them here.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_starter_is_ready_while_temporal_is_away_and_says_that_it_is(database: PgPool) {
    let shop = Shop::with(database, nowhere(), Limits::default()).await;
    let ready = shop.get("/ready").await;
    assert_eq!(
        (ready.status.as_u16(), ready.json()),
        (200, json!({"postgres": "ready", "temporal": "unavailable", "leaving": false}))
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_starter_whose_database_lacks_a_migration_says_how_to_get_it(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sqlx::raw_sql("delete from _sqlx_migrations where version = 1")
        .execute(&database)
        .await
        .unwrap();
    let ready = readiness_with_temporal(&shop).await;
    let lacks = "the database lacks migration 1: run `ordersaga migrate`";
    assert_eq!(
        (ready.status.as_u16(), ready.json()),
        (
            503,
            json!({
                "postgres": "unavailable", "temporal": "ready", "leaving": false, "schema": lacks
            })
        )
    );
}

/// An operator fixes it, and the same request then succeeds.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_right_that_is_missing_is_an_outage_and_not_a_bug(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    sqlx::raw_sql("revoke select on catalog.products from ordersaga_starter")
        .execute(&database)
        .await
        .unwrap();
    let answer = shop.get("/v1/products").await;
    assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("try-again", 503));
    let ready = shop.get("/ready").await.json();
    let schema = ready["schema"].as_str().unwrap();
    assert!(schema.contains("the right to select on catalog.products"), "{schema}");
}
