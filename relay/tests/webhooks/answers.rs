//! The results for messages by their receiver's response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::event::EventType;
use relay::Verdict;
use relay::webhooks::WebhookSettings;
use runtime::schema::MIGRATIONS;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify};

use crate::receiver::{Answer, Endpoint, Poured, Receiver, message, message_of, settings};

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Refused { why } | Verdict::Unavailable { why, .. } | Verdict::NotTaken { why } => {
            why
        }
        Verdict::Delivered | Verdict::NotWanted | Verdict::NotTried => "",
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_orders_messages_come_one_after_the_other_and_until_one_is_not_taken(db: PgPool) {
    let receiver = Receiver::answering([Answer::Status(200), Answer::Status(500)]).await;
    let one_at_a_time = WebhookSettings { concurrency: 1, ..settings() };
    let endpoint = Endpoint::with(db, &receiver.url, &[], one_at_a_time).await;
    let batch = [message("a", 1), message("a", 2), message("b", 1), message("a", 3)];
    let verdicts = endpoint.deliver(&batch).await;
    assert_eq!(receiver.ids(), ["a:1", "a:2", "b:1"]);
    let not_taken = Verdict::NotTaken { why: "it answered 500 Internal Server Error".to_owned() };
    assert_eq!(verdicts, [Verdict::Delivered, not_taken, Verdict::Delivered, Verdict::NotTried]);
    // Again, as after a crash: the same ids.
    assert_eq!(endpoint.deliver(&batch[1..2]).await, [Verdict::Delivered]);
    assert_eq!(receiver.ids()[3], "a:2");
    let attempts = sqlx::query!(
        "select message_id, attempt, status, outcome from webhooks.deliveries
         where message_id = 'a:2' order by delivery_id"
    );
    let attempts = attempts.fetch_all(&endpoint.database).await.unwrap();
    let attempts: Vec<_> =
        attempts.iter().map(|row| (row.attempt, row.status.unwrap(), &*row.outcome)).collect();
    assert_eq!(attempts, [(1, 500, "unavailable"), (2, 204, "delivered")]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_do_not_wait_for_each_other(db: PgPool) {
    let together = Arc::new(Barrier::new(2));
    let answers = [Answer::Together(Arc::clone(&together)), Answer::Together(together)];
    let receiver = Receiver::answering(answers).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let verdicts = endpoint.deliver(&[message("a", 1), message("b", 1)]).await;
    assert_eq!(verdicts, [Verdict::Delivered, Verdict::Delivered]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_answer_that_takes_its_time_counts_and_one_beyond_the_limit_does_not(db: PgPool) {
    let (asked, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slowly = Answer::OnceTold(Arc::clone(&asked), Arc::clone(&told));
    let receiver = Receiver::answering([slowly, Answer::Never]).await;
    let impatient = WebhookSettings { answer_seconds: 5, ..settings() };
    let endpoint = Endpoint::with(db, &receiver.url, &[], impatient).await;
    let batch = [message("a", 1)];
    let (verdicts, ()) = tokio::join!(endpoint.deliver(&batch), async {
        asked.notified().await;
        told.notify_one();
    });
    assert_eq!(verdicts, [Verdict::Delivered]);
    let verdicts = endpoint.deliver(&batch).await;
    assert_eq!(why(&verdicts[0]), "it did not answer in time");
    assert!(matches!(verdicts[0], Verdict::Unavailable { retry_after: None, .. }));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_redirect_is_not_followed(db: PgPool) {
    let elsewhere = Receiver::answering([]).await;
    let receiver = Receiver::answering([Answer::Redirect(elsewhere.url.clone())]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    let verdicts = endpoint.deliver(&[message("a", 1)]).await;
    assert!(why(&verdicts[0]).contains("redirects are not followed"), "{verdicts:?}");
    assert_eq!((receiver.ids().len(), elsewhere.ids().len()), (1, 0));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_an_answer_without_end_no_more_is_taken_than_it_needs(db: PgPool) {
    let (poured, ended) = Poured::watched();
    let receiver = Receiver::answering([Answer::Gigabyte(Arc::clone(&poured))]).await;
    let endpoint = Endpoint::at(db, &receiver.url).await;
    assert_eq!(endpoint.deliver(&[message("a", 1)]).await, [Verdict::Delivered]);
    ended.await.unwrap();
    // The socket buffers hold more than what was read.
    let bytes = poured.bytes.load(Ordering::Relaxed);
    assert!(bytes < 100 * 1024 * 1024, "{bytes} bytes were sent");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_receiver_that_breaks_off_or_is_not_there_is_asked_again(db: PgPool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closes = tokio::spawn(async move {
        while let Ok((connection, _from)) = listener.accept().await {
            drop(connection);
        }
    });
    let endpoint = Endpoint::at(db, &format!("http://{address}/")).await;
    let verdicts = endpoint.deliver(&[message("a", 1)]).await;
    // Without a response, nothing counts against the message.
    assert!(matches!(verdicts[0], Verdict::Unavailable { .. }), "{verdicts:?}");
    assert_eq!(why(&verdicts[0]), "the connection broke off before it answered");
    closes.abort();
    let _ended = closes.await;
    let verdicts = endpoint.deliver(&[message("a", 1)]).await;
    assert_eq!(why(&verdicts[0]), "no connection to it could be made");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_receiver_that_asks_for_a_pause_is_left_alone(db: PgPool) {
    let receiver = Receiver::answering([Answer::After(429, "7")]).await;
    let one_at_a_time = WebhookSettings { concurrency: 1, ..settings() };
    let endpoint = Endpoint::with(db, &receiver.url, &[], one_at_a_time).await;
    let verdicts = endpoint.deliver(&[message("a", 1), message("b", 1)]).await;
    let pause = Verdict::Unavailable {
        retry_after: Some(Duration::from_secs(7)),
        why: "it answered 429 Too Many Requests".to_owned(),
    };
    assert_eq!(verdicts, [pause, Verdict::NotTried]);
    assert_eq!(receiver.ids(), ["a:1"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_receiver_that_is_away_is_not_sent_a_whole_batch(db: PgPool) {
    let receiver = Receiver::answering((0..9).map(|_request| Answer::Status(503))).await;
    let one_at_a_time = WebhookSettings { concurrency: 1, ..settings() };
    let endpoint = Endpoint::with(db, &receiver.url, &[], one_at_a_time).await;
    let batch: Vec<_> = (0..9).map(|order| message(&format!("o{order}"), 1)).collect();
    let verdicts = endpoint.deliver(&batch).await;
    assert_eq!(receiver.ids().len(), 3);
    assert_eq!(verdicts[3..], [const { Verdict::NotTried }; 6]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_message_that_is_refused_stops_its_order_alone(db: PgPool) {
    let receiver = Receiver::answering([Answer::Status(422)]).await;
    let one_at_a_time = WebhookSettings { concurrency: 1, ..settings() };
    let endpoint = Endpoint::with(db, &receiver.url, &[], one_at_a_time).await;
    let batch = [message("a", 1), message("b", 1), message("a", 2)];
    let verdicts = endpoint.deliver(&batch).await;
    let refused = Verdict::Refused { why: "it answered 422 Unprocessable Entity".to_owned() };
    assert_eq!(verdicts, [refused, Verdict::Delivered, Verdict::NotTried]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_endpoint_hears_of_what_its_filter_names(db: PgPool) {
    let receiver = Receiver::answering([]).await;
    let events = [EventType::OrderShipped];
    let endpoint = Endpoint::with(db, &receiver.url, &events, settings()).await;
    let batch = [message("a", 1), message_of("a", 2, EventType::OrderShipped), message("a", 3)];
    let verdicts = endpoint.deliver(&batch).await;
    assert_eq!(verdicts, [Verdict::NotWanted, Verdict::Delivered, Verdict::NotWanted]);
    assert_eq!(receiver.ids(), ["a:2"]);
}
