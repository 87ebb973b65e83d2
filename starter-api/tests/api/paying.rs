//! Orders that wait for their customers: customer actions, and replacing a declined payment.

use domain::{CustomerId, OrderId};
use expect_test::expect;
use ordersaga_grpc::v1::{CustomerActionKind, GetOrderRequest, PayOrderRequest};
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use tonic::Code;
use uuid::Uuid;

use crate::grpc::Program;
use crate::life::{
    awaiting_customer, cancelled, captured, declined, happen, record, rejected, reserved,
    unwinding, unwound,
};
use crate::shop::{Answer, Shop, fresh, nowhere, order, send};

/// An hour.
const IN_TIME: f64 = 3_600.0;

/// Records a declined payment that may be replaced for so many seconds.
pub(crate) async fn declined_payment(database: &PgPool, id: Uuid, seconds: f64) {
    sqlx::query!(
        "with begun as (
             insert into orders.step_keys (order_id, step, version)
             values ($1, 'authorise-payment', 1)
         )
         insert into payments.charges
             (charge_key, order_id, provider_reference, currency, amount, state, replaceable_until)
         values ($2, $1, 'pay_1', 'GBP', 23.10, 'declined', now() + make_interval(secs => $3))",
        id,
        format!("{id}:authorise-payment:1"),
        seconds,
    )
    .execute(database)
    .await
    .unwrap();
}

/// Records a payment that the customer has an hour to approve.
async fn payment_to_be_approved(database: &PgPool, id: Uuid) {
    payment_to_be_made(database, id, "https://pay.example/17").await;
}

/// Records a payment that the customer has an hour to make at this URL.
async fn payment_to_be_made(database: &PgPool, id: Uuid, url: &str) {
    sqlx::query!(
        "insert into payments.charges
             (charge_key, order_id, provider_reference, currency, amount, state, approval_url,
              approvable_until)
         values ($2, $1, 'pay_1', 'GBP', 23.10, 'awaiting-customer', $3, now() + interval '1 h')",
        id,
        format!("{id}:authorise-payment:1"),
        url,
    )
    .execute(database)
    .await
    .unwrap();
}

/// Ada's order, whose payment was declined and may be replaced for so many seconds.
pub(crate) async fn declined_order(database: &PgPool, seconds: f64) -> Uuid {
    let id = Uuid::now_v7();
    record(database, id, "ada", "2026-01-02T03:04:05Z").await;
    declined_payment(database, id, seconds).await;
    happen(database, id, &[reserved(), declined()]).await;
    id
}

async fn pay(shop: &Shop, id: Uuid, key: &str, token: &str) -> Answer {
    let request = shop.request("POST", &format!("/v1/orders/{id}/payment"));
    let request = request.header("Idempotency-Key", key);
    send(request.json(&json!({ "payment_token": token }))).await
}

