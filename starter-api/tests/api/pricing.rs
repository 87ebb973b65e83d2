use domain::ProviderName;
use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::{Limits, Temporal};

use crate::shop::{Shop, fresh, order, send, stock};

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_quote_is_priced_by_the_shop(database: PgPool) {
    let shop = Shop::open(database).await;
    let quote = shop
        .post(
            "/v1/quotes",
            &json!({
                "lines": [{"sku": "85123A", "quantity": 6}, {"sku": "71053", "quantity": 1}],
                "ship_to": {"country": "GB"},
                "discount_code": "WELCOME10",
            }),
        )
        .await;
    expect![[r#"
        200 OK
        {
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
            },
            {
              "line_total": {
                "amount": "3.39",
                "currency": "GBP"
              },
              "quantity": 1,
              "sku": "71053",
              "unit_price": {
                "amount": "3.39",
                "currency": "GBP"
              }
            }
          ],
          "totals": {
            "discount": {
              "amount": "1.87",
              "currency": "GBP"
            },
            "shipping": {
              "amount": "3.95",
              "currency": "GBP"
            },
            "subtotal": {
              "amount": "18.69",
              "currency": "GBP"
            },
            "tax": {
              "amount": "4.15",
              "currency": "GBP"
            },
            "total": {
              "amount": "24.92",
              "currency": "GBP"
            }
          }
        }
    "#]]
    .assert_eq(&quote.told());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn every_broken_rule_of_a_basket_is_named(database: PgPool) {
    let shop = Shop::open(database).await;
    let many: Vec<Value> = vec![json!({"sku": "85123A", "quantity": 1}); 10_000];
    let one = |sku: &str, quantity: Value| json!([{"sku": sku, "quantity": quantity}]);
    let baskets = [
        ("no lines", json!([]), "GB", None),
        ("10,000 lines", json!(many), "GB", None),
        ("an unknown article", one("NOPE", json!(1)), "GB", None),
        ("no article number", one("a/b", json!(1)), "GB", None),
        ("no piece", one("85123A", json!(0)), "GB", None),
        ("fewer than none", one("85123A", json!(-1)), "GB", None),
        ("half a piece", one("85123A", json!(0.5)), "GB", None),
        ("too many pieces", one("85123A", json!(100_001)), "GB", None),
        ("far too many pieces", one("85123A", json!(1e30)), "GB", None),
        ("no country", one("85123A", json!(1)), "UK", None),
        ("a country the shop does not sell to", one("85123A", json!(1)), "KP", None),
        ("no way to get it there", one("JP-1", json!(1)), "FR", None),
        (
            "two currencies",
            json!([{"sku": "85123A", "quantity": 1}, {"sku": "JP-1", "quantity": 1}]),
            "GB",
            None,
        ),
        ("an unknown discount code", one("85123A", json!(1)), "GB", Some("NOPE")),
        ("a discount in pounds on yen", one("JP-1", json!(1)), "JP", Some("FIVEOFF")),
    ];
    let mut told = String::new();
    for (what, lines, country, discount) in baskets {
        let basket = json!({
            "lines": lines, "ship_to": {"country": country}, "discount_code": discount,
        });
        let answer = shop.post("/v1/quotes", &basket).await;
        assert_eq!(answer.problem(), "invalid-request", "{what}: {}", answer.text);
        let problem = answer.json();
        for error in problem["errors"].as_array().unwrap() {
            told += &format!(
                "{what}: {} {}\n",
                error["pointer"].as_str().unwrap(),
                error["detail"].as_str().unwrap()
            );
        }
    }
    expect![[r#"
        no lines: /lines an order has at least one line
        10,000 lines: /lines an order has at most 1000 lines, not 10000; split it
        an unknown article: /lines/0/sku the shop does not sell NOPE
        no article number: /lines/0/sku a SKU is 1 to 32 letters, digits, `-`, `_` or `.`, with spaces only inside
        no piece: /lines/0/quantity a quantity is a whole number from 1 to 100000, not 0
        fewer than none: /lines/0/quantity a quantity is a whole number from 1 to 100000, not -1
        half a piece: /lines/0/quantity a quantity is a whole number from 1 to 100000
        too many pieces: /lines/0/quantity a quantity is a whole number from 1 to 100000, not 100001
        far too many pieces: /lines/0/quantity a quantity is a whole number from 1 to 100000
        no country: /ship_to/country `UK` is not an ISO 3166-1 alpha-2 country code, such as GB or DE
        a country the shop does not sell to: /ship_to/country the shop does not ship to KP for GBP
        no way to get it there: /ship_to/country the shop does not ship to FR for JPY
        two currencies: /lines GBP and JPY do not add up
        an unknown discount code: /discount_code the discount code NOPE is not valid
        a discount in pounds on yen: /discount_code the discount is in GBP, the order in JPY
    "#]].assert_eq(&told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_payment_provider_cannot_charge_is_refused_at_the_quote(database: PgPool) {
    stock(&database).await;
    sqlx::raw_sql(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency) values
             ('KW-1', 'BISHT', 1.000, 0.400, 'KWD'), ('KW-2', 'BISHT', 1.005, 0.400, 'KWD')",
    )
    .execute(&database)
    .await
    .unwrap();
    let limits = Limits { payment_provider: ProviderName::Stripe, ..Limits::default() };
    let shop = Shop::with(database, Temporal::from_env().unwrap(), limits).await;
    // The parcel costs 7.125.
    let mut wish = order("ada");
    wish["ship_to"] = json!({"country": "KW"});
    wish["lines"] = json!([{"sku": "KW-1", "quantity": 1}]);
    let quote = |wish: &Value| json!({"lines": wish["lines"], "ship_to": wish["ship_to"]});
    for answer in
        [shop.post("/v1/quotes", &quote(&wish)).await, shop.place(&fresh("key"), &wish).await]
    {
        assert_eq!(answer.problem(), "invalid-request", "{}", answer.text);
        let told = "8.125 KWD cannot be charged, because it is no multiple of 0.01";
        assert_eq!(answer.json()["errors"][0], json!({"pointer": "/lines", "detail": told}));
    }
    wish["lines"] = json!([{"sku": "KW-2", "quantity": 1}]);
    let answer = shop.post("/v1/quotes", &quote(&wish)).await;
    assert_eq!(answer.json()["totals"]["total"]["amount"], "8.130", "{}", answer.text);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_body_that_cannot_be_read_is_refused_with_its_place(database: PgPool) {
    let shop = Shop::open(database).await;
    let bodies = [
        "",
        "{",
        "[]",
        "\"quote\"",
        r#"{"lines":[],"ship_to":{"country":"GB"}} trailing"#,
        r#"{"lines":[]}"#,
        r#"{"lines":[{"sku":"85123A","quantity":"six"}],"ship_to":{"country":"GB"}}"#,
        r#"{"lines":[{"sku":"85123A","quantity":6,"price":"0.01"}],"ship_to":{"country":"GB"}}"#,
        r#"{"lines":[{"sku":4111111111111111,"quantity":6}],"ship_to":{"country":"GB"}}"#,
        r#"{"lines":[],"ship_to":{"country":"GB"},"lines":[]}"#,
    ];
    let mut told = String::new();
    for body in bodies {
        let request = shop.request("POST", "/v1/quotes").header("content-type", "application/json");
        let answer = send(request.body(body)).await;
        assert_eq!(answer.problem(), "malformed-request", "{body}");
        assert!(!answer.text.contains("4111"), "a value was echoed: {}", answer.text);
        let problem = answer.json();
        let pointer = problem["errors"][0]["pointer"].as_str().unwrap_or("-");
        told += &format!("{body}\n    {pointer}: {}\n", problem["detail"].as_str().unwrap());
    }
    expect![[r#"

            -: The body is not JSON: it cannot be read on from line 1, column 0.
        {
            -: The body is not JSON: it cannot be read on from line 1, column 1.
        []
            -: expected an object (line 1, column 0)
        "quote"
            -: expected an object (line 1, column 7)
        {"lines":[],"ship_to":{"country":"GB"}} trailing
            -: The body is not JSON: it cannot be read on from line 1, column 41.
        {"lines":[]}
            -: missing field `ship_to` (line 1, column 12)
        {"lines":[{"sku":"85123A","quantity":"six"}],"ship_to":{"country":"GB"}}
            /lines/0/quantity: expected a number (line 1, column 42)
        {"lines":[{"sku":"85123A","quantity":6,"price":"0.01"}],"ship_to":{"country":"GB"}}
            /lines/0/price: unknown field `price`, expected `sku` or `quantity` (line 1, column 46)
        {"lines":[{"sku":4111111111111111,"quantity":6}],"ship_to":{"country":"GB"}}
            /lines/0/sku: expected a string (line 1, column 33)
        {"lines":[],"ship_to":{"country":"GB"},"lines":[]}
            -: duplicate field `lines` (line 1, column 46)
    "#]]
    .assert_eq(&told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn products_are_found_by_a_part_of_their_name(database: PgPool) {
    let shop = Shop::open(database).await;
    let found = shop.get("/v1/products?q=lantern").await;
    expect![[r#"
        200 OK
        {
          "items": [
            {
              "available": 5,
              "name": "WHITE METAL LANTERN",
              "sku": "71053",
              "unit_price": {
                "amount": "3.39",
                "currency": "GBP"
              }
            }
          ]
        }
    "#]]
    .assert_eq(&found.told());
    assert_eq!(shop.get("/v1/products?q=%25").await.json()["items"], json!([]));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn pages_of_products_neither_repeat_nor_skip(database: PgPool) {
    let shop = Shop::open(database).await;
    let (mut path, mut seen) = ("/v1/products?limit=3".to_owned(), Vec::new());
    loop {
        let page = shop.get(&path).await;
        for product in page.json()["items"].as_array().unwrap() {
            seen.push(product["sku"].as_str().unwrap().to_owned());
        }
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(seen, ["71053", "85123A", "JP-1", "SAMPLE"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_product_shows_what_is_left_of_it(database: PgPool) {
    let shop = Shop::open(database).await;
    let product = shop.get("/v1/products/85123A").await;
    assert_eq!(product.json()["available"], 60);
    assert_eq!(shop.get("/v1/products/SAMPLE").await.json()["available"], 0);
    for unknown in ["NOPE", "a%2Fb", "%00"] {
        let answer = shop.get(&format!("/v1/products/{unknown}")).await;
        assert_eq!(answer.problem(), "product-not-found", "{unknown}");
    }
}

/// Prices are read for all waiting callers at once; an unusable article only fails the callers that
/// name it.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_article_that_cannot_be_used_stops_only_those_who_name_it(database: PgPool) {
    sqlx::raw_sql(
        "insert into catalog.products (sku, name, unit_price, unit_cost, currency)
         values ('ODD', 'ODD', 1, 1, 'ZZZ')",
    )
    .execute(&database)
    .await
    .unwrap();
    let shop = Shop::open(database).await;
    let quote = |sku: &'static str| {
        let shop = shop.clone();
        async move {
            let basket = json!({
                "lines": [{"sku": sku, "quantity": 1}], "ship_to": {"country": "GB"},
            });
            shop.post("/v1/quotes", &basket).await.status.as_u16()
        }
    };
    let asked = ["85123A", "ODD", "71053", "ODD", "NOPE", "SAMPLE"];
    let answers = futures::future::join_all(asked.iter().cycle().take(60).map(|sku| quote(sku)));
    for (sku, status) in asked.iter().cycle().zip(answers.await) {
        let expected = match *sku {
            "ODD" => 500,
            "NOPE" => 422,
            _ => 200,
        };
        assert_eq!(status, expected, "{sku}");
    }
}
