use expect_test::expect;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::shop::{Shop, record, turns};

async fn cancel_after(database: &PgPool, shop: &Shop, statuses: &[Value]) -> String {
    let id = Uuid::now_v7();
    record(database, id, "ada", "2026-01-02T03:04:05Z", "hash").await;
    turns(database, id, statuses).await;
    let answer = shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "twice"})).await;
    let body = answer.json();
    format!("{} {} {}\n", answer.status, body["status"], body["detail"])
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cancelling_means_depends_on_how_the_order_ended(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let status = |name: &str| json!({ "status": name });
    let unwound = |end: Value| vec![status("unwinding"), end];
    let rejection = json!({"code": "card-declined", "decline_code": "insufficient_funds"});
    let mut told = String::new();
    for statuses in [
        unwound(json!({"status": "cancelled", "reason": "ordered twice"})),
        unwound(json!({"status": "rejected", "rejection": rejection})),
        unwound(json!({"status": "failed", "incident": "i-1"})),
        vec![
            status("reserved"),
            status("paid"),
            status("posted"),
            json!({"status": "shipped", "tracking": "T-1"}),
        ],
    ] {
        told += &cancel_after(&database, &shop, &statuses).await;
    }
    expect![[r#"
        200 OK "cancelled" null
        409 Conflict 409 "The shop has refused the order and taken everything back: the payment was declined: insufficient_funds."
        409 Conflict 409 "A fault stopped the order; everything done for it has been taken back."
        409 Conflict 409 "The parcel has been handed over to the carrier. A return is the way back."
    "#]].assert_eq(&told);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_order_that_nobody_carries_on_is_not_said_to_be_cancelled(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z", "hash").await;
    let answer = shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "why"})).await;
    assert_eq!(answer.problem(), "internal");
    assert!(answer.json()["incident"].is_string(), "{}", answer.text);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cancel_says_why(database: PgPool) {
    let shop = Shop::open(database).await;
    let path = format!("/v1/orders/{}/cancel", Uuid::now_v7());
    for reason in ["", "   ", "a\nb", "a\u{0}b", "x".repeat(201).as_str()] {
        let answer = shop.post(&path, &json!({ "reason": reason })).await;
        assert_eq!(answer.problem(), "invalid-request", "{reason}");
    }
    assert_eq!(shop.post(&path, &json!({})).await.problem(), "malformed-request");
}
