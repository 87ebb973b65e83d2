//! Orders' rows equal the fold of their events, despite concurrent changes; differences are found.

#![expect(clippy::unwrap_used, reason = "what cannot be prepared or read fails its test")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::OrderId;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgExecutor, PgPool};
use support::{order, put_on_record};
use testkit::as_role;
use uuid::Uuid;
use worker::rebuild::{Comparison, Difference, Wrong, repair};

/// Records this many orders, with all kinds of events.
async fn placed(db: &PgPool, orders: usize) -> Vec<OrderId> {
    let mut placed = Vec::new();
    for number in 1..=u128::try_from(orders).unwrap() {
        let order_id = OrderId::of(Uuid::from_u128(number));
        let order = domain::Order { order_id, ..order() };
        put_on_record(db, &order, &serde_json::to_value(order.placed()).unwrap()).await;
        for event in ["stock.reserved", "payment.captured"] {
            happens(db, order_id, event, &json!({})).await;
        }
        placed.push(order_id);
    }
    placed
}

async fn happens(db: impl PgExecutor<'_>, order: OrderId, event: &str, data: &Value) {
    sqlx::query_scalar::<_, i32>("select orders.record($1, $2, $3)")
        .bind(order.uuid())
        .bind(event)
        .bind(data)
        .fetch_one(db)
        .await
        .unwrap();
}

/// Compares all orders with the worker's rights; returns their number, and the differences.
async fn compared(db: &PgPool) -> (u64, Vec<Difference>) {
    let (mut comparison, mut all) = (Comparison::default(), Vec::new());
    while let Some(found) = comparison.next(db).await.unwrap() {
        all.extend(found);
    }
    (comparison.looked_at(), all)
}

async fn by_hand(db: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(db).await.unwrap();
}

