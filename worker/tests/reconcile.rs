//! Reconciliation of provider and shop by a workflow, against a real Temporal server and a real
//! database.

#![expect(
    clippy::default_trait_access,
    clippy::unwrap_used,
    reason = "the SDK's options are left at their defaults, and what cannot be prepared or read \
              fails its test"
)]

mod support;

use std::time::Duration;

use domain::OrderStatus;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use support::{Shop, ended, order, order_paid_by};
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use worker::reconcile::{Every, SCHEDULE_ID, keep_schedule};
use workflows::Queue;
use workflows::reconcile::{ReconcileStart, Reconciled, Reconciliation};

/// Starts one like the schedule, and waits for its end.
async fn reconciled(shop: &Shop, name: &str) -> Reconciled {
    let id = format!("reconcile-{name}");
    let options = WorkflowStartOptions::new(Queue::Orders.name(), id).build();
    let start = ReconcileStart { days: 30 };
    let run = shop.client.start_workflow(Reconciliation::run, start, options).await.unwrap();
    run.get_result(WorkflowGetResultOptions::default()).await.unwrap()
}

/// Moves everything that has happened one hour into the past.
async fn an_hour_passes(shop: &Shop) {
    sqlx::raw_sql(
        "update sandbox_provider.payments set created_at = created_at - interval '1 hour';
         update sandbox_provider.payouts set created_at = created_at - interval '1 hour';
         update payments.charges set recorded_at = recorded_at - interval '1 hour';
         update orders.orders set updated_at = updated_at - interval '1 hour'",
    )
    .execute(&shop.db)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_what_is_decided_goes_on_once_provider_and_shop_are_compared(
    db: PgPool,
) {
    let shop = Shop::open(db).await;
    let mut order = order_paid_by("tok_needs_customer");
    order.terms.approval_seconds = 7_200;
    let handle = shop.place(&order).await;
    shop.until_event(order.order_id, "payment.awaiting-customer").await;
    let approved =
        sqlx::query_scalar::<_, bool>("select sandbox_provider.answer_as_customer($1, true)")
            .bind(order.order_id.uuid())
            .fetch_one(&shop.db)
            .await
            .unwrap();
    assert!(approved);
    an_hour_passes(&shop).await;
    let compared = reconciled(&shop, "first").await;
    assert_eq!((compared.hints.len(), compared.found), (1, 0));
    assert_eq!(ended(&handle).await, OrderStatus::Completed);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shop_whose_payments_are_paid_out_is_proved_to_be_in_order(db: PgPool) {
    let shop = Shop::open(db).await;
    let orders = [order(), order()];
    assert_eq!(shop.see_off(&orders).await, [OrderStatus::Completed, OrderStatus::Completed]);
    sqlx::raw_sql("select sandbox_provider.pay_out()").execute(&shop.db).await.unwrap();
    an_hour_passes(&shop).await;
    for name in ["first", "second"] {
        let Reconciled { found, hints, .. } = reconciled(&shop, name).await;
        assert_eq!((found, hints.len()), (0, 0));
    }
    let booked = sqlx::query_scalar::<_, i64>(
        "select count(*) from ledger.transactions where key like 'balance-transaction:%'",
    );
    assert_eq!(booked.fetch_one(&shop.db).await.unwrap(), 3);
    shop.assert_proven().await;
    shop.close().await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn there_is_one_schedule_and_it_follows_the_settings(db: PgPool) {
    let mut shop = Shop::open(db).await;
    // No worker executes what the schedule starts.
    shop.send_workers_home().await;
    for hours in [24, 24, 6] {
        let every = Every(Duration::from_hours(hours));
        keep_schedule(shop.client.clone(), every, 30).await;
        let schedule = shop.client.get_schedule_handle(SCHEDULE_ID);
        let description = schedule.describe(Default::default()).await.unwrap();
        let spec = description.raw().schedule.clone().unwrap().spec.unwrap();
        let pauses: Vec<_> =
            spec.interval.iter().map(|pause| pause.interval.unwrap().seconds).collect();
        assert_eq!(pauses, [i64::try_from(hours).unwrap().saturating_mul(3_600)]);
    }
    shop.close().await;
}
