//! Authorisation: every operation of the API's description, called by every kind of caller.

use std::collections::BTreeSet;

use reqwest::Response;
use runtime::schema::MIGRATIONS;
use serde_json::{Value, json};
use sqlx::PgPool;
use starter_api::Limits;
use uuid::Uuid;

use crate::life::record;
use crate::shop::{Shop, no_database, nowhere, order};

/// Operations without authentication.
const PUBLIC: [&str; 14] = [
    "GET /.well-known/jwks.json",
    "GET /.well-known/openid-configuration",
    "GET /health",
    "GET /metrics",
    "GET /ready",
    "GET /v1/products",
    "GET /v1/products/{sku}",
    // The token in the mail's link is the only authentication.
    "GET /v1/unsubscribe/{token}",
    "POST /oauth/token",
    "POST /v1/customers",
    "POST /v1/quotes",
    "POST /v1/sessions",
    "POST /v1/unsubscribe/{token}",
    // Authenticated by Stripe's signature.
    "POST /v1/webhooks/stripe",
];

/// Every operation, as `GET /path`, with the scopes in its description.
fn operations() -> Vec<(String, Vec<String>)> {
    let description = serde_json::to_value(starter_api::description()).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let taken = operation["security"][0]["bearer"].as_array();
            let taken = taken.into_iter().flatten().map(|scope| scope.as_str().unwrap().to_owned());
            operations.push((format!("{} {path}", method.to_uppercase()), taken.collect()));
        }
    }
    operations
}

/// Calls an operation; does not read the body of a stream to its end.
async fn asked(shop: &Shop, operation: &str, order_id: Uuid) -> (u16, Option<String>) {
    let answer = answered(shop, operation, order_id).await;
    let challenge = answer.headers().get("www-authenticate");
    (answer.status().as_u16(), challenge.map(|text| text.to_str().unwrap().to_owned()))
}

async fn answered(shop: &Shop, operation: &str, order_id: Uuid) -> Response {
    let (method, path) = operation.split_once(' ').unwrap();
    let path = path.replace("{order_id}", &order_id.to_string());
    let path = path.replace(['{', '}'], "");
    let body = if path.ends_with("/payment") {
        json!({"payment_token": "tok_visa"})
    } else {
        json!({"reason": "why not"})
    };
    shop.request(method, &path).json(&body).send().await.unwrap()
}

/// Whether the caller gets "no such order"; `None` if they may not call this operation for any
/// order.
async fn has_no_order(shop: &Shop, operation: &str, order_id: Uuid) -> Option<bool> {
    let answer = answered(shop, operation, order_id).await;
    match answer.status().as_u16() {
        403 => None,
        404 => Some(answer.text().await.unwrap().contains("order-not-found")),
        _ => Some(false),
    }
}

#[tokio::test]
async fn every_operation_says_who_may_use_it_or_is_meant_for_everybody() {
    let shop = Shop::with(no_database(), nowhere(), Limits::default()).await.with_token(None);
    let mut public = Vec::new();
    for (operation, taken) in operations() {
        let (status, challenge) = asked(&shop, &operation, Uuid::nil()).await;
        if taken.is_empty() {
            assert!(![401, 403].contains(&status), "{operation} refuses an anonymous caller");
            public.push(operation);
        } else {
            let challenge = challenge.unwrap_or_default();
            assert_eq!(
                (status, challenge.as_str()),
                (401, "Bearer realm=\"ordersaga\""),
                "{operation}"
            );
        }
    }
    public.sort();
    assert_eq!(public, PUBLIC);
}

