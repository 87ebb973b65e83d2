//! Events of an order are recorded once, and nothing is done for an order that is not open.

use activities::{ActivityFault, orders};
use chrono::{DateTime, Utc};
use domain::event::Completed;
use domain::{Decision, Ending, Order, OrderStatus, Rejection, StepName};
use metrics_exporter_prometheus::PrometheusBuilder;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use workflows::order::{AttentionNote, EndNote, ResolvedNote, UnwindingNote};

use crate::support::{HEART, RUN, Shop, cancelled, not_open, order, refusal};

async fn notes_unwinding(shop: &Shop, order: &Order, ending: &Ending, run: &str) -> Ending {
    try_note_unwinding(shop, order, ending, run).await.unwrap()
}

async fn try_note_unwinding(
    shop: &Shop,
    order: &Order,
    ending: &Ending,
    run: &str,
) -> Result<Ending, ActivityFault> {
    let note = UnwindingNote { order_id: order.order_id, ending: ending.clone() };
    orders::note_unwinding(&shop.db, &note, run).await
}

async fn notes_end(shop: &Shop, order: &Order, status: OrderStatus) -> OrderStatus {
    let note = EndNote { order_id: order.order_id, status };
    orders::note_end(&shop.db, &note).await.unwrap()
}

fn attention(order: &Order, run: &str, number: u32) -> AttentionNote {
    AttentionNote {
        order_id: order.order_id,
        run_id: run.to_owned(),
        number,
        step: StepName::CapturePayment,
        undoing: true,
        why: "the provider answers nonsense".to_owned(),
        decisions: vec![Decision::Retry, Decision::Skip],
    }
}

fn resolved(order: &Order, occurrence: u32, decision: Decision) -> ResolvedNote {
    ResolvedNote {
        order_id: order.order_id,
        step: StepName::CapturePayment,
        occurrence,
        decision,
        by: "Ada".to_owned(),
        why: "repaired".to_owned(),
    }
}

async fn shown_attention(shop: &Shop, order: &Order) -> Option<Value> {
    let shown = sqlx::query_scalar!(
        "select attention from orders.orders where order_id = $1",
        order.order_id.uuid(),
    );
    shown.fetch_one(&shop.db).await.unwrap()
}

