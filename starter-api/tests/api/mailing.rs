//! Customers' mail preferences, and operators' decisions about mails.

use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::life::record;
use crate::shop::{Answer, Shop, send};

/// The token of the mail in the examples.
const TOKEN: &str = "0b0a4d3e-8f5c-4f6b-9a43-3a7f3a3f5b11";

/// A mail about this order that the server has refused. The first one has the number 1.
pub(crate) async fn parked_mail(database: &PgPool, order_id: Uuid) {
    sqlx::query!(
        "insert into mail.notifications
             (fact, template, channel, order_id, sequence, message_id, policy, state, why,
              parked_at, unsubscribe)
         values ($1::text || ':6', 'shipped', 'mail', $1::text::uuid, 6, 'one@shop.example',
             'at-most-once', 'parked', 'the server does not take the recipient: 550 5.1.1',
             now(), $2::text::uuid)",
        order_id.to_string(),
        TOKEN,
    )
    .execute(database)
    .await
    .unwrap();
}

/// A shop with an order of ada's, a parked mail about it, and a queued one.
async fn shop_with_mails(database: &PgPool) -> (Shop, Uuid) {
    let shop = Shop::open(database.clone()).await;
    let order_id = Uuid::now_v7();
    record(database, order_id, "ada", "2026-01-02T03:04:05Z").await;
    parked_mail(database, order_id).await;
    sqlx::query!(
        "insert into mail.notifications
             (fact, template, channel, order_id, sequence, message_id, policy)
         values ('one:7', 'cancelled', 'mail', $1, 7, 'two@shop.example', 'at-least-once')",
        order_id,
    )
    .execute(database)
    .await
    .unwrap();
    (shop, order_id)
}

async fn put(shop: &Shop, path: &str, body: &Value) -> Answer {
    send(shop.request("PUT", path).json(body)).await
}

