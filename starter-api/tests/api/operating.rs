//! What operators do: the catalogue, the warehouse, stuck orders, the line. And customers.

use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::{Limits, Temporal};
use temporalio_client::envconfig::LoadClientConfigProfileOptions;
use temporalio_client::{
    Client, ClientOptions, UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowStartOptions,
    WorkflowTerminateOptions,
};
use temporalio_common::data_converters::RawValue;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::search_attributes::SearchAttributes;
use uuid::Uuid;

use crate::shop::{Shop, order, record, send};

async fn put(shop: &Shop, path: &str, body: &Value) -> crate::shop::Answer {
    send(shop.request("PUT", path).json(body)).await
}

fn lantern(price: &str) -> Value {
    json!({"name": "RED LANTERN", "unit_price": price, "unit_cost": "1.35", "currency": "GBP"})
}

fn delivery(quantity: i64, reason: &str, reference: &str) -> Value {
    json!({"quantity": quantity, "reason": reason, "reference": reference})
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_article_is_sold_once_goods_have_come_in(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    let mut new = lantern("3.39");
    new["sku"] = json!("RL 1");
    let created = shop.post("/v1/products", &new).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let place = created.header("location").unwrap().to_owned();
    assert_eq!(shop.get(&place).await.json(), created.json());
    assert_eq!(shop.post("/v1/products", &new).await.problem(), "product-exists");

    let path = format!("{place}/stock-movements");
    let moved = shop.post(&path, &delivery(40, "received", "note 1")).await;
    assert_eq!((moved.status.as_u16(), &moved.json()["available"]), (201, &json!(40)));
    // The same paper once more changes nothing; with another number it is a mistake.
    let again = shop.post(&path, &delivery(40, "received", "note 1")).await;
    assert_eq!((again.status.as_u16(), &again.json()["available"]), (200, &json!(40)));
    let other = shop.post(&path, &delivery(41, "received", "note 1")).await;
    assert_eq!(other.problem(), "reference-reused");
    shop.post(&path, &delivery(2, "found", "count 1")).await;
    let moved = shop.post(&path, &delivery(12, "written-off", "count 2")).await;
    assert_eq!(moved.json()["available"], 30);

    let movements = sqlx::query_scalar!(
        r#"select reason || ' ' || quantity || ' by ' || moved_by as "told!"
           from inventory.movements where sku = 'RL 1' order by movement_id"#
    );
    let movements = movements.fetch_all(&database).await.unwrap();
    assert_eq!(movements, ["received 40 by eve", "found 2 by eve", "written-off 12 by eve"]);
    // 40 x 1.35 to be paid; 10 x 1.35 lost on balance.
    let booked = sqlx::query_scalar!(
        r#"select account || ' ' || sum(case side when 'debit' then amount else -amount end) as "told!"
           from ledger.entries group by account order by account"#
    );
    let booked = booked.fetch_all(&database).await.unwrap();
    assert_eq!(booked, ["cost-of-goods 13.50", "goods-received -54.00", "inventory 40.50"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_set_aside_for_orders_is_never_written_off(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    // 100 in the house, 40 of them for orders.
    let path = "/v1/products/85123A/stock-movements";
    let refused = shop.post(path, &delivery(61, "written-off", "count 1")).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "not-in-stock"));
    let moved = shop.post(path, &delivery(60, "written-off", "count 1")).await;
    assert_eq!(
        moved.json(),
        json!({"sku": "85123A", "on_hand": 40, "reserved": 40, "available": 0, "sold": 0})
    );
    assert_eq!(
        shop.post(path, &delivery(1, "written-off", "count 2")).await.problem(),
        "not-in-stock"
    );
    let kept = sqlx::query_scalar!(
        r#"select count(*) as "count!" from inventory.movements where sku = '85123A'"#
    );
    assert_eq!(kept.fetch_one(&database).await.unwrap(), 1, "a refused movement is on record");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_movement_that_is_not_right_is_refused(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let path = "/v1/products/85123A/stock-movements";
    for (quantity, reference, pointer) in [
        (0, "x", "/quantity"),
        (-1, "x", "/quantity"),
        (100_001, "x", "/quantity"),
        (1, " ", "/reference"),
    ] {
        let refused = shop.post(path, &delivery(quantity, "received", reference)).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{}", refused.text);
    }
    let unknown = shop.post(path, &delivery(1, "stolen", "x")).await;
    assert_eq!(unknown.problem(), "malformed-request");
    let nothing = shop.post("/v1/products/NOPE/stock-movements", &delivery(1, "found", "x")).await;
    assert_eq!(nothing.problem(), "product-not-found");
    for change in [json!({"unit_price": "3.999"}), json!({"currency": "GBX"}), json!({"name": ""})]
    {
        let mut terms = lantern("3.39");
        let (field, value) = change.as_object().unwrap().iter().next().unwrap();
        terms[field] = value.clone();
        let refused = put(&shop, "/v1/products/71053", &terms).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], format!("/{field}"), "{}", refused.text);
    }
    let nothing = put(&shop, "/v1/products/NOPE", &lantern("3.39")).await;
    assert_eq!(nothing.problem(), "product-not-found");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_runs_low_is_seen(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let page = shop.get("/v1/stock?available_below=60").await.json();
    let low: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["sku"]).collect();
    // 85123A has 60 free, 71053 has 5, and of the others there never was one.
    assert_eq!(low, ["71053", "JP-1", "SAMPLE"]);
    let first = shop.get("/v1/stock?limit=1").await.json();
    assert_eq!(first["next_cursor"], "71053");
}

#[sqlx::test(migrations = "../migrations")]
async fn an_order_keeps_the_price_it_was_placed_at(database: PgPool) {
    let shop = Shop::open(database).await;
    let placed = shop.post("/v1/orders", &order("ada")).await;
    let changed = put(&shop, "/v1/products/85123A", &lantern("9.99")).await;
    assert_eq!(changed.json()["unit_price"]["amount"], "9.99", "{}", changed.text);
    // The next basket costs the new price at once.
    let quote = json!({"lines": [{"sku": "85123A", "quantity": 1}], "ship_to": {"country": "GB"}});
    let quote = shop.post("/v1/quotes", &quote).await.json();
    assert_eq!(quote["lines"][0]["unit_price"]["amount"], "9.99");
    let shown = shop.get(placed.header("location").unwrap()).await.json();
    assert_eq!(
        (&shown["totals"], &shown["lines"]),
        (&placed.json()["totals"], &placed.json()["lines"])
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn customers_see_and_change_themselves_alone(database: PgPool) {
    let shop = Shop::open(database).await;
    let (ada, bob) = (shop.asked_by_customer("ada"), shop.asked_by_customer("bob"));
    assert_eq!(ada.get("/v1/customers/ada").await.problem(), "customer-not-found");
    let changed = put(&ada, "/v1/customers/ada", &json!({"name": "Ada", "phone": "1"})).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["name"]), (200, &json!("Ada")));
    assert_eq!(ada.get("/v1/customers/ada").await.json(), changed.json());
    assert_eq!(put(&ada, "/v1/customers/ada", &json!({})).await.json()["name"], Value::Null);

    assert_eq!(bob.get("/v1/customers/ada").await.problem(), "customer-not-found");
    assert_eq!(put(&bob, "/v1/customers/ada", &json!({})).await.problem(), "customer-not-found");
    put(&bob, "/v1/customers/bob", &json!({"name": "Bob"})).await;
    let whom = |page: Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["customer_id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(whom(bob.get("/v1/customers").await.json()), ["bob"]);
    let operator = shop.asked_by("eve", "operator");
    assert_eq!(whom(operator.get("/v1/customers").await.json()), ["ada", "bob"]);
    let bad = put(&ada, "/v1/customers/ada", &json!({"name": "a\nb"})).await;
    assert_eq!(bad.json()["errors"][0]["pointer"], "/name", "{}", bad.text);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_line_stops_and_goes_on_by_a_persons_decision(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let stopped = shop.post("/v1/queues/orders/pause", &json!({"why": "stock-taking"})).await;
    let paused = stopped.json()["paused"].clone();
    assert_eq!((&paused["paused_by"], &paused["why"]), (&json!("eve"), &json!("stock-taking")));
    // Whoever comes second finds it standing, by the first.
    let fay = shop.asked_by("fay", "operator");
    let again = fay.post("/v1/queues/orders/pause", &json!({"why": "me too"})).await;
    assert_eq!(again.json()["paused"], paused);
    let queues = shop.get("/v1/queues").await.json();
    assert_eq!(queues[0], json!({"queue": "orders", "paused": paused}));
    assert_eq!(queues[1], json!({"queue": "payments"}));
    let resumed = send(fay.request("POST", "/v1/queues/orders/resume")).await;
    assert_eq!(resumed.json(), json!({"queue": "orders"}));
    assert_eq!(shop.get("/v1/queues").await.json()[0], json!({"queue": "orders"}));
    assert_eq!(
        shop.post("/v1/queues/nothing/pause", &json!({"why": "x"})).await.problem(),
        "queue-not-found"
    );
}

pub(crate) async fn temporal() -> Client {
    let options = LoadClientConfigProfileOptions::default();
    let (connection, client) = ClientOptions::load_from_config(options).unwrap();
    Client::connect(connection, client).await.unwrap()
}

/// An order's workflow that says of itself whether it waits for a person.
pub(crate) async fn open_workflow(client: &Client, id: Uuid, needs_attention: bool) {
    let attributes = SearchAttributes::new([workflows::NEEDS_ATTENTION.value_set(needs_attention)]);
    let options = WorkflowStartOptions::new("orders", format!("order-{id}"))
        .search_attributes(attributes)
        .build();
    let saga = UntypedWorkflow::new("OrderSaga");
    client.start_workflow(saga, RawValue::new(Vec::new()), options).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stuck_order_is_found_and_told_what_a_person_decided(database: PgPool) {
    let shop = Shop::with(database.clone(), Temporal::from_env().unwrap(), Limits::default()).await;
    let eve = shop.asked_by("eve", "operator");
    let (client, stuck, fine) = (temporal().await, Uuid::now_v7(), Uuid::now_v7());
    for (id, needs_attention) in [(stuck, true), (fine, false)] {
        record(&database, id, "ada", "2026-01-02T03:04:05Z", "hash").await;
        open_workflow(&client, id, needs_attention).await;
    }
    let status = json!({"status": "stuck", "step": "charge-payment", "why": "no such payment"});
    let turns = [json!({"status": "unwinding"}), status];
    crate::shop::turns(&database, stuck, &turns).await;

    // Temporal's lists are a moment behind.
    let found = loop {
        let told = eve.get("/v1/attention").await;
        assert_eq!(told.status, 200, "{}", told.text);
        let items = told.json()["items"].as_array().unwrap().clone();
        assert!(items.iter().all(|item| item["order_id"] != json!(fine)), "{}", told.text);
        if let Some(found) = items.into_iter().find(|item| item["order_id"] == json!(stuck)) {
            break found;
        }
    };
    assert_eq!((&found["status"], &found["why"]), (&json!("stuck"), &json!("no such payment")));

    let resolve = |id: Uuid| format!("/v1/orders/{id}/resolve");
    let decision = json!({"decision": "retry", "why": "the provider has mended it"});
    let told = eve.post(&resolve(stuck), &decision).await;
    assert_eq!((told.status.as_u16(), &told.json()["by"]), (202, &json!("eve")), "{}", told.text);
    assert_eq!(eve.post(&resolve(fine), &decision).await.problem(), "order-not-stuck");
    assert_eq!(eve.post(&resolve(Uuid::now_v7()), &decision).await.problem(), "order-not-found");
    let silent = json!({"decision": "skip", "why": " "});
    assert_eq!(eve.post(&resolve(stuck), &silent).await.problem(), "invalid-request");
    let ada = shop.asked_by_customer("ada");
    assert_eq!(ada.post(&resolve(stuck), &decision).await.problem(), "insufficient-scope");

    let workflow = client.get_workflow_handle::<UntypedWorkflow>(format!("order-{stuck}"));
    let events =
        workflow.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await.unwrap();
    let signals: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => Some(signal),
            _ => None,
        })
        .collect();
    assert_eq!(signals.len(), 1);
    let payload = &signals[0].input.as_ref().unwrap().payloads[0];
    assert_eq!(
        serde_json::from_slice::<Value>(&payload.data).unwrap(),
        json!({"decision": "retry", "by": "eve", "why": "the provider has mended it"})
    );
    for id in [stuck, fine] {
        let workflow = client.get_workflow_handle::<UntypedWorkflow>(format!("order-{id}"));
        workflow.terminate(WorkflowTerminateOptions::default()).await.unwrap();
    }
}
