//! Orders that screening has stopped: who sees why, who decides, and the block and allow lists.

use domain::Screening;
use domain::event::{OrderEvent, ReviewNeeded};
use ordersaga_grpc::v1::PlaceOrderRequest;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::grpc::{Program, wish};
use crate::life::{cancelled, happen, record, reserved, unwound};
use crate::shop::{Answer, Shop, nowhere, order, send, stock};

/// Ada's order, which has to be reviewed within so many seconds.
pub(crate) async fn order_under_review(database: &PgPool, seconds: f64) -> Uuid {
    let id = Uuid::now_v7();
    record(database, id, "ada", "2026-01-02T03:04:05Z").await;
    let until = sqlx::query_scalar!(
        r#"
        with begun as (
            insert into orders.step_keys (order_id, step, version) values ($1, 'screen-order', 1)
        ), screened as (
            insert into fraud.screenings
                (order_id, version, attempt, rule_set, verdict, weight, findings)
            values ($1, 1, 1, 1, 'review', 60, $3)
        )
        insert into fraud.reviews (order_id, version, attempt, review_until, otherwise)
        values ($1, 1, 1, now() + make_interval(secs => $2), 'decline')
        returning review_until
        "#,
        id,
        seconds,
        json!([{
            "rule": "many-orders", "mode": "active", "effect": { "weight": 60 },
            "why": "6 orders of the same customer within 3600 s, more than 5",
        }]),
    );
    let until = until.fetch_one(database).await.unwrap();
    let needed = OrderEvent::ReviewNeeded(ReviewNeeded { until });
    happen(database, id, &[reserved(), needed]).await;
    id
}

/// An hour.
const IN_TIME: f64 = 3_600.0;

/// A shop without Temporal.
async fn shop(database: &PgPool) -> Shop {
    Shop::with(database.clone(), nowhere(), Limits::default()).await
}

async fn decide(shop: &Shop, id: Uuid, decision: &str) -> Answer {
    let body = json!({ "decision": decision, "note": "answered the phone" });
    shop.post(&format!("/v1/orders/{id}/review"), &body).await
}

