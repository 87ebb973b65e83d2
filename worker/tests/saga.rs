//! The order saga against a real Temporal server and a real database: every outcome, and every step
//! and undo of the contract table with every kind of fault.

#![expect(
    clippy::default_trait_access,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the SDK's options are left at their defaults, and what cannot be prepared or read \
              fails its test"
)]

mod support;

use std::time::Duration;

use activities::catalogue::{Article, Stocking};
use domain::{
    CaptureAt, CountryCode, Currency, Decision, Ending, Money, Order, OrderStatus, PriceList,
    PricedSku, Quantity, RateTable, Rejection, Screening, ShippingRate, Sku, StepName, Totals,
};
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use saga::{Contract, MESSAGES_MAX, QUICK_ATTEMPTS, Role, StepState, WaitingFor};
use serde_json::json;
use sqlx::PgPool;
use support::{
    COST_PERCENT, Code, FOR_EVER, Fault, Gate, ON_HAND, OnRecord, OrderHandle, Shop, Traces,
    cancel, decided, ended, history, order, order_paid_by, screened, screened_paid_by, serve_as,
    unreadable, until_in_history,
};
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_client::{UntypedUpdate, WorkflowCancelOptions};
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use workflows::Queue;
use workflows::order::{
    CANCELLED_BEFORE, CONTRACTS, CancelDecision, CancelRequest, OrderSaga, OrderView, PartyUpdate,
    PaymentReplaced, Reviewed, signal_payload,
};

/// A rejection that no step returns by itself, so that it identifies the test.
fn refusal() -> Rejection {
    Rejection::CardDeclined { decline_code: "as planned by the test".to_owned() }
}

/// The status of an order whose step was given up.
fn given_up(step: &Contract) -> OrderStatus {
    let step = step.step.parse().unwrap();
    OrderStatus::Rejected { rejection: Rejection::FulfilmentUnavailable { step } }
}

/// Every step.
fn steps() -> impl Iterator<Item = &'static Contract> {
    CONTRACTS.iter().filter(|contract| contract.role == Role::Does)
}

/// Every step before the point of no return, with its undo.
fn pairs() -> impl Iterator<Item = (&'static Contract, &'static Contract)> {
    steps().filter(|step| step.patience.is_some()).map(|step| (step, undo_of(step)))
}

fn undo_of(step: &Contract) -> &'static Contract {
    let is_undo = |one: &&Contract| one.role == Role::Undoes && one.step == step.step;
    CONTRACTS.iter().find(is_undo).expect("every step has an undo")
}

/// Every step after the point of no return.
fn unstoppable() -> impl Iterator<Item = &'static Contract> {
    steps().filter(|step| step.patience.is_none())
}