async fn methods(database: &PgPool, id: Uuid) -> Vec<String> {
    sqlx::query_scalar!(
        "select method from payments.methods where order_id = $1 order by attempt",
        id
    )
    .fetch_all(database)
    .await
    .unwrap()
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_payment_is_replaced_once_under_its_key(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = declined_order(&database, IN_TIME).await;
    let path = format!("/v1/orders/{id}");
    let action = shop.get(&path).await.json()["customer_action"].clone();
    assert_eq!((&action["kind"], &action["url"]), (&json!("replace-payment"), &Value::Null));

    let ada = shop.asked_by_customer("ada");
    let paid = pay(&ada, id, "k", "tok_visa").await;
    assert_eq!(paid.status, 202, "{}", paid.text);
    assert_eq!(paid.header("idempotency-replayed"), None);
    let body = paid.json();
    assert_eq!(
        (&body["payment_status"], &body["status"]),
        (&json!("declined"), &json!("processing"))
    );
    assert_eq!(body.get("customer_action"), None, "it is not the customer's turn any more");
    assert!(!paid.text.contains("tok_visa"), "{}", paid.text);

    let again = pay(&ada, id, "k", "tok_visa").await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(pay(&ada, id, "k", "tok_other").await.problem(), "idempotency-key-reused");
    assert_eq!(pay(&ada, id, "l", "tok_visa").await.problem(), "no-payment-due");
    let path = format!("{path}/payment");
    let without = shop.post(&path, &json!({ "payment_token": "tok_visa" })).await;
    assert_eq!(without.problem(), "no-payment-due");
    assert_eq!(methods(&database, id).await, ["tok_visa", "tok_visa"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn another_payment_is_taken_while_temporal_is_away(database: PgPool) {
    let shop = Shop::with(database.clone(), nowhere(), Limits::default()).await;
    let id = declined_order(&database, IN_TIME).await;
    assert_eq!(pay(&shop, id, "k", "tok_other").await.status, 202);
    assert_eq!(pay(&shop, id, "k", "tok_other").await.status, 202);
    assert_eq!(methods(&database, id).await, ["tok_visa", "tok_other"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn an_order_that_waits_for_no_payment_says_why(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let mut told = String::new();
    let mut ask = async |id: Uuid| {
        let answer = pay(&shop, id, "k", "tok_other").await;
        assert_eq!(answer.problem(), "no-payment-due", "{}", answer.text);
        told += &format!("{}\n", answer.json()["detail"].as_str().unwrap());
    };
    ask(declined_order(&database, -1.0).await).await;
    for events in [
        vec![],
        vec![reserved(), captured()],
        vec![reserved(), awaiting_customer()],
        vec![reserved(), declined()],
        vec![reserved(), declined(), unwinding(rejected())],
        unwound(&cancelled("twice")),
    ] {
        let id = Uuid::now_v7();
        record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
        happen(&database, id, &events).await;
        ask(id).await;
    }
    expect![[r#"
        The time in which the declined payment could be replaced is over, and the order is rejected. Place a new one.
        The order's payment was not declined.
        The order is paid for.
        The customer has to approve the payment that is under way, or to transfer it: see `customer_action`.
        Another payment method is on record already, and is tried next; or the order's terms grant no time for one.
        The order is being unwound, and will end without a payment.
        The order has ended. Place a new one.
    "#]]
    .assert_eq(&told);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn another_customers_order_is_not_paid_for_and_a_card_number_is_no_payment(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = declined_order(&database, IN_TIME).await;
    let bob = shop.asked_by_customer("bob");
    assert_eq!(pay(&bob, id, "k", "tok_visa").await.problem(), "order-not-found");
    let clerk = shop.asked_by("clerk", "finance");
    assert_eq!(pay(&clerk, id, "k", "tok_visa").await.problem(), "insufficient-scope");
    let refused = pay(&shop, id, "k", "4111111111111111").await;
    assert_eq!(refused.problem(), "invalid-request");
    assert!(!refused.text.contains("4111"), "{}", refused.text);
    assert_eq!(methods(&database, id).await, ["tok_visa"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_the_customer_has_to_do_is_shown_to_those_who_may_see_the_order(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    payment_to_be_approved(&database, id).await;
    happen(&database, id, &[reserved(), awaiting_customer()]).await;

    let path = format!("/v1/orders/{id}");
    let shown = shop.asked_by_customer("ada").get(&path).await.json();
    assert_eq!(shown["payment_status"], "awaiting-customer");
    let action = &shown["customer_action"];
    assert_eq!(action["kind"], "approve-payment");
    assert_eq!(action["url"], "https://pay.example/17");
    assert!(action["until"].as_str().unwrap().ends_with('Z'), "{action}");
    let hidden = shop.asked_by_customer("bob").get(&path).await;
    assert_eq!(hidden.problem(), "order-not-found");

    let mut program = Program::of(&shop, "backend", "service").await;
    let get = GetOrderRequest { order_id: id.to_string() };
    let got = program.orders.get_order(program.asks(get)).await.unwrap().into_inner();
    let action = got.order.unwrap().customer_action.unwrap();
    assert_eq!(action.kind(), CustomerActionKind::ApprovePayment);
    assert_eq!(action.url.as_deref(), Some("https://pay.example/17"));

    let query = format!("{{ order(id: \"{id}\") {{ customerAction {{ kind url }} }} }}");
    let asked = shop.post("/v1/graphql", &json!({ "query": query })).await.json();
    assert_eq!(
        asked["data"]["order"]["customerAction"],
        json!({"kind": "approve-payment", "url": "https://pay.example/17"}),
        "{asked}"
    );
    let events = shop.get(&format!("{path}/events")).await;
    assert!(!events.text.contains("pay.example"), "{}", events.text);

    // Once the customer cannot act any more, nothing is shown.
    happen(&database, id, &[unwinding(cancelled("changed my mind"))]).await;
    assert_eq!(shop.get(&path).await.json().get("customer_action"), None);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn what_a_customer_has_to_transfer_is_shown_by_every_protocol(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = Uuid::now_v7();
    record(&database, id, "ada", "2026-01-02T03:04:05Z").await;
    let payto = "payto://iban/GB82WEST12345698765432?amount=GBP:23.10&message=RF18";
    payment_to_be_made(&database, id, payto).await;
    happen(&database, id, &[reserved(), awaiting_customer()]).await;

    let shown = shop.asked_by_customer("ada").get(&format!("/v1/orders/{id}")).await.json();
    let action = &shown["customer_action"];
    assert_eq!((&action["kind"], &action["url"]), (&json!("transfer-money"), &json!(payto)));
    let mut program = Program::of(&shop, "backend", "service").await;
    let get = GetOrderRequest { order_id: id.to_string() };
    let got = program.orders.get_order(program.asks(get)).await.unwrap().into_inner();
    let action = got.order.unwrap().customer_action.unwrap();
    assert_eq!(action.kind(), CustomerActionKind::TransferMoney);
    let query = format!("{{ order(id: \"{id}\") {{ customerAction {{ kind }} }} }}");
    let asked = shop.post("/v1/graphql", &json!({ "query": query })).await.json();
    assert_eq!(asked["data"]["order"]["customerAction"]["kind"], "transfer-money", "{asked}");
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_caller_who_waits_is_answered_when_it_is_the_customers_turn(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let key = fresh("key");
    let id = OrderId::for_request(&CustomerId::parse("ada").unwrap(), &key).uuid();
    let request = shop.request("POST", "/v1/orders").header("Idempotency-Key", &key);
    let waiting = send(request.header("Prefer", "wait=20").json(&order("ada")));
    let asking = async {
        while shop.get(&format!("/v1/orders/{id}")).await.status != 200 {}
        payment_to_be_approved(&database, id).await;
        happen(&database, id, &[reserved(), awaiting_customer()]).await;
    };
    let (placed, ()) = tokio::join!(waiting, asking);
    let body = placed.json();
    assert_eq!(body["customer_action"]["kind"], "approve-payment", "{body}");
    assert_eq!(placed.header("preference-applied"), Some("wait=20"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_declined_payment_is_replaced_by_grpc_as_by_http(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let id = declined_order(&database, IN_TIME).await;
    let mut program = Program::of(&shop, "backend", "service").await;
    let request = PayOrderRequest {
        order_id: id.to_string(),
        payment_token: "tok_other".to_owned(),
        idempotency_key: Some("k".to_owned()),
        wait: None,
    };
    for replayed in [false, true] {
        let paid = program.orders.pay_order(program.asks(request.clone())).await.unwrap();
        assert_eq!(paid.get_ref().replayed, replayed);
        assert_eq!(paid.into_inner().order.unwrap().order_id, id.to_string());
    }
    let late = PayOrderRequest { idempotency_key: None, ..request };
    let refused = program.orders.pay_order(program.asks(late)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(methods(&database, id).await, ["tok_visa", "tok_other"]);
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn the_time_to_replace_a_payment_is_a_term_of_the_order(database: PgPool) {
    Shop::open(database.clone()).await;
    let limits = Limits { approval_seconds: 60, payment_retry_seconds: 90, ..Limits::default() };
    let shop = Shop::with(database, nowhere(), limits).await;
    let placed = shop.post("/v1/orders", &order("ada")).await.json();
    let terms = &placed["terms"];
    assert_eq!(
        (&terms["approval_seconds"], &terms["payment_retry_seconds"]),
        (&json!(60), &json!(90))
    );
    let mut wish = order("ada");
    wish["payment_retry_seconds"] = json!(600);
    let placed = shop.post("/v1/orders", &wish).await.json();
    assert_eq!(placed["terms"]["payment_retry_seconds"], 600);
    wish["payment_retry_seconds"] = json!(604_801);
    let refused = shop.post("/v1/orders", &wish).await;
    assert_eq!(refused.problem(), "invalid-request");
}