/// The number of rows written for all orders.
async fn written(shop: &Shop) -> Value {
    sqlx::query_scalar!(
        r#"
        select jsonb_build_array(
            (select count(*) from orders.order_events),
            (select count(*) from orders.step_keys),
            (select count(*) from outbox.messages),
            (select count(*) from inventory.reservations),
            (select count(*) from ledger.transactions where order_id is not null),
            (select count(*) from payments.charges),
            (select count(*) from shipping.shipments),
            (select count(*) from sandbox_provider.payments),
            (select count(*) from sandbox_carrier.shipments)
        ) as "written!"
        "#
    )
    .fetch_one(&shop.db)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_of_an_order_that_is_not_on_record_does_nothing(db: PgPool) {
    let (shop, mut order) = (Shop::stocked(db).await, order(1));
    let another_version = Order { record_version: 2, ..crate::support::order(2) };
    shop.places(&crate::support::order(2)).await;
    let before = written(&shop).await;
    for _ in 0..2 {
        assert_eq!(not_open(shop.reserves(&order).await), None);
        assert_eq!(not_open(shop.charges(&order).await), None);
        assert_eq!(not_open(shop.posts(&order).await), None);
        assert_eq!(not_open(shop.ships(&order).await), None);
        assert_eq!(not_open(shop.recognises(&order).await), None);
        assert_eq!(not_open(shop.releases(&order).await), None);
        assert_eq!(not_open(shop.refunds(&order).await), None);
        assert_eq!(not_open(shop.reverses(&order).await), None);
        assert_eq!(not_open(shop.cancels_shipment(&order).await), None);
        assert_eq!(not_open(shop.accepts_shipment(&order).await), None);
        order = another_version.clone();
    }
    assert_eq!(written(&shop).await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_ends_once_however_often_that_is_noted(db: PgPool) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counted = recorder.handle();
    // Only for this test's thread, on which all of it runs.
    let _counting = metrics::set_default_local_recorder(&recorder);
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.ends(&order, cancelled("late")).await;
    notes_end(&shop, &order, cancelled("late").into()).await;
    let page = counted.render();
    let once = r#"ordersaga_orders_ended_total{status="cancelled"} 1"#;
    assert!(page.lines().any(|line| line == once), "{page}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_note_about_an_order_that_is_not_on_record_is_not_taken(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    let before = written(&shop).await;
    let unwinding = try_note_unwinding(&shop, &order, &cancelled("late"), "a").await;
    assert_eq!(not_open(unwinding), None);
    let end = EndNote { order_id: order.order_id, status: OrderStatus::Completed };
    assert_eq!(not_open(orders::note_end(&shop.db, &end).await), None);
    let needed = orders::note_attention(&shop.db, &attention(&order, "a", 1)).await;
    assert_eq!(not_open(needed), None);
    let decided = resolved(&order, 1, Decision::Retry);
    assert_eq!(not_open(orders::note_resolved(&shop.db, &decided).await), None);
    assert_eq!(written(&shop).await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_of_an_order_that_has_ended_does_nothing_and_says_how_it_ended(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.ends(&order, cancelled("by mistake")).await;
    let before = written(&shop).await;
    let ended = Some(json!({ "status": "cancelled", "reason": "by mistake" }));
    assert_eq!(not_open(shop.reserves(&order).await), ended);
    assert_eq!(not_open(shop.charges(&order).await), ended);
    assert_eq!(not_open(shop.posts(&order).await), ended);
    assert_eq!(not_open(shop.ships(&order).await), ended);
    assert_eq!(not_open(shop.recognises(&order).await), ended);
    assert_eq!(written(&shop).await, before);
}

/// A late shipment or payment is refused by the order's record, even if the undo is still to come,
/// or a person has skipped it.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_step_of_an_order_that_is_unwound_is_refused_before_its_undo_has_come(db: PgPool) {
    let (shop, [placed, paid]) = (Shop::stocked(db).await, [order(1), order(2)]);
    shop.places(&placed).await;
    shop.takes_up_to_posting(&paid).await;
    shop.unwinds(&placed).await;
    shop.unwinds(&paid).await;
    let before = written(&shop).await;
    let late = |step| Rejection::AlreadyUndone { step };
    assert_eq!(refusal(shop.reserves(&placed).await), late(StepName::ReserveStock));
    assert_eq!(refusal(shop.authorises(&placed).await), late(StepName::AuthorisePayment));
    assert_eq!(refusal(shop.captures(&placed).await), late(StepName::CapturePayment));
    assert_eq!(refusal(shop.posts(&placed).await), late(StepName::PostEntries));
    assert_eq!(refusal(shop.ships(&placed).await), late(StepName::ShipOrder));
    assert_eq!(refusal(shop.ships(&paid).await), late(StepName::ShipOrder));
    assert_eq!(refusal(shop.recognises(&paid).await), late(StepName::RecogniseRevenue));
    // Steps that have an answer return it again.
    shop.reserves(&paid).await.unwrap();
    shop.charges(&paid).await.unwrap();
    shop.posts(&paid).await.unwrap();
    assert_eq!(written(&shop).await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_repeated_step_of_an_order_that_has_ended_gives_its_first_answer(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    let shipment = shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    let before = written(&shop).await;
    shop.reserves(&order).await.unwrap();
    shop.charges(&order).await.unwrap();
    shop.posts(&order).await.unwrap();
    assert_eq!(shop.ships(&order).await.unwrap(), shipment);
    shop.recognises(&order).await.unwrap();
    assert_eq!(written(&shop).await, before);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_first_ending_of_an_order_that_is_unwound_counts(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let first = cancelled("changed my mind");
    let second = Ending::Rejected { rejection: Rejection::ReservationExpired };
    assert_eq!(notes_unwinding(&shop, &order, &first, "a").await, first);
    assert_eq!(notes_unwinding(&shop, &order, &first, "a").await, first);
    assert_eq!(notes_unwinding(&shop, &order, &second, "b").await, first);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "order.unwinding"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_two_runs_that_unwind_an_order_at_once_both_learn_the_same_ending(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let (one, another) = (cancelled("changed my mind"), cancelled("another reason"));
    let row = shop.holds_up_order(&order).await;
    let go_on = async {
        shop.until_waiting(2).await;
        row.commit().await.unwrap();
    };
    let (first, second, ()) = futures::join!(
        notes_unwinding(&shop, &order, &one, "a"),
        notes_unwinding(&shop, &order, &another, "b"),
        go_on,
    );
    assert_eq!(first, second);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "order.unwinding"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_first_end_of_an_order_counts(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let first = OrderStatus::from(cancelled("changed my mind"));
    let second = OrderStatus::Failed { incident: "i".to_owned() };
    assert_eq!(notes_end(&shop, &order, first.clone()).await, first);
    assert_eq!(notes_end(&shop, &order, first.clone()).await, first);
    assert_eq!(notes_end(&shop, &order, second).await, first);
    assert_eq!(shop.events_of(&order).await, ["order.placed", "order.cancelled"]);
    let late = try_note_unwinding(&shop, &order, &cancelled("late"), "a").await;
    assert_eq!(not_open(late), Some(serde_json::to_value(first).unwrap()));
    assert!(!shop.is_to_be_launched(&order).await, "what has ended is not launched");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_ends_as_completed_with_its_sale_booked(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    assert_eq!(shop.status_of(&order).await, "completed");
    assert_eq!(notes_end(&shop, &order, OrderStatus::Completed).await, OrderStatus::Completed);
    let events = shop.events_of(&order).await;
    assert!(events.ends_with(&["ledger.revenue-recognised".into(), "order.completed".into()]));
    assert_eq!(serde_json::to_value(Completed {}).unwrap(), json!({}));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn only_the_run_that_completed_an_order_takes_that_back(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    let ending = cancelled("changed my mind");
    let another_run = try_note_unwinding(&shop, &order, &ending, "another run").await;
    assert_eq!(not_open(another_run), Some(json!({ "status": "completed" })));
    assert_eq!(shop.status_of(&order).await, "completed");

    shop.unwinds(&order).await;
    assert_eq!(shop.status_of(&order).await, "processing");
    shop.cancels_shipment(&order).await.unwrap();
    shop.reverses_revenue(&order).await.unwrap();
    shop.reverses(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    shop.ends(&order, ending).await;
    assert_eq!(shop.status_of(&order).await, "cancelled");
    assert_eq!(shop.payment_of(&order).await, "refunded");
    assert_eq!(shop.fulfilment_of(&order).await, "cancelled");
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
    let booked = sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from (
            select account from ledger.entries join ledger.transactions using (transaction_id)
            where order_id is not null
            group by account
            having sum(case side when 'debit' then amount else -amount end) <> 0
        ) as left_over
        "#
    );
    assert_eq!(booked.fetch_one(&shop.db).await.unwrap(), 0, "everything booked is reversed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_parcel_was_delivered_is_taken_back_by_no_run(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    shop.recognises(&order).await.unwrap();
    let outcome = sqlx::query_scalar!(
        r#"select outcome as "outcome!" from orders.deliver($1, null, 'web-shop')"#,
        order.order_id.uuid(),
    );
    assert_eq!(outcome.fetch_one(&shop.owner).await.unwrap(), "recorded");
    let completing_run = try_note_unwinding(&shop, &order, &cancelled("late"), RUN).await;
    assert_eq!(not_open(completing_run), Some(json!({ "status": "completed" })));
    assert_eq!(shop.fulfilment_of(&order).await, "delivered");
    assert_eq!(shop.events_of(&order).await.last().unwrap(), "order.delivered");
}

/// A workflow task that has timed out posts the sale while its successor unwinds the order.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_sale_that_is_booked_late_does_not_complete_an_order_that_is_unwound(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    shop.unwinds(&order).await;
    let late = Rejection::AlreadyUndone { step: StepName::RecogniseRevenue };
    assert_eq!(refusal(shop.recognises(&order).await), late);
    assert_eq!(shop.status_of(&order).await, "processing");

    shop.cancels_shipment(&order).await.unwrap();
    shop.reverses_revenue(&order).await.unwrap();
    assert_eq!(refusal(shop.recognises(&order).await), late);
    shop.reverses(&order).await.unwrap();
    shop.refunds(&order).await.unwrap();
    shop.releases(&order).await.unwrap();
    shop.ends(&order, cancelled("changed my mind")).await;
    assert_eq!(shop.status_of(&order).await, "cancelled");
}

/// Records an event in a transaction that stays open.
async fn records(transaction: &mut PgConnection, order: &Order, event: &str, data: &Value) {
    sqlx::query!("select orders.record($1, $2, $3)", order.order_id.uuid(), event, data)
        .fetch_one(transaction)
        .await
        .unwrap();
}

/// The unwinding note holds the lock of the order's row when the sale is about to be posted.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_a_sale_and_an_unwinding_at_once_the_first_counts(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    shop.ships(&order).await.unwrap();
    let mut unwinding = shop.holds_up_order(&order).await;
    let notes = async {
        shop.until_waiting(1).await;
        let ending = json!({ "ending": cancelled("changed my mind") });
        records(&mut unwinding, &order, "order.unwinding", &ending).await;
        unwinding.commit().await.unwrap();
    };
    let (booked, ()) = futures::join!(shop.recognises(&order), notes);
    refusal(booked);
    assert_eq!(shop.status_of(&order).await, "processing");
}

/// A transaction that began earlier records later.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_events_time_follows_its_number_whichever_transaction_began_first(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let mut slow = shop.db.begin().await.unwrap();
    shop.unwinds(&order).await;
    records(&mut slow, &order, "order.cancelled", &json!({ "reason": "changed my mind" })).await;
    slow.commit().await.unwrap();
    let times: Vec<DateTime<Utc>> = sqlx::query_scalar(
        "select occurred_at from orders.order_events where order_id = $1 order by sequence",
    )
    .bind(order.order_id.uuid())
    .fetch_all(&shop.db)
    .await
    .unwrap();
    assert_eq!(times.len(), 3);
    assert!(times.is_sorted(), "{times:?}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_note_that_a_person_is_needed_is_one_occurrence_and_another_runs_is_the_next(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    for (run, number, occurrence) in
        [("a", 1, 1), ("a", 1, 1), ("b", 1, 2), ("a", 2, 3), ("a", 1, 1), ("b", 1, 2)]
    {
        let noted = orders::note_attention(&shop.db, &attention(&order, run, number)).await;
        assert_eq!(noted.unwrap(), occurrence, "note {number} of run {run}");
    }
    let needed = "order.attention-needed";
    assert_eq!(shop.events_of(&order).await, ["order.placed", needed, needed, needed]);
    let shown = shown_attention(&shop, &order).await.unwrap();
    assert_eq!(shown["occurrence"], 3);
    assert_eq!(shown["step"], "capture-payment");
    assert_eq!(shown["decisions"], json!(["retry", "skip"]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_same_note_twice_at_once_is_one_occurrence(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let note = attention(&order, "a", 1);
    let row = shop.holds_up_order(&order).await;
    let go_on = async {
        shop.until_waiting(2).await;
        row.commit().await.unwrap();
    };
    let (first, second, ()) = futures::join!(
        orders::note_attention(&shop.db, &note),
        orders::note_attention(&shop.db, &note),
        go_on,
    );
    assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
    assert_eq!(shop.events_of(&order).await, ["order.placed", "order.attention-needed"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_is_put_on_record_once_for_each_occurrence(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    for number in 1..=2 {
        orders::note_attention(&shop.db, &attention(&order, "a", number)).await.unwrap();
        let decided = resolved(&order, number, Decision::Retry);
        orders::note_resolved(&shop.db, &decided).await.unwrap();
        assert_eq!(shown_attention(&shop, &order).await, None);
        orders::note_resolved(&shop.db, &decided).await.unwrap();
        let late = resolved(&order, number, Decision::Skip);
        orders::note_resolved(&shop.db, &late).await.unwrap();
    }
    let (needed, decided) = ("order.attention-needed", "order.attention-resolved");
    let events = ["order.placed", needed, decided, needed, decided];
    assert_eq!(shop.events_of(&order).await, events);
    let recorded = sqlx::query_scalar!(
        r#"
        select jsonb_agg(data order by sequence) as "data!" from orders.order_events
        where type = 'order.attention-resolved'
        "#
    );
    let recorded = recorded.fetch_one(&shop.db).await.unwrap();
    assert_eq!(
        recorded[1],
        json!({
            "step": "capture-payment", "occurrence": 2, "decision": "retry", "by": "Ada",
            "why": "repaired",
        })
    );
    assert_eq!(recorded[0]["decision"], "retry");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_has_happened_cannot_be_made_undone(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.takes_up_to_posting(&order).await;
    for attempt in [
        "update orders.order_events set type = 'order.shipped'",
        "delete from orders.order_events",
        "truncate orders.order_events",
        "update inventory.movements set quantity = 1",
        "delete from inventory.movements",
        "truncate inventory.movements",
        "insert into orders.order_events (order_id, sequence, type, data, occurred_at)
            select order_id, sequence, type, data, occurred_at from orders.order_events",
    ] {
        let refused = sqlx::raw_sql(attempt).execute(&shop.owner).await;
        assert!(refused.is_err(), "was not refused: {attempt}");
    }
    let events = [
        "order.placed",
        "stock.reserved",
        "payment.authorised",
        "payment.captured",
        "ledger.posted",
    ];
    assert_eq!(shop.events_of(&order).await, events);
}