/// Every undo, with a step whose failure triggers it. Steps after the point of no return are undone
/// if the last step before it never answers.
fn undos() -> impl Iterator<Item = (&'static Contract, &'static Contract)> {
    let (last, _) = pairs().last().expect("some step can be undone");
    pairs().chain(unstoppable().map(move |step| (last, undo_of(step))))
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_nothing_stops_completes_in_one_workflow_task(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    let handle = shop.place(&order).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    let events = history(&handle).await.events.len();
    // Five of the workflow and its task, one for each step, one for the search attributes.
    assert_eq!(events, 12);
    let on_record = shop.on_record(order.order_id).await.unwrap();
    let OnRecord { status, payment_status, fulfilment_status, .. } = &on_record;
    assert_eq!(
        [status, payment_status, fulfilment_status],
        ["completed", "paid", "shipped"],
        "{on_record:?}"
    );
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_that_is_refused_takes_everything_back(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let order = screened();
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
        let order = screened();
        shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
        let status = ended(&shop.place(&order).await).await;
        assert_eq!(status, given_up(step), "{}", step.name);
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
        let order = screened();
        shop.faults.plan(order.order_id, step.name, Fault::Unavailable(FOR_EVER));
        let status = ended(&shop.place(&order).await).await;
        assert_eq!(status, given_up(step), "{}", step.name);
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
        let order = screened();
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

/// Three attempts are quick; the fourth is patient, on the step's own queue.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_that_comes_back_finds_the_step_waiting_and_the_order_completes(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(
        steps()
            .flat_map(|step| {
                [Fault::Unavailable(3), Fault::AnswerLost(3)].map(|fault| (step, fault))
            })
            .map(|(step, fault)| {
                let shop = &shop;
                async move {
                    let mut order = screened();
                    order.terms.patience_seconds = None;
                    shop.faults.plan(order.order_id, step.name, fault);
                    let handle = shop.place(&order).await;
                    assert_eq!(ended(&handle).await, OrderStatus::Completed, "{}", step.name);
                    let scheduled = EventType::ActivityTaskScheduled;
                    let mut events = history(&handle).await.events.into_iter();
                    let waited = events.any(|event| event.event_type() == scheduled);
                    assert!(waited, "{} did not go on as a regular activity", step.name);
                }
            }),
    )
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

/// Although everything took effect behind the proxy that answers.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_parties_make_no_sense_for_a_while_completes(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(steps().map(|step| async {
        let mut order = screened();
        order.terms.patience_seconds = None;
        shop.faults.plan(order.order_id, step.name, Fault::InvalidAnswer(4));
        let handle = shop.place(&order).await;
        assert_eq!(ended(&handle).await, OrderStatus::Completed, "{}", step.name);
        assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale(), "{}", step.name);
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_whose_party_makes_no_sense_for_a_while_needs_no_person(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(undos().map(|(step, undo)| {
        let shop = &shop;
        async move {
            let order = screened();
            shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
            shop.faults.plan(order.order_id, undo.name, Fault::InvalidAnswer(4));
            assert_eq!(ended(&shop.place(&order).await).await, given_up(step), "{}", undo.name);
            shop.assert_clean_slate(order.order_id).await;
            let on_record = shop.on_record(order.order_id).await.unwrap();
            assert_eq!(on_record.attentions, 0, "{}", undo.name);
        }
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

/// The same beginning with the provider's own answer, by the worker's setting.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_is_made_once_the_providers_answers_make_sense_again(db: PgPool) {
    let mut shop = Shop::open(db).await;
    shop.send_workers_home().await;
    let code = Code { ask_again_for: Duration::from_mins(5), ..Code::default() };
    let queues = &[Queue::Orders, Queue::Payments, Queue::Fulfilment];
    let workers = serve_as(code, &shop.db, &shop.client, shop.faults.clone(), queues);
    let order = order_paid_by("tok_refund_broken");
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    let handle = shop.place(&order).await;
    let told = "the payment provider's answer makes no sense (refunding a payment)";
    let is_told = |text: &str| text.contains(told) && text.contains("; asking again until ");
    shop.until_view(&handle, |view| view.timeline.iter().any(|entry| is_told(&entry.text))).await;
    assert_eq!(shop.view(&handle).await.waiting_for, None);
    shop.provider_mends_refunds().await;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(order.order_id).await;
    assert_eq!(shop.on_record(order.order_id).await.unwrap().attentions, 0);
    shop.assert_proven().await;
    workers.stop().await;
    shop.close().await;
}

/// A killed worker's successor repeats the local activities of the open workflow task, and its
/// undos must not conflict with the first results.
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
    // Reserved, declined; refunded, released, and the last note.
    assert_eq!((markers(before), markers(after)), (2, 3));
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_undo_never_gives_up(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(
        undos()
            .flat_map(|(step, undo)| {
                [Fault::Unavailable(4), Fault::AnswerLost(4)].map(|fault| (step, undo, fault))
            })
            .map(|(step, undo, fault)| {
                let shop = &shop;
                async move {
                    let order = screened();
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
async fn an_undo_that_is_broken_waits_for_a_person_who_has_it_tried_again(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(undos().map(|(step, undo)| {
        let shop = &shop;
        async move {
            let order = screened();
            shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
            shop.faults.plan(order.order_id, undo.name, Fault::Broken(1));
            let handle = shop.place(&order).await;
            let waiting = shop.until_needs_attention(&handle).await;
            assert_eq!((waiting.step.as_str(), waiting.occurrence), (undo.step, 1));
            assert_eq!(
                waiting.decisions.contains(&saga::Decision::AcceptAsDone),
                undo.can_be_accepted,
                "{}",
                undo.name
            );
            let on_record = shop.on_record(order.order_id).await.unwrap();
            assert!(on_record.needs_attention, "{on_record:?}");
            let mut nameless = decided(&waiting, Decision::Skip);
            nameless.by = " ".to_owned();
            assert!(shop.decide(&handle, &nameless).await.is_err(), "nobody decided");
            shop.decide(&handle, &decided(&waiting, Decision::Retry)).await.unwrap();
            assert_eq!(ended(&handle).await, given_up(step), "{}", undo.name);
            shop.assert_clean_slate(order.order_id).await;
        }
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_person_can_go_on_without_an_undo_and_is_on_record_for_it(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    shop.resolve(&handle, Decision::Skip).await;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    let steps = shop.view(&handle).await.steps;
    let skipped = steps.iter().find(|step| step.step == StepName::CapturePayment.name());
    assert_eq!(skipped.map(|step| step.state), Some(StepState::Skipped));
    let decisions = shop.data_of(order.order_id, "order.attention-resolved").await;
    let expected = json!({
        "step": "capture-payment", "occurrence": 1, "decision": "skip", "by": "Ada",
        "why": "the cause is known",
    });
    assert_eq!(decisions, [expected]);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_by_signal_is_taken_like_one_by_update(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "ReleaseStock", Fault::Broken(1));
    let handle = shop.place(&order).await;
    let waiting = shop.until_needs_attention(&handle).await;
    let payload = signal_payload(&decided(&waiting, Decision::Retry)).unwrap();
    handle.signal(OrderSaga::resolve_signal, payload, Default::default()).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_is_on_record_whatever_characters_it_has(db: PgPool) {
    let shop = Shop::open(db).await;
    for by_signal in [true, false] {
        let order = order();
        shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
        shop.faults.plan(order.order_id, "ReleaseStock", Fault::Broken(1));
        let handle = shop.place(&order).await;
        let mut decision = decided(&shop.until_needs_attention(&handle).await, Decision::Retry);
        (decision.by, decision.why) = ("E\u{0}va".to_owned(), "a\u{0}b\nc".to_owned());
        if by_signal {
            let payload = signal_payload(&decision).unwrap();
            handle.signal(OrderSaga::resolve_signal, payload, Default::default()).await.unwrap();
        } else {
            shop.decide(&handle, &decision).await.unwrap();
        }
        assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
        let told = shop.data_of(order.order_id, "order.attention-resolved").await;
        assert_eq!([&told[0]["by"], &told[0]["why"]], ["E va", "a b c"]);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn past_the_point_of_no_return_a_broken_step_waits_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let all =
        unstoppable().flat_map(|step| [Decision::Retry, Decision::Skip].map(|one| (step, one)));
    join_all(all.map(|(step, decision)| {
        let shop = &shop;
        async move {
            let order = order();
            shop.faults.plan(order.order_id, step.name, Fault::Broken(1));
            let handle = shop.place(&order).await;
            shop.resolve(&handle, decision).await;
            assert_eq!(ended(&handle).await, OrderStatus::Completed, "{}", step.name);
            let on_record = shop.status_on_record(order.order_id).await;
            assert_eq!(on_record.as_deref(), Some("completed"), "{decision}");
        }
    }))
    .await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_note_that_cannot_be_written_waits_for_a_decision_about_the_record(db: PgPool) {
    let shop = Shop::open(db).await;
    let notes = CONTRACTS.iter().filter(|contract| contract.role == Role::Notes);
    let all = notes.flat_map(|note| [Decision::Retry, Decision::Skip].map(|one| (note, one)));
    join_all(all.map(|(note, decision)| {
        let shop = &shop;
        async move {
            let order = order();
            shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
            // Causes the notes about a decision to be written, too.
            shop.faults.plan(order.order_id, "ReleaseStock", Fault::Broken(1));
            shop.faults.plan(order.order_id, note.name, Fault::Broken(1));
            let handle = shop.place(&order).await;
            let about_the_record = |waiting: &WaitingFor| waiting.step == "record";
            loop {
                let waiting = shop.until_needs_attention(&handle).await;
                if about_the_record(&waiting) {
                    shop.decide(&handle, &decided(&waiting, decision)).await.unwrap();
                    break;
                }
                shop.decide(&handle, &decided(&waiting, Decision::Retry)).await.unwrap();
            }
            let status = tokio::select! {
                status = ended(&handle) => status,
                never = shop.retry_whatever_waits(&handle) => never,
            };
            let expected = OrderStatus::Rejected { rejection: refusal() };
            assert_eq!(status, expected, "{} and {decision}", note.name);
            // Skipping the last note leaves an order that is open on record.
            if !(note.name == "NoteEnd" && decision == Decision::Skip) {
                let on_record = shop.status_on_record(order.order_id).await;
                assert_eq!(on_record.as_deref(), Some("rejected"), "{} and {decision}", note.name);
            }
            shop.assert_clean_slate(order.order_id).await;
        }
    }))
    .await;
    shop.close().await;
}

/// One cause breaks two undos. Two people, or one who clicks twice, decide about the first at the
/// same moment; the second still needs a decision.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_about_one_undo_never_decides_the_next(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    shop.faults.plan(order.order_id, "ReleaseStock", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    let first = shop.until_needs_attention(&handle).await;
    let skip = decided(&first, Decision::Skip);
    // Both ways at once, in one workflow task; or later, when the second waits.
    let payload = signal_payload(&skip).unwrap();
    let shop = shop
        .without_workflow_workers(async |_faults| {
            for _ in 0..2 {
                let payload = payload.clone();
                handle
                    .signal(OrderSaga::resolve_signal, payload, Default::default())
                    .await
                    .unwrap();
            }
        })
        .await;
    let second = shop.until_waiting_for(&handle, |waiting| waiting.occurrence != 1).await;
    assert_eq!(second.step, StepName::ReserveStock.name());
    handle.signal(OrderSaga::resolve_signal, payload, Default::default()).await.unwrap();
    assert!(shop.decide(&handle, &skip).await.unwrap_err().contains("occurrence 2"));
    assert_eq!(shop.view(&handle).await.waiting_for.as_ref(), Some(&second));
    shop.faults.heal(order.order_id, "ReleaseStock");
    shop.decide(&handle, &decided(&second, Decision::Retry)).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    let decisions = shop.data_of(order.order_id, "order.attention-resolved").await;
    let decisions: Vec<_> = decisions
        .iter()
        .map(|told| (told["step"].as_str(), told["occurrence"].as_u64(), told["decision"].as_str()))
        .collect();
    assert_eq!(
        decisions,
        [
            (Some("capture-payment"), Some(1), Some("skip")),
            (Some("reserve-stock"), Some(2), Some("retry")),
        ]
    );
    shop.assert_proven().await;
    shop.close().await;
}

/// The carrier has the parcel, and the shop never gets the answer. The customer cancels; the
/// carrier does not return the parcel.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_parcel_that_has_left_completes_its_order_although_it_was_cancelled(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.patience_seconds = None;
    for (call, behaviour) in
        [("purchase", "lost"), ("look-up", "not-found"), ("cancel", "has-left")]
    {
        shop.carrier_fails(&order, call, behaviour).await;
    }
    let handle = shop.place(&order).await;
    until_waiting(&handle).await;
    let answer = cancel(&handle, "too slow", &Gate::default()).await;
    assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
    shop.carrier_recovers(&order, "look-up").await;
    let waiting = shop.until_needs_attention(&handle).await;
    assert_eq!(waiting.step, StepName::ShipOrder.name());
    assert!(shop.on_record(order.order_id).await.unwrap().is_unwinding);
    shop.decide(&handle, &decided(&waiting, Decision::AcceptAsDone)).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    let on_record = shop.on_record(order.order_id).await.unwrap();
    let OnRecord { status, payment_status, fulfilment_status, is_unwinding, .. } = &on_record;
    assert_eq!([status, payment_status, fulfilment_status], ["completed", "paid", "shipped"]);
    assert!(!is_unwinding, "{on_record:?}");
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    shop.assert_proven().await;
    shop.close().await;
}

/// The label is bought, its answer is lost, and the carrier cancels the shipment before the shop
/// asks again.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_shipment_the_carrier_called_off_is_unwound_for_that_reason(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.patience_seconds = None;
    for (call, behaviour) in [("purchase", "lost"), ("look-up", "unavailable")] {
        shop.carrier_fails(&order, call, behaviour).await;
    }
    let handle = shop.place(&order).await;
    until_waiting(&handle).await;
    shop.carrier_calls_off().await;
    shop.carrier_recovers(&order, "look-up").await;
    let rejection = Rejection::CancelledByCarrier;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection });
    let OnRecord { status, payment_status, .. } = shop.on_record(order.order_id).await.unwrap();
    assert_eq!([status.as_str(), payment_status.as_str()], ["rejected", "refunded"]);
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// The run that completed the order is lost before Temporal records it, the next run gets a
/// cancellation first, and the parcel cannot be recalled: the order is completed a second time.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_a_lost_run_completed_is_completed_again_by_acceptance(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.carrier_fails(&order, "cancel", "has-left").await;
    let held = Gate::default();
    // Each quick attempt, so that none completes the order before the cancellation arrives.
    for _attempt in 0..QUICK_ATTEMPTS {
        shop.faults.plan(order.order_id, "RecogniseRevenue", Fault::HeldAfter(held.clone()));
    }
    let handle = shop.place(&order).await;
    held.reached().await;
    assert_eq!(shop.status_on_record(order.order_id).await.as_deref(), Some("completed"));
    let payload = signal_payload(&CancelRequest { reason: "overtaken".to_owned() }).unwrap();
    handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
    held.let_go();
    shop.resolve(&handle, Decision::AcceptAsDone).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    let on_record = shop.status_on_record(order.order_id).await;
    assert_eq!(on_record.as_deref(), Some("completed"));
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    shop.assert_proven().await;
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
            until_in_history(&handle, EventType::ActivityTaskCompleted, 1).await;
            handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
        })
        .await;
    // The next worker gets both at once, and the cancellation first.
    assert!(matches!(ended(&handle).await, OrderStatus::Cancelled { .. }));
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// A timer of the saga fires just before Temporal's request to cancel the order, and one workflow
/// task delivers both to the next worker. The SDK panics if the request has already cancelled the
/// timer, at every attempt of the task.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_cancelled_just_before_its_timer_fires_is_unwound(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut in_its_window = order();
    // Long enough to stop the workers before the timers fire.
    in_its_window.terms.cancel_window_seconds = 30;
    let orders = [in_its_window, to_be_approved(30)];
    let handles = join_all(orders.iter().map(|order| shop.place(order))).await;
    for handle in &handles {
        until_in_history(handle, EventType::TimerStarted, 1).await;
    }
    let shop = shop
        .without_workflow_workers(async |_faults| {
            for handle in &handles {
                let options = WorkflowCancelOptions::builder().reason("changed my mind").build();
                handle.cancel(options).await.unwrap();
            }
            for handle in &handles {
                until_in_history(handle, EventType::TimerFired, 1).await;
            }
        })
        .await;
    for (order, handle) in orders.iter().zip(&handles) {
        assert!(matches!(ended(handle).await, OrderStatus::Cancelled { .. }));
        let told = [EventType::WorkflowExecutionCancelRequested, EventType::TimerFired];
        let events = history(handle).await.events;
        let of_these = |kind: EventType| Some(kind).filter(|kind| told.contains(kind));
        let heard: Vec<_> =
            events.iter().filter_map(|event| of_these(event.event_type())).collect();
        assert_eq!(heard, told, "the timer fired before the cancel came");
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

/// A signal arrives at the server while a workflow task runs. The task is rejected when it tries to
/// complete the workflow, and runs again with the signal first: the saga then stops before steps
/// that have already taken effect in the lost run.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_that_overtakes_what_was_done_takes_it_back_all_the_same(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(steps().map(|step| async {
        let order = screened();
        let held = shop.faults.hold_quick(order.order_id, step.name);
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

/// All ways to cancel an order.
const CANCELS: [&str; 3] = ["update", "signal", "temporal"];

/// Cancels the order in this way.
async fn cancels(handle: &OrderHandle, way: &str, reason: &str) {
    let request = CancelRequest { reason: reason.to_owned() };
    match way {
        "update" => {
            let answer =
                handle.execute_update(OrderSaga::cancel, request, Default::default()).await;
            assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
        }
        "signal" => {
            let payload = signal_payload(&request).unwrap();
            handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
        }
        _ => {
            let options = WorkflowCancelOptions::builder().reason(reason).build();
            handle.cancel(options).await.unwrap();
        }
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn cancelling_in_time_means_the_same_by_update_signal_and_temporal(db: PgPool) {
    let shop = Shop::open(db).await;
    for way in CANCELS {
        let mut order = order();
        order.terms.cancel_window_seconds = 3_600;
        let handle = shop.place(&order).await;
        shop.until_event(order.order_id, "payment.authorised").await;
        cancels(&handle, way, way).await;
        assert_eq!(ended(&handle).await, OrderStatus::Cancelled { reason: way.to_owned() });
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_ends_cancelled_whatever_characters_the_reason_has(db: PgPool) {
    let shop = Shop::open(db).await;
    for way in CANCELS {
        let mut order = order();
        order.terms.cancel_window_seconds = 3_600;
        let handle = shop.place(&order).await;
        shop.until_event(order.order_id, "payment.authorised").await;
        let (reference, status) = ("pay\u{0}1".to_owned(), "\u{1b}[31mpaid\n".to_owned());
        let payload = signal_payload(&PartyUpdate { reference, status }).unwrap();
        handle.signal(OrderSaga::payment_update, payload, Default::default()).await.unwrap();
        cancels(&handle, way, "a\u{0}b\n# c").await;
        let end = OrderStatus::Cancelled { reason: "a b # c".to_owned() };
        assert_eq!(ended(&handle).await, end, "{way}");
        let told = shop.data_of(order.order_id, "order.cancelled").await;
        assert_eq!(told, [json!({ "reason": "a b # c" })], "{way}");
        let timeline = shop.view(&handle).await.timeline;
        let heard = "📨 payment_update: pay 1 is [31mpaid";
        assert!(timeline.iter().any(|entry| entry.text == heard), "{way}: {timeline:?}");
        let is_plain = |text: &str| !text.chars().any(char::is_control);
        assert!(timeline.iter().all(|entry| is_plain(&entry.text)), "{way}: {timeline:?}");
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

/// The payment's history, from the order's events.
async fn of_the_payment(shop: &Shop, order: &Order) -> Vec<String> {
    let events = shop.events_on_record(order.order_id).await.into_iter();
    events.filter(|event| event.starts_with("payment.")).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_is_taken_before_or_after_the_cancel_window_as_agreed(db: PgPool) {
    let shop = Shop::open(db).await;
    for (capture_at, until, moved) in [
        (CaptureAt::HandOver, "payment.authorised", ["payment.voided"].as_slice()),
        (CaptureAt::Placement, "ledger.posted", &["payment.captured", "payment.refunded"]),
    ] {
        let mut order = order();
        order.terms.capture_at = capture_at;
        order.terms.cancel_window_seconds = 3_600;
        let handle = shop.place(&order).await;
        shop.until_event(order.order_id, until).await;
        let options = WorkflowCancelOptions::builder().reason("changed my mind").build();
        handle.cancel(options).await.unwrap();
        let end = OrderStatus::Cancelled { reason: "changed my mind".to_owned() };
        assert_eq!(ended(&handle).await, end);
        let events = of_the_payment(&shop, &order).await;
        assert_eq!(events[0], "payment.authorised");
        assert_eq!(&events[1..], moved, "{capture_at:?}");
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_costs_nothing_ships_and_moves_no_money(db: PgPool) {
    let shop = Shop::open(db).await;
    let free = |mut order: Order| {
        let nothing = Money::zero(order.totals.total.currency()).unwrap();
        order.totals = Totals {
            discount: order.totals.subtotal,
            shipping: nothing,
            tax: nothing,
            total: nothing,
            ..order.totals
        };
        order
    };
    let (sold, mut given) = (free(order()), free(order()));
    // The goods have no cost either.
    given.cost_of_goods = given.totals.total;
    for order in [&sold, &given] {
        assert_eq!(ended(&shop.place(order).await).await, OrderStatus::Completed);
        assert!(of_the_payment(&shop, order).await.is_empty());
        assert_eq!(shop.traces(order.order_id).await.parcels, 1);
    }
    let unwound = free(order());
    shop.faults.plan(unwound.order_id, "ShipOrder", Fault::Refused(refusal()));
    let end = OrderStatus::Rejected { rejection: refusal() };
    assert_eq!(ended(&shop.place(&unwound).await).await, end);
    shop.assert_clean_slate(unwound.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn while_a_refund_waits_for_a_person_the_books_show_what_is_held(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    let waiting = shop.until_needs_attention(&handle).await;
    assert_eq!(waiting.step, StepName::CapturePayment.name());
    let traces = shop.traces(order.order_id).await;
    assert!(traces.is_owed && traces.payments == 1, "{traces:?}");
    shop.faults.heal(order.order_id, "RefundPayment");
    shop.decide(&handle, &decided(&waiting, Decision::Retry)).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(order.order_id).await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn money_whose_authorisation_is_about_to_expire_is_set_aside_anew(db: PgPool) {
    let shop = Shop::open(db).await;
    let (sold, unwound) = (order_paid_by("tok_expires_60"), order_paid_by("tok_expires_60"));
    shop.faults.plan(unwound.order_id, "ShipOrder", Fault::Refused(refusal()));
    assert_eq!(ended(&shop.place(&sold).await).await, OrderStatus::Completed);
    let again = ["payment.authorised", "payment.authorised", "payment.captured"];
    assert_eq!(of_the_payment(&shop, &sold).await, again);
    assert_eq!(shop.traces(sold.order_id).await, Traces::of_a_sale());
    let end = OrderStatus::Rejected { rejection: refusal() };
    assert_eq!(ended(&shop.place(&unwound).await).await, end);
    shop.assert_clean_slate(unwound.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_that_waits_can_be_called_off(db: PgPool) {
    let shop = Shop::open(db).await;
    join_all(pairs().map(|(step, _)| async {
        let mut order = screened();
        order.terms.patience_seconds = None;
        shop.faults.plan(order.order_id, step.name, Fault::AnswerLost(FOR_EVER));
        let handle = shop.place(&order).await;
        until_waiting(&handle).await;
        let request = CancelRequest { reason: "too slow".to_owned() };
        let answer = handle.execute_update(OrderSaga::cancel, request, Default::default()).await;
        assert_eq!(answer.unwrap(), CancelDecision::Unwinding, "{}", step.name);
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
    // The books are broken for now, so the workflow stays open after the hand-over.
    shop.faults.plan(order.order_id, "RecogniseRevenue", Fault::Unavailable(FOR_EVER));
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "order.shipped").await;
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
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_with_news_is_asked_again_at_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let news = PartyUpdate { reference: "pay_1".to_owned(), status: "succeeded".to_owned() };
    for step in ["AuthorisePayment", "ShipOrder"] {
        let mut order = order();
        order.terms.patience_seconds = None;
        shop.faults.plan(order.order_id, step, Fault::Unavailable(FOR_EVER));
        let handle = shop.place(&order).await;
        until_waiting(&handle).await;
        let payload = signal_payload(&news).unwrap();
        match step {
            "AuthorisePayment" => {
                handle.signal(OrderSaga::payment_update, payload, Default::default()).await
            }
            _ => handle.signal(OrderSaga::shipment_update, payload, Default::default()).await,
        }
        .unwrap();
        // Nothing is repaired until the notification alone has caused a retry.
        until_asked(&handle, 2).await;
        shop.faults.heal(order.order_id, step);
        assert_eq!(ended(&handle).await, OrderStatus::Completed);
    }
    shop.assert_proven().await;
    shop.close().await;
}

/// A provider or carrier repeats a hint until it is acknowledged, and hints arrive out of order.
/// The state of payment and parcel is queried; a hint's content is never trusted.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn hints_that_come_five_times_and_in_the_wrong_order_change_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    let undisturbed = order();
    let mut order = order();
    order.terms.patience_seconds = None;
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(FOR_EVER));
    let handle = shop.place(&order).await;
    until_waiting(&handle).await;
    for status in ["delivered", "refunded", "captured", "voided", "drafted"] {
        let news = PartyUpdate { reference: "another".to_owned(), status: status.to_owned() };
        for _ in 0..5 {
            let payload = || signal_payload(&news).unwrap();
            let none = Default::default;
            handle.signal(OrderSaga::payment_update, payload(), none()).await.unwrap();
            handle.signal(OrderSaga::shipment_update, payload(), none()).await.unwrap();
        }
    }
    shop.faults.heal(order.order_id, "ShipOrder");
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    assert_eq!(ended(&shop.place(&undisturbed).await).await, OrderStatus::Completed);
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    let events = shop.events_on_record(undisturbed.order_id).await;
    assert_eq!(shop.events_on_record(order.order_id).await, events);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_signal_that_cannot_be_read_leaves_a_line_and_nothing_else(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    let none = Default::default;
    handle.signal(OrderSaga::cancel_signal, unreadable(), none()).await.unwrap();
    handle.signal(OrderSaga::payment_update, unreadable(), none()).await.unwrap();
    handle.signal(OrderSaga::shipment_update, unreadable(), none()).await.unwrap();
    handle.signal(OrderSaga::resolve_signal, unreadable(), none()).await.unwrap();
    let view = shop.view(&handle).await;
    let ignored = view.timeline.iter().filter(|entry| entry.text.contains("was ignored")).count();
    assert_eq!((ignored, view.status), (4, OrderStatus::Processing));
    shop.close().await;
}

/// The number of the order's updates in its history.
async fn updates_taken(handle: &support::OrderHandle) -> usize {
    let taken = EventType::WorkflowExecutionUpdateAccepted;
    history(handle).await.events.iter().filter(|event| event.event_type() == taken).count()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_update_that_cannot_be_read_is_refused_and_leaves_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.cancel_window_seconds = 3_600;
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.authorised").await;
    for name in ["cancel", "pay", "resolve", "never-heard-of"] {
        let update = UntypedUpdate::new(name);
        let refused = handle.execute_update(update, unreadable(), Default::default()).await;
        assert!(matches!(refused, Err(WorkflowUpdateError::Failed(_))), "{name}: {refused:?}");
    }
    assert_eq!(updates_taken(&handle).await, 0);
    let answer = cancel(&handle, "changed my mind", &Gate::default()).await;
    assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
    assert!(matches!(ended(&handle).await, OrderStatus::Cancelled { .. }));
    shop.assert_proven().await;
    shop.close().await;
}

/// Temporal accepts 2,000 updates per run. Endless cancellations use up some of them, and a person
/// can still decide.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_cancelled_without_end_still_takes_a_decision(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    shop.faults.plan(order.order_id, "RefundPayment", Fault::Broken(FOR_EVER));
    let handle = shop.place(&order).await;
    let waiting = shop.until_needs_attention(&handle).await;
    let most = usize::try_from(MESSAGES_MAX).unwrap();
    let request = CancelRequest { reason: "again".to_owned() };
    for number in 0..most {
        let update =
            handle.execute_update(OrderSaga::cancel, request.clone(), Default::default()).await;
        assert_eq!(update.unwrap(), CancelDecision::AlreadyUnwinding, "cancel {number}");
    }
    for _ in 0..5 {
        let update =
            handle.execute_update(OrderSaga::cancel, request.clone(), Default::default()).await;
        let refused = format!("{:?}", update.unwrap_err());
        assert!(refused.contains(CANCELLED_BEFORE), "{refused}");
    }
    assert_eq!(updates_taken(&handle).await, most);
    for _ in 0..most.saturating_mul(2) {
        let payload = signal_payload(&request).unwrap();
        handle.signal(OrderSaga::cancel_signal, payload, Default::default()).await.unwrap();
    }
    let view = shop.view(&handle).await;
    let refused = |text: &str| text.starts_with("✘ ship-order");
    assert!(view.timeline.iter().any(|entry| refused(&entry.text)), "{:?}", view.timeline);
    shop.faults.heal(order.order_id, "RefundPayment");
    shop.decide(&handle, &decided(&waiting, Decision::Retry)).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// Each idempotent notification about a payment counts once, however often it is sent.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_told_of_payments_without_end_still_takes_a_cancel(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = to_be_approved(3_600);
    let handle = shop.place(&order).await;
    until_its_the_customers_turn(&shop, &handle).await;
    let most = usize::try_from(MESSAGES_MAX).unwrap();
    for number in 0..most.saturating_add(5) {
        let replaced = PaymentReplaced { attempt: 2 };
        let update = handle.execute_update(OrderSaga::pay, replaced, Default::default()).await;
        assert_eq!(update.is_ok(), number < most, "payment {number}");
    }
    assert_eq!(updates_taken(&handle).await, most);
    let answer = cancel(&handle, "changed my mind", &Gate::default()).await;
    assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
    assert!(matches!(ended(&handle).await, OrderStatus::Cancelled { .. }));
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// The goods are sold to others while the paid order waits for its carrier.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_paid_for_and_whose_goods_are_gone_is_refunded(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order();
    order.terms.patience_seconds = None;
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Unavailable(FOR_EVER));
    let handle = shop.place(&order).await;
    until_waiting(&handle).await;
    shop.reservation_is_over(&order).await;
    assert_eq!(activities::stock::release_expired(&shop.db, 10).await.unwrap(), 1);
    shop.faults.heal(order.order_id, "ShipOrder");
    let rejection = Rejection::ReservationExpired;
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection });
    let on_record = shop.on_record(order.order_id).await.unwrap();
    assert_eq!(on_record.payment_status, "refunded");
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// An order for three pieces of an article that is sold only in this currency.
async fn order_in(shop: &Shop, currency: Currency, price: &str) -> Order {
    let money = |amount: &str| Money::new(amount.parse().unwrap(), currency).unwrap();
    let (sku, unit_price) = (Sku::parse(currency.code()).unwrap(), money(price));
    let article = Article { sku: sku.clone(), name: sku.to_string(), unit_price };
    let stocking = Stocking { cost_percent: COST_PERCENT.into(), pieces: ON_HAND };
    activities::catalogue::load(&shop.db, &[article], stocking).await.unwrap();
    let (britain, mut rates) = (CountryCode::parse("GB").unwrap(), RateTable::default());
    rates.sell_to(britain, 20.into());
    rates.ship_to(britain, ShippingRate { fee: money("5"), free_from: None });
    let unit_cost = unit_price.percent(COST_PERCENT.into()).unwrap();
    let basket = [(PricedSku { sku, unit_price, unit_cost }, Quantity::new(3).unwrap())];
    let PriceList { lines, totals, cost_of_goods } =
        PriceList::of(&basket, None, britain, &rates).unwrap();
    Order { lines, totals, cost_of_goods: cost_of_goods.unwrap(), ..order() }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_paid_for_and_booked_to_the_smallest_coin_of_its_currency(db: PgPool) {
    let shop = Shop::open(db).await;
    for (currency, price, total) in [
        (Currency::JPY, "1201", "4330 JPY"),
        (Currency::KWD, "1.234", "10.442 KWD"),
        (Currency::BHD, "0.005", "6.018 BHD"),
    ] {
        let order = order_in(&shop, currency, price).await;
        assert_eq!(order.totals.total.to_string(), total);
        assert_eq!(ended(&shop.place(&order).await).await, OrderStatus::Completed, "{total}");
        assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale(), "{total}");
        let booked: String = sqlx::query_scalar(
            "select sum(amount)::text || ' ' || currency
             from ledger.entries join ledger.transactions using (transaction_id)
             where order_id = $1 and account = 'payment-clearing' group by currency",
        )
        .bind(order.order_id.uuid())
        .fetch_one(&shop.db)
        .await
        .unwrap();
        assert_eq!(booked, total);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_second_workflow_of_the_same_order_answers_as_the_first_and_does_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    for token in ["tok_visa", "tok_declined"] {
        let order = order_paid_by(token);
        let first = ended(&shop.place(&order).await).await;
        let before =
            (shop.traces(order.order_id).await, shop.events_on_record(order.order_id).await);
        // The tests' reuse policy allows what the starter's forbids.
        let second = ended(&shop.launch(&order, None).await).await;
        assert_eq!(first, second);
        let after =
            (shop.traces(order.order_id).await, shop.events_on_record(order.order_id).await);
        assert_eq!(before, after);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_workflow_of_an_order_that_is_not_on_record_does_nothing_and_says_so(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    let status = ended(&shop.launch(&order, None).await).await;
    let OrderStatus::Failed { incident } = status else { panic!("ended as {status:?}") };
    assert!(incident.contains("nothing was done"), "{incident}");
    assert!(incident.contains("is not on record"), "{incident}");
    shop.assert_clean_slate(order.order_id).await;
    let calls: Vec<_> = shop.faults.calls_of(order.order_id).into_keys().collect();
    assert_eq!(calls, ["ReserveStock"], "what was asked for");
    let traces: i64 = sqlx::query_scalar("select count(*) from orders.step_keys")
        .fetch_one(&shop.db)
        .await
        .unwrap();
    assert_eq!(traces, 0);
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_workflow_of_an_order_that_was_cancelled_before_its_launch_answers_that(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    shop.put_on_record(&order).await;
    let cancelled: bool =
        sqlx::query_scalar("select orders.cancel_before_launch($1, 'changed my mind')")
            .bind(order.order_id.uuid())
            .fetch_one(&shop.db)
            .await
            .unwrap();
    assert!(cancelled);
    let reason = "changed my mind".to_owned();
    let status = ended(&shop.launch(&order, None).await).await;
    assert_eq!(status, OrderStatus::from(Ending::Cancelled { reason }));
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// An order whose payment the customer has to approve within this many seconds.
fn to_be_approved(seconds: u32) -> Order {
    let mut order = order_paid_by("tok_needs_customer");
    order.terms.approval_seconds = seconds;
    order
}

/// The customer approves the waiting payment; returns whether there is one.
async fn approves(shop: &Shop, order: &Order) -> bool {
    sqlx::query_scalar("select sandbox_provider.answer_as_customer($1, true)")
        .bind(order.order_id.uuid())
        .fetch_one(&shop.db)
        .await
        .unwrap()
}

/// The provider notifies the order that the payment has changed.
async fn tells_of_the_payment(handle: &support::OrderHandle) {
    let news = PartyUpdate { reference: "pay_1".to_owned(), status: "authorised".to_owned() };
    let payload = signal_payload(&news).unwrap();
    handle.signal(OrderSaga::payment_update, payload, Default::default()).await.unwrap();
}

/// The starter records another payment method; returns the result.
async fn replaces_payment(shop: &Shop, order: &Order, token: &str, key: &str) -> String {
    let starter = testkit::as_role(&shop.db, "ordersaga_starter");
    let outcome = sqlx::query_scalar("select outcome from payments.replace_method($1, $2, $3)")
        .bind(order.order_id.uuid())
        .bind(token)
        .bind(key)
        .fetch_one(&starter)
        .await
        .unwrap();
    starter.close().await;
    outcome
}

const NOT_APPROVED: OrderStatus =
    OrderStatus::Rejected { rejection: Rejection::PaymentNotApproved };

/// Waits until the order's workflow waits for its customer.
async fn until_its_the_customers_turn(shop: &Shop, handle: &support::OrderHandle) {
    let waits = |view: &OrderView| view.steps.iter().any(|step| step.state == StepState::Waiting);
    shop.until_view(handle, waits).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_customer_approves_in_time_completes(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = to_be_approved(3_600);
    let handle = shop.place(&order).await;
    until_its_the_customers_turn(&shop, &handle).await;
    assert_eq!(shop.view(&handle).await.waiting_for, None, "nobody is asked to decide");
    shop.assert_proven().await;
    assert!(approves(&shop, &order).await);
    tells_of_the_payment(&handle).await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    let events = ["payment.awaiting-customer", "payment.authorised", "payment.captured"];
    assert_eq!(of_the_payment(&shop, &order).await, events);
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    // Payloads are printed as bytes.
    let history = format!("{:?}", history(&handle).await);
    let link = format!("{:?}", b"sandbox.example".as_slice());
    let link = link.trim_matches(['[', ']']);
    assert!(!history.contains("sandbox.example") && !history.contains(link));
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_nobody_approves_is_rejected_and_its_payment_voided(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = to_be_approved(1);
    let handle = shop.place(&order).await;
    assert_eq!(ended(&handle).await, NOT_APPROVED);
    assert!(!approves(&shop, &order).await, "a late approval found a payment");
    shop.assert_clean_slate(order.order_id).await;
    let events = ["payment.awaiting-customer", "payment.expired"];
    assert_eq!(of_the_payment(&shop, &order).await, events);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_approval_at_the_deadline_counts_before_the_last_question_and_not_after(db: PgPool) {
    let shop = Shop::open(db).await;
    let (in_time, too_late) = (to_be_approved(1), to_be_approved(1));
    let (before, after) = (Gate::default(), Gate::default());
    // At the second query of the payment, the customer's time is over.
    let held = Fault::HeldBefore(before.clone());
    shop.faults.plan_at(in_time.order_id, "AuthorisePayment", 1, held);
    let held = Fault::HeldAfter(after.clone());
    shop.faults.plan_at(too_late.order_id, "AuthorisePayment", 1, held);
    let handles = (shop.place(&in_time).await, shop.place(&too_late).await);

    before.reached().await;
    assert!(approves(&shop, &in_time).await);
    before.let_go();
    assert_eq!(ended(&handles.0).await, OrderStatus::Completed);
    assert_eq!(shop.traces(in_time.order_id).await, Traces::of_a_sale());

    after.reached().await;
    assert!(!approves(&shop, &too_late).await);
    after.let_go();
    assert_eq!(ended(&handles.1).await, NOT_APPROVED);
    shop.assert_clean_slate(too_late.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_while_the_customer_is_waited_for_unwinds_at_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = to_be_approved(3_600);
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.awaiting-customer").await;
    let request = CancelRequest { reason: "changed my mind".to_owned() };
    let answer = handle.execute_update(OrderSaga::cancel, request, Default::default()).await;
    assert_eq!(answer.unwrap(), CancelDecision::Unwinding);
    let reason = "changed my mind".to_owned();
    assert_eq!(ended(&handle).await, OrderStatus::Cancelled { reason });
    assert!(!approves(&shop, &order).await);
    shop.assert_clean_slate(order.order_id).await;
    let events = ["payment.awaiting-customer", "payment.voided"];
    assert_eq!(of_the_payment(&shop, &order).await, events);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_its_customer_outlives_its_worker(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = to_be_approved(3_600);
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.awaiting-customer").await;
    let db = shop.db.clone();
    let shop = shop
        .without_workflow_workers(async |_faults| {
            let approved: bool =
                sqlx::query_scalar("select sandbox_provider.answer_as_customer($1, true)")
                    .bind(order.order_id.uuid())
                    .fetch_one(&db)
                    .await
                    .unwrap();
            assert!(approved);
            tells_of_the_payment(&handle).await;
        })
        .await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_payment_that_is_replaced_completes_the_order_with_one_capture(db: PgPool) {
    let shop = Shop::open(db).await;
    // By update, and by the signal that is used if no worker answers.
    for way in ["update", "signal"] {
        let mut order = order_paid_by("tok_declined");
        order.terms.payment_retry_seconds = 3_600;
        let handle = shop.place(&order).await;
        until_its_the_customers_turn(&shop, &handle).await;
        assert_eq!(replaces_payment(&shop, &order, "tok_visa", "k").await, "replaced");
        assert_eq!(replaces_payment(&shop, &order, "tok_visa", "k").await, "repeated");
        if way == "update" {
            let replaced = PaymentReplaced { attempt: 2 };
            handle.execute_update(OrderSaga::pay, replaced, Default::default()).await.unwrap();
        } else {
            tells_of_the_payment(&handle).await;
        }
        assert_eq!(ended(&handle).await, OrderStatus::Completed, "{way}");
        let events = ["payment.declined", "payment.authorised", "payment.captured"];
        assert_eq!(of_the_payment(&shop, &order).await, events);
        assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
        assert_eq!(replaces_payment(&shop, &order, "tok_other", "l").await, "not-waiting");
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_payment_that_nobody_replaces_rejects_the_order_as_declined(db: PgPool) {
    let shop = Shop::open(db).await;
    let declined = Rejection::CardDeclined { decline_code: "insufficient_funds".to_owned() };
    for seconds in [0, 1] {
        let mut order = order_paid_by("tok_declined");
        order.terms.payment_retry_seconds = seconds;
        let end = OrderStatus::Rejected { rejection: declined.clone() };
        assert_eq!(ended(&shop.place(&order).await).await, end, "{seconds} s");
        assert_eq!(of_the_payment(&shop, &order).await, ["payment.declined"]);
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_replaced_payment_is_let_go_when_the_order_is_unwound(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut order = order_paid_by("tok_declined");
    order.terms.payment_retry_seconds = 3_600;
    shop.faults.plan(order.order_id, "ShipOrder", Fault::Refused(refusal()));
    let handle = shop.place(&order).await;
    until_its_the_customers_turn(&shop, &handle).await;
    assert_eq!(replaces_payment(&shop, &order, "tok_visa", "k").await, "replaced");
    let replaced = PaymentReplaced { attempt: 2 };
    handle.execute_update(OrderSaga::pay, replaced, Default::default()).await.unwrap();
    assert_eq!(ended(&handle).await, OrderStatus::Rejected { rejection: refusal() });
    shop.assert_clean_slate(order.order_id).await;
    shop.assert_proven().await;
    shop.close().await;
}

/// Makes every order wait for a review before its payment; `otherwise` is the decision without a
/// reviewer.
async fn everything_is_reviewed(shop: &Shop, otherwise: &str) {
    let rules = json!({
        "review_at": 1, "decline_at": 2, "review_default": otherwise,
        "rules": [{
            "name": "everything", "mode": "active", "effect": { "verdict": "review" },
            "when": { "amount-above": { "amount": "0.01", "currency": "GBP" } },
        }],
    });
    let _version: i32 = sqlx::query_scalar(
        "with added as (insert into fraud.rule_sets (rules) values ($1) returning version)
         insert into fraud.activations (rule_set) select version from added returning rule_set",
    )
    .bind(rules)
    .fetch_one(&shop.db)
    .await
    .unwrap();
}

/// A person decides about the order, recorded like by the starter; returns the result.
async fn decides_review(db: &PgPool, order: &Order, decision: &str) -> String {
    let starter = testkit::as_role(db, "ordersaga_starter");
    let outcome = sqlx::query_scalar("select outcome from fraud.decide($1, $2, 'Ada', 'seen it')")
        .bind(order.order_id.uuid())
        .bind(decision)
        .fetch_one(&starter)
        .await
        .unwrap();
    starter.close().await;
    outcome
}

/// Notifies the order in this way that a decision is recorded.
async fn tells_of_the_review(handle: &OrderHandle, way: &str, attempt: u32) {
    let reviewed = Reviewed { attempt };
    if way == "update" {
        handle.execute_update(OrderSaga::review, reviewed, Default::default()).await.unwrap();
    } else {
        let payload = signal_payload(&reviewed).unwrap();
        handle.signal(OrderSaga::review_signal, payload, Default::default()).await.unwrap();
    }
}

/// Waits until the order's workflow waits for a review.
async fn until_it_is_reviewed(shop: &Shop, handle: &OrderHandle) {
    let name = StepName::ScreenOrder.name();
    let waits = |view: &OrderView| {
        view.steps.iter().any(|step| step.step == name && step.state == StepState::Waiting)
    };
    shop.until_view(handle, waits).await;
}

const SCREENED_OUT: OrderStatus = OrderStatus::Rejected { rejection: Rejection::ScreeningDeclined };

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_a_person_approves_goes_on_and_ships(db: PgPool) {
    let shop = Shop::open(db).await;
    everything_is_reviewed(&shop, "decline").await;
    // By update, and by the signal that is used if no worker answers.
    for way in ["update", "signal"] {
        let order = screened();
        let handle = shop.place(&order).await;
        until_it_is_reviewed(&shop, &handle).await;
        assert_eq!(shop.view(&handle).await.waiting_for, None, "it is no attention entry");
        assert!(of_the_payment(&shop, &order).await.is_empty(), "the bank was asked before");
        shop.assert_proven().await;
        // A notification without a recorded decision decides nothing.
        tells_of_the_review(&handle, way, 1).await;
        until_it_is_reviewed(&shop, &handle).await;
        assert_eq!(decides_review(&shop.db, &order, "approve").await, "decided");
        tells_of_the_review(&handle, way, 1).await;
        assert_eq!(ended(&handle).await, OrderStatus::Completed, "{way}");
        assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
        let reviewed = shop.data_of(order.order_id, "order.reviewed").await;
        assert_eq!(reviewed, [json!({ "decision": "approve", "by_default": false })]);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_a_person_declines_is_rejected_and_its_goods_are_free(db: PgPool) {
    let shop = Shop::open(db).await;
    everything_is_reviewed(&shop, "approve").await;
    let order = screened();
    let handle = shop.place(&order).await;
    until_it_is_reviewed(&shop, &handle).await;
    assert_eq!(decides_review(&shop.db, &order, "decline").await, "decided");
    tells_of_the_review(&handle, "update", 1).await;
    assert_eq!(ended(&handle).await, SCREENED_OUT);
    assert!(of_the_payment(&shop, &order).await.is_empty());
    let events = shop.events_on_record(order.order_id).await;
    assert!(events.contains(&"stock.released".to_owned()), "{events:?}");
    shop.assert_clean_slate(order.order_id).await;
    // No event contains the signs of fraud.
    for event in ["order.unwinding", "order.rejected"] {
        let told = json!(shop.data_of(order.order_id, event).await).to_string();
        assert!(told.contains("screening-declined") && !told.contains("everything"), "{told}");
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_at_which_nobody_looks_ends_as_the_rules_have_it(db: PgPool) {
    let shop = Shop::open(db).await;
    for (otherwise, end) in [("approve", OrderStatus::Completed), ("decline", SCREENED_OUT)] {
        everything_is_reviewed(&shop, otherwise).await;
        let mut order = screened();
        order.terms.screening = Some(Screening { review_seconds: 1 });
        assert_eq!(ended(&shop.place(&order).await).await, end, "{otherwise}");
        let reviewed = shop.data_of(order.order_id, "order.reviewed").await;
        assert_eq!(reviewed, [json!({ "decision": otherwise, "by_default": true })]);
        assert_eq!(decides_review(&shop.db, &order, otherwise).await, "not-waiting");
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_cancel_while_a_review_is_waited_for_unwinds_at_once(db: PgPool) {
    let shop = Shop::open(db).await;
    everything_is_reviewed(&shop, "approve").await;
    for way in CANCELS {
        let order = screened();
        let handle = shop.place(&order).await;
        until_it_is_reviewed(&shop, &handle).await;
        cancels(&handle, way, way).await;
        assert_eq!(ended(&handle).await, OrderStatus::Cancelled { reason: way.to_owned() });
        assert_eq!(decides_review(&shop.db, &order, "approve").await, "not-waiting");
        shop.assert_clean_slate(order.order_id).await;
    }
    shop.assert_proven().await;
    shop.close().await;
}

/// The provider authorises the payment and reports a risk: a person reviews the order before the
/// capture.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_risky_payment_is_looked_at_before_it_is_captured(db: PgPool) {
    let shop = Shop::open(db).await;
    for (capture_at, decision, end, moved) in [
        (CaptureAt::HandOver, "approve", OrderStatus::Completed, "payment.captured"),
        (CaptureAt::Placement, "approve", OrderStatus::Completed, "payment.captured"),
        (CaptureAt::HandOver, "decline", SCREENED_OUT, "payment.voided"),
        (CaptureAt::Placement, "decline", SCREENED_OUT, "payment.voided"),
    ] {
        let mut order = screened_paid_by("tok_risk_elevated");
        order.terms.capture_at = capture_at;
        let handle = shop.place(&order).await;
        until_it_is_reviewed(&shop, &handle).await;
        assert_eq!(of_the_payment(&shop, &order).await, ["payment.authorised"]);
        assert_eq!(decides_review(&shop.db, &order, decision).await, "decided");
        tells_of_the_review(&handle, "update", 2).await;
        assert_eq!(ended(&handle).await, end, "{capture_at:?}");
        assert_eq!(of_the_payment(&shop, &order).await, ["payment.authorised", moved]);
    }
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_a_review_outlives_its_worker(db: PgPool) {
    let shop = Shop::open(db).await;
    everything_is_reviewed(&shop, "decline").await;
    let order = screened();
    let handle = shop.place(&order).await;
    until_it_is_reviewed(&shop, &handle).await;
    let db = shop.db.clone();
    let shop = shop
        .without_workflow_workers(async |_faults| {
            assert_eq!(decides_review(&db, &order, "approve").await, "decided");
            tells_of_the_review(&handle, "signal", 1).await;
        })
        .await;
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    assert_eq!(shop.traces(order.order_id).await, Traces::of_a_sale());
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_terms_do_not_ask_for_it_is_not_screened(db: PgPool) {
    let shop = Shop::open(db).await;
    everything_is_reviewed(&shop, "decline").await;
    let order = order();
    assert_eq!(ended(&shop.place(&order).await).await, OrderStatus::Completed);
    let calls: Vec<_> = shop.faults.calls_of(order.order_id).into_keys().collect();
    assert!(!calls.contains(&"ScreenOrder".to_owned()), "{calls:?}");
    shop.assert_proven().await;
    shop.close().await;
}

/// Waits until the order has a regular activity in progress.
async fn until_waiting(handle: &support::OrderHandle) {
    until_asked(handle, 1).await;
}

/// Waits until this many regular activities have been scheduled.
async fn until_asked(handle: &support::OrderHandle, times: usize) {
    until_in_history(handle, EventType::ActivityTaskScheduled, times).await;
}