/// The orders that wait for a review, as an operator sees them.
async fn waiting(shop: &Shop) -> Vec<Value> {
    let page = shop.get("/v1/reviews").await;
    assert_eq!(page.status, 200, "{}", page.text);
    page.json()["items"].as_array().unwrap().clone()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_operator_sees_why_an_order_was_stopped_and_decides_once(database: PgPool) {
    let shop = shop(&database).await;
    let (eve, fay) = (shop.asked_by("eve", "operator"), shop.asked_by("fay", "operator"));
    let id = order_under_review(&database, IN_TIME).await;
    let mut listed = waiting(&eve).await;
    for moment in ["since", "until"] {
        let told = listed[0].as_object_mut().unwrap().remove(moment).unwrap();
        assert!(told.as_str().unwrap().ends_with('Z'), "{told}");
    }
    assert_eq!(
        listed,
        [json!({
            "order_id": id, "customer_id": "ada", "country": "GB", "stage": "before-payment",
            "total": { "amount": "23.10", "currency": "GBP" }, "otherwise": "decline",
            "weight": 60, "rule_set": 1,
            "reasons": [{
                "rule": "many-orders", "mode": "active", "effect": { "weight": 60 },
                "why": "6 orders of the same customer within 3600 s, more than 5",
            }],
        })]
    );
    // The decision is recorded although Temporal is unavailable.
    let decided = decide(&eve, id, "approve").await;
    assert_eq!(decided.status, 200, "{}", decided.text);
    assert_eq!(decided.json(), json!({ "order_id": id, "decision": "approve", "by": "eve" }));
    assert_eq!(waiting(&eve).await, Vec::<Value>::new());
    assert_eq!(decide(&eve, id, "approve").await.status, 200, "a repeat");
    for (caller, decision) in [(&eve, "decline"), (&fay, "approve")] {
        let refused = decide(caller, id, decision).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (409, "no-review-due"));
    }
    let answered = sqlx::query_scalar!(
        r#"select outcome as "outcome!" from orders.step_keys
           where order_id = $1 and step = 'screen-order'"#,
        id,
    );
    let answered = answered.fetch_one(&database).await.unwrap();
    assert_eq!(answered, json!({ "done": { "rule_set": 1 } }));
    let note = sqlx::query_scalar!("select note from fraud.reviews where order_id = $1", id);
    let note = note.fetch_one(&database).await.unwrap();
    assert_eq!(note.as_deref(), Some("answered the phone"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_decision_that_cannot_be_made_is_refused_with_the_reason(database: PgPool) {
    let shop = shop(&database).await;
    let late = order_under_review(&database, 0.0).await;
    let unwinding = order_under_review(&database, IN_TIME).await;
    happen(&database, unwinding, &unwound(&cancelled("changed my mind"))).await;
    let ordinary = Uuid::now_v7();
    record(&database, ordinary, "ada", "2026-01-02T03:04:05Z").await;
    for id in [late, unwinding, ordinary] {
        let refused = decide(&shop, id, "approve").await;
        assert_eq!(refused.problem(), "no-review-due");
    }
    let told = decide(&shop, late, "approve").await.json()["detail"].to_string();
    assert!(told.contains("time"), "{told}");
    assert_eq!(decide(&shop, Uuid::now_v7(), "approve").await.problem(), "order-not-found");
    let path = format!("/v1/orders/{late}/review");
    let nameless = shop.post(&path, &json!({ "decision": "approve", "note": " " })).await;
    assert_eq!(nameless.json()["errors"][0]["pointer"], "/note", "{}", nameless.text);
    let unknown = shop.post(&path, &json!({ "decision": "skip", "note": "x" })).await;
    assert_eq!(unknown.problem(), "malformed-request");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_never_learns_what_speaks_against_them(database: PgPool) {
    let shop = shop(&database).await;
    let ada = shop.asked_by_customer("ada");
    for decision in [None, Some("decline")] {
        let id = order_under_review(&database, IN_TIME).await;
        if let Some(decision) = decision {
            assert_eq!(decide(&shop, id, decision).await.status, 200);
        }
        for part in ["", "/events", "/timeline"] {
            let shown = ada.get(&format!("/v1/orders/{id}{part}")).await;
            assert_eq!(shown.status, 200, "{}", shown.text);
            for secret in ["many-orders", "same customer", "answered the phone", "staff"] {
                assert!(!shown.text.contains(secret), "{part} tells {secret}: {}", shown.text);
            }
        }
        assert_eq!(decide(&ada, id, "approve").await.problem(), "insufficient-scope");
    }
    for path in ["/v1/reviews", "/v1/screening/entries"] {
        assert_eq!(ada.get(path).await.problem(), "insufficient-scope");
        let service = shop.asked_by("web-shop", "service");
        assert_eq!(service.get(path).await.problem(), "insufficient-scope");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_reviews_are_listed_by_their_deadline_page_by_page(database: PgPool) {
    let eve = shop(&database).await.asked_by("eve", "operator");
    let mut wanted = Vec::new();
    for seconds in [7_200.0, 60.0, 3_600.0] {
        wanted.push(order_under_review(&database, seconds).await);
    }
    let [last, first, second] = wanted[..] else { unreachable!("three orders") };
    let mut path = "/v1/reviews?limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = eve.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let items = page.json()["items"].as_array().unwrap().clone();
        seen.extend(items.into_iter().map(|item| item["order_id"].clone()));
        let Some(link) = page.header("link") else { break };
        path = link.trim_start_matches('<').split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(seen, [json!(first), json!(second), json!(last)]);
    for cursor in ["nonsense", "+294277-01-01T00:00:00Z_0190a8f4-5b1e-7c3a-9d2f-1a2b3c4d5e6f"] {
        let refused = eve.get(&format!("/v1/reviews?cursor={cursor}")).await;
        assert_eq!(refused.problem(), "malformed-request");
    }
}

/// An entry without the fields that differ from run to run.
fn entry(answer: &Answer) -> Value {
    let mut entry = answer.json();
    entry.as_object_mut().unwrap().remove("listed_at").unwrap();
    entry
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn who_is_listed_is_shown_and_taken_off_again(database: PgPool) {
    let eve = shop(&database).await.asked_by("eve", "operator");
    let path = "/v1/screening/entries";
    let id = order_under_review(&database, IN_TIME).await;
    for (number, (mut body, value)) in (1..).zip([
        (json!({ "list": "block", "kind": "customer", "value": "bob" }), json!("bob")),
        (json!({ "list": "allow", "kind": "customer", "order_id": id }), json!("ada")),
        (
            json!({ "list": "block", "kind": "network", "value": "203.0.113.7" }),
            json!("203.0.113.0/24"),
        ),
        (json!({ "list": "block", "kind": "payment-method", "order_id": id }), Value::Null),
    ]) {
        body["why"] = json!("known");
        let added = eve.post(path, &body).await;
        assert_eq!(added.status, 201, "{}", added.text);
        let mut expected = json!({
            "entry_id": number.to_string(), "list": body["list"], "kind": body["kind"],
            "why": "known", "listed_by": "eve",
        });
        if !value.is_null() {
            expected["value"] = value;
        }
        assert_eq!(entry(&added), expected);
    }
    let listed = eve.get(path).await;
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 4);
    assert!(!listed.text.contains("tok_"), "{}", listed.text);
    let first = eve.get(&format!("{path}?limit=1")).await.json();
    assert_eq!((&first["items"][0]["entry_id"], &first["next_cursor"]), (&json!("4"), &json!("4")));
    // A subject listed again keeps its entry, on the other list.
    let moved = json!({ "list": "allow", "kind": "customer", "value": "bob", "why": "paid" });
    let moved = eve.post(path, &moved).await;
    assert_eq!((&moved.json()["entry_id"], &moved.json()["list"]), (&json!("1"), &json!("allow")));

    let entry_path = format!("{path}/1");
    let removed = send(eve.request("DELETE", &entry_path)).await;
    assert_eq!((removed.status.as_u16(), &removed.json()["value"]), (200, &json!("bob")));
    let again = send(eve.request("DELETE", &entry_path)).await;
    assert_eq!((again.status.as_u16(), again.problem().as_str()), (404, "entry-not-found"));
    let none = send(eve.request("DELETE", &format!("{path}/first"))).await;
    assert_eq!(none.problem(), "entry-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_entry_that_is_about_nobody_is_refused(database: PgPool) {
    let eve = shop(&database).await.asked_by("eve", "operator");
    let id = order_under_review(&database, IN_TIME).await;
    for (kind, about, pointer) in [
        ("customer", json!({}), "/value"),
        ("customer", json!({ "value": "a b" }), "/value"),
        ("customer", json!({ "value": "bob", "order_id": id }), "/value"),
        ("customer", json!({ "order_id": "first" }), "/order_id"),
        ("network", json!({ "value": "203.0.113.0/16" }), "/value"),
        ("payment-method", json!({ "value": "4111111111111111" }), "/value"),
        ("address", json!({ "value": "12 Sample Street" }), "/value"),
        // The order has no address, and its network is unknown.
        ("address", json!({ "order_id": id }), "/kind"),
        ("network", json!({ "order_id": id }), "/kind"),
    ] {
        let mut body = about;
        body["list"] = json!("block");
        body["kind"] = json!(kind);
        body["why"] = json!("known");
        let refused = eve.post("/v1/screening/entries", &body).await;
        assert_eq!(refused.problem(), "invalid-request", "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let nobody = json!({
        "list": "block", "kind": "customer", "order_id": Uuid::now_v7(), "why": "known",
    });
    let nobody = eve.post("/v1/screening/entries", &nobody).await;
    assert_eq!(nobody.problem(), "order-not-found");
}

const SETS: &str = "/v1/screening/rule-sets";

/// A rule set of one rule, and the reason for adding it.
fn new_set(name: &str) -> Value {
    json!({
        "rules": {
            "review_at": 50, "decline_at": 100, "review_default": "decline",
            "rules": [{
                "name": name, "mode": "active", "effect": { "verdict": "review" },
                "when": { "velocity": { "of": "network", "seconds": 3600, "more_than": 5 } },
            }],
        },
        "why": "a limit for networks",
    })
}

/// The rule sets, as `version state`.
async fn sets(shop: &Shop) -> Vec<String> {
    let page = shop.get(SETS).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let items = page.json()["items"].as_array().unwrap().clone();
    let told = |set: &Value| format!("{} {}", set["version"], set["state"].as_str().unwrap());
    items.iter().map(told).collect()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_set_of_rules_is_tried_out_and_counts_once_a_person_says_so(database: PgPool) {
    let eve = shop(&database).await.asked_by("eve", "operator");
    assert_eq!(sets(&eve).await, ["1 active"]);
    let added = eve.post(SETS, &new_set("networks")).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let mut told = added.json();
    told.as_object_mut().unwrap().remove("added_at").unwrap();
    assert_eq!(
        told,
        json!({
            "version": 2, "state": "shadow", "added_by": "eve", "why": "a limit for networks",
            "rules": new_set("networks")["rules"],
        })
    );
    assert_eq!(sets(&eve).await, ["2 shadow", "1 active"]);
    assert_eq!(eve.post(SETS, &new_set("addresses")).await.status, 201);
    assert_eq!(sets(&eve).await, ["3 shadow", "2 retired", "1 active"]);

    let fay = eve.asked_by("fay", "operator");
    let activate = async |shop: &Shop, version: &str| {
        let why = json!({ "why": "it stops nobody who is known" });
        shop.post(&format!("{SETS}/{version}/activate"), &why).await
    };
    let activated = activate(&fay, "3").await;
    assert_eq!(activated.status, 200, "{}", activated.text);
    let told = activated.json();
    assert_eq!((&told["state"], &told["activated_by"]), (&json!("active"), &json!("fay")));
    // A second operator finds it activated by the first.
    assert_eq!(activate(&eve, "3").await.json(), told);
    assert_eq!(sets(&eve).await, ["3 active", "2 retired", "1 retired"]);
    // An earlier rule set is active again; the one that was active does not go on trial.
    assert_eq!(activate(&eve, "1").await.status, 200);
    assert_eq!(sets(&eve).await, ["3 retired", "2 retired", "1 active"]);
    for version in ["4", "first", "99999999999"] {
        assert_eq!(activate(&eve, version).await.problem(), "rule-set-not-found", "{version}");
        let shown = eve.get(&format!("{SETS}/{version}")).await;
        assert_eq!(shown.problem(), "rule-set-not-found", "{version}");
    }
    let shown = eve.get(&format!("{SETS}/3")).await.json();
    assert_eq!(shown["activated_why"], "it stops nobody who is known");
    let first = eve.get(&format!("{SETS}?limit=1")).await.json();
    assert_eq!((&first["items"][0]["version"], &first["next_cursor"]), (&json!(3), &json!("3")));

    for role in ["customer", "service", "finance"] {
        let other = eve.asked_by("ada", role);
        assert_eq!(other.get(SETS).await.problem(), "insufficient-scope", "{role}");
        let refused = other.post(SETS, &new_set("networks")).await;
        assert_eq!(refused.problem(), "insufficient-scope", "{role}");
        assert_eq!(activate(&other, "2").await.problem(), "insufficient-scope", "{role}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_set_of_rules_that_makes_no_sense_is_refused_with_all_that_is_wrong(database: PgPool) {
    let eve = shop(&database).await.asked_by("eve", "operator");
    let mut wrong = new_set(" ");
    wrong["rules"]["review_at"] = json!(101);
    wrong["rules"]["rules"][0]["when"]["velocity"]["seconds"] = json!(0);
    wrong["why"] = json!("");
    let refused = eve.post(SETS, &wrong).await;
    assert_eq!(refused.problem(), "invalid-request", "{}", refused.text);
    let pointers: Vec<_> = refused.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect();
    let velocity = "/rules/rules/0/when/velocity/seconds";
    assert_eq!(pointers, ["/why", "/rules/review_at", "/rules/rules/0/name", velocity]);
    for (pointer, value) in [
        ("/rules/rules/0/when", json!("first-ordr")),
        ("/rules/rules/0/mode", json!("perhaps")),
        ("/rules/rules/0/effect", json!({ "weight": -1 })),
        ("/rules/rules/0", json!(["networks", "active"])),
        ("/rules/review_default", json!("review")),
    ] {
        let mut wrong = new_set("networks");
        *wrong.pointer_mut(pointer).unwrap() = value;
        let refused = eve.post(SETS, &wrong).await;
        assert_eq!(refused.problem(), "malformed-request", "{pointer}");
    }
    assert_eq!(sets(&eve).await, ["1 active"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_set_would_have_decided_is_told_beside_what_was_decided(database: PgPool) {
    let eve = shop(&database).await.asked_by("eve", "operator");
    assert_eq!(eve.post(SETS, &new_set("networks")).await.status, 201);
    let mut stopped = Vec::new();
    for would in ["decline", "approve", "decline"] {
        let id = order_under_review(&database, IN_TIME).await;
        let held = if would == "decline" { json!([{ "rule": "networks" }]) } else { json!([]) };
        sqlx::query!(
            "insert into fraud.trials
                 (order_id, version, attempt, rule_set, verdict, weight, findings)
             values ($1, 1, 1, 2, $2, 0, $3)",
            id,
            would,
            held,
        )
        .execute(&database)
        .await
        .unwrap();
        if would == "decline" {
            stopped.insert(0, id);
        }
    }
    let trial = eve.get(&format!("{SETS}/2/trial")).await;
    assert_eq!(trial.status, 200, "{}", trial.text);
    let mut told = trial.json();
    let passed = told["outcomes"][0]["orders"].take();
    assert_eq!(passed.as_array().unwrap().len(), 1);
    assert_eq!(
        told,
        json!({
            "version": 2, "screenings": 3,
            "outcomes": [
                { "decided": "review", "would": "approve", "screenings": 1, "orders": null },
                { "decided": "review", "would": "decline", "screenings": 2, "orders": stopped },
            ],
            "rules": [{ "rule": "networks", "held": 2 }],
        })
    );
    let nothing = eve.get(&format!("{SETS}/1/trial")).await.json();
    let told = json!({ "version": 1, "screenings": 0, "outcomes": [], "rules": [] });
    assert_eq!(nothing, told);
    assert_eq!(eve.get(&format!("{SETS}/3/trial")).await.problem(), "rule-set-not-found");
    let ada = eve.asked_by_customer("ada");
    let refused = ada.get(&format!("{SETS}/2/trial")).await;
    assert_eq!(refused.problem(), "insufficient-scope");
}

/// The recorded networks of orders.
async fn origins(database: &PgPool) -> Vec<String> {
    let origins = sqlx::query_scalar!(
        r#"select network::text as "network!" from fraud.origins order by recorded_at"#
    );
    origins.fetch_all(database).await.unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn screening_is_a_term_of_the_order_and_keeps_the_network_alone(database: PgPool) {
    stock(&database).await;
    let screening = Some(Screening { review_seconds: 90 });
    let limits = Limits { screening, ..Limits::default() };
    let screened = Shop::with(database.clone(), nowhere(), limits).await;
    let unscreened = shop(&database).await;
    let mut wanted = order("ada");
    wanted["customer_ip"] = json!("203.0.113.77");
    let placed = unscreened.place("k1", &wanted).await.json();
    assert_eq!(placed["terms"].get("screening"), None, "{placed}");
    assert!(origins(&database).await.is_empty(), "nobody needs it");
    let placed = screened.place("k2", &wanted).await;
    assert_eq!(placed.json()["terms"]["screening"], json!({ "review_seconds": 90 }));
    // A repeat may come from another address.
    wanted["customer_ip"] = json!("2001:db8:1:2::7");
    let again = screened.place("k2", &wanted).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"), "{}", again.text);
    assert_eq!(screened.place("k3", &wanted).await.status, 201);
    let mut program = Program::of(&screened, "backend", "service").await;
    let by_grpc = PlaceOrderRequest { customer_ip: Some("198.51.100.1".to_owned()), ..wish("ada") };
    program.orders.place_order(program.asks(by_grpc)).await.unwrap();
    assert_eq!(origins(&database).await, ["203.0.113.0/24", "2001:db8:1::/48", "198.51.100.0/24"]);

    for wrong in ["nowhere", "203.0.113.0/24", ""] {
        wanted["customer_ip"] = json!(wrong);
        let refused = screened.place("k4", &wanted).await;
        assert_eq!(refused.json()["errors"][0]["pointer"], "/customer_ip", "{}", refused.text);
    }
    wanted["customer_ip"] = json!("203.0.113.77");
    let refused = screened.asked_by_customer("ada").place("k5", &wanted).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/customer_ip", "{}", refused.text);
}
