//! Deliveries: who may report them, when, and idempotency.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::life::{
    cancelled, captured, happen, posted, record, reserved, shipped, unwinding, unwound,
};
use crate::refunding::{completed_order, of_amount, refund};
use crate::shop::{Answer, Shop, nowhere};

/// A shop without Temporal, which a delivery does not need.
async fn shop(database: &PgPool) -> Shop {
    Shop::with(database.clone(), nowhere(), Limits::default()).await
}

async fn deliver(shop: &Shop, id: Uuid, body: &Value) -> Answer {
    shop.post(&format!("/v1/orders/{id}/delivery"), body).await
}

async fn shown(shop: &Shop, id: Uuid) -> Value {
    shop.get(&format!("/v1/orders/{id}")).await.json()
}

/// When the parcel was handed over.
async fn handed_over(database: &PgPool, id: Uuid) -> DateTime<Utc> {
    let moment = sqlx::query_scalar!(
        "select occurred_at from orders.order_events
         where order_id = $1 and type = 'order.shipped'",
        id,
    );
    moment.fetch_one(database).await.unwrap()
}

/// The number of delivery messages in the outbox.
async fn messages(database: &PgPool, id: Uuid) -> i64 {
    let told = sqlx::query_scalar!(
        r#"select count(*) as "count!" from outbox.messages
           where aggregateid = $1::uuid::text and type = 'ordersaga.order.delivered.v1'"#,
        id,
    );
    told.fetch_one(database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_delivery_is_on_record_once_and_each_later_report_gets_the_first_one(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let moment = handed_over(&database, id).await;
    let service = shop.asked_by("web-shop", "service");
    let body = json!({ "delivered_at": moment });
    let first = deliver(&service, id, &body).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(first.header("idempotency-replayed"), None);
    let expected = json!({
        "order_id": id, "tracking": "T-1", "delivered_at": moment, "reported_by": "web-shop",
    });
    assert_eq!(first.json(), expected);
    let order = shown(&shop, id).await;
    assert_eq!(
        (&order["status"], &order["payment_status"], &order["fulfilment_status"]),
        (&json!("completed"), &json!("paid"), &json!("delivered"))
    );

    let eve = shop.asked_by("eve", "operator");
    let future = json!({ "delivered_at": "2999-01-01T00:00:00Z" });
    for (reporter, body) in [(&service, &body), (&eve, &json!({})), (&eve, &future)] {
        let again = deliver(reporter, id, body).await;
        assert_eq!((again.status.as_u16(), again.json()), (200, expected.clone()));
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
    assert_eq!(messages(&database, id).await, 1);
    let timeline = shop.get(&format!("/v1/orders/{id}/timeline")).await.json();
    let last = timeline["timeline"].as_array().unwrap().last().unwrap();
    let text = last["text"].as_str().unwrap();
    assert!(text.starts_with("The parcel T-1 was delivered at "), "{text}");
    assert!(text.ends_with(", web-shop reported"), "{text}");
    assert_eq!(last.get("status"), None, "a delivery ends no order");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_reports_that_come_at_once_one_counts(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let empty = json!({});
    let answers = join_all((0..6).map(|_report| deliver(&shop, id, &empty))).await;
    let first: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(first.len(), 1);
    for answer in &answers {
        assert_eq!(answer.json(), first[0].json(), "{}", answer.text);
    }
    assert_eq!(messages(&database, id).await, 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_is_not_on_its_way_was_not_delivered(database: PgPool) {
    let shop = shop(&database).await;
    let (waiting, recalled, undone) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    for id in [waiting, recalled, undone] {
        record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
        happen(&database, id, &[reserved(), captured(), posted()]).await;
    }
    let ending = cancelled("ordered twice");
    happen(&database, recalled, &[shipped("T-1"), unwinding(ending.clone())]).await;
    happen(&database, undone, &unwound(&ending)).await;
    for (id, why) in [
        (waiting, "it has not been handed over"),
        (recalled, "The order is being undone"),
        (undone, "it has not been handed over"),
    ] {
        let refused = deliver(&shop, id, &json!({})).await;
        assert_eq!(refused.problem(), "parcel-not-under-way");
        assert_eq!(refused.status, 409);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
        assert_eq!(messages(&database, id).await, 0);
    }
    let unknown = deliver(&shop, Uuid::now_v7(), &json!({})).await;
    assert_eq!(unknown.problem(), "order-not-found");
    // Once the parcel is handed over, its delivery is accepted, although the order is not completed
    // yet.
    happen(&database, waiting, &[shipped("T-1")]).await;
    assert_eq!(deliver(&shop, waiting, &json!({})).await.status, 201);
    let order = shown(&shop, waiting).await;
    assert_eq!(
        (&order["status"], &order["fulfilment_status"]),
        (&json!("processing"), &json!("delivered"))
    );
    let cancel = json!({ "reason": "too late" });
    let cancel = shop.post(&format!("/v1/orders/{waiting}/cancel?dry_run=true"), &cancel).await;
    assert_eq!(cancel.problem(), "order-already-shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_moment_that_cannot_be_the_deliverys_is_refused(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let moment = handed_over(&database, id).await;
    let before = moment.checked_sub_signed(TimeDelta::microseconds(1)).unwrap();
    for (moment, why) in [
        (json!(before), "the carrier had the parcel already"),
        (json!("2999-01-01T00:00:00Z"), "not in the future"),
    ] {
        let refused = deliver(&shop, id, &json!({ "delivered_at": moment })).await;
        assert_eq!(refused.problem(), "invalid-request", "{moment}");
        let broken = refused.json()["errors"][0].clone();
        assert_eq!(broken["pointer"], "/delivered_at");
        assert!(broken["detail"].as_str().unwrap().contains(why), "{broken}");
    }
    for malformed in [
        json!({ "delivered_at": "yesterday" }),
        json!({ "delivered_at": 1 }),
        json!({ "delivered_to": "the neighbour" }),
    ] {
        let refused = deliver(&shop, id, &malformed).await;
        assert_eq!(refused.problem(), "malformed-request", "{malformed}");
    }
    assert_eq!(messages(&database, id).await, 0);
    assert_eq!(shown(&shop, id).await["fulfilment_status"], "shipped");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_of_which_money_is_given_back_is_delivered_like_any_other(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let asked = refund(&shop, id, "k", &of_amount("10.00")).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    assert_eq!(deliver(&shop, id, &json!({})).await.status, 201);
    assert_eq!(shown(&shop, id).await["fulfilment_status"], "delivered");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whether_a_customer_has_the_parcel_is_not_for_the_customer_to_report(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    for other in [shop.asked_by_customer("ada"), shop.asked_by("fin", "finance")] {
        assert_eq!(deliver(&other, id, &json!({})).await.problem(), "insufficient-scope");
    }
    assert_eq!(shown(&shop, id).await["fulfilment_status"], "shipped");
    let eve = shop.asked_by("eve", "operator");
    assert_eq!(deliver(&eve, id, &json!({})).await.status, 201);
}
