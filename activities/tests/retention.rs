//! Data with a retention time is removed after it, unless others still need it. The outbox contains
//! everything, in columns that Debezium reads.

use std::collections::BTreeMap;

use domain::event::EventType;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Shop, cancelled, order};

/// What a sweep removes, with a retention of 30 days for messages and for idempotency records.
async fn sweep(shop: &Shop, at_most: i32) -> BTreeMap<String, i64> {
    let removed = sqlx::query!(
        r#"
        select what as "what!", removed as "removed!"
        from operations.sweep(interval '30 days', interval '30 days', $1)
        "#,
        at_most,
    );
    let removed = removed.fetch_all(&shop.db).await.unwrap();
    removed.into_iter().map(|row| (row.what, row.removed)).collect()
}

fn removed(messages: i64, records: i64, launches: i64) -> BTreeMap<String, i64> {
    [
        ("published messages", messages),
        ("idempotency records", records),
        ("launch rows of orders that have ended", launches),
        ("what orders were counted by", 0),
    ]
    .into_iter()
    .map(|(what, count)| (what.to_owned(), count))
    .collect()
}

async fn left(shop: &Shop) -> Value {
    sqlx::query_scalar!(
        r#"
        select jsonb_build_object(
            'unpublished', (select count(*) from outbox.messages where published_at is null),
            'published', (select count(*) from outbox.messages where published_at is not null),
            'records', (select count(*) from orders.step_keys),
            'launches', (select count(*) from orders.launches)
        ) as "left!"
        "#
    )
    .fetch_one(&shop.db)
    .await
    .unwrap()
}

/// Moves all timestamps this many days into the past.
async fn days_pass(shop: &Shop, days: i32) {
    sqlx::query!(
        "update orders.orders set updated_at = updated_at - make_interval(days => $1)",
        days
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    sqlx::query!(
        "update outbox.messages set created_at = created_at - make_interval(days => $1),
            published_at = published_at - make_interval(days => $1)",
        days,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
    sqlx::query!(
        "update orders.step_keys set recorded_at = recorded_at - make_interval(days => $1)",
        days,
    )
    .execute(&shop.owner)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn messages_are_removed_once_they_are_published_and_their_time_is_up(db: PgPool) {
    let shop = Shop::on(db);
    for number in 1..=3 {
        shop.places(&order(number)).await;
    }
    days_pass(&shop, 365).await;
    assert_eq!(sweep(&shop, 100).await, removed(0, 0, 0), "nothing is published yet");
    sqlx::query!("update outbox.messages set published_at = now() where position <= 2")
        .execute(&shop.owner)
        .await
        .unwrap();
    days_pass(&shop, 29).await;
    assert_eq!(sweep(&shop, 100).await, removed(0, 0, 0), "their time is not up");
    days_pass(&shop, 2).await;
    assert_eq!(sweep(&shop, 1).await, removed(1, 0, 0), "at most as many as it may");
    assert_eq!(sweep(&shop, 100).await, removed(1, 0, 0));
    let rest = json!({ "unpublished": 1, "published": 0, "records": 0, "launches": 3 });
    assert_eq!(left(&shop).await, rest);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn idempotency_records_are_removed_some_time_after_their_order_has_ended(db: PgPool) {
    let (shop, ended, open) = (Shop::stocked(db).await, order(1), order(2));
    for order in [&ended, &open] {
        shop.takes_up_to_posting(order).await;
    }
    shop.ships(&ended).await.unwrap();
    shop.recognises(&ended).await.unwrap();
    days_pass(&shop, 29).await;
    assert_eq!(sweep(&shop, 100).await, removed(0, 0, 1), "its time is not up");
    days_pass(&shop, 2).await;
    assert_eq!(sweep(&shop, 2).await, removed(0, 2, 0), "at most as many as it may");
    assert_eq!(sweep(&shop, 100).await, removed(0, 4, 0));
    let rest = json!({ "unpublished": 13, "published": 0, "records": 4, "launches": 1 });
    assert_eq!(left(&shop).await, rest, "of the open order, everything");
    assert!(shop.reserves(&open).await.is_ok(), "the first answer, again");
    assert!(shop.reserves(&ended).await.is_err(), "an order that has ended stays ended");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_has_ended_is_not_launched(db: PgPool) {
    let (shop, ended, open) = (Shop::on(db), order(1), order(2));
    for order in [&ended, &open] {
        shop.places(order).await;
    }
    shop.ends(&ended, cancelled("by mistake")).await;
    sqlx::query!(
        "insert into orders.launches (order_id, placed_at, is_recovery) values ($1, now(), true)",
        ended.order_id.uuid(),
    )
    .execute(&shop.db)
    .await
    .unwrap();
    assert_eq!(sweep(&shop, 100).await, removed(0, 0, 1));
    assert!(shop.is_to_be_launched(&open).await);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_event_has_its_message_and_they_are_numbered_alike_without_a_gap(db: PgPool) {
    let shop = Shop::stocked(db).await;
    let orders = [order(1), order(2)];
    futures::join!(shop.takes_up_to_posting(&orders[0]), shop.takes_up_to_posting(&orders[1]));
    shop.unwinds(&orders[1]).await;
    for order in &orders {
        let told = sqlx::query!(
            r#"
            select
                array_agg(events.sequence order by event_id) as "sequences!",
                array_agg(messages.id order by event_id) as "ids!: Vec<Option<String>>",
                array_agg(messages.type order by event_id) as "types!",
                bool_and(messages.payload = events.data) as "payloads_agree!",
                bool_and(aggregatetype = 'order' and published_at is null) as "are_new_orders!",
                min(version) as "version!"
            from (
                select order_id, event_id, sequence, data from orders.order_events
            ) as events
            join (select order_id, version from orders.orders) as known using (order_id)
            left join outbox.messages
                on (aggregateid, messages.sequence) = (order_id::text, events.sequence)
            where order_id = $1
            "#,
            order.order_id.uuid(),
        );
        let told = told.fetch_one(&shop.db).await.unwrap();
        let numbers: Vec<i32> = (1..).take(told.sequences.len()).collect();
        assert_eq!(told.sequences, numbers);
        let ids: Vec<_> =
            numbers.iter().map(|number| Some(format!("{}:{number}", order.order_id))).collect();
        assert_eq!(told.ids, ids);
        let events = shop.events_of(order).await;
        let types: Vec<_> = events
            .iter()
            .map(|name| name.parse::<EventType>().unwrap().cloud_event_type())
            .collect();
        assert_eq!(told.types, types);
        assert!(told.payloads_agree && told.are_new_orders);
        assert_eq!(Some(&told.version), numbers.last());
    }
    let messages = sqlx::query_scalar!(r#"select count(*) as "count!" from outbox.messages"#);
    assert_eq!(messages.fetch_one(&shop.db).await.unwrap(), 11, "and no other messages");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_outbox_has_the_columns_that_debezium_expects(db: PgPool) {
    let columns = sqlx::query_scalar!(
        r#"
        select column_name::text as "name!" from information_schema.columns
        where (table_schema, table_name) = ('outbox', 'messages') and is_nullable = 'NO'
        order by column_name
        "#
    );
    let columns = columns.fetch_all(&db).await.unwrap();
    for expected in ["id", "aggregatetype", "aggregateid", "type", "payload"] {
        assert!(columns.contains(&expected.to_owned()), "{expected} is missing in {columns:?}");
    }
}
