use domain::event::OrderEvent;
use expect_test::expect;
use futures::TryStreamExt;
use ordersaga_grpc::v1::CancelOrderRequest;
use runtime::schema::MIGRATIONS;
use serde_json::json;
use sqlx::PgPool;
use temporalio_client::{UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowTerminateOptions};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use uuid::Uuid;

use crate::grpc::Program;
use crate::life::{
    cancelled, captured, failed, happen, needs_attention, posted, record, rejected, reserved,
    unwinding, unwound, whole_life,
};
use crate::shop::{Shop, fresh, nowhere, order, stock, temporal};

async fn cancel_after(database: &PgPool, shop: &Shop, events: &[OrderEvent]) -> String {
    let id = Uuid::now_v7();
    record(database, id, "ada", "2026-01-02T03:04:05Z").await;
    happen(database, id, events).await;
    let answer = shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "twice"})).await;
    let body = answer.json();
    format!("{} {} {}\n", answer.status, body["status"], body["detail"])
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_cancelling_means_depends_on_how_the_order_ended(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let mut told = String::new();
    for events in [
        unwound(&cancelled("ordered twice")),
        vec![unwinding(cancelled("ordered twice"))],
        vec![unwinding(rejected()), needs_attention(1, "no such payment")],
        unwound(&rejected()),
        unwound(&failed()),
        whole_life(),
    ] {
        told += &cancel_after(&database, &shop, &events).await;
    }
    expect![[r#"
        200 OK "cancelled" null
        200 OK "processing" null
        200 OK "processing" null
        409 Conflict 409 "The shop has rejected the order and undone everything: the payment was declined: insufficient_funds."
        409 Conflict 409 "A fault stopped the order; everything done for it has been undone."
        409 Conflict 409 "The parcel has been handed over to the carrier. The goods have to be returned."
    "#]].assert_eq(&told);
}

/// The number of events so far, to show that nothing was changed.
async fn events(database: &PgPool) -> i64 {
    let count = sqlx::query_scalar!(r#"select count(*) as "events!" from orders.order_events"#);
    count.fetch_one(database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_preview_says_what_a_cancel_would_do_and_does_nothing(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let paid = [reserved(), captured(), posted()];
    let mut told = String::new();
    for (happened, charged) in [
        (vec![], false),
        (paid[..1].to_vec(), false),
        (paid.to_vec(), true),
        (vec![unwinding(rejected())], true),
        (unwound(&cancelled("twice")), false),
        (unwound(&rejected()), false),
        (unwound(&failed()), false),
        // The parcel has left, and the sale is not booked yet.
        (whole_life()[..4].to_vec(), true),
        (whole_life(), true),
    ] {
        let id = Uuid::now_v7();
        record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
        happen(&database, id, &happened).await;
        if charged {
            sqlx::query!(
                "insert into payments.charges
                     (charge_key, order_id, provider_reference, currency, amount, captured, state)
                 values ($1, $2, 'pay_1', 'GBP', 23.10, 23.10, 'captured')",
                format!("{id}:authorise-payment:1"),
                id,
            )
            .execute(&database)
            .await
            .unwrap();
        }
        let before = (events(&database).await, shop.get(&format!("/v1/orders/{id}")).await.text);
        let path = format!("/v1/orders/{id}/cancel?dry_run=true");
        let answer = shop.post(&path, &json!({"reason": "twice"})).await;
        let body = answer.json();
        let kind = if answer.status == 200 { "a preview".to_owned() } else { answer.problem() };
        told += &format!(
            "{} {kind} {} {} {} {}\n",
            answer.status.as_u16(),
            body["status"],
            body["would"],
            body["payment"],
            body["refund"]
        );
        let after = (events(&database).await, shop.get(&format!("/v1/orders/{id}")).await.text);
        assert_eq!(before, after);
    }
    expect![[r#"
        200 a preview "processing" "call-off" "nothing" null
        200 a preview "processing" "call-off" "void" null
        200 a preview "processing" "call-off" "refund" {"amount":"23.10","currency":"GBP"}
        200 a preview "processing" "change-nothing" "nothing" null
        200 a preview "cancelled" "change-nothing" "nothing" null
        409 order-already-rejected 409 null null null
        409 order-already-failed 409 null null null
        409 order-already-shipped 409 null null null
        409 order-already-shipped 409 null null null
    "#]]
    .assert_eq(&told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_only_accepted_can_be_previewed_and_still_goes_on(database: PgPool) {
    let shop = Shop::open(database).await;
    let placed = shop.post("/v1/orders", &order("ada")).await.json();
    let path = format!("/v1/orders/{}/cancel", placed["order_id"].as_str().unwrap());
    let body = json!({"reason": "twice"});
    let preview = shop.post(&format!("{path}?dry_run=true"), &body).await.json();
    assert_eq!((&preview["would"], &preview["payment"]), (&json!("call-off"), &json!("nothing")));
    // An invalid preview is refused like an invalid cancellation.
    let answer = shop.post(&format!("{path}?dry_run=perhaps"), &body).await;
    assert_eq!(answer.problem(), "malformed-request");
    let answer = shop.post(&format!("{path}?dry_run=true"), &json!({"reason": ""})).await;
    assert_eq!(answer.problem(), "invalid-request");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_without_a_workflow_is_not_said_to_be_cancelled_but_to_need_an_operator(
    database: PgPool,
) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let answer = shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "why"})).await;
    assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("order-interrupted", 409));
    assert!(answer.text.contains("ordersaga recover"), "{}", answer.text);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_workflow_was_terminated_is_said_to_need_an_operator(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = under_way(&database, &shop).await;
    let saga = temporal().await.get_workflow_handle::<UntypedWorkflow>(format!("order-{id}"));
    saga.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    let path = format!("/v1/orders/{id}/cancel");
    let answer = shop.post(&path, &json!({"reason": "why"})).await;
    assert_eq!((answer.problem().as_str(), answer.status.as_u16()), ("order-interrupted", 409));
    let mut program = Program::of(&shop, "backend", "service").await;
    let wish = CancelOrderRequest {
        order_id: id.to_string(),
        reason: "why".to_owned(),
        ..CancelOrderRequest::default()
    };
    let refused = program.orders.cancel_order(program.asks(wish)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_being_unwound_is_answered_from_the_record(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), starter_api::Limits::default()).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    happen(&database, id, &[reserved(), unwinding(rejected())]).await;
    let before = events(&database).await;
    for _ in 0..100 {
        let answer = shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "why"})).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["unwinding"]), (200, &json!(true)));
    }
    assert_eq!(events(&database).await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn cancelling_a_hundred_times_is_cancelling_once(database: PgPool) {
    stock(&database).await;
    let shop = Shop::with(database.clone(), nowhere(), starter_api::Limits::default()).await;
    let placed = shop.place(&fresh("key"), &order("ada")).await;
    let path = format!("{}/cancel", placed.header("location").unwrap());
    let first = shop.post(&path, &json!({"reason": "ordered twice"})).await;
    assert_eq!(first.json()["decision"], "cancelled", "{}", first.text);
    let before = events(&database).await;
    for _ in 1..100 {
        let again = shop.post(&path, &json!({"reason": "and again"})).await;
        assert_eq!((again.status.as_u16(), &again.json()["status"]), (200, &json!("cancelled")));
    }
    assert_eq!(events(&database).await, before);
}

/// An order whose first step was done, and which no worker processes.
async fn under_way(database: &PgPool, shop: &Shop) -> Uuid {
    let placed = shop.place(&fresh("key"), &order("ada")).await.json();
    let id: Uuid = placed["order_id"].as_str().unwrap().parse().unwrap();
    sqlx::query!(
        r#"insert into orders.step_keys (order_id, step, version, outcome)
           values ($1, 'reserve-stock', 1, '{"done": null}')"#,
        id
    )
    .execute(database)
    .await
    .unwrap();
    happen(database, id, &[reserved()]).await;
    let waits = async || {
        let row = sqlx::query!("select order_id from orders.launches where order_id = $1", id);
        row.fetch_optional(database).await.unwrap().is_some()
    };
    while waits().await {}
    id
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_that_no_worker_answers_is_kept_for_the_next(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = under_way(&database, &shop).await;
    let path = format!("/v1/orders/{id}/cancel");
    let answer = shop.post(&path, &json!({"reason": "ordered twice"})).await;
    expect![[r#"
        202 Accepted
        {
          "decision": "pending",
          "fulfilment_status": "reserved",
          "order_id": "ORDER",
          "payment_status": "none",
          "status": "processing",
          "unwinding": false
        }
    "#]]
    .assert_eq(&answer.told().replace(&id.to_string(), "ORDER"));
    // A repeat is the same request.
    let again = shop.post(&path, &json!({"reason": "ordered three times"})).await;
    assert_eq!((again.status.as_u16(), &again.json()["decision"]), (202, &json!("pending")));

    let saga = temporal().await.get_workflow_handle::<UntypedWorkflow>(format!("order-{id}"));
    let history = saga.fetch_history(WorkflowFetchHistoryOptions::default());
    let events = history.try_collect::<Vec<_>>().await.unwrap();
    let requests = events.into_iter().filter_map(|event| match event.attributes {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => Some(signal),
        Some(_) | None => None,
    });
    let requests = requests.collect::<Vec<_>>();
    let [request] = &requests[..] else { panic!("one request is kept, not {}", requests.len()) };
    assert_eq!(request.signal_name, "cancel");
    let told = request.input.as_ref().unwrap().payloads[0].data.clone();
    assert_eq!(String::from_utf8(told).unwrap(), r#"{"reason":"ordered twice"}"#);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_says_why(database: PgPool) {
    let shop = Shop::open(database).await;
    let path = format!("/v1/orders/{}/cancel", Uuid::now_v7());
    for reason in ["", "   ", "a\nb", "a\u{0}b", "x".repeat(201).as_str()] {
        let answer = shop.post(&path, &json!({ "reason": reason })).await;
        assert_eq!(answer.problem(), "invalid-request", "{reason}");
    }
    assert_eq!(shop.post(&path, &json!({})).await.problem(), "malformed-request");
}