/// A column of an order's row, and a wrong value.
const CHANGES: [(&str, &str); 24] = [
    ("customer_id", "'somebody else'"),
    ("placed_at", "placed_at + interval '1 microsecond'"),
    ("record_version", "2"),
    ("currency", "'EUR'"),
    ("subtotal", "subtotal + 0.01"),
    ("discount", "1"),
    ("shipping", "shipping + 1"),
    ("tax", "tax - 0.01"),
    // The same amount with different bytes.
    ("total", "total::text || '0'"),
    ("cost_of_goods", "0"),
    ("discount_code", "'TEN'"),
    ("country", "'FR'"),
    ("address_id", "gen_random_uuid()"),
    ("lines", "'[]'"),
    ("terms", "terms || '{\"patience_seconds\": 7}'"),
    ("status_data", "'{\"status\": \"completed\"}'"),
    ("payment_status", "'refunded'"),
    ("fulfilment_status", "'shipped'"),
    ("tracking", "'T1'"),
    ("ending", "'{\"status\": \"cancelled\", \"reason\": \"x\"}'"),
    ("attention", "'{}'"),
    ("attentions", "attentions + 1"),
    ("version", "version + 1"),
    ("updated_at", "now()"),
];

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_column_is_changed_by_hand_is_found(db: PgPool) {
    let orders = placed(&db, CHANGES.len()).await;
    let worker = as_role(&db, "ordersaga_worker");
    assert_eq!(compared(&worker).await, (24, vec![]));

    for ((column, value), order) in CHANGES.iter().zip(&orders) {
        // The number is text, so that its trailing zero is kept.
        let value =
            if *column == "total" { format!("({value})::numeric") } else { (*value).to_owned() };
        by_hand(
            &db,
            &format!("update orders.orders set {column} = {value} where order_id = '{order}'"),
        )
        .await;
    }
    let (_, differences) = compared(&worker).await;
    let found: Vec<_> = differences
        .iter()
        .map(|one| match &one.wrong {
            Wrong::Column { name, kept, told } => {
                assert_ne!(kept, told);
                (one.order, name.as_str())
            }
            Wrong::NoRow | Wrong::NeverPlaced => panic!("{one}"),
        })
        .filter(|(_, column)| *column != "status")
        .collect();
    let changed: Vec<_> =
        orders.iter().copied().zip(CHANGES.iter().map(|(column, _)| *column)).collect();
    assert_eq!(found, changed);

    let columns: Vec<String> = sqlx::query_scalar(
        "select column_name::text from information_schema.columns
         where table_schema = 'orders' and table_name = 'orders' and is_generated = 'NEVER'
            -- One finds the row, and the other is in no event.
            and column_name not in ('order_id', 'fingerprint')",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    let columns: BTreeSet<_> = columns.iter().map(String::as_str).collect();
    assert_eq!(columns, CHANGES.map(|(column, _)| column).into(), "a column is not changed above");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_without_a_row_and_a_row_without_its_placing_are_told_once_each(db: PgPool) {
    let orders = placed(&db, 3).await;
    by_hand(
        &db,
        &format!(
            "delete from orders.orders where order_id = '{}';
             alter table orders.order_events disable trigger user;
             delete from orders.order_events where order_id = '{}' and sequence = 1",
            orders[0], orders[2]
        ),
    )
    .await;
    let wrong = |order: usize, wrong| Difference { order: orders[order], wrong };
    let expected = vec![wrong(0, Wrong::NoRow), wrong(2, Wrong::NeverPlaced)];
    assert_eq!(compared(&db).await, (3, expected));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_row_and_its_events_are_compared_as_of_one_moment_while_orders_go_on(db: PgPool) {
    let orders = placed(&db, 40).await;
    let worker = as_role(&db, "ordersaga_worker");
    let is_over = AtomicBool::new(false);
    let recording = async {
        for (order, number) in orders.iter().cycle().zip(0_u32..1_000) {
            let event =
                if number.is_multiple_of(3) { "order.attention-needed" } else { "stock.reserved" };
            happens(&db, *order, event, &json!({ "step": "ship-order" })).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let comparing = async {
        while !is_over.load(Ordering::Relaxed) {
            let (looked_at, differences) = compared(&worker).await;
            assert_eq!((looked_at, differences), (40, vec![]));
        }
    };
    tokio::join!(recording, comparing);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_being_recorded_holds_the_comparison_up_no_more_than_it_is_held_up(
    db: PgPool,
) {
    let orders = placed(&db, 2).await;
    let mut recording = db.begin().await.unwrap();
    happens(&mut *recording, orders[0], "order.shipped", &json!({ "tracking": "T1" })).await;
    assert_eq!(compared(&db).await, (2, vec![]));
    recording.commit().await.unwrap();
    assert_eq!(compared(&db).await, (2, vec![]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_row_is_put_right_once_and_who_wanted_that_is_on_record(db: PgPool) {
    let orders = placed(&db, 2).await;
    by_hand(&db, "update orders.orders set payment_status = 'refunded', tracking = 'T1'").await;
    let repaired = repair(&db, orders[0], "Ada", "changed by hand").await.unwrap();
    assert_eq!(repaired, Some(vec!["payment_status".to_owned(), "tracking".to_owned()]));
    assert_eq!(repair(&db, orders[0], "Ada", "once more").await.unwrap(), Some(vec![]));

    let (_, differences) = compared(&db).await;
    assert!(differences.iter().all(|one| one.order == orders[1]), "{differences:?}");
    assert_eq!(differences.len(), 2);
    let on_record = sqlx::query_scalar::<_, Value>(
        "select coalesce(jsonb_agg(to_jsonb(repairs) - 'repair_id' - 'repaired_at'), '[]')
         from orders.repairs",
    );
    assert_eq!(
        on_record.fetch_one(&db).await.unwrap(),
        json!([{
            "order_id": orders[0].to_string(), "repaired_by": "Ada", "why": "changed by hand",
            "columns": {
                "payment_status": { "was": "refunded", "is": "paid" },
                "tracking": { "was": "T1", "is": null },
            },
        }])
    );
    let unknown = OrderId::of(Uuid::from_u128(9));
    assert_eq!(repair(&db, unknown, "Ada", "not there").await.unwrap(), None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_row_that_is_put_right_misses_nothing_that_is_being_recorded(db: PgPool) {
    let orders = placed(&db, 1).await;
    by_hand(&db, "update orders.orders set payment_status = 'refunded'").await;
    let mut recording = db.begin().await.unwrap();
    happens(&mut *recording, orders[0], "order.shipped", &json!({ "tracking": "T1" })).await;
    let repairing = tokio::spawn({
        let (db, order) = (db.clone(), orders[0]);
        async move { repair(&db, order, "Ada", "changed by hand").await }
    });
    let mut waiting = 0;
    while waiting == 0 {
        let statements = sqlx::query_scalar::<_, i64>(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock'",
        );
        waiting = statements.fetch_one(&db).await.unwrap();
    }
    recording.commit().await.unwrap();
    assert!(repairing.await.unwrap().unwrap().is_some());
    assert_eq!(compared(&db).await, (1, vec![]));
}
