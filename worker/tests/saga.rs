//! The order saga against a real Temporal server and a real database: every outcome, and every
//! step and undo of the contract table going wrong in every way.

#![expect(
    clippy::default_trait_access,
    reason = "the SDK's options are left at their defaults, and their types' names say nothing more"
)]

mod support;

use domain::{OrderStatus, Rejection, StepName};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use support::{FOR_EVER, Fault, Shop, ended, history, order, order_paid_by, unreadable};
use temporalio_client::WorkflowCancelOptions;
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use workflows::{
    CONTRACTS, CancelDecision, CancelRequest, Contract, OrderSaga, PartyUpdate, Resolution,
    ResolutionKind, Role, StepState, signal_payload,
};

/// A refusal that no step gives by itself, so that it is known for the test's own.
fn refusal() -> Rejection {
    Rejection::CardDeclined { decline_code: "as planned by the test".to_owned() }
}

/// Every step that has an undo, with the undo.
fn pairs() -> impl Iterator<Item = (&'static Contract, &'static Contract)> {
    CONTRACTS.iter().filter_map(|step| {
        let Role::Does(name) = step.role else { return None };
        let undo = CONTRACTS.iter().find(|undo| undo.role == Role::Undoes(name))?;
        Some((step, undo))
    })
}

/// Every step that must succeed, because it has no undo.
fn unstoppable() -> impl Iterator<Item = &'static Contract> {
    CONTRACTS.iter().filter(|contract| {
        matches!(contract.role, Role::Does(_))
            && !pairs().any(|(step, _)| step.name == contract.name)
    })
}