#[tokio::test]
async fn every_operation_takes_the_scope_that_its_description_names_and_no_other() {
    let shop = Shop::with(no_database(), nowhere(), Limits::default()).await;
    let operations = operations();
    let scopes: BTreeSet<_> = operations.iter().flat_map(|(_, taken)| taken.clone()).collect();
    assert!(scopes.len() > 3, "{scopes:?}");
    for scope in &scopes {
        let mut claims = shop.issuer.claims("all", &["customer", "service", "operator", "finance"]);
        claims["scope"] = json!(format!("openid {scope}"));
        let shop = shop.with_token(Some(crate::issuer::first_key().sign(&claims)));
        for (operation, taken) in operations.iter().filter(|(_, taken)| !taken.is_empty()) {
            let (status, challenge) = asked(&shop, operation, Uuid::nil()).await;
            if taken.contains(scope) {
                assert!(![401, 403].contains(&status), "{operation} with {scope}: {status}");
            } else {
                let told = format!(
                    "Bearer realm=\"ordersaga\", error=\"insufficient_scope\", scope=\"{}\"",
                    taken[0]
                );
                assert_eq!((status, challenge), (403, Some(told)), "{operation} with {scope}");
            }
        }
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn another_customers_order_is_no_order_wherever_it_is_asked_for(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    let order_id = Uuid::now_v7();
    record(&database, order_id, "ada", "2026-01-02T03:04:05Z").await;
    // An order that was just placed.
    let placed = shop.asked_by_customer("ada").post("/v1/orders", &own_order()).await;
    let accepted = placed.json()["order_id"].as_str().unwrap().parse().unwrap();

    let (ada, bob) = (shop.asked_by_customer("ada"), shop.asked_by_customer("bob"));
    let mut operations = operations();
    operations.retain(|(operation, _)| operation.contains("{order_id}"));
    assert!(operations.len() >= 3, "{operations:?}");
    for (operation, _) in operations {
        for order_id in [order_id, accepted] {
            let his = has_no_order(&bob, &operation, order_id).await;
            let hers = has_no_order(&ada, &operation, order_id).await;
            let kept_from_customers = his.is_none() && hers.is_none();
            assert!(
                kept_from_customers || (his, hers) == (Some(true), Some(false)),
                "{operation}: {his:?} {hers:?}"
            );
        }
    }
}

fn own_order() -> Value {
    let mut order = order("ada");
    order.as_object_mut().unwrap().remove("customer_id");
    order
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customer_orders_for_themself_alone(database: PgPool) {
    let shop = Shop::open(database).await;
    let ada = shop.asked_by_customer("ada");
    let placed = ada.post("/v1/orders", &own_order()).await;
    assert_eq!((placed.status.as_u16(), &placed.json()["customer_id"]), (201, &json!("ada")));
    assert_eq!(ada.post("/v1/orders", &order("ada")).await.status, 201);

    let refused = ada.post("/v1/orders", &order("bob")).await;
    assert_eq!(refused.problem(), "invalid-request");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/customer_id");
    // A caller who acts for all customers has to name one.
    let service = shop.asked_by("web-shop", "service");
    assert_eq!(service.post("/v1/orders", &order("bob")).await.status, 201);
    let refused = service.post("/v1/orders", &own_order()).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/customer_id", "{}", refused.text);
    for role in ["operator", "finance"] {
        let refused = shop.asked_by("eve", role).post("/v1/orders", &order("bob")).await;
        assert_eq!(refused.problem(), "insufficient-scope", "{role}");
    }
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_key_is_its_customers_whoever_sends_it(database: PgPool) {
    let shop = Shop::open(database).await;
    let key = crate::shop::fresh("key");
    let hers = shop.asked_by_customer("ada").place(&key, &own_order()).await;
    let his = shop.asked_by_customer("bob").place(&key, &own_order()).await;
    assert_ne!(hers.json()["order_id"], his.json()["order_id"]);
    // The backend that repeats her request for her gets her order.
    let again = shop.asked_by("web-shop", "service").place(&key, &order("ada")).await;
    assert_eq!(again.json(), hers.json());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[sqlx::test(migrator = "MIGRATIONS")]
async fn a_customers_list_has_their_own_orders_alone(database: PgPool) {
    let shop = Shop::open(database.clone()).await;
    for (id, customer) in [(1, "ada"), (2, "bob"), (3, "ada")] {
        let id = Uuid::from_u128(id);
        record(&database, id, customer, "2026-01-02T03:04:05Z").await;
    }
    let ada = shop.asked_by_customer("ada");
    for path in ["/v1/orders", "/v1/orders?customer_id=ada"] {
        let page = ada.get(path).await.json();
        let whose: Vec<_> =
            page["items"].as_array().unwrap().iter().map(|order| &order["customer_id"]).collect();
        assert_eq!(whose, ["ada", "ada"], "{path}");
    }
    assert_eq!(ada.get("/v1/orders?customer_id=bob").await.json(), json!({"items": []}));
    let all = shop.asked_by("eve", "operator").get("/v1/orders").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 3);
}
