//! Refunds of completed orders: who may request them, how much, and idempotency.

use futures::future::join_all;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::life::{cancelled, happen, record, unwound, whole_life};
use crate::shop::{Answer, Shop, nowhere, send};

/// Ada's order, for which £23.10 were paid: six hearts for £15.30, £3.95 for the parcel, 20 % tax.
pub(crate) async fn completed_order(database: &PgPool) -> Uuid {
    let id = Uuid::now_v7();
    record(database, id, "ada", "2026-01-02T03:04:05Z").await;
    sqlx::query!(
        "insert into payments.charges
             (charge_key, order_id, provider_reference, currency, amount, state, captured)
         values ($2, $1, 'pay_1', 'GBP', 23.10, 'captured', 23.10)",
        id,
        format!("{id}:authorise-payment:1"),
    )
    .execute(database)
    .await
    .unwrap();
    happen(database, id, &whole_life()).await;
    id
}

pub(crate) fn pounds(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "GBP" })
}

pub(crate) fn of_amount(amount: &str) -> Value {
    json!({ "amount": pounds(amount), "reason": "arrived broken" })
}

pub(crate) async fn refund(shop: &Shop, id: Uuid, key: &str, body: &Value) -> Answer {
    let request = shop.request("POST", &format!("/v1/orders/{id}/refunds"));
    send(request.header("Idempotency-Key", key).json(body)).await
}

async fn refunds(shop: &Shop, id: Uuid) -> Vec<Value> {
    let listed = shop.get(&format!("/v1/orders/{id}/refunds")).await;
    assert_eq!(listed.status, 200, "{}", listed.text);
    listed.json().as_array().unwrap().clone()
}

/// The worker completes the refund, or gives it up.
async fn ends(database: &PgPool, id: Uuid, number: i32, state: &str) {
    sqlx::query!(
        "with ended as (
             update payments.refund_requests
             set state = $3, provider_reference = case $3 when 'succeeded' then 'ref_1' end
             where order_id = $1 and number = $2
             returning amount
         )
         update payments.charges set refund_claimed = refund_claimed - amount_freed
         from (select case $3 when 'succeeded' then 0 else amount end as amount_freed from ended)
             as freed
         where order_id = $1",
        id,
        number,
        state,
    )
    .execute(database)
    .await
    .unwrap();
}

async fn waits_for_launch(database: &PgPool, id: Uuid) -> i64 {
    let waiting = sqlx::query_scalar!(
        r#"select count(*) as "count!" from orders.refund_launches where order_id = $1"#,
        id,
    );
    waiting.fetch_one(database).await.unwrap()
}

