//! Operators' tasks: catalogue, warehouse, stuck orders and task queues. Also customers.

use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::life::{
    captured, happen, needs_attention, record, rejected, reserved, unwinding, unwound,
};
use crate::shop::{Shop, nowhere, order, send};

async fn put(shop: &Shop, path: &str, body: &Value) -> crate::shop::Answer {
    send(shop.request("PUT", path).json(body)).await
}

fn lantern(price: &str) -> Value {
    json!({"name": "RED LANTERN", "unit_price": price, "unit_cost": "1.35", "currency": "GBP"})
}

fn delivery(quantity: i64, reason: &str, reference: &str) -> Value {
    json!({"quantity": quantity, "reason": reason, "reference": reference})
}

#[sqlx::test(migrator = "MIGRATIONS")]
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
    // A repeat with the same reference changes nothing; with another quantity it is an error.
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
    // 40 x 1.35 owed; 10 x 1.35 lost on balance.
    let booked = sqlx::query_scalar!(
        r#"select account || ' ' || sum(case side when 'debit' then amount else -amount end) as "told!"
           from ledger.entries group by account order by account"#
    );
    let booked = booked.fetch_all(&database).await.unwrap();
    assert_eq!(booked, ["cost-of-goods 13.50", "goods-received -54.00", "inventory 40.50"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_is_set_aside_for_orders_is_never_written_off(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    // 100 on hand, 40 of them reserved for orders.
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

#[sqlx::test(migrator = "MIGRATIONS")]
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

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_runs_low_is_seen(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let page = shop.get("/v1/stock?available_below=60").await.json();
    let low: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["sku"]).collect();
    // 85123A has 60 available, 71053 has 5, and the others never had any.
    assert_eq!(low, ["71053", "JP-1", "SAMPLE"]);
    let first = shop.get("/v1/stock?limit=1").await.json();
    assert_eq!(first["next_cursor"], "71053");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_keeps_the_price_it_was_placed_at(database: PgPool) {
    let shop = Shop::open(database).await;
    let placed = shop.post("/v1/orders", &order("ada")).await;
    let changed = put(&shop, "/v1/products/85123A", &lantern("9.99")).await;
    assert_eq!(changed.json()["unit_price"]["amount"], "9.99", "{}", changed.text);
    // The next basket is priced at the new price at once.
    let quote = json!({"lines": [{"sku": "85123A", "quantity": 1}], "ship_to": {"country": "GB"}});
    let quote = shop.post("/v1/quotes", &quote).await.json();
    assert_eq!(quote["lines"][0]["unit_price"]["amount"], "9.99");
    let shown = shop.get(placed.header("location").unwrap()).await.json();
    assert_eq!(
        (&shown["totals"], &shown["lines"]),
        (&placed.json()["totals"], &placed.json()["lines"])
    );
}

#[sqlx::test(migrator = "MIGRATIONS")]
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

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_line_stops_and_goes_on_by_a_persons_decision(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let stopped = shop.post("/v1/queues/orders/pause", &json!({"why": "stock-taking"})).await;
    let paused = stopped.json()["paused"].clone();
    assert_eq!((&paused["paused_by"], &paused["why"]), (&json!("eve"), &json!("stock-taking")));
    // A second operator finds it paused by the first.
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

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_is_stopped_and_resumed_by_a_persons_decision(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let path = "/v1/parties/carrier/stop";
    let stopped = shop.post(path, &json!({"why": "a strike"})).await;
    let stop = stopped.json()["stopped"].clone();
    assert_eq!((&stop["stopped_by"], &stop["why"]), (&json!("eve"), &json!("a strike")));
    // A second operator finds it stopped by the first.
    let fay = shop.asked_by("fay", "operator");
    assert_eq!(fay.post(path, &json!({"why": "me too"})).await.json()["stopped"], stop);
    let parties = shop.get("/v1/parties").await.json();
    assert_eq!(
        parties,
        json!([
            {"party": "payment-provider", "state": "unknown", "workers": []},
            {"party": "carrier", "state": "unknown", "stopped": stop, "workers": []},
        ])
    );
    let resumed = send(fay.request("POST", "/v1/parties/carrier/resume")).await;
    let called = json!({"party": "carrier", "state": "unknown", "workers": []});
    assert_eq!(resumed.json(), called);
    assert_eq!(shop.get("/v1/parties").await.json()[1], called);

    let refused = shop.post(path, &json!({"why": " "})).await;
    assert_eq!(refused.problem(), "invalid-request");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/why");
    let unknown = shop.post("/v1/parties/nobody/stop", &json!({"why": "x"})).await;
    assert_eq!((unknown.status.as_u16(), unknown.problem().as_str()), (404, "party-not-found"));
    let unknown = send(shop.request("POST", "/v1/parties/nobody/resume")).await;
    assert_eq!(unknown.problem(), "party-not-found");
    let ada = shop.asked_by_customer("ada");
    assert_eq!(ada.get("/v1/parties").await.problem(), "insufficient-scope");
    assert_eq!(ada.post(path, &json!({"why": "x"})).await.problem(), "insufficient-scope");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_party_stands_as_badly_as_with_the_worker_it_stands_worst_with(database: PgPool) {
    let shop = Shop::open(database.clone()).await.asked_by("eve", "operator");
    sqlx::query!(
        "insert into operations.party_standings
             (party, worker, state, since, last_failure, seen_at) values
             ('carrier', '1@a', 'answering', '2026-01-02T03:04:05Z', null, now()),
             ('carrier', '2@b', 'left-alone', '2026-01-02T03:04:05Z', 'no answer', now()),
             ('carrier', '3@c', 'stopped', '2026-01-02T03:04:05Z', null,
              now() - interval '2 minutes'),
             ('payment-provider', '1@a', 'answering', '2026-01-02T03:04:05Z', 'no answer', now())"
    )
    .execute(&database)
    .await
    .unwrap();
    let since = "2026-01-02T03:04:05Z";
    assert_eq!(
        shop.get("/v1/parties").await.json(),
        json!([
            {"party": "payment-provider", "state": "answering", "workers": [
                {"worker": "1@a", "state": "answering", "since": since, "last_failure": "no answer"},
            ]},
            {"party": "carrier", "state": "left-alone", "workers": [
                {"worker": "1@a", "state": "answering", "since": since},
                {"worker": "2@b", "state": "left-alone", "since": since, "last_failure": "no answer"},
            ]},
        ])
    );
}

/// Orders that need attention, the longest waiting first, with the cause of each.
pub(crate) async fn stuck(database: &PgPool, whys: &[&str]) -> Vec<Uuid> {
    let mut stuck = Vec::new();
    for why in whys {
        let id = Uuid::now_v7();
        record(database, id, "ada", "2026-01-02T03:04:05Z").await;
        let events = [reserved(), captured(), unwinding(rejected()), needs_attention(1, why)];
        happen(database, id, &events).await;
        stuck.push(id);
    }
    stuck
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_orders_that_wait_for_a_person_are_listed_longest_first(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let eve = shop.asked_by("eve", "operator");
    let waiting = stuck(&database, &["no such payment", "HTTP 500", "no such payment"]).await;
    record(&database, Uuid::now_v7(), "ada", "2026-01-02T03:04:05Z").await;

    let mut path = "/v1/attention?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = eve.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        seen.extend(page.json()["items"].as_array().unwrap().clone());
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split_once('>').unwrap().0.to_owned();
    }
    let ids: Vec<Uuid> =
        seen.iter().map(|item| item["order_id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(ids, waiting);
    let mut first = seen[0].clone();
    let since = first.as_object_mut().unwrap().remove("since").unwrap();
    assert!(since.as_str().unwrap().ends_with('Z'), "{since}");
    let advice = format!(
        "`ordersaga attention resolve {} DECISION --step capture-payment --occurrence 1 --why WHY`",
        waiting[0],
    );
    assert_eq!(
        first,
        json!({
            "kind": "order", "advice": advice, "order_id": waiting[0], "customer_id": "ada", "step": "capture-payment",
            "occurrence": 1, "undoing": true, "why": "no such payment",
            "decisions": ["retry", "skip"],
        })
    );
    let shown = eve.get(&format!("/v1/orders/{}", waiting[1])).await.json();
    assert_eq!(shown["needs_attention"]["why"], "HTTP 500");
    assert_eq!(eve.get("/v1/attention?cursor=nonsense").await.problem(), "malformed-request");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_that_nobody_takes_is_not_said_to_be_taken(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let eve = shop.asked_by("eve", "operator");
    let resolve = |id: Uuid| format!("/v1/orders/{id}/resolve");
    let decision = json!({"step": "capture-payment", "occurrence": 1, "decision": "retry",
                          "why": "the provider has mended it"});
    // Its workflow is lost.
    let lost = stuck(&database, &["no such payment"]).await[0];
    assert_eq!(eve.post(&resolve(lost), &decision).await.problem(), "order-not-stuck");
    // It has ended.
    let ended = Uuid::now_v7();
    record(&database, ended, "ada", "2026-01-02T03:04:05Z").await;
    happen(&database, ended, &unwound(&rejected())).await;
    assert_eq!(eve.post(&resolve(ended), &decision).await.problem(), "order-not-stuck");
    assert_eq!(eve.post(&resolve(Uuid::now_v7()), &decision).await.problem(), "order-not-found");
    let ada = shop.asked_by_customer("ada");
    assert_eq!(ada.post(&resolve(lost), &decision).await.problem(), "insufficient-scope");
    for (field, value) in [
        ("why", json!(" ")),
        ("step", json!("")),
        ("occurrence", json!(-1)),
        ("occurrence", json!(1.5)),
    ] {
        let mut wrong = decision.clone();
        wrong[field] = value;
        let answer = eve.post(&resolve(lost), &wrong).await;
        assert_eq!(answer.problem(), "invalid-request", "{wrong}");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"));
    }
    let mut wrong = decision.clone();
    wrong["decision"] = json!("hope");
    assert_eq!(eve.post(&resolve(lost), &wrong).await.problem(), "malformed-request");

    // Its workflow exists, and no worker answers.
    let placed = shop.post("/v1/orders", &order("ada")).await.json();
    let id: Uuid = placed["order_id"].as_str().unwrap().parse().unwrap();
    let refused = loop {
        let answer = eve.post(&resolve(id), &decision).await;
        if answer.problem() != "order-not-stuck" {
            break answer;
        }
    };
    assert_eq!((refused.problem().as_str(), refused.status.as_u16()), ("try-again", 503));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn one_decision_reaches_all_that_wait_for_the_same_cause(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let eve = shop.asked_by("eve", "operator");
    let waiting = stuck(&database, &["no such payment", "HTTP 500", "no such payment"]).await;
    let decision = json!({"step": "capture-payment", "cause": "no such payment",
                          "decision": "skip", "why": "paid back by cheque"});
    let told = eve.post("/v1/attention/resolve", &decision).await;
    let reason = "the order's workflow has ended: `ordersaga recover` lets the order go on, and it \
                  asks again if it still has to";
    assert_eq!(
        (told.status.as_u16(), told.json()),
        (
            200,
            json!({"resolved": [], "refused": [{"order_id": waiting[0], "reason": reason},
                                               {"order_id": waiting[2], "reason": reason}]})
        )
    );
    let ada = shop.asked_by_customer("ada");
    let refused = ada.post("/v1/attention/resolve", &decision).await;
    assert_eq!(refused.problem(), "insufficient-scope");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_change_of_what_somebody_else_has_changed_is_refused(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let put_if = async |path: &str, name: &str, condition: &str, body: &Value| {
        send(shop.request("PUT", path).header(name, condition).json(body)).await
    };
    let ada = json!({"name": "Ada", "phone": "1"});
    for (path, body, other) in [
        ("/v1/products/71053", lantern("3.39"), lantern("4.00")),
        ("/v1/customers/17850", ada.clone(), json!({"name": "Ada", "phone": "2"})),
    ] {
        assert_eq!(put(&shop, path, &body).await.status, 200);
        let read = shop.get(path).await;
        let seen = read.header("etag").unwrap().to_owned();
        assert_eq!(
            send(shop.request("GET", path).header("if-none-match", &seen)).await.status,
            304
        );
        let changed = put_if(path, "if-match", &seen, &other).await;
        assert_eq!(changed.status, 200, "{}", changed.text);
        let now = changed.header("etag").unwrap().to_owned();
        assert_eq!(shop.get(path).await.header("etag"), Some(now.as_str()));
        for stale in [seen.as_str(), "\"x\"", "no-quotes", &format!("W/{now}")] {
            let refused = put_if(path, "if-match", stale, &body).await;
            let told = (refused.status.as_u16(), refused.problem());
            assert_eq!(told, (412, "changed-meanwhile".to_owned()), "{stale}");
        }
        assert_eq!(shop.get(path).await.header("etag"), Some(now.as_str()), "nothing was done");
        for readable in [format!("\"x\", {now}"), "*".to_owned()] {
            assert_eq!(put_if(path, "if-match", &readable, &other).await.status, 200, "{readable}");
        }
        let exists = put_if(path, "if-none-match", "*", &body).await;
        assert_eq!(exists.problem(), "changed-meanwhile");
    }
    // The unit cost is not shown, and is changed together with the price.
    let seen = shop.get("/v1/products/71053").await.header("etag").unwrap().to_owned();
    let mut cheaper = lantern("4.00");
    cheaper["unit_cost"] = json!("1.00");
    assert_eq!(put(&shop, "/v1/products/71053", &cheaper).await.status, 200);
    let refused = put_if("/v1/products/71053", "if-match", &seen, &lantern("5.00")).await;
    assert_eq!(refused.problem(), "changed-meanwhile");

    let unknown = "/v1/customers/nobody-yet";
    assert_eq!(put_if(unknown, "if-match", "*", &ada).await.problem(), "changed-meanwhile");
    assert_eq!(put_if(unknown, "if-none-match", "*", &ada).await.status, 200);
    let none = put_if("/v1/products/NOPE", "if-match", "*", &lantern("1.00")).await;
    assert_eq!(none.problem(), "product-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_price_beyond_reason_is_refused_at_the_door(database: PgPool) {
    let shop = Shop::open(database).await.asked_by("eve", "operator");
    let absurd = |field: &str, amount: &str| {
        let mut article = json!({
            "sku": "GOLD", "name": "GOLD", "unit_price": "1", "unit_cost": "1", "currency": "JPY",
        });
        article[field] = json!(amount);
        article
    };
    for field in ["unit_price", "unit_cost"] {
        for amount in ["70000000000000000000000000000", "1000000000001", "2_5", "+25", ".5"] {
            let refused = shop.post("/v1/products", &absurd(field, amount)).await;
            assert_eq!(refused.problem(), "invalid-request", "{field} {amount}");
            assert_eq!(refused.json()["errors"][0]["pointer"], format!("/{field}"));
        }
    }
    // The highest valid price, and an order whose total is then too high.
    let dear = shop.post("/v1/products", &absurd("unit_price", "1000000000000")).await;
    assert_eq!(dear.status, 201, "{}", dear.text);
    let basket = json!({"lines": [{"sku": "GOLD", "quantity": 2}], "ship_to": {"country": "GB"}});
    let refused = shop.post("/v1/quotes", &basket).await;
    assert_eq!(refused.problem(), "invalid-request");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/lines");
}
