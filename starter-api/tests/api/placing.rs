use std::time::Duration;

use domain::{CaptureAt, CustomerId, OrderId};
use expect_test::expect;
use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};
use starter_api::{Limits, Temporal};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::life::{captured, happen, reserved};
use crate::shop::{Answer, Shop, fresh, nowhere, order, send};

fn order_id(placed: &Answer) -> String {
    placed.json()["order_id"].as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_taken_in_at_the_shops_prices(database: PgPool) {
    let shop = Shop::open(database).await;
    let placed = shop.post("/v1/orders", &order("ada")).await;
    let told = placed
        .told()
        .replace(&order_id(&placed), "ORDER")
        .replace(placed.json()["placed_at"].as_str().unwrap(), "NOW");
    expect![[r#"
        201 Created
        {
          "customer_id": "ada",
          "discount_code": null,
          "fulfilment_status": "none",
          "lines": [
            {
              "line_total": {
                "amount": "15.30",
                "currency": "GBP"
              },
              "quantity": 6,
              "sku": "85123A",
              "unit_price": {
                "amount": "2.55",
                "currency": "GBP"
              }
            }
          ],
          "order_id": "ORDER",
          "payment_status": "none",
          "placed_at": "NOW",
          "ship_to": {
            "address_id": null,
            "country": "GB"
          },
          "status": "processing",
          "terms": {
            "approval_seconds": 900,
            "cancel_window_seconds": 0,
            "capture_at": "hand-over",
            "patience_seconds": null,
            "payment_retry_seconds": 0
          },
          "totals": {
            "discount": {
              "amount": "0.00",
              "currency": "GBP"
            },
            "shipping": {
              "amount": "3.95",
              "currency": "GBP"
            },
            "subtotal": {
              "amount": "15.30",
              "currency": "GBP"
            },
            "tax": {
              "amount": "3.85",
              "currency": "GBP"
            },
            "total": {
              "amount": "23.10",
              "currency": "GBP"
            }
          },
          "unwinding": false
        }
    "#]]
    .assert_eq(&told);
    let location = placed.header("location").unwrap();
    assert_eq!(location, format!("/v1/orders/{}", order_id(&placed)));
    assert_eq!(shop.get(location).await.json(), placed.json());
    assert_eq!(placed.header("idempotency-replayed"), None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_same_key_and_body_is_the_same_order(database: PgPool) {
    let shop = Shop::open(database).await;
    let (key, order) = (fresh("key"), order("ada"));
    let first = shop.place(&key, &order).await;
    // The same order, written differently.
    let mut again = order.clone();
    again["discount_code"] = Value::Null;
    let second = shop.place(&key, &again).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.json(), second.json());
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_repeat_is_the_same_answer_though_the_order_has_moved_on(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (key, wish) = (fresh("key"), order("ada"));
    let first = shop.place(&key, &wish).await;
    happen(&database, order_id(&first).parse().unwrap(), &[reserved(), captured()]).await;

    let again = shop.place(&key, &wish).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    let mut told = again.headers.clone();
    assert_eq!(told.remove("idempotency-replayed").unwrap(), "true");
    let ours = |mut headers: reqwest::header::HeaderMap| {
        for each_its_own in ["date", "x-request-id", "ratelimit"] {
            headers.remove(each_its_own);
        }
        headers
    };
    assert_eq!(ours(told), ours(first.headers));
    // A caller who waits sees the current status.
    let waiting = shop.request("POST", "/v1/orders").header("Idempotency-Key", &key);
    let waited = send(waiting.header("Prefer", "wait=5").json(&wish)).await;
    assert_eq!(waited.json()["payment_status"], "paid");
    assert_eq!(waited.header("preference-applied"), Some("wait=5"));
    // Quoted, as in the draft standard, the key is the same.
    assert_eq!(shop.place(&format!("\"{key}\""), &wish).await.text, first.text);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_request_that_was_refused_has_used_up_no_key(database: PgPool) {
    let shop = Shop::open(database).await;
    let (key, mut wish) = (fresh("key"), order("ada"));
    wish["lines"][0]["sku"] = json!("NOPE");
    assert_eq!(shop.place(&key, &wish).await.problem(), "invalid-request");
    let mended = shop.place(&key, &order("ada")).await;
    assert_eq!((mended.status.as_u16(), mended.header("idempotency-replayed")), (201, None));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn many_at_once_under_one_key_are_one_order(database: PgPool) {
    let shop = Shop::open(database).await;
    let (key, order) = (fresh("key"), order("ada"));
    let answers = futures::future::join_all((0..20).map(|_| shop.place(&key, &order))).await;
    let firsts = answers.iter().filter(|it| it.header("idempotency-replayed").is_none()).count();
    assert_eq!(firsts, 1, "the order was taken in {firsts} times");
    assert!(answers.iter().all(|it| it.json() == answers[0].json()));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_same_key_with_another_body_is_refused(database: PgPool) {
    let shop = Shop::open(database).await;
    let (key, mut order) = (fresh("key"), order("ada"));
    assert_eq!(shop.place(&key, &order).await.status, 201);
    order["lines"][0]["quantity"] = json!(7);
    let other = shop.place(&key, &order).await;
    assert_eq!((other.status.as_u16(), other.problem().as_str()), (422, "idempotency-key-reused"));
    // Keys of different customers are independent.
    order["customer_id"] = json!("bob");
    assert_eq!(shop.place(&key, &order).await.status, 201);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_repeat_needs_no_temporal(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (key, mut wanted) = (fresh("key"), order("ada"));
    let placed = shop.place(&key, &wanted).await;

    let forgetful = Shop::with(database, nowhere(), Limits::default()).await;
    let again = forgetful.place(&key, &wanted).await;
    assert_eq!(again.status, 201, "{}", again.text);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), placed.json());
    wanted["payment_token"] = json!("tok_mastercard");
    assert_eq!(forgetful.place(&key, &wanted).await.problem(), "idempotency-key-reused");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_repeat_is_answered_though_the_price_has_changed_since(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (key, mut wish) = (fresh("key"), order("ada"));
    wish["expected_total"] = json!({"amount": "23.10", "currency": "GBP"});
    let placed = shop.place(&key, &wish).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    sqlx::query!("update catalog.products set unit_price = 99").execute(&database).await.unwrap();
    // A shop that has not cached the old price.
    let reopened = Shop::with(database, Temporal::from_env().unwrap(), Limits::default()).await;
    let again = reopened.place(&key, &wish).await;
    assert_eq!((again.status.as_u16(), again.json()), (201, placed.json()));
    let other = reopened.place(&fresh("key"), &wish).await;
    assert_eq!(other.problem(), "price-changed");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_price_that_is_not_the_expected_one_is_shown(database: PgPool) {
    let shop = Shop::open(database).await;
    let (key, mut wish) = (fresh("key"), order("ada"));
    wish["expected_total"] = json!({"amount": "23.09", "currency": "GBP"});
    let answer = shop.place(&key, &wish).await;
    expect![[r#"
        409 Conflict
        {
          "actual_total": {
            "amount": "23.10",
            "currency": "GBP"
          },
          "detail": "The order was expected to cost 23.09 GBP and costs 23.10 GBP. Nothing was done; show the customer the new price and order again.",
          "expected_total": {
            "amount": "23.09",
            "currency": "GBP"
          },
          "status": 409,
          "title": "The price has changed",
          "type": "/docs/problems.md#price-changed"
        }
    "#]].assert_eq(&answer.told());
    shop.assert_nothing_left("ada", &key).await;
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_bad_order_is_told_every_broken_rule_and_leaves_nothing_behind(database: PgPool) {
    let shop = Shop::open(database).await;
    let changes = [
        ("/payment_token", json!("4111111111111111")),
        ("/payment_token", json!("tok_4111111111111111")),
        ("/customer_id", json!("")),
        ("/customer_id", json!("a b")),
        ("/lines", json!([])),
        ("/lines/0/sku", json!("NOPE")),
        ("/lines/0/quantity", json!(0)),
        ("/ship_to/country", json!("UK")),
        ("/ship_to", json!({"country": "GB", "name": "Ada Lovelace"})),
        (
            "/ship_to",
            json!({"country": "GB", "name": "Ada\u{0}", "line1": "1 St", "city": "L", "postal_code": "N1"}),
        ),
        ("/discount_code", json!("no code")),
        ("/expected_total", json!({"amount": "1.999", "currency": "GBP"})),
        ("/expected_total", json!({"amount": "100.5", "currency": "JPY"})),
        ("/expected_total", json!({"amount": "-1", "currency": "GBP"})),
        ("/expected_total", json!({"amount": "1e3", "currency": "GBP"})),
        ("/expected_total", json!({"amount": "2_5.98", "currency": "GBP"})),
        ("/expected_total", json!({"amount": "1", "currency": "XAU"})),
        ("/expected_total", json!({"amount": "1", "currency": "ZZZ"})),
        ("/cancel_window_seconds", json!(-1)),
        ("/cancel_window_seconds", json!(99_999_999)),
        ("/patience_seconds", json!(0)),
    ];
    let mut told = String::new();
    for (pointer, value) in changes {
        let (key, mut wish) = (fresh("key"), order("ada"));
        match wish.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => wish[pointer.trim_start_matches('/')] = value.clone(),
        }
        let answer = shop.place(&key, &wish).await;
        assert_eq!(answer.status, 422, "{pointer} {value}: {}", answer.text);
        assert!(!answer.text.contains("4111"), "a card number was echoed: {}", answer.text);
        let problem = answer.json();
        for error in problem["errors"].as_array().unwrap() {
            let (at, detail) =
                (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap());
            told += &format!(
                "{at} = {}\n    {detail}\n",
                value.to_string().chars().take(60).collect::<String>()
            );
        }
        shop.assert_nothing_left("ada", &key).await;
    }
    expect![[r#"
        /payment_token = "4111111111111111"
            a payment token is `tok_…`, `pm_…` or `cus_…/pm_…` with letters, digits, `-`, `_` or `.`: never a card number
        /payment_token = "tok_4111111111111111"
            a payment token is `tok_…`, `pm_…` or `cus_…/pm_…` with letters, digits, `-`, `_` or `.`: never a card number
        /customer_id = ""
            a customer id is 1 to 64 letters, digits, `-`, `_` or `.`
        /customer_id = "a b"
            a customer id is 1 to 64 letters, digits, `-`, `_` or `.`
        /lines = []
            an order has at least one line
        /lines/0/sku = "NOPE"
            the shop does not sell NOPE
        /lines/0/quantity = 0
            a quantity is a whole number from 1 to 100000, not 0
        /ship_to/country = "UK"
            `UK` is not an ISO 3166-1 alpha-2 country code, such as GB or DE
        /ship_to/line1 = {"country":"GB","name":"Ada Lovelace"}
            a text of 1 to 200 characters on one line
        /ship_to/city = {"country":"GB","name":"Ada Lovelace"}
            a text of 1 to 100 characters on one line
        /ship_to/postal_code = {"country":"GB","name":"Ada Lovelace"}
            a text of 1 to 20 characters on one line
        /ship_to/name = {"city":"L","country":"GB","line1":"1 St","name":"Ada\u0000"
            a text of 1 to 200 characters on one line
        /discount_code = "no code"
            a discount code is 1 to 32 letters, digits, `-`, `_` or `.`
        /expected_total/amount = {"amount":"1.999","currency":"GBP"}
            GBP has 2 decimals; 1.999 has more
        /expected_total/amount = {"amount":"100.5","currency":"JPY"}
            JPY has 0 decimals; 100.5 has more
        /expected_total/amount = {"amount":"-1","currency":"GBP"}
            an amount is never negative; direction is given by the account
        /expected_total/amount = {"amount":"1e3","currency":"GBP"}
            an amount is a decimal number as text, such as "19.99"
        /expected_total/amount = {"amount":"2_5.98","currency":"GBP"}
            an amount is a decimal number as text, such as "19.99"
        /expected_total/amount = {"amount":"1","currency":"XAU"}
            XAU is not a currency to pay in
        /expected_total/currency = {"amount":"1","currency":"ZZZ"}
            a currency is a code of ISO 4217, such as GBP
        /cancel_window_seconds = -1
            a whole number of seconds from 0 to 2592000
        /cancel_window_seconds = 99999999
            a whole number of seconds from 0 to 2592000
        /patience_seconds = 0
            a whole number of seconds from 1 to 604800
    "#]].assert_eq(&told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_card_number_is_never_echoed_wherever_it_stands(database: PgPool) {
    let shop = Shop::open(database).await;
    for wish in [
        json!({"payment_token": 4_111_111_111_111_111_u64}),
        json!({"customer_id": 4_111_111_111_111_111_u64}),
        json!({"customer_id": "ada", "lines": "4111111111111111"}),
        json!({"customer_id": "ada", "lines": [], "ship_to": "4111111111111111"}),
    ] {
        let answer = shop.place(&fresh("key"), &wish).await;
        assert_eq!(answer.problem(), "malformed-request");
        assert!(!answer.text.contains("4111"), "{}", answer.text);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_key_that_is_no_key_is_refused(database: PgPool) {
    let shop = Shop::open(database).await;
    for key in ["", "a b", "é", "\"", "\"\"", "\"half", "\"a\"b\"", "x".repeat(256).as_str()] {
        let answer = shop.place(key, &order("ada")).await;
        assert_eq!(answer.problem(), "malformed-request", "{key}");
    }
    let twice = shop.request("POST", "/v1/orders").header("Idempotency-Key", "a");
    let twice = send(twice.header("Idempotency-Key", "b").json(&order("ada"))).await;
    assert_eq!(twice.problem(), "malformed-request");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn name_and_street_stay_in_the_database(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let mut wish = order("ada");
    wish["ship_to"] = json!({
        "country": "GB", "name": " Ada Lovelace ", "line1": "12 St James's Square",
        "city": "London", "postal_code": "SW1Y 4JH",
    });
    let placed = shop.post("/v1/orders", &wish).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    let shown = shop.get(placed.header("location").unwrap()).await;
    assert!(!shown.text.contains("Lovelace") && !shown.text.contains("Square"), "{}", shown.text);
    let kept =
        sqlx::query!("select address_id, customer_id, name, country from customers.addresses")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!(shown.json()["ship_to"]["address_id"], kept.address_id.to_string());
    assert_eq!((kept.customer_id.as_str(), kept.name.as_str()), ("ada", "Ada Lovelace"));
    // The same address again is the same row.
    assert_eq!(shop.post("/v1/orders", &wish).await.status, 201);
    let rows = sqlx::query_scalar!(r#"select count(*) as "rows!" from customers.addresses"#);
    assert_eq!(rows.fetch_one(&database).await.unwrap(), 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_is_not_decided_in_time_is_answered_as_it_stands(database: PgPool) {
    let shop = Shop::open(database).await;
    let request = shop.request("POST", "/v1/orders").header("Prefer", "respond-async, wait=1");
    let placed = send(request.json(&order("ada"))).await;
    assert_eq!((placed.status.as_u16(), &placed.json()["status"]), (201, &json!("processing")));
    assert_eq!(placed.header("preference-applied"), None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_caller_who_waits_is_answered_once_the_order_is_decided(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let key = fresh("key");
    let id = OrderId::for_request(&CustomerId::parse("ada").unwrap(), &key).uuid();
    let request = shop.request("POST", "/v1/orders").header("Idempotency-Key", &key);
    let waiting = send(request.header("Prefer", "wait=20").json(&order("ada")));
    let deciding = async {
        while shop.get(&format!("/v1/orders/{id}")).await.status != 200 {}
        happen(&database, id, &[reserved(), captured()]).await;
    };
    let (placed, ()) = tokio::join!(waiting, deciding);
    assert_eq!(placed.json()["payment_status"], "paid", "{}", placed.text);
    assert_eq!(placed.header("preference-applied"), Some("wait=20"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn terms_that_are_not_asked_for_are_the_shops(database: PgPool) {
    let limits = Limits {
        cancel_window_seconds: 60,
        patience_seconds: Some(90),
        capture_at: CaptureAt::Placement,
        ..Limits::default()
    };
    Shop::open(database.clone()).await;
    let shop = Shop::with(database, Temporal::from_env().unwrap(), limits).await;
    let placed = shop.post("/v1/orders", &order("ada")).await.json();
    assert_eq!(
        placed["terms"],
        json!({
            "cancel_window_seconds": 60, "patience_seconds": 90, "capture_at": "placement",
            "approval_seconds": 900, "payment_retry_seconds": 0,
        })
    );
    let mut wish = order("ada");
    wish["cancel_window_seconds"] = json!(0);
    let placed = shop.post("/v1/orders", &wish).await.json();
    assert_eq!(placed["terms"]["cancel_window_seconds"], 0);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_address_is_complete_with_what_its_country_has(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let place = async |ship_to: serde_json::Value| {
        let mut wish = order("ada");
        wish["ship_to"] = ship_to;
        shop.place(&fresh("key"), &wish).await
    };
    for country in ["HK", "AE"] {
        let bare = json!({"country": country, "name": "Ada", "line1": "1 Queen's Road"});
        let placed = place(bare).await;
        assert_eq!(placed.status, 201, "{country}: {}", placed.text);
    }
    let empty =
        json!({"country": "IE", "name": "Ada", "line1": "1 St", "city": "Cork", "postal_code": ""});
    assert_eq!(place(empty).await.status, 201);
    let kept = sqlx::query_scalar::<_, String>(
        "select city || '/' || postal_code from customers.addresses order by country",
    );
    assert_eq!(kept.fetch_all(&database).await.unwrap(), ["/", "/", "Cork/"]);
    // Where the country has postal codes, one is required.
    let without = json!({"country": "GB", "name": "Ada", "line1": "1 St", "city": "London"});
    let refused = place(without).await;
    assert_eq!(refused.problem(), "invalid-request");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/ship_to/postal_code");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_comes_to_nothing_is_accepted(database: PgPool) {
    sqlx::raw_sql(
        "insert into catalog.discount_codes (code, kind, value) values ('GIFT', 'percent', 100);
         update catalog.shipping_rates set fee = 0 where country = 'GB'",
    )
    .execute(&database)
    .await
    .unwrap();
    let shop = Shop::open(database).await;
    let mut wish = order("ada");
    wish["discount_code"] = json!("GIFT");
    let placed = shop.place(&fresh("key"), &wish).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    assert_eq!(placed.json()["totals"]["total"]["amount"], "0.00");
    // A free order needs no discount code.
    let mut gift = order("ada");
    gift["lines"] = json!([{"sku": "SAMPLE", "quantity": 1}]);
    gift["expected_total"] = json!({"amount": "0", "currency": "GBP"});
    let placed = shop.place(&fresh("key"), &gift).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    assert_eq!(placed.json()["totals"]["total"]["amount"], "0.00");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_is_priced_to_the_smallest_coin_of_its_currency(database: PgPool) {
    sqlx::raw_sql(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency) values
             ('KW-1', 'DATES', 1.234, 0.5, 'KWD'), ('BH-1', 'PEARL', 0.005, 0.002, 'BHD');
         insert into catalog.shipping_rates (country, currency, fee) values ('BH', 'BHD', 0.5)",
    )
    .execute(&database)
    .await
    .unwrap();
    let shop = Shop::open(database).await;
    for (sku, country, total, currency) in [
        ("JP-1", "JP", "7920", "JPY"),
        ("KW-1", "KW", "10.827", "KWD"),
        ("BH-1", "BH", "0.567", "BHD"),
    ] {
        let mut wish = order("ada");
        wish["lines"] = json!([{"sku": sku, "quantity": 3}]);
        wish["ship_to"]["country"] = json!(country);
        wish["expected_total"] = json!({"amount": total, "currency": currency});
        let placed = shop.place(&fresh("key"), &wish).await;
        assert_eq!(placed.status, 201, "{}", placed.text);
        assert_eq!(placed.json()["totals"]["total"], wish["expected_total"]);
        let shown = shop.get(placed.header("location").unwrap()).await.json();
        assert_eq!(shown["totals"], placed.json()["totals"]);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_of_as_many_lines_as_there_may_be_is_taken(database: PgPool) {
    let shop = Shop::open(database).await;
    let mut wish = order("ada");
    wish["lines"] = Value::Array(vec![json!({"sku": "85123A", "quantity": 1}); 1_000]);
    let placed = shop.place(&fresh("key"), &wish).await;
    assert_eq!(placed.status, 201, "{}", placed.text);
    assert_eq!(placed.json()["lines"].as_array().unwrap().len(), 1_000);
    assert_eq!(placed.json()["totals"]["subtotal"]["amount"], "2550.00");
    let shown = shop.get(placed.header("location").unwrap()).await;
    assert_eq!(shown.json(), placed.json());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn whatever_script_an_address_is_written_in_it_is_kept_as_it_is(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    for (name, city) in [
        ("Zoë 🎁 O'Néill-Łukasiewicz", "Kraków"),
        ("דנה לוי", "תל אביב"),
        ("فاطمة الزهراء ١٢", "القاهرة"),
        ("👩🏽‍🚀 王小明", "台北市"),
        ("<b>Ada</b> &amp; \"Bob\"; drop table", "O'Fallon"),
    ] {
        let mut wish = order("ada");
        wish["ship_to"] = json!({
            "country": "GB", "name": name, "line1": "1 St", "city": city, "postal_code": "N1 1AA",
        });
        let placed = shop.place(&fresh("key"), &wish).await;
        assert_eq!(placed.status, 201, "{name}: {}", placed.text);
        let address = placed.json()["ship_to"]["address_id"].as_str().unwrap().to_owned();
        let kept = sqlx::query_scalar::<_, String>(
            "select name || '/' || city from customers.addresses where address_id::text = $1",
        );
        let kept = kept.bind(address).fetch_one(&database).await.unwrap();
        assert_eq!(kept, format!("{name}/{city}"));
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_discount_code_counts_in_any_case_and_is_kept_as_the_shop_writes_it(database: PgPool) {
    sqlx::raw_sql(
        "insert into catalog.discount_codes (code, kind, value) values
             ('Spring', 'percent', 10), ('SPRING', 'percent', 20), ('lower', 'percent', 10)",
    )
    .execute(&database)
    .await
    .unwrap();
    let shop = Shop::open(database).await;
    for (typed, kept, discount) in [
        ("welcome10", "WELCOME10", "1.53"),
        ("WELCOME10", "WELCOME10", "1.53"),
        ("LOWER", "lower", "1.53"),
        ("Spring", "Spring", "1.53"),
        ("SPRING", "SPRING", "3.06"),
    ] {
        let mut wish = order("ada");
        wish["discount_code"] = json!(typed);
        let placed = shop.place(&fresh("key"), &wish).await;
        assert_eq!(placed.status, 201, "{typed}: {}", placed.text);
        assert_eq!(placed.json()["discount_code"], kept);
        assert_eq!(placed.json()["totals"]["discount"]["amount"], discount, "{typed}");
    }
}

/// Blocks the recording of orders until it is committed or dropped: new orders queue meanwhile.
async fn hold(database: &PgPool) -> Transaction<'static, Postgres> {
    let mut held = database.begin().await.unwrap();
    let lock = sqlx::raw_sql("lock table orders.orders in share row exclusive mode");
    lock.execute(&mut *held).await.unwrap();
    held
}

/// The backends that wait to record orders, once there are so many.
async fn held_up(database: &PgPool, many: usize) -> Vec<i32> {
    let held_up = async {
        loop {
            let waiting = sqlx::query_scalar!(
                r#"select pid as "pid!" from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'
                       and query like '%orders.place_many%'"#
            );
            let waiting = waiting.fetch_all(database).await.unwrap();
            if waiting.len() >= many {
                break waiting;
            }
        }
    };
    timeout(Duration::from_secs(30), held_up).await.unwrap()
}

/// Places an order in a separate task, which waits for the response.
fn placing(shop: &Shop, key: &str, order: Value) -> JoinHandle<Answer> {
    let (shop, key) = (shop.clone(), key.to_owned());
    tokio::spawn(async move { shop.place(&key, &order).await })
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_that_come_at_once_are_each_placed_once(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let held = hold(&database).await;
    let (key, mut other) = (fresh("key"), order("ada"));
    other["lines"][0]["quantity"] = json!(7);
    let same: Vec<_> = (0..20).map(|_| placing(&shop, &key, order("ada"))).collect();
    let others: Vec<_> = (0..20).map(|_| placing(&shop, &key, other.clone())).collect();
    let each = (0..60).map(|number| placing(&shop, &fresh("key"), order(&format!("c-{number}"))));
    let each: Vec<_> = each.collect();
    held_up(&database, 2).await;
    held.commit().await.unwrap();

    let answers = async |all: Vec<JoinHandle<Answer>>| {
        join_all(all).await.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (same, others) = (answers(same).await, answers(others).await);
    // Whichever came first is the order; the other request is refused.
    let (placed, refused) = if same[0].status == 201 { (same, others) } else { (others, same) };
    assert!(placed.iter().all(|it| it.status == 201 && it.json() == placed[0].json()));
    let firsts = placed.iter().filter(|it| it.header("idempotency-replayed").is_none()).count();
    assert_eq!(firsts, 1);
    assert!(refused.iter().all(|it| it.problem() == "idempotency-key-reused"));
    for (number, answer) in answers(each).await.iter().enumerate() {
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert_eq!(answer.json()["customer_id"], format!("c-{number}"));
        assert_eq!(shop.get(answer.header("location").unwrap()).await.json(), answer.json());
    }
    let orders = sqlx::query_scalar!(r#"select count(*) as "n!" from orders.orders"#);
    assert_eq!(orders.fetch_one(&database).await.unwrap(), 61);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_the_database_refuses_does_no_harm_to_those_beside_it(database: PgPool) {
    sqlx::raw_sql("alter table orders.orders add check (customer_id <> 'bob')")
        .execute(&database)
        .await
        .unwrap();
    let shop = Shop::open(database.clone()).await;
    let held = hold(&database).await;
    let customers = (0..40).map(|number| if number % 8 == 7 { "bob" } else { "ada" });
    let all = customers.map(|who| (who, placing(&shop, &fresh("key"), order(who))));
    let all: Vec<_> = all.collect();
    held_up(&database, 2).await;
    held.commit().await.unwrap();
    for (who, answer) in all {
        let answer = answer.await.unwrap();
        let expected = if who == "bob" { 500 } else { 201 };
        assert_eq!(answer.status, expected, "{who}: {}", answer.text);
    }
    let rows = sqlx::query_scalar!(
        r#"select array[(select count(*) from orders.orders),
                        (select count(*) from orders.order_events)] as "rows!""#
    );
    assert_eq!(rows.fetch_one(&database).await.unwrap(), [35, 35]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_whose_writing_was_cut_off_is_placed_once_when_it_is_sent_again(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let held = hold(&database).await;
    let keys: Vec<_> = (0..30).map(|_| fresh("key")).collect();
    let all: Vec<_> = keys.iter().map(|key| placing(&shop, key, order("ada"))).collect();
    for pid in held_up(&database, 2).await {
        let ended = sqlx::query_scalar!(r#"select pg_terminate_backend($1) as "ended!""#, pid);
        assert!(ended.fetch_one(&database).await.unwrap());
    }
    held.commit().await.unwrap();
    let mut cut_off = 0_u32;
    for (key, answer) in keys.iter().zip(all) {
        let answer = answer.await.unwrap();
        if answer.status == 201 {
            continue;
        }
        cut_off = cut_off.saturating_add(1);
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (503, "try-again"));
        assert_eq!(answer.header("retry-after"), Some("2"));
        let again = shop.place(key, &order("ada")).await;
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, None));
    }
    assert!(cut_off >= 2, "each of the two statements that were cut off had an order");
    let orders = sqlx::query_scalar!(r#"select count(*) as "n!" from orders.orders"#);
    assert_eq!(orders.fetch_one(&database).await.unwrap(), 30);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_starter_that_is_stopped_answers_the_orders_that_have_queued(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let held = hold(&database).await;
    let all: Vec<_> = (0..10).map(|_| placing(&shop, &fresh("key"), order("ada"))).collect();
    held_up(&database, 2).await;
    shop.closing.cancel();
    let ready = async { while shop.get("/ready").await.json()["leaving"] != true {} };
    timeout(Duration::from_secs(30), ready).await.expect("the starter leaves");
    held.commit().await.unwrap();
    for answer in all {
        assert_eq!(answer.await.unwrap().status, 201);
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_repeat_is_answered_while_no_more_orders_can_be_written(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let key = fresh("key");
    let placed = shop.place(&key, &order("ada")).await;
    sqlx::raw_sql("revoke execute on function orders.place_many from ordersaga_starter")
        .execute(&database)
        .await
        .unwrap();
    assert_eq!(shop.place(&fresh("key"), &order("ada")).await.problem(), "try-again");
    let again = shop.place(&key, &order("ada")).await;
    assert_eq!((again.status.as_u16(), again.json()), (201, placed.json()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}
