//! Stripe's events are stored once, if Stripe has signed them, and before they are acknowledged.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac::{HMAC_SHA256, Key, sign};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::{Limits, StripeMode, StripeWebhooks};

use crate::shop::{Answer, Shop, no_database, nowhere, send};

const SECRET: &str = "whsec_known_to_stripe_and_us";
const NEXT_SECRET: &str = "whsec_the_one_that_follows";

/// A shop whose webhook endpoint has these secrets, in test mode.
async fn shop_with(database: &PgPool, secrets: &str) -> Shop {
    let webhooks = StripeWebhooks::new(secrets, StripeMode::Test).unwrap();
    Shop::hearing(database.clone(), webhooks, Limits::default()).await.with_token(None)
}

async fn shop(database: &PgPool) -> Shop {
    shop_with(database, SECRET).await
}

/// An event: a refund of Ada's has failed.
fn event(id: &str) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2026-02-25.clover", "created": 1_793_534_400,
        "livemode": false, "pending_webhooks": 1, "type": "refund.failed",
        "data": {"object": {
            "id": "re_1a", "object": "refund", "amount": 2_430, "description": "Ada Lovelace",
        }},
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The signature of a body, in hexadecimal.
fn signature(secret: &str, at: i64, body: &str) -> String {
    let key = Key::new(HMAC_SHA256, secret.as_bytes());
    let tag = sign(&key, format!("{at}.{body}").as_bytes());
    let digits = tag.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn header(secret: &str, at: i64, body: &str) -> String {
    format!("t={at},v1={}", signature(secret, at, body))
}

async fn sent(shop: &Shop, headers: &[&str], body: String) -> Answer {
    let request = shop.request("POST", "/v1/webhooks/stripe");
    let request =
        headers.iter().fold(request, |request, header| request.header("Stripe-Signature", *header));
    send(request.header("Content-Type", "application/json; charset=utf-8").body(body)).await
}

/// Sends an event as Stripe does, now.
async fn told(shop: &Shop, event: &Value) -> Answer {
    let body = event.to_string();
    sent(shop, &[&header(SECRET, now(), &body)], body).await
}

/// The status and the problem of a response.
fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.problem())
}

fn signature_refused() -> (u16, String) {
    (400, "signature-refused".to_owned())
}

/// All stored events, with every relevant column.
async fn kept(database: &PgPool) -> Vec<String> {
    let rows = sqlx::query_scalar!(
        r#"select concat_ws(' ', event_id, type, object_kind, object_id, happened_at at time zone 'utc',
               state, attempts, last_error) as "row!"
           from inbox.events order by event_id"#
    );
    rows.fetch_all(database).await.unwrap()
}

