//! Additions by a later release are accepted, and large orders keep their histories small.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    clippy::needless_pass_by_value,
    reason = "what cannot be prepared or read fails its test, and a test may ask the database anything"
)]

mod support;

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use domain::screening::ScreeningAnswer;
use domain::{
    Authorisation, AuthorisationAnswer, Decision, Ending, OrderStatus, Rejection, Shipment,
    StepName,
};
use prost_reflect::prost::Message as _;
use runtime::schema::MIGRATIONS;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use support::{OrderHandle, Shop, ended, history, order, order_of, put_on_record, reset, screened};
use temporalio_client::{UntypedWorkflow, WorkflowHandle, WorkflowStartOptions};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use uuid::Uuid;
use workflows::Queue;
use workflows::order::{
    AttentionNote, CancelRequest, EndNote, OrderOutcome, OrderStart, OrderView, PartyUpdate,
    PaymentReplaced, Resolution, ResolvedNote, Reviewed, UnwindingNote, signal_payload,
};

/// The same value as a later release would write it: every object has an additional field. An
/// amount of money never gets one.
fn written_later(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            let is_money = fields.len() == 2 && fields.contains_key("currency");
            for field in fields.values_mut() {
                *field = written_later(field.take());
            }
            if !is_money {
                fields.insert("added_later".to_owned(), json!({ "of": [1] }));
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = written_later(item.take());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[track_caller]
fn is_read<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
    let later = written_later(serde_json::to_value(&value).unwrap());
    assert!(later.to_string().contains("added_later"), "{later}");
    let read: T = serde_json::from_value(later.clone()).unwrap_or_else(|error| {
        panic!("{later}: {error}");
    });
    assert_eq!(read, value);
}

#[test]
fn whatever_a_workflow_is_told_or_answered_may_get_another_field() {
    let (order_id, text) = (order().order_id, || "text".to_owned());
    let (step, decision) = (StepName::ShipOrder, Decision::AcceptAsDone);
    let rejection = Rejection::CardDeclined { decline_code: text() };
    is_read(OrderStart { patience_seconds: Some(1), ..OrderStart::of(&order()) });
    for ending in [
        Ending::Cancelled { reason: text() },
        Ending::Rejected { rejection },
        Ending::Failed { incident: text() },
    ] {
        is_read(UnwindingNote { order_id, ending: ending.clone() });
        is_read(EndNote { order_id, status: ending.into() });
    }
    is_read(EndNote { order_id, status: OrderStatus::Completed });
    is_read(OrderOutcome { order_id, status: OrderStatus::Completed });
    is_read(AttentionNote {
        order_id,
        run_id: text(),
        number: 1,
        step,
        undoing: true,
        why: text(),
        decisions: vec![decision],
    });
    is_read(ResolvedNote { order_id, step, occurrence: 1, decision, by: text(), why: text() });
    is_read(Resolution { step: text(), occurrence: 1, decision, by: text(), why: text() });
    is_read(CancelRequest { reason: text() });
    is_read(PartyUpdate { reference: text(), status: text() });
    let authorisation = Authorisation { provider_reference: text(), expires_at: None };
    is_read(AuthorisationAnswer::Authorised(authorisation));
    is_read(AuthorisationAnswer::Waits { waits_until: DateTime::<Utc>::UNIX_EPOCH });
    is_read(AuthorisationAnswer::Replaced { replaced_by: 2 });
    is_read(PaymentReplaced { attempt: 2 });
    is_read(ScreeningAnswer::Waits { waits_until: DateTime::<Utc>::UNIX_EPOCH });
    is_read(ScreeningAnswer::Passed { rule_set: 2 });
    is_read(Reviewed { attempt: 2 });
    is_read(Shipment { tracking: text() });
    is_read(OrderView {
        order_id,
        status: OrderStatus::Processing,
        unwinding: false,
        steps: vec![saga::StepProgress { step: text(), state: saga::StepState::Done }],
        cancel_requested: Some(text()),
        ending: Some(Ending::Cancelled { reason: text() }),
        waiting_for: Some(saga::WaitingFor {
            step: text(),
            occurrence: 1,
            decisions: vec![saga::Decision::Skip],
        }),
        timeline: vec![saga::TimelineEntry { at: DateTime::<Utc>::UNIX_EPOCH, text: text() }],
    });
}

/// Starts an order's workflow as a later release would.
async fn launched_later(shop: &Shop, order: &domain::Order) -> OrderHandle {
    let start = written_later(serde_json::to_value(OrderStart::of(order)).unwrap());
    let options =
        WorkflowStartOptions::new(Queue::Orders.name(), order.order_id.workflow_id()).build();
    let workflow = UntypedWorkflow::new("OrderSaga");
    let input = signal_payload(&start).unwrap();
    let handle = shop.client.start_workflow(workflow, input, options).await.unwrap();
    WorkflowHandle::new(shop.client.clone(), handle.info().clone())
}

/// Changes the recorded outcomes of the order's steps to those of a later release.
async fn answered_later(db: &PgPool, order: Uuid) {
    let answers: Vec<(String, Value)> = sqlx::query_as(
        "select step, outcome from orders.step_keys where order_id = $1 and outcome is not null",
    )
    .bind(order)
    .fetch_all(db)
    .await
    .unwrap();
    for (step, mut outcome) in answers {
        // The only field's name says which outcome it is.
        for answer in outcome.as_object_mut().unwrap().values_mut() {
            *answer = written_later(answer.take());
        }
        sqlx::query("update orders.step_keys set outcome = $3 where order_id = $1 and step = $2")
            .bind(order)
            .bind(step)
            .bind(outcome)
            .execute(db)
            .await
            .unwrap();
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_under_way_survive_a_release_that_adds_a_field_to_everything(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = screened();
    let held = shop.faults.hold(order.order_id, "ShipOrder");
    put_on_record(&shop.db, &order, &written_later(json!(order.placed()))).await;
    let handle = launched_later(&shop, &order).await;
    held.reached().await;
    answered_later(&shop.db, order.order_id.uuid()).await;
    held.let_go();
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    // Another run gets its answers from the record alone.
    answered_later(&shop.db, order.order_id.uuid()).await;
    let completed = EventType::WorkflowTaskCompleted;
    let events = history(&handle).await.events;
    let first = events.iter().find(|event| event.event_type() == completed).unwrap().event_id;
    assert_eq!(ended(&reset(&handle, first).await).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

/// The size in bytes of the history of an order with this many lines.
async fn bytes_of_history(shop: &Shop, lines: usize) -> usize {
    let handle = shop.place(&order_of(lines, "tok_visa")).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    history(&handle).await.encoded_len()
}

/// A real invoice reaches 541 lines.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_history_of_a_large_order_is_as_small_as_that_of_a_small_one(db: PgPool) {
    let shop = Shop::open(db).await;
    let (small, large) = (bytes_of_history(&shop, 1).await, bytes_of_history(&shop, 541).await);
    assert!(small.abs_diff(large) * 10 < small, "{small} and {large} bytes");
    shop.close().await;
}
