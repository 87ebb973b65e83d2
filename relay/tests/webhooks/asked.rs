//! What operators ask to be sent besides.

use domain::event::EventType;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use uuid::Uuid;

use crate::receiver::{Answer, Endpoint, Receiver, settings};

/// Puts an event of an order into the outbox.
async fn happen(db: &PgPool, order: Uuid, sequence: i32, event: &str) {
    sqlx::query!("select from orders.append($1, $2, $3, '{}', now())", order, sequence, event,)
        .execute(db)
        .await
        .unwrap();
}

/// How many messages of these conditions are sent once more.
async fn redelivered(endpoint: &Endpoint, message: Option<&str>, order: Option<&str>) -> i32 {
    let asked = sqlx::query_scalar!(
        r#"select webhooks.redeliver($1, $2, $3, null, null, 'eve', 10) as "messages!""#,
        endpoint.endpoint_id,
        message,
        order,
    );
    asked.fetch_one(&endpoint.database).await.unwrap()
}

async fn left_to_send(endpoint: &Endpoint) -> i64 {
    let left = sqlx::query_scalar!(r#"select count(*) as "left!" from webhooks.sends"#);
    left.fetch_one(&endpoint.database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_an_endpoint_had_is_sent_once_more_under_the_same_id(db: PgPool) {
    let order = Uuid::now_v7();
    happen(&db, order, 1, "order.placed").await;
    happen(&db, order, 2, "stock.reserved").await;
    let receiver = Receiver::answering([]).await;
    // It begins with what comes after it was created, so it has had these two.
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let second = format!("{order}:2");
    assert_eq!(redelivered(&endpoint, Some(&second), None).await, 1);
    assert_eq!(redelivered(&endpoint, Some(&second), None).await, 1);
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    assert_eq!(receiver.ids(), [second.as_str()]);
    assert_eq!(redelivered(&endpoint, None, Some(&order.to_string())).await, 2);
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 2);
    assert_eq!(receiver.ids()[1..], [format!("{order}:1"), second]);
    assert_eq!(left_to_send(&endpoint).await, 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_an_endpoint_has_still_to_hear_for_the_first_time_waits_for_its_turn(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let order = Uuid::now_v7();
    happen(&endpoint.database, order, 1, "order.placed").await;
    assert_eq!(redelivered(&endpoint, None, Some(&order.to_string())).await, 0);
    // Once it had it, and while it is parked.
    sqlx::query!("update outbox.progress set seen = pg_current_snapshot()")
        .execute(&endpoint.database)
        .await
        .unwrap();
    sqlx::query!(
        "insert into outbox.parked (sink, position, aggregateid, sequence, refused)
         select sink, position, aggregateid, sequence, 'why' from outbox.messages, outbox.sinks"
    )
    .execute(&endpoint.database)
    .await
    .unwrap();
    assert_eq!(redelivered(&endpoint, None, Some(&order.to_string())).await, 0);
    sqlx::query!("delete from outbox.parked").execute(&endpoint.database).await.unwrap();
    assert_eq!(redelivered(&endpoint, None, Some(&order.to_string())).await, 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_not_taken_is_tried_again_and_given_up_after_a_day(db: PgPool) {
    let order = Uuid::now_v7();
    happen(&db, order, 1, "order.placed").await;
    let receiver = Receiver::answering([500, 500].map(Answer::Status)).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    redelivered(&endpoint, None, Some(&order.to_string())).await;
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    // It is not due at once.
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 0);
    assert_eq!(left_to_send(&endpoint).await, 1);
    sqlx::query!(
        "update webhooks.sends
         set next_try_at = now(), requested_at = now() - interval '25 hours'"
    )
    .execute(&endpoint.database)
    .await
    .unwrap();
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    assert_eq!(left_to_send(&endpoint).await, 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_is_tried_out_whatever_it_hears_of(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let events = [EventType::OrderFailed];
    let endpoint = Endpoint::with(db, &receiver.url, &events, settings()).await;
    let number = sqlx::query_scalar!(
        r#"select webhooks.try_out($1, 'eve') as "number!""#,
        endpoint.endpoint_id,
    );
    let number = number.fetch_one(&endpoint.database).await.unwrap();
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    assert_eq!(receiver.ids(), [format!("trial:{number}")]);
    let told = receiver.seen()[0].json();
    assert_eq!(told["type"], "ordersaga.webhook.trial.v1");
    assert_eq!(told["data"], serde_json::json!({}));
}