/// The numbers of the listed mails.
async fn listed(shop: &Shop, path: &str) -> Vec<i64> {
    let page = shop.get(path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let items = page.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["notification_id"].as_i64().unwrap()).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn mails_are_listed_with_what_became_of_them_and_without_whom_they_go_to(database: PgPool) {
    let (shop, order_id) = shop_with_mails(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let page = eve.get("/v1/mail?state=parked").await;
    let mut parked = page.json()["items"][0].clone();
    for changing in ["created_at", "order_id", "fact"] {
        assert!(parked.as_object_mut().unwrap().remove(changing).is_some(), "{changing}");
    }
    expect![[r#"
        {
          "channel": "mail",
          "deferrals": 0,
          "notification_id": 1,
          "policy": "at-most-once",
          "state": "parked",
          "template": "shipped",
          "why": "the server does not take the recipient: 550 5.1.1"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&parked).unwrap());
    assert_eq!(listed(&eve, "/v1/mail").await, [1, 2]);
    assert_eq!(listed(&eve, "/v1/mail?limit=1&cursor=1").await, [2]);
    assert_eq!(listed(&eve, &format!("/v1/mail?state=queued&order_id={order_id}")).await, [2]);
    assert_eq!(listed(&eve, &format!("/v1/mail?order_id={}", Uuid::nil())).await, [0_i64; 0]);
    assert_eq!(eve.get("/v1/mail?state=lost").await.problem(), "malformed-request");
    for role in ["customer", "service", "finance"] {
        let refused = shop.asked_by("eve", role).get("/v1/mail").await;
        assert_eq!(refused.problem(), "insufficient-scope", "{role}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_mail_is_sent_again_or_given_up_by_a_person_and_it_is_on_record_who(database: PgPool) {
    let (shop, _) = shop_with_mails(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let retried = eve.post("/v1/mail/1/retry", &json!({})).await;
    assert_eq!(retried.status, 200, "{}", retried.text);
    let retried = retried.json();
    assert_eq!((&retried["state"], &retried["decided_by"]), (&json!("queued"), &json!("eve")));
    assert_eq!(retried["why"], Value::Null);
    // It is not parked any more; another one is queued, and will be sent; there are no more.
    for id in ["1", "2", "99", "first"] {
        let refused = eve.post(&format!("/v1/mail/{id}/retry"), &json!({})).await;
        assert_eq!(refused.problem(), "notification-not-found", "{id}");
    }
    let why = json!({"why": "told by telephone"});
    let skipped = eve.post("/v1/mail/2/skip", &why).await.json();
    assert_eq!((&skipped["state"], &skipped["why"]), (&json!("skipped"), &why["why"]));
    assert_eq!(eve.post("/v1/mail/2/skip", &why).await.problem(), "notification-not-found");
    let nameless = eve.post("/v1/mail/1/skip", &json!({"why": " "})).await;
    assert_eq!(nameless.json()["errors"][0]["pointer"], "/why", "{}", nameless.text);
    // A mail that is being sent cannot be decided.
    sqlx::query!("update mail.notifications set state = 'sending' where notification_id = 1")
        .execute(&database)
        .await
        .unwrap();
    assert_eq!(eve.post("/v1/mail/1/skip", &why).await.problem(), "notification-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whoever_has_a_mail_switches_its_kind_off_and_opening_the_link_does_not(database: PgPool) {
    let (shop, _) = shop_with_mails(&database).await;
    let anybody = shop.with_token(None);
    let path = format!("/v1/unsubscribe/{TOKEN}");
    let page = anybody.get(&path).await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let ada = shop.asked_by_customer("ada");
    assert_eq!(ada.get("/v1/customers/ada/mail").await.json()["switched_off"], json!([]));
    for _ in 0..2 {
        // As a mail program sends it (RFC 8058).
        let clicked = anybody.request("POST", &path).form(&[("List-Unsubscribe", "One-Click")]);
        assert_eq!(send(clicked).await.status, 200);
        let wanted = ada.get("/v1/customers/ada/mail").await.json();
        assert_eq!(wanted["switched_off"], json!(["shipped"]));
    }
    for token in [Uuid::nil().to_string(), "1".to_owned()] {
        let unknown = anybody.post(&format!("/v1/unsubscribe/{token}"), &json!({})).await;
        assert_eq!(unknown.problem(), "notification-not-found");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_says_what_mails_they_want(database: PgPool) {
    let shop = Shop::open(database).await;
    let ada = shop.asked_by_customer("ada");
    let wanted = json!({"locale": "de-AT", "switched_off": ["shipped", "shipped"]});
    let told = put(&ada, "/v1/customers/ada/mail", &wanted).await;
    expect![[r#"
        200 OK
        {
          "customer_id": "ada",
          "email": null,
          "locale": "de-AT",
          "switched_off": [
            "shipped"
          ],
          "waits": []
        }
    "#]]
    .assert_eq(&told.told());
    let wrong = json!({"locale": "german", "switched_off": ["back-in-stock", "confirmed"]});
    let refused = put(&ada, "/v1/customers/ada/mail", &wrong).await;
    let refused = refused.json();
    let pointers: Vec<_> =
        refused["errors"].as_array().unwrap().iter().map(|one| &one["pointer"]).collect();
    assert_eq!(pointers, ["/locale", "/switched_off/1"]);
    let unknown = put(&ada, "/v1/customers/ada/mail", &json!({"switched_off": ["news"]})).await;
    assert_eq!(unknown.problem(), "malformed-request");
    assert_eq!(
        put(&ada, "/v1/customers/bob/mail", &json!({})).await.problem(),
        "customer-not-found"
    );
    assert_eq!(ada.get("/v1/customers/bob/mail").await.problem(), "customer-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn only_the_shops_own_programs_say_where_else_mails_go(database: PgPool) {
    let shop = Shop::open(database).await;
    let (service, ada) = (shop.asked_by("web-shop", "service"), shop.asked_by_customer("ada"));
    let elsewhere = json!({"email": " Ada@Example.org "});
    let refused = put(&ada, "/v1/customers/ada/mail", &elsewhere).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/email", "{}", refused.text);
    let set = put(&service, "/v1/customers/ada/mail", &elsewhere).await;
    assert_eq!(set.json()["email"], "ada@example.org", "{}", set.text);
    // Her own update leaves it unchanged.
    let changed = put(&ada, "/v1/customers/ada/mail", &json!({"locale": "en"})).await;
    assert_eq!(changed.json()["email"], "ada@example.org", "{}", changed.text);
    let none = put(&service, "/v1/customers/ada/mail", &json!({"email": "ada"})).await;
    assert_eq!(none.json()["errors"][0]["pointer"], "/email", "{}", none.text);
    let gone = put(&service, "/v1/customers/ada/mail", &json!({})).await;
    assert_eq!(gone.json()["email"], Value::Null, "{}", gone.text);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_waits_once_for_an_article_until_they_do_not(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let ada = shop.asked_by_customer("ada");
    for _ in 0..2 {
        let waiting = send(ada.request("PUT", "/v1/customers/ada/waits/71053")).await;
        assert_eq!(waiting.json()["waits"][0]["sku"], "71053", "{}", waiting.text);
    }
    let waits = sqlx::query_scalar!(r#"select count(*) as "waits!" from mail.waits"#);
    assert_eq!(waits.fetch_one(&database).await.unwrap(), 1);
    let unknown = send(ada.request("PUT", "/v1/customers/ada/waits/NOTHING")).await;
    assert_eq!(unknown.problem(), "product-not-found");
    let others = send(ada.request("PUT", "/v1/customers/bob/waits/71053")).await;
    assert_eq!(others.problem(), "customer-not-found");
    for _ in 0..2 {
        let waiting = send(ada.request("DELETE", "/v1/customers/ada/waits/71053")).await;
        assert_eq!(waiting.json()["waits"], json!([]), "{}", waiting.text);
    }
}