/// An event that a worker has tried to apply, in vain.
pub(crate) async fn open_event(database: &PgPool, id: &str) {
    sqlx::query!(
        "insert into inbox.events (event_id, type, object_kind, object_id, happened_at, attempts,
             next_try_at, last_error)
         values ($1, 'refund.failed', 'refund', 're_1a', now(), 4, now() + interval '40 seconds',
             'no payment of this name is on record yet')",
        id,
    )
    .execute(database)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_event_is_kept_once_and_answered_when_it_is(database: PgPool) {
    let shop = shop(&database).await;
    for _ in 0..3 {
        let answer = told(&shop, &event("evt_1a")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
    }
    let mut without_id = event("evt_2b");
    without_id["data"]["object"] = json!({"object": "balance"});
    assert_eq!(told(&shop, &without_id).await.status, 200);
    assert_eq!(
        kept(&database).await,
        [
            "evt_1a refund.failed refund re_1a 2026-11-01 12:00:00 open 0",
            "evt_2b refund.failed balance 2026-11-01 12:00:00 open 0",
        ]
    );
    // An applied event is not stored again.
    sqlx::query!("update inbox.events set state = 'applied', done_at = now()")
        .execute(&database)
        .await
        .unwrap();
    assert_eq!(told(&shop, &event("evt_1a")).await.status, 200);
    assert!(kept(&database).await.iter().all(|row| row.contains("applied")));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_stripe_has_not_signed_as_it_came_is_not_kept(database: PgPool) {
    let shop = shop(&database).await;
    let body = event("evt_1a").to_string();
    let signed = header(SECRET, now(), &body);
    let truncated = body.strip_suffix('}').unwrap();
    let pretty = serde_json::to_string_pretty(&event("evt_1a")).unwrap();
    for (what, header, body) in [
        ("forged", header("whsec_of_somebody_else", now(), &body), body.as_str()),
        ("truncated", signed.clone(), truncated),
        ("re-serialised", signed.clone(), pretty.as_str()),
        ("empty", signed.clone(), ""),
        ("another one's", signed.clone(), "{}"),
        ("unsigned", format!("t={}", now()), body.as_str()),
        ("of another scheme", signed.replace("v1=", "v0="), body.as_str()),
        ("of another moment", signed.replacen("t=", "t=1", 1), body.as_str()),
        ("old", header(SECRET, now().saturating_sub(310), &body), body.as_str()),
        ("from the future", header(SECRET, now().saturating_add(310), &body), body.as_str()),
    ] {
        let answer = sent(&shop, &[&header], body.to_owned()).await;
        assert_eq!(refused(&answer), signature_refused(), "{what}");
        assert!(!answer.text.contains(SECRET), "{what}");
    }
    let answer = sent(&shop, &[], body.clone()).await;
    assert_eq!(refused(&answer), signature_refused(), "without a header");
    let answer = sent(&shop, &[&signed, &signed], body.clone()).await;
    assert_eq!(refused(&answer), signature_refused(), "with two headers");
    assert_eq!(kept(&database).await, [""; 0]);
    assert_eq!(sent(&shop, &[&signed], body).await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn while_one_secret_replaces_another_either_counts(database: PgPool) {
    let old = shop(&database).await;
    let both = shop_with(&database, &format!("{SECRET},{NEXT_SECRET}")).await;
    let new = shop_with(&database, NEXT_SECRET).await;
    let (at, body) = (now(), event("evt_1a").to_string());
    let (first, second) = (signature(SECRET, at, &body), signature(NEXT_SECRET, at, &body));
    let by_old = format!("t={at},v1={first}");
    let by_new = format!("t={at},v1={second}");
    let by_both = format!("t={at},v1={first},v1={second}");
    for (shop, header, status) in [
        (&old, &by_old, 200),
        (&old, &by_both, 200),
        (&old, &by_new, 400),
        (&both, &by_old, 200),
        (&both, &by_new, 200),
        (&both, &by_both, 200),
        (&new, &by_both, 200),
        (&new, &by_new, 200),
        (&new, &by_old, 400),
    ] {
        let answer = sent(shop, &[header], body.clone()).await;
        assert_eq!(answer.status, status, "{header}: {}", answer.text);
    }
    assert_eq!(kept(&database).await.len(), 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_event_of_another_mode_or_account_is_not_kept(database: PgPool) {
    let shop = shop(&database).await;
    let mut live = event("evt_1a");
    live["livemode"] = json!(true);
    let mut of_another = event("evt_2b");
    of_another["account"] = json!("acct_1a");
    for event in [live, of_another] {
        let answer = told(&shop, &event).await;
        assert_eq!(refused(&answer), (422, "event-of-another-account".to_owned()));
    }
    let webhooks = StripeWebhooks::new(SECRET, StripeMode::Live).unwrap();
    let live_shop = Shop::hearing(database.clone(), webhooks, Limits::default()).await;
    assert_eq!(told(&live_shop, &event("evt_3c")).await.status, 422);
    assert_eq!(kept(&database).await, [""; 0]);
    let mut live = event("evt_4d");
    live["livemode"] = json!(true);
    assert_eq!(told(&live_shop, &live).await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_signed_and_is_no_event_is_refused_without_its_words(database: PgPool) {
    let shop = shop(&database).await;
    let mut nameless = event("evt_1a");
    nameless["id"] = json!("");
    for body in ["", "Ada", "[]", "{}", r#"{"id": "Ada"}"#, &nameless.to_string()] {
        let header = header(SECRET, now(), body);
        let answer = sent(&shop, &[&header], body.to_owned()).await;
        assert_eq!(refused(&answer), (400, "malformed-request".to_owned()), "{body}");
        assert!(!answer.text.contains("Ada"), "{}", answer.text);
    }
    assert_eq!(kept(&database).await, [""; 0]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_body_that_is_too_large_is_not_read(database: PgPool) {
    let webhooks = StripeWebhooks::new(SECRET, StripeMode::Test).unwrap();
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    let shop = Shop::hearing(database.clone(), webhooks, limits).await;
    let mut large = event("evt_1a");
    large["data"]["object"]["description"] = json!("x".repeat(1_000));
    assert_eq!(refused(&told(&shop, &large).await), (413, "body-too-large".to_owned()));
    assert_eq!(kept(&database).await, [""; 0]);
    assert_eq!(told(&shop, &event("evt_1a")).await.status, 200);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_shop_without_a_secret_takes_no_webhooks(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    assert_eq!(
        refused(&told(&shop, &event("evt_1a")).await),
        (404, "webhooks-not-taken".to_owned())
    );
    assert_eq!(kept(&database).await, [""; 0]);
}

#[tokio::test]
async fn an_event_that_cannot_be_kept_is_to_be_sent_again() {
    let webhooks = StripeWebhooks::new(SECRET, StripeMode::Test).unwrap();
    let shop = Shop::hearing(no_database(), webhooks, Limits::default()).await;
    let answer = told(&shop, &event("evt_1a")).await;
    assert_eq!(refused(&answer), (503, "try-again".to_owned()));
    assert!(answer.header("retry-after").is_some());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn operators_see_what_waits_and_have_it_looked_at_again(database: PgPool) {
    let shop = shop(&database).await;
    let eve = shop.asked_by("eve", "operator");
    for id in ["evt_1a", "evt_2b", "evt_3c"] {
        open_event(&database, id).await;
    }
    sqlx::query!(
        "update inbox.events set state = 'applied', done_at = now() where event_id = 'evt_3c'"
    )
    .execute(&database)
    .await
    .unwrap();
    let page = eve.get("/v1/webhooks/events?status=open&limit=1").await.json();
    assert_eq!(page["items"][0]["event_id"], "evt_1a");
    assert_eq!(page["items"][0]["last_error"], "no payment of this name is on record yet");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = eve.get(&format!("/v1/webhooks/events?cursor={cursor}")).await.json();
    assert_eq!(
        (&rest["items"][0]["event_id"], &rest["next_cursor"]),
        (&json!("evt_2b"), &Value::Null)
    );
    let applied = eve.get("/v1/webhooks/events?status=applied").await.json();
    assert_eq!(applied["items"][0]["event_id"], "evt_3c");
    assert_eq!(applied["items"][0]["next_try_at"], Value::Null);

    let again = send(eve.request("POST", "/v1/webhooks/events/evt_1a/retry")).await;
    assert_eq!((again.status.as_u16(), &again.json()["status"]), (200, &json!("open")));
    let due = sqlx::query_scalar!(
        r#"select event_id from inbox.events where state = 'open' and next_try_at <= now()"#
    );
    assert_eq!(due.fetch_all(&database).await.unwrap(), ["evt_1a"]);
    for id in ["evt_3c", "evt_4d", "%00"] {
        let path = format!("/v1/webhooks/events/{id}/retry");
        let unknown = send(eve.request("POST", &path)).await;
        assert_eq!(refused(&unknown), (404, "event-not-found".to_owned()), "{id}");
    }
    for status in ["closed", "open,applied", ""] {
        let path = format!("/v1/webhooks/events?status={status}");
        assert_eq!(eve.get(&path).await.problem(), "malformed-request", "{status}");
    }
    let ada = shop.asked_by_customer("ada");
    assert_eq!(ada.get("/v1/webhooks/events").await.problem(), "insufficient-scope");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_event_that_fits_nothing_is_dismissed_once_and_it_is_on_record_who_did(
    database: PgPool,
) {
    let shop = shop(&database).await;
    let eve = shop.asked_by("eve", "operator");
    for id in ["evt_1a", "evt_2b"] {
        open_event(&database, id).await;
    }
    let why = json!({ "why": "a payment of our other shop" });
    let path = "/v1/webhooks/events/evt_1a/dismiss";
    let nameless = eve.post(path, &json!({ "why": "" })).await;
    assert_eq!(nameless.json()["errors"][0]["pointer"], "/why", "{}", nameless.text);
    let dismissed = eve.post(path, &why).await;
    assert_eq!(dismissed.status, 200, "{}", dismissed.text);
    let shown = dismissed.json();
    assert_eq!(
        (&shown["status"], &shown["dismissed_by"], &shown["dismissed_why"], &shown["last_error"]),
        (
            &json!("ignored"),
            &json!("eve"),
            &why["why"],
            &json!("no payment of this name is on record yet")
        )
    );
    let open = eve.get("/v1/webhooks/events").await.json();
    let open: Vec<_> =
        open["items"].as_array().unwrap().iter().map(|event| &event["event_id"]).collect();
    assert_eq!(open, ["evt_2b"]);
    for id in ["evt_1a", "evt_3c", "%00"] {
        let unknown = eve.post(&format!("/v1/webhooks/events/{id}/dismiss"), &why).await;
        assert_eq!(refused(&unknown), (404, "event-not-found".to_owned()), "{id}");
    }
    // Stripe sends it again, and it stays as it is.
    assert_eq!(told(&shop, &event("evt_1a")).await.status, 200);
    let standing = sqlx::query_scalar!("select state from inbox.events where event_id = 'evt_1a'");
    assert_eq!(standing.fetch_one(&database).await.unwrap(), "ignored");
    let ada = shop.asked_by_customer("ada");
    let path = "/v1/webhooks/events/evt_2b/dismiss";
    assert_eq!(ada.post(path, &why).await.problem(), "insufficient-scope");
}