/// A shop without Temporal.
async fn shop(database: &PgPool) -> Shop {
    Shop::with(database.clone(), nowhere(), Limits::default()).await
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_is_on_record_once_under_its_key_while_temporal_is_away(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let eve = shop.asked_by("eve", "operator");
    let asked = refund(&eve, id, "k", &of_amount("10.00")).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    assert_eq!(asked.header("idempotency-replayed"), None);
    let body = asked.json();
    assert_eq!((&body["number"], &body["state"]), (&json!(1), &json!("requested")));
    assert_eq!((&body["amount"], &body["requested_by"]), (&pounds("10.00"), &json!("eve")));
    assert_eq!(waits_for_launch(&database, id).await, 1);

    let again = refund(&eve, id, "k", &of_amount("10.00")).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(again.json(), body);
    let other = refund(&eve, id, "k", &of_amount("10.01")).await;
    assert_eq!(other.problem(), "idempotency-key-reused");
    // Another caller's key is a different one, and an order has at most one refund under way.
    let service = shop.asked_by("web-shop", "service");
    let his = refund(&service, id, "k", &of_amount("10.00")).await;
    assert_eq!(his.problem(), "refund-under-way");
    assert_eq!(refunds(&shop, id).await, [body]);

    // A repeat is also answered after the refund has ended.
    ends(&database, id, 1, "succeeded").await;
    let after = refund(&eve, id, "k", &of_amount("10.00")).await;
    assert_eq!((after.status.as_u16(), &after.json()["state"]), (202, &json!("succeeded")));
    let rest = refund(&service, id, "k", &of_amount("13.10")).await;
    assert_eq!((rest.status.as_u16(), &rest.json()["number"]), (202, &json!(2)));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn goods_and_shipping_are_given_back_with_their_tax(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let hearts = |pieces| json!([{ "sku": "85123A", "quantity": pieces }]);
    let body = json!({ "lines": hearts(2), "reason": "arrived broken" });
    let two = refund(&shop, id, "two", &body).await.json();
    let parts = json!({
        "goods": pounds("5.10"), "goods_tax": pounds("1.02"),
        "shipping": pounds("0.00"), "shipping_tax": pounds("0.00"),
    });
    assert_eq!((&two["amount"], &two["parts"]), (&pounds("6.12"), &parts));
    ends(&database, id, 1, "succeeded").await;

    let body = json!({ "lines": hearts(5), "reason": "arrived broken" });
    let refused = refund(&shop, id, "five", &body).await;
    assert_eq!(refused.problem(), "invalid-request");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/lines");
    let body = json!({ "lines": hearts(4), "shipping": true, "reason": "the rest" });
    let rest = refund(&shop, id, "rest", &body).await.json();
    assert_eq!(rest["amount"], pounds("16.98"), "all that is left");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_cannot_be_given_back_is_refused_with_the_reason(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    for (body, pointer) in [
        (of_amount("23.11"), "/amount"),
        (of_amount("0.00"), "/amount"),
        (of_amount("1.001"), "/amount/amount"),
        (json!({ "amount": { "amount": "1.00", "currency": "EUR" }, "reason": "x" }), "/amount"),
        (json!({ "reason": "x" }), "/amount"),
        (json!({ "amount": pounds("1.00"), "shipping": true, "reason": "x" }), "/amount"),
        (json!({ "amount": pounds("1.00"), "reason": " " }), "/reason"),
        (json!({ "amount": pounds("1.00"), "reason": "x".repeat(201) }), "/reason"),
        (json!({ "lines": [{ "sku": "71053", "quantity": 1 }], "reason": "x" }), "/lines"),
        (
            json!({ "lines": [{ "sku": "85123A", "quantity": 0 }], "reason": "x" }),
            "/lines/0/quantity",
        ),
    ] {
        let refused = refund(&shop, id, "k", &body).await;
        assert_eq!(refused.problem(), "invalid-request", "{body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{}", refused.text);
    }
    let path = format!("/v1/orders/{id}/refunds");
    let without_key = shop.post(&path, &of_amount("1.00")).await;
    assert_eq!(without_key.problem(), "malformed-request");
    assert_eq!(refunds(&shop, id).await, Vec::<Value>::new());

    let under_way = Uuid::now_v7();
    record(&database, under_way, "ada", "2026-01-02T03:04:05Z").await;
    let refused = refund(&shop, under_way, "k", &of_amount("1.00")).await;
    assert_eq!(refused.problem(), "order-not-refundable");
    // An order that was unwound, and one that was completed without a payment.
    happen(&database, under_way, &unwound(&cancelled("too slow"))).await;
    let refused = refund(&shop, under_way, "k", &of_amount("1.00")).await;
    assert_eq!(refused.problem(), "order-not-refundable");
    let not_paid = Uuid::now_v7();
    record(&database, not_paid, "ada", "2026-01-02T03:04:05Z").await;
    let mut life = whole_life();
    life.retain(|event| !event.event_type().name().starts_with("payment."));
    happen(&database, not_paid, &life).await;
    let refused = refund(&shop, not_paid, "k", &of_amount("1.00")).await;
    assert_eq!(refused.problem(), "order-not-refundable");
    let nobody = refund(&shop, Uuid::now_v7(), "k", &of_amount("1.00")).await;
    assert_eq!(nobody.problem(), "order-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn of_twenty_requests_at_once_one_refund_comes(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let body = of_amount("23.10");
    // Each key is sent twice.
    let keys: Vec<_> = (0..20_u32).map(|number| format!("k{}", number % 10)).collect();
    let answers = join_all(keys.iter().map(|key| refund(&shop, id, key, &body))).await;
    let taken: Vec<_> = answers.iter().zip(&keys).filter(|(it, _)| it.status == 202).collect();
    let [(one, key), (other, same)] = taken.as_slice() else { panic!("{} taken", taken.len()) };
    assert_eq!((one.json(), key), (other.json(), same));
    let replays = [one, other].map(|answer| answer.header("idempotency-replayed").is_some());
    assert!(replays.contains(&true) && replays.contains(&false), "{replays:?}");
    let waiting = answers.iter().filter(|answer| answer.status != 202);
    assert!(waiting.clone().all(|answer| answer.problem() == "refund-under-way"));
    assert_eq!(waiting.count(), 18);
    assert_eq!(refunds(&shop, id).await, [one.json()]);
    assert_eq!(waits_for_launch(&database, id).await, 1);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_was_given_up_leaves_its_amount_to_the_next(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    for (number, state) in [(1, "failed"), (2, "cancelled"), (3, "succeeded")] {
        let all = refund(&shop, id, &format!("k{number}"), &of_amount("23.10")).await;
        assert_eq!((all.status.as_u16(), &all.json()["number"]), (202, &json!(number)));
        ends(&database, id, number, state).await;
    }
    let refused = refund(&shop, id, "k4", &of_amount("0.01")).await;
    assert_eq!(refused.problem(), "invalid-request", "nothing is left");
    let states: Vec<_> = refunds(&shop, id).await.iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["failed", "cancelled", "succeeded"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn customers_see_their_refunds_and_do_not_ask_for_them(database: PgPool) {
    let shop = shop(&database).await;
    let id = completed_order(&database).await;
    let ada = shop.asked_by_customer("ada");
    for caller in [&ada, &shop.asked_by("fin", "finance")] {
        let refused = refund(caller, id, "k", &of_amount("1.00")).await;
        assert_eq!(refused.problem(), "insufficient-scope");
    }
    for role in ["service", "operator"] {
        let asked = refund(&shop.asked_by("eve", role), id, "k", &of_amount("1.00")).await;
        assert_eq!(asked.status, 202, "{role}: {}", asked.text);
    }
    assert_eq!(refunds(&ada, id).await.len(), 1);
    let his = shop.asked_by_customer("bob").get(&format!("/v1/orders/{id}/refunds")).await;
    assert_eq!(his.problem(), "order-not-found");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_refund_that_is_on_record_gets_its_workflow(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = completed_order(&database).await;
    let asked = refund(&shop, id, "k", &of_amount("1.00")).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    while waits_for_launch(&database, id).await > 0 {}
    let workflow = crate::launching::workflow_called(&format!("refund-{id}-1")).await;
    assert!(workflow.is_some(), "it is off the list, and nothing carries it out");
}
