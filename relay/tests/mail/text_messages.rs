//! Text messages leave the shop by a signed webhook, where a shop wants them.

use std::sync::Arc;
use std::time::Duration;

use domain::MailTemplate;
use relay::Sink as _;
use relay::mail::{Channel, Looked, Outcome, SmsSecret, SmsWebhook, TextMessage, TextMessages};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::post::{Post, messages, reserved, sender_to, shipped, sink};

const PHONE: &str = "+44 20 7946 0000";

/// Takes one request, answers it so, and gives back its head and body.
async fn answer_one(listener: &TcpListener, answer: &str) -> (String, Value) {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4_096];
        let read = connection.read(&mut bytes).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        // The body is JSON, which ends with its brace.
        if read == 0 || text.ends_with('}') {
            break;
        }
    }
    connection.write_all(answer.as_bytes()).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), serde_json::from_str(body).unwrap())
}

fn webhook(port: u16) -> SmsWebhook {
    let secret = SmsSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let url = format!("http://127.0.0.1:{port}/sms").parse().unwrap();
    SmsWebhook::new(url, secret, Duration::from_secs(20)).unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_text_message_is_posted_signed_and_once(db: PgPool) {
    let post = Post::open(db).await;
    sqlx::query!("insert into customers.customers (customer_id, phone) values ('ada', $1)", PHONE)
        .execute(&post.db)
        .await
        .unwrap();
    let order_id = post.order(&[reserved(), shipped()]).await;
    sink(&post.db, &[MailTemplate::Shipped]).deliver(&messages(&post.db).await).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = sender_to(&post.db, post.server.port, Some(Arc::new(webhook(port))));
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let (looked, (head, body)) =
        tokio::join!(sender.send_next(Channel::Sms), answer_one(&listener, answer));
    assert_eq!(looked.unwrap(), Looked::Dealt);
    assert!(head.contains(&format!("webhook-id: {order_id}.3.shipped.sms@shop.example")), "{head}");
    assert!(
        head.contains("webhook-timestamp: ") && head.contains("webhook-signature: v1,"),
        "{head}"
    );
    assert_eq!((&body["to"], &body["template"]), (&json!(PHONE), &json!("shipped")));
    assert!(body["text"].as_str().unwrap().contains("T-1"), "{body}");
    assert_eq!(sender.send_next(Channel::Sms).await.unwrap(), Looked::Nothing);
    post.assert_nothing_kept_of(&[PHONE]).await;
}

#[tokio::test]
async fn a_webhook_that_leads_elsewhere_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let webhook = webhook(port);
    let message = TextMessage {
        id: "1@shop.example",
        to: PHONE,
        text: "hello",
        template: MailTemplate::Shipped,
        locale: "en",
    };
    let elsewhere = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\n\
                     content-length: 0\r\n\r\n";
    let (outcome, _) = tokio::join!(webhook.send(&message), answer_one(&listener, elsewhere));
    assert_eq!(outcome, Outcome::Never { why: "the webhook answered 307".to_owned() });
}
