//! Text messages are sent through a signed webhook, if the shop has configured one.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::MailTemplate;
use relay::Sink as _;
use relay::mail::{Channel, Looked, Outcome, SmsSecret, SmsWebhook, TextMessage, TextMessages};
use ring::hmac::{HMAC_SHA256, Key, verify};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::post::{Post, messages, reserved, sender_to, shipped, sink};

const PHONE: &str = "+44 20 7946 0000";

/// The signing key, without the prefix `whsec_`.
const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Receives one request, answers it, and returns its head and body.
async fn answer_one(listener: &TcpListener, answer: &str) -> (String, String) {
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
    (head.to_owned(), body.to_owned())
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let (_name, value) = lines.find(|(it, _value)| it.eq_ignore_ascii_case(name)).unwrap();
    value
}

/// Whether a request is signed with this key in Base64, verified as the Standard Webhooks
/// specification requires of receivers.
fn is_signed(head: &str, body: &str, secret: &str) -> bool {
    let (id, timestamp) = (header(head, "webhook-id"), header(head, "webhook-timestamp"));
    let signature = header(head, "webhook-signature").strip_prefix("v1,").unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    let key = Key::new(HMAC_SHA256, &STANDARD.decode(secret).unwrap());
    verify(&key, format!("{id}.{timestamp}.{body}").as_bytes(), &signature).is_ok()
}

fn webhook(port: u16) -> SmsWebhook {
    let secret = SmsSecret::parse(&format!("whsec_{SECRET}")).unwrap();
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
    assert_eq!(header(&head, "webhook-id"), format!("{order_id}.3.shipped.sms@shop.example"));
    assert!(is_signed(&head, &body, SECRET), "{head}");
    let changed = body.replace(PHONE, "+44 20 7946 0001");
    assert_ne!(changed, body);
    assert!(!is_signed(&head, &changed, SECRET), "{head}");
    assert!(!is_signed(&head, &body, &STANDARD.encode([7; 24])), "{head}");
    let timestamp = header(&head, "webhook-timestamp");
    let another = head.replace(timestamp, "1767225600");
    assert!(!is_signed(&another, &body, SECRET), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
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
