//! Extra deliveries requested by operators.

use std::sync::Arc;

use domain::event::EventType;
use relay::webhooks::WebhookSettings;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::receiver::{Answer, Endpoint, Receiver, settings, tried_out};

/// Writes an event of an order to the outbox.
async fn happen(db: &PgPool, order: Uuid, sequence: i32, event: &str) {
    sqlx::query!("select from orders.append($1, $2, $3, '{}', now())", order, sequence, event,)
        .execute(db)
        .await
        .unwrap();
}

/// The number of messages, matching these conditions, that are sent once more.
async fn redelivered(endpoint: &Endpoint, message: Option<&str>, order: Option<&str>) -> i32 {
    let asked = sqlx::query_scalar!(
        r#"select webhooks.redeliver($1, $2, $3, null, null, 'eve', 10) as "messages!""#,
        endpoint.id,
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
    // Its first message is after its creation, so it has already had these two.
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
    // First when it has had the message, then while it is parked.
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
    // It is not due immediately.
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
    let number = tried_out(&endpoint).await;
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    assert_eq!(receiver.ids(), [format!("trial:{number}")]);
    let told = receiver.seen()[0].json();
    assert_eq!(told["type"], "ordersaga.webhook.trial.v1");
    assert_eq!(told["data"], serde_json::json!({}));
}

/// An endpoint with this many messages to be redelivered; it answers the first request when it is
/// told to, and reports when it was called.
async fn slow_with_backlog(db: &PgPool, messages: i32) -> (Endpoint, Arc<Notify>, Arc<Notify>) {
    for _message in 0..messages {
        happen(db, Uuid::now_v7(), 1, "order.placed").await;
    }
    let (asked, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slowly = Answer::OnceTold(Arc::clone(&asked), Arc::clone(&told));
    let receiver = Receiver::answering([slowly]).await;
    let patient = WebhookSettings { answer_seconds: 30, ..settings() };
    let endpoint = Endpoint::with(db.clone(), &receiver.url, &[], patient).await;
    assert_eq!(redelivered(&endpoint, None, None).await, messages);
    (endpoint, asked, told)
}

/// An endpoint that reports when it was called.
async fn quick(db: PgPool) -> (Endpoint, Arc<Notify>) {
    let (asked, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    told.notify_one();
    let receiver = Receiver::answering([Answer::OnceTold(Arc::clone(&asked), told)]).await;
    (Endpoint::at(db, &receiver.url).await, asked)
}

/// The outcomes of an endpoint's finished attempts.
async fn outcomes(endpoint: &Endpoint) -> Vec<String> {
    let outcomes = sqlx::query_scalar!(
        "select outcome from webhooks.deliveries where endpoint_id = $1 order by delivery_id",
        endpoint.id,
    );
    outcomes.fetch_all(&endpoint.database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_an_endpoints_backlog_a_few_are_sent_at_a_time_and_no_other_endpoint_waits(db: PgPool) {
    let (slow, asked, told) = slow_with_backlog(&db, 7).await;
    let (quick, tried) = quick(db).await;
    tried_out(&quick).await;
    // It answers only after the other one was called.
    let (taken_up, ()) = tokio::join!(slow.webhooks.send_asked(), async {
        asked.notified().await;
        tried.notified().await;
        // Meanwhile, no other relay sends it the rest of its backlog.
        assert_eq!(quick.webhooks.send_asked().await.unwrap(), 0);
        told.notify_one();
    });
    assert_eq!(taken_up.unwrap(), 6);
    assert_eq!(outcomes(&slow).await, ["delivered"; 5]);
    assert_eq!(slow.webhooks.send_asked().await.unwrap(), 2);
    assert_eq!(left_to_send(&slow).await, 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_asked_for_while_an_endpoint_takes_its_time_does_not_wait_for_it(db: PgPool) {
    let (slow, asked, _never_told) = slow_with_backlog(&db, 2).await;
    let (quick, tried) = quick(db).await;
    let stop = CancellationToken::new();
    tokio::join!(slow.webhooks.clone().look_after(stop.clone()), async {
        asked.notified().await;
        tried_out(&quick).await;
        tried.notified().await;
        // The slow one's timeout had not passed by then.
        assert_eq!(outcomes(&slow).await, [""; 0]);
        stop.cancel();
    });
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_relay_had_under_way_when_it_died_is_sent_by_another_once_its_time_is_over(
    db: PgPool,
) {
    let receiver = Receiver::answering([]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    tried_out(&endpoint).await;
    let hold = async |seconds: i32| {
        sqlx::query!(
            "update webhooks.sends set held_until = now() + make_interval(secs => $1::integer)",
            seconds,
        )
        .execute(&endpoint.database)
        .await
        .unwrap();
    };
    hold(60).await;
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 0);
    hold(-1).await;
    assert_eq!(endpoint.webhooks.send_asked().await.unwrap(), 1);
    assert_eq!(receiver.ids().len(), 1);
}
