//! What happened to an order is on record, and its row is what the record says.

use activities::orders;
use domain::{AddressId, Order, OrderStatus, Rejection, RequestHash, StatusNote, StepName};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{HEART, Shop, breakage, order, order_of, paid_with, refusal, sent_to};

fn note(order: &Order, number: u32, status: OrderStatus, remark: Option<&str>) -> StatusNote {
    let remark = remark.map(ToOwned::to_owned);
    StatusNote { order_id: order.order_id, number, status, remark }
}

async fn row_of(shop: &Shop, order: &Order) -> Value {
    sqlx::query_scalar!(
        r#"select to_jsonb(orders) as "row!" from orders.orders where order_id = $1"#,
        order.order_id.uuid(),
    )
    .fetch_one(&shop.db)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn an_order_is_placed_once_with_all_that_was_agreed(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    shop.places(&order).await;
    let row = row_of(&shop, &order).await;
    assert_eq!(row["customer_id"], "17850");
    assert_eq!(row["status"], "processing");
    assert_eq!(row["total"].to_string(), order.totals.total.amount().to_string());
    assert_eq!(row["lines"], serde_json::to_value(&order.lines).unwrap());
    assert_eq!(row["request_hash"], order.request_hash.as_str());
    assert_eq!(shop.events_of(&order).await, ["order.placed"]);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn another_order_under_the_same_id_is_a_bug(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let mut other = order_of(1, &[(HEART, 1)]);
    breakage(orders::open(&shop.db, &other.placement()).await);
    other.generation = 2;
    other.request_hash = RequestHash::of(b"another");
    shop.notes(&order, 1, OrderStatus::Unwinding).await;
    shop.notes(&order, 2, OrderStatus::Cancelled { reason: "changed my mind".to_owned() }).await;
    breakage(orders::open(&shop.db, &other.placement()).await);
    assert_eq!(row_of(&shop, &order).await["generation"], 1);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn only_an_order_that_came_to_nothing_starts_anew(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    let anew = Order { generation: 2, ..order.clone() };
    shop.places(&order).await;
    shop.reserves(&order).await.unwrap();
    breakage(orders::open(&shop.db, &anew.placement()).await);
    shop.releases(&order).await.unwrap();
    shop.notes(&order, 1, OrderStatus::Unwinding).await;
    shop.notes(&order, 2, OrderStatus::Cancelled { reason: "by mistake".to_owned() }).await;
    shop.takes_up_to_posting(&anew).await;
    assert_eq!(shop.status_of(&order).await, "posted");
    assert_eq!(shop.pieces_of(HEART).await, (94, 6, 0, 100));
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn notes_are_told_by_their_number(db: PgPool) {
    let (shop, order) = (Shop::on(db), order(1));
    shop.places(&order).await;
    let stuck = OrderStatus::Stuck { step: StepName::ChargePayment, why: "no sense".to_owned() };
    for note in [
        note(&order, 1, OrderStatus::Unwinding, None),
        note(&order, 1, OrderStatus::Unwinding, None),
        note(&order, 2, stuck, None),
        note(&order, 3, OrderStatus::Unwinding, Some("retry, decided by Ada: repaired")),
        note(&order, 4, OrderStatus::Failed { incident: "x".to_owned() }, None),
    ] {
        orders::note_status(&shop.db, &note).await.unwrap();
    }
    assert_eq!(
        shop.events_of(&order).await,
        ["order.placed", "order.unwinding", "order.stuck", "order.resumed", "order.failed"]
    );
    let other = note(&order, 4, OrderStatus::Cancelled { reason: String::new() }, None);
    assert!(breakage(orders::note_status(&shop.db, &other).await).contains("another argument"));
    let untold = note(&order, 5, OrderStatus::Paid, None);
    breakage(orders::note_status(&shop.db, &untold).await);
    assert_eq!(shop.status_of(&order).await, "failed");
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn a_late_step_does_not_make_an_unwinding_order_look_alive(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    shop.places(&order).await;
    shop.notes(&order, 1, OrderStatus::Unwinding).await;
    shop.reserves(&order).await.unwrap();
    assert_eq!(shop.status_of(&order).await, "unwinding");
    let events = ["order.placed", "order.unwinding", "stock.reserved"];
    assert_eq!(shop.events_of(&order).await, events);
}

/// One status of each name, to try every turn with.
fn statuses() -> Vec<OrderStatus> {
    vec![
        OrderStatus::Processing,
        OrderStatus::Reserved,
        OrderStatus::Paid,
        OrderStatus::Posted,
        OrderStatus::Shipped { tracking: "T".to_owned() },
        OrderStatus::Unwinding,
        OrderStatus::Cancelled { reason: String::new() },
        OrderStatus::Rejected { rejection: Rejection::ReservationExpired },
        OrderStatus::Stuck { step: StepName::ShipOrder, why: String::new() },
        OrderStatus::Failed { incident: String::new() },
    ]
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn the_database_knows_the_same_turns_of_an_orders_life_as_the_shop(db: PgPool) {
    assert_eq!(statuses().len(), OrderStatus::NAMES.len());
    for from in statuses() {
        for to in statuses() {
            let told = sqlx::query_scalar!(
                r#"select orders.may_become($1, $2) as "may!""#,
                from.name(),
                to.name(),
            );
            let told = told.fetch_one(&db).await.unwrap();
            let (from_name, to_name) = (from.name(), to.name());
            assert_eq!(told, from.clone().becomes(to).is_ok(), "{from_name} to {to_name}");
        }
    }
}

/// Orders that shipped, were declined, got stuck and started anew.
async fn all_kinds_of_orders(shop: &Shop) -> Vec<Order> {
    let address = Some(AddressId::of(sqlx::types::Uuid::from_u128(7)));
    let [shipped, declined, mut stuck] = [
        order(1),
        sent_to(paid_with(order(2), "tok_declined"), "GB", address),
        paid_with(order(3), "tok_refund_broken"),
    ];
    shop.takes_up_to_posting(&shipped).await;
    shop.ships(&shipped).await.unwrap();
    shop.recognises(&shipped).await.unwrap();

    shop.places(&declined).await;
    shop.reserves(&declined).await.unwrap();
    let rejection = refusal(shop.charges(&declined).await);
    shop.notes(&declined, 1, OrderStatus::Unwinding).await;
    shop.releases(&declined).await.unwrap();
    shop.notes(&declined, 2, OrderStatus::Rejected { rejection }).await;

    shop.takes_up_to_posting(&stuck).await;
    shop.notes(&stuck, 1, OrderStatus::Unwinding).await;
    shop.reverses(&stuck).await.unwrap();
    let why = breakage(shop.refunds(&stuck).await);
    shop.notes(&stuck, 2, OrderStatus::Stuck { step: StepName::ChargePayment, why }).await;
    shop.notes(&stuck, 3, OrderStatus::Unwinding).await;
    shop.releases(&stuck).await.unwrap();
    shop.notes(&stuck, 4, OrderStatus::Cancelled { reason: "by mistake".to_owned() }).await;
    stuck.generation = 2;
    shop.places(&stuck).await;
    shop.reserves(&stuck).await.unwrap();
    vec![shipped, declined, stuck]
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn an_orders_row_told_anew_from_its_events_is_the_same_row(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for order in all_kinds_of_orders(&shop).await {
        let before = row_of(&shop, &order).await;
        let id = order.order_id.uuid();
        sqlx::query!("delete from orders.orders where order_id = $1", id)
            .execute(&shop.owner)
            .await
            .unwrap();
        sqlx::query!("select orders.rebuild_projection($1)", id)
            .fetch_one(&shop.owner)
            .await
            .unwrap();
        assert_eq!(row_of(&shop, &order).await, before);
    }
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn every_event_has_its_message_and_they_are_numbered_alike_without_a_gap(db: PgPool) {
    let shop = Shop::stocked(db).await;
    for order in all_kinds_of_orders(&shop).await {
        let id = order.order_id.uuid();
        let told = sqlx::query!(
            r#"
            select array_agg(sequence order by event_id) as "sequences!",
                (
                    select jsonb_agg(jsonb_build_array(sequence, type, data) order by message_id)
                    from outbox.messages where order_id = $1
                ) = jsonb_agg(jsonb_build_array(sequence, type, data) order by event_id)
                    as "messages_agree!"
            from orders.order_events where order_id = $1
            "#,
            id,
        );
        let told = told.fetch_one(&shop.db).await.unwrap();
        let expected: Vec<i32> = (1..).take(told.sequences.len()).collect();
        assert_eq!(told.sequences, expected);
        assert!(told.messages_agree);
        let version = row_of(&shop, &order).await["version"].as_i64().unwrap();
        assert_eq!(version, i64::try_from(expected.len()).unwrap());
    }
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn events_and_messages_carry_neither_card_nor_address(db: PgPool) {
    let shop = Shop::stocked(db).await;
    all_kinds_of_orders(&shop).await;
    let leaks = sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from (
            select data from orders.order_events union all select data from outbox.messages
        ) as told
        where data::text ~ 'tok_|payment_token|name|line1|postal'
        "#
    );
    assert_eq!(leaks.fetch_one(&shop.db).await.unwrap(), 0);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
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
    let events = ["order.placed", "stock.reserved", "payment.captured", "ledger.posted"];
    assert_eq!(shop.events_of(&order).await, events);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn an_event_of_an_order_that_is_not_on_record_takes_its_effect_with_it(db: PgPool) {
    let (shop, order) = (Shop::stocked(db).await, order(1));
    assert!(breakage(shop.reserves(&order).await).contains("not on record"));
    assert_eq!(shop.pieces_of(HEART).await, (100, 0, 0, 100));
}
