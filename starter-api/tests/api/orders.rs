use expect_test::expect;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::life::{
    cancelled, captured, happen, needs_attention, record, rejected, reserved, unwinding, unwound,
    whole_life,
};
use crate::shop::{Shop, order};

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_on_record_is_shown_as_its_events_have_it(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::from_u128(1);
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let mut events = vec![reserved()];
    events.extend(unwound(&rejected()));
    happen(&database, id, &events).await;
    expect![[r#"
        200 OK
        {
          "customer_id": "ada",
          "discount_code": null,
          "fulfilment_status": "reserved",
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
          "order_id": "00000000-0000-0000-0000-000000000001",
          "payment_status": "none",
          "placed_at": "2026-01-02T03:04:05Z",
          "rejection": {
            "code": "card-declined",
            "decline_code": "insufficient_funds"
          },
          "ship_to": {
            "address_id": null,
            "country": "GB"
          },
          "status": "rejected",
          "terms": {
            "approval_seconds": 0,
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
    .assert_eq(&shop.get(&format!("/v1/orders/{id}")).await.told());
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_happened_to_an_order_is_listed_first_to_last(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::from_u128(1);
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    happen(&database, id, &[reserved(), captured()]).await;

    let page = shop.get(&format!("/v1/orders/{id}/events?limit=2")).await.json();
    let kinds = |page: &serde_json::Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|event| format!("{} {}", event["sequence"], event["type"])).collect()
    };
    assert_eq!(kinds(&page), [r#"1 "order.placed""#, r#"2 "stock.reserved""#]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = shop.get(&format!("/v1/orders/{id}/events?limit=2&cursor={cursor}")).await.json();
    assert_eq!(kinds(&page), [r#"3 "payment.captured""#]);
    assert_eq!(page.get("next_cursor"), None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_has_its_first_event_as_soon_as_it_is_placed(database: PgPool) {
    let shop = Shop::open(database).await;
    let placed = shop.post("/v1/orders", &order("ada")).await;
    let events = shop.get(&format!("{}/events", placed.header("location").unwrap())).await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    let event = &events["items"][0];
    assert_eq!((&event["type"], &event["version"]), (&json!("order.placed"), &json!(1)));
    assert_eq!(event["data"]["totals"], placed.json()["totals"]);
    assert!(!events.to_string().contains("tok_visa"), "{events}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_no_order_is_not_found(database: PgPool) {
    let shop = Shop::open(database).await;
    for id in ["nonsense", "%F0%9F%9B%92", &Uuid::now_v7().to_string()] {
        for path in ["", "/events"] {
            let answer = shop.get(&format!("/v1/orders/{id}{path}")).await;
            assert_eq!(answer.problem(), "order-not-found", "{id}{path}");
        }
        let answer =
            shop.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "why not"})).await;
        assert_eq!(answer.problem(), "order-not-found", "{id}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn pages_of_orders_stay_in_place_while_new_orders_come(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    // Two of them at the same time, and one of another customer.
    for (id, customer, placed_at) in [
        (1, "ada", "2026-01-01T00:00:01Z"),
        (2, "ada", "2026-01-01T00:00:02.000001Z"),
        (3, "ada", "2026-01-01T00:00:02.000001Z"),
        (4, "bob", "2026-01-01T00:00:03Z"),
        (5, "ada", "2026-01-01T00:00:04Z"),
    ] {
        record(&database, Uuid::from_u128(id), customer, placed_at).await;
    }
    let mut path = "/v1/orders?customer_id=ada&limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = shop.get(&path).await;
        let order = page.json()["items"][0]["order_id"].as_str().unwrap().to_owned();
        seen.push(order.parse::<Uuid>().unwrap().as_u128());
        if seen.len() == 2 {
            let id = Uuid::from_u128(6);
            record(&database, id, "ada", "2026-01-01T00:00:05Z").await;
        }
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(seen, [5, 2, 3, 1]);
    let all = shop.get("/v1/orders").await.json();
    let customers: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|order| &order["customer_id"]).collect();
    assert_eq!(customers, ["ada", "ada", "bob", "ada", "ada", "ada"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn orders_are_found_by_status_time_and_text(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    for (id, customer, placed_at) in [
        (1, "ada", "2026-01-01T00:00:00Z"),
        (2, "bob", "2026-01-02T00:00:00Z"),
        (3, "Bobby", "2026-01-03T00:00:00Z"),
        (4, "ada", "2026-01-04T00:00:00Z"),
    ] {
        record(&database, Uuid::from_u128(id), customer, placed_at).await;
    }
    let stuck = [reserved(), unwinding(rejected()), needs_attention(1, "no such payment")];
    happen(&database, Uuid::from_u128(2), &stuck).await;
    happen(&database, Uuid::from_u128(3), &whole_life()).await;
    happen(&database, Uuid::from_u128(4), &[reserved(), captured()]).await;

    let mut told = String::new();
    for query in [
        "status=completed",
        "status=processing,completed",
        "status=processing&customer_id=ada",
        "payment_status=paid",
        "payment_status=paid&fulfilment_status=reserved",
        "fulfilment_status=reserved,shipped",
        "needs_attention=true",
        "needs_attention=false&status=processing",
        "unwinding=true",
        "unwinding=false&fulfilment_status=reserved",
        "placed_from=2026-01-02T00:00:00Z&placed_before=2026-01-04T00:00:00Z",
        "placed_from=2026-01-02T01:00:00%2B01:00&unwinding=true",
        "customer_id=ada&placed_before=2026-01-02T00:00:00Z",
        "q=BOB",
        "q=t-1",
        "q=85123a&fulfilment_status=shipped",
        "q=00000000-0000-0000-0000-000000000004",
        "q=order-00000000-0000-0000-0000-000000000004",
        "q=00000000-0000",
        "q=00000000-0000&limit=2",
        "q=00000000-0000&customer_id=ada",
        "q=order-00000000-0000-0000-0000-000000000004&customer_id=ada",
        "q=bob&status=completed,completed",
        "q=%25",
        "q=5123",
        "q=71053",
        "status=processing,processing&limit=2",
        "payment_status=disputed",
    ] {
        let page = shop.get(&format!("/v1/orders?{query}")).await.json();
        let ids = page["items"].as_array().unwrap().iter().map(|order| {
            order["order_id"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128().to_string()
        });
        told += &format!("{query}: {}\n", ids.collect::<Vec<_>>().join(" "));
    }
    expect![[r#"
        status=completed: 3
        status=processing,completed: 4 3 2 1
        status=processing&customer_id=ada: 4 1
        payment_status=paid: 4 3
        payment_status=paid&fulfilment_status=reserved: 4
        fulfilment_status=reserved,shipped: 4 3 2
        needs_attention=true: 2
        needs_attention=false&status=processing: 4 1
        unwinding=true: 2
        unwinding=false&fulfilment_status=reserved: 4
        placed_from=2026-01-02T00:00:00Z&placed_before=2026-01-04T00:00:00Z: 3 2
        placed_from=2026-01-02T01:00:00%2B01:00&unwinding=true: 2
        customer_id=ada&placed_before=2026-01-02T00:00:00Z: 1
        q=BOB: 3 2
        q=t-1: 3
        q=85123a&fulfilment_status=shipped: 3
        q=00000000-0000-0000-0000-000000000004: 4
        q=order-00000000-0000-0000-0000-000000000004: 4
        q=00000000-0000: 4 3 2 1
        q=00000000-0000&limit=2: 4 3
        q=00000000-0000&customer_id=ada: 4 1
        q=order-00000000-0000-0000-0000-000000000004&customer_id=ada: 4
        q=bob&status=completed,completed: 3
        q=%25: 
        q=5123: 
        q=71053: 
        status=processing,processing&limit=2: 4 2
        payment_status=disputed: 
    "#]]
    .assert_eq(&told);

    // The filters are repeated in the link to each page.
    let first = shop.get("/v1/orders?status=processing&q=ada&limit=1").await;
    let next = first.header("link").unwrap().trim_start_matches('<').split_once('>').unwrap().0;
    let second = shop.get(next).await;
    assert_eq!(second.json()["items"][0]["order_id"], Uuid::from_u128(1).to_string());
    assert_eq!(second.header("link"), None);
}

/// The ids of a page.
fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()).collect()
}

/// Orders that are not completed are read status by status, and a status may be given twice.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn pages_of_several_statuses_are_in_the_order_of_all(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let uuid = Uuid::from_u128;
    for (id, placed_at) in [
        (1, "2026-01-01T00:00:00Z"),
        (2, "2026-01-02T00:00:00Z"),
        (3, "2026-01-03T00:00:00Z"),
        (4, "2026-01-04T00:00:00Z"),
        (5, "2026-01-05T00:00:00Z"),
    ] {
        record(&database, uuid(id), "ada", placed_at).await;
    }
    happen(&database, uuid(2), &unwound(&rejected())).await;
    happen(&database, uuid(3), &whole_life()).await;
    happen(&database, uuid(4), &unwound(&cancelled("ordered twice"))).await;
    let mut path = "/v1/orders?status=rejected,cancelled,rejected,processing&limit=1".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = shop.get(&path).await;
        seen.extend(ids(&page.json()));
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(seen, [5, 4, 2, 1].map(|id| uuid(id).to_string()));
}

/// Inserts copies of an order, each a second older than the one before.
async fn copies(database: &PgPool, of: Uuid, number: i32) {
    sqlx::query!(
        "insert into orders.orders (
             order_id, customer_id, placed_at, record_version, fingerprint, currency, subtotal,
             discount, shipping, tax, total, cost_of_goods, country, lines, terms, status_data,
             version, updated_at, discount_code
         )
         select md5(n::text)::uuid, customer_id, placed_at - n * interval '1 second',
             record_version, fingerprint, currency, subtotal, discount, shipping, tax, total,
             cost_of_goods, country, lines, terms, status_data, version, updated_at, 'SPRING'
         from orders.orders, generate_series(1, $2) as n where order_id = $1",
        of,
        number,
    )
    .execute(database)
    .await
    .unwrap();
}

/// A search for a SKU and a filter by payment have no index: a page scans 5,000 orders, and its
/// cursor is where the scan ended. All other texts are looked up.
#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_page_without_an_index_scans_some_orders_and_says_where_it_ended(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let (common, rare) = (Uuid::from_u128(1), Uuid::from_u128(2));
    record(&database, common, "ada", "2026-02-01T00:00:00Z").await;
    copies(&database, common, 5_050).await;
    record(&database, rare, "bob", "2026-01-01T00:00:00Z").await;
    sqlx::query!(
        r#"update orders.orders
           set lines = jsonb_set(lines, '{0,sku}', '"71053"'), payment_status = 'refunded'
           where order_id = $1"#,
        rare,
    )
    .execute(&database)
    .await
    .unwrap();
    for filter in ["q=71053", "payment_status=refunded", "payment_status=none,refunded&q=71053"] {
        let first = shop.get(&format!("/v1/orders?{filter}")).await;
        assert_eq!(ids(&first.json()), Vec::<String>::new(), "{filter}");
        let next = first.header("link").unwrap().trim_start_matches('<').split_once('>').unwrap().0;
        let second = shop.get(next).await.json();
        assert_eq!(ids(&second), [rare.to_string()], "{filter}");
        assert_eq!(second.get("next_cursor"), None, "{filter}");
    }
    let full = shop.get("/v1/orders?payment_status=none&limit=2").await.json();
    assert_eq!(ids(&full), [common.to_string(), "c4ca4238-a0b9-2382-0dcc-509a6f75849b".to_owned()]);
    assert!(full["next_cursor"].is_string(), "{full}");

    for text in [rare.to_string(), "BO".to_owned()] {
        let found = shop.get(&format!("/v1/orders?q={text}")).await.json();
        assert_eq!(
            (ids(&found), found.get("next_cursor")),
            (vec![rare.to_string()], None),
            "{text}"
        );
    }
    let nothing = shop.get("/v1/orders?q=nothing-like-it").await.json();
    assert_eq!(nothing, json!({"items": []}));
    // A text with many hits fills its page from the newest.
    for text in ["85123a", "spring", "ada"] {
        let found = shop.get(&format!("/v1/orders?q={text}&limit=2")).await.json();
        assert_eq!(ids(&found).len(), 2, "{text}");
        let newest = if text == "spring" { "c4ca4238-a0b9-2382-0dcc-509a6f75849b" } else { "" };
        assert!(ids(&found)[0].starts_with(newest), "{found}");
        assert!(found["next_cursor"].is_string(), "{found}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_listing_that_cannot_be_read_is_refused(database: PgPool) {
    let shop = Shop::open(database).await;
    let mut told = String::new();
    for query in [
        "limit=0",
        "limit=101",
        "limit=many",
        "limit=%2B5",
        "cursor=nonsense",
        "cursor=1_2",
        "customer_id=a%20b",
        "page=2",
        "status=processing,lost",
        "payment_status=paid,lost",
        "fulfilment_status=paid",
        "needs_attention=perhaps",
        "placed_from=yesterday",
        "placed_from=-5000-01-01T00:00:00Z",
        "placed_before=%2B262000-01-01T00:00:00Z",
        "cursor=-9000000000000000000_00000000-0000-0000-0000-000000000001",
        "cursor=8000000000000000000_00000000-0000-0000-0000-000000000001",
        "q=%20",
    ] {
        let answer = shop.get(&format!("/v1/orders?{query}")).await;
        assert_eq!(answer.problem(), "malformed-request", "{query}");
        told += &format!("{query}: {}\n", answer.json()["detail"].as_str().unwrap());
    }
    expect![[r#"
        limit=0: limit: a page has 1 to 100 items
        limit=101: limit: a page has 1 to 100 items
        limit=many: limit: a page has 1 to 100 items
        limit=%2B5: limit: a page has 1 to 100 items
        cursor=nonsense: cursor: a cursor is the `next_cursor` of the page before
        cursor=1_2: cursor: a cursor is the `next_cursor` of the page before
        customer_id=a%20b: customer_id: a customer id is 1 to 64 letters, digits, `-`, `_` or `.`
        page=2: page: unknown field `page`, expected one of `customer_id`, `status`, `payment_status`, `fulfilment_status`, `needs_attention`, `unwinding`, `placed_from`, `placed_before`, `q`, `limit`, `cursor`
        status=processing,lost: status: the statuses are processing, completed, cancelled, rejected, failed
        payment_status=paid,lost: payment_status: the payment statuses are none, awaiting-customer, authorised, paid, partially-refunded, refunded, voided, declined, disputed
        fulfilment_status=paid: fulfilment_status: the fulfilment statuses are none, reserved, shipped, delivered, partially-returned, returned, lost, cancelled
        needs_attention=perhaps: needs_attention: provided string was not `true` or `false`
        placed_from=yesterday: placed_from: a moment as RFC 3339 writes it, such as 2026-01-01T00:00:00Z
        placed_from=-5000-01-01T00:00:00Z: placed_from: a moment as RFC 3339 writes it, such as 2026-01-01T00:00:00Z
        placed_before=%2B262000-01-01T00:00:00Z: placed_before: a moment as RFC 3339 writes it, such as 2026-01-01T00:00:00Z
        cursor=-9000000000000000000_00000000-0000-0000-0000-000000000001: cursor: a cursor is the `next_cursor` of the page before
        cursor=8000000000000000000_00000000-0000-0000-0000-000000000001: cursor: a cursor is the `next_cursor` of the page before
        q=%20: q: a text of 1 to 100 characters on one line
    "#]]
    .assert_eq(&told);
}