fn decided(decision: ResolutionKind) -> Resolution {
    Resolution { decision, by: "Ada".to_owned(), why: "the cause is known".to_owned() }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_nothing_stops_ships_in_at_most_14_events(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    let handle = shop.place(&order).await;
    assert!(matches!(ended(&handle).await, OrderStatus::Shipped { .. }));
    let events = history(&handle).await.events.len();
    assert!(events <= 14, "{events} events");
    assert_eq!(shop.status_on_record(order.order_id).await.as_deref(), Some("shipped"));
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_that_is_refused_takes_everything_back(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let order = order();
        shop.faults.plan(order.order_id, step.name, Fault::Refused(refusal()));
        let status = ended(&shop.place(&order).await).await;
        assert_eq!(status, OrderStatus::Rejected { rejection: refusal() }, "{}", step.name);
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_whose_answer_never_comes_is_undone_like_one_that_was_done(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let order = order();
        shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
        let status = ended(&shop.place(&order).await).await;
        let rejection = Rejection::FulfilmentUnavailable { step: step.step() };
        assert_eq!(status, OrderStatus::Rejected { rejection }, "{}", step.name);
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_that_is_never_available_takes_everything_back(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let order = order();
        shop.faults.plan(order.order_id, step.name, Fault::Unavailable(FOR_EVER));
        let status = ended(&shop.place(&order).await).await;
        let rejection = Rejection::FulfilmentUnavailable { step: step.step() };
        assert_eq!(status, OrderStatus::Rejected { rejection }, "{}", step.name);
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_that_is_broken_takes_everything_back_and_fails_the_order(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let order = order();
        shop.faults.plan(order.order_id, step.name, Fault::Broken(FOR_EVER));
        let status = ended(&shop.place(&order).await).await;
        assert!(matches!(status, OrderStatus::Failed { .. }), "{}: {status:?}", step.name);
        let on_record = shop.status_on_record(order.order_id).await;
        assert_eq!(on_record.as_deref(), Some("failed"), "{}", step.name);
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

/// Three tries are quick; the fourth is patient, on the step's own queue.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_that_comes_back_finds_the_step_waiting_and_the_order_ships(db: PgPool) {
    let shop = Shop::open(db).await;
    let steps = CONTRACTS.iter().filter(|contract| matches!(contract.role, Role::Does(_)));
    join_all(
        steps
            .flat_map(|step| {
                [Fault::Unavailable(3), Fault::AnswerLost(3)].map(|fault| (step, fault))
            })
            .map(|(step, fault)| {
                let shop = &shop;
                async move {
                    let mut order = order();
                    order.terms.patience_seconds = None;
                    shop.faults.plan(order.order_id, step.name, fault);
                    let handle = shop.place(&order).await;
                    let status = ended(&handle).await;
                    assert!(
                        matches!(status, OrderStatus::Shipped { .. }),
                        "{}: {status:?}",
                        step.name
                    );
                    let waited = history(&handle).await.events.iter().any(|event| {
                        event.event_type().as_str_name() == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"
                    });
                    assert!(waited, "{} did not go on as a regular activity", step.name);
                }
            }),
    )
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

/// A worker that dies runs its open workflow task's local steps again, and must not find its
/// own undos in the way of what they answered the first time.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_was_done_is_in_the_history_before_anything_is_taken_back(db: PgPool) {
    let shop = Shop::open(db).await;
    let handle = shop.place(&order_paid_by("tok_declined")).await;
    assert_eq!(ended(&handle).await.name(), "rejected");
    let events = history(&handle).await.events;
    let kinds: Vec<_> = events.iter().map(|event| event.event_type().as_str_name()).collect();
    let noted = kinds.iter().position(|kind| *kind == "EVENT_TYPE_ACTIVITY_TASK_SCHEDULED");
    let (before, after) = kinds.split_at(noted.expect("the unwinding was not noted durably"));
    let markers =
        |kinds: &[&str]| kinds.iter().filter(|kind| **kind == "EVENT_TYPE_MARKER_RECORDED").count();
    // On record, reserved, declined; refunded, released, and the last note.
    assert_eq!((markers(before), markers(after)), (3, 3));
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_never_gives_up(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(
        pairs()
            .flat_map(|(step, undo)| {
                [Fault::Unavailable(4), Fault::AnswerLost(4)].map(|fault| (step, undo, fault))
            })
            .map(|(step, undo, fault)| {
                let shop = &shop;
                async move {
                    let order = order();
                    shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
                    shop.faults.plan(order.order_id, undo.name, fault);
                    let status = ended(&shop.place(&order).await).await;
                    assert!(
                        matches!(status, OrderStatus::Rejected { .. }),
                        "{}: {status:?}",
                        undo.name
                    );
                    shop.assert_clean_slate(order.order_id).await;
                }
            }),
    )
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_that_is_broken_waits_for_an_operator_who_has_it_tried_again(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, undo)| async {
        let order = order();
        shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
        shop.faults.plan(order.order_id, undo.name, Fault::Broken(1));
        let handle = shop.place(&order).await;
        shop.until_on_record(order.order_id, "stuck").await;
        let nameless = Resolution { by: " ".to_owned(), ..decided(ResolutionKind::Skip) };
        shop.resolve(&handle, &nameless).await;
        shop.resolve(&handle, &decided(ResolutionKind::Retry)).await;
        let status = ended(&handle).await;
        assert!(matches!(status, OrderStatus::Rejected { .. }), "{}: {status:?}", undo.name);
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_operator_can_go_on_without_an_undo_and_is_on_record_for_it(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    shop.until_on_record(order.order_id, "stuck").await;
    shop.resolve(&handle, &decided(ResolutionKind::Skip)).await;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    let skipped = shop
        .view(&handle)
        .await
        .steps
        .into_iter()
        .find(|step| step.step == StepName::ChargePayment);
    assert_eq!(skipped.map(|step| step.state), Some(StepState::Skipped));
    let remark: Option<String> = sqlx::query_scalar(
        "select data ->> 'remark' from orders.order_events
         where order_id = $1 and type = 'order.resumed'",
    )
    .bind(order.order_id.uuid())
    .fetch_one(&shop.db)
    .await
    .unwrap();
    assert_eq!(remark.as_deref(), Some("skip, decided by Ada: the cause is known"));
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn past_the_point_of_no_return_a_broken_step_waits_for_an_operator(db: PgPool) {
    let shop = Shop::open(db).await;
    let steps = unstoppable().filter(|step| step.name != "OpenOrder");
    join_all(steps.map(|step| async {
        let order = order();
        shop.faults.plan(order.order_id, step.name, Fault::Broken(1));
        let handle = shop.place(&order).await;
        shop.until_on_record(order.order_id, "stuck").await;
        shop.resolve(&handle, &decided(ResolutionKind::Retry)).await;
        let status = ended(&handle).await;
        assert!(matches!(status, OrderStatus::Shipped { .. }), "{}: {status:?}", step.name);
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_cannot_be_put_on_record_waits_for_an_operator(db: PgPool) {
    let shop = Shop::open(db).await;
    let shop_ref = &shop;
    join_all([ResolutionKind::Retry, ResolutionKind::Skip].map(|decision| async move {
        let (order, shop) = (order(), shop_ref);
        shop.faults.plan(order.order_id, "OpenOrder", Fault::Broken(1));
        let handle = shop.place(&order).await;
        shop.until_needs_attention(&handle).await;
        shop.resolve(&handle, &decided(decision)).await;
        let (status, on_record) =
            (ended(&handle).await, shop.status_on_record(order.order_id).await);
        match decision {
            ResolutionKind::Retry => assert!(matches!(status, OrderStatus::Shipped { .. })),
            ResolutionKind::Skip => {
                assert!(matches!(status, OrderStatus::Failed { .. }));
                assert_eq!(on_record, None);
                shop.assert_clean_slate(order.order_id).await;
            }
        }
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_about_nothing_is_not_kept_for_later(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "ReleaseStock", Fault::Broken(1));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(1));
    let handle = shop.place(&order).await;
    // Somebody decides twice; what goes wrong next still waits for a decision of its own.
    shop.until_needs_attention(&handle).await;
    let shop = shop
        .without_workflow_workers(async |_faults| {
            for _ in 0..2 {
                let payload = signal_payload(&decided(ResolutionKind::Retry)).unwrap();
                handle.signal(OrderSaga::resolve, payload, Default::default()).await.unwrap();
            }
        })
        .await;
    // On record are: unwinding, stuck, resumed, and stuck again. What was kept would have decided
    // by the time that the workflow has heard of the last.
    until_event(&handle, EventType::ActivityTaskCompleted, 4).await;
    assert!(shop.view(&handle).await.needs_attention);
    let next = Resolution { by: "Grace".to_owned(), ..decided(ResolutionKind::Retry) };
    shop.resolve(&handle, &next).await;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    let remarks: Vec<String> = sqlx::query_scalar(
        "select data ->> 'remark' from orders.order_events
         where order_id = $1 and type = 'order.resumed' order by sequence",
    )
    .bind(order.order_id.uuid())
    .fetch_all(&shop.db)
    .await
    .unwrap();
    assert_eq!(
        remarks,
        [
            "retry, decided by Ada: the cause is known",
            "retry, decided by Grace: the cause is known"
        ]
    );
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_that_is_accepted_beside_the_last_steps_success_is_kept(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.patience_seconds = None;
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(FOR_EVER));
    let handle = shop.place(&order).await;
    until_waiting(&handle).await;
    let request = CancelRequest { reason: "at the last moment".to_owned() };
    let payload = signal_payload(&request).unwrap();
    let shop = shop
        .without_workflow_workers(async |faults| {
            faults.heal(order.order_id, "ShipOrder");
            until_event(&handle, EventType::ActivityTaskCompleted, 1).await;
            handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
        })
        .await;
    // Whoever carries the workflow now learns of both at once, and of the cancel first.
    assert!(matches!(ended(&handle).await, OrderStatus::Cancelled { .. }));
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// While a workflow task runs, a signal waits on the server. The task is refused when it wants to
/// end the workflow, and runs again with the signal first: the saga then stops before steps that
/// have taken effect already, in the run that was lost.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_that_overtakes_what_was_done_takes_it_back_all_the_same(db: PgPool) {
    let shop = Shop::open(db).await;
    let steps = CONTRACTS.iter().filter(|contract| matches!(contract.role, Role::Does(_)));
    join_all(steps.map(|step| async {
        let order = order();
        let held = shop.faults.hold(order.order_id, step.name);
        let handle = shop.place(&order).await;
        held.reached().await;
        let payload = signal_payload(&CancelRequest { reason: "overtaken".to_owned() }).unwrap();
        handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
        held.let_go();
        let status = ended(&handle).await;
        assert_eq!(
            status,
            OrderStatus::Cancelled { reason: "overtaken".to_owned() },
            "{}",
            step.name
        );
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn cancelling_in_time_means_the_same_by_update_signal_and_temporal(db: PgPool) {
    let shop = Shop::open(db).await;
    for way in ["update", "signal", "temporal"] {
        let mut order = order();
        order.terms.cancel_window_seconds = 3_600;
        let handle = shop.place(&order).await;
        shop.until_on_record(order.order_id, "posted").await;
        let request = CancelRequest { reason: way.to_owned() };
        match way {
            "update" => {
                let answer =
                    handle.execute_update(OrderSaga::cancel, request, Default::default()).await;
                assert_eq!(answer.unwrap().decision, CancelDecision::Unwinding);
            }
            "signal" => {
                let payload = signal_payload(&request).unwrap();
                handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
            }
            _ => {
                let options = WorkflowCancelOptions::builder().reason(way).build();
                handle.cancel(options).await.unwrap();
            }
        }
        assert_eq!(ended(&handle).await, OrderStatus::Cancelled { reason: way.to_owned() });
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_that_waits_can_be_called_off(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let mut order = order();
        order.terms.patience_seconds = None;
        shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
        let handle = shop.place(&order).await;
        until_waiting(&handle).await;
        let request = CancelRequest { reason: "too slow".to_owned() };
        let answer = handle.execute_update(OrderSaga::cancel, request, Default::default()).await;
        assert_eq!(answer.unwrap().decision, CancelDecision::Unwinding, "{}", step.name);
        let reason = "too slow".to_owned();
        assert_eq!(ended(&handle).await, OrderStatus::Cancelled { reason }, "{}", step.name);
        shop.assert_clean_slate(order.order_id).await;
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn once_the_parcel_is_handed_over_a_cancel_is_refused_with_the_reason(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    // The books are broken for the moment, so the workflow stays open past the hand-over.
    shop.faults.plan(order.order_id, "RecogniseRevenue", Fault::Unavailable(FOR_EVER));
    let handle = shop.place(&order).await;
    shop.until_on_record(order.order_id, "shipped").await;
    until_waiting(&handle).await;
    let request = CancelRequest { reason: "too late".to_owned() };
    let refused =
        handle.execute_update(OrderSaga::cancel, request.clone(), Default::default()).await;
    let why = format!("{:?}", refused.unwrap_err());
    assert!(why.contains("a return is the way back"), "{why}");
    let payload = signal_payload(&request).unwrap();
    handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
    handle.cancel(WorkflowCancelOptions::builder().reason("too late").build()).await.unwrap();
    shop.faults.heal(order.order_id, "RecogniseRevenue");
    assert!(matches!(ended(&handle).await, OrderStatus::Shipped { .. }));
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_with_news_is_asked_again_at_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let news = PartyUpdate { reference: "pay_1".to_owned(), status: "succeeded".to_owned() };
    for step in ["ChargePayment", "ShipOrder"] {
        let mut order = order();
        order.terms.patience_seconds = None;
        shop.faults.plan(order.order_id, step, Fault::Unavailable(FOR_EVER));
        let handle = shop.place(&order).await;
        until_waiting(&handle).await;
        let payload = signal_payload(&news).unwrap();
        match step {
            "ChargePayment" => {
                handle.signal(OrderSaga::payment_update, payload, Default::default()).await
            }
            _ => handle.signal(OrderSaga::shipment_update, payload, Default::default()).await,
        }
        .unwrap();
        // Nothing heals until the news alone has had the step asked for anew.
        until_asked(&handle, 2).await;
        shop.faults.heal(order.order_id, step);
        assert!(matches!(ended(&handle).await, OrderStatus::Shipped { .. }));
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_signal_that_cannot_be_read_leaves_a_line_and_nothing_else(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    let handle = shop.place(&order).await;
    shop.until_on_record(order.order_id, "posted").await;
    let none = Default::default;
    handle.signal(OrderSaga::cancel_signal, unreadable(), none()).await.unwrap();
    handle.signal(OrderSaga::payment_update, unreadable(), none()).await.unwrap();
    handle.signal(OrderSaga::shipment_update, unreadable(), none()).await.unwrap();
    handle.signal(OrderSaga::resolve, unreadable(), none()).await.unwrap();
    let view = shop.view(&handle).await;
    let ignored = view.timeline.iter().filter(|entry| entry.text.contains("was ignored")).count();
    assert_eq!((ignored, view.status), (4, OrderStatus::Posted));
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_waits_for_the_payment_is_told(db: PgPool) {
    let shop = Shop::open(db).await;
    for (token, told) in [("tok_visa", "paid"), ("tok_declined", "rejected")] {
        let mut order = order_paid_by(token);
        order.terms.cancel_window_seconds = 3_600;
        order.terms.patience_seconds = None;
        // The customer asks while the warehouse does not answer.
        shop.faults.plan(order.order_id, "ReserveStock", Fault::Unavailable(5));
        let handle = shop.place(&order).await;
        until_waiting(&handle).await;
        let view = handle.execute_update(OrderSaga::placed, (), Default::default()).await.unwrap();
        assert_eq!(view.status.name(), told);
    }
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_second_workflow_of_the_same_order_meets_the_first_ones_effects(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    let first = ended(&shop.place(&order).await).await;
    // The tests' reuse policy allows what the starter's forbids.
    let second = ended(&shop.place(&order).await).await;
    assert_eq!(first, second);
    shop.assert_proven().await;
    shop.close().await;
}

/// Waits until the order has a regular activity under way.
async fn until_waiting(handle: &support::OrderHandle) {
    until_asked(handle, 1).await;
}

/// Waits until so many regular activities have been asked for.
async fn until_asked(handle: &support::OrderHandle, times: usize) {
    until_event(handle, EventType::ActivityTaskScheduled, times).await;
}

/// Waits until the history has so many events of this type.
async fn until_event(handle: &support::OrderHandle, wanted: EventType, times: usize) {
    let is_wanted = |event: &&HistoryEvent| event.event_type() == wanted;
    while history(handle).await.events.iter().filter(is_wanted).count() < times {
        tokio::task::yield_now().await;
    }
}
